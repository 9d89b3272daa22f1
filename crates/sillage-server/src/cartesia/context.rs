//! One context of a WebSocket: frames in, frames out.
//!
//! A context is a task. Its first frame says how it speaks; of later ones only
//! the text, `flush` and `continue` count, because clients fill the rest in with
//! whatever they have. To cancel it is to abort its task: that drops its stream.

use super::mailbox::Mailbox;
use super::request::Generation;
use super::settings::{self, Begun};
use super::telling::{self, Telling};
use super::version::Version;
use super::{format, frames};
use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::keys::Caller;
use crate::speech::Event;
use axum::extract::ws::Message;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// How long the rest of a failed context's frames is waited for.
const AFTERMATH: Duration = Duration::from_secs(10);
/// Of the seconds that the server has to stop in, so many are kept for sockets
/// to close.
const MARGIN: u64 = 2;

/// What is sent, and whether it still is to be.
pub(super) struct Outgoing {
    pub(super) message: Message,
    cancelled: Option<Arc<AtomicBool>>,
}

impl Outgoing {
    /// A message that is sent whatever happens.
    pub(super) fn plain(message: Message) -> Self {
        Self {
            message,
            cancelled: None,
        }
    }

    /// Whether its context was cancelled while it waited.
    pub(super) fn is_void(&self) -> bool {
        self.cancelled
            .as_ref()
            .is_some_and(|c| c.load(Ordering::Relaxed))
    }
}

/// What a context needs.
pub(super) struct Context {
    pub(super) id: String,
    pub(super) app: Arc<App>,
    pub(super) caller: Caller,
    pub(super) version: Version,
    pub(super) request: String,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) out: mpsc::Sender<Outgoing>,
    pub(super) cancelled: Arc<AtomicBool>,
}

/// The socket takes nothing any more.
struct Gone;

impl Context {
    /// Speaks until there are no more frames.
    pub(super) async fn run(self) {
        // A client may use a name again while what it said before is spoken:
        // then one follows the other.
        while let Some(first) = self.mailbox.take_or_close() {
            let first = Arc::new(first);
            let mut open = first.more;
            let fault = match self.generation(&first, &mut open).await {
                Ok(Ok(())) => continue,
                Ok(Err(fault)) => fault,
                Err(Gone) => return,
            };
            if self.fail(&fault, open).await.is_err() {
                return;
            }
        }
    }

    async fn send(&self, frame: &Value) -> Result<(), Gone> {
        let outgoing = Outgoing {
            message: Message::text(frame.to_string()),
            cancelled: Some(Arc::clone(&self.cancelled)),
        };
        self.out.send(outgoing).await.map_err(|_| Gone)
    }

    /// Says what went wrong. Frames that were on their way to what failed are
    /// dropped, up to the one that ends it: they would be half a text.
    async fn fail(&self, fault: &Fault, mut open: bool) -> Result<(), Gone> {
        let frame = frames::error(fault, Some(&self.id), &self.request);
        self.send(&frame).await?;
        while open && !self.app.is_closing() {
            let Ok(late) = timeout(AFTERMATH, self.mailbox.take()).await else {
                return Ok(());
            };
            open = late.more;
            if !open {
                // A client that waits for the end of this frame's sound hears too.
                self.send(&frame).await?;
            }
        }
        Ok(())
    }

    /// Speaks one text, from the frame that begins it to the one that ends it.
    /// `open` says whether more of its frames may come.
    async fn generation(
        &self,
        first: &Arc<Generation>,
        open: &mut bool,
    ) -> Result<Result<(), Fault>, Gone> {
        if !first.more && !first.flush && first.text().trim().is_empty() {
            // Closing what is not there is no mistake.
            self.send(&telling::done(&self.id)).await?;
            return Ok(Ok(()));
        }
        let _permit = match self.app.admit() {
            Ok(permit) => permit,
            Err(fault) => return Ok(Err(fault)),
        };
        let mut live = match self.begin(first).await {
            Ok(live) => live,
            Err(fault) => return Ok(Err(fault)),
        };
        live.open = true;
        let spoken = self.speak(&mut live, first).await;
        *open = live.open;
        spoken
    }

    async fn begin(&self, first: &Arc<Generation>) -> Result<Live, Fault> {
        let spec = format::raw_spec(&first.output_format)?;
        let begun = settings::begin(&self.app, self.caller, first).await?;
        let model = self.app.speech.model();
        let telling = Telling::new(self.id.clone(), model, spec, &self.version, first)?;
        Ok(Live {
            begun,
            telling,
            delay: Duration::from_millis(first.delay_ms()),
            settle: None,
            open: true,
            cut: false,
        })
    }

    async fn speak(&self, live: &mut Live, first: &Generation) -> Result<Result<(), Fault>, Gone> {
        if let Err(fault) = live.take(first) {
            return Ok(Err(fault));
        }
        let limits = &self.app.config.limits;
        let idle = Duration::from_secs(limits.idle_seconds);
        let mut patience = Instant::now() + idle;
        let closing = self.app.closing();
        tokio::pin!(closing);
        let mut last = None;
        loop {
            let far = Instant::now() + Duration::from_secs(86_400);
            let settle = live.settle.unwrap_or(far);
            tokio::select! {
                frame = self.mailbox.take(), if live.open && !live.cut => {
                    patience = Instant::now() + idle;
                    if let Err(fault) = live.take(&frame) {
                        return Ok(Err(fault));
                    }
                }
                event = live.begun.stream.next() => {
                    patience = Instant::now() + idle;
                    let Some(event) = event else {
                        return Ok(Ok(()));
                    };
                    if live.cut && matches!(event, Event::Done) {
                        return Ok(Err(stopping()));
                    }
                    let frames = match live.telling.tell(event) {
                        Ok(frames) => frames,
                        Err(fault) => return Ok(Err(fault)),
                    };
                    let sending = self.send_all(&frames);
                    match timeout_at(last.unwrap_or(far), sending).await {
                        Ok(sent) => sent?,
                        Err(_) => return Ok(Err(stopping())),
                    }
                }
                () = sleep_until(settle), if live.settle.is_some() => live.settle(),
                () = &mut closing, if last.is_none() => {
                    let seconds = limits.shutdown_seconds.saturating_sub(MARGIN);
                    last = Some(Instant::now() + Duration::from_secs(seconds));
                    live.cut();
                }
                () = sleep_until(last.unwrap_or(far)), if last.is_some() => {
                    return Ok(Err(stopping()));
                }
                () = sleep_until(patience) => return Ok(Err(expired(limits.idle_seconds))),
            }
        }
    }

    async fn send_all(&self, frames: &[Value]) -> Result<(), Gone> {
        for frame in frames {
            self.send(frame).await?;
        }
        Ok(())
    }
}

/// A context that speaks.
struct Live {
    begun: Begun,
    telling: Telling,
    /// How long text waits for its sentence's end.
    delay: Duration,
    /// When what waits now is spoken as it is.
    settle: Option<Instant>,
    /// More text may come.
    open: bool,
    /// More text was to come when the server was told to stop.
    cut: bool,
}

impl Live {
    /// Takes what a frame says.
    fn take(&mut self, frame: &Generation) -> Result<(), Fault> {
        // Whatever becomes of the text, no more comes after it.
        self.open = frame.more;
        let text = frame.text();
        let Begun {
            stream,
            text: transcript,
            ..
        } = &mut self.begun;
        if !text.is_empty() {
            transcript.push(text, stream, self.telling.words.as_mut())?;
        }
        if frame.flush || !frame.more {
            transcript.settle(stream, self.telling.words.as_mut());
            self.settle = None;
        }
        if frame.flush {
            let number = self.telling.flush();
            stream.flush(number);
        }
        if !frame.more {
            stream.finish();
        } else if !frame.flush && !text.is_empty() {
            self.wait(text);
        }
        Ok(())
    }

    /// Sees to it that text does not wait for its sentence's end for too long.
    fn wait(&mut self, text: &str) {
        if self.delay.is_zero() {
            return self.settle();
        }
        // What came before a mark is spoken without being waited for.
        let marked = text.contains(['.', ',', ';', ':', '!', '?', '\n']);
        if self.settle.is_none() || marked {
            self.settle = Some(Instant::now() + self.delay);
        }
    }

    /// Has what waits spoken as it is.
    fn settle(&mut self) {
        self.settle = None;
        self.begun
            .text
            .settle(&self.begun.stream, self.telling.words.as_mut());
        self.begun.stream.settle();
    }

    /// Ends an unfinished text where it is.
    fn cut(&mut self) {
        if self.open {
            self.cut = true;
            self.settle = None;
            self.begun
                .text
                .settle(&self.begun.stream, self.telling.words.as_mut());
            self.begun.stream.finish();
        }
    }
}

fn stopping() -> Fault {
    let message = "the server is about to stop and this context was not finished: open a new socket and send the rest";
    Fault::new(Kind::Busy, "shutting_down", message).retry_after(5)
}

fn expired(seconds: u64) -> Fault {
    let message = format!(
        "no text came for {seconds} s: send the rest in a new context, and end each with \"continue\": false"
    );
    Fault::new(Kind::Timeout, "context_expired", message)
}

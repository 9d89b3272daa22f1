//! Wyoming, the protocol of Home Assistant's voices: events over TCP.
//!
//! A connection says one thing after the other; what is asked for while
//! something is being said waits. Text may come while it is already being
//! spoken. There are no keys in this protocol, so where the server has keys, or
//! is reached from other machines, it speaks only if the configuration says so.

mod frame;
mod info;
mod ssml;
#[cfg(test)]
mod tests;
mod utterance;

pub(crate) use frame::read_all;

use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::metrics::RequestLabels;
use frame::{Frames, Said, write};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use utterance::{Told, Utterance};

/// Events that may wait for the end of what is being said; after those the
/// connection is not read from.
const LATER: usize = 16;
/// Messages on their way to the client.
const OUT: usize = 4;

/// One connection.
pub(crate) async fn serve(app: Arc<App>, socket: TcpStream) {
    converse(app, socket).await;
}

/// One connection over whatever carries bytes. It ends when the client hangs
/// up, takes nothing for a while, or says something that is no event.
async fn converse<S: AsyncRead + AsyncWrite>(app: Arc<App>, socket: S) {
    let (mut from, to) = tokio::io::split(socket);
    let (out, messages) = mpsc::channel(OUT);
    let patience = Duration::from_secs(app.config.limits.stall_seconds);
    let mut writing = std::pin::pin!(send_all(to, messages, patience));
    let talk = Talk::new(app, out);
    tokio::select! {
        () = talk.run(&mut from) => writing.await,
        // The client takes nothing any more; what was being said is cancelled.
        () = &mut writing => {}
    }
}

/// Sends messages until there are no more or the client takes none.
async fn send_all(
    mut to: impl AsyncWrite + Unpin,
    mut messages: mpsc::Receiver<Vec<u8>>,
    patience: Duration,
) {
    while let Some(message) = messages.recv().await {
        let sending = async {
            to.write_all(&message).await?;
            to.flush().await
        };
        if !matches!(tokio::time::timeout(patience, sending).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = tokio::time::timeout(patience, to.shutdown()).await;
}

/// What a connection is doing.
enum Doing {
    Nothing,
    /// Saying something.
    Saying(Box<Utterance>),
    /// Passing over the rest of a text that was refused.
    Refusing,
}

/// A connection's state.
struct Talk {
    app: Arc<App>,
    out: mpsc::Sender<Vec<u8>>,
    frames: Frames,
    doing: Doing,
    /// What was asked for meanwhile.
    later: VecDeque<Said>,
    /// When something last happened.
    last: Instant,
}

/// The connection is over.
struct Over;

impl Talk {
    fn new(app: Arc<App>, out: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            app,
            out,
            frames: Frames::default(),
            doing: Doing::Nothing,
            later: VecDeque::new(),
            last: Instant::now(),
        }
    }

    async fn run(mut self, from: &mut (impl AsyncRead + Unpin)) {
        let app = Arc::clone(&self.app);
        let idle = Duration::from_secs(app.config.limits.idle_seconds.max(1));
        let mut closing = false;
        loop {
            if self.catch_up().await.is_err() {
                return;
            }
            if closing && !matches!(self.doing, Doing::Saying(_)) {
                return;
            }
            let deadline = match &self.doing {
                Doing::Saying(utterance) => utterance.deadline.min(self.last + idle),
                _ => self.last + idle,
            };
            let over = tokio::select! {
                said = read(&mut self.frames, from), if self.later.len() < LATER => {
                    self.last = Instant::now();
                    self.hear(said).await
                }
                told = tell(&self.out, &mut self.doing) => {
                    self.last = Instant::now();
                    self.told(told).await
                }
                () = app.closing(), if !closing => {
                    closing = true;
                    Ok(())
                }
                () = tokio::time::sleep_until(deadline) => self.too_late().await,
            };
            if over.is_err() {
                return;
            }
        }
    }

    async fn send(&mut self, message: Vec<u8>) -> Result<(), Over> {
        self.out.send(message).await.map_err(|_| Over)
    }

    // These take `&mut self` because an encoder cannot be shared by threads.

    /// Tells what went wrong, and counts it.
    async fn refuse(&mut self, fault: &Fault) -> Result<(), Over> {
        count(&self.app, fault.kind.status().as_u16());
        let data = json!({ "text": fault.message, "code": fault.code });
        self.send(write("error", &data, &[])).await
    }

    async fn hear(&mut self, said: Result<Option<Said>, Fault>) -> Result<(), Over> {
        let said = match said {
            Ok(Some(said)) => said,
            Ok(None) => return Err(Over),
            Err(fault) => {
                // Where the next event begins cannot be known any more.
                self.refuse(&fault).await?;
                return Err(Over);
            }
        };
        match said.kind.as_str() {
            "describe" => {
                let app = Arc::clone(&self.app);
                let listed = crate::http::blocking(move || Ok(info::info(&info::voices(&app))));
                match listed.await {
                    Ok(data) => self.send(write("info", &data, &[])).await,
                    Err(fault) => self.refuse(&fault).await,
                }
            }
            "ping" => {
                let text = said.data.get("text").cloned().unwrap_or_default();
                self.send(write("pong", &json!({ "text": text }), &[]))
                    .await
            }
            "synthesize" | "synthesize-start" | "synthesize-chunk" | "synthesize-stop" => {
                self.later.push_back(said);
                Ok(())
            }
            // Other things of the protocol that concern other programs, and
            // what it may have in the future.
            _ => Ok(()),
        }
    }

    /// Does what was asked for, as far as it can be done now.
    async fn catch_up(&mut self) -> Result<(), Over> {
        while let Some(said) = self.later.pop_front() {
            let open = matches!(&self.doing, Doing::Saying(utterance) if utterance.open);
            let done = match (&mut self.doing, said.kind.as_str()) {
                (Doing::Nothing, "synthesize") => self.begin(said, false).await,
                (Doing::Nothing, "synthesize-start") => self.begin(said, true).await,
                // Without a beginning: what it belonged to is over.
                (Doing::Nothing, _) => Ok(()),
                (Doing::Saying(utterance), "synthesize-chunk") if open => utterance.chunk(&said),
                (Doing::Saying(utterance), "synthesize-stop") if open => {
                    utterance.finish();
                    Ok(())
                }
                // The whole text again, for servers that cannot stream.
                (Doing::Saying(_), "synthesize") if open => Ok(()),
                (Doing::Saying(utterance), kind) => {
                    // A new beginning is an end as well.
                    if kind == "synthesize-start" && open {
                        utterance.finish();
                    }
                    self.later.push_front(said);
                    return Ok(());
                }
                (Doing::Refusing, "synthesize-stop") => {
                    self.doing = Doing::Nothing;
                    self.send(write("synthesize-stopped", &json!({}), &[]))
                        .await?;
                    Ok(())
                }
                (Doing::Refusing, "synthesize-start") => self.begin(said, true).await,
                (Doing::Refusing, _) => Ok(()),
            };
            if let Err(fault) = done {
                self.fail(&fault).await?;
            }
        }
        Ok(())
    }

    /// Begins to say something.
    async fn begin(&mut self, said: Said, streamed: bool) -> Result<(), Fault> {
        // If this fails, the rest of a stream is passed over.
        self.doing = match streamed {
            true => Doing::Refusing,
            false => Doing::Nothing,
        };
        let utterance = Utterance::begin(&self.app, said, streamed).await?;
        self.doing = Doing::Saying(Box::new(utterance));
        Ok(())
    }

    /// Ends what is being said with an error.
    async fn fail(&mut self, fault: &Fault) -> Result<(), Over> {
        if let Doing::Saying(utterance) = &self.doing {
            self.doing = match utterance.open {
                true => Doing::Refusing,
                false => Doing::Nothing,
            };
        }
        self.refuse(fault).await
    }

    async fn told(&mut self, told: Result<Told, Fault>) -> Result<(), Over> {
        match told {
            Ok(Told::Sent) => Ok(()),
            Ok(Told::Over) => Err(Over),
            Ok(Told::Done(last)) => {
                self.doing = Doing::Nothing;
                count(&self.app, 200);
                self.send(last).await
            }
            Err(fault) => self.fail(&fault).await,
        }
    }

    /// Nothing happened for too long, or one thing took too long.
    async fn too_late(&mut self) -> Result<(), Over> {
        let long = match &self.doing {
            Doing::Nothing => return Err(Over),
            Doing::Saying(utterance) => utterance.deadline <= Instant::now(),
            Doing::Refusing => false,
        };
        if long {
            let message = "this took longer than a request may: send less text at once, or raise limits.request_seconds";
            let fault = Fault::new(Kind::Timeout, "request_timeout", message);
            return self.fail(&fault).await;
        }
        let message = "nothing was sent for too long: send the text as it comes, and synthesize-stop at its end";
        let fault = Fault::new(Kind::Timeout, "idle_timeout", message);
        self.refuse(&fault).await?;
        Err(Over)
    }
}

/// The next event; `None` if the client has hung up. May be dropped and asked
/// again without losing anything.
async fn read(
    frames: &mut Frames,
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Said>, Fault> {
    loop {
        if let Some(said) = frames.next()? {
            return Ok(Some(said));
        }
        let read = from.read_buf(frames.room()).await;
        if !matches!(read, Ok(1..)) {
            return Ok(None);
        }
    }
}

/// Tells the next of what is being said; waits for ever if that is nothing.
async fn tell(out: &mpsc::Sender<Vec<u8>>, doing: &mut Doing) -> Result<Told, Fault> {
    match doing {
        Doing::Saying(utterance) => utterance.tell(out).await,
        _ => std::future::pending().await,
    }
}

fn count(app: &App, status: u16) {
    let route = "wyoming synthesize".to_owned();
    let labels = RequestLabels { route, status };
    app.metrics.requests.get_or_create(&labels).inc();
}

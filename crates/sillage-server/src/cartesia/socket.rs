//! `GET /tts/websocket`: many contexts on one socket.
//!
//! One task reads, one writes, and every context is a task of its own. What is
//! written goes through a short queue: a client that does not read stops its
//! contexts, then their streams, and after a while it is left.

use super::context::{Context, Outgoing};
use super::frames;
use super::mailbox::{Mailbox, Refused};
use super::request::Generation;
use super::version::Version;
use crate::app::App;
use crate::fault::{Fault, Kind};
use crate::http::RequestId;
use crate::keys::Caller;
use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use futures_util::stream::SplitStream;
use futures_util::{Sink, SinkExt, StreamExt};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

/// Frames that wait to be written.
const QUEUE: usize = 8;
/// Bytes that a socket reads at once.
const READ: usize = 16 << 10;
/// Bytes of a frame beside its transcript: an embedding is the largest of it.
const FRAME: usize = 64 << 10;
/// Bytes that a character may take, escaped in JSON.
const ESCAPED: usize = 12;
/// Bytes of a context's name.
const NAME: usize = 1024;
/// Of the time in which a client must read, so much is left at most for telling
/// it that it did not; after all of it the connection itself is dropped.
const LAST_WORD: Duration = Duration::from_secs(5);
/// How long a client has to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) async fn upgrade(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(RequestId(request)): Extension<RequestId>,
    headers: HeaderMap,
    uri: Uri,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Fault> {
    let socket = socket.map_err(|_| {
        let message = "this path speaks WebSocket: connect with ws:// or wss://, or POST to /tts/bytes or /tts/sse";
        Fault::new(Kind::BadRequest, "not_a_websocket", message)
    })?;
    let place = app.upgrade()?;
    let limits = &app.config.limits;
    let body = usize::try_from(limits.body_bytes).unwrap_or(usize::MAX);
    let most = limits
        .text_chars
        .saturating_mul(ESCAPED)
        .saturating_add(FRAME)
        .min(body);
    let version = Version::of(&headers, &uri);
    let socket = socket
        .max_message_size(most)
        .max_frame_size(most)
        .read_buffer_size(READ);
    let serve = move |socket: WebSocket| async move {
        // Held until the last frame is written: a server that stops waits for it.
        let _place = place;
        let (out, queue) = mpsc::channel(QUEUE);
        let (sink, stream) = socket.split();
        let patience = Duration::from_secs(app.config.limits.stall_seconds);
        let writer = tokio::spawn(write(sink, queue, patience));
        let serving = Serving {
            app,
            caller,
            version,
            request,
            out,
            live: HashMap::new(),
            tasks: JoinSet::new(),
        };
        serving.run(stream).await;
        // The last sender is gone, so this ends as soon as all is written.
        let _ = writer.await;
    };
    Ok(socket.on_upgrade(serve))
}

/// Writes what is to be sent, in order. A client that takes nothing is told so
/// a little before `stall` is over: if it reads on by then, it finds out why.
async fn write<S>(mut sink: S, mut queue: mpsc::Receiver<Outgoing>, stall: Duration)
where
    S: Sink<Message> + Unpin,
    S::Error: std::fmt::Display,
{
    let last_word = LAST_WORD.min(stall / 4);
    while let Some(outgoing) = queue.recv().await {
        if outgoing.is_void() {
            continue;
        }
        match timeout(stall - last_word, sink.send(outgoing.message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::debug!("a socket takes nothing any more: {error}"),
            Err(_) => {
                tracing::info!(
                    "a client did not read for {} s and is left",
                    stall.as_secs()
                );
                let bye = close(close_code::POLICY, "what was sent was not read in time");
                let _ = timeout(last_word, sink.send(bye)).await;
                return;
            }
        }
    }
    let _ = timeout(GOODBYE, sink.close()).await;
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame {
        code,
        reason: reason.into(),
    }))
}

/// A context as its socket knows it.
struct Live {
    mailbox: Arc<Mailbox>,
    cancelled: Arc<AtomicBool>,
    task: AbortHandle,
}

/// The reading side of a socket.
struct Serving {
    app: Arc<App>,
    caller: Caller,
    version: Version,
    request: String,
    out: mpsc::Sender<Outgoing>,
    live: HashMap<String, Live>,
    tasks: JoinSet<()>,
}

/// How a socket ends.
enum End {
    /// The client went or said goodbye.
    Left,
    /// We say goodbye.
    Close(u16, &'static str),
}

impl Serving {
    async fn run(mut self, mut stream: SplitStream<WebSocket>) {
        let end = self.serve(&mut stream).await;
        // Contexts stop with the tasks that are dropped here.
        self.tasks.shutdown().await;
        if let End::Close(code, reason) = end {
            self.send(close(code, reason)).await;
            // Dropping a socket with something unread may throw away what was
            // written last, so the client's own goodbye is waited for.
            let rest = async { while let Some(Ok(_)) = stream.next().await {} };
            let _ = timeout(GOODBYE, rest).await;
        }
    }

    async fn serve(&mut self, stream: &mut SplitStream<WebSocket>) -> End {
        let idle = Duration::from_secs(self.app.config.limits.idle_seconds);
        let mut silent = Instant::now() + idle;
        let app = Arc::clone(&self.app);
        let closing = app.closing();
        tokio::pin!(closing);
        let mut stopping = false;
        let out = self.out.clone();
        loop {
            if stopping && self.tasks.is_empty() {
                return End::Close(close_code::AWAY, "the server is about to stop");
            }
            tokio::select! {
                message = stream.next() => {
                    silent = Instant::now() + idle;
                    match message {
                        Some(Ok(message)) => {
                            if let Some(end) = self.hear(message).await {
                                return end;
                            }
                        }
                        Some(Err(error)) => return self.misheard(&error.to_string()).await,
                        None => return End::Left,
                    }
                }
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    silent = Instant::now() + idle;
                    self.ended(ended).await;
                }
                () = sleep_until(silent), if self.tasks.is_empty() => {
                    return End::Close(close_code::NORMAL, "nothing was sent for a while");
                }
                () = &mut closing, if !stopping => stopping = true,
                () = out.closed() => return End::Left,
            }
        }
    }

    async fn send(&self, message: Message) {
        // If nobody writes any more, the loop notices.
        let _ = self.out.send(Outgoing::plain(message)).await;
    }

    async fn send_error(&self, fault: &Fault, context: Option<&str>) {
        let frame = frames::error(fault, context, &self.request);
        self.send(Message::text(frame.to_string())).await;
    }

    async fn hear(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Text(text) => self.frame(text.as_bytes()).await,
            Message::Binary(_) => {
                let message = "frames are JSON in text messages, not binary ones";
                let fault = Fault::new(Kind::BadRequest, "binary_frame", message);
                self.send_error(&fault, None).await;
            }
            Message::Close(_) => return Some(End::Left),
            // Pings are answered where messages are read.
            Message::Ping(_) | Message::Pong(_) => {}
        }
        None
    }

    /// A message that is none ends the socket: what follows it cannot be found.
    async fn misheard(&self, error: &str) -> End {
        let small = error.to_lowercase();
        let (fault, code, reason) = if small.contains("utf-8") || small.contains("utf8") {
            let fault = Fault::new(
                Kind::BadRequest,
                "invalid_utf8",
                "a text message was not UTF-8: encode it so",
            );
            (fault, close_code::INVALID, "a text message was not UTF-8")
        } else if small.contains("too long")
            || small.contains("space limit")
            || small.contains("capacity")
        {
            let fault = Fault::new(
                Kind::TooLarge,
                "frame_too_large",
                "a message was too large: send text in smaller pieces",
            );
            (fault, close_code::SIZE, "a message was too large")
        } else {
            tracing::debug!("a socket broke: {error}");
            return End::Left;
        };
        self.send_error(&fault, None).await;
        End::Close(code, reason)
    }

    async fn frame(&mut self, bytes: &[u8]) {
        let generation = match frames::parse(bytes) {
            Ok(generation) => generation,
            Err((id, fault)) => return self.send_error(&fault, id.as_deref()).await,
        };
        if generation
            .context_id
            .as_ref()
            .is_some_and(|id| id.len() > NAME)
        {
            let message = format!("a context_id has at most {NAME} bytes: a UUID will do");
            return self
                .send_error(&Fault::bad("context_id", message), None)
                .await;
        }
        let id = generation.context_id.clone();
        let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        if generation.cancel {
            if let Some(live) = self.live.remove(&id) {
                live.cancelled.store(true, Ordering::Relaxed);
                live.task.abort();
            }
            return;
        }
        let refused = match self.live.get(&id) {
            Some(live) => live.mailbox.push(generation),
            None => Err(Refused::Closed(Box::new(generation))),
        };
        match refused {
            Ok(()) => {}
            Err(Refused::Closed(generation)) => self.begin(id, *generation).await,
            Err(Refused::Full) => {
                let message =
                    "too many frames wait for this context: send more text in fewer frames";
                let fault = Fault::new(Kind::TooMany, "too_many_frames", message);
                self.send_error(&fault, Some(&id)).await;
            }
        }
    }

    async fn begin(&mut self, id: String, first: Generation) {
        // One whose end is not noticed yet makes room for its successor.
        self.live.remove(&id);
        let most = self.app.config.limits.contexts;
        if self.live.len() >= most {
            let message = format!(
                "this socket has {most} contexts already: end some with \"continue\": false or cancel them, or open another socket"
            );
            let fault = Fault::new(Kind::TooMany, "too_many_contexts", message);
            return self.send_error(&fault, Some(&id)).await;
        }
        let mailbox = Arc::new(Mailbox::default());
        // A new box takes its first frame.
        let _ = mailbox.push(first);
        let cancelled = Arc::new(AtomicBool::new(false));
        let context = Context {
            id: id.clone(),
            app: Arc::clone(&self.app),
            caller: self.caller,
            version: self.version.clone(),
            request: self.request.clone(),
            mailbox: Arc::clone(&mailbox),
            out: self.out.clone(),
            cancelled: Arc::clone(&cancelled),
        };
        let task = self.tasks.spawn(context.run());
        let live = Live {
            mailbox,
            cancelled,
            task,
        };
        self.live.insert(id, live);
    }

    /// Forgets a context whose task has ended.
    async fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let (task, broke) = match &ended {
            Ok((task, ())) => (*task, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let of = self.live.iter().find(|(_, live)| live.task.id() == task);
        let Some(id) = of.map(|(id, _)| id.clone()) else {
            return;
        };
        self.live.remove(&id);
        if broke {
            let fault = Fault::internal("a context's task has panicked");
            self.send_error(&fault, Some(&id)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll};

    /// A client that reads nothing before a while is over.
    struct Slow {
        wakes: Pin<Box<tokio::time::Sleep>>,
        got: Arc<Mutex<Vec<Message>>>,
    }

    impl Sink<Message> for Slow {
        type Error = std::io::Error;
        fn poll_ready(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Result<(), Self::Error>> {
            self.wakes.as_mut().poll(cx).map(Ok)
        }
        fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Self::Error> {
            self.got.lock().unwrap().push(message);
            Ok(())
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_again_finds_out_why_it_was_left() {
        let got = Arc::new(Mutex::new(Vec::new()));
        let slow = Slow {
            // Later than the frame is waited for, before all is over.
            wakes: Box::pin(tokio::time::sleep(Duration::from_millis(3500))),
            got: Arc::clone(&got),
        };
        let (out, queue) = mpsc::channel(2);
        for _ in 0..2 {
            out.send(Outgoing::plain(Message::text("sound")))
                .await
                .unwrap();
        }
        write(slow, queue, Duration::from_secs(4)).await;
        let got = got.lock().unwrap();
        assert!(
            matches!(&got[..], [Message::Close(Some(frame))] if frame.code == close_code::POLICY)
        );
        assert!(out.is_closed());
    }
}

//! Sockets: plain and TLS on one port, and how everything comes to its end.

use crate::app::App;
use crate::fault::Fault;
use crate::{cartesia, http, native, openai, playground, tls, wyoming};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The first byte of a TLS connection.
const TLS_HELLO: u8 = 0x16;
/// Memory is given back every so many seconds.
const RELEASE_SECONDS: u64 = 5;
/// How long a client may take for the head of a request.
const HEAD_SECONDS: u64 = 20;

/// Where a server listens.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// HTTP and WebSocket.
    pub http: Vec<SocketAddr>,
    /// Wyoming.
    pub wyoming: Vec<SocketAddr>,
}

/// A server whose sockets are open.
pub struct Server {
    app: Arc<App>,
    http: Vec<TcpListener>,
    wyoming: Vec<TcpListener>,
    tls: Option<TlsAcceptor>,
    /// Where it listens.
    pub addresses: Addresses,
}

impl Server {
    /// Opens the sockets that the configuration names.
    ///
    /// # Errors
    /// If a port is taken, an address is not this machine's, or TLS cannot be
    /// set up.
    pub async fn bind(app: Arc<App>) -> Result<Self, Fault> {
        let config = &app.config;
        let folder = config.state_dir.as_deref();
        let tls = config.tls.as_deref().map(|s| tls::acceptor(s, folder));
        let tls = tls.transpose()?;
        let http = open(&config.host, config.port, "port").await?;
        let wyoming = match config.wyoming {
            true => open(&config.host, config.wyoming_port, "wyoming_port").await?,
            false => Vec::new(),
        };
        let local = |all: &[TcpListener]| all.iter().filter_map(|l| l.local_addr().ok()).collect();
        let addresses = Addresses {
            http: local(&http),
            wyoming: local(&wyoming),
        };
        Ok(Self {
            app,
            http,
            wyoming,
            tls,
            addresses,
        })
    }

    /// Answers until `stop` comes back; then lets what runs come to its end, as
    /// long as the configuration gives it, and saves states.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let app = self.app;
        let router = router(&app);
        let sockets = Arc::new(Semaphore::new(app.config.limits.connections));
        let mut listening = JoinSet::new();
        let (mut http, mut others) = (Vec::new(), Vec::new());
        for listener in self.http {
            let served = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
            http.push(Arc::clone(&served));
            let (app, router, tls) = (Arc::clone(&app), router.clone(), self.tls.clone());
            let sockets = Arc::clone(&sockets);
            listening.spawn(async move {
                accept(&app, listener, sockets, served, move |app, socket| {
                    serve(app, socket, router.clone(), tls.clone())
                })
                .await;
            });
        }
        for listener in self.wyoming {
            let served = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
            others.push(Arc::clone(&served));
            let (app, sockets) = (Arc::clone(&app), Arc::clone(&sockets));
            listening.spawn(async move {
                accept(&app, listener, sockets, served, wyoming::serve).await;
            });
        }
        listening.spawn(watch(Arc::clone(&app)));
        stop.await;
        app.close();
        listening.shutdown().await;
        let ending = async {
            for served in http.iter().chain(&others) {
                let mut served = served.lock().await;
                while served.join_next().await.is_some() {}
            }
            app.no_sockets().await;
        };
        let limit = Duration::from_secs(app.config.limits.shutdown_seconds);
        if tokio::time::timeout(limit, ending).await.is_err() {
            tracing::warn!("some streams did not end in time and were broken off");
        }
        let saved = app.flush();
        tracing::info!(saved, "states are saved");
    }
}

/// Measures each second, and now and then gives back the memory that states left
/// which are on disk now.
async fn watch(app: Arc<App>) {
    for second in 0u64.. {
        app.measure();
        app.metrics.tick();
        if second % RELEASE_SECONDS == 0 {
            let released = tokio::task::spawn_blocking(sillage_kernels::memory::release_unused);
            let _ = released.await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// All routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .merge(openai::router())
        .merge(cartesia::router())
        .merge(native::router())
        .merge(playground::router())
        .fallback(http::not_found)
        .method_not_allowed_fallback(async || http::method_not_allowed())
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(app),
            http::around,
        ))
        .with_state(Arc::clone(app))
}

async fn open(hosts: &[String], port: u16, field: &str) -> Result<Vec<TcpListener>, Fault> {
    let mut open: Vec<TcpListener> = Vec::new();
    let mut port = port;
    for host in hosts {
        let listener = TcpListener::bind((host.as_str(), port)).await;
        let listener = match listener {
            Ok(listener) => listener,
            // A machine without IPv6 is served by the other address.
            Err(error) if host == "::1" && !open.is_empty() && is_missing(&error) => {
                tracing::info!("not listening on [::1]: {error}");
                continue;
            }
            Err(error) => {
                let message = format!(
                    "cannot listen on {host} port {port}: {error}; choose another --{}",
                    field.replace('_', "-")
                );
                return Err(Fault::bad(field, message));
            }
        };
        // A free port that the system chose is taken for all addresses.
        port = listener.local_addr().map_or(port, |a| a.port());
        open.push(listener);
    }
    Ok(open)
}

fn is_missing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::AddrNotAvailable | ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(97)
}

type Served = Arc<tokio::sync::Mutex<JoinSet<()>>>;

/// Takes connections in, as many as are allowed.
async fn accept<F>(
    app: &Arc<App>,
    listener: TcpListener,
    sockets: Arc<Semaphore>,
    served: Served,
    serve: impl Fn(Arc<App>, TcpStream) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                // Too many open files, most likely: wait for some to close.
                tracing::warn!("a connection was not taken: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&sockets).try_acquire_owned() else {
            app.metrics.refused.inc();
            continue;
        };
        let _ = socket.set_nodelay(true);
        let metrics = Arc::clone(&app.metrics);
        let work = serve(Arc::clone(app), socket);
        let mut served = served.lock().await;
        while served.try_join_next().is_some() {}
        served.spawn(async move {
            metrics.connections.inc();
            work.await;
            metrics.connections.dec();
            drop(place);
        });
    }
}

/// One HTTP connection, in TLS if it begins so.
async fn serve(app: Arc<App>, socket: TcpStream, router: Router, tls: Option<TlsAcceptor>) {
    let patience = Duration::from_secs(app.config.limits.stall_seconds);
    let head = Duration::from_secs(HEAD_SECONDS);
    let Some(tls) = tls else {
        return speak(&app, Patient::new(socket, patience), router).await;
    };
    let mut first = [0];
    let peeked = tokio::time::timeout(head, socket.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) {
        return;
    }
    if first[0] != TLS_HELLO {
        return speak(&app, Patient::new(socket, patience), router).await;
    }
    match tokio::time::timeout(head, tls.accept(Patient::new(socket, patience))).await {
        Ok(Ok(stream)) => speak(&app, stream, router).await,
        Ok(Err(error)) => tracing::debug!("a TLS connection was not made: {error}"),
        Err(_) => tracing::debug!("a TLS connection took too long"),
    }
}

async fn speak<S>(app: &Arc<App>, stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The builder that guesses the version waits for the first byte for ever.
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_SECONDS))
        .max_buf_size(64 << 10);
    let service = TowerToHyperService::new(router);
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = app.closing() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended early: {error}");
    }
}

/// A stream that gives up on a client that takes nothing for a while.
pub(crate) struct Patient<S> {
    inner: S,
    patience: Duration,
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<S> Patient<S> {
    pub(crate) fn new(inner: S, patience: Duration) -> Self {
        Self {
            inner,
            patience,
            waiting: None,
        }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let patience = self.patience;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        std::task::ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, polled)
    }
}

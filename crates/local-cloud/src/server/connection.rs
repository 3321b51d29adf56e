//! The accept loop: serves each connection over HTTP/1.1, with limits on what a stalled client can
//! hold.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, Version, header};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::framing::{Ambiguous, Framing};
use crate::admission::TwoLengths;
use crate::{clock, limits};

/// Limits of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// Timeout for the headers of a request.
    pub(crate) head: Duration,
    /// Timeout for the next bytes of a body.
    pub(crate) body: Duration,
    /// Timeout for the client to accept more bytes of a response.
    pub(crate) answer: Duration,
    /// Maximum number of concurrent connections; more wait in the queue of the listener.
    pub(crate) connections: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            head: limits::HEAD_TIME,
            body: limits::BODY_TIME,
            answer: limits::ANSWER_TIME,
            connections: limits::MAX_CONNECTIONS,
        }
    }
}

/// Serves until `closing` completes, then waits for the requests in progress.
pub(crate) async fn serve<F, R>(
    listener: TcpListener,
    allowed: ConnectionLimits,
    closing: impl Future<Output = ()>,
    handle: F,
) where
    F: Fn(Request<Body>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(allowed.connections));
    let (close, closed) = watch::channel(());
    let mut tasks = JoinSet::new();
    let mut closing = pin!(closing);
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = async {
            let permit = permits.clone().acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut closing => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, or the client has already disconnected.
            clock::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (closed, handle) = (closed.clone(), handle.clone());
        tasks.spawn(async move {
            let _permit = permit;
            connection(stream, allowed, closed, handle).await;
        });
    }
    drop((listener, close));
    while tasks.join_next().await.is_some() {}
}

async fn connection<F, R>(
    stream: TcpStream,
    allowed: ConnectionLimits,
    mut closed: watch::Receiver<()>,
    handle: F,
) where
    F: Fn(Request<Body>) -> R,
    R: Future<Output = Response<Body>>,
{
    // Responses are written at once; waiting for more bytes would only delay them.
    let _ = stream.set_nodelay(true);
    let (interim, ambiguous) = (Arc::new(Interim::default()), Arc::new(Ambiguous::default()));
    let socket = TokioIo::new(Socket {
        stream,
        interim: interim.clone(),
        sent: 0,
        timeout: allowed.answer,
        timer: None,
        framing: Framing::default(),
        ambiguous: ambiguous.clone(),
    });
    let count = AtomicUsize::new(0);
    let service = service_fn(move |mut request: Request<Incoming>| {
        if ambiguous.includes(count.fetch_add(1, Ordering::Relaxed)) {
            request.extensions_mut().insert(TwoLengths);
        }
        if awaits_continue(&request) {
            interim.send();
        }
        let request = request.map(|body| {
            Body::new(TimedBody {
                body,
                timeout: allowed.body,
                timer: None,
            })
        });
        let answer = handle(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(allowed.head)
        .max_header_size(limits::MAX_HEAD)
        .max_headers(limits::MAX_HEADERS)
        .serve_connection(socket, service);
    let mut connection = pin!(connection);
    // There is nobody to report a broken connection to.
    tokio::select! {
        _ = connection.as_mut() => {}
        _ = closed.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// True for a request without a body whose client still waits for `100 Continue`. Hyper sends it
/// when a body is read, and so never for an empty one.
fn awaits_continue(request: &Request<Incoming>) -> bool {
    request.version() >= Version::HTTP_11
        && request.body().is_end_stream()
        && request
            .headers()
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// State of an interim response (`100 Continue`) that must precede all other bytes.
#[derive(Debug, Default)]
struct Interim {
    wanted: AtomicBool,
    /// True if bytes of an earlier response may still be in the buffer of hyper.
    unflushed: AtomicBool,
}

impl Interim {
    /// Requests `100 Continue`, except for a client that pipelines requests: it does not wait, and
    /// the bytes could end up inside a response.
    fn send(&self) {
        if !self.unflushed.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }
}

/// The socket of a client.
struct Socket {
    stream: TcpStream,
    interim: Arc<Interim>,
    /// Number of bytes of [`CONTINUE`] that were written.
    sent: usize,
    /// Timeout for the client to accept more bytes.
    timeout: Duration,
    /// Runs while the client accepts no bytes.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    framing: Framing,
    ambiguous: Arc<Ambiguous>,
}

impl Socket {
    fn poll_interim(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.interim.wanted.load(Ordering::Relaxed) {
            let rest = &CONTINUE[self.sent..];
            let length = rest.len();
            let written = Pin::new(&mut self.stream).poll_write(context, rest);
            let count = ready!(self.with_timeout(context, written))?;
            self.sent += count;
            if count == length {
                self.sent = 0;
                self.interim.wanted.store(false, Ordering::Relaxed);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    /// Passes on the result of a write; fails if the client has accepted nothing for too long.
    /// Otherwise a client that does not read its response would hold the connection forever.
    fn with_timeout<R>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let timeout = self.timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(clock::sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let Self {
            framing, ambiguous, ..
        } = &mut *self;
        framing.follow(&buffer.filled()[before..], ambiguous);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(context))?;
        self.interim.unflushed.store(true, Ordering::Relaxed);
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.with_timeout(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(context))?;
        self.interim.unflushed.store(true, Ordering::Relaxed);
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.with_timeout(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_interim(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.interim.unflushed.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A request body that fails if no bytes arrive for a while. Only time during which a handler waits
/// for bytes counts.
struct TimedBody {
    body: Incoming,
    timeout: Duration,
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl hyper::body::Body for TimedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let timeout = self.timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(clock::sleep(timeout)));
        ready!(timer.as_mut().poll(context));
        let seconds = timeout.as_secs();
        let error = format!("the request's body stalled: no bytes arrived for {seconds} seconds");
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;

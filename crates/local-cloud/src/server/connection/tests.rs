use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::*;

/// A running server, which is stopped when dropped.
struct Running {
    address: SocketAddr,
    _close: oneshot::Sender<()>,
}

/// A timeout that tests must never reach.
const LONG: ConnectionLimits = ConnectionLimits {
    head: Duration::from_mins(10),
    body: Duration::from_mins(10),
    answer: Duration::from_mins(10),
    connections: 8,
};

/// Responds with the length of the body. /early responds before it reads the body; a broken body is
/// a 400.
async fn answer(request: Request<Body>) -> Response<Body> {
    let early = request.uri().path() == "/early";
    let (status, text) = if early {
        (StatusCode::FORBIDDEN, "early".to_owned())
    } else {
        match request.into_body().collect().await {
            Ok(body) => (StatusCode::OK, body.to_bytes().len().to_string()),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
        }
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

async fn start(bounds: ConnectionLimits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (close, closed) = oneshot::channel();
    tokio::spawn(serve(
        listener,
        bounds,
        async {
            let _ = closed.await;
        },
        answer,
    ));
    Running {
        address,
        _close: close,
    }
}

/// Sends bytes and returns everything received until the server closes the connection.
async fn exchange(server: &Running, sent: &str) -> String {
    let (address, sent) = (server.address, sent.to_owned());
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap()
}

/// The text of a response without its date.
fn plain(answer: &str) -> String {
    let lines = answer
        .split("\r\n")
        .filter(|line| !line.starts_with("date: "));
    lines.collect::<Vec<_>>().join("\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issue_8_3_2_an_empty_body_is_continued() {
    let server = start(LONG).await;
    let put = |path: &str, length: &str, rest: &str| {
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{length}\r\n\r\n{rest}")
    };
    let last = "GET / HTTP/1.0\r\nHost: x\r\n\r\n";
    let ok = |body: &str| {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    // The client waits before it sends anything more, as curl and botocore do.
    let address = server.address;
    let waited = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = "PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut first = [0; CONTINUE.len()];
        stream.read_exact(&mut first).unwrap();
        stream
            .write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        (first.to_vec(), rest)
    })
    .await
    .unwrap();
    assert_eq!(waited.0, CONTINUE);
    assert!(plain(&waited.1).starts_with(&ok("0")), "{}", waited.1);
    // With a body, and with a handler that does not read it.
    let text = exchange(
        &server,
        &(put("/", "Content-Length: 2\r\nConnection: close", "ab")),
    )
    .await;
    assert!(
        text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"),
        "{text}"
    );
    let text = exchange(&server, &put("/early", "Content-Length: 2", "")).await;
    assert!(text.starts_with("HTTP/1.1 403"), "{text}");
    let text = exchange(&server, &(put("/early", "Content-Length: 0", "") + last)).await;
    assert!(
        text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403"),
        "{text}"
    );
    // A client that does not request it receives none.
    let text = exchange(&server, last).await;
    assert!(text.starts_with("HTTP/1.0 200"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issue_8_1_6_half_sent_headers_are_timed_out() {
    let server = start(ConnectionLimits {
        head: Duration::from_millis(50),
        ..LONG
    })
    .await;
    // Nothing at all, half a request, and half a second one.
    for sent in [
        "",
        "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT",
    ] {
        let answer = exchange(&server, sent).await;
        let answered = sent.contains("\r\n\r\n");
        assert_eq!(answer.starts_with("HTTP/1.1 200 OK"), answered, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issue_8_1_6_a_body_that_stalls_is_ended() {
    let server = start(ConnectionLimits {
        body: Duration::from_millis(50),
        ..LONG
    })
    .await;
    for kind in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let sent = format!("POST / HTTP/1.1\r\nHost: x\r\n{kind}\r\n\r\n3\r\nab");
        let answer = exchange(&server, &sent).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("stalled"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issue_8_1_6_connections_are_bounded() {
    let server = start(ConnectionLimits {
        connections: 1,
        head: Duration::from_millis(200),
        ..LONG
    })
    .await;
    // The first connection occupies the only slot until it times out; the second one is served
    // after that.
    let mut holder = TcpStream::connect(server.address).unwrap();
    let answer = exchange(&server, "GET / HTTP/1.0\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    holder.set_nonblocking(true).unwrap();
    assert_eq!(holder.read(&mut [0]).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issue_8_1_6_headers_are_bounded() {
    let server = start(LONG).await;
    let long = format!("X-Long: {}\r\n", "x".repeat(limits::MAX_HEAD));
    for headers in [long, "X-Many: 1\r\n".repeat(limits::MAX_HEADERS)] {
        let sent = format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let answer = exchange(&server, &sent).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let differing =
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc";
    let answer = exchange(&server, differing).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// An endless body that reports when the server drops it.
struct Endless(Option<oneshot::Sender<()>>);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1 << 12])))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.0.take().map(|done| done.send(()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_its_response_is_disconnected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (done, let_go) = oneshot::channel();
    let done = Arc::new(std::sync::Mutex::new(Some(done)));
    let bounds = ConnectionLimits {
        answer: Duration::from_millis(100),
        ..LONG
    };
    let serving = tokio::spawn(serve(listener, bounds, std::future::pending(), move |_| {
        let body = Endless(done.lock().unwrap().take());
        async move { Response::new(Body::new(body)) }
    }));
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let_go.await.unwrap();
    serving.abort();
}

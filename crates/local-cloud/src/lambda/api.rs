//! The Runtime API (2018-06-01), from which a function's process fetches events: one listener on
//! loopback for each environment.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::admission;
use crate::api::{ApiError, ApiResult};
use crate::server::connection::{self, ConnectionLimits};

/// 6 MB plus Lambda's allowance for the envelope of a payload (its error message has this number).
pub(super) const MAX_RESPONSE: usize = 6_291_556;

/// Maximum number of concurrent connections of an environment, which uses one or two.
const CONNECTIONS: usize = 64;

/// An event for a function's process.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// The request's id.
    pub(super) id: String,
    /// The payload.
    pub(super) payload: Vec<u8>,
    /// When it was delivered, by the cloud's clock.
    pub(super) time: jiff::Timestamp,
    /// Milliseconds since the epoch.
    pub(super) deadline: i64,
    /// The function's ARN.
    pub(super) arn: String,
    /// `X-Amz-Client-Context`
    pub(super) client_context: Option<String>,
}

/// A message of a function's process.
#[derive(Debug)]
pub(super) enum ProcessMessage {
    /// The process is ready for an event.
    Next,
    /// The response to an event.
    Response(Vec<u8>),
    /// An event failed.
    Error(Vec<u8>),
    /// The response is larger than Lambda accepts.
    TooLarge,
    /// The process cannot start.
    InitError(Vec<u8>),
}

/// A running Runtime API. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Server {
    /// `127.0.0.1:PORT`
    pub(super) address: String,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) said: mpsc::UnboundedReceiver<ProcessMessage>,
    serving: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    events: tokio::sync::Mutex<mpsc::Receiver<Event>>,
    said: mpsc::UnboundedSender<ProcessMessage>,
    /// The id of the event in progress.
    current: Mutex<Option<String>>,
}

/// Serves a Runtime API.
pub(super) async fn serve() -> ApiResult<Server> {
    let bounds = ConnectionLimits {
        connections: CONNECTIONS,
        ..ConnectionLimits::default()
    };
    serve_within(bounds).await
}

async fn serve_within(bounds: ConnectionLimits) -> ApiResult<Server> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?.to_string();
    let (events, waiting) = mpsc::channel(1);
    let (say, said) = mpsc::unbounded_channel();
    let api = Api(Arc::new(Shared {
        events: tokio::sync::Mutex::new(waiting),
        said: say,
        current: Mutex::default(),
    }));
    let answer = move |request| {
        let api = api.clone();
        async move {
            let mut response = handle(&api, request).await;
            // A function may run longer than an idle connection is kept.
            let close = http::HeaderValue::from_static("close");
            response
                .headers_mut()
                .insert(http::header::CONNECTION, close);
            response
        }
    };
    // Stops with the environment.
    let serving = tokio::spawn(connection::serve(
        listener,
        bounds,
        std::future::pending(),
        answer,
    ));
    Ok(Server {
        address,
        events,
        said,
        serving,
    })
}

async fn handle(api: &Api, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // A web page must not receive a function's events.
    if let Err(error) = admission::check_origin(&parts) {
        return refuse(StatusCode::FORBIDDEN, &error.code, &error.message);
    }
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    match (&parts.method, &path[..]) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => next(api).await,
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
            answer(api, id, body, ProcessMessage::Response).await
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => {
            answer(api, id, body, ProcessMessage::Error).await
        }
        (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => {
            let Ok(body) = Limited::new(body, MAX_RESPONSE).collect().await else {
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "");
            };
            let _ = api
                .0
                .said
                .send(ProcessMessage::InitError(body.to_bytes().to_vec()));
            accepted()
        }
        _ => refuse(StatusCode::NOT_FOUND, "NotFound", "no such path"),
    }
}

/// A time as HTTP writes it.
fn date(time: jiff::Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

async fn next(api: &Api) -> Response<Body> {
    let _ = api.0.said.send(ProcessMessage::Next);
    let Some(event) = api.0.events.lock().await.recv().await else {
        return refuse(StatusCode::GONE, "Gone", "the environment has ended");
    };
    *api.0.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(event.id.clone());
    let response = Response::builder()
        .header(http::header::CONTENT_TYPE, "application/json")
        // A function whose work depends on the time follows the clock that tests advance.
        .header(http::header::DATE, date(event.time))
        .header("Lambda-Runtime-Aws-Request-Id", &event.id)
        .header("Lambda-Runtime-Deadline-Ms", event.deadline)
        .header("Lambda-Runtime-Invoked-Function-Arn", &event.arn)
        .header("Lambda-Runtime-Trace-Id", trace_id());
    let response = match &event.client_context {
        Some(context) => response.header("Lambda-Runtime-Client-Context", context),
        None => response,
    };
    response
        .body(Body::from(event.payload))
        .unwrap_or_else(|error| {
            let error = ApiError::internal(error);
            refuse(
                StatusCode::INTERNAL_SERVER_ERROR,
                &error.code,
                &error.message,
            )
        })
}

/// An X-Ray header for a trace that is not sampled.
fn trace_id() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let seconds = jiff::Timestamp::now().as_second();
    format!("Root=1-{seconds:08x}-{};Sampled=0", &id[..24])
}

async fn answer(
    api: &Api,
    id: &str,
    body: Body,
    say: impl FnOnce(Vec<u8>) -> ProcessMessage,
) -> Response<Body> {
    let is_current = {
        let mut current = api.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the first response counts.
        current.take_if(|current| current == id).is_some()
    };
    if !is_current {
        return refuse(
            StatusCode::BAD_REQUEST,
            "InvalidRequestID",
            "Invalid request ID",
        );
    }
    match Limited::new(body, MAX_RESPONSE).collect().await {
        Ok(body) => {
            let _ = api.0.said.send(say(body.to_bytes().to_vec()));
            accepted()
        }
        Err(error) if error.is::<LengthLimitError>() => {
            let _ = api.0.said.send(ProcessMessage::TooLarge);
            refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                "Exceeded maximum allowed payload size (6291556 bytes).",
            )
        }
        Err(error) => {
            // The process can send it again.
            let mut current = api.0.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.get_or_insert_with(|| id.to_owned());
            refuse(StatusCode::BAD_REQUEST, "BadRequest", &error.to_string())
        }
    }
}

fn accepted() -> Response<Body> {
    respond(StatusCode::ACCEPTED, &json!({"status": "OK"}))
}

fn refuse(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    respond(status, &json!({"errorMessage": message, "errorType": kind}))
}

fn respond(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    /// Sends bytes and returns everything received until the server closes the connection.
    async fn exchange(address: &str, sent: String) -> String {
        let address = address.to_owned();
        let work = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn half_a_request_does_not_hold_a_connection_of_the_runtime_api() {
        let bounds = ConnectionLimits {
            head: Duration::from_millis(100),
            body: Duration::from_millis(100),
            ..ConnectionLimits::default()
        };
        let mut server = serve_within(bounds).await.unwrap();
        let event = Event {
            id: "id".to_owned(),
            payload: b"{}".to_vec(),
            time: jiff::Timestamp::UNIX_EPOCH,
            deadline: 0,
            arn: "arn".to_owned(),
            client_context: None,
        };
        // Each of these returns only when the server closes the connection.
        let head = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: 127.0.0.1\r\n";
        exchange(&server.address, head.to_owned()).await;
        server.events.send(event).await.unwrap();
        let answer = exchange(&server.address, format!("{head}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let date = "date: Thu, 01 Jan 1970 00:00:00 GMT";
        assert!(
            answer.to_lowercase().contains(&date.to_lowercase()),
            "{answer}"
        );
        assert!(matches!(
            server.said.recv().await,
            Some(ProcessMessage::Next)
        ));
        // A stalled upload is neither a response nor too large: the function may send it again.
        let post = |length: usize| {
            format!(
                "POST /2018-06-01/runtime/invocation/id/response HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                 Content-Length: {length}\r\n\r\n\"ok\""
            )
        };
        let answer = exchange(&server.address, post(100)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let answer = exchange(&server.address, post(4)).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        let said = server.said.recv().await;
        assert!(
            matches!(&said, Some(ProcessMessage::Response(bytes)) if bytes == b"\"ok\""),
            "{said:?}"
        );
    }
}

//! The Runtime API (2018-06-01), which a function's process asks for work: one listener on
//! loopback for each environment.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::local::api::{ApiError, ApiResult};
use crate::local::door;

/// 6 MB and what Lambda leaves for the frame around a payload (its message names this number).
pub(super) const MAX_RESPONSE: usize = 6_291_556;

/// An event for a function's process.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// The request's id.
    pub(super) id: String,
    /// The payload.
    pub(super) payload: Vec<u8>,
    /// Milliseconds since the epoch.
    pub(super) deadline: i64,
    /// The function's ARN.
    pub(super) arn: String,
    /// `X-Amz-Client-Context`
    pub(super) client_context: Option<String>,
}

/// What a function's process says.
#[derive(Debug)]
pub(super) enum Said {
    /// It is ready for an event.
    Next,
    /// The answer to an event.
    Response(Vec<u8>),
    /// An event failed.
    Error(Vec<u8>),
    /// The answer is larger than Lambda takes.
    TooLarge,
    /// It cannot start.
    InitError(Vec<u8>),
}

/// A Runtime API that is being served. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Server {
    /// `127.0.0.1:PORT`
    pub(super) address: String,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) said: mpsc::UnboundedReceiver<Said>,
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
    said: mpsc::UnboundedSender<Said>,
    /// The id of the event that the process works on.
    current: Mutex<Option<String>>,
}

/// Serves a Runtime API.
pub(super) async fn serve() -> ApiResult<Server> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?.to_string();
    let (events, waiting) = mpsc::channel(1);
    let (say, said) = mpsc::unbounded_channel();
    let api = Api(Arc::new(Shared {
        events: tokio::sync::Mutex::new(waiting),
        said: say,
        current: Mutex::default(),
    }));
    let router = Router::new().fallback(handle).with_state(api);
    let serving = tokio::spawn(async move {
        // Ends with the environment; an error has nobody to hear it.
        let _ = axum::serve(listener, router).await;
    });
    Ok(Server {
        address,
        events,
        said,
        serving,
    })
}

async fn handle(State(api): State<Api>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // A page in a browser must not take a function's events.
    if let Err(error) = door::check_origin(&parts) {
        return refuse(StatusCode::FORBIDDEN, &error.code, &error.message);
    }
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    match (&parts.method, &path[..]) {
        (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => next(&api).await,
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
            answer(&api, id, body, Said::Response).await
        }
        (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => {
            answer(&api, id, body, Said::Error).await
        }
        (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => {
            let Ok(body) = Limited::new(body, MAX_RESPONSE).collect().await else {
                return refuse(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "");
            };
            let _ = api.0.said.send(Said::InitError(body.to_bytes().to_vec()));
            accepted()
        }
        _ => refuse(StatusCode::NOT_FOUND, "NotFound", "no such path"),
    }
}

async fn next(api: &Api) -> Response<Body> {
    let _ = api.0.said.send(Said::Next);
    let Some(event) = api.0.events.lock().await.recv().await else {
        return refuse(StatusCode::GONE, "Gone", "the environment has ended");
    };
    *api.0.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(event.id.clone());
    let response = Response::builder()
        .header(http::header::CONTENT_TYPE, "application/json")
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

/// An X-Ray header for a trace that nobody samples.
fn trace_id() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let seconds = jiff::Timestamp::now().as_second();
    format!("Root=1-{seconds:08x}-{};Sampled=0", &id[..24])
}

async fn answer(
    api: &Api,
    id: &str,
    body: Body,
    say: impl FnOnce(Vec<u8>) -> Said,
) -> Response<Body> {
    let is_current = {
        let mut current = api.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        // The first answer counts.
        current.take_if(|current| current == id).is_some()
    };
    if !is_current {
        return refuse(
            StatusCode::BAD_REQUEST,
            "InvalidRequestID",
            "Invalid request ID",
        );
    }
    let Ok(body) = Limited::new(body, MAX_RESPONSE).collect().await else {
        let _ = api.0.said.send(Said::TooLarge);
        return refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            "Exceeded maximum allowed payload size (6291556 bytes).",
        );
    };
    let _ = api.0.said.send(say(body.to_bytes().to_vec()));
    accepted()
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

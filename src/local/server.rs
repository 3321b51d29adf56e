//! The server: one listener, and for each request the service that it is for.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::api::{ApiError, ApiResult};
use super::cloud::{Cloud, Service, Settings};
use super::door::{self, Credentials};
use super::instance::{Address, Held};
use super::{clock, codecommit, ecr, lambda, s3, sagemaker, wire};
use crate::error::{Hint, hinted};

/// The port of `mlops local start`.
pub const DEFAULT_PORT: u16 = 4566;

/// The largest body of a JSON or query request: a pipeline definition of 1 MiB and room for it.
const MAX_REQUEST: usize = 16 << 20;

/// How long requests under way may take once the server is told to end.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The state directory.
    pub directory: PathBuf,
    /// The port; `None` takes the last one, the default, or any that is free.
    pub port: Option<u16>,
    /// The region to play.
    pub region: String,
    /// Make random credentials and refuse any others.
    pub require_credentials: bool,
    /// End after this long without a request or a job.
    pub idle: Option<Duration>,
    /// Where virtual environments are kept.
    pub cache: PathBuf,
    /// The Python of the host runtime.
    pub python: PathBuf,
}

#[derive(Clone)]
struct App {
    cloud: Cloud,
    s3: s3::Server,
    /// The access key of this state directory's clients.
    key: Arc<str>,
    /// Milliseconds between the start and the last request.
    last: Arc<AtomicU64>,
    started: Instant,
}

/// Serves until Ctrl-C, SIGTERM, or the idle time is over. `ready` hears the address.
pub async fn serve(start: Start, ready: impl FnOnce(&str)) -> Result<()> {
    let held = Held::acquire(&start.directory).await?;
    let listener = listen(start.port, held.last_port()).await?;
    let address = listener.local_addr()?;
    let endpoint = format!("http://{address}");
    let credentials = if start.require_credentials {
        Credentials::Required {
            access_key: format!(
                "LKIA{}",
                &uuid::Uuid::new_v4().simple().to_string()[..16].to_uppercase()
            ),
            secret_key: uuid::Uuid::new_v4().simple().to_string(),
        }
    } else {
        Credentials::Any
    };
    let cloud = Cloud::open(
        &start.directory,
        endpoint.clone(),
        start.region,
        credentials.clone(),
        Settings {
            cache: start.cache,
            python: start.python,
        },
    )?;
    super::sagemaker::recover(&cloud)?;
    super::lambda::recover(&cloud)?;
    // Last: its roll-backs begin at once and change what the others have recovered.
    super::cloudformation::recover(&cloud)?;
    held.publish(&Address::new(
        &endpoint,
        address.port(),
        &credentials,
        cloud.directory(),
    ))?;
    ready(&endpoint);

    let app = App {
        s3: s3::Server::new(&cloud),
        key: door::access_key(cloud.directory()).into(),
        cloud: cloud.clone(),
        last: Arc::new(AtomicU64::new(0)),
        started: Instant::now(),
    };
    let router = Router::new().fallback(handle).with_state(app.clone());
    let (closing, closed) = oneshot::channel::<()>();
    let mut server = tokio::spawn(
        axum::serve(listener, router)
            .with_graceful_shutdown(async {
                // Dropped or sent, it is time.
                let _ = closed.await;
            })
            .into_future(),
    );
    tokio::select! {
        () = end(&app, start.idle, &held) => {}
        result = &mut server => result??,
    }
    drop(closing);
    // An invocation that a program does not answer ends with the program.
    tokio::join!(sagemaker::shut_down(&cloud), lambda::shut_down(&cloud));
    if !server.is_finished() {
        tokio::select! {
            result = server => result??,
            () = clock::sleep(LAST_REQUESTS) => {}
        }
    }
    // The next server may start once the records are closed, and not before.
    drop((app, cloud, held));
    Ok(())
}

async fn listen(port: Option<u16>, last: Option<u16>) -> Result<TcpListener> {
    let bind = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    if let Some(port) = port {
        return match bind(port).await {
            Ok(listener) => Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(hinted(
                anyhow::anyhow!("port {port} is taken"),
                "another local cloud or program listens there: pass --port N, or --port 0 for any",
            )),
            Err(error) => Err(error).context(format!("cannot listen on port {port}")),
        };
    }
    for port in [last, Some(DEFAULT_PORT)].into_iter().flatten() {
        if let Ok(listener) = bind(port).await {
            return Ok(listener);
        }
    }
    bind(0).await.hint("is the loopback interface up?")
}

/// Ends when a signal comes, the state directory vanishes, or nothing happens for `idle`.
async fn end(app: &App, idle: Option<Duration>, held: &Held) {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    let watch = async {
        loop {
            clock::sleep(Duration::from_secs(2)).await;
            if !held.directory_is_ours() {
                return;
            }
            let quiet = app
                .started
                .elapsed()
                .saturating_sub(Duration::from_millis(app.last.load(Ordering::Relaxed)));
            if !app.cloud.is_busy() && idle.is_some_and(|idle| quiet > idle) {
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
        () = watch => {}
    }
}

/// Answers a request. What is stored is never a page: a stored script that a browser opened would
/// be of our own origin, and could drive the local cloud.
async fn handle(State(app): State<App>, request: Request<Body>) -> Response<Body> {
    let mut response = route(&app, request).await;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_SECURITY_POLICY,
        http::HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    headers.insert(
        http::header::X_CONTENT_TYPE_OPTIONS,
        http::HeaderValue::from_static("nosniff"),
    );
    response
}

async fn route(app: &App, request: Request<Body>) -> Response<Body> {
    let _busy = app.cloud.busy();
    #[expect(clippy::cast_possible_truncation, reason = "584 million years")]
    app.last
        .store(app.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let request_id = uuid::Uuid::new_v4().to_string();
    if let Err(error) = door::check_origin(&parts) {
        return wire::json::encode(&parts.headers, &request_id, Err(error));
    }
    let path = parts.uri.path();
    if path == "/_mlops/status" {
        return status(app);
    }
    if path.starts_with(lambda::download::PATH) {
        return lambda::download::handle(&app.cloud, &parts).await;
    }
    if path.starts_with("/v2/") || path == "/v2" {
        return ecr::registry::handle(&app.cloud, Request::from_parts(parts, body)).await;
    }
    if path.starts_with("/v1/repos/") {
        return codecommit::git::handle(&app.cloud, Request::from_parts(parts, body)).await;
    }
    let scope = match door::scope(&parts) {
        Ok(scope) => scope,
        Err(error) => return wire::json::encode(&parts.headers, &request_id, Err(error)),
    };
    if let Err(error) = door::check_state(&app.key, &scope) {
        return wire::json::encode(&parts.headers, &request_id, Err(error));
    }
    match scope.service.as_str() {
        "s3" => app.s3.handle(Request::from_parts(parts, body)).await,
        "sagemaker" if !parts.headers.contains_key("x-amz-target") => {
            sagemaker::runtime_api::handle(&app.cloud, Request::from_parts(parts, body)).await
        }
        "lambda" => lambda::rest::handle(&app.cloud, Request::from_parts(parts, body)).await,
        service => call(&app.cloud, service, parts, body, &request_id).await,
    }
}

async fn call(
    cloud: &Cloud,
    service: &str,
    parts: Parts,
    body: Body,
    request_id: &str,
) -> Response<Body> {
    let body = match read(cloud, &parts, body).await {
        Ok(body) => body,
        Err(error) => {
            // Each client reads errors in its own protocol only.
            return match Service::by_name(service).filter(|service| service.target().is_none()) {
                Some(service) => wire::query::encode(service, "", request_id, Err(error)),
                None => wire::json::encode(&parts.headers, request_id, Err(error)),
            };
        }
    };
    let target = parts
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    if let Some(target) = target {
        let result = match (Service::by_target(target), wire::json::decode(&body)) {
            (Ok((service, operation)), Ok(input)) => cloud.call(service, operation, input).await,
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        return wire::json::encode(&parts.headers, request_id, result);
    }
    let Some(service) = Service::by_name(service) else {
        let error = ApiError::not_implemented(format_args!("the service {service}"));
        return wire::query::encode(Service::Sts, "", request_id, Err(error));
    };
    match wire::query::decode(&body) {
        Ok((operation, input)) => {
            let result = cloud.call(service, &operation, input).await;
            wire::query::encode(service, &operation, request_id, result)
        }
        Err(error) => wire::query::encode(service, "", request_id, Err(error)),
    }
}

/// Reads a whole body and, where credentials are required, checks the signature over it.
async fn read(cloud: &Cloud, parts: &Parts, body: Body) -> ApiResult<Vec<u8>> {
    let bytes = Limited::new(body, MAX_REQUEST)
        .collect()
        .await
        .map_err(|error| {
            ApiError::new("RequestEntityTooLargeException", error.to_string()).status(413)
        })?
        .to_bytes();
    door::check_signature(cloud.credentials(), parts, &bytes)?;
    Ok(bytes.to_vec())
}

fn status(app: &App) -> Response<Body> {
    let body = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": app.started.elapsed().as_secs(),
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::OK;
    response
}

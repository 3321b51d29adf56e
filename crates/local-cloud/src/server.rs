//! The server: one listener, which routes each request to its service.

use std::net::{Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt;
use http::request::Parts;
use http::{Request, Response, StatusCode, header};
use mlops_core::error::{Hint, hinted};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::admission::{self, Scope, Signer};
use super::api::{ApiError, ApiResult};
use super::cloud::service::{Protocol, Rest, Service};
use super::cloud::{Cloud, Settings};
use super::credentials::Credentials;
use super::faults::Faults;
use super::host::Host;
use super::instance::{Address, StateLock};
use super::limits::{MAX_FORM, MAX_JSON};
use super::services::SERVICES;
use super::wire::Dialect;
use super::wire::body::BodyError;
use super::{garbage, health, recorded, wire};
use crate::log;

mod clock;
pub(super) mod connection;
mod framing;

/// The default port of `mlops local start`.
pub const DEFAULT_PORT: u16 = 4566;

/// Time for requests in progress to complete after a request to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Options of a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The state directory.
    pub directory: PathBuf,
    /// The port; `None` uses the last one, the default, or any free one.
    pub port: Option<u16>,
    /// The region to simulate.
    pub region: String,
    /// Generate random credentials and refuse all others.
    pub require_credentials: bool,
    /// Stop after this long without a request or a job.
    pub idle: Option<Duration>,
    /// Directory of the virtual environments.
    pub cache: PathBuf,
    /// The Python that runs programs.
    pub python: PathBuf,
    /// The program that hosts the server.
    pub host: Host,
}

#[derive(Clone)]
struct App {
    cloud: Cloud,
    /// The access key of clients of this state directory.
    key: Arc<str>,
    /// Time of the last request, in milliseconds since the start.
    last: Arc<AtomicU64>,
    started: Instant,
}

/// Serves until Ctrl-C, SIGTERM or the end of the idle time. `ready` receives the address.
pub async fn serve(options: ServerOptions, ready: impl FnOnce(&str)) -> Result<()> {
    let lock = StateLock::acquire(&options.directory, &options.host).await?;
    let listener = listen(options.port, lock.last_port()).await?;
    let address = listener.local_addr()?;
    let endpoint = format!("http://{address}");
    let credentials = if options.require_credentials {
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
    let fault = (options.host.fault)();
    let cloud = Cloud::open(
        SERVICES,
        &options.directory,
        endpoint.clone(),
        options.region,
        credentials.clone(),
        Settings {
            cache: options.cache,
            python: options.python,
            host: options.host,
        },
    )?;
    if let Some(fault) = fault {
        cloud.state::<Faults>().inject_text(&fault)?;
    }
    // Runs before any request: unfinished work belongs to an earlier server.
    let collector = garbage::start(&cloud);
    super::runtime::recover(&cloud);
    cloud.recover()?;
    lock.publish(&Address::new(
        &endpoint,
        address.port(),
        cloud.region(),
        &credentials,
        cloud.directory(),
    ))?;
    ready(&endpoint);

    let app = App {
        key: admission::access_key(cloud.directory()).into(),
        cloud: cloud.clone(),
        last: Arc::new(AtomicU64::new(0)),
        started: Instant::now(),
    };
    let (closing, closed) = oneshot::channel::<()>();
    let serving = app.clone();
    let mut server = tokio::spawn(connection::serve(
        listener,
        connection::ConnectionLimits::default(),
        async {
            // Sent or dropped: both mean to stop.
            let _ = closed.await;
        },
        move |request| handle(serving.clone(), request),
    ));
    tokio::select! {
        () = until_stopped(&app, options.idle, &lock) => {}
        result = &mut server => result?,
    }
    drop(closing);
    // Ends the programs, and so the invocations that they have not answered.
    cloud.shut_down().await;
    if !server.is_finished() {
        tokio::select! {
            result = server => result?,
            () = super::clock::sleep(DRAIN_TIMEOUT) => {}
        }
    }
    collector.end().await;
    // The next server must not start before the records are closed.
    drop((app, cloud, lock));
    Ok(())
}

async fn listen(port: Option<u16>, last: Option<u16>) -> Result<TcpListener> {
    let bind = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    if let Some(port) = port {
        return match bind(port).await {
            Ok(listener) => Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(hinted(
                anyhow::anyhow!("port {port} is in use"),
                "another local cloud or program uses it; pass --port N, or --port 0 for any free port",
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

/// Waits for a signal, the removal of the state directory, or `idle` time without work.
async fn until_stopped(app: &App, idle: Option<Duration>, lock: &StateLock) {
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
            super::clock::sleep(Duration::from_secs(2)).await;
            if !lock.directory_is_ours() {
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

/// Answers a request. Stored data must never become a page: a stored script that a browser opened
/// would have our own origin and could control the local cloud.
async fn handle(app: App, request: Request<Body>) -> Response<Body> {
    let mut response = answer(&app, request).await;
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

async fn answer(app: &App, request: Request<Body>) -> Response<Body> {
    let _busy = app.cloud.busy();
    #[expect(clippy::cast_possible_truncation, reason = "584 million years")]
    app.last
        .store(app.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let id = uuid::Uuid::new_v4().to_string();
    let scope = admission::scope(&parts);
    let signing = scope.as_ref().ok().map(|scope| scope.service.as_str());
    let dialect = Dialect::of(&parts, signing, app.cloud.services());
    let what = format!("{} {} ({id})", parts.method, parts.uri.path());
    catch_panics(dialect, &id, &what, async {
        // The client of a refused request reads the response after it has sent its body; with
        // `Expect` it sends none.
        let expects = parts.headers.contains_key(header::EXPECT);
        let mut body = Some(body);
        // Boxed, because the connection would otherwise hold its 22 KiB.
        let routed = Box::pin(route(app, &parts, &mut body, dialect, scope, &id)).await;
        let refused = routed.is_err() && !expects;
        if let Some(body) = body.filter(|_| refused) {
            wire::body::drain(body).await;
        }
        routed
    })
    .await
}

/// Handles a request. Errors are written in the client's protocol, and so is a panic, which ends
/// only this request.
async fn catch_panics(
    dialect: Dialect,
    id: &str,
    what: &str,
    work: impl Future<Output = ApiResult<Response<Body>>>,
) -> Response<Body> {
    let result = AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            // The panic's own message and location are already in the log.
            log::write_line(&format!("internal error: the request {what} panicked"));
            Err(ApiError::internal(format!(
                "the local cloud failed to handle this request; its log has the reason under {id}"
            )))
        });
    result.unwrap_or_else(|error| dialect.refuse(id, &error))
}

/// Routes a request. Whatever reads the body takes it.
async fn route(
    app: &App,
    parts: &Parts,
    body: &mut Option<Body>,
    dialect: Dialect,
    scope: ApiResult<Scope>,
    id: &str,
) -> ApiResult<Response<Body>> {
    admission::check_origin(parts)?;
    let cloud = &app.cloud;
    let signing = scope.as_ref().ok().map(|scope| scope.service.clone());
    let signing = signing.as_deref();
    if parts.uri.path() == health::STATUS {
        return Ok(status(app).await);
    }
    if parts.uri.path() == recorded::PATH {
        return Ok(Response::new(Body::from(
            recorded::as_json(cloud).to_string(),
        )));
    }
    if parts.uri.path() == clock::PATH {
        let scope = scope?;
        admission::check_state(&app.key, &scope)?;
        let signer = Signer::of(cloud, &scope, parts)?;
        let body = read(body, clock::MAX_BODY).await?;
        signer.check_signature(parts, &body)?;
        return clock::answer(cloud, &signer.caller, parts, &body).await;
    }
    let mut routes = cloud.services().iter().flat_map(|service| service.routes);
    if let Some(route) = routes.find(|route| (route.matches)(parts, signing.is_some())) {
        return Ok((route.handle)(cloud, into_request(parts, body)).await);
    }
    // A form names the version of the service.
    let form = match dialect {
        Dialect::Query(_) => Some(read(body, MAX_FORM).await?),
        _ => None,
    };
    let version = form.as_deref().and_then(wire::query::form::version);
    if let Some(name) = wire::services::absent(
        parts,
        dialect,
        signing,
        version.as_deref(),
        cloud.services(),
    ) {
        return Err(ApiError::not_implemented(format_args!(
            "the service {name}"
        )));
    }
    let scope = match scope {
        Ok(scope) => scope,
        Err(unsigned) => return with_token(cloud, parts, form.as_deref(), id, unsigned).await,
    };
    admission::check_state(&app.key, &scope)?;
    let signer = Signer::of(cloud, &scope, parts)?;
    let operation = dispatch(cloud, parts, body, form, dialect, &signer, id);
    signer.caller.clone().scope(operation).await
}

/// Runs an operation that carries a token instead of a signature. Any other unsigned request fails
/// with `unsigned`.
async fn with_token(
    cloud: &Cloud,
    parts: &Parts,
    form: Option<&[u8]>,
    id: &str,
    unsigned: ApiError,
) -> ApiResult<Response<Body>> {
    let form = form.filter(|_| !parts.headers.contains_key(header::AUTHORIZATION));
    let Some(Ok((operation, _))) = form.map(wire::query::decode) else {
        return Err(unsigned);
    };
    let needs_none =
        |service: &&'static Service| service.unsigned_operations.contains(&operation.as_str());
    match cloud.services().iter().find(needs_none) {
        Some(service) => query(cloud, service, form.unwrap_or_default(), id).await,
        None => Err(unsigned),
    }
}

/// Verifies the signature of a request and runs its operation. The signatures of S3 cover the
/// chunks of a body: s3s verifies them, with [`admission::SecretKeys`], as the body arrives.
async fn dispatch(
    cloud: &Cloud,
    parts: &Parts,
    body: &mut Option<Body>,
    form: Option<Bytes>,
    dialect: Dialect,
    signer: &Signer,
    id: &str,
) -> ApiResult<Response<Body>> {
    let services = cloud.services();
    let signing = signer.service.as_str();
    let unknown = || {
        ApiError::not_implemented(format_args!(
            "the protocol of this request for the service {signing}"
        ))
    };
    match dialect {
        Dialect::Query(_) => {
            let form = form.unwrap_or_default();
            signer.check_signature(parts, &form)?;
            let service = services.of_form(signing).ok_or_else(unknown)?;
            return query(cloud, service, &form, id).await;
        }
        Dialect::Json(_) | Dialect::Cbor => {
            let bytes = read(body, MAX_JSON).await?;
            signer.check_signature(parts, &bytes)?;
            return Ok(rpc(cloud, parts, &bytes, dialect, id).await);
        }
        _ => {}
    }
    for service in services.signed(signing) {
        match service.protocol {
            Protocol::Rest(rest) => return Ok(self::rest(cloud, signer, parts, body, rest).await),
            Protocol::Streaming(handle) => {
                admission::check_expiry(parts)?;
                return Ok(handle(cloud, into_request(parts, body)).await);
            }
            _ => {}
        }
    }
    Err(unknown())
}

/// Runs an operation of a service that decodes its own REST protocol and writes its own errors.
async fn rest(
    cloud: &Cloud,
    signer: &Signer,
    parts: &Parts,
    body: &mut Option<Body>,
    rest: Rest,
) -> Response<Body> {
    let bytes: ApiResult<Bytes> = async {
        let limit = (rest.limit)(parts)?;
        let body = body.take().unwrap_or_default();
        let bytes = match wire::body::read(body, limit.bytes).await {
            Ok(bytes) => bytes,
            Err(BodyError::TooLong) => return Err(limit.error),
            Err(broken) => return Err(broken.into_error(limit.bytes)),
        };
        signer.check_signature(parts, &bytes)?;
        Ok(bytes)
    }
    .await;
    match bytes {
        Ok(bytes) => (rest.handle)(cloud, parts, bytes).await,
        Err(error) => (rest.refuse)(&error),
    }
}

/// Rebuilds the request for a service that reads its body itself.
fn into_request(parts: &Parts, body: &mut Option<Body>) -> Request<Body> {
    Request::from_parts(parts.clone(), body.take().unwrap_or_default())
}

/// Runs an operation that is named outside of the body of its request.
async fn rpc(
    cloud: &Cloud,
    parts: &Parts,
    body: &[u8],
    dialect: Dialect,
    id: &str,
) -> Response<Body> {
    let (service, operation) = match wire::rpc::target(parts, dialect, cloud.services()) {
        Ok(found) => found,
        Err(error) => return wire::rpc::encode(parts, dialect, None, id, Err(error)),
    };
    recorded::record_call(cloud, service, operation);
    let result = match wire::rpc::decode(parts, dialect, service, body) {
        Ok(input) => cloud.request(service, operation, input).await,
        Err(error) => Err(error),
    };
    wire::rpc::encode(parts, dialect, Some(service), id, result)
}

async fn query(
    cloud: &Cloud,
    service: &'static Service,
    form: &[u8],
    id: &str,
) -> ApiResult<Response<Body>> {
    let (operation, input) = wire::query::decode(form)?;
    recorded::record_call(cloud, service, &operation);
    let result = cloud.request(service, &operation, input).await;
    Ok(wire::query::encode(service, &operation, id, result))
}

async fn read(body: &mut Option<Body>, limit: usize) -> ApiResult<Bytes> {
    let body = body.take().unwrap_or_default();
    let read = wire::body::read(body, limit).await;
    read.map_err(|unread| unread.into_error(limit))
}

async fn status(app: &App) -> Response<Body> {
    let cloud = app.cloud.clone();
    let problems = move || cloud.health().problems(cloud.store(), cloud.directory());
    let body = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "degraded": tokio::task::spawn_blocking(problems).await.unwrap_or_default(),
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::OK;
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::wire::query::Flavour;

    #[tokio::test]
    async fn issue_8_1_5_a_panic_returns_an_error_in_the_clients_protocol() {
        for dialect in [
            Dialect::Json("application/x-amz-json-1.1"),
            Dialect::Cbor,
            Dialect::Query(Flavour::Ec2),
            Dialect::Query(Flavour::Query("")),
            Dialect::RestJson,
            Dialect::RestXml,
            Dialect::S3,
        ] {
            let response =
                catch_panics(dialect, "id", "POST /", async { panic!("of a test") }).await;
            assert_eq!(response.status(), 500, "{dialect:?}");
            let code = response.headers().get("x-amzn-errortype").cloned();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            let named = text.contains("InternalFailure")
                || text.contains("<Code>InternalError</Code>")
                || code.is_some_and(|code| code == "InternalFailure");
            assert!(named, "{dialect:?}: {text}");
            assert!(text.contains("under id"), "{text}");
            assert!(!text.contains("of a test"), "{text}");
        }
    }
}

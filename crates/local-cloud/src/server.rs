//! The server: one listener, and for each request the service that it is for.

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

use super::admission::{self, Credentials, Scope};
use super::api::{ApiError, ApiResult};
use super::cloud::service::{Protocol, Rest, Service};
use super::cloud::{Cloud, Settings};
use super::faults::Faults;
use super::host::Host;
use super::instance::{Address, StateLock};
use super::limits::{MAX_FORM, MAX_JSON};
use super::services::SERVICES;
use super::wire::Dialect;
use super::wire::body::Unread;
use super::{clock, garbage, health, sts, wire};
use crate::log;

pub(super) mod connection;
mod framing;

/// The port of `mlops local start`.
pub const DEFAULT_PORT: u16 = 4566;

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
    /// The program around the server.
    pub host: Host,
}

#[derive(Clone)]
struct App {
    cloud: Cloud,
    /// The access key of this state directory's clients.
    key: Arc<str>,
    /// Milliseconds between the start and the last request.
    last: Arc<AtomicU64>,
    started: Instant,
}

/// Serves until Ctrl-C, SIGTERM, or the idle time is over. `ready` hears the address.
pub async fn serve(start: Start, ready: impl FnOnce(&str)) -> Result<()> {
    let lock = StateLock::acquire(&start.directory, &start.host).await?;
    let listener = listen(start.port, lock.last_port()).await?;
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
    let fault = (start.host.fault)();
    let cloud = Cloud::open(
        SERVICES,
        &start.directory,
        endpoint.clone(),
        start.region,
        credentials.clone(),
        Settings {
            cache: start.cache,
            python: start.python,
            host: start.host,
        },
    )?;
    if let Some(fault) = fault {
        cloud.state::<Faults>().inject_text(&fault)?;
    }
    // Before anything is in progress: unfinished work belongs to an earlier server.
    let collector = garbage::start(&cloud);
    super::runtime::recover(&cloud);
    for recover in cloud
        .services()
        .iter()
        .filter_map(|service| service.recover)
    {
        recover(&cloud)?;
    }
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
        connection::Bounds::default(),
        async {
            // Dropped or sent, it is time.
            let _ = closed.await;
        },
        move |request| handle(serving.clone(), request),
    ));
    tokio::select! {
        () = end(&app, start.idle, &lock) => {}
        result = &mut server => result?,
    }
    drop(closing);
    // An invocation that a program does not answer ends with the program.
    let services = cloud.services().iter();
    let ends = services.filter_map(|service| service.shut_down);
    futures::future::join_all(ends.map(|shut_down| shut_down(&cloud))).await;
    if !server.is_finished() {
        tokio::select! {
            result = server => result?,
            () = clock::sleep(LAST_REQUESTS) => {}
        }
    }
    collector.end().await;
    // The next server may start once the records are closed, and not before.
    drop((app, cloud, lock));
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
async fn end(app: &App, idle: Option<Duration>, lock: &StateLock) {
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

/// Answers a request. What is stored is never a page: a stored script that a browser opened would
/// be of our own origin, and could drive the local cloud.
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
    guarded(dialect, &id, &what, async {
        // The client of a refused request reads the answer once it has sent its body; with `Expect`
        // it sends none.
        let expects = parts.headers.contains_key(header::EXPECT);
        let mut body = Some(body);
        // Boxed: the connection would hold its 22 KiB.
        let routed = Box::pin(route(app, &parts, &mut body, dialect, scope, &id)).await;
        let refused = routed.is_err() && !expects;
        if let Some(body) = body.filter(|_| refused) {
            wire::body::drain(body).await;
        }
        routed
    })
    .await
}

/// Runs a request's work. What it refuses is written in the client's protocol, and so is a panic: it
/// ends that request only.
async fn guarded(
    dialect: Dialect,
    id: &str,
    what: &str,
    work: impl Future<Output = ApiResult<Response<Body>>>,
) -> Response<Body> {
    let result = AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            // The panic's own message and place are in the log already.
            log::write_line(&format!("internal error: the request {what} panicked"));
            Err(ApiError::internal(format!(
                "the local cloud failed on this request; its log has the reason under {id}"
            )))
        });
    result.unwrap_or_else(|error| dialect.refuse(id, &error))
}

/// Routes a request. The body is taken by what reads it.
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
    let mut routes = cloud.services().iter().flat_map(|service| service.routes);
    if let Some(route) = routes.find(|route| (route.matches)(parts, signing.is_some())) {
        return Ok((route.handle)(cloud, whole(parts, body)).await);
    }
    // A form says for which version of which service it is.
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
    sts::admit(cloud, &scope, parts)?;
    let operation = dispatch(cloud, parts, body, form, dialect, &scope.service, id);
    sts::as_caller(&scope.access_key, operation).await
}

/// Runs an operation that has a token in place of a signature. Any other request without a
/// signature gets the error.
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

/// Checks the signature of an admitted request and runs its operation. S3's signatures cover the
/// chunks of a body: s3s checks them, with [`admission::Keys`], as the body arrives.
async fn dispatch(
    cloud: &Cloud,
    parts: &Parts,
    body: &mut Option<Body>,
    form: Option<Bytes>,
    dialect: Dialect,
    signing: &str,
    id: &str,
) -> ApiResult<Response<Body>> {
    let services = cloud.services();
    let unknown = || {
        ApiError::not_implemented(format_args!(
            "the protocol of this request for the service {signing}"
        ))
    };
    match dialect {
        Dialect::Query(_) => {
            let form = form.unwrap_or_default();
            admission::check_signature(cloud, parts, &form)?;
            let service = services.of_form(signing).ok_or_else(unknown)?;
            return query(cloud, service, &form, id).await;
        }
        Dialect::Json(content_type) => {
            let bytes = read(body, MAX_JSON).await?;
            admission::check_signature(cloud, parts, &bytes)?;
            let result = json(cloud, parts, &bytes).await;
            return Ok(wire::json::encode(content_type, id, result));
        }
        _ => {}
    }
    for service in services.signed(signing) {
        match service.protocol {
            Protocol::Rest(rest) => return Ok(self::rest(cloud, parts, body, rest).await),
            Protocol::Streaming(handle) => {
                admission::check_expiry(parts)?;
                return Ok(handle(cloud, whole(parts, body)).await);
            }
            _ => {}
        }
    }
    Err(unknown())
}

/// Runs an operation of a service that decodes its own REST protocol, and writes its own errors.
async fn rest(cloud: &Cloud, parts: &Parts, body: &mut Option<Body>, rest: Rest) -> Response<Body> {
    let bytes: ApiResult<Bytes> = async {
        let limit = (rest.limit)(parts)?;
        let body = body.take().unwrap_or_default();
        let bytes = match wire::body::read(body, limit.bytes).await {
            Ok(bytes) => bytes,
            Err(Unread::TooLong) => return Err(limit.error),
            Err(broken) => return Err(broken.into_error(limit.bytes)),
        };
        admission::check_signature(cloud, parts, &bytes)?;
        Ok(bytes)
    }
    .await;
    match bytes {
        Ok(bytes) => (rest.handle)(cloud, parts, bytes).await,
        Err(error) => (rest.refuse)(&error),
    }
}

/// The request, for a service that reads its body itself.
fn whole(parts: &Parts, body: &mut Option<Body>) -> Request<Body> {
    Request::from_parts(parts.clone(), body.take().unwrap_or_default())
}

async fn json(cloud: &Cloud, parts: &Parts, body: &[u8]) -> ApiResult<serde_json::Value> {
    let target = parts
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| {
            ApiError::new(
                "UnknownOperationException",
                "the request has no X-Amz-Target",
            )
        })?;
    let (service, operation) = cloud.services().of_target(target)?;
    cloud
        .request(service, operation, wire::json::decode(body)?)
        .await
}

async fn query(
    cloud: &Cloud,
    service: &'static Service,
    form: &[u8],
    id: &str,
) -> ApiResult<Response<Body>> {
    let (operation, input) = wire::query::decode(form)?;
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
    let troubles = move || cloud.health().troubles(cloud.store(), cloud.directory());
    let body = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "degraded": tokio::task::spawn_blocking(troubles).await.unwrap_or_default(),
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
    async fn issue_8_1_5_a_panic_is_an_answer_in_the_client_s_protocol() {
        for dialect in [
            Dialect::Json("application/x-amz-json-1.1"),
            Dialect::Cbor,
            Dialect::Query(Flavour::Ec2),
            Dialect::Query(Flavour::Query("")),
            Dialect::RestJson,
            Dialect::RestXml,
            Dialect::S3,
        ] {
            let response = guarded(dialect, "id", "POST /", async { panic!("of a test") }).await;
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

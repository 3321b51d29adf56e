//! git clone and push over HTTP at /v1/repos/NAME: git's own CGI, `git http-backend`, which
//! speaks the smart protocol (versions 0 to 2, compressed bodies) while bytes stream both ways.

use std::process::Stdio;

use axum::body::Body;
use futures::StreamExt;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio_util::io::ReaderStream;

use super::{announce, changes, find, permissions, programs};
use crate::api::{ApiError, ApiResult};
use crate::children::{Ender, Guarded};
use crate::cloud::caller::Caller;
use crate::{Cloud, admission, recorded};

/// Serves one request of git's smart HTTP protocol.
pub(crate) async fn handle(cloud: &Cloud, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    serve(cloud, &parts, body).await.unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(format!("{}\n", error.message)));
        *response.status_mut() =
            StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if error.status == 401 {
            // git then runs its credential helper.
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                header::HeaderValue::from_static("Basic realm=\"CodeCommit\", charset=\"UTF-8\""),
            );
        }
        response
    })
}

/// The repository and the service's path, such as `info/refs`.
fn split(path: &str) -> Option<(&str, &str)> {
    let (name, rest) = path.strip_prefix("/v1/repos/")?.split_once('/')?;
    let known = ["info/refs", "git-upload-pack", "git-receive-pack"];
    known
        .contains(&rest)
        .then_some((name.strip_suffix(".git").unwrap_or(name), rest))
}

async fn serve(cloud: &Cloud, parts: &Parts, body: Body) -> ApiResult<Response<Body>> {
    let path = parts.uri.path();
    let (name, service) = split(path).ok_or_else(|| {
        ApiError::not_found("NotFound", "git clients must use /v1/repos/NAME").status(404)
    })?;
    // Before reading any record: unauthorized clients must not learn which repositories exist.
    let caller = admission::check_git(cloud, parts, path.trim_end_matches(service))?;
    let body = permissions::check(cloud, &caller, parts, (name, service), body).await?;
    if parts.method == Method::POST {
        let action = if service == "git-receive-pack" {
            "GitPush"
        } else {
            "GitPull"
        };
        recorded::record_for(cloud, &caller, "codecommit", action);
    }
    let (record, repository) = find(cloud, name).map_err(|error| error.status(404))?;
    if service == "info/refs" {
        repository.settle().await?;
    }
    let header = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let pushed = service == "git-receive-pack" && parts.method == Method::POST;
    if pushed {
        announce::before(cloud, name, &caller).await?;
    }
    let environment = programs::environment(Some(repository.directory())).await?;
    let git = programs::git().await?;
    let mut backend = Guarded::spawn(&git, &["http-backend"], |command| {
        // No CONTENT_LENGTH: with it `git http-backend` loops for ever when its input ends too early.
        command
            .env_clear()
            .envs(environment)
            .env("GIT_PROJECT_ROOT", repository.root())
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env(
                "PATH_INFO",
                format!("/{}/{service}", record.directory(name)),
            )
            .env("REQUEST_METHOD", parts.method.as_str())
            .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
            .env("CONTENT_TYPE", header(header::CONTENT_TYPE))
            .env("HTTP_CONTENT_ENCODING", header(header::CONTENT_ENCODING))
            .env(
                "GIT_PROTOCOL",
                header(header::HeaderName::from_static("git-protocol")),
            )
            // The backend accepts pushes only with a user name.
            .env("REMOTE_USER", "local")
            .env("REMOTE_ADDR", "127.0.0.1")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
    })
    .await?;
    if let Some(stdin) = backend.stdin() {
        tokio::spawn(feed(body, stdin, backend.ender()));
    }
    let (response, stdout) = answer(&mut backend).await?;
    let push = pushed.then(|| (cloud.clone(), name.to_owned(), caller));
    response
        .body(rest(stdout, backend, push, cloud.busy()))
        .map_err(ApiError::internal)
}

/// Forwards the request's body. A broken connection ends the backend, because the body is incomplete.
async fn feed(mut body: Body, mut stdin: ChildStdin, backend: Ender) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            backend.end();
            return;
        };
        if let Ok(data) = frame.into_data()
            && stdin.write_all(&data).await.is_err()
        {
            return;
        }
    }
}

/// Parses the CGI header; the rest of the output is the body.
async fn answer(
    backend: &mut Guarded,
) -> ApiResult<(http::response::Builder, BufReader<ChildStdout>)> {
    let stdout = backend
        .stdout()
        .ok_or_else(|| ApiError::internal("git http-backend has no output"))?;
    let mut stdout = BufReader::with_capacity(64 << 10, stdout);
    let mut response = Response::builder();
    let mut line = String::new();
    loop {
        line.clear();
        if stdout.read_line(&mut line).await? == 0 {
            return Err(ApiError::internal(
                "git http-backend ended without a response",
            ));
        }
        let text = line.trim_end();
        if text.is_empty() {
            return Ok((response, stdout));
        }
        match text.split_once(": ") {
            Some(("Status", status)) => {
                let code = status.split(' ').next().unwrap_or_default();
                response = response.status(code.parse::<u16>().unwrap_or(500));
            }
            Some((name, value)) => response = response.header(name, value),
            None => {
                return Err(ApiError::internal(
                    "git http-backend returned no CGI header",
                ));
            }
        }
    }
}

/// The rest of the backend's output. It ends when the backend has ended. A client that disconnects
/// early drops it, which ends the backend.
fn rest(
    stdout: BufReader<ChildStdout>,
    mut backend: Guarded,
    push: Option<(Cloud, String, Caller)>,
    busy: crate::cloud::Busy,
) -> Body {
    let output = ReaderStream::with_capacity(stdout, 64 << 10);
    let end = futures::stream::once(async move {
        let ended = backend.wait().await;
        if let Some((cloud, name, caller)) = push
            && ended.is_ok_and(|status| status.success())
        {
            changes::after(&cloud, &name, &caller).await;
        }
        drop(busy);
    })
    .filter_map(|()| async { None });
    Body::from_stream(output.chain(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_smart_protocol_is_served() {
        assert_eq!(split("/v1/repos/a/info/refs"), Some(("a", "info/refs")));
        assert_eq!(
            split("/v1/repos/a.git/git-upload-pack"),
            Some(("a", "git-upload-pack"))
        );
        assert_eq!(split("/v1/repos/a/config"), None);
        assert_eq!(split("/v1/repos/a/objects/info/packs"), None);
        assert_eq!(split("/v1/repos/a/../b/info/refs"), None);
    }
}

//! What a session may do with git: `codecommit:GitPull` and, for each reference that it pushes,
//! `codecommit:GitPush`.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http_body_util::BodyExt;

use super::SERVICE;
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::policy::Context;
use crate::{Cloud, authorization};

/// Maximum size of the commands of a push, in bytes: several thousand references.
const MAX_COMMANDS: usize = 1 << 20;

/// Fails unless the caller may make a request of git's protocol. Returns the body, of which it may have read the
/// start.
pub(super) async fn check(
    cloud: &Cloud,
    caller: &Caller,
    parts: &Parts,
    (repository, service): (&str, &str),
    body: Body,
) -> ApiResult<Body> {
    if caller.session().is_none() {
        return Ok(body);
    }
    let query = parts.uri.query().unwrap_or_default();
    let pushes = service == "git-receive-pack" || query.contains("service=git-receive-pack");
    let permit = |action: &str, reference: Option<&str>| {
        self::permit(cloud, caller, repository, action, reference)
    };
    if !pushes {
        permit("codecommit:GitPull", None)?;
        return Ok(body);
    }
    permit("codecommit:GitPush", None)?;
    if service == "info/refs" {
        return Ok(body);
    }
    if parts.headers.contains_key(CONTENT_ENCODING) {
        let message = "a push of a session must not be compressed as a whole";
        return Err(ApiError::new("InvalidRequest", message).status(415));
    }
    let (start, body) = commands(body).await?;
    for reference in references(&start)? {
        permit("codecommit:GitPush", Some(&reference))?;
    }
    let start = futures::stream::once(async move { Ok::<_, axum::Error>(start) });
    Ok(Body::from_stream(start.chain(body.into_data_stream())))
}

/// Fails unless the caller may pull from a repository.
pub(super) fn may_pull(cloud: &Cloud, caller: &Caller, repository: &str) -> ApiResult<()> {
    permit(cloud, caller, repository, "codecommit:GitPull", None)
}

/// Fails unless the caller may do an action on a repository, with a reference if there is one.
fn permit(
    cloud: &Cloud,
    caller: &Caller,
    repository: &str,
    action: &str,
    reference: Option<&str>,
) -> ApiResult<()> {
    let mut context = Context::default();
    if let Some(reference) = reference {
        context.set("codecommit:References", reference);
    }
    let resource = cloud.arn("codecommit", repository);
    let allowed = authorization::action(cloud, caller, &SERVICE, action, resource, context);
    allowed.map_err(|error| error.status(403))
}

fn malformed() -> ApiError {
    ApiError::new("InvalidRequest", "the commands of this push are malformed")
}

/// Reads a body up to the end of the commands, or further. Each line is read once, however small the chunks are.
async fn commands(mut body: Body) -> ApiResult<(Bytes, Body)> {
    let mut read = BytesMut::new();
    let mut start = 0;
    loop {
        match next(&read[start..])? {
            Next::End => return Ok((read.freeze(), body)),
            Next::Line(line) => {
                start += LENGTH + line.len();
                continue;
            }
            Next::More => {}
        }
        if read.len() > MAX_COMMANDS {
            return Err(malformed());
        }
        let frame = body.frame().await.ok_or_else(malformed)?;
        let frame = frame.map_err(|_| malformed())?;
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
        }
    }
}

/// Digits of the length before each line.
const LENGTH: usize = 4;

/// What comes next in git's protocol.
#[derive(Debug, PartialEq, Eq)]
enum Next<'a> {
    /// A line.
    Line(&'a [u8]),
    /// The flush packet `0000`: there are no more lines.
    End,
    /// The line is not complete.
    More,
}

/// The first line of these bytes, after its length in four hexadecimal digits. An empty line, which git never
/// sends, is refused.
fn next(bytes: &[u8]) -> ApiResult<Next<'_>> {
    let Some((length, after)) = bytes.split_at_checked(LENGTH) else {
        return Ok(Next::More);
    };
    let is_hex = length.iter().all(u8::is_ascii_hexdigit);
    let length = std::str::from_utf8(length).ok().filter(|_| is_hex);
    let length = length.and_then(|length| usize::from_str_radix(length, 16).ok());
    match length.ok_or_else(malformed)? {
        0 => Ok(Next::End),
        1..=LENGTH => Err(malformed()),
        length => Ok(after.get(..length - LENGTH).map_or(Next::More, Next::Line)),
    }
}

/// The references that a push creates, changes or deletes: `OLD NEW REFERENCE`, the first with capabilities after
/// a NUL byte. Anything else that can name references is refused.
fn references(bytes: &[u8]) -> ApiResult<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Next::Line(line) = next(rest)? {
        rest = &rest[LENGTH + line.len()..];
        let command = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = std::str::from_utf8(command).map_err(|_| malformed())?;
        let text = text.trim_end_matches('\n');
        if text.starts_with("shallow ") {
            continue;
        }
        let is_id = |id: &str| id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.splitn(3, ' ').collect::<Vec<_>>()[..] {
            [old, new, reference] if is_id(old) && is_id(new) => found.push(reference.to_owned()),
            _ => return Err(malformed()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_references_of_a_push_are_read_before_its_objects() {
        let id = "0".repeat(40);
        let line = |text: String| format!("{:04x}{text}", text.len() + 4);
        let first = line(format!("{id} {id} refs/heads/develop\0 report-status"));
        let second = line(format!("{id} {id} refs/heads/a b"));
        let all = format!("{first}{second}0000PACK");
        let expected = ["refs/heads/develop", "refs/heads/a b"];
        assert_eq!(references(all.as_bytes()).unwrap(), expected);
        for cut in [0, 3, 10] {
            assert_eq!(next(&all.as_bytes()[..cut]).unwrap(), Next::More, "{cut}");
        }
        for bad in [
            "zzzz",
            "0003",
            "0004",
            "+008",
            "0008push0000",
            &format!("{}0000", line("push-cert x".into())),
        ] {
            assert!(references(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_push_can_arrive_in_chunks_of_one_byte() {
        let id = "0".repeat(40);
        let command = format!("{id} {id} refs/heads/a");
        let all = format!("{:04x}{command}0000", command.len() + 4);
        let body = |text: &str| {
            let bytes: Vec<_> = text
                .bytes()
                .map(|byte| Ok::<_, axum::Error>(Bytes::from(vec![byte])))
                .collect();
            Body::from_stream(futures::stream::iter(bytes))
        };
        let (start, _) = commands(body(&all)).await.unwrap();
        assert_eq!(start, all.as_bytes());
        assert_eq!(references(&start).unwrap(), ["refs/heads/a"]);
        // The body ends before the commands do.
        assert!(commands(body(&all[..all.len() - 1])).await.is_err());
        let empty = "0004".repeat(100);
        assert!(commands(body(&empty)).await.is_err());
    }
}

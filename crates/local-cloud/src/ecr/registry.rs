//! The OCI registry at /v2/: the distribution protocol over ECR's repositories.
//!
//! As in ECR a repository must exist before something is pushed to it, a manifest needs the blobs
//! that it names, and a blob cannot be deleted by itself. Errors are those of the OCI distribution
//! specification 1.1 (`{"errors": [{"code", "message"}]}`).

use axum::body::Body;
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION, RANGE, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{Method, Request, Response};
use serde_json::{Value, json};

use super::digest::digest_of;
use super::image_id::ImageId;
use super::images::remove;
use super::manifests::{self, OCI_INDEX};
use super::refusal::{Refusal, Registered, header, send, sha256};
use super::{auth, blobs, find, uploads};
use crate::api::ApiError;
use crate::wire::body;
use crate::{Cloud, authorization, injection, recorded};

/// The largest manifest, as in ECR.
const MAX_MANIFEST: usize = 4 << 20;

/// Serves one request of the distribution protocol.
pub(crate) async fn handle(cloud: &Cloud, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let head = parts.method == Method::HEAD;
    let answer = match auth::caller(cloud, &parts) {
        Ok(Some(caller)) => caller.scope(route(cloud, &parts, body)).await,
        Ok(None) => Err(Refusal::new(401, "UNAUTHORIZED", "authentication required")),
        Err(error) => Err(error.into()),
    };
    let mut response = answer.unwrap_or_else(|refusal| {
        let errors = json!({"errors": [{"code": refusal.code, "message": refusal.message}]});
        let mut builder = Response::builder()
            .status(refusal.status)
            .header(CONTENT_TYPE, "application/json");
        if let Some((received, id)) = &refusal.at {
            builder = builder
                .header(RANGE, range_of(*received))
                .header("docker-upload-uuid", id);
        }
        if refusal.status == 401 {
            builder = builder.header(
                WWW_AUTHENTICATE,
                format!(
                    "Basic realm=\"{}/\",service=\"ecr.amazonaws.com\"",
                    cloud.endpoint()
                ),
            );
        }
        send(builder, Body::from(errors.to_string()))
    });
    if head {
        *response.body_mut() = Body::empty();
    }
    response.headers_mut().insert(
        "docker-distribution-api-version",
        http::HeaderValue::from_static("registry/2.0"),
    );
    response
}

/// The resource that a path names in a repository.
#[derive(Debug, PartialEq, Eq)]
enum Target<'a> {
    Tags,
    Manifest(&'a str),
    Referrers(&'a str),
    Blob(&'a str),
    Uploads,
    Upload(&'a str),
}

/// Splits `NAME/blobs/…`; a name may itself have slashes.
fn target(path: &str) -> Option<(&str, Target<'_>)> {
    if let Some(name) = path.strip_suffix("/tags/list") {
        return Some((name, Target::Tags));
    }
    if let Some(name) = path
        .strip_suffix("/blobs/uploads/")
        .or_else(|| path.strip_suffix("/blobs/uploads"))
    {
        return Some((name, Target::Uploads));
    }
    let (rest, last) = path.rsplit_once('/')?;
    let of = |suffix| rest.strip_suffix(suffix);
    if let Some(name) = of("/blobs/uploads") {
        return Some((name, Target::Upload(last)));
    }
    if let Some(name) = of("/blobs") {
        return Some((name, Target::Blob(last)));
    }
    if let Some(name) = of("/manifests") {
        return Some((name, Target::Manifest(last)));
    }
    of("/referrers").map(|name| (name, Target::Referrers(last)))
}

async fn route(cloud: &Cloud, parts: &Parts, body: Body) -> Registered<Response<Body>> {
    let path = parts.uri.path().strip_prefix("/v2").unwrap_or_default();
    if path.is_empty() || path == "/" {
        return Ok(send(
            Response::builder().header(CONTENT_TYPE, "application/json"),
            Body::from("{}"),
        ));
    }
    let (name, target) = target(&path[1..])
        .ok_or_else(|| Refusal::new(404, "NAME_UNKNOWN", "no resource at this path"))?;
    let operation = operation(&parts.method, &target);
    recorded::record(cloud, "ecr", operation);
    permit(cloud, name, operation)?;
    find(cloud, None, name)?;
    match (&parts.method, target) {
        (&Method::GET, Target::Tags) => tags(cloud, name, parts),
        (&Method::GET | &Method::HEAD, Target::Manifest(reference)) => {
            manifest(cloud, name, reference)
        }
        (&Method::PUT, Target::Manifest(reference)) => {
            put_manifest(cloud, name, reference, parts, body).await
        }
        (&Method::DELETE, Target::Manifest(reference)) => {
            remove(cloud, name, &image_id(reference))?;
            Ok(send(Response::builder().status(202), Body::empty()))
        }
        (&Method::GET, Target::Referrers(digest)) => referrers(cloud, name, digest, parts),
        (&Method::GET | &Method::HEAD, Target::Blob(digest)) => {
            blobs::answer(cloud, name, digest, parts).await
        }
        (&Method::POST, Target::Uploads) => start(cloud, name, parts, body).await,
        (&Method::GET, Target::Upload(id)) => {
            let received = uploads::received(cloud, name, id).await?;
            Ok(progress(204, name, id, received))
        }
        (&Method::PATCH, Target::Upload(id)) => {
            let start = content_start(parts)?;
            let received = uploads::append(cloud, name, id, start, body).await?;
            Ok(progress(202, name, id, received))
        }
        (&Method::PUT, Target::Upload(id)) => {
            let digest = query(parts, "digest")
                .ok_or_else(|| Refusal::new(400, "DIGEST_INVALID", "the digest is missing"))?;
            if header(parts, &CONTENT_LENGTH) != Some("0") {
                permit(cloud, name, "UploadLayerPart")?;
            }
            uploads::append(cloud, name, id, content_start(parts)?, body).await?;
            finish(cloud, name, id, &digest).await
        }
        (&Method::DELETE, Target::Upload(id)) => {
            uploads::cancel(cloud, name, id).await?;
            Ok(send(Response::builder().status(204), Body::empty()))
        }
        (method, _) => Err(Refusal::new(
            405,
            "UNSUPPORTED",
            format!("the registry does not support {method} here"),
        )),
    }
}

/// The operation of ECR whose permission a request needs (ECR user guide, "Private repository policy
/// examples"). Unverified against AWS [ecr-referrers]: that of `Referrers`.
fn operation(method: &Method, target: &Target<'_>) -> &'static str {
    match (method, target) {
        (_, Target::Tags) => "ListImages",
        (&Method::PUT, Target::Manifest(_)) => "PutImage",
        (&Method::DELETE, Target::Manifest(_)) => "BatchDeleteImage",
        (_, Target::Manifest(_) | Target::Referrers(_)) => "BatchGetImage",
        (&Method::HEAD, Target::Blob(_)) => "BatchCheckLayerAvailability",
        (_, Target::Blob(_)) => "GetDownloadUrlForLayer",
        (_, Target::Uploads) => "InitiateLayerUpload",
        (&Method::PUT, Target::Upload(_)) => "CompleteLayerUpload",
        (_, Target::Upload(_)) => "UploadLayerPart",
    }
}

/// Fails unless the current caller may run an operation on a repository.
fn permit(cloud: &Cloud, repository: &str, operation: &str) -> Registered<()> {
    injection::request(cloud.injected(), &super::SERVICE, operation)?;
    let input = json!({ "repositoryName": repository });
    let allowed = authorization::operation(cloud, &super::SERVICE, operation, &input);
    allowed.map_err(Into::into)
}

fn query(parts: &Parts, name: &str) -> Option<String> {
    url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn image_id(reference: &str) -> ImageId {
    if reference.contains(':') {
        ImageId::digest(reference)
    } else {
        ImageId::tag(reference)
    }
}

/// Where a chunk starts: `Content-Range: START-END`, which must agree with `Content-Length`.
fn content_start(parts: &Parts) -> Registered<Option<u64>> {
    let Some(range) = header(parts, &CONTENT_RANGE) else {
        return Ok(None);
    };
    let (start, end): (u64, u64) = range
        .trim_start_matches("bytes ")
        .split('/')
        .next()
        .and_then(|range| range.split_once('-'))
        .and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)))
        .filter(|(start, end)| start <= end)
        .ok_or_else(|| Refusal::new(416, "BLOB_UPLOAD_INVALID", "Content-Range is START-END"))?;
    let length: Option<u64> = header(parts, &CONTENT_LENGTH).and_then(|text| text.parse().ok());
    if length.is_some_and(|length| length.checked_sub(1) != Some(end - start)) {
        return Err(Refusal::new(
            400,
            "SIZE_INVALID",
            "Content-Range and Content-Length do not match",
        ));
    }
    Ok(Some(start))
}

/// `Range` of an upload. Before the first byte it is `0-0`, as in other registries.
fn range_of(received: u64) -> String {
    format!("0-{}", received.saturating_sub(1))
}

fn progress(status: u16, name: &str, id: &str, received: u64) -> Response<Body> {
    let builder = Response::builder()
        .status(status)
        .header(LOCATION, format!("/v2/{name}/blobs/uploads/{id}"))
        .header(RANGE, range_of(received))
        .header("docker-upload-uuid", id);
    send(builder, Body::empty())
}

fn created(name: &str, digest: &str) -> Response<Body> {
    let builder = Response::builder()
        .status(201)
        .header(LOCATION, format!("/v2/{name}/blobs/{digest}"))
        .header("docker-content-digest", digest);
    send(builder, Body::empty())
}

/// Starts an upload, mounts a blob of another repository, or receives a complete blob.
async fn start(cloud: &Cloud, name: &str, parts: &Parts, body: Body) -> Registered<Response<Body>> {
    if let (Some(digest), Some(from)) = (query(parts, "mount"), query(parts, "from")) {
        let hex = sha256(&digest)?;
        // Without permission to read the other repository, the client uploads the layer.
        let may_read = permit(cloud, &from, "GetDownloadUrlForLayer").is_ok();
        if may_read
            && let Some(layer) = blobs::find(cloud, &from, &digest)?
            && cloud.blobs().touch(hex)
        {
            uploads::keep(cloud, name, hex, layer.size)?;
            return Ok(created(name, &digest));
        }
    }
    let digest = query(parts, "digest");
    if digest.is_some() {
        // This one request is a complete upload.
        permit(cloud, name, "UploadLayerPart")?;
        permit(cloud, name, "CompleteLayerUpload")?;
    }
    let id = uploads::start(cloud, name)?;
    let Some(digest) = digest else {
        return Ok(progress(202, name, &id, 0));
    };
    uploads::append(cloud, name, &id, None, body).await?;
    finish(cloud, name, &id, &digest).await
}

async fn finish(cloud: &Cloud, name: &str, id: &str, digest: &str) -> Registered<Response<Body>> {
    uploads::finish(cloud, name, id, sha256(digest)?).await?;
    Ok(created(name, digest))
}

fn manifest(cloud: &Cloud, name: &str, reference: &str) -> Registered<Response<Body>> {
    let repository = find(cloud, None, name)?;
    let unknown = || Refusal::new(404, "MANIFEST_UNKNOWN", "Requested image not found");
    let digest = repository
        .locate(&image_id(reference))
        .map_err(|_| unknown())?;
    let image = repository.images.get(&digest).ok_or_else(unknown)?;
    let bytes = blobs::manifest(cloud, &digest)?.ok_or_else(unknown)?;
    if !manifests::is_whole(cloud, name, &bytes, &image.media_type)? {
        return Err(unknown());
    }
    let builder = Response::builder()
        .header(CONTENT_TYPE, &image.media_type)
        .header(CONTENT_LENGTH, bytes.len())
        .header("docker-content-digest", digest);
    Ok(send(builder, Body::from(bytes)))
}

async fn put_manifest(
    cloud: &Cloud,
    name: &str,
    reference: &str,
    parts: &Parts,
    body: Body,
) -> Registered<Response<Body>> {
    let bytes = body::read(body, MAX_MANIFEST).await.map_err(|unread| {
        let error = unread.into_error(MAX_MANIFEST);
        Refusal::new(error.status, "MANIFEST_INVALID", error.message)
    })?;
    let tag = match reference.contains(':') {
        true if digest_of(&bytes) != reference => {
            return Err(Refusal::new(
                400,
                "DIGEST_INVALID",
                format!("the manifest's digest is {}", digest_of(&bytes)),
            ));
        }
        true => None,
        false => Some(reference),
    };
    let kept = manifests::put(cloud, name, &bytes, header(parts, &CONTENT_TYPE), tag)?;
    let mut builder = Response::builder()
        .status(201)
        .header(LOCATION, format!("/v2/{name}/manifests/{}", kept.digest))
        .header("docker-content-digest", &kept.digest);
    if let Some(subject) = kept.subject {
        builder = builder.header("oci-subject", subject);
    }
    Ok(send(builder, Body::empty()))
}

fn tags(cloud: &Cloud, name: &str, parts: &Parts) -> Registered<Response<Body>> {
    let repository = find(cloud, None, name)?;
    let last = query(parts, "last").unwrap_or_default();
    let size = query(parts, "n")
        .and_then(|n| n.parse().ok())
        .unwrap_or(1000_usize);
    let rest: Vec<&String> = repository
        .tags
        .keys()
        .filter(|tag| tag.as_str() > last.as_str())
        .collect();
    let shown = &rest[..size.min(rest.len())];
    let mut builder = Response::builder().header(CONTENT_TYPE, "application/json");
    if let Some(last) = shown.last().filter(|_| shown.len() < rest.len()) {
        builder = builder.header(
            LINK,
            format!("</v2/{name}/tags/list?n={size}&last={last}>; rel=\"next\""),
        );
    }
    let body = json!({"name": name, "tags": shown});
    Ok(send(builder, Body::from(body.to_string())))
}

/// Returns an index of the manifests whose `subject` is `digest`.
fn referrers(cloud: &Cloud, name: &str, digest: &str, parts: &Parts) -> Registered<Response<Body>> {
    sha256(digest)?;
    let repository = find(cloud, None, name)?;
    let wanted = query(parts, "artifactType").filter(|wanted| !wanted.is_empty());
    let mut found = Vec::new();
    for (of, image) in &repository.images {
        let selected = wanted.is_none() || wanted == image.artifact_type;
        if image.subject.as_deref() != Some(digest) || !selected {
            continue;
        }
        let Some(bytes) = blobs::manifest(cloud, of)? else {
            continue;
        };
        let manifest: Value = serde_json::from_slice(&bytes).map_err(ApiError::internal)?;
        let mut entry = json!({
            "mediaType": image.media_type,
            "digest": of,
            "size": bytes.len(),
        });
        if let Some(kind) = &image.artifact_type {
            entry["artifactType"] = json!(kind);
        }
        if let Some(annotations) = manifest.get("annotations") {
            entry["annotations"] = annotations.clone();
        }
        found.push(entry);
    }
    let mut builder = Response::builder().header(CONTENT_TYPE, OCI_INDEX);
    if wanted.is_some() {
        builder = builder.header("oci-filters-applied", "artifactType");
    }
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found});
    Ok(send(builder, Body::from(index.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_are_split_at_the_end() {
        assert_eq!(
            target("a/blobs/b/manifests/v1"),
            Some(("a/blobs/b", Target::Manifest("v1")))
        );
        assert_eq!(target("a/b/blobs/uploads/"), Some(("a/b", Target::Uploads)));
        assert_eq!(
            target("a/blobs/uploads/7"),
            Some(("a", Target::Upload("7")))
        );
        assert_eq!(target("a/tags/list"), Some(("a", Target::Tags)));
        assert_eq!(target("a/nothing/x"), None);
    }
}

//! `POST Object`: an upload by an HTML form, as `generate_presigned_post` describes it.
//!
//! The fields before the file say where it goes and under which policy; the policy's signature is
//! checked where credentials are required. The upload itself is then an ordinary `PutObject`, which
//! streams the file.
//!
//! Everything before the file is read unauthenticated, so [`FileStream`] limits its size.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::Stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use multer::{Field, Multipart};
use s3s::dto::Tagging;
use s3s::service::S3Service;
use s3s::{HttpResponse, StdError};

use super::policy::{self, Policy};
use super::{listing, settings};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::limits::MAX_HEADERS;
use crate::wire::body;

/// Maximum size of the fields before the file, in bytes; S3's own limit.
const MAX_FIELDS: usize = 20 * 1024;

/// Maximum size of all that comes before the file, with what separates and describes the fields, in
/// bytes; also of the fields once the file's name is in them.
const MAX_BEFORE_FILE: usize = 64 * 1024;

/// The size of the pieces in which the decoder gets what comes before the file, in bytes.
const PIECE: usize = 4 * 1024;

/// Placeholder of the file's name in a field.
const FILE_NAME: &str = "${filename}";

/// True for a request that uploads by a form.
pub(crate) fn is_form(parts: &Parts) -> bool {
    let form = |value: &HeaderValue| {
        value
            .to_str()
            .is_ok_and(|kind| kind.trim_start().starts_with("multipart/form-data"))
    };
    // What is signed in its headers is an ordinary request, such as of an endpoint.
    parts.method == Method::POST
        && !parts.headers.contains_key(AUTHORIZATION)
        && parts.headers.get(CONTENT_TYPE).is_some_and(form)
}

/// The fields of a form that come before its file.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Fields for tests.
    #[cfg(test)]
    pub(super) fn of<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self(fields.into_iter().map(owned).collect())
    }

    /// The value of a field; names are in lower case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    /// The names, in lower case, and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn malformed() -> ApiError {
    ApiError::new(
        "MalformedPOSTRequest",
        "The body of your POST request is not well-formed multipart/form-data.",
    )
}

fn too_long() -> ApiError {
    ApiError::new(
        "MaxPostPreDataLengthExceededError",
        "Your POST request fields preceding the upload file were too large.",
    )
}

/// `InvalidArgument` for a field that is not there.
pub(super) fn missing(name: &str) -> ApiError {
    ApiError::new(
        "InvalidArgument",
        format!(
            "Bucket POST must contain a field named '{name}'.  If it is specified, please check \
             the order of the fields."
        ),
    )
}

/// The bytes of a form. The decoder reads all that has arrived and keeps what it has not understood
/// yet: it gets one piece at a time, and before the file at most [`MAX_BEFORE_FILE`] bytes in all.
#[derive(Clone)]
struct FileStream(Arc<Mutex<Incoming>>);

struct Incoming {
    /// `None` after its end.
    body: Option<BodyDataStream>,
    /// What has arrived and has not been passed on.
    arrived: Bytes,
    /// How many bytes may still pass before the file; `None` once there is no limit.
    left: Option<usize>,
    /// Whether the decoder has yet to look at the piece that it got.
    pausing: bool,
}

impl FileStream {
    fn of(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Incoming {
            body: Some(body.into_data_stream()),
            arrived: Bytes::new(),
            left: Some(MAX_BEFORE_FILE),
            pausing: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lifts the limit: the file has been found, or what follows is dropped.
    fn lift(&self) {
        self.lock().left = None;
    }

    /// Why the decoder failed before the file.
    fn error(&self) -> ApiError {
        if self.lock().left == Some(0) {
            too_long()
        } else {
            malformed()
        }
    }
}

impl Stream for FileStream {
    type Item = std::io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut guard = self.lock();
        let incoming = &mut *guard;
        if std::mem::take(&mut incoming.pausing) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if incoming.arrived.is_empty() {
            let Some(body) = &mut incoming.body else {
                return Poll::Ready(None);
            };
            match std::task::ready!(Pin::new(body).poll_next(context)) {
                Some(Ok(bytes)) => incoming.arrived = bytes,
                ended => {
                    incoming.body = None;
                    return Poll::Ready(ended.map(|read| read.map_err(std::io::Error::other)));
                }
            }
        }
        let piece = match incoming.left {
            None => std::mem::take(&mut incoming.arrived),
            Some(0) => return Poll::Ready(Some(Err(std::io::Error::other(too_long().message)))),
            Some(left) => {
                let size = incoming.arrived.len().min(PIECE).min(left);
                incoming.left = Some(left - size);
                incoming.arrived.split_to(size)
            }
        };
        incoming.pausing = true;
        Poll::Ready(Some(Ok(piece)))
    }
}

/// Reads the fields up to the file. In all of them `${filename}` is the file's name.
async fn fields(
    form: &mut Multipart<'static>,
    source: &FileStream,
) -> ApiResult<(Fields, Field<'static>)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut size = 0;
    while let Some(mut field) = form.next_field().await.map_err(|_| source.error())? {
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            source.lift();
            let path = field.file_name().unwrap_or_default();
            // Some browsers send a path.
            let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
            for (_, value) in &mut fields {
                size += value.matches(FILE_NAME).count() * file.len();
                if size > MAX_BEFORE_FILE {
                    return Err(too_long());
                }
                *value = value.replace(FILE_NAME, file);
            }
            return Ok((Fields(fields), field));
        }
        // As many as a `PutObject` may have headers.
        if fields.len() == MAX_HEADERS {
            return Err(too_long());
        }
        let mut value = Vec::new();
        while let Some(bytes) = field.chunk().await.map_err(|_| source.error())? {
            size += bytes.len();
            if size > MAX_FIELDS {
                return Err(too_long());
            }
            value.extend_from_slice(&bytes);
        }
        let value = String::from_utf8(value).map_err(|_| malformed())?;
        fields.push((name, value));
    }
    Err(ApiError::new(
        "InvalidArgument",
        "POST requires exactly one file upload per request.",
    ))
}

/// The file's bytes; fails when their number is outside the policy's range.
struct File {
    field: Field<'static>,
    range: Option<(u64, u64)>,
    size: u64,
    failed: Arc<Mutex<Option<ApiError>>>,
}

impl File {
    fn fail(&self, error: ApiError) -> Poll<Option<std::io::Result<Bytes>>> {
        let message = error.message.clone();
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        Poll::Ready(Some(Err(std::io::Error::other(message))))
    }
}

impl Stream for File {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(Pin::new(&mut self.field).poll_next(context));
        let (least, most) = self.range.unwrap_or((0, u64::MAX));
        match next {
            Some(Ok(bytes)) => {
                self.size += bytes.len() as u64;
                if self.size > most {
                    return self.fail(ApiError::new(
                        "EntityTooLarge",
                        "Your proposed upload exceeds the maximum allowed size",
                    ));
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Err(_)) => self.fail(malformed()),
            None if self.size < least => self.fail(ApiError::new(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            )),
            None => Poll::Ready(None),
        }
    }
}

/// Fields that belong to the form and not to the object.
const FORM_ONLY: [&str; 5] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-signature",
    "x-amz-security-token",
];

/// The `PutObject` that a form represents.
fn put(bucket: &str, key: &str, fields: &Fields, file: File) -> ApiResult<s3s::HttpRequest> {
    let path = format!("/{bucket}/{}", listing::encode(key.to_owned(), true));
    let invalid = |name: &str| {
        ApiError::new(
            "InvalidArgument",
            format!("the value of the field '{name}' is invalid"),
        )
    };
    let mut request = Request::builder()
        .method(Method::PUT)
        .uri(path)
        .header(http::header::HOST, "127.0.0.1")
        .body(s3s::Body::http_body_unsync(Body::from_stream(file)))
        .map_err(|_| invalid("key"))?;
    for (name, value) in fields.iter() {
        let (header, value) = match name {
            "acl" => ("x-amz-acl", value.to_owned()),
            "tagging" => ("x-amz-tagging", tags(value)?),
            "content-type"
            | "cache-control"
            | "content-disposition"
            | "content-encoding"
            | "content-language"
            | "content-md5"
            | "expires" => (name, value.to_owned()),
            name if name.starts_with("x-amz-") && !FORM_ONLY.contains(&name) => {
                (name, value.to_owned())
            }
            _ => continue,
        };
        let header = HeaderName::try_from(header).map_err(|_| invalid(name))?;
        let value = HeaderValue::try_from(value).map_err(|_| invalid(name))?;
        // The policy is held against the first of several fields with one name.
        request.headers_mut().entry(header).or_insert(value);
    }
    Ok(request)
}

/// The tags of a form's `tagging` document, as the header `x-amz-tagging` has them.
fn tags(document: &str) -> ApiResult<String> {
    let tagging: Tagging = settings::read(document).map_err(|_| {
        ApiError::new(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published \
             schema",
        )
    })?;
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for tag in tagging.tag_set {
        query.append_pair(&tag.key.unwrap_or_default(), &tag.value.unwrap_or_default());
    }
    Ok(query.finish())
}

/// Serves an upload by a form to a bucket; `service` does not check signatures.
pub(super) async fn upload(
    cloud: &Cloud,
    service: &S3Service,
    (bucket, key): (String, String),
    request: Request<Body>,
) -> Result<HttpResponse, StdError> {
    let boundary = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| multer::parse_boundary(kind.to_str().ok()?).ok());
    let source = FileStream::of(request.into_body());
    let answered = match boundary {
        Some(boundary) => {
            let mut form = Multipart::new(source.clone(), boundary);
            attempt(
                cloud,
                service,
                (bucket.as_str(), key.as_str()),
                &mut form,
                &source,
            )
            .await
        }
        None => Err(malformed()),
    };
    match answered {
        Ok(response) => response,
        Err(error) => {
            // A client that is still sending would not read the answer.
            source.lift();
            body::drain(Body::from_stream(source)).await;
            s3s::S3Error::from(error)
                .to_http_response()
                .map_err(Into::into)
        }
    }
}

async fn attempt(
    cloud: &Cloud,
    service: &S3Service,
    (bucket, path): (&str, &str),
    form: &mut Multipart<'static>,
    source: &FileStream,
) -> ApiResult<Result<HttpResponse, StdError>> {
    if bucket.is_empty() || !path.is_empty() {
        return Err(ApiError::new(
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .status(405));
    }
    let (fields, field) = fields(form, source).await?;
    let key = fields.get("key").ok_or_else(|| missing("key"))?.to_owned();
    policy::authenticate(cloud, &fields)?;
    let policy = Policy::of(&fields)?;
    policy.check(bucket, &fields, jiff::Timestamp::now())?;
    if key.is_empty() {
        return Err(ApiError::new(
            "InvalidArgument",
            "User key must have a length greater than 0.",
        ));
    }
    let failed = Arc::default();
    let file = File {
        field,
        range: policy.range(),
        size: 0,
        failed: Arc::clone(&failed),
    };
    let answered = service.call(put(bucket, &key, &fields, file)?).await;
    if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    Ok(match answered {
        Ok(put) if put.status().is_success() => success(cloud, bucket, &key, &fields, put),
        Ok(refused) => Ok(refused),
        Err(error) => Err(error.into()),
    })
}

/// Turns the answer of `PutObject` into the one that the form asks for.
fn success(
    cloud: &Cloud,
    bucket: &str,
    key: &str,
    fields: &Fields,
    mut response: HttpResponse,
) -> Result<HttpResponse, StdError> {
    let etag = response
        .headers()
        .get(ETAG)
        .and_then(|etag| etag.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let redirect = fields
        .get("success_action_redirect")
        .or_else(|| fields.get("redirect"))
        .and_then(|text| url::Url::parse(text).ok());
    if let Some(mut url) = redirect {
        url.query_pairs_mut()
            .append_pair("bucket", bucket)
            .append_pair("key", key)
            .append_pair("etag", &etag);
        response
            .headers_mut()
            .insert(LOCATION, url.as_str().parse()?);
        *response.status_mut() = StatusCode::SEE_OTHER;
        return Ok(response);
    }
    let location = format!(
        "{}/{bucket}/{}",
        cloud.endpoint(),
        listing::encode(key.to_owned(), true)
    );
    response.headers_mut().insert(LOCATION, location.parse()?);
    match fields.get("success_action_status") {
        Some("200") => {}
        Some("201") => {
            *response.status_mut() = StatusCode::CREATED;
            let kind = HeaderValue::from_static("application/xml");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            let escape = |text: &str| quick_xml::escape::escape(text).into_owned();
            *response.body_mut() = s3s::Body::from(format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location>\
                 <Bucket>{bucket}</Bucket><Key>{}</Key><ETag>{}</ETag></PostResponse>",
                escape(&location),
                escape(key),
                escape(&etag)
            ));
        }
        _ => *response.status_mut() = StatusCode::NO_CONTENT,
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    /// The size of a form's file, or the code of the error before it.
    async fn size(body: Body) -> Result<usize, String> {
        let source = FileStream::of(body);
        let mut form = Multipart::new(source.clone(), "b");
        let (_, file) = fields(&mut form, &source)
            .await
            .map_err(|error| error.code)?;
        let bytes = file.bytes().await.map_err(|error| error.to_string())?;
        Ok(bytes.len())
    }

    /// A part with a text; the name may end in more parameters.
    fn part(name: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n")
    }

    #[tokio::test]
    async fn what_comes_before_a_form_s_file_is_bounded() {
        let too_long: Result<usize, String> = Err("MaxPostPreDataLengthExceededError".to_owned());
        // A preamble, the head of a part and a field that never end.
        for start in [
            "x",
            "--b\r\nContent-Disposition: form-data; name=",
            "--b\r\nContent-Disposition: form-data; name=key\r\n\r\n",
        ] {
            let start = Ok::<_, std::io::Error>(Bytes::from_static(start.as_bytes()));
            let endless = futures::stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; 10_000])));
            let body = Body::from_stream(futures::stream::iter([start]).chain(endless));
            assert_eq!(size(body).await, too_long);
        }
        let many = part("a", "").repeat(MAX_HEADERS + 1);
        assert_eq!(size(Body::from(many)).await, too_long);
        let name = format!("file; filename={}", "n".repeat(1000));
        let grows = part("key", &FILE_NAME.repeat(1000)) + &part(&name, "data") + "--b--";
        assert_eq!(size(Body::from(grows)).await, too_long);
    }

    #[tokio::test]
    async fn a_form_s_file_has_no_limit_also_when_all_arrives_at_once() {
        let file = "x".repeat(10 * MAX_BEFORE_FILE);
        let name = "file; filename=f";
        let form = part("key", &"k".repeat(PIECE)) + &part(name, &file) + "--b--";
        assert_eq!(size(Body::from(form)).await, Ok(file.len()));
        let none = part("key", "k") + "--b--";
        assert_eq!(
            size(Body::from(none)).await,
            Err("InvalidArgument".to_owned())
        );
    }
}

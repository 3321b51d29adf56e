//! `POST Object`: an upload through an HTML form, as `generate_presigned_post` prepares it.
//!
//! The fields before the file contain the target and the policy; the signature of the policy is
//! verified if credentials are required. The upload itself is then an ordinary `PutObject` that
//! streams the file.
//!
//! Everything before the file is read before authentication, so [`FileStream`] limits its size.

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

use super::form_fields::{Fields, missing};
use super::policy::{self, Policy};
use super::{listing, settings};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::limits::MAX_HEADERS;
use crate::wire::body;

/// Maximum size of the fields before the file, in bytes; S3's own limit.
const MAX_FIELDS: usize = 20 * 1024;

/// Maximum size of everything before the file, including part headers and boundaries, in bytes.
/// Also the limit for the fields after the file name is inserted.
const MAX_BEFORE_FILE: usize = 64 * 1024;

/// Size of the chunks that the decoder receives before the file, in bytes.
const CHUNK: usize = 4 * 1024;

/// Placeholder for the file name in a field.
const FILE_NAME: &str = "${filename}";

/// True for a request with the content type of a form.
pub(super) fn has_form_type(parts: &Parts) -> bool {
    const TYPE: &str = "multipart/form-data";
    let kind = parts.headers.get(CONTENT_TYPE);
    let kind = kind
        .and_then(|value| value.to_str().ok())
        .map(str::trim_start);
    let start = kind.and_then(|kind| kind.get(..TYPE.len()));
    parts.method == Method::POST && start.is_some_and(|start| start.eq_ignore_ascii_case(TYPE))
}

/// True for a form upload. A request that is signed in its headers is an ordinary request, for example to an
/// inference endpoint.
pub(crate) fn is_form(parts: &Parts) -> bool {
    has_form_type(parts) && !parts.headers.contains_key(AUTHORIZATION)
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

/// The bytes of a form. The decoder reads everything that has arrived and buffers what it has not
/// parsed yet; so it receives one chunk at a time, and at most [`MAX_BEFORE_FILE`] bytes before the
/// file.
#[derive(Clone)]
struct FileStream(Arc<Mutex<Incoming>>);

struct Incoming {
    /// `None` once it has ended.
    body: Option<BodyDataStream>,
    /// Bytes that have arrived but were not passed on yet.
    arrived: Bytes,
    /// Bytes that may still pass before the file; `None` once there is no limit.
    left: Option<usize>,
    /// True if the decoder must parse the last chunk before it receives another.
    yields: bool,
}

impl FileStream {
    fn of(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Incoming {
            body: Some(body.into_data_stream()),
            arrived: Bytes::new(),
            left: Some(MAX_BEFORE_FILE),
            yields: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lifts the limit, because the file was found or the rest is discarded.
    fn lift_limit(&self) {
        self.lock().left = None;
    }

    /// The error if the decoder fails before the file.
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
        if std::mem::take(&mut incoming.yields) {
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
        let chunk = match incoming.left {
            None => std::mem::take(&mut incoming.arrived),
            Some(0) => return Poll::Ready(Some(Err(std::io::Error::other(too_long().message)))),
            Some(left) => {
                let size = incoming.arrived.len().min(CHUNK).min(left);
                incoming.left = Some(left - size);
                incoming.arrived.split_to(size)
            }
        };
        incoming.yields = true;
        Poll::Ready(Some(Ok(chunk)))
    }
}

/// Reads the fields before the file and replaces `${filename}` in them.
async fn fields(
    form: &mut Multipart<'static>,
    source: &FileStream,
) -> ApiResult<(Fields, Field<'static>)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut size = 0;
    while let Some(mut field) = form.next_field().await.map_err(|_| source.error())? {
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            source.lift_limit();
            let path = field.file_name().unwrap_or_default();
            // Some browsers send a full path.
            let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
            for (_, value) in &mut fields {
                size += value.matches(FILE_NAME).count() * file.len();
                if size > MAX_BEFORE_FILE {
                    return Err(too_long());
                }
                *value = value.replace(FILE_NAME, file);
            }
            return Ok((Fields::new(fields), field));
        }
        // A `PutObject` may not have more headers than this.
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

/// The bytes of the file; fails if their number is outside the range of the policy.
struct FileField {
    field: Field<'static>,
    range: Option<(u64, u64)>,
    size: u64,
    failed: Arc<Mutex<Option<ApiError>>>,
}

impl FileField {
    fn fail(&self, error: ApiError) -> Poll<Option<std::io::Result<Bytes>>> {
        let message = error.message.clone();
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        Poll::Ready(Some(Err(std::io::Error::other(message))))
    }
}

impl Stream for FileField {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(Pin::new(&mut self.field).poll_next(context));
        let (min, max) = self.range.unwrap_or((0, u64::MAX));
        match next {
            Some(Ok(bytes)) => {
                self.size += bytes.len() as u64;
                if self.size > max {
                    return self.fail(ApiError::new(
                        "EntityTooLarge",
                        "Your proposed upload exceeds the maximum allowed size",
                    ));
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Some(Err(_)) => self.fail(malformed()),
            None if self.size < min => self.fail(ApiError::new(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            )),
            None => Poll::Ready(None),
        }
    }
}

/// Fields that describe the form, not the object.
const FORM_ONLY: [&str; 5] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-signature",
    "x-amz-security-token",
];

/// The `PutObject` request that corresponds to a form.
fn put(bucket: &str, key: &str, fields: &Fields, file: FileField) -> ApiResult<s3s::HttpRequest> {
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
        // The policy is checked against the first of several fields with the same name.
        request.headers_mut().entry(header).or_insert(value);
    }
    Ok(request)
}

/// Converts a form's `tagging` document to the value of the header `x-amz-tagging`.
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

/// Serves a form upload; `service` must not verify signatures.
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
            process(
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
            // A client that is still sending would not read the response.
            source.lift_limit();
            body::drain(Body::from_stream(source)).await;
            s3s::S3Error::from(error)
                .to_http_response()
                .map_err(Into::into)
        }
    }
}

async fn process(
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
    let caller = policy::authenticate(cloud, &fields)?;
    let policy = Policy::of(&fields)?;
    policy.check(bucket, &fields, jiff::Timestamp::now())?;
    if key.is_empty() {
        return Err(ApiError::new(
            "InvalidArgument",
            "User key must have a length greater than 0.",
        ));
    }
    let failed = Arc::default();
    let file = FileField {
        field,
        range: policy.range(),
        size: 0,
        failed: Arc::clone(&failed),
    };
    let call = service.call(put(bucket, &key, &fields, file)?);
    let answered = caller.scope(call).await;
    if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    Ok(match answered {
        Ok(put) if put.status().is_success() => success(cloud, bucket, &key, &fields, put),
        Ok(refused) => Ok(refused),
        Err(error) => Err(error.into()),
    })
}

/// Converts the response of `PutObject` to the one that the form requests.
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

    /// The size of the file in a form, or the code of the error before it.
    async fn size(body: Body) -> Result<usize, String> {
        let source = FileStream::of(body);
        let mut form = Multipart::new(source.clone(), "b");
        let (_, file) = fields(&mut form, &source)
            .await
            .map_err(|error| error.code)?;
        let bytes = file.bytes().await.map_err(|error| error.to_string())?;
        Ok(bytes.len())
    }

    /// A part with a text; the name may be followed by more parameters.
    fn part(name: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n")
    }

    #[tokio::test]
    async fn fields_before_the_file_of_a_form_are_limited() {
        let too_long: Result<usize, String> = Err("MaxPostPreDataLengthExceededError".to_owned());
        // A preamble, a part header and a field that never end.
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
    async fn the_file_of_a_form_is_unlimited_even_in_one_chunk() {
        let file = "x".repeat(10 * MAX_BEFORE_FILE);
        let name = "file; filename=f";
        let form = part("key", &"k".repeat(CHUNK)) + &part(name, &file) + "--b--";
        assert_eq!(size(Body::from(form)).await, Ok(file.len()));
        let none = part("key", "k") + "--b--";
        assert_eq!(
            size(Body::from(none)).await,
            Err("InvalidArgument".to_owned())
        );
    }
}

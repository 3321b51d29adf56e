//! `POST Object`: an upload by an HTML form, as `generate_presigned_post` describes it.
//!
//! The fields before the file say where it goes and under which policy; the policy's signature is
//! checked where credentials are required. The upload itself is then an ordinary `PutObject`, which
//! streams the file.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
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
use crate::local::Cloud;
use crate::local::api::{ApiError, ApiResult};

/// Maximum size of the fields before the file, in bytes; S3's own limit.
const MAX_FIELDS: usize = 20 * 1024;

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

/// Reads the fields up to the file. In all of them `${filename}` is the file's name.
async fn fields(form: &mut Multipart<'static>) -> ApiResult<(Fields, Field<'static>)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut size = 0;
    while let Some(mut field) = form.next_field().await.map_err(|_| malformed())? {
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            let path = field.file_name().unwrap_or_default();
            // Some browsers send a path.
            let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
            for (_, value) in &mut fields {
                *value = value.replace("${filename}", file);
            }
            return Ok((Fields(fields), field));
        }
        let mut value = Vec::new();
        while let Some(bytes) = field.chunk().await.map_err(|_| malformed())? {
            size += bytes.len();
            if size > MAX_FIELDS {
                return Err(ApiError::new(
                    "MaxPostPreDataLengthExceededError",
                    "Your POST request fields preceding the upload file were too large.",
                ));
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

/// The `PutObject` that a form stands for.
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
        request.headers_mut().insert(header, value);
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
    let mut form = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| multer::parse_boundary(kind.to_str().ok()?).ok())
        .map(|boundary| Multipart::new(request.into_body().into_data_stream(), boundary));
    let answered = match &mut form {
        Some(form) => attempt(cloud, service, &bucket, &key, form).await,
        None => Err(malformed()),
    };
    match answered {
        Ok(response) => response,
        Err(error) => {
            // A client that is still sending would not read the answer.
            if let Some(mut form) = form {
                while let Ok(Some(_)) = form.next_field().await {}
            }
            s3s::S3Error::from(error)
                .to_http_response()
                .map_err(Into::into)
        }
    }
}

async fn attempt(
    cloud: &Cloud,
    service: &S3Service,
    bucket: &str,
    path: &str,
    form: &mut Multipart<'static>,
) -> ApiResult<Result<HttpResponse, StdError>> {
    if bucket.is_empty() || !path.is_empty() {
        return Err(ApiError::new(
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .status(405));
    }
    let (fields, field) = fields(form).await?;
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

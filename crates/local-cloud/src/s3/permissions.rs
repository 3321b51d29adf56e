//! What a session may do in S3: an operation on a bucket or an object and, for objects encrypted with a key of
//! KMS, the use of that key.

use http::{HeaderMap, HeaderValue, Uri};
use s3s::dto::CopySource;
use s3s::{S3Request, S3Result};
use serde_json::{Map, Value, json};

use super::answer::bucket_and_key;
use super::versions::{Details, Version};
use super::{SERVICE, buckets, multipart, reading};
use crate::api::{ApiError, ApiResult};
use crate::cloud::caller::Caller;
use crate::policy::Context;
use crate::{Cloud, admission, authorization, kms};

/// The query parameters that the permissions of a request depend on, with the names of their members. As for s3s,
/// which executes the request, their case counts, and a header of the same name is something else.
const QUERY: &[(&str, &str)] = &[
    ("delimiter", "Delimiter"),
    ("max-keys", "MaxKeys"),
    ("prefix", "Prefix"),
    ("uploadId", "UploadId"),
    ("versionId", "VersionId"),
];

/// The same for headers.
const HEADERS: &[(&str, &str)] = &[
    ("x-amz-acl", "ACL"),
    ("x-amz-copy-source", "CopySource"),
    ("x-amz-metadata-directive", "MetadataDirective"),
    ("x-amz-server-side-encryption", "ServerSideEncryption"),
    ("x-amz-server-side-encryption-aws-kms-key-id", "SSEKMSKeyId"),
    ("x-amz-storage-class", "StorageClass"),
    ("x-amz-tagging", "Tagging"),
    ("if-match", "IfMatch"),
    ("if-none-match", "IfNoneMatch"),
];

/// The members of a request, in the names of the API: the values that s3s reads. It has refused a request with two
/// values of one.
fn input(uri: &Uri, headers: &HeaderMap) -> Value {
    let mut input = Map::new();
    let query = uri.query().unwrap_or_default().as_bytes();
    for (name, value) in url::form_urlencoded::parse(query) {
        if let Some((_, member)) = QUERY.iter().find(|(known, _)| *known == name) {
            input.insert((*member).to_owned(), value.into());
        }
    }
    for (name, member) in HEADERS {
        let value = headers.get(*name).map(HeaderValue::as_bytes);
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            continue;
        };
        let value = String::from_utf8_lossy(value);
        let value = match *member {
            "CopySource" => plain_source(&value).unwrap_or_else(|| value.into_owned()),
            _ => value.into_owned(),
        };
        input.insert((*member).to_owned(), value.into());
    }
    let (bucket, key) = bucket_and_key(uri, headers);
    for (member, value) in [("Bucket", bucket), ("Key", key)] {
        if !value.is_empty() {
            input.insert(member.to_owned(), value.into());
        }
    }
    Value::Object(input)
}

/// `BUCKET/KEY?versionId=ID` of `x-amz-copy-source` as s3s reads it; in the key, only `%` and `?` are encoded.
fn plain_source(text: &str) -> Option<String> {
    let Ok(CopySource::Bucket {
        bucket,
        key,
        version_id,
    }) = CopySource::parse(text)
    else {
        return None;
    };
    let key = key.replace('%', "%25").replace('?', "%3F");
    let version = version_id.map_or_else(String::new, |id| format!("?versionId={id}"));
    Some(format!("{bucket}/{key}{version}"))
}

/// Fails with `AccessDenied` if the current caller may not make a request. [`object`] checks each key of
/// `DeleteObjects`.
pub(super) fn check<T>(cloud: &Cloud, operation: &str, request: &S3Request<T>) -> S3Result<()> {
    let caller = Caller::current();
    check_signer(cloud, &caller, request)?;
    if caller.session().is_none() || operation == "DeleteObjects" {
        return Ok(());
    }
    let input = input(&request.uri, &request.headers);
    Ok(check_input(cloud, &caller, operation, &input)?)
}

/// Fails if s3s verified the signature of another caller than the one whose permissions are evaluated.
fn check_signer<T>(cloud: &Cloud, caller: &Caller, request: &S3Request<T>) -> ApiResult<()> {
    let Some(credentials) = &request.credentials else {
        return Ok(());
    };
    let signer = admission::caller_of(cloud, &credentials.access_key)?;
    let key = |caller: &Caller| caller.session().map(|session| session.access_key.clone());
    if key(&signer) == key(caller) {
        return Ok(());
    }
    let message = "the request is signed with other credentials than those it names";
    Err(ApiError::denied("AccessDenied", message))
}

/// The same for an operation on one object by the local cloud's own services.
pub(super) fn object(
    cloud: &Cloud,
    caller: &Caller,
    operation: &str,
    (bucket, key): (&str, &str),
    version: Option<&str>,
) -> ApiResult<()> {
    if caller.session().is_none() {
        return Ok(());
    }
    let mut input = json!({"Bucket": bucket, "Key": key});
    if let Some(version) = version {
        input["VersionId"] = version.into();
    }
    check_input(cloud, caller, operation, &input)
}

/// The same for an object that a service writes with these details.
pub(super) fn writing(
    cloud: &Cloud,
    caller: &Caller,
    (bucket, key): (&str, &str),
    details: &Details,
) -> ApiResult<()> {
    if caller.session().is_none() {
        return Ok(());
    }
    let mut input = json!({"Bucket": bucket, "Key": key});
    for (member, value) in [
        ("ServerSideEncryption", &details.sse),
        ("SSEKMSKeyId", &details.kms_key),
    ] {
        if let Some(value) = value {
            input[member] = value.as_str().into();
        }
    }
    check_input(cloud, caller, "PutObject", &input)
}

/// The same for a listing of the objects under a prefix.
pub(super) fn listing(cloud: &Cloud, caller: &Caller, bucket: &str, prefix: &str) -> ApiResult<()> {
    let input = json!({"Bucket": bucket, "Prefix": prefix});
    authorization::operation_of(cloud, caller, &SERVICE, "ListObjectsV2", &input)
}

fn check_input(cloud: &Cloud, caller: &Caller, operation: &str, input: &Value) -> ApiResult<()> {
    authorization::operation_of(cloud, caller, &SERVICE, operation, input)?;
    let text = |member: &str| input[member].as_str();
    let (Some(bucket), Some(key)) = (text("Bucket"), text("Key")) else {
        return Ok(());
    };
    let uses = |action: &str, details: &Details, key: &str| {
        use_key(
            cloud,
            caller,
            action,
            details,
            &format!("arn:aws:s3:::{bucket}/{key}"),
        )
    };
    match operation {
        "GetObject" => match find(cloud, bucket, key, text("VersionId")) {
            Some(version) => uses("kms:Decrypt", &version.details, key),
            // Without s3:ListBucket, a caller must not learn whether an object exists.
            None => conceal(cloud, caller, bucket, key),
        },
        "HeadObject" if find(cloud, bucket, key, text("VersionId")).is_none() => {
            conceal(cloud, caller, bucket, key)
        }
        "PutObject" | "CreateMultipartUpload" => {
            uses("kms:GenerateDataKey", &written(cloud, input, bucket), key)
        }
        "CopyObject" | "UploadPartCopy" => {
            if let Some((bucket, key, version)) = source(text("CopySource").unwrap_or_default())
                && let Some(version) = find(cloud, &bucket, &key, version.as_deref())
            {
                let arn = format!("arn:aws:s3:::{bucket}/{key}");
                use_key(cloud, caller, "kms:Decrypt", &version.details, &arn)?;
            }
            if operation == "CopyObject" {
                return uses("kms:GenerateDataKey", &written(cloud, input, bucket), key);
            }
            part(cloud, caller, input, bucket, key)
        }
        "UploadPart" => part(cloud, caller, input, bucket, key),
        _ => Ok(()),
    }
}

/// S3 decrypts the parts of an upload again (user guide, "Multipart upload API and permissions").
fn part(cloud: &Cloud, caller: &Caller, input: &Value, bucket: &str, key: &str) -> ApiResult<()> {
    let id = input["UploadId"].as_str().unwrap_or_default();
    let found = cloud
        .store()
        .transaction(|transaction| multipart::find(transaction, bucket, key, id));
    let Ok(upload) = found else {
        return Ok(());
    };
    let arn = format!("arn:aws:s3:::{bucket}/{key}");
    use_key(cloud, caller, "kms:Decrypt", &upload.details, &arn)
}

/// An object, if there is one; the operation itself reports any error.
fn find(cloud: &Cloud, bucket: &str, key: &str, version: Option<&str>) -> Option<Version> {
    let found = reading::find_object(cloud, bucket, key, version);
    found.ok().map(|(_, version)| version)
}

/// `AccessDenied` for an absent object of a bucket that the caller may not list, as in S3.
fn conceal(cloud: &Cloud, caller: &Caller, bucket: &str, key: &str) -> ApiResult<()> {
    let is_bucket = cloud
        .store()
        .transaction(|transaction| buckets::find(transaction, bucket));
    if is_bucket.is_err() {
        return Ok(());
    }
    listing(cloud, caller, bucket, key)
}

/// The encryption of an object that a request writes.
fn written(cloud: &Cloud, input: &Value, bucket: &str) -> Details {
    let text = |member: &str| input[member].as_str().map(str::to_owned);
    let mut details = Details {
        sse: text("ServerSideEncryption"),
        kms_key: text("SSEKMSKeyId"),
        ..Details::default()
    };
    let bucket = cloud
        .store()
        .transaction(|transaction| buckets::find(transaction, bucket));
    if let Ok(bucket) = bucket {
        super::encryption::apply_default(&mut details, &bucket);
    }
    details
}

/// Bucket, key and version of a [`plain_source`].
fn source(text: &str) -> Option<(String, String, Option<String>)> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .ok()?;
    let (bucket, key) = path.split_once('/')?;
    let version = query.strip_prefix("versionId=").map(str::to_owned);
    Some((bucket.to_owned(), key.to_owned(), version))
}

/// Fails if the caller may not use the key with which an object is encrypted. Everybody in the account may use
/// the key `aws/s3`, which is the key if none is named.
fn use_key(
    cloud: &Cloud,
    caller: &Caller,
    action: &str,
    details: &Details,
    arn: &str,
) -> ApiResult<()> {
    let Some(key) = &details.kms_key else {
        return Ok(());
    };
    // A key that does not exist is the operation's own error.
    let Some(key) = kms::key_arn(cloud, key)? else {
        return Ok(());
    };
    let mut context = Context::default();
    context.set("aws:ViaAWSService", "true");
    context.set("kms:CallerAccount", crate::cloud::ACCOUNT);
    context.set(
        "kms:ViaService",
        format!("s3.{}.amazonaws.com", cloud.region()),
    );
    context.set("kms:EncryptionContext:aws:s3:arn", arn);
    context.set_list("kms:EncryptionContextKeys", vec!["aws:s3:arn".to_owned()]);
    authorization::action(cloud, caller, &SERVICE, action, key, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_request_are_in_its_path_query_and_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "b.s3.amazonaws.com".parse().unwrap());
        headers.insert("x-amz-tagging", "a=b".parse().unwrap());
        let uri = "/k/1?versionId=3&prefix=x%2F".parse().unwrap();
        let expected = json!({"VersionId": "3", "Prefix": "x/", "Tagging": "a=b", "Bucket": "b", "Key": "k/1"});
        assert_eq!(input(&uri, &headers), expected);
    }

    #[test]
    fn members_are_read_where_s3_reads_them() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "localhost".parse().unwrap());
        headers.insert("x-amz-copy-source", "/secret/k".parse().unwrap());
        headers.insert("versionid", "null".parse().unwrap());
        headers.insert("prefix", "mine/".parse().unwrap());
        headers.insert("x-amz-acl", "".parse().unwrap());
        let uri = "/pub/a?x-amz-copy-source=pub%2Fok&x-amz-tagging=a%3Db&PREFIX=mine%2F&VERSIONID=1&prefix=priv%2F"
            .parse()
            .unwrap();
        let expected =
            json!({"Bucket": "pub", "Key": "a", "CopySource": "secret/k", "Prefix": "priv/"});
        assert_eq!(input(&uri, &headers), expected);
        let uri = "/pub//a".parse().unwrap();
        assert_eq!(input(&uri, &headers)["Key"], "/a");
        headers.insert("host", "pub.localhost".parse().unwrap());
        let uri = "//a".parse().unwrap();
        assert_eq!(input(&uri, &headers)["Key"], "/a");
    }

    #[test]
    fn a_copys_source_is_the_one_that_s3s_reads() {
        for text in [
            "/secret/k",
            "secret/a%2Fb%3FversionId%3D1?versionId=null",
            "secret/a%25b",
            "secret%2Fk",
            "pub/ok?versionId=x?versionId=null",
        ] {
            let Ok(CopySource::Bucket {
                bucket,
                key,
                version_id,
            }) = CopySource::parse(text)
            else {
                panic!("{text}");
            };
            let plain = plain_source(text).unwrap();
            let expected = (
                bucket.to_string(),
                key.to_string(),
                version_id.map(|id| id.to_string()),
            );
            assert_eq!(source(&plain), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_request_is_signed_by_its_caller() {
        let at = crate::test_cloud::TestCloud::new();
        let cloud = at.cloud();
        let key = crate::sts::session(&cloud, "SIGNER", 900);
        let session = admission::caller_of(&cloud, &key).unwrap();
        let request = |access_key: &str| S3Request {
            input: (),
            method: http::Method::GET,
            uri: Uri::from_static("/"),
            headers: HeaderMap::new(),
            extensions: http::Extensions::new(),
            credentials: Some(s3s::auth::Credentials {
                access_key: access_key.to_owned(),
                secret_key: "s".to_owned().into(),
            }),
            region: None,
            service: None,
            trailing_headers: None,
        };
        for (caller, access_key, is_allowed) in [
            (&session, key.as_str(), true),
            (&session, "AKIA", false),
            (&Caller::Root, key.as_str(), false),
            (&Caller::Root, "AKIA", true),
        ] {
            let checked = check_signer(&cloud, caller, &request(access_key));
            assert_eq!(checked.is_ok(), is_allowed, "{access_key}");
        }
    }

    #[test]
    fn a_source_can_have_a_version() {
        let found = source("b/k%20k?versionId=3").unwrap();
        assert_eq!(
            found,
            ("b".to_owned(), "k k".to_owned(), Some("3".to_owned()))
        );
        assert_eq!(source("b/k").unwrap().2, None);
        assert_eq!(source("b"), None);
    }
}

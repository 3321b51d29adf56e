//! Validation of a request's query: at most one sub-resource, or one part of an upload.
//!
//! s3s routes by the first sub-resource that it recognizes, and otherwise runs the operation on the
//! whole resource: `DELETE /bucket?versioning` would delete the bucket, and `PUT
//! /bucket/key?partNumber=1` would write the object. Names are compared exactly, as S3 does (`?Acl`
//! selects nothing).

use http::{Method, StatusCode};
use s3s::{S3Error, S3ErrorCode};

/// All sub-resources of buckets and objects.
const SELECTORS: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
];

/// Sub-resources that s3s does not recognize and would ignore.
const UNKNOWN: &[&str] = &[
    "abac",
    "annotation",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "renameObject",
    "session",
];

/// Sub-resources for which S3 has an operation with this method.
fn operations(method: &Method, on_object: bool) -> &'static [&'static str] {
    match (method.as_str(), on_object) {
        ("GET", false) => &[
            "accelerate",
            "acl",
            "analytics",
            "cors",
            "encryption",
            "intelligent-tiering",
            "inventory",
            "lifecycle",
            "location",
            "logging",
            "metadataTable",
            "metrics",
            "notification",
            "object-lock",
            "ownershipControls",
            "policy",
            "policyStatus",
            "publicAccessBlock",
            "replication",
            "requestPayment",
            "tagging",
            "uploads",
            "versioning",
            "versions",
            "website",
        ],
        ("PUT", false) => &[
            "accelerate",
            "acl",
            "analytics",
            "cors",
            "encryption",
            "intelligent-tiering",
            "inventory",
            "lifecycle",
            "logging",
            "metrics",
            "notification",
            "object-lock",
            "ownershipControls",
            "policy",
            "publicAccessBlock",
            "replication",
            "requestPayment",
            "tagging",
            "versioning",
            "website",
        ],
        ("DELETE", false) => &[
            "analytics",
            "cors",
            "encryption",
            "intelligent-tiering",
            "inventory",
            "lifecycle",
            "metadataTable",
            "metrics",
            "ownershipControls",
            "policy",
            "publicAccessBlock",
            "replication",
            "tagging",
            "website",
        ],
        ("POST", false) => &["delete", "metadataTable"],
        ("GET", true) => &[
            "acl",
            "attributes",
            "legal-hold",
            "retention",
            "tagging",
            "torrent",
            "uploadId",
        ],
        ("PUT", true) => &["acl", "legal-hold", "retention", "tagging", "uploadId"],
        ("DELETE", true) => &["tagging", "uploadId"],
        ("POST", true) => &["restore", "select", "uploadId", "uploads"],
        _ => &[],
    }
}

/// The reason for refusing a request.
#[derive(Debug)]
pub(super) struct Refusal {
    code: S3ErrorCode,
    message: String,
    /// `ArgumentName` and `ArgumentValue` of the error.
    pub(super) argument: Option<(String, String)>,
    /// `ResourceType` of the error: the resource that does not support the method.
    pub(super) resource: Option<String>,
}

impl Refusal {
    fn argument(message: String, name: &str, value: &str) -> Box<Self> {
        Box::new(Self {
            code: S3ErrorCode::InvalidArgument,
            message,
            argument: Some((name.to_owned(), value.to_owned())),
            resource: None,
        })
    }

    /// The error that S3 returns.
    pub(super) fn error(&self) -> S3Error {
        let mut error = S3Error::with_message(self.code.clone(), self.message.clone());
        error.set_status_code(match self.code {
            S3ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            S3ErrorCode::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        });
        error
    }
}

/// Fails if the query has two sub-resources, a repeated parameter, or a sub-resource without this
/// method.
pub(super) fn check(method: &Method, query: &str, on_object: bool) -> Result<(), Box<Refusal>> {
    let mut members: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    members.sort();
    // Unverified against AWS [s3-repeated-parameter]. s3s would ignore both values.
    if let Some(pair) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let message = format!("The query string parameter {} occurs twice", pair[0].0);
        return Err(Refusal::argument(message, &pair[0].0, &pair[1].1));
    }
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    let mut selected = names.iter().filter(|name| SELECTORS.contains(name));
    let (first, second) = (selected.next().copied(), selected.next());
    if let (Some(first), Some(second)) = (first, second) {
        let message = format!("Conflicting query string parameters: {first}, {second}");
        return Err(Refusal::argument(message, "ResourceType", first));
    }
    if let Some(name) = first.filter(|name| UNKNOWN.contains(name)) {
        return Err(Box::new(Refusal {
            code: S3ErrorCode::NotImplemented,
            message: format!("the local cloud does not have the sub-resource {name}"),
            argument: None,
            resource: None,
        }));
    }
    if let Some(name) = first.filter(|name| !operations(method, on_object).contains(name)) {
        return Err(Box::new(Refusal {
            code: S3ErrorCode::MethodNotAllowed,
            message: "The specified method is not allowed against this resource.".to_owned(),
            argument: None,
            resource: Some(name.to_ascii_uppercase()),
        }));
    }
    let writes = on_object && matches!(*method, Method::PUT | Method::DELETE);
    let (part, upload) = (names.contains(&"partNumber"), first == Some("uploadId"));
    let missing = match (writes, part, upload) {
        (true, true, false) => "uploadId",
        (true, false, true) if *method == Method::PUT => "partNumber",
        _ => return Ok(()),
    };
    // The message is unverified against AWS [s3-part-without-upload].
    let message = format!(
        "The query string parameter {missing} is missing: a part has a number and an upload"
    );
    Err(Refusal::argument(message, missing, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: &Method, path: &str) -> Option<(String, String)> {
        let (path, query) = path.split_once('?').unwrap();
        let refusal = check(method, query, path.matches('/').count() > 1).err()?;
        Some((refusal.code.as_str().to_owned(), refusal.message))
    }

    #[test]
    fn a_request_selects_one_subresource() {
        for (path, message) in [
            (
                "/b?policy&acl",
                "Conflicting query string parameters: acl, policy",
            ),
            (
                "/b?acl=&x=1&%70olicy",
                "Conflicting query string parameters: acl, policy",
            ),
            (
                "/b/k?uploads&uploadId=1",
                "Conflicting query string parameters: uploadId, uploads",
            ),
            (
                "/b/k?versionId=1&versionId=2",
                "The query string parameter versionId occurs twice",
            ),
            ("/b?acl&acl", "The query string parameter acl occurs twice"),
        ] {
            for method in [Method::GET, Method::PUT, Method::DELETE, Method::POST] {
                let (found, text) = code(&method, path).unwrap();
                assert_eq!(
                    (found.as_str(), text.as_str()),
                    ("InvalidArgument", message)
                );
            }
        }
    }

    #[test]
    fn a_subresource_without_this_method_does_not_select_its_resource() {
        for (method, path) in [
            (Method::DELETE, "/b?versioning"),
            (Method::DELETE, "/b?acl"),
            (Method::PUT, "/b?versions"),
            (Method::GET, "/b/k?policy"),
            (Method::PUT, "/b/k?uploads"),
            (Method::DELETE, "/b/k?acl"),
            (Method::HEAD, "/b/k?tagging"),
        ] {
            let (found, _) = code(&method, path).unwrap();
            assert_eq!(found, "MethodNotAllowed", "{method} {path}");
        }
        for (method, path) in [
            (Method::DELETE, "/b?abac"),
            (Method::PUT, "/b/k?renameObject"),
            (Method::PUT, "/b?metadataInventoryTable"),
        ] {
            assert_eq!(code(&method, path).unwrap().0, "NotImplemented");
        }
    }

    #[test]
    fn a_part_has_a_number_and_an_upload() {
        for (method, path) in [
            (Method::PUT, "/b/k?partNumber=1"),
            (Method::PUT, "/b/k?uploadId=u"),
            (Method::DELETE, "/b/k?partNumber=1"),
        ] {
            let (found, _) = code(&method, path).unwrap();
            assert_eq!(found, "InvalidArgument", "{method} {path}");
        }
        for (method, path) in [
            (Method::PUT, "/b/k?partNumber=1&uploadId=u"),
            (Method::GET, "/b/k?partNumber=1"),
            (Method::HEAD, "/b/k?partNumber=1&versionId=v"),
            (Method::GET, "/b/k?uploadId=u&part-number-marker=1"),
            (Method::DELETE, "/b/k?uploadId=u"),
            (Method::POST, "/b/k?uploadId=u"),
            (Method::GET, "/b?list-type=2&prefix=acl&x-id=ListObjectsV2"),
            (Method::GET, "/b?analytics&id=1"),
            (Method::GET, "/b?Acl"),
            (Method::PUT, "/b/k?x-id=PutObject"),
        ] {
            assert_eq!(code(&method, path), None, "{method} {path}");
        }
    }
}

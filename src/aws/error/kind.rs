//! The meaning of a service's error: one table of codes and, if a service uses one code for every
//! invalid request, of messages.

use mlops_core::error::Exit;

/// The meaning of a service's error for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The requested resource does not exist.
    NotFound(Missing),
    /// The caller lacks a permission. Reveals nothing about what exists.
    AccessDenied,
    /// The credentials have expired.
    ExpiredCredentials,
    /// The service does not recognize the credentials.
    UnknownCredentials,
    /// The service or region is not enabled in the account.
    NotEnabled,
    /// The local cloud does not support the operation.
    NotImplemented,
    /// A quota of the account is exhausted.
    QuotaExceeded,
    /// Too many requests.
    Throttled,
    /// Anything else.
    Other,
}

/// The kind of a missing resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The resource of the request: a pipeline, an execution, a log group. The code is not more
    /// specific.
    Resource,
    /// A SageMaker endpoint.
    Endpoint,
    /// A SageMaker endpoint configuration.
    EndpointConfiguration,
    /// A SageMaker model.
    Model,
    /// A version of a model package group.
    ModelPackage,
    /// A model package group.
    ModelPackageGroup,
    /// A SageMaker notebook instance.
    Notebook,
    /// A CloudFormation stack.
    Stack,
    /// A CloudFormation change set.
    ChangeSet,
    /// An ECR repository.
    Repository,
    /// An image of an ECR repository.
    Image,
    /// A scan of an image.
    Scan,
    /// An S3 bucket.
    Bucket,
    /// An S3 object.
    Object,
    /// A version of an S3 object.
    ObjectVersion,
    /// A multipart upload.
    Upload,
}

/// Codes for a missing resource of one kind.
const MISSING_CODES: [(&str, Missing); 14] = [
    ("ResourceNotFound", Missing::Resource),
    ("ResourceNotFoundException", Missing::Resource),
    ("PipelineNotFoundException", Missing::Resource),
    ("PipelineExecutionNotFoundException", Missing::Resource),
    ("ChangeSetNotFound", Missing::ChangeSet),
    ("ChangeSetNotFoundException", Missing::ChangeSet),
    ("RepositoryNotFoundException", Missing::Repository),
    ("ImageNotFoundException", Missing::Image),
    ("ScanNotFoundException", Missing::Scan),
    ("NoSuchBucket", Missing::Bucket),
    ("NoSuchKey", Missing::Object),
    // The response to HEAD has no body, and therefore no error code.
    ("NotFound", Missing::Object),
    ("NoSuchVersion", Missing::ObjectVersion),
    ("NoSuchUpload", Missing::Upload),
];

/// Messages about a missing resource, for services that use one code for every invalid request: the
/// start of the message, and its end before the full stop.
const MISSING_MESSAGES: [(&str, &str, &str, Missing); 9] = [
    (
        "ValidationException",
        "Could not find endpoint \"",
        "\"",
        Missing::Endpoint,
    ),
    (
        // The runtime's own wording.
        "ValidationError",
        "Endpoint ",
        " not found",
        Missing::Endpoint,
    ),
    (
        "ValidationException",
        "Could not find endpoint configuration \"",
        "\"",
        Missing::EndpointConfiguration,
    ),
    (
        "ValidationException",
        "Could not find model \"",
        "\"",
        Missing::Model,
    ),
    (
        "ValidationException",
        "RecordNotFound",
        "",
        Missing::Notebook,
    ),
    (
        "ValidationException",
        "ModelPackage ",
        " does not exist",
        Missing::ModelPackage,
    ),
    (
        "ValidationException",
        "ModelPackageGroup ",
        " does not exist",
        Missing::ModelPackageGroup,
    ),
    (
        "ValidationError",
        "Stack with id ",
        " does not exist",
        Missing::Stack,
    ),
    (
        "ValidationError",
        "Stack [",
        "] does not exist",
        Missing::Stack,
    ),
];

/// Phrases in messages about permissions, in lower case. A service may hide from a caller without
/// permission what exists. Not single words, because the message may quote a name.
const PERMISSION_PHRASES: [&str; 3] = ["not authorized", "access denied", "have permission"];

impl ErrorKind {
    /// Returns the kind of an error with this code and message.
    pub fn of(code: Option<&str>, message: Option<&str>) -> Self {
        let code = code.unwrap_or_default();
        match code {
            "AccessDenied"
            | "AccessDeniedException"
            | "UnauthorizedOperation"
            | "AllAccessDisabled" => Self::AccessDenied,
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => Self::ExpiredCredentials,
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "AuthFailure" => Self::UnknownCredentials,
            "OptInRequired" => Self::NotEnabled,
            "NotImplemented" => Self::NotImplemented,
            "ResourceLimitExceeded"
            | "LimitExceededException"
            | "ServiceQuotaExceededException" => Self::QuotaExceeded,
            "ThrottlingException" | "Throttling" | "SlowDown" | "TooManyRequestsException" => {
                Self::Throttled
            }
            code => {
                Missing::of(code, message.unwrap_or_default()).map_or(Self::Other, Self::NotFound)
            }
        }
    }

    /// Returns the exit code of a command that fails with such an error.
    pub fn exit(self) -> Exit {
        match self {
            Self::AccessDenied
            | Self::ExpiredCredentials
            | Self::UnknownCredentials
            | Self::NotEnabled => Exit::Credentials,
            _ => Exit::Failed,
        }
    }

    /// Returns a suggestion.
    pub(super) fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::ExpiredCredentials => {
                "the credentials have expired: run `aws sso login`, or renew them"
            }
            Self::UnknownCredentials => "AWS does not recognize these credentials: check --profile",
            Self::AccessDenied => {
                "ask the account's owner for the permission that the message names"
            }
            Self::NotEnabled => "enable this service or region in the account",
            Self::NotImplemented => "see docs/local-cloud.md for what the local cloud supports",
            Self::QuotaExceeded => {
                "raise the quota in the Service Quotas console, or remove what is unused"
            }
            Self::Throttled => "AWS is throttling requests: retry in a minute",
            Self::NotFound(_) | Self::Other => return None,
        })
    }
}

impl Missing {
    fn of(code: &str, message: &str) -> Option<Self> {
        let lower = message.to_lowercase();
        if PERMISSION_PHRASES
            .iter()
            .any(|phrase| lower.contains(phrase))
        {
            return None;
        }
        let by_code = MISSING_CODES.iter().find(|(known, _)| *known == code);
        if let Some((_, missing)) = by_code {
            return Some(*missing);
        }
        let message = message.trim().trim_end_matches('.');
        MISSING_MESSAGES
            .iter()
            .find(|(known, starts, ends, _)| {
                *known == code && message.starts_with(starts) && message.ends_with(ends)
            })
            .map(|(.., missing)| *missing)
    }

    /// Returns whether an error about `found` means that this resource does not exist. Newer
    /// operations of SageMaker use one code for all resources.
    pub(super) fn is(self, found: Self) -> bool {
        let is_resource = matches!(
            self,
            Self::Endpoint
                | Self::EndpointConfiguration
                | Self::Model
                | Self::ModelPackage
                | Self::ModelPackageGroup
        );
        self == found || (is_resource && found == Self::Resource)
    }
}

/// Returns whether a code means that a resource is missing, so that it has a kind.
pub(super) const fn is_missing_code(code: &str) -> bool {
    let mut index = 0;
    while index < MISSING_CODES.len() {
        if super::same(code.as_bytes(), MISSING_CODES[index].0.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an error about each kind of missing resource, in the services' wording.
    fn absences() -> Vec<(&'static str, String, Missing)> {
        let by_code = MISSING_CODES
            .iter()
            .map(|(code, missing)| (*code, "It does not exist.".to_owned(), *missing));
        let by_message = MISSING_MESSAGES
            .iter()
            .map(|(code, starts, ends, missing)| (*code, format!("{starts}x{ends}."), *missing));
        by_code.chain(by_message).collect()
    }

    #[test]
    fn absence_is_one_code_or_one_wording() {
        for (code, message, missing) in absences() {
            let kind = ErrorKind::of(Some(code), Some(&message));
            assert_eq!(kind, ErrorKind::NotFound(missing), "{code}: {message}");
        }
        for (code, message) in [
            ("ValidationException", "1 validation error detected"),
            ("ValidationException", "Stack with id s does not exist"),
            ("ValidationError", "Rate exceeded"),
            ("ValidationError", "ModelPackage a does not exist"),
            ("InvalidParameterException", "it does not exist"),
            ("InternalFailure", "Could not find model \"m\"."),
        ] {
            let kind = ErrorKind::of(Some(code), Some(message));
            assert_eq!(kind, ErrorKind::Other, "{code}: {message}");
        }
        let named = Some("Could not find model \"arn:model/permissions\".");
        assert_eq!(
            ErrorKind::of(Some("ValidationException"), named),
            ErrorKind::NotFound(Missing::Model)
        );
        assert_eq!(ErrorKind::of(None, None), ErrorKind::Other);
        assert_eq!(
            ErrorKind::of(Some("ValidationException"), None),
            ErrorKind::Other
        );
    }

    #[test]
    fn no_access_problem_is_read_as_absence() {
        for code in [
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "ExpiredTokenException",
            "UnrecognizedClientException",
            "OptInRequired",
            "ThrottlingException",
        ] {
            // Regardless of its message.
            for (_, message, _) in absences() {
                let kind = ErrorKind::of(Some(code), Some(&message));
                let is_absence = matches!(kind, ErrorKind::NotFound(_));
                assert!(!is_absence && kind != ErrorKind::Other, "{code}: {message}");
            }
        }
        for (code, message, _) in absences() {
            for reason in [
                "User: u is not authorized to perform: sagemaker:DescribeEndpoint on",
                "You do not have permission to",
                "Access Denied:",
            ] {
                let message = match message.split_once('x') {
                    Some((starts, ends)) => format!("{starts}{reason} x{ends}"),
                    None => format!("{reason} {message}"),
                };
                let kind = ErrorKind::of(Some(code), Some(&message));
                assert_eq!(kind, ErrorKind::Other, "{code}: {message}");
            }
        }
    }

    #[test]
    fn only_the_requested_resource_counts_as_missing() {
        assert!(Missing::Endpoint.is(Missing::Resource));
        assert!(Missing::ModelPackage.is(Missing::Resource));
        assert!(Missing::Stack.is(Missing::Stack));
        assert!(!Missing::Endpoint.is(Missing::EndpointConfiguration));
        assert!(!Missing::Object.is(Missing::Bucket));
        assert!(!Missing::Object.is(Missing::Resource));
    }
}

//! What an error of a service means: one table of the codes and, where a service has one code for every
//! invalid request, of the messages.

use mlops_core::error::Exit;

/// What a service's error means for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was requested does not exist.
    NotFound(Missing),
    /// The caller lacks a permission. It reveals nothing about what exists.
    AccessDenied,
    /// The credentials have expired.
    ExpiredCredentials,
    /// The service does not know the credentials.
    UnknownCredentials,
    /// The service or region is not enabled in the account.
    NotEnabled,
    /// The local cloud does not support the operation.
    NotImplemented,
    /// A quota of the account is used up.
    QuotaExceeded,
    /// There were too many requests.
    Throttled,
    /// Anything else.
    Other,
}

/// What does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The resource of the request: a pipeline, an execution, a log group. The code says no more.
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

/// Codes that mean the absence of one thing.
const MISSING_CODES: [(&str, Missing); 12] = [
    ("ResourceNotFound", Missing::Resource),
    ("ResourceNotFoundException", Missing::Resource),
    ("ChangeSetNotFound", Missing::ChangeSet),
    ("ChangeSetNotFoundException", Missing::ChangeSet),
    ("RepositoryNotFoundException", Missing::Repository),
    ("ImageNotFoundException", Missing::Image),
    ("ScanNotFoundException", Missing::Scan),
    ("NoSuchBucket", Missing::Bucket),
    ("NoSuchKey", Missing::Object),
    // The response to HEAD has no body, and so no code of its own.
    ("NotFound", Missing::Object),
    ("NoSuchVersion", Missing::ObjectVersion),
    ("NoSuchUpload", Missing::Upload),
];

/// The words of absence where the code is that of every invalid request: how the message begins, and
/// how it ends before the full stop.
const MISSING_MESSAGES: [(&str, &str, &str, Missing); 7] = [
    (
        "ValidationException",
        "Could not find endpoint \"",
        "\"",
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

/// Phrases of messages about permissions, in lower case. A service may hide what exists from a caller
/// that may not see it. Not single words: the message may quote a name.
const PERMISSION_PHRASES: [&str; 3] = ["not authorized", "access denied", "have permission"];

impl ErrorKind {
    /// The kind of an error with this code and message.
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

    /// The exit code of a command that ends with such an error.
    pub fn exit(self) -> Exit {
        match self {
            Self::AccessDenied
            | Self::ExpiredCredentials
            | Self::UnknownCredentials
            | Self::NotEnabled => Exit::Credentials,
            _ => Exit::Failed,
        }
    }

    /// What to try.
    pub(super) fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::ExpiredCredentials => {
                "the credentials have expired: run `aws sso login`, or renew them"
            }
            Self::UnknownCredentials => "AWS does not know these credentials: check --profile",
            Self::AccessDenied => {
                "the message names the missing permission: ask the account's owner for it"
            }
            Self::NotEnabled => "this service or region is not enabled in the account",
            Self::NotImplemented => {
                "the local cloud does not have this; docs/local-cloud.md lists what it has"
            }
            Self::QuotaExceeded => {
                "raise the quota in the Service Quotas console, or remove what is unused"
            }
            Self::Throttled => "AWS asks to slow down: try again in a minute",
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

    /// Whether an error about `found` means that this does not exist. Newer operations of SageMaker
    /// have one code, whatever was requested.
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

/// Whether a code means absence, so that it has a kind.
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

    /// An error about each thing that can be missing, as the services word it.
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
            // Whatever its message says.
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
    fn a_missing_resource_is_what_was_asked_for() {
        assert!(Missing::Endpoint.is(Missing::Resource));
        assert!(Missing::ModelPackage.is(Missing::Resource));
        assert!(Missing::Stack.is(Missing::Stack));
        assert!(!Missing::Endpoint.is(Missing::EndpointConfiguration));
        assert!(!Missing::Object.is(Missing::Bucket));
        assert!(!Missing::Object.is(Missing::Resource));
    }
}

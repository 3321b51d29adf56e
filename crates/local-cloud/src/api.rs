//! What an operation takes and returns: its input, its output, or an AWS error.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub(crate) mod form;
pub(crate) mod keyed_page;
pub(crate) mod page;
pub(crate) mod tags;

pub(crate) use form::lenient;

/// What an error means to a caller inside the local cloud, whatever code its service uses.
///
/// The service that raises the error decides: codes and messages differ from service to service, and
/// the same `ValidationException` can mean an absent model or a malformed name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// A resource that the request names does not exist.
    NotFound,
    /// The resource exists but is being deleted, so that a deletion has nothing left to do.
    PendingDeletion,
    /// The caller lacks a permission.
    Denied,
    /// The state cannot be read or written at the moment; the same request can succeed later.
    Unavailable,
    /// Everything else: the request is refused, or the server failed.
    Other,
}

/// An AWS error: a code, a message, and the HTTP status that carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// What the error means to callers inside the local cloud.
    pub(crate) kind: ErrorKind,
    /// The error code that clients branch on, such as `ResourceNotFound`.
    pub(crate) code: String,
    /// The message for people.
    pub(crate) message: String,
    /// The HTTP status.
    pub(crate) status: u16,
}

/// The result of an operation.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// An error in the request (HTTP 400).
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Other,
            code: code.into(),
            message: message.into(),
            status: 400,
        }
    }

    /// A resource that the request names does not exist, in the words of its service (HTTP 400).
    pub(crate) fn not_found(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::NotFound,
            ..Self::new(code, message)
        }
    }

    /// The resource is being deleted, in the words of its service (HTTP 400).
    pub(crate) fn pending_deletion(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::PendingDeletion,
            ..Self::new(code, message)
        }
    }

    /// The caller lacks a permission, in the words of the service (HTTP 403).
    pub(crate) fn denied(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Denied,
            ..Self::new(code, message).status(403)
        }
    }

    /// The same error with another HTTP status.
    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// `ValidationException`: the request itself is wrong.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// `NotImplemented`: the local cloud does not have this. Never faked.
    pub(crate) fn not_implemented(what: impl fmt::Display) -> Self {
        Self::new(
            "NotImplemented",
            format!("NotImplemented: the local cloud does not have {what}"),
        )
        .status(501)
    }

    /// Something broke inside the local cloud.
    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        Self::new("InternalFailure", error.to_string()).status(500)
    }
}

impl ApiError {
    /// The state cannot be read or written at the moment: the disk is full or read-only, or another
    /// process holds the database.
    pub(crate) fn unavailable(error: impl fmt::Display) -> Self {
        Self {
            kind: ErrorKind::Unavailable,
            ..Self::new("ServiceUnavailable", error.to_string()).status(503)
        }
    }

    /// True if the same call can succeed later, without any change of the request.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }

    /// True if a resource that the request names does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// True if the caller lacks a permission.
    pub(crate) fn is_denied(&self) -> bool {
        self.kind == ErrorKind::Denied
    }

    /// True if there is nothing left to delete: the resource does not exist, or it is already
    /// being deleted.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.kind, ErrorKind::NotFound | ErrorKind::PendingDeletion)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};

        match error.kind() {
            StorageFull | QuotaExceeded | ReadOnlyFilesystem => Self::unavailable(error),
            _ => Self::internal(error),
        }
    }
}

/// Reads an operation's input; what does not fit is a `ValidationException`. A member that is null is
/// absent, as in AWS.
pub(crate) fn parse<T: DeserializeOwned>(mut input: Value) -> ApiResult<T> {
    drop_nulls(&mut input);
    serde_json::from_value(input).map_err(|error| ApiError::validation(error.to_string()))
}

/// The input of an operation that reads no member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoInput;

impl<'de> Deserialize<'de> for NoInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Removes the members that are null. The depth of a request is limited before.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Writes an operation's output.
pub(crate) fn reply<T: Serialize>(output: T) -> ApiResult<Value> {
    serde_json::to_value(output).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Input {
        list: Vec<String>,
        inner: Option<Box<Input>>,
    }

    #[test]
    fn null_members_are_absent() {
        let input = json!({"list": null, "inner": {"list": null, "more": [{"x": null}]}});
        let expected = Input {
            inner: Some(Box::default()),
            ..Input::default()
        };
        assert_eq!(parse::<Input>(input), Ok(expected));
        let error = parse::<Input>(json!({"list": "x"})).unwrap_err();
        assert_eq!(error.code, "ValidationException");
    }
}

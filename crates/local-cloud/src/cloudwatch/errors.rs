//! CloudWatch's errors: the names of their shapes. [`super::QUERY_CODES`] has the codes that they have in the
//! query protocol, which botocore and other SDKs still report.
//!
//! Unverified against AWS [cloudwatch-messages]: the words of most errors; known are those for reserved namespaces,
//! values out of range, mutually exclusive members, too many data points and invalid ARNs.

use crate::api::ApiError;

/// A value that is not allowed.
pub(super) fn invalid_value(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValueException", message)
}

/// Members that contradict each other.
pub(super) fn invalid_combination(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterCombinationException", message)
}

/// A member that is absent.
pub(super) fn missing(parameter: &str) -> ApiError {
    ApiError::new(
        "MissingRequiredParameterException",
        format!("The parameter {parameter} is required."),
    )
}

/// A value of the wrong kind, in operations that define no specific error.
pub(super) fn validation(message: impl Into<String>) -> ApiError {
    ApiError::new("ValidationException", message)
}

/// A token that no page returned.
pub(super) fn invalid_token() -> ApiError {
    ApiError::new("InvalidNextToken", "The next token is invalid.")
}

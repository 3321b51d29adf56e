//! Classifies errors of services when a resource is created, changed or deleted.

use serde_json::Value;

use crate::api::{ApiError, ApiResult};

/// The response, or `None` if the service reports that the resource does not exist, or that the
/// name is invalid. Any other error is returned: a resource that cannot be inspected before the
/// create call would count as new after a crash, and be deleted.
pub(super) fn existing(answer: ApiResult<Value>) -> ApiResult<Option<Value>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_gone() || is_impossible(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// True for the error of a name that breaks the service's rules.
fn is_impossible(error: &ApiError) -> bool {
    error.status == 400 && (error.code.contains("Invalid") || error.code.contains("Validation"))
}

/// True for the error of a value that the service never accepts.
pub(super) fn is_refused(error: &ApiError) -> bool {
    is_impossible(error) || error.code.starts_with("Missing") || error.code == "NotImplemented"
}

/// True for the error of an element that the resource already has.
pub(super) fn is_duplicate(error: &ApiError) -> bool {
    error.code.ends_with(".Duplicate")
}

/// The response of a call, or the first failure in the response of an operation on several resources of EC2,
/// which succeeds and lists what it did not do.
pub(super) fn failed_part(answer: Value) -> ApiResult<Value> {
    let Some(failed) = answer.pointer("/unsuccessful/0/error") else {
        return Ok(answer);
    };
    let text = |name: &str| failed[name].as_str().unwrap_or_default().to_owned();
    if text("code").ends_with(".NotFound") {
        return Err(ApiError::not_found(text("code"), text("message")));
    }
    Err(ApiError::new(text("code"), text("message")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_8_2_6_what_cannot_be_inspected_is_not_absent() {
        let absent = ApiError::not_found("NoSuchEntity", "x");
        for error in [absent, ApiError::new("ValidationException", "x")] {
            assert!(existing(Err(error)).unwrap().is_none());
        }
        for (code, status) in [("AccessDeniedException", 400), ("InternalFailure", 500)] {
            assert!(existing(Err(ApiError::new(code, "x").status(status))).is_err());
        }
    }
}

//! Why work on a stack or on a resource failed, and how AWS words it.

use super::resources::Type;
use crate::api::ApiError;

/// Why a stack could not be created or changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// These resources failed to be created or updated, each with this verb; their events have the reasons.
    Resources(Vec<(String, &'static str)>),
    /// Something else failed.
    Other(String),
    /// The user requested the deletion of a stack that was being created.
    Cancelled,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Other(error.message)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Resources(failed) => {
                for verb in ["create", "update"] {
                    let names = failed.iter().filter(|(_, of)| *of == verb);
                    let names: Vec<&str> = names.map(|(logical, _)| logical.as_str()).collect();
                    if !names.is_empty() {
                        let names = names.join(", ");
                        write!(f, "The following resource(s) failed to {verb}: [{names}]. ")?;
                    }
                }
                Ok(())
            }
            // Most messages have a full stop already.
            Failure::Other(message) => write!(f, "{}. ", message.trim_end_matches('.')),
            Failure::Cancelled => f.write_str("Resource creation cancelled"),
        }
    }
}

impl Failure {
    /// The failure of one resource.
    pub(super) fn of(logical: &str, verb: &'static str) -> Self {
        Self::Resources(vec![(logical.to_owned(), verb)])
    }

    /// What several failures mean for the stack.
    pub(super) fn together(failures: Vec<Self>) -> Result<(), Self> {
        let mut resources = Vec::new();
        let mut other = None;
        for failure in failures {
            match failure {
                Self::Resources(failed) => resources.extend(failed),
                Self::Cancelled => return Err(Self::Cancelled),
                failure @ Self::Other(_) => other = other.or(Some(failure)),
            }
        }
        match other {
            Some(other) => Err(other),
            None if resources.is_empty() => Ok(()),
            None => Err(Self::Resources(resources)),
        }
    }
}

/// Why the creation of a resource ended early.
pub(super) enum Ended {
    Failed(ApiError),
    /// Another resource failed.
    Cancelled,
}

impl From<ApiError> for Ended {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

/// The reason of a failed resource, in the words of AWS's resource handlers.
pub(super) fn reason(kind: &Type, error: &ApiError) -> String {
    let code = match error.code.as_str() {
        "InvalidRequest" => return error.message.clone(),
        _ if error.is_denied() => "AccessDenied",
        code if error.is_gone() || code.contains("NotFound") => "NotFound",
        code if code.contains("AlreadyExists") || code.contains("AlreadyOwned") => "AlreadyExists",
        "NotStabilized" => "NotStabilized",
        _ if error.status >= 500 => "GeneralServiceException",
        _ => "InvalidRequest",
    };
    format!(
        "Resource handler returned message: \"{} (Service: {}, Status Code: {}, Error Code: {})\" \
         (RequestToken: {}, HandlerErrorCode: {code})",
        error.message,
        kind.display_service(),
        error.status,
        error.code,
        uuid::Uuid::new_v4()
    )
}

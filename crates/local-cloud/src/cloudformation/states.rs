//! The statuses and policies of stacks, resources and change sets. AWS writes them as text; only this file
//! spells them.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Defines an enum with the text of each of its values. The first value is the default.
macro_rules! texts {
    ($(#[$of_type:meta])* $name:ident: $(#[$of_default:meta])* $default:ident = $first:literal
        $(, $(#[$of_variant:meta])* $variant:ident = $text:literal)* $(,)?) => {
        $(#[$of_type])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) enum $name {
            $(#[$of_default])*
            #[default]
            #[serde(rename = $first)]
            $default,
            $($(#[$of_variant])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// The text that AWS writes.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    Self::$default => $first,
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// The value with this text, of one of the types below.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(Value::from(text)).ok()
}

texts! {
    /// The status of a stack. A stack in review has a change set but was never deployed.
    StackStatus:
    InReview = "REVIEW_IN_PROGRESS",
    Creating = "CREATE_IN_PROGRESS",
    CreateFailed = "CREATE_FAILED",
    Created = "CREATE_COMPLETE",
    RollingBack = "ROLLBACK_IN_PROGRESS",
    RollbackFailed = "ROLLBACK_FAILED",
    RolledBack = "ROLLBACK_COMPLETE",
    Updating = "UPDATE_IN_PROGRESS",
    UpdateFailed = "UPDATE_FAILED",
    CleaningUp = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    Updated = "UPDATE_COMPLETE",
    UpdateRollingBack = "UPDATE_ROLLBACK_IN_PROGRESS",
    UpdateRollbackFailed = "UPDATE_ROLLBACK_FAILED",
    RollbackCleaningUp = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    UpdateRolledBack = "UPDATE_ROLLBACK_COMPLETE",
    Deleting = "DELETE_IN_PROGRESS",
    DeleteFailed = "DELETE_FAILED",
    Deleted = "DELETE_COMPLETE",
}

impl StackStatus {
    /// True while the engine works on the stack.
    pub(crate) fn is_busy(self) -> bool {
        self != Self::InReview && self.as_str().ends_with("_IN_PROGRESS")
    }

    /// True if the stack can be updated.
    pub(crate) fn is_updatable(self) -> bool {
        matches!(
            self,
            Self::Created | Self::Updated | Self::UpdateFailed | Self::UpdateRolledBack
        )
    }

    /// The status of a stack whose work ended early.
    pub(crate) fn failed(self) -> Self {
        match self {
            Self::Creating => Self::CreateFailed,
            Self::Deleting => Self::DeleteFailed,
            Self::RollingBack => Self::RollbackFailed,
            Self::Updating => Self::UpdateFailed,
            // The update itself is complete; only replaced resources still exist.
            Self::CleaningUp => Self::Updated,
            Self::RollbackCleaningUp => Self::UpdateRolledBack,
            _ => Self::UpdateRollbackFailed,
        }
    }
}

texts! {
    /// The status of a resource in a stack.
    ResourceStatus:
    Creating = "CREATE_IN_PROGRESS",
    CreateFailed = "CREATE_FAILED",
    Created = "CREATE_COMPLETE",
    Updating = "UPDATE_IN_PROGRESS",
    UpdateFailed = "UPDATE_FAILED",
    Updated = "UPDATE_COMPLETE",
    Deleting = "DELETE_IN_PROGRESS",
    DeleteFailed = "DELETE_FAILED",
    Deleted = "DELETE_COMPLETE",
    DeleteSkipped = "DELETE_SKIPPED",
}

impl ResourceStatus {
    /// True if there is nothing left to delete.
    pub(crate) fn is_removed(self) -> bool {
        matches!(self, Self::Deleted | Self::DeleteSkipped)
    }

    /// The status after work in progress failed; `None` if none is in progress.
    pub(crate) fn failed(self) -> Option<Self> {
        match self {
            Self::Creating => Some(Self::CreateFailed),
            Self::Updating => Some(Self::UpdateFailed),
            Self::Deleting => Some(Self::DeleteFailed),
            _ => None,
        }
    }
}

/// The reason of a resource's creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    /// It is new in the stack.
    New,
    /// It replaces a resource that cannot be updated in place.
    Replacement,
}

impl Creation {
    pub(crate) fn in_progress(self) -> ResourceStatus {
        match self {
            Self::New => ResourceStatus::Creating,
            Self::Replacement => ResourceStatus::Updating,
        }
    }

    pub(crate) fn failed(self) -> ResourceStatus {
        match self {
            Self::New => ResourceStatus::CreateFailed,
            Self::Replacement => ResourceStatus::UpdateFailed,
        }
    }

    pub(crate) fn complete(self) -> ResourceStatus {
        match self {
            Self::New => ResourceStatus::Created,
            Self::Replacement => ResourceStatus::Updated,
        }
    }

    /// The noun in the reason of a resource that was cancelled.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::New => "creation",
            Self::Replacement => "update",
        }
    }

    /// The verb in the stack's message.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::New => "create",
            Self::Replacement => "update",
        }
    }
}

texts! {
    /// The action on a resource that leaves the stack: `DeletionPolicy` and `UpdateReplacePolicy`.
    DeletionPolicy:
    Delete = "Delete",
    Retain = "Retain",
    /// Retained, unless the operation that leaves it also created it.
    RetainExceptOnCreate = "RetainExceptOnCreate",
    Snapshot = "Snapshot",
}

impl DeletionPolicy {
    /// True if the deletion of the stack keeps the resource.
    pub(crate) fn retains(self) -> bool {
        matches!(self, Self::Retain | Self::RetainExceptOnCreate)
    }
}

texts! {
    /// The action on a stack whose creation or update fails.
    OnFailure:
    Rollback = "ROLLBACK",
    Delete = "DELETE",
    DoNothing = "DO_NOTHING",
}

texts! {
    /// The status of a change set.
    ChangeSetStatus:
    Creating = "CREATE_IN_PROGRESS",
    Created = "CREATE_COMPLETE",
    Failed = "FAILED",
}

texts! {
    /// Whether a change set can be executed, or has been.
    ExecutionStatus:
    Unavailable = "UNAVAILABLE",
    Available = "AVAILABLE",
    Executing = "EXECUTE_IN_PROGRESS",
    Executed = "EXECUTE_COMPLETE",
    Failed = "EXECUTE_FAILED",
}

texts! {
    /// Whether a change set creates its stack or updates it.
    ChangeSetType:
    Update = "UPDATE",
    Create = "CREATE",
}

texts! {
    /// The action of a change set on a resource.
    Action:
    Add = "Add",
    Modify = "Modify",
    Remove = "Remove",
}

texts! {
    /// Whether a modification replaces the resource.
    Replacement:
    /// In place.
    False = "False",
    True = "True",
    /// Depends on a value that is unknown until the execution.
    Conditional = "Conditional",
}

texts! {
    /// Whether the resources of a stack have drifted.
    DriftStatus:
    NotChecked = "NOT_CHECKED",
    InSync = "IN_SYNC",
    Drifted = "DRIFTED",
}

texts! {
    /// Whether a resource has drifted.
    ResourceDriftStatus:
    NotChecked = "NOT_CHECKED",
    InSync = "IN_SYNC",
    Modified = "MODIFIED",
    Deleted = "DELETED",
}

texts! {
    /// The progress of a detection of drift.
    DetectionStatus:
    InProgress = "DETECTION_IN_PROGRESS",
    Complete = "DETECTION_COMPLETE",
    Failed = "DETECTION_FAILED",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_stored_and_returned_in_aws_spelling() {
        let status = StackStatus::RollbackCleaningUp;
        let text = "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS";
        assert_eq!(serde_json::to_value(status).unwrap(), text);
        assert_eq!(status.to_string(), text);
        assert_eq!(parse(text), Some(status));
        assert_eq!(parse::<StackStatus>("NONE"), None);
        assert!(status.is_busy() && !StackStatus::InReview.is_busy());
        assert!(!StackStatus::Created.is_busy());
    }
}

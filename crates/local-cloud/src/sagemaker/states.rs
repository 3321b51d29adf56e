//! The states of SageMaker's resources. Requests, records and responses have their names as text.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident { $($state:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub(super) enum $name {
            $($state),*
        }

        impl $name {
            /// AWS's name of the state.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$state => stringify!($state)),*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl From<$name> for Value {
            fn from(state: $name) -> Self {
                state.name().into()
            }
        }
    )*};
}

states! {
    /// The status of a processing or training job.
    JobStatus { InProgress, Completed, Failed, Stopping, Stopped, Deleting }

    /// The secondary status of a training job.
    SecondaryStatus {
        Starting, Downloading, Training, Uploading, Stopping, Stopped, MaxRuntimeExceeded, Completed,
        Failed,
    }

    /// The status of an endpoint.
    EndpointStatus {
        OutOfService, Creating, Updating, SystemUpdating, RollingBack, InService, Deleting, Failed,
        UpdateRollbackFailed,
    }

    /// The status of an endpoint's data capture.
    CaptureStatus { Started, Stopped }

    /// The status of a notebook instance.
    NotebookStatus { Pending, InService, Stopping, Stopped, Deleting, Failed }

    /// Whether a version of a model may be deployed.
    ModelApprovalStatus { Approved, Rejected, PendingManualApproval }

    /// The status of a model package or of a model package group.
    ModelPackageStatus { Pending, InProgress, Completed, Failed, Deleting }

    /// The status of a pipeline.
    PipelineStatus { Active }

    /// The status of a pipeline execution or of one of its steps.
    ExecutionStatus { Executing, Stopping, Stopped, Failed, Succeeded }

    /// The status of a lineage action.
    ActionStatus { Unknown, InProgress, Completed, Failed, Stopping, Stopped }
}

macro_rules! recorded {
    ($($name:ident),*) => {$(
        impl $name {
            /// The state in a member of a record; `None` if the member is absent.
            pub(super) fn of(member: &Value) -> Option<Self> {
                Self::deserialize(member).ok()
            }
        }
    )*};
}

recorded! { JobStatus, EndpointStatus, NotebookStatus, ModelApprovalStatus }

impl JobStatus {
    /// True before the job has ended.
    pub(super) fn is_in_progress(self) -> bool {
        matches!(self, Self::InProgress | Self::Stopping)
    }
}

impl SecondaryStatus {
    /// The message of a transition to this status.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Starting => "Preparing the instances for training",
            Self::Downloading => "Downloading input data",
            Self::Training => "Training image download completed. Training in progress.",
            Self::Uploading => "Uploading generated training model",
            Self::Stopping => "Stopping the training job",
            Self::Stopped => "Training job stopped",
            Self::MaxRuntimeExceeded => {
                "Training job runtime exceeded MaxRuntimeInSeconds provided"
            }
            Self::Completed => "Training job completed",
            Self::Failed => "Training job failed",
        }
    }

    /// True if the status is final.
    pub(super) fn is_final(self) -> bool {
        matches!(
            self,
            Self::Stopped | Self::MaxRuntimeExceeded | Self::Completed | Self::Failed
        )
    }
}

impl EndpointStatus {
    /// True while the endpoint changes.
    pub(super) fn is_changing(self) -> bool {
        matches!(
            self,
            Self::Creating
                | Self::Updating
                | Self::SystemUpdating
                | Self::RollingBack
                | Self::Deleting
        )
    }
}

impl ExecutionStatus {
    /// True before the execution or step has ended.
    pub(super) fn is_in_progress(self) -> bool {
        matches!(self, Self::Executing | Self::Stopping)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_use_the_member_names_of_aws() {
        let state = ModelApprovalStatus::PendingManualApproval;
        assert_eq!(json!(state), "PendingManualApproval");
        assert_eq!(Value::from(state), "PendingManualApproval");
        assert_eq!(ModelApprovalStatus::of(&json!(state)), Some(state));
        assert_eq!(ModelApprovalStatus::of(&Value::Null), None);
        assert_eq!(state.to_string(), "PendingManualApproval");
    }
}

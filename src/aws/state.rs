//! The states of AWS's resources. AWS's status strings are compared only here; in JSON and on the
//! screen, a state is shown as this string.

use std::fmt;

use aws_sdk_cloudformation::types::StackStatus;
use aws_sdk_ecr::types::ScanStatus;
use aws_sdk_sagemaker::types::{
    EndpointStatus, ModelApprovalStatus, NotebookInstanceStatus, PipelineExecutionStatus,
    ProcessingJobStatus, StepStatus,
};
use serde::{Serialize, Serializer};

/// Serializes and displays a state as its string.
macro_rules! written_as_a_word {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
    };
}

/// A state reported by a service, with its string. Strings that the SDK does not know are kept.
macro_rules! state {
    ($(#[$doc:meta])* $name:ident($sdk:ident), without: $absent:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name($sdk);

        impl $name {
            /// Returns the state in a response, which may be missing.
            pub fn of(status: Option<&$sdk>) -> Self {
                Self(status.cloned().unwrap_or_else(|| $sdk::from($absent)))
            }

            /// The service's string.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Returns the state with this string.
            #[cfg(test)]
            pub fn named(word: &str) -> Self {
                Self($sdk::from(word))
            }
        }

        impl From<$sdk> for $name {
            fn from(status: $sdk) -> Self {
                Self(status)
            }
        }

        written_as_a_word!($name);
    };
}

mod delivery;

pub use delivery::{ActionState, BuildState, DeliveryState};

state!(
    /// The approval status of a model version: `Approved`, `Rejected` or `PendingManualApproval`.
    ModelApproval(ModelApprovalStatus), without: "unknown"
);

impl ModelApproval {
    /// The version may be deployed.
    pub fn approved() -> Self {
        Self(ModelApprovalStatus::Approved)
    }

    /// The version must not be deployed.
    pub fn rejected() -> Self {
        Self(ModelApprovalStatus::Rejected)
    }

    /// Returns whether the version may be deployed.
    pub fn is_approved(&self) -> bool {
        self.0 == ModelApprovalStatus::Approved
    }

    /// Returns whether the version is pending approval.
    pub fn is_pending(&self) -> bool {
        self.0 == ModelApprovalStatus::PendingManualApproval
    }

    /// Returns whether the version was rejected.
    pub fn is_rejected(&self) -> bool {
        self.0 == ModelApprovalStatus::Rejected
    }
}

state!(
    /// The state of an endpoint: `InService`, `Updating`, …
    EndpointState(EndpointStatus), without: "Unknown"
);

impl EndpointState {
    /// Returns whether it serves requests, possibly with an older configuration than the last one.
    pub fn is_in_service(&self) -> bool {
        self.0 == EndpointStatus::InService
    }

    /// Returns whether a deployment is in progress.
    pub fn is_changing(&self) -> bool {
        matches!(
            self.0,
            EndpointStatus::Creating
                | EndpointStatus::Updating
                | EndpointStatus::SystemUpdating
                | EndpointStatus::RollingBack
        )
    }
}

state!(
    /// The state of a notebook instance: `InService`, `Stopped`, …
    NotebookState(NotebookInstanceStatus), without: "Unknown"
);

impl NotebookState {
    /// Returns whether it can be opened.
    pub fn is_in_service(&self) -> bool {
        self.0 == NotebookInstanceStatus::InService
    }

    /// Returns whether it can be started or deleted.
    pub fn is_at_rest(&self) -> bool {
        matches!(
            self.0,
            NotebookInstanceStatus::Stopped | NotebookInstanceStatus::Failed
        )
    }

    /// Returns whether a transition is in progress.
    pub fn is_changing(&self) -> bool {
        matches!(
            self.0,
            NotebookInstanceStatus::Pending
                | NotebookInstanceStatus::Stopping
                | NotebookInstanceStatus::Updating
                | NotebookInstanceStatus::Deleting
        )
    }
}

state!(
    /// The state of a pipeline execution, as SageMaker reports it.
    ExecutionState(PipelineExecutionStatus), without: "unknown"
);

impl ExecutionState {
    /// Returns whether it failed. SageMaker reports a run whose model was refused as failed.
    pub fn has_failed(&self) -> bool {
        self.0 == PipelineExecutionStatus::Failed
    }

    /// Returns whether the state is final.
    fn is_over(&self) -> bool {
        !matches!(
            self.0,
            PipelineExecutionStatus::Executing | PipelineExecutionStatus::Stopping
        )
    }
}

/// The state of a run: that of its execution, unless a gate refused its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// The state reported by SageMaker.
    Execution(ExecutionState),
    /// The state reported by CodePipeline.
    Delivery(DeliveryState),
    /// A gate refused the model; SageMaker reports `Failed`.
    Refused,
}

/// The status string for a run or a step that a gate ended on purpose.
const REFUSED: &str = "Refused";

impl RunState {
    /// Returns the state of a run whose execution is in this state.
    pub fn new(execution: ExecutionState, is_refused: bool) -> Self {
        if is_refused {
            Self::Refused
        } else {
            Self::Execution(execution)
        }
    }

    /// Returns the state as a string.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Execution(state) => state.as_str(),
            Self::Delivery(state) => state.as_str(),
            Self::Refused => REFUSED,
        }
    }

    /// Returns whether the state is final.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Execution(state) => state.is_over(),
            Self::Delivery(state) => state.is_over(),
            Self::Refused => true,
        }
    }

    /// Returns whether every step succeeded.
    pub fn has_succeeded(&self) -> bool {
        match self {
            Self::Delivery(state) => state.has_succeeded(),
            _ => self.is(&PipelineExecutionStatus::Succeeded),
        }
    }

    /// Returns whether something of it failed.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Execution(state) => state.has_failed(),
            Self::Delivery(state) => state.has_failed(),
            Self::Refused => false,
        }
    }

    /// Returns whether the run was stopped, or ended because of another one.
    pub fn was_stopped(&self) -> bool {
        match self {
            Self::Delivery(state) => state.was_stopped(),
            _ => self.is(&PipelineExecutionStatus::Stopped),
        }
    }

    /// Returns whether its steps are running.
    pub fn is_executing(&self) -> bool {
        match self {
            Self::Delivery(state) => state.is_in_progress(),
            _ => self.is(&PipelineExecutionStatus::Executing),
        }
    }

    fn is(&self, status: &PipelineExecutionStatus) -> bool {
        matches!(self, Self::Execution(state) if state.0 == *status)
    }
}

written_as_a_word!(RunState);

state!(
    /// The state of a pipeline step.
    StepState(StepStatus), without: "unknown"
);

impl StepState {
    /// Returns whether it failed. A Fail step that ran has failed.
    pub fn has_failed(&self) -> bool {
        self.0 == StepStatus::Failed
    }

    /// Returns whether it succeeded.
    pub fn has_succeeded(&self) -> bool {
        self.0 == StepStatus::Succeeded
    }

    /// Returns the state to display; `is_gate` is true for a Fail step, whose failure refuses the
    /// model.
    pub fn shown(&self, is_gate: bool) -> &str {
        if is_gate && self.has_failed() {
            REFUSED
        } else {
            self.as_str()
        }
    }
}

state!(
    /// The state of a processing job.
    JobState(ProcessingJobStatus), without: "unknown"
);

impl JobState {
    /// Returns whether it is running, or being stopped.
    pub fn is_running(&self) -> bool {
        matches!(
            self.0,
            ProcessingJobStatus::InProgress | ProcessingJobStatus::Stopping
        )
    }

    /// Returns whether it ended without a failure.
    pub fn has_completed(&self) -> bool {
        self.0 == ProcessingJobStatus::Completed
    }
}

state!(
    /// The state of an image scan. An image under enhanced scanning is `ACTIVE`, because it is
    /// scanned continuously.
    ScanState(ScanStatus), without: "UNKNOWN"
);

impl ScanState {
    /// The state of a scan that was requested but is not visible yet.
    pub fn requested() -> Self {
        Self(ScanStatus::Pending)
    }

    /// Returns whether its findings can be read.
    pub fn is_done(&self) -> bool {
        matches!(self.0, ScanStatus::Complete | ScanStatus::Active)
    }

    /// Returns whether it is still running.
    pub fn is_pending(&self) -> bool {
        matches!(self.0, ScanStatus::InProgress | ScanStatus::Pending)
    }
}

/// The meaning of a stack's status for a deployment.
pub trait StackStatusExt {
    /// Returns whether CloudFormation is changing the stack, or computing its first change set.
    fn is_in_progress(&self) -> bool;

    /// Returns whether CloudFormation is changing the stack's resources. In `REVIEW_IN_PROGRESS`,
    /// it has none.
    fn is_busy(&self) -> bool;

    /// Returns whether a deployment (not a rollback or a deletion) is in progress.
    fn is_deploying(&self) -> bool;

    /// Returns whether the stack's event with this status begins a deployment.
    fn begins_deployment(&self) -> bool;

    /// Returns whether it has no resources: deleted, or its change set was never executed.
    fn is_empty(&self) -> bool;

    /// Returns whether its creation failed, so that it was never in use.
    fn has_failed_to_create(&self) -> bool;

    /// Returns whether it is complete and can be updated.
    fn is_settled(&self) -> bool;

    /// Returns whether the last deployment succeeded.
    fn is_deployed(&self) -> bool;
}

impl StackStatusExt for StackStatus {
    fn is_in_progress(&self) -> bool {
        // CloudFormation's naming rule for all status strings, including future ones.
        self.as_str().ends_with("_IN_PROGRESS")
    }

    fn is_busy(&self) -> bool {
        self.is_in_progress() && *self != Self::ReviewInProgress
    }

    fn is_deploying(&self) -> bool {
        matches!(
            self,
            Self::CreateInProgress | Self::UpdateInProgress | Self::UpdateCompleteCleanupInProgress
        )
    }

    fn begins_deployment(&self) -> bool {
        matches!(self, Self::CreateInProgress | Self::UpdateInProgress)
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::DeleteComplete | Self::ReviewInProgress)
    }

    fn has_failed_to_create(&self) -> bool {
        matches!(
            self,
            Self::RollbackComplete | Self::RollbackFailed | Self::CreateFailed
        )
    }

    fn is_settled(&self) -> bool {
        self.is_deployed() || matches!(self, Self::UpdateRollbackComplete | Self::ImportComplete)
    }

    fn is_deployed(&self) -> bool {
        matches!(self, Self::CreateComplete | Self::UpdateComplete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_shown_as_the_services_string() {
        let state = EndpointState::from(EndpointStatus::InService);
        assert_eq!(serde_json::to_value(&state).unwrap(), "InService");
        assert_eq!(format!("{state:>10}"), " InService");
        let new = EndpointState::from(EndpointStatus::from("Hibernating"));
        assert_eq!(serde_json::to_value(&new).unwrap(), "Hibernating");
        assert!(!new.is_in_service() && !new.is_changing());
        assert_eq!(EndpointState::of(None).as_str(), "Unknown");
        assert_eq!(ModelApproval::of(None).as_str(), "unknown");
    }

    #[test]
    fn a_refused_run_has_ended_and_neither_failed_nor_succeeded() {
        let run = |word: &str, is_refused| {
            let execution = ExecutionState::from(PipelineExecutionStatus::from(word));
            RunState::new(execution, is_refused)
        };
        let refused = run("Failed", true);
        assert_eq!(serde_json::to_value(&refused).unwrap(), "Refused");
        assert!(refused.is_over() && !refused.has_succeeded());
        for (word, over) in [
            ("Executing", false),
            ("Stopping", false),
            ("Stopped", true),
            ("Succeeded", true),
            ("Failed", true),
        ] {
            assert_eq!(run(word, false).is_over(), over, "{word}");
            assert_eq!(run(word, false).as_str(), word);
        }
        assert!(run("Stopped", false).was_stopped() && run("Executing", false).is_executing());
        let failed = StepState::from(StepStatus::Failed);
        assert_eq!(
            (failed.shown(true), failed.shown(false)),
            ("Refused", "Failed")
        );
        let done = StepState::from(StepStatus::Succeeded);
        assert_eq!(done.shown(true), "Succeeded");
    }

    #[test]
    fn every_stack_status_has_one_meaning_for_a_deployment() {
        for word in StackStatus::values() {
            let status = StackStatus::from(*word);
            let meanings = [
                status.is_empty(),
                status.is_busy(),
                status.has_failed_to_create(),
                status.is_settled(),
            ];
            let count = meanings.into_iter().filter(|it| *it).count();
            let by_hand = ["UPDATE_FAILED", "DELETE_FAILED", "UPDATE_ROLLBACK_FAILED"]
                .into_iter()
                .chain(["IMPORT_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_FAILED"]);
            let expected = usize::from(!by_hand.into_iter().any(|other| other == *word));
            assert_eq!(count, expected, "{word}");
        }
        assert!(!StackStatus::ReviewInProgress.is_busy());
        assert!(StackStatus::RollbackInProgress.is_busy());
        assert!(!StackStatus::RollbackInProgress.is_deploying());
    }
}

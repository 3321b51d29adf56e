//! The states of AWS's resources. A word of AWS is compared here and nowhere else; in JSON and on the
//! screen a state is that word.

use std::fmt;

use aws_sdk_cloudformation::types::StackStatus;
use aws_sdk_ecr::types::ScanStatus;
use aws_sdk_sagemaker::types::{
    EndpointStatus, ModelApprovalStatus, PipelineExecutionStatus, ProcessingJobStatus, StepStatus,
};
use serde::{Serialize, Serializer};

/// Writes a state as its word, in JSON too.
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

/// A state that a service reports, with its word for it. A word that the SDK does not know is kept.
macro_rules! state {
    ($(#[$doc:meta])* $name:ident($sdk:ident), without: $absent:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name($sdk);

        impl $name {
            /// The state in a response, which may not have one.
            pub fn of(status: Option<&$sdk>) -> Self {
                Self(status.cloned().unwrap_or_else(|| $sdk::from($absent)))
            }

            /// The service's word.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
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

state!(
    /// Whether a model version may be deployed: `Approved`, `Rejected` or `PendingManualApproval`.
    ModelApproval(ModelApprovalStatus), without: "unknown"
);

impl ModelApproval {
    /// Whether the version may be deployed.
    pub fn is_approved(&self) -> bool {
        self.0 == ModelApprovalStatus::Approved
    }

    /// Whether the version waits for a decision.
    pub fn is_pending(&self) -> bool {
        self.0 == ModelApprovalStatus::PendingManualApproval
    }

    /// Whether the version was rejected.
    pub fn is_rejected(&self) -> bool {
        self.0 == ModelApprovalStatus::Rejected
    }
}

state!(
    /// The state of an endpoint: `InService`, `Updating`, …
    EndpointState(EndpointStatus), without: "Unknown"
);

impl EndpointState {
    /// Whether it answers requests, perhaps with an older configuration than the last one.
    pub fn is_in_service(&self) -> bool {
        self.0 == EndpointStatus::InService
    }

    /// Whether a deployment is in progress.
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
    /// The state of a pipeline execution, as SageMaker reports it.
    ExecutionState(PipelineExecutionStatus), without: "unknown"
);

impl ExecutionState {
    /// Whether it failed. A gate that refused its model is a failure to SageMaker.
    pub fn has_failed(&self) -> bool {
        self.0 == PipelineExecutionStatus::Failed
    }

    /// Whether it will not change any more.
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
    /// As SageMaker reports it.
    Execution(ExecutionState),
    /// A gate refused the model; SageMaker calls it `Failed`.
    Refused,
}

/// The word for a run or a step that a gate ended on purpose.
const REFUSED: &str = "Refused";

impl RunState {
    /// The state of a run whose execution is in this state.
    pub fn new(execution: ExecutionState, is_refused: bool) -> Self {
        if is_refused {
            Self::Refused
        } else {
            Self::Execution(execution)
        }
    }

    /// The state as a word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Execution(state) => state.as_str(),
            Self::Refused => REFUSED,
        }
    }

    /// Whether it will not change any more.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Execution(state) => state.is_over(),
            Self::Refused => true,
        }
    }

    /// Whether every step succeeded.
    pub fn has_succeeded(&self) -> bool {
        self.is(&PipelineExecutionStatus::Succeeded)
    }

    /// Whether somebody stopped it.
    pub fn was_stopped(&self) -> bool {
        self.is(&PipelineExecutionStatus::Stopped)
    }

    /// Whether its steps are running.
    pub fn is_executing(&self) -> bool {
        self.is(&PipelineExecutionStatus::Executing)
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
    /// Whether it failed. A Fail step that ran has failed.
    pub fn has_failed(&self) -> bool {
        self.0 == StepStatus::Failed
    }

    /// The state for people; `is_gate` is true of a Fail step, whose failure refuses the model.
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
    /// Whether it is running, or being stopped.
    pub fn is_running(&self) -> bool {
        matches!(
            self.0,
            ProcessingJobStatus::InProgress | ProcessingJobStatus::Stopping
        )
    }

    /// Whether it ended without a failure.
    pub fn has_completed(&self) -> bool {
        self.0 == ProcessingJobStatus::Completed
    }
}

state!(
    /// The state of an image scan. An image under enhanced scanning is `ACTIVE`: it is scanned again
    /// and again.
    ScanState(ScanStatus), without: "UNKNOWN"
);

impl ScanState {
    /// A scan that was requested and is not visible yet.
    pub fn requested() -> Self {
        Self(ScanStatus::Pending)
    }

    /// Whether its findings can be read.
    pub fn is_done(&self) -> bool {
        matches!(self.0, ScanStatus::Complete | ScanStatus::Active)
    }

    /// Whether it is still running.
    pub fn is_pending(&self) -> bool {
        matches!(self.0, ScanStatus::InProgress | ScanStatus::Pending)
    }
}

/// What the status of a stack means for a deployment.
pub trait StackStatusExt {
    /// Whether CloudFormation works on the stack, or computes its first change set.
    fn is_in_progress(&self) -> bool;

    /// Whether CloudFormation works on the stack's resources. In `REVIEW_IN_PROGRESS` it has none.
    fn is_busy(&self) -> bool;

    /// Whether a deployment, not a rollback or a deletion, is in progress.
    fn is_deploying(&self) -> bool;

    /// Whether it has no resources: deleted, or a change set that was never executed.
    fn is_empty(&self) -> bool;

    /// Whether its creation failed, so that it was never in use.
    fn has_failed_to_create(&self) -> bool;

    /// Whether it is complete, so that it can be updated.
    fn is_settled(&self) -> bool;

    /// Whether the last deployment succeeded.
    fn is_deployed(&self) -> bool;
}

impl StackStatusExt for StackStatus {
    fn is_in_progress(&self) -> bool {
        // CloudFormation's rule for the names of all of them, those of later versions too.
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
    fn a_state_is_the_services_word_in_json_and_on_the_screen() {
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
    fn a_refused_run_is_over_and_neither_failed_nor_succeeded() {
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

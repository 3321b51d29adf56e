//! The states of CodePipeline and CodeBuild.

use std::fmt;

use aws_sdk_codebuild::types::StatusType;
use aws_sdk_codepipeline::types::{ActionExecutionStatus, PipelineExecutionStatus};
use serde::{Serialize, Serializer};

state!(
    /// The state of an execution of CodePipeline.
    DeliveryState(PipelineExecutionStatus), without: "unknown"
);

impl DeliveryState {
    /// Returns whether an action failed.
    pub fn has_failed(&self) -> bool {
        self.0 == PipelineExecutionStatus::Failed
    }

    /// Returns whether every stage succeeded.
    pub fn has_succeeded(&self) -> bool {
        self.0 == PipelineExecutionStatus::Succeeded
    }

    /// Returns whether it is running, or waits for an approval or for an earlier execution.
    pub fn is_in_progress(&self) -> bool {
        self.0 == PipelineExecutionStatus::InProgress
    }

    /// Returns whether it was stopped, cancelled, or superseded by a later execution.
    pub fn was_stopped(&self) -> bool {
        matches!(
            self.0,
            PipelineExecutionStatus::Stopped
                | PipelineExecutionStatus::Cancelled
                | PipelineExecutionStatus::Superseded
        )
    }

    /// Returns whether the state is final. A retry continues a failed or stopped execution.
    pub fn is_over(&self) -> bool {
        !matches!(
            self.0,
            PipelineExecutionStatus::InProgress | PipelineExecutionStatus::Stopping
        )
    }
}

state!(
    /// The state of an action of CodePipeline.
    ActionState(ActionExecutionStatus), without: "unknown"
);

impl ActionState {
    /// Returns whether it failed.
    pub fn has_failed(&self) -> bool {
        self.0 == ActionExecutionStatus::Failed
    }

    /// Returns whether it succeeded.
    pub fn has_succeeded(&self) -> bool {
        self.0 == ActionExecutionStatus::Succeeded
    }

    /// Returns whether it is running or waits for an approval.
    pub fn is_in_progress(&self) -> bool {
        self.0 == ActionExecutionStatus::InProgress
    }

    /// Returns the state of a stage with actions in these states. CodePipeline reports the state of a stage only
    /// for the last execution that entered it.
    pub fn of_stage<'a>(actions: impl Iterator<Item = &'a Self>) -> Self {
        let order = [
            ActionExecutionStatus::InProgress,
            ActionExecutionStatus::Failed,
            ActionExecutionStatus::Abandoned,
            ActionExecutionStatus::Succeeded,
        ];
        let found: Vec<&ActionExecutionStatus> = actions.map(|state| &state.0).collect();
        let mut order = order.iter();
        let first = order.find(|status| found.contains(status));
        Self::of(first.or(found.first().copied()))
    }
}

state!(
    /// The state of a build of CodeBuild.
    BuildState(StatusType), without: "unknown"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_in_progress_until_its_last_action_has_ended() {
        let states = |words: &[&str]| -> String {
            let states: Vec<ActionState> =
                words.iter().map(|word| ActionState::named(word)).collect();
            ActionState::of_stage(states.iter()).to_string()
        };
        assert_eq!(states(&["Succeeded", "Failed", "InProgress"]), "InProgress");
        assert_eq!(states(&["Succeeded", "Failed"]), "Failed");
        assert_eq!(states(&["Succeeded", "Abandoned"]), "Abandoned");
        assert_eq!(states(&["Succeeded", "Succeeded"]), "Succeeded");
        assert_eq!(states(&[]), "unknown");
    }

    #[test]
    fn an_execution_is_over_when_nothing_of_it_runs() {
        for (word, is_over, was_stopped) in [
            ("InProgress", false, false),
            ("Stopping", false, false),
            ("Stopped", true, true),
            ("Superseded", true, true),
            ("Cancelled", true, true),
            ("Failed", true, false),
            ("Succeeded", true, false),
        ] {
            let state = DeliveryState::named(word);
            assert_eq!(
                (state.is_over(), state.was_stopped()),
                (is_over, was_stopped),
                "{word}"
            );
        }
    }
}

//! What a pipeline does next, given the records of its executions (pure).
//!
//! The engine carries out one step, records it, and plans again. The rules are those of the user guide, "How pipeline
//! executions work":
//!
//! - A stage holds one execution. It is locked until its actions have ended; a failure unlocks it.
//! - SUPERSEDED: of several executions before a stage, the newest enters; the others are superseded.
//! - QUEUED: executions enter a stage in the order in which they arrived before it.
//! - PARALLEL: executions do not wait for each other.
//! - No execution enters a stage whose transition is disabled.

use std::collections::BTreeSet;

use super::declaration::{Declaration, ExecutionMode, FailureResult, RetryMode, Stage};
use super::records::{ActionStatus, Execution, ExecutionStatus, StageStatus};

/// Maximum number of automatic retries of a stage (API reference, `RetryStageMetadata`).
const MAX_RETRIES: u32 = 1;

/// An execution in progress, with the structure that it runs with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open<'a> {
    pub(super) execution: &'a Execution,
    pub(super) pipeline: &'a Declaration,
}

/// A step. Executions, stages and actions are named by their positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// An execution enters a stage.
    Enter { execution: usize, stage: usize },
    /// A newer execution overtakes one that waits.
    Supersede { execution: usize },
    /// Actions of the current stage start, in parallel.
    Start {
        execution: usize,
        stage: usize,
        actions: Vec<usize>,
    },
    /// The current stage failed and is retried.
    Retry { execution: usize, mode: RetryMode },
    /// The current stage ends.
    EndStage {
        execution: usize,
        status: StageStatus,
    },
    /// The current stage failed, and its last successful execution is restored.
    FailAndRollBack { execution: usize },
    /// An execution ends.
    End {
        execution: usize,
        status: ExecutionStatus,
    },
}

/// Where an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// In a stage.
    In(usize),
    /// Before a stage.
    Before(usize),
    /// After its last stage, or after a stage that did not succeed.
    After(ExecutionStatus),
}

impl Open<'_> {
    fn position(&self) -> Position {
        let execution = self.execution;
        let stage = |name: &str| self.pipeline.stage(name);
        let Some(run) = execution.stages.last() else {
            let first = match &execution.rollback {
                Some(rollback) => stage(&rollback.stage),
                None => Some(0),
            };
            return first.map_or(Position::After(ExecutionStatus::Failed), Position::Before);
        };
        let Some(at) = stage(&run.name) else {
            return Position::After(ExecutionStatus::Failed);
        };
        match run.status {
            StageStatus::InProgress | StageStatus::Stopping => Position::In(at),
            StageStatus::Failed => Position::After(ExecutionStatus::Failed),
            StageStatus::Stopped => Position::After(ExecutionStatus::Stopped),
            // A rollback runs one stage.
            StageStatus::Succeeded | StageStatus::Skipped
                if execution.rollback.is_some() || at + 1 >= self.pipeline.stages.len() =>
            {
                Position::After(ExecutionStatus::Succeeded)
            }
            StageStatus::Succeeded | StageStatus::Skipped => Position::Before(at + 1),
        }
    }

    /// The stage that the execution waits for, if it waits.
    pub(super) fn waits_for(&self) -> Option<&Stage> {
        match self.position() {
            Position::Before(at) => self.pipeline.stages.get(at),
            Position::In(_) | Position::After(_) => None,
        }
    }

    /// The stage that the execution is in.
    fn is_in(&self) -> Option<&Stage> {
        match self.position() {
            Position::In(at) => self.pipeline.stages.get(at),
            Position::Before(_) | Position::After(_) => None,
        }
    }

    fn is_parallel(&self) -> bool {
        self.execution.mode == ExecutionMode::Parallel
    }
}

/// The next step; `None` if the pipeline waits. `closed` are the stages whose transitions are disabled.
pub(super) fn next(all: &[Open<'_>], closed: &BTreeSet<&str>) -> Option<Step> {
    let mut each = all.iter().enumerate();
    if let Some(step) = each.find_map(|(at, open)| within(at, open)) {
        return Some(step);
    }
    let mut each = all.iter().enumerate();
    each.find_map(|(at, open)| entrance(at, *open, all, closed))
}

/// The next step of an execution that does not wait for a stage.
fn within(execution: usize, open: &Open<'_>) -> Option<Step> {
    let is_stopping = open.execution.status == ExecutionStatus::Stopping;
    let stage = match open.position() {
        Position::After(status) => return Some(Step::End { execution, status }),
        Position::Before(_) if is_stopping => {
            let status = ExecutionStatus::Stopped;
            return Some(Step::End { execution, status });
        }
        Position::Before(_) => return None,
        Position::In(stage) => stage,
    };
    let run = open.execution.stages.last()?;
    let actions = &open.pipeline.stages[stage].actions;
    let status = |at: usize| run.current(&actions[at].name).map(|run| run.status);
    let positions = || 0..actions.len();
    if positions().any(|at| status(at) == Some(ActionStatus::InProgress)) {
        return None;
    }
    if is_stopping {
        let status = StageStatus::Stopped;
        return Some(Step::EndStage { execution, status });
    }
    let has_failed = |at| {
        matches!(
            status(at),
            Some(ActionStatus::Failed | ActionStatus::Abandoned)
        )
    };
    if positions().any(has_failed) {
        return Some(after_failure(execution, &open.pipeline.stages[stage], open));
    }
    let left = positions().filter(|at| status(*at).is_none());
    let left: Vec<usize> = left.collect();
    let Some(order) = left.iter().map(|at| actions[*at].run_order).min() else {
        let status = StageStatus::Succeeded;
        return Some(Step::EndStage { execution, status });
    };
    let ready = left
        .into_iter()
        .filter(|at| actions[*at].run_order == order);
    Some(Step::Start {
        execution,
        stage,
        actions: ready.collect(),
    })
}

fn after_failure(execution: usize, stage: &Stage, open: &Open<'_>) -> Step {
    let failed = Step::EndStage {
        execution,
        status: StageStatus::Failed,
    };
    let Some(on_failure) = &stage.on_failure else {
        return failed;
    };
    let retries = open
        .execution
        .stages
        .last()
        .map_or(0, |run| run.automatic_retries);
    match on_failure.result {
        Some(FailureResult::Retry) if retries < MAX_RETRIES => {
            let configuration = on_failure.retry_configuration.as_ref();
            let mode = configuration.and_then(|it| it.retry_mode);
            Step::Retry {
                execution,
                mode: mode.unwrap_or(RetryMode::FailedActions),
            }
        }
        Some(FailureResult::Skip) => Step::EndStage {
            execution,
            status: StageStatus::Skipped,
        },
        // What a rollback restores is not rolled back again.
        Some(FailureResult::Rollback) if open.execution.rollback.is_none() => {
            Step::FailAndRollBack { execution }
        }
        Some(_) | None => failed,
    }
}

/// The step of an execution that waits for a stage.
fn entrance(
    execution: usize,
    open: Open<'_>,
    all: &[Open<'_>],
    closed: &BTreeSet<&str>,
) -> Option<Step> {
    let stage = open.waits_for()?;
    let others = || {
        let others = all.iter().enumerate().filter(|(at, _)| *at != execution);
        others
            .map(|(_, other)| other)
            .filter(|other| !other.is_parallel())
    };
    let rivals =
        || others().filter(|other| other.waits_for().is_some_and(|it| it.name == stage.name));
    let is_rollback = open.execution.rollback.is_some();
    let is_first = match open.execution.mode {
        _ if is_rollback => true,
        ExecutionMode::Parallel => true,
        // Also while both wait for a rollback: otherwise, any number of executions would wait.
        ExecutionMode::Superseded
            if rivals().any(|other| {
                other.execution.rollback.is_none() && other.execution.number > open.execution.number
            }) =>
        {
            return Some(Step::Supersede { execution });
        }
        // A rollback comes first, and supersedes nothing.
        _ if rivals().any(|other| other.execution.rollback.is_some()) => false,
        ExecutionMode::Superseded => true,
        ExecutionMode::Queued => {
            !rivals().any(|other| other.execution.arrival < open.execution.arrival)
        }
    };
    let is_locked = !open.is_parallel()
        && others().any(|other| other.is_in().is_some_and(|it| it.name == stage.name));
    if !is_first || is_locked || closed.contains(stage.name.as_str()) {
        return None;
    }
    Some(Step::Enter {
        execution,
        stage: open.pipeline.stage(&stage.name)?,
    })
}

/// True if a stage can be rolled back to an execution: it succeeded in the stage, with the same structure.
pub(super) fn can_restore(execution: &Execution, stage: &str, version: i64) -> bool {
    execution.version == version
        && execution.rollback.is_none()
        && execution
            .stage(stage)
            .is_some_and(|run| run.status == StageStatus::Succeeded)
}

#[cfg(test)]
mod tests;

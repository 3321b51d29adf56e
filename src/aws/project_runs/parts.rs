//! The parts of a run: the steps of a SageMaker run, or the actions of an execution of CodePipeline with the steps of
//! the runs that their builds started.

use jiff::Timestamp;

use super::{ProjectRun, short};
use crate::aws::delivery::executions::{Action, Stage};
use crate::aws::logs::LogPlace;
use crate::aws::sagemaker::runs::{Run, RunStep};

/// A part of a run: a step or an action.
#[derive(Debug, Clone)]
pub struct RunPart {
    /// The stages and actions that contain it, and its name: `Train/Train/Evaluate`, or `Evaluate`.
    pub path: String,
    /// The stage of an action.
    pub stage: Option<String>,
    /// Its name.
    pub name: String,
    /// The type of a step, or the provider of an action.
    pub kind: String,
    /// Its state.
    pub status: String,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What else is known, for people.
    pub note: String,
    /// True for a manual approval that waits.
    pub waits_for_approval: bool,
    /// Where its log is.
    pub log: Option<LogPlace>,
    /// True for a step of a run that the action before started.
    pub is_nested: bool,
}

impl RunPart {
    /// Returns how long it took, or has taken until `now`, in seconds.
    pub fn seconds(&self, now: Timestamp) -> Option<i64> {
        let end = self.ended.unwrap_or(now);
        Some((end.as_second() - self.started?.as_second()).max(0))
    }
}

impl ProjectRun {
    /// Returns the parts that have started, in that order.
    pub fn parts(&self) -> Vec<RunPart> {
        match self {
            Self::Training(run) => steps(run, None).collect(),
            Self::Delivery(execution) => {
                let actions = execution.actions();
                let parts = actions.flat_map(|(stage, action)| {
                    let own = part(stage, action);
                    let path = own.path.clone();
                    let run = action.training.iter();
                    let below =
                        run.flat_map(move |run| steps(run, Some(&path)).collect::<Vec<_>>());
                    std::iter::once(own).chain(below)
                });
                parts.collect()
            }
        }
    }
}

fn steps(run: &Run, within: Option<&str>) -> impl Iterator<Item = RunPart> {
    run.steps.iter().map(move |step| RunPart {
        path: within.map_or_else(|| step.name.clone(), |path| format!("{path}/{}", step.name)),
        stage: None,
        name: step.name.clone(),
        kind: step.shown_kind().to_owned(),
        status: step.shown_status().to_owned(),
        started: step.started,
        ended: step.ended,
        note: note(step),
        waits_for_approval: false,
        log: step.log(),
        is_nested: within.is_some(),
    })
}

/// Returns details of a step beyond its status.
fn note(step: &RunStep) -> String {
    let cached = step
        .cached_from
        .as_ref()
        .map(|run| format!("cached from {run}"));
    let attempts = step.attempts.map(|count| format!("{count} attempts"));
    let parts = [cached, attempts, step.failure.clone(), step.outcome.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn part(stage: &Stage, action: &Action) -> RunPart {
    let build = action.build.as_ref();
    let log = build.and_then(|build| build.log());
    let log = log.map(|(group, stream)| LogPlace::Stream {
        group: group.to_owned(),
        stream: stream.to_owned(),
    });
    let arn = action.log_stream_arn.as_deref();
    RunPart {
        path: format!("{}/{}", stage.name, action.name),
        stage: Some(stage.name.clone()),
        name: action.name.clone(),
        kind: action.provider.clone().unwrap_or_default(),
        status: action.status.to_string(),
        started: action.started,
        ended: action.ended,
        note: action_note(action),
        waits_for_approval: action.waits_for_approval,
        log: log.or_else(|| arn.and_then(LogPlace::of_arn)),
        is_nested: false,
    }
}

/// Returns details of an action: what it released, who decided, why it failed.
fn action_note(action: &Action) -> String {
    let waits = action
        .waits_for_approval
        .then(|| "waits for an approval".to_owned());
    let by = action
        .updated_by
        .as_deref()
        .filter(|_| action.is_approval());
    let by = by.map(|by| format!("by {}", by.rsplit('/').next().unwrap_or(by)));
    let attempts = action.attempts.map(|count| format!("{count} attempts"));
    let run = action.training.as_ref();
    let run = run.map(|run| format!("run {}", run.run));
    let failure = action.failure.clone();
    let other = action.external_id.as_deref().filter(|_| failure.is_none());
    let other = other.filter(|_| run.is_none() && action.summary.is_none());
    let other = other.map(|id| short(id).to_owned());
    let parts = [
        waits,
        by,
        attempts,
        run,
        failure.or_else(|| action.summary.clone()),
        other,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use aws_sdk_sagemaker::types::StepStatus;
    use mlops_pipeline::StepType;

    use super::*;

    /// Issue 8, 3.3: a step whose result came from the cache names the run that produced it.
    #[test]
    fn issue_8_3_3_a_note_names_the_run_of_a_cache_hit() {
        let mut step = RunStep {
            name: "Train".to_owned(),
            kind: Some(StepType::Training),
            status: StepStatus::Succeeded.into(),
            started: None,
            ended: None,
            failure: None,
            arn: None,
            outcome: None,
            cached_from: Some("abcdef123456".to_owned()),
            attempts: None,
        };
        assert_eq!(note(&step), "cached from abcdef123456");
        step.cached_from = None;
        step.attempts = Some(3);
        step.failure = Some("no rows".to_owned());
        assert_eq!(note(&step), "3 attempts; no rows");
    }
}

//! Explains why a run failed: from the execution down to the log of the job, and the likely cause.
//!
//! ```text
//! execution of CodePipeline → stage → action → build → phase and log ──────┐
//!                                                └→ run                    ├→ known_causes → Chain
//! run → first failed step → job → its failure reason, end of its log ──────┘
//! ```
//!
//! `levels` is a list from the outermost to the innermost: what started a run precedes it.

use anyhow::Result;
use aws_sdk_sagemaker::types::SecondaryStatus;
use mlops_core::error::message;
use mlops_pipeline::StepType;
use serde::Serialize;

use super::known_causes::{self, Cause, Place, TIME_LIMIT};
use super::logs::LogEvent;
use super::project_runs::ProjectRun;
use super::sagemaker::gate::Gate;
use super::sagemaker::runs::{Run, RunStep};
use super::{AwsResultExt, Clients, Expected, Missing};

mod delivery;

/// Number of log lines to keep.
const KEPT: usize = 15;

/// Number of log lines to search for a cause: a traceback is longer than what is kept.
const SEARCHED: i32 = 100;

/// A job that was deleted; SageMaker has a message for each type.
const GONE: [Expected; 3] = [
    Expected::Missing(Missing::Resource),
    Expected::message("ValidationException", "Requested resource not found", ""),
    Expected::message(
        "ValidationException",
        "Could not find requested job with name",
        "",
    ),
];

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every step succeeded.
    Succeeded,
    /// It has not ended.
    InProgress,
    /// It was stopped.
    Stopped,
    /// A gate refused the model.
    Refused,
    /// A step failed.
    Failed,
}

/// A level of a failure: it failed because the next one did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Level {
    /// What it is.
    pub kind: LevelKind,
    /// Its name.
    pub name: String,
    /// Its ARN, or the id of an execution of CodePipeline; null for a step, a stage and an action.
    pub id: Option<String>,
    /// Its state, as the service reports it.
    pub status: String,
    /// Why it failed, as the service reports it.
    pub reason: Option<String>,
    /// The number of attempts, if more than one.
    pub attempts: Option<i32>,
}

/// What a level is. The names in JSON are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LevelKind {
    /// An execution of a pipeline of CodePipeline.
    Execution,
    /// A stage of it.
    Stage,
    /// An action of the stage.
    Action,
    /// The build of an action.
    Build,
    /// A run: an execution of the project's SageMaker pipeline.
    Run,
    /// A step of it.
    Step,
    /// The job of a step.
    Job,
}

impl LevelKind {
    /// The kind as a short word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Action => "action",
            Self::Build => "build",
            // The labels of a screen are short.
            Self::Execution | Self::Run => "run",
            Self::Step => "step",
            Self::Job => "job",
        }
    }
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Log {
    /// The log group.
    pub group: String,
    /// The stream.
    pub stream: String,
    /// Its last lines, oldest first.
    pub lines: Vec<String>,
}

impl Log {
    fn of(group: &str, stream: String, lines: &[String]) -> Self {
        Self {
            group: group.to_owned(),
            stream,
            lines: lines[lines.len().saturating_sub(KEPT)..].to_vec(),
        }
    }
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chain {
    /// The run's id.
    pub run: String,
    /// How it ended.
    pub outcome: Outcome,
    /// From the run to what failed.
    pub levels: Vec<Level>,
    /// Other steps that failed, later.
    pub also_failed: Vec<String>,
    /// What could not be read, such as the job or its log; the cause comes from the rest.
    pub unread: Vec<String>,
    /// The log of the job that failed.
    pub log: Option<Log>,
    /// The likely cause; null if it is unknown, or if the run did not fail.
    pub cause: Option<Cause>,
}

impl Chain {
    /// The chain of a run of which only the outermost level is known.
    fn new(run: &str, outcome: Outcome, level: Level) -> Self {
        Self {
            run: run.to_owned(),
            outcome,
            levels: vec![level],
            also_failed: Vec::new(),
            unread: Vec::new(),
            log: None,
            cause: None,
        }
    }

    /// Returns the innermost reason.
    pub fn reason(&self) -> Option<&str> {
        let mut levels = self.levels.iter().rev();
        levels.find_map(|level| level.reason.as_deref())
    }

    /// Returns the name of the step that failed, or of the action.
    pub fn step(&self) -> Option<&str> {
        let mut levels = self.levels.iter().rev();
        let is_part = |level: &&Level| matches!(level.kind, LevelKind::Step | LevelKind::Action);
        let step = levels.find(is_part)?;
        Some(&step.name)
    }
}

/// Explains a run of either kind.
pub async fn explain_any(clients: &Clients, run: &ProjectRun) -> Result<Chain> {
    match run {
        ProjectRun::Training(run) => explain(clients, run).await,
        ProjectRun::Delivery(execution) => delivery::explain(clients, execution).await,
    }
}

/// Explains a run of SageMaker's pipeline.
pub async fn explain(clients: &Clients, run: &Run) -> Result<Chain> {
    let outcome = outcome(run);
    let mut chain = Chain::new(
        &run.run,
        outcome,
        Level {
            kind: LevelKind::Run,
            name: run.run.clone(),
            id: Some(run.arn.clone()),
            status: run.status.to_string(),
            reason: run.failure.clone(),
            attempts: None,
        },
    );
    match outcome {
        Outcome::Succeeded | Outcome::InProgress => {}
        Outcome::Refused => {
            if let Some(gate) = &run.gate {
                refused(&mut chain, gate);
            }
        }
        Outcome::Failed => {
            let failed = run.failed_steps();
            match failed.split_first() {
                Some((first, others)) => {
                    chain.also_failed = others.iter().map(|step| step.name.clone()).collect();
                    failed_at(clients, &mut chain, first).await?;
                }
                None => {
                    chain.cause = known_causes::find(Place::Step, run.failure.as_deref(), &[]);
                }
            }
        }
        Outcome::Stopped => {
            // A job that exceeds its time limit is stopped, too.
            let stopped = run.steps.iter().rev();
            let stopped = stopped.filter(|step| !step.status.has_succeeded());
            for step in stopped.filter(|step| step.log().is_some()) {
                let mut with_job = chain.clone();
                failed_at(clients, &mut with_job, step).await?;
                let is_late = |cause: &Cause| cause.kind == TIME_LIMIT;
                if with_job.cause.as_ref().is_some_and(is_late) {
                    chain = with_job;
                    break;
                }
            }
        }
    }
    Ok(chain)
}

fn outcome(run: &Run) -> Outcome {
    if run.gate.is_some() {
        Outcome::Refused
    } else if !run.is_over() {
        Outcome::InProgress
    } else if run.status.has_succeeded() {
        Outcome::Succeeded
    } else if run.status.was_stopped() {
        Outcome::Stopped
    } else {
        Outcome::Failed
    }
}

/// Adds the gate and its checks.
fn refused(chain: &mut Chain, gate: &Gate) {
    chain.levels.push(Level {
        kind: LevelKind::Step,
        name: gate.step.clone(),
        id: None,
        status: chain.levels[0].status.clone(),
        reason: Some(gate.message.clone()),
        attempts: None,
    });
    let what = if gate.checks.is_empty() {
        gate.message.clone()
    } else {
        gate.sentence()
    };
    let parameter = gate.checks.iter().find_map(|it| it.parameter.as_deref());
    let fix = match (parameter, &gate.condition) {
        (Some(name), _) => {
            format!("train a better model, or change the limit with `mlops train -p {name}=…`")
        }
        (None, Some(condition)) => format!(
            "train a better model, or change the condition `{condition}` of the pipeline's definition"
        ),
        (None, None) => "see the step's message: the pipeline ends there on purpose".to_owned(),
    };
    chain.cause = Some(Cause::gate(what, fix));
}

/// Adds a step, its job, the job's log, and the cause.
async fn failed_at(clients: &Clients, chain: &mut Chain, step: &RunStep) -> Result<()> {
    chain.levels.push(Level {
        kind: LevelKind::Step,
        name: step.name.clone(),
        id: None,
        status: step.shown_status().to_owned(),
        reason: step.failure.clone(),
        attempts: step.attempts,
    });
    let Some(log) = step.log() else {
        chain.cause = known_causes::find(Place::Step, step.failure.as_deref(), &[]);
        return Ok(());
    };
    let (job, streams) = tokio::join!(job(clients, step, log.name()), log.tails(clients, SEARCHED));
    // The reason alone often has the cause.
    let mut unread = |error: anyhow::Error| chain.unread.push(message(&error));
    let job = job.map_err(&mut unread).unwrap_or_default();
    let streams = streams.map_err(&mut unread).unwrap_or_default();
    chain.levels.extend(job);
    let (stream, lines) = likeliest(Place::Job, streams).unzip();
    let lines = lines.unwrap_or_default();
    let reason = chain.reason();
    chain.cause = known_causes::find(Place::Job, reason, &lines)
        // What the pipeline does with the job's result.
        .or_else(|| known_causes::find(Place::Step, step.failure.as_deref(), &[]));
    chain.log = stream.map(|stream| Log::of(log.group(), stream, &lines));
    Ok(())
}

/// The stream to show: of several hosts, the first whose lines name a cause, or the first with lines.
fn likeliest(place: Place, streams: Vec<(String, Vec<LogEvent>)>) -> Option<(String, Vec<String>)> {
    let mut first = None;
    for (stream, events) in streams {
        let lines: Vec<String> = events.into_iter().map(|event| event.message).collect();
        if lines.is_empty() {
            continue;
        }
        if known_causes::find(place, None, &lines).is_some() {
            return Some((stream, lines));
        }
        first.get_or_insert((stream, lines));
    }
    first
}

/// Describes the job of a step; `None` if it was deleted.
async fn job(clients: &Clients, step: &RunStep, name: &str) -> Result<Option<Level>> {
    let doing = format!("cannot describe the job `{name}`");
    let (status, reason) = if step.kind == Some(StepType::Training) {
        let job = clients
            .sagemaker
            .describe_training_job()
            .training_job_name(name)
            .send()
            .await
            .aws_unless(doing, &GONE)?;
        let Some(job) = job else {
            return Ok(None);
        };
        let status = job.training_job_status().map(|it| it.as_str().to_owned());
        let is_late = job.secondary_status() == Some(&SecondaryStatus::MaxRuntimeExceeded);
        let late = is_late.then(|| SecondaryStatus::MaxRuntimeExceeded.as_str().to_owned());
        (status, job.failure_reason.or(late))
    } else {
        let job = clients
            .sagemaker
            .describe_processing_job()
            .processing_job_name(name)
            .send()
            .await
            .aws_unless(doing, &GONE)?;
        let Some(job) = job else {
            return Ok(None);
        };
        let status = job.processing_job_status().map(|it| it.as_str().to_owned());
        let message = job.exit_message.filter(|message| !message.is_empty());
        (status, job.failure_reason.or(message))
    };
    Ok(Some(Level {
        kind: LevelKind::Job,
        name: name.to_owned(),
        id: step.arn.clone(),
        status: status.unwrap_or_default(),
        reason,
        attempts: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(kind: LevelKind, name: &str, reason: Option<&str>) -> Level {
        Level {
            kind,
            name: name.to_owned(),
            id: None,
            status: "Failed".to_owned(),
            reason: reason.map(str::to_owned),
            attempts: None,
        }
    }

    #[test]
    fn the_innermost_reason_is_shown() {
        let mut chain = Chain {
            run: "r".to_owned(),
            outcome: Outcome::Failed,
            levels: vec![
                level(LevelKind::Run, "r", Some("One or multiple steps failed")),
                level(
                    LevelKind::Step,
                    "Train",
                    Some("ClientError: AlgorithmError: x"),
                ),
            ],
            also_failed: Vec::new(),
            unread: Vec::new(),
            log: None,
            cause: None,
        };
        assert_eq!(chain.reason(), Some("ClientError: AlgorithmError: x"));
        chain.levels.push(level(LevelKind::Job, "j", None));
        assert_eq!(chain.reason(), Some("ClientError: AlgorithmError: x"));
        assert_eq!(chain.step(), Some("Train"));
        let json = serde_json::to_value(&chain).unwrap();
        assert_eq!(json["outcome"], "failed");
        assert_eq!(json["levels"][2]["kind"], "job");
        assert!(json["cause"].is_null() && json["log"].is_null());
    }

    #[test]
    fn of_several_hosts_the_one_that_names_a_cause_is_shown() {
        let stream = |name: &str, lines: &[&str]| {
            let events = lines.iter().map(|line| LogEvent {
                time: None,
                message: (*line).to_owned(),
            });
            (name.to_owned(), events.collect())
        };
        let streams = vec![
            stream("algo-1", &[]),
            stream("algo-2", &["waiting"]),
            stream("algo-3", &["MemoryError"]),
        ];
        assert_eq!(likeliest(Place::Job, streams).unwrap().0, "algo-3");
        let quiet = vec![stream("algo-1", &["a"]), stream("algo-2", &["b"])];
        assert_eq!(likeliest(Place::Job, quiet).unwrap().0, "algo-1");
        assert_eq!(likeliest(Place::Job, Vec::new()), None);
    }
}

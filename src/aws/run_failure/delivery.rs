//! Explains an execution of CodePipeline: its stage, action and build, and the run that the build started.

use anyhow::Result;
use mlops_core::error::message;

use super::{Chain, Level, LevelKind, Log, Outcome, SEARCHED, likeliest};
use crate::aws::Clients;
use crate::aws::delivery::builds::Build;
use crate::aws::delivery::executions::{Action, Execution, Stage};
use crate::aws::delivery::pipelines::PipelineKind;
use crate::aws::endpoint_failure;
use crate::aws::known_causes::{self, Cause, Place};
use crate::aws::logs::LogPlace;
use crate::aws::sagemaker::runs::Run;

/// Explains an execution.
pub(super) async fn explain(clients: &Clients, execution: &Execution) -> Result<Chain> {
    let outcome = outcome(execution);
    let mut chain = Chain::new(
        &execution.run,
        outcome,
        Level {
            kind: LevelKind::Execution,
            name: execution.pipeline.name.clone(),
            id: Some(execution.run.clone()),
            status: execution.status.to_string(),
            reason: execution.failure.clone(),
            attempts: None,
        },
    );
    if outcome != Outcome::Failed {
        return Ok(chain);
    }
    let failed = execution.failed_actions();
    let Some(((stage, action), others)) = failed.split_first() else {
        chain.cause = known_causes::find(Place::Action, execution.failure.as_deref(), &[]);
        return Ok(chain);
    };
    let others = others.iter();
    chain.also_failed = others.map(|(_, action)| action.name.clone()).collect();
    failed_at(clients, &mut chain, stage, action).await?;
    if let Some(endpoint) = deployed(execution, action) {
        deployment(clients, &mut chain, action, endpoint).await;
    }
    Ok(chain)
}

/// The endpoint whose deployment failed, if the action deploys one.
fn deployed<'a>(execution: &'a Execution, action: &Action) -> Option<&'a str> {
    let is_deployment = execution.pipeline.kind == PipelineKind::Deploy
        && action.provider.as_deref() == Some("CloudFormation");
    is_deployment
        .then(|| execution.pipeline.name.strip_suffix("-deploy"))
        .flatten()
}

/// Adds the log of the endpoint's container that failed. Its lines say more than the stack's event.
async fn deployment(clients: &Clients, chain: &mut Chain, action: &Action, endpoint: &str) {
    let reason = action.failure.as_deref();
    let explained = endpoint_failure::explain(clients, endpoint, reason, action.started).await;
    let found = match explained {
        Ok(found) => found,
        Err(error) => {
            chain.unread.push(message(&error));
            return;
        }
    };
    if let Some(stream) = found.log_stream {
        chain.log = Some(Log::of(&found.log_group, stream, &found.lines));
    }
    let in_stack = || known_causes::find(Place::Stack, reason, &[]);
    chain.cause = found.cause.or(chain.cause.take()).or_else(in_stack);
}

fn outcome(execution: &Execution) -> Outcome {
    let status = &execution.status;
    if !status.is_over() {
        Outcome::InProgress
    } else if status.has_succeeded() {
        Outcome::Succeeded
    } else if status.was_stopped() {
        Outcome::Stopped
    } else {
        Outcome::Failed
    }
}

/// Adds what failed below an action.
async fn failed_at(
    clients: &Clients,
    chain: &mut Chain,
    stage: &Stage,
    action: &Action,
) -> Result<()> {
    chain.levels.push(Level {
        kind: LevelKind::Stage,
        name: stage.name.clone(),
        id: None,
        status: stage.status.to_string(),
        reason: None,
        attempts: None,
    });
    chain.levels.push(Level {
        kind: LevelKind::Action,
        name: action.name.clone(),
        id: None,
        status: action.status.to_string(),
        reason: action.failure.clone().or_else(|| action.summary.clone()),
        attempts: action.attempts,
    });
    if action.is_approval() {
        rejected(chain, action);
        return Ok(());
    }
    let Some(build) = &action.build else {
        let log = action.log_stream_arn.as_deref().and_then(LogPlace::of_arn);
        let lines = read_log(clients, chain, Place::Job, log).await;
        chain.cause = known_causes::find(Place::Action, action.failure.as_deref(), &lines);
        return Ok(());
    };
    chain.levels.push(Level {
        kind: LevelKind::Build,
        name: build.id.clone(),
        id: build.arn.clone(),
        status: build.status.to_string(),
        reason: phase_and_reason(build),
        attempts: None,
    });
    if let Some(run) = action.training.as_deref().filter(|run| has_failed(run)) {
        let below = super::explain(clients, run).await?;
        // A training that somebody stopped fails the build.
        if below.outcome == Outcome::Refused {
            chain.outcome = Outcome::Refused;
        }
        chain.levels.extend(below.levels);
        chain.also_failed.extend(below.also_failed);
        chain.unread.extend(below.unread);
        chain.log = below.log;
        chain.cause = below.cause;
        return Ok(());
    }
    let log = build.log().map(|(group, stream)| LogPlace::Stream {
        group: group.to_owned(),
        stream: stream.to_owned(),
    });
    let lines = read_log(clients, chain, Place::Build, log).await;
    chain.cause = known_causes::find(Place::Build, build.reason.as_deref(), &lines)
        .or_else(|| known_causes::find(Place::Action, action.failure.as_deref(), &[]));
    Ok(())
}

/// A run that ended without a model. One in progress is not why a build failed: the build may have timed out.
fn has_failed(run: &Run) -> bool {
    run.is_over() && !run.status.has_succeeded()
}

/// The reason of a build: the phase that failed, and why.
fn phase_and_reason(build: &Build) -> Option<String> {
    let reason = build.reason.as_ref()?;
    Some(match &build.phase {
        Some(phase) => format!("{phase}: {reason}"),
        None => reason.clone(),
    })
}

/// Reads the end of a log into the chain, and returns its last lines.
async fn read_log(
    clients: &Clients,
    chain: &mut Chain,
    place: Place,
    log: Option<LogPlace>,
) -> Vec<String> {
    let Some(log) = log else {
        return Vec::new();
    };
    let streams = match log.tails(clients, SEARCHED).await {
        Ok(streams) => streams,
        Err(error) => {
            chain.unread.push(message(&error));
            return Vec::new();
        }
    };
    let Some((stream, lines)) = likeliest(place, streams) else {
        return Vec::new();
    };
    chain.log = Some(Log::of(log.group(), stream, &own(&lines)));
    lines
}

/// The lines of a build's commands, without those of CodeBuild after them, which only say that a command failed.
fn own(lines: &[String]) -> Vec<String> {
    let own = lines
        .iter()
        .filter(|line| !line.starts_with("[Container] "));
    let own: Vec<String> = own.cloned().collect();
    if own.is_empty() { lines.to_vec() } else { own }
}

/// A person rejected the execution, or nobody decided in time.
fn rejected(chain: &mut Chain, action: &Action) {
    let note = action.summary.as_deref();
    let note = note.map(|note| format!(": {note}")).unwrap_or_default();
    let Some(by) = &action.updated_by else {
        chain.cause = known_causes::find(Place::Action, action.failure.as_deref(), &[]);
        return;
    };
    chain.outcome = Outcome::Refused;
    chain.cause = Some(Cause::gate(
        format!("the approval {} was rejected by {by}{note}", action.name),
        "correct what the note names, then push again".to_owned(),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::state::BuildState;

    #[test]
    fn the_lines_of_codebuild_do_not_hide_those_of_the_commands() {
        let lines = [
            "[Container] Running command x",
            "no such file",
            "[Container] Phase complete",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(own(&lines), ["no such file"]);
        assert_eq!(own(&lines[2..]), ["[Container] Phase complete"]);
    }

    #[test]
    fn the_reason_of_a_build_names_its_phase() {
        let mut build = Build {
            id: "p:1".to_owned(),
            arn: None,
            status: BuildState::named("FAILED"),
            phase: Some("BUILD".to_owned()),
            reason: Some("COMMAND_EXECUTION_ERROR: exit status 1".to_owned()),
            started: None,
            ended: None,
            log_group: None,
            log_stream: None,
        };
        assert_eq!(
            phase_and_reason(&build).unwrap(),
            "BUILD: COMMAND_EXECUTION_ERROR: exit status 1"
        );
        build.reason = None;
        assert_eq!(phase_and_reason(&build), None);
    }
}

//! `mlops runs logs WORD`: a word is a run or a step.

use anyhow::{Result, anyhow};
use mlops_core::error::hinted;
use mlops_pipeline::{Definition, Graph};

use super::steps::named;
use crate::aws::Clients;
use crate::aws::project_runs::{self, RunRef};
use crate::aws::sagemaker::gate;

/// Number of newest runs to search for one in progress.
const NEWEST: usize = 20;

/// Resolves one word: a step or action that the newest run has started, a run, or a step that the newest training or
/// one in progress may still start. Returns the run and the step.
pub(super) async fn run_or_step(
    clients: &Clients,
    project: &str,
    word: &str,
) -> Result<(RunRef, Option<String>)> {
    let history = project_runs::newest(clients, project, NEWEST).await?;
    let newest = history.first();
    let training = history
        .first_training()
        .filter(|run| Some(run) != newest.as_ref());
    for run in newest.into_iter().chain(training) {
        let parts = project_runs::describe(clients, project, &run)
            .await?
            .parts();
        if !named(&parts, word).is_empty() {
            return Ok((run, Some(word.to_owned())));
        }
    }
    let run = project_runs::find(clients, project, Some(word)).await?;
    if project_runs::exists(clients, &run).await? {
        return Ok((run, None));
    }
    let mut known: Option<Vec<String>> = None;
    for (index, (arn, run)) in history.trained().enumerate() {
        if index > 0 && run.is_over() {
            continue;
        }
        let declared = declared(&gate::definition(clients, arn).await?);
        let lower = word.to_lowercase();
        if declared.iter().any(|name| name.to_lowercase() == lower) {
            let arn = arn.to_owned();
            return Ok((RunRef::Training { arn }, Some(word.to_owned())));
        }
        known.get_or_insert(declared);
    }
    let error = anyhow!("`{word}` is neither a run nor a step of the newest run");
    let error = hinted(
        error,
        format!("list the runs with `{}`", clients.command("runs list")),
    );
    Err(match known {
        Some(steps) => hinted(
            error,
            format!("the steps of the newest run are {}", steps.join(", ")),
        ),
        None => error,
    })
}

/// Returns the names of all steps of a definition, including those in branches.
fn declared(definition: &Definition) -> Vec<String> {
    let nodes = Graph::new(definition).map(|graph| graph.nodes);
    let nodes = nodes.unwrap_or_default().into_iter();
    nodes.map(|node| node.step.name).collect()
}

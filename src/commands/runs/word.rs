//! `mlops runs logs WORD`: a word is a run or a step.

use anyhow::{Result, anyhow};
use mlops_core::error::hinted;
use mlops_pipeline::{Definition, Graph};

use super::steps::named;
use crate::aws::Clients;
use crate::aws::sagemaker::{gate, runs};

/// Number of newest runs to search for one in progress.
const NEWEST: usize = 20;

/// Resolves one word: a step that the newest run has started, a run, or a step that the newest run
/// or a run in progress may still start. Returns the run and the step.
pub(super) async fn run_or_step(
    clients: &Clients,
    pipeline: &str,
    word: &str,
) -> Result<(String, Option<String>)> {
    let newest = runs::list(clients, pipeline, NEWEST).await?;
    if let Some((arn, _)) = newest.first() {
        let run = runs::describe(clients, arn).await?;
        if !named(&run.steps, word).is_empty() {
            return Ok((arn.clone(), Some(word.to_owned())));
        }
    }
    let arn = runs::find(clients, pipeline, Some(word)).await?;
    if runs::exists(clients, &arn).await? {
        return Ok((arn, None));
    }
    let mut known: Option<Vec<String>> = None;
    for (index, (arn, run)) in newest.iter().enumerate() {
        if index > 0 && run.is_over() {
            continue;
        }
        let declared = declared(&gate::definition(clients, arn).await?);
        let lower = word.to_lowercase();
        if declared.iter().any(|name| name.to_lowercase() == lower) {
            return Ok((arn.clone(), Some(word.to_owned())));
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

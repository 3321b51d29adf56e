//! The loop that executes a pipeline.

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::records::{Execution, Status, StepRecord, executions};
use super::retries::Retries;
use super::{ApiError, ApiResult, Cloud, plan, steps};
use crate::local::clock;
use crate::pipeline::{Definition, Graph};

/// `MaxParallelExecutionSteps` when nobody set it (AWS: 50).
const PARALLEL: u64 = 50;

/// The longest `FailureReason` (AWS service model: 1300).
const LONGEST_REASON: usize = 1300;

/// Executes what is left of an execution, beyond the request.
pub(super) fn spawn(cloud: &Cloud, key: String) {
    let work = cloud.clone();
    cloud.spawn(async move {
        if let Err(error) = run(&work, &key).await {
            let reason = format!("InternalServerError: {error}");
            let write = || {
                executions(&work).update(&key, |execution| {
                    let now = clock::epoch();
                    for step in &mut execution.steps {
                        if step.status.goes_on() {
                            step.status = Status::Failed;
                            step.failure = Some(reason.clone());
                            step.ended = Some(now);
                        }
                    }
                    execution.status = Status::Failed;
                    execution.failure = Some(reason.clone());
                    execution.modified = now;
                    Ok(())
                })
            };
            // Any other error says that the record is gone; nobody is left to tell.
            let _ = work
                .persist(&format!("pipeline execution {key}"), write)
                .await;
        }
    });
}

async fn run(cloud: &Cloud, key: &str) -> ApiResult<()> {
    let gone = || ApiError::internal("the execution was deleted while it ran");
    let execution = executions(cloud).get(key)?.ok_or_else(gone)?;
    let definition = Definition::parse(&execution.definition).map_err(ApiError::internal)?;
    let graph = Graph::new(&definition).map_err(ApiError::internal)?;
    let mut running = FuturesUnordered::new();
    loop {
        let execution = executions(cloud).get(key)?.ok_or_else(gone)?;
        let limit = execution.parallelism.unwrap_or(PARALLEL);
        if execution.status == Status::Executing {
            for name in plan::ready(&graph, &execution.steps) {
                if running.len() as u64 >= limit {
                    break;
                }
                begin(cloud, key, &graph, name)?;
                running.push(step(cloud, key, &graph, name));
            }
        }
        match running.next().await {
            Some(done) => done?,
            None => break,
        }
    }
    executions(cloud)
        .update(key, |execution| {
            let stopping = execution.status == Status::Stopping;
            let (status, failure) = plan::conclusion(stopping, &execution.steps);
            execution.status = status;
            execution.failure = failure.map(short);
            execution.modified = clock::epoch();
            Ok(())
        })?
        .ok_or_else(gone)
}

/// Records that a step has started.
fn begin(cloud: &Cloud, key: &str, graph: &Graph, name: &str) -> ApiResult<()> {
    let step = graph.node(name).map(|node| &node.step);
    executions(cloud).update(key, |execution| {
        execution
            .steps
            .push(StepRecord::begin(name, step, clock::epoch()));
        execution.modified = clock::epoch();
        Ok(())
    })?;
    Ok(())
}

/// Runs a step to its end, with the retries of its policies, and records it.
async fn step(cloud: &Cloud, key: &str, graph: &Graph, name: &str) -> ApiResult<()> {
    let mut retries = graph.node(name).map_or_else(Retries::default, |node| {
        Retries::new(&node.step, clock::epoch())
    });
    let result = loop {
        let result = match executions(cloud).get(key)? {
            Some(execution) => steps::run(cloud, key, &execution, graph, name).await,
            None => Err(steps::Ended::failed(
                "the execution was deleted while it ran",
            )),
        };
        let wait = match &result {
            Err(steps::Ended::Failed { exception, .. }) => retries.next(*exception, clock::epoch()),
            _ => None,
        };
        let Some(wait) = wait else { break result };
        if !steps::pause(cloud, key, wait).await? {
            break Err(steps::Ended::Stopped);
        }
        record(cloud, key, name, |step| step.attempts += 1)?;
    };
    record(cloud, key, name, |step| {
        step.ended = Some(clock::epoch());
        match result {
            Ok(result) => {
                step.status = Status::Succeeded;
                step.outcome = result.outcome;
                step.response = result.response;
                step.cache_key = result.cache_key;
                if result.cache_hit.is_some() {
                    step.attempts = 0;
                }
                step.cache_hit = result.cache_hit;
                if result.metadata.is_some() {
                    step.metadata = result.metadata;
                }
            }
            Err(steps::Ended::Stopped) => step.status = Status::Stopped,
            Err(steps::Ended::Failed {
                reason, metadata, ..
            }) => {
                step.status = Status::Failed;
                step.failure = Some(short(reason));
                if metadata.is_some() {
                    step.metadata = metadata;
                }
            }
        }
    })
}

/// Changes the record of a step.
pub(super) fn record(
    cloud: &Cloud,
    key: &str,
    name: &str,
    change: impl FnOnce(&mut StepRecord),
) -> ApiResult<()> {
    executions(cloud).update(key, |execution: &mut Execution| {
        if let Some(step) = execution.steps.iter_mut().find(|step| step.name == name) {
            change(step);
        }
        execution.modified = clock::epoch();
        Ok(())
    })?;
    Ok(())
}

fn short(reason: String) -> String {
    match reason.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => reason[..end].to_owned(),
        None => reason,
    }
}

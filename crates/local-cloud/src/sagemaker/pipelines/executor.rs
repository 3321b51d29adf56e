//! The loop that executes a pipeline.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mlops_pipeline::{Definition, Graph};

use super::announce::{change_execution, change_step};
use super::records::{StepRecord, executions};
use super::retries::Retries;
use super::states::ExecutionStatus;
use super::{ApiError, ApiResult, Cloud, PRINCIPAL, plan, steps};
use crate::cloud::catch_panic;
use crate::{clock, sts};

/// Default of `MaxParallelExecutionSteps` (AWS: 50).
const PARALLEL: u64 = 50;

/// The longest `FailureReason` (AWS service model: 1300).
const LONGEST_REASON: usize = 1300;

/// Runs the remaining steps of an execution in the background, with its role.
pub(super) fn spawn(cloud: &Cloud, key: String) {
    let inner = cloud.clone();
    let work = {
        let (cloud, key) = (cloud.clone(), key.clone());
        async move {
            let execution = executions(&cloud).get(&key)?.ok_or_else(gone)?;
            // Valid while the execution runs.
            let session = sts::for_service(&cloud, &execution.role, "SageMaker", PRINCIPAL)?;
            session.caller().scope(run(&cloud, &key)).await
        }
    };
    supervise(&inner, key, work);
}

/// Runs an execution, which fails if its work fails or panics.
fn supervise(
    cloud: &Cloud,
    key: String,
    work: impl Future<Output = ApiResult<()>> + Send + 'static,
) {
    let (inner, broken, whose) = (cloud.clone(), cloud.clone(), key.clone());
    let busy = cloud.clock().begin(title(&key));
    cloud.spawn(
        title(&key),
        async move {
            let _busy = busy;
            if let Err(error) = work.await {
                fail(&inner, &key, &error).await;
            }
        },
        move |error| async move { fail(&broken, &whose, &error).await },
    );
}

/// An execution's name in server messages.
fn title(key: &str) -> String {
    format!("pipeline execution {key}")
}

/// Records that an execution failed, with the steps of it that were running.
async fn fail(cloud: &Cloud, key: &str, error: &ApiError) {
    let reason = short(format!("InternalServerError: {error}"));
    let write = || {
        change_execution(cloud, key, |execution| {
            if !execution.status.is_in_progress() {
                return Ok(());
            }
            let now = clock::epoch();
            for step in &mut execution.steps {
                if step.status.is_in_progress() {
                    step.status = ExecutionStatus::Failed;
                    step.failure = Some(reason.clone());
                    step.ended = Some(now);
                }
            }
            execution.status = ExecutionStatus::Failed;
            execution.failure = Some(reason.clone());
            execution.modified = now;
            Ok(())
        })
    };
    // Any other error means that the record was deleted; there is nobody to notify.
    let _ = cloud.persist(&title(key), write).await;
}

async fn run(cloud: &Cloud, key: &str) -> ApiResult<()> {
    let execution = executions(cloud).get(key)?.ok_or_else(gone)?;
    let definition = Definition::parse(&execution.definition).map_err(ApiError::internal)?;
    let graph = Graph::new(&definition).map_err(ApiError::internal)?;
    let mut running = FuturesUnordered::new();
    let executed = loop {
        match start(cloud, key, &graph, running.len()) {
            Ok(names) => {
                for name in names {
                    running.push(caught_step(cloud, key, &graph, name));
                }
            }
            Err(error) => break Err(error),
        }
        match running.next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    if executed.is_err() {
        // Jobs of the other steps must not keep running unsupervised.
        let stop = || {
            change_execution(cloud, key, |execution| {
                execution.status = ExecutionStatus::Stopping;
                execution.modified = clock::epoch();
                Ok(())
            })
        };
        // Without a record the steps stop, too.
        let _ = cloud.persist(&title(key), stop).await;
        while running.next().await.is_some() {}
    }
    executed?;
    change_execution(cloud, key, |execution| {
        let stopping = execution.status == ExecutionStatus::Stopping;
        let (status, failure) = plan::conclusion(stopping, &execution.steps);
        execution.status = status;
        execution.failure = failure.map(short);
        execution.modified = clock::epoch();
        Ok(())
    })?
    .ok_or_else(gone)
}

fn gone() -> ApiError {
    ApiError::internal("the execution was deleted while it ran")
}

/// Records the start of every step that can run now; returns their names.
fn start<'a>(
    cloud: &Cloud,
    key: &str,
    graph: &'a Graph,
    running: usize,
) -> ApiResult<Vec<&'a str>> {
    let execution = executions(cloud).get(key)?.ok_or_else(gone)?;
    if execution.status != ExecutionStatus::Executing {
        return Ok(Vec::new());
    }
    let limit = usize::try_from(execution.parallelism.unwrap_or(PARALLEL)).unwrap_or(usize::MAX);
    let mut ready = plan::ready(graph, &execution.steps);
    ready.truncate(limit.saturating_sub(running));
    for name in &ready {
        begin(cloud, key, graph, name)?;
    }
    Ok(ready)
}

/// Records that a step has started.
fn begin(cloud: &Cloud, key: &str, graph: &Graph, name: &str) -> ApiResult<()> {
    let step = graph.node(name).map(|node| &node.step);
    change_execution(cloud, key, |execution| {
        execution
            .steps
            .push(StepRecord::begin(name, step, clock::epoch()));
        execution.modified = clock::epoch();
        Ok(())
    })?;
    Ok(())
}

/// [`step`]; a panic is an error that ends the execution, with the jobs of its other steps.
async fn caught_step(cloud: &Cloud, key: &str, graph: &Graph, name: &str) -> ApiResult<()> {
    let what = format!("step {name} of {}", title(key));
    catch_panic(&what, step(cloud, key, graph, name)).await
}

/// Runs a step to its end, with the retries of its policies, and records it.
async fn step(cloud: &Cloud, key: &str, graph: &Graph, name: &str) -> ApiResult<()> {
    let mut retries = graph.node(name).map_or_else(Retries::default, |node| {
        Retries::new(&node.step, clock::epoch())
    });
    let result = loop {
        let result = match executions(cloud).get(key)? {
            Some(execution) if execution.status != ExecutionStatus::Executing => {
                Err(steps::Ended::Stopped)
            }
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
        change_step(cloud, key, name, |step| step.attempts += 1)?;
    };
    let ended = clock::epoch();
    let write = || change_step(cloud, key, name, |step| conclude(step, &result, ended));
    cloud.persist(&title(key), write).await
}

/// Writes the outcome of a step to its record.
fn conclude(step: &mut StepRecord, outcome: &steps::Outcome, ended: f64) {
    step.ended = Some(ended);
    match outcome {
        Ok(result) => {
            step.status = ExecutionStatus::Succeeded;
            step.outcome = result.outcome;
            step.response.clone_from(&result.response);
            step.cache_key.clone_from(&result.cache_key);
            if result.cache_hit.is_some() {
                step.attempts = 0;
            }
            step.cache_hit.clone_from(&result.cache_hit);
            if result.metadata.is_some() {
                step.metadata.clone_from(&result.metadata);
            }
        }
        Err(steps::Ended::Stopped) => step.status = ExecutionStatus::Stopped,
        Err(steps::Ended::Failed {
            reason, metadata, ..
        }) => {
            step.status = ExecutionStatus::Failed;
            step.failure = Some(short(reason.clone()));
            if metadata.is_some() {
                step.metadata.clone_from(metadata);
            }
        }
    }
}

fn short(reason: String) -> String {
    match reason.char_indices().nth(LONGEST_REASON) {
        Some((end, _)) => reason[..end].to_owned(),
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::records::Execution;
    use super::*;
    use crate::test_cloud::TestCloud;

    #[tokio::test]
    async fn an_execution_that_panics_fails() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let mut execution: Execution = serde_json::from_value(json!({
            "id": "e", "arn": "arn", "pipeline": "p", "display_name": null, "description": null,
            "status": "Executing", "failure": null, "experiment": null, "created": 0.0,
            "modified": 0.0, "parallelism": null, "version": 1, "role": "r", "definition": "{}",
            "parameters": {}, "steps": [], "token": "t",
        }))
        .unwrap();
        execution.steps = vec![StepRecord::begin("Train", None, 0.0)];
        executions(&cloud).put("p/e", &execution).unwrap();
        supervise(&cloud, "p/e".to_owned(), async { panic!("boom") });
        cloud.idle().await;
        let execution = executions(&cloud).get("p/e").unwrap().unwrap();
        assert_eq!(execution.status, ExecutionStatus::Failed);
        assert_eq!(execution.steps[0].status, ExecutionStatus::Failed);
        let reason = execution.failure.unwrap();
        assert!(reason.contains("boom"), "{reason}");
    }
}

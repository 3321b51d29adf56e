//! Runs actions: each in the session of the pipeline's role, or of the action's own role, which that session assumes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::catalog::{self, Provider};
use super::declaration::{Action, Declaration};
use super::engine::{self, Launch, Started};
use super::outcome::{Ended, Failure, Output};
use super::records::{ActionRun, Execution, Revision, key, open, pipelines, structure_in};
use super::references::Unresolved;
use super::{PRINCIPAL, references};
use crate::api::{ApiError, ApiResult};
use crate::clock::Work;
use crate::cloud::caller::Caller;
use crate::sts::{AssumedSession, ServiceSession};
use crate::{Cloud, clock, sts};

use artifacts::Place;

mod approval;
pub(super) mod artifacts;
mod cloudformation;
mod codebuild;
mod codecommit;
mod ecr;
pub(super) mod lambda;
mod parameters;
mod s3;

/// Real time between two looks at work of another service that does not announce its end.
const INTERVAL: Duration = Duration::from_millis(50);

/// Maximum size of the resolved configuration of an action, in bytes (quotas of the user guide).
const MAX_CONFIGURATION: usize = 100 << 10;

/// The end of an action that ran here; `None` if it waits for a request of another client.
type Outcome = Result<Option<Output>, Failure>;

/// A running action.
pub(super) struct Running<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) launch: &'a Launch,
    pub(super) structure: &'a Declaration,
    pub(super) execution: &'a Execution,
    pub(super) stage: &'a str,
    pub(super) action: &'a Action,
    pub(super) run: &'a ActionRun,
    /// The configuration with the values of variables.
    pub(super) configuration: BTreeMap<String, String>,
    /// On whose behalf it runs.
    pub(super) caller: Caller,
}

/// The name of an action in messages of the server.
fn title(launch: &Launch) -> String {
    format!("action {} of pipeline {}", launch.run, launch.pipeline)
}

/// The tasks of actions, by the ids of their runs. A task ends when its sender is dropped.
#[derive(Debug, Default)]
struct Tasks(Mutex<HashMap<String, oneshot::Sender<()>>>);

fn tasks(cloud: &Cloud) -> MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
    let tasks = &cloud.state::<Tasks>().0;
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends what remains of actions that have ended, by a timeout or because they were abandoned or deleted: their tasks,
/// with the processes of these, and the sessions of their jobs.
pub(super) fn keep(cloud: &Cloud, running: &BTreeSet<String>) {
    tasks(cloud).retain(|id, _| running.contains(id));
    lambda::keep(cloud, running);
}

/// Starts an action in the background. The cloud's time waits until it has begun to wait for something else.
pub(super) fn launch(cloud: &Cloud, started: Started) {
    let Started { launch, work, busy } = started;
    let (inner, broken, failed) = (cloud.clone(), cloud.clone(), launch.clone());
    let (sender, is_over) = oneshot::channel();
    tasks(cloud).insert(launch.run.clone(), sender);
    cloud.spawn(
        title(&launch),
        async move {
            let mut work = Some(work);
            let outcome = tokio::select! {
                outcome = run(&inner, &launch, &mut work) => outcome,
                _ = is_over => return,
            };
            let ended = match outcome {
                Ok(None) => return,
                Ok(Some(output)) => Ended::Succeeded(Box::new(output)),
                Err(failure) => Ended::Failed(failure),
            };
            finish(&inner, &launch, &ended).await;
        },
        move |error| async move {
            let ended = Ended::Failed(Failure::from(error));
            finish(&broken, &failed, &ended).await;
        },
    );
    drop(busy);
}

/// Records the end of an action. What ends after its execution was stopped or deleted changes nothing.
pub(super) async fn finish(cloud: &Cloud, launch: &Launch, ended: &Ended) {
    let write = || {
        engine::change(cloud, &launch.pipeline, |board| {
            board.finish(launch.number, &launch.run, ended)
        })
    };
    let result = cloud.persist(&title(launch), write).await;
    if let Err(error) = result
        && !error.is_not_found()
    {
        crate::log::write_line(&format!("cannot end the {}: {error}", title(launch)));
    }
}

/// Changes the record of a run that has not ended.
async fn note(cloud: &Cloud, launch: &Launch, change: impl Fn(&mut ActionRun)) -> ApiResult<()> {
    let key = key(&launch.pipeline, launch.number);
    let write = || {
        open(cloud).update(&key, |execution| {
            if let Some(run) = execution.run_mut(&launch.run).filter(|run| run.is_open()) {
                run.updated = cloud.clock().epoch();
                change(run);
            }
            Ok(())
        })
    };
    cloud.persist(&title(launch), write).await.map(drop)
}

/// True before an action has ended: it can time out, be abandoned, or be deleted.
fn is_open(cloud: &Cloud, launch: &Launch) -> ApiResult<bool> {
    let found = open(cloud).get(&key(&launch.pipeline, launch.number))?;
    let run = found.as_ref().and_then(|found| found.run(&launch.run));
    Ok(run.is_some_and(|(_, run)| run.is_open()))
}

/// A session with which an action works. It ends when it is dropped.
pub(super) struct ActionSession {
    caller: Caller,
    _assumed: Option<AssumedSession>,
    _role: ServiceSession,
}

/// A session of the pipeline's role or, if the action has one, of the action's role.
async fn session(
    cloud: &Cloud,
    structure: &Declaration,
    action: &Action,
) -> ApiResult<ActionSession> {
    // AWS names the sessions of its services by a time.
    let name = clock::now().as_millisecond().to_string();
    let role = sts::for_service(cloud, &structure.role_arn, &name, PRINCIPAL)?;
    let mut caller = role.caller();
    let mut own = None;
    if let Some(arn) = &action.role_arn {
        let request = json!({"RoleArn": arn, "RoleSessionName": name});
        let (assumed, credentials) = assume(cloud, caller, request).await?;
        let access_key = credentials["AccessKeyId"].as_str();
        caller = crate::admission::caller_of(cloud, access_key.unwrap_or_default())?;
        own = Some(assumed);
    }
    Ok(ActionSession {
        caller,
        _assumed: own,
        _role: role,
    })
}

/// Assumes the role of an action on behalf of the pipeline's role. Returns the session and its credentials.
async fn assume(
    cloud: &Cloud,
    pipeline: Caller,
    request: Value,
) -> ApiResult<(AssumedSession, Value)> {
    let assumed = cloud.call("sts", "AssumeRole", request);
    let credentials = pipeline.scope(assumed).await?["Credentials"].take();
    let access_key = credentials["AccessKeyId"].as_str().unwrap_or_default();
    Ok((AssumedSession::new(cloud, access_key), credentials))
}

/// The execution of an action, and the structure that it runs with; `None` after the end of the execution.
fn context(cloud: &Cloud, launch: &Launch) -> ApiResult<Option<(Execution, Declaration)>> {
    let key = key(&launch.pipeline, launch.number);
    let Some(execution) = open(cloud).get(&key)? else {
        return Ok(None);
    };
    let structure = cloud.store().transaction(|tx| {
        let structure = structure_in(cloud, tx, &launch.pipeline, execution.version)?;
        // The role of the current structure.
        let current = pipelines(cloud).get_in(tx, &launch.pipeline)?;
        let role = current.map(|current| current.declaration.role_arn);
        Ok(Declaration {
            role_arn: role.unwrap_or_else(|| structure.role_arn.clone()),
            ..structure
        })
    })?;
    Ok(Some((execution, structure)))
}

async fn run(cloud: &Cloud, launch: &Launch, work: &mut Option<Work>) -> Outcome {
    let gone = || {
        Failure::new(
            "ConfigurationError",
            "the execution does not exist any more",
        )
    };
    let Some((execution, structure)) = context(cloud, launch)? else {
        return Ok(None);
    };
    let (stage, run) = execution.run(&launch.run).ok_or_else(gone)?;
    if !run.is_open() {
        return Ok(None);
    }
    let action = structure
        .action(&stage.name, &run.action)
        .ok_or_else(gone)?;
    let configuration = resolved(&execution, action)?;
    note(cloud, launch, |run| {
        run.configuration.clone_from(&configuration);
    })
    .await?;
    let session = session(cloud, &structure, action).await?;
    let running = Running {
        cloud,
        launch,
        structure: &structure,
        execution: &execution,
        stage: &stage.name,
        action,
        run,
        configuration,
        caller: session.caller.clone(),
    };
    let kind = catalog::find(&action.action_type_id).ok_or_else(gone)?;
    let caller = session.caller.clone();
    let work = async {
        match kind.runs {
            Provider::CodeCommit => codecommit::run(&running).await,
            Provider::Ecr => ecr::run(&running).await,
            Provider::S3 => s3::run(&running).await,
            Provider::CodeBuild => codebuild::run(&running, work).await,
            Provider::Lambda => lambda::run(&running).await,
            Provider::Manual => approval::run(&running).await,
            Provider::CloudFormation => cloudformation::run(&running, work).await,
        }
    };
    caller.scope(Box::pin(work)).await
}

/// The configuration with the values of its variables.
fn resolved(execution: &Execution, action: &Action) -> Result<BTreeMap<String, String>, Failure> {
    let value = |namespace: &str, name: &str| match namespace {
        "codepipeline" => (name == "PipelineExecutionId").then_some(&execution.id),
        "variables" => execution.variables.get(name),
        other => execution.outputs.get(other)?.get(name),
    };
    let mut found = BTreeMap::new();
    let mut left = MAX_CONFIGURATION;
    for (name, text) in &action.configuration {
        // Unverified against AWS [codepipeline-unresolved-variable]: code and message.
        let text = references::resolve(text, left, value).map_err(|error| {
            let message = match error {
                Unresolved::Missing(reference) => format!(
                    "The action {} failed because one or more variables could not be resolved: {reference} in {name}",
                    action.name
                ),
                Unresolved::TooLong => {
                    format!("The resolved configuration has more than {MAX_CONFIGURATION} bytes")
                }
            };
            Failure::new("ConfigurationError", message)
        })?;
        left -= text.len();
        found.insert(name.clone(), text);
    }
    Ok(found)
}

impl Running<'_> {
    /// A property of the configuration.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.configuration.get(name).map(String::as_str)
    }

    /// A property of the configuration; empty if it is absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The name of the only output artifact; empty if there is none.
    pub(super) fn output(&self) -> &str {
        let output = self.action.output_artifacts.first();
        output.map_or("", |artifact| &artifact.name)
    }

    /// The end of a source action: its artifact at a place, and what it is a revision of.
    fn sourced<const N: usize>(
        &self,
        place: Place,
        id: String,
        summary: Option<String>,
        variables: [(&str, String); N],
    ) -> Output {
        let artifact = self.output().to_owned();
        Output {
            external_id: Some(id.clone()),
            summary: summary.clone(),
            variables: variables
                .map(|(name, value)| (name.to_owned(), value))
                .into(),
            artifacts: vec![(artifact.clone(), place.location)],
            revision: Some(Revision {
                action: self.action.name.clone(),
                artifact,
                id,
                summary,
                created: self.cloud.clock().epoch(),
            }),
            ..Output::default()
        }
    }

    /// The value of a revision that the start of the execution gave for this action.
    pub(super) fn overridden(&self, kind: super::records::RevisionType) -> Option<&str> {
        let mut overrides = self.execution.overrides.iter();
        overrides
            .find(|it| it.action_name == self.action.name && it.revision_type == kind)
            .map(|it| it.revision_value.as_str())
    }

    /// The place of a new artifact.
    pub(super) fn place(&self, artifact: &str) -> Result<artifacts::Place, Failure> {
        let store = self.structure.store(self.cloud.region());
        let store = store.ok_or_else(|| {
            Failure::new("ConfigurationError", "the pipeline has no artifact store")
        })?;
        Ok(artifacts::Place::new(
            &self.launch.pipeline,
            artifact,
            store,
        ))
    }

    /// Changes the record of the run.
    pub(super) async fn note(&self, change: impl Fn(&mut ActionRun)) -> ApiResult<()> {
        note(self.cloud, self.launch, change).await
    }

    /// True before the action has ended: it can time out, or be abandoned.
    pub(super) fn is_open(&self) -> ApiResult<bool> {
        is_open(self.cloud, self.launch)
    }

    /// Runs blocking work with the action's caller.
    pub(super) async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Cloud, &Caller) -> ApiResult<R> + Send + 'static,
    ) -> ApiResult<R> {
        let (cloud, caller) = (self.cloud.clone(), self.caller.clone());
        let work = tokio::task::spawn_blocking(move || work(&cloud, &caller));
        work.await.map_err(ApiError::internal)?
    }
}

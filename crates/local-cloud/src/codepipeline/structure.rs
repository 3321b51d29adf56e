//! The checks of a pipeline's structure (pure).
//!
//! Unverified against AWS [codepipeline-structure-words]: most of the messages. Those about artifact counts, action
//! types, unknown and missing configuration, and references were quoted by users.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{self, ActionType, Provider};
use super::declaration::{Action, Declaration, ExecutionMode, FailureResult, PipelineType, Stage};
use super::references;
use crate::api::{ApiError, ApiResult};

mod configuration;

/// Maximum number of stages (quotas of the user guide, like the next ones).
const MAX_STAGES: usize = 50;

/// Maximum number of actions in a stage.
const MAX_STAGE_ACTIONS: usize = 50;

/// Maximum number of actions in a pipeline.
const MAX_ACTIONS: usize = 500;

/// The namespaces that the service itself uses.
pub(super) const RESERVED: [&str; 2] = ["codepipeline", "variables"];

pub(super) fn structure(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidStructureException", message)
}

fn stage_error(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidStageDeclarationException", message)
}

fn action_error(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidActionDeclarationException", message)
}

/// Checks a pipeline for a region.
pub(super) fn check(pipeline: &Declaration, region: &str) -> ApiResult<()> {
    stores(pipeline, region)?;
    kind(pipeline)?;
    stages(pipeline)?;
    let mut seen = Seen::default();
    for (position, stage) in pipeline.stages.iter().enumerate() {
        for action in &stage.actions {
            let found = action_type(action, region)?;
            place(position, stage, action, found)?;
            counts(action, found)?;
            configuration::check(action, found)?;
            options(action, found, region)?;
        }
        seen.stage(stage)?;
    }
    let known = Namespaces::of(pipeline);
    for (position, stage) in pipeline.stages.iter().enumerate() {
        for action in &stage.actions {
            known.check(position, stage, action)?;
        }
    }
    clones(pipeline)?;
    variables(pipeline)
}

/// Only builds can clone the commit that an artifact refers to. (AWS fails other actions when they run.)
fn clones(pipeline: &Declaration) -> ApiResult<()> {
    let actions = || pipeline.stages.iter().flat_map(|stage| &stage.actions);
    let sources = actions().filter(|action| configuration::is_clone(action));
    let references = sources.flat_map(|action| &action.output_artifacts);
    let references: BTreeSet<&str> = references.map(|artifact| &*artifact.name).collect();
    for action in actions() {
        let kind = catalog::find(&action.action_type_id);
        if kind.is_some_and(|kind| kind.runs == Provider::CodeBuild) {
            continue;
        }
        let mut inputs = action.input_artifacts.iter();
        if let Some(input) = inputs.find(|input| references.contains(&*input.name)) {
            return Err(action_error(format!(
                "Input artifact {} of the action {} has the format CODEBUILD_CLONE_REF, which can only be used by \
                 CodeBuild actions",
                input.name, action.name
            )));
        }
    }
    Ok(())
}

fn stores(pipeline: &Declaration, region: &str) -> ApiResult<()> {
    match (&pipeline.artifact_store, &pipeline.artifact_stores) {
        (Some(_), Some(_)) => Err(structure(
            "Exactly one of artifactStore and artifactStores must be specified for a pipeline",
        )),
        (None, None) => Err(structure(
            "The pipeline must have an artifact store: specify artifactStore or artifactStores",
        )),
        (None, Some(stores)) if stores.keys().any(|of| of != region) => Err(
            ApiError::not_implemented("artifact stores of other regions, for cross-region actions"),
        ),
        (None, Some(stores)) if stores.is_empty() => Err(structure(format!(
            "The pipeline must have an artifact store in the region {region}"
        ))),
        _ => Ok(()),
    }
}

fn kind(pipeline: &Declaration) -> ApiResult<()> {
    if pipeline.pipeline_type == PipelineType::V2 {
        return Ok(());
    }
    let what = if !pipeline.variables.is_empty() {
        "Variables"
    } else if pipeline.execution_mode != ExecutionMode::Superseded {
        "Execution modes other than SUPERSEDED"
    } else if pipeline
        .stages
        .iter()
        .any(|stage| stage.on_failure.is_some())
    {
        "Conditions of stages"
    } else {
        return Ok(());
    };
    Err(structure(format!(
        "{what} can only be used in a pipeline of type V2"
    )))
}

fn stages(pipeline: &Declaration) -> ApiResult<()> {
    let stages = &pipeline.stages;
    if !(2..=MAX_STAGES).contains(&stages.len()) {
        return Err(structure(format!(
            "Pipeline has {} stage(s). A pipeline has at least 2 and at most {MAX_STAGES} stages",
            stages.len()
        )));
    }
    let mut names = BTreeSet::new();
    let mut actions = 0;
    for stage in stages {
        if !names.insert(&stage.name) {
            return Err(structure(format!(
                "Pipeline has two stages named {}. The names of stages must be unique",
                stage.name
            )));
        }
        if !(1..=MAX_STAGE_ACTIONS).contains(&stage.actions.len()) {
            return Err(stage_error(format!(
                "Stage {} has {} actions. A stage has at least 1 and at most {MAX_STAGE_ACTIONS} actions",
                stage.name,
                stage.actions.len()
            )));
        }
        actions += stage.actions.len();
        let mut names = BTreeSet::new();
        let mut all = stage.actions.iter();
        if let Some(action) = all.find(|action| !names.insert(&action.name)) {
            return Err(stage_error(format!(
                "Stage {} has two actions named {}. The names of actions must be unique within a stage",
                stage.name, action.name
            )));
        }
    }
    if actions > MAX_ACTIONS {
        return Err(structure(format!(
            "Pipeline has {actions} actions, more than the maximum of {MAX_ACTIONS}"
        )));
    }
    on_failure(pipeline)
}

fn on_failure(pipeline: &Declaration) -> ApiResult<()> {
    for (position, stage) in pipeline.stages.iter().enumerate() {
        let Some(on_failure) = &stage.on_failure else {
            continue;
        };
        let rolls_back = on_failure.result == Some(FailureResult::Rollback);
        let why = if position == 0 && rolls_back {
            "the source stage cannot be rolled back"
        } else if rolls_back && pipeline.execution_mode == ExecutionMode::Parallel {
            "stages of a pipeline in the mode PARALLEL cannot be rolled back"
        } else if on_failure.retry_configuration.is_some()
            && on_failure.result != Some(FailureResult::Retry)
        {
            "retryConfiguration needs the result RETRY"
        } else {
            continue;
        };
        return Err(stage_error(format!(
            "The onFailure configuration of the stage {} is not valid: {why}",
            stage.name
        )));
    }
    Ok(())
}

/// The type of an action. Types of AWS that do not run here are refused by name.
fn action_type(action: &Action, region: &str) -> ApiResult<&'static ActionType> {
    let id = &action.action_type_id;
    if let Some(found) = catalog::find(id) {
        return Ok(found);
    }
    if catalog::is_absent(id) {
        return Err(ApiError::not_implemented(format_args!(
            "the action provider {} (category {}, owner {}) of the action {}",
            id.provider, id.category, id.owner, action.name
        )));
    }
    Err(action_error(format!(
        "ActionType (Category: '{}', Provider: '{}', Owner: '{}', Version: '{}') in action '{}' is not available in \
         region '{}'",
        id.category,
        id.provider,
        id.owner,
        id.version,
        action.name,
        region.to_uppercase().replace('-', "_")
    )))
}

/// Source actions are in the first stage, and only there.
fn place(position: usize, stage: &Stage, action: &Action, kind: &ActionType) -> ApiResult<()> {
    let is_source = kind.category == "Source";
    if is_source == (position == 0) {
        return Ok(());
    }
    Err(stage_error(if is_source {
        format!(
            "Stage {} has the source action {}. Only the first stage of a pipeline can contain source actions",
            stage.name, action.name
        )
    } else {
        format!(
            "Stage {} has the action {} of the category {}. The first stage of a pipeline can contain source actions \
             only",
            stage.name, action.name, kind.category
        )
    }))
}

fn counts(action: &Action, kind: &ActionType) -> ApiResult<()> {
    for (what, artifacts, (least, most)) in [
        ("input", &action.input_artifacts, kind.inputs),
        ("output", &action.output_artifacts, kind.outputs),
    ] {
        let count = artifacts.len();
        let bound = if count < least {
            format!("less than the minimum count ({least})")
        } else if count > most {
            format!("more than the maximum count ({most})")
        } else {
            continue;
        };
        return Err(action_error(format!(
            "Action {} declares {count} {what} artifacts which is {bound}",
            action.name
        )));
    }
    Ok(())
}

fn options(action: &Action, kind: &ActionType, region: &str) -> ApiResult<()> {
    if action.region.as_ref().is_some_and(|of| of != region) {
        return Err(ApiError::not_implemented(format_args!(
            "actions of other regions, such as the action {}",
            action.name
        )));
    }
    if action.timeout_in_minutes.is_some() && kind.runs != Provider::Manual {
        return Err(action_error(format!(
            "Action {} has timeoutInMinutes, which is available only to the manual approval action type",
            action.name
        )));
    }
    Ok(())
}

/// The artifacts and namespaces of the actions that were checked.
#[derive(Default)]
struct Seen {
    /// Artifacts of earlier stages and run orders.
    artifacts: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

impl Seen {
    /// Checks the artifacts and namespaces of a stage: an input is an output of an action that has ended before.
    fn stage(&mut self, stage: &Stage) -> ApiResult<()> {
        let mut orders: BTreeMap<u32, Vec<&Action>> = BTreeMap::new();
        for action in &stage.actions {
            orders.entry(action.run_order).or_default().push(action);
        }
        for actions in orders.values() {
            for action in actions {
                self.inputs(action)?;
            }
            for action in actions {
                self.outputs(action)?;
            }
        }
        Ok(())
    }

    fn inputs(&self, action: &Action) -> ApiResult<()> {
        let mut names = BTreeSet::new();
        for artifact in &action.input_artifacts {
            if !names.insert(&artifact.name) {
                return Err(action_error(format!(
                    "Action {} declares the input artifact {} more than once",
                    action.name, artifact.name
                )));
            }
            if !self.artifacts.contains(&artifact.name) {
                return Err(action_error(format!(
                    "Input artifact {} of the action {} is not an output artifact of an action before it",
                    artifact.name, action.name
                )));
            }
        }
        Ok(())
    }

    fn outputs(&mut self, action: &Action) -> ApiResult<()> {
        for artifact in &action.output_artifacts {
            if !self.artifacts.insert(artifact.name.clone()) {
                return Err(action_error(format!(
                    "Output artifact {} of the action {} is declared more than once. The names of output artifacts \
                     must be unique within a pipeline",
                    artifact.name, action.name
                )));
            }
        }
        let Some(namespace) = &action.namespace else {
            return Ok(());
        };
        if RESERVED.contains(&namespace.as_str()) {
            return Err(action_error(format!(
                "The namespace {namespace} of the action {} is reserved",
                action.name
            )));
        }
        if !self.namespaces.insert(namespace.clone()) {
            return Err(action_error(format!(
                "The namespace {namespace} of the action {} is used by another action. Namespaces must be unique \
                 within a pipeline",
                action.name
            )));
        }
        Ok(())
    }
}

/// The namespaces of a pipeline: where their variables are produced.
struct Namespaces<'a> {
    /// Stage and run order, by namespace.
    produced: BTreeMap<&'a str, (usize, u32)>,
    variables: BTreeSet<&'a str>,
}

impl<'a> Namespaces<'a> {
    fn of(pipeline: &'a Declaration) -> Self {
        let mut produced = BTreeMap::new();
        for (position, stage) in pipeline.stages.iter().enumerate() {
            for action in &stage.actions {
                if let Some(namespace) = &action.namespace {
                    produced.insert(namespace.as_str(), (position, action.run_order));
                }
            }
        }
        let variables = pipeline.variables.iter();
        Self {
            produced,
            variables: variables.map(|variable| &*variable.name).collect(),
        }
    }

    /// Checks the references of an action: their namespaces exist, and their actions have ended before.
    fn check(&self, position: usize, stage: &Stage, action: &Action) -> ApiResult<()> {
        for (key, value) in &action.configuration {
            for reference in references::all(value) {
                let refused = |why: &str| {
                    Err(action_error(format!(
                        "Valid format for a pipeline execution variable reference is a namespace and a key separated \
                         by a period (.). The following pipeline execution variables {why}. StageName=[{}], \
                         ActionName=[{}], ActionConfigurationKey=[{key}], VariableReferenceText=[{}]",
                        stage.name,
                        action.name,
                        reference
                            .text
                            .trim_start_matches("#{")
                            .trim_end_matches('}')
                    )))
                };
                let Some((namespace, name)) = reference.name else {
                    return refused("are not in this format");
                };
                let is_known = match namespace {
                    "codepipeline" => name == "PipelineExecutionId",
                    "variables" => self.variables.contains(name),
                    other => match self.produced.get(other) {
                        Some(at) if *at < (position, action.run_order) => true,
                        Some(_) => {
                            return refused(
                                "are referencing the variables of an action that does not end before",
                            );
                        }
                        None => return refused("are referencing a namespace that does not exist"),
                    },
                };
                if !is_known {
                    return refused("are referencing a variable that does not exist");
                }
            }
        }
        Ok(())
    }
}

fn variables(pipeline: &Declaration) -> ApiResult<()> {
    let mut names = BTreeSet::new();
    let mut all = pipeline.variables.iter();
    match all.find(|variable| !names.insert(&variable.name)) {
        Some(variable) => Err(structure(format!(
            "Pipeline has two variables named {}. The names of variables must be unique",
            variable.name
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

//! The checks of an action's configuration.

use super::super::catalog::{ActionType, Provider};
use super::super::declaration::Action;
use super::action_error;
use crate::api::{ApiError, ApiResult};

/// Maximum number of characters of a value. The service model has 1,000; the error of AWS that users quote has this
/// number (aws/aws-cdk#19767).
const LONGEST_VALUE: usize = 50_000;

/// The format of an artifact that is a reference to a commit, which only builds can clone.
const CLONE: &str = "CODEBUILD_CLONE_REF";

/// Properties whose feature the local cloud lacks: provider, name, and the values that need nothing.
const UNSUPPORTED: &[(Provider, &str, &[&str])] = &[
    (Provider::CodeCommit, "PollForSourceChanges", &["false"]),
    (
        Provider::CodeCommit,
        "OutputArtifactFormat",
        &["CODE_ZIP", CLONE],
    ),
    (Provider::S3, "PollForSourceChanges", &["false"]),
    (Provider::CodeBuild, "BatchEnabled", &["false"]),
    (Provider::CodeBuild, "CombineArtifacts", &["false"]),
    (Provider::CodeBuild, "EnvironmentTypeOverride", &[]),
    (Provider::CodeBuild, "ImageOverride", &[]),
];

/// Checks the configuration of an action.
pub(super) fn check(action: &Action, kind: &ActionType) -> ApiResult<()> {
    for property in kind.properties.iter().filter(|it| it.is_required) {
        if !action.configuration.contains_key(property.name) {
            return Err(missing(action, property.name));
        }
    }
    for (name, value) in &action.configuration {
        if !kind.properties.iter().any(|property| property.name == name) {
            return Err(action_error(format!(
                "Action configuration for action '{}' contains unknown configuration '{name}'",
                action.name
            )));
        }
        if value.chars().count() > LONGEST_VALUE {
            return Err(ApiError::validation(format!(
                "1 validation error detected: Value at 'configuration' of the action '{}' failed to satisfy \
                 constraint: Map value must satisfy constraint: [Member must have length less than or equal to \
                 {LONGEST_VALUE}, Member must have length greater than or equal to 1]",
                action.name
            )));
        }
        let mut unsupported = UNSUPPORTED.iter();
        let found = unsupported.find(|(runs, property, _)| *runs == kind.runs && property == name);
        if let Some((_, _, harmless)) = found
            && !harmless.iter().any(|it| value.eq_ignore_ascii_case(it))
        {
            return Err(ApiError::not_implemented(format_args!(
                "{name}={value} of the action {} ({})",
                action.name, kind.provider
            )));
        }
    }
    match kind.runs {
        // Without the property, AWS polls.
        Provider::CodeCommit | Provider::S3
            if !action.configuration.contains_key("PollForSourceChanges") =>
        {
            Err(ApiError::not_implemented(format_args!(
                "polling for source changes, which is the default of the action {}: set PollForSourceChanges to false \
                 and start the pipeline by a rule of EventBridge",
                action.name
            )))
        }
        Provider::CodeBuild => build(action),
        Provider::CloudFormation => cloudformation(action),
        _ => Ok(()),
    }
}

/// True if the output of a source action is a reference to a commit.
pub(super) fn is_clone(action: &Action) -> bool {
    let format = action.configuration.get("OutputArtifactFormat");
    format.is_some_and(|format| format.eq_ignore_ascii_case(CLONE))
}

fn missing(action: &Action, name: &str) -> ApiError {
    action_error(format!(
        "Action configuration for action '{}' is missing required configuration '{name}'",
        action.name
    ))
}

fn build(action: &Action) -> ApiResult<()> {
    let primary = action.configuration.get("PrimarySource");
    let mut inputs = action.input_artifacts.iter();
    match primary {
        None if action.input_artifacts.len() > 1 => Err(missing(action, "PrimarySource")),
        Some(name) if !name.contains("#{") && !inputs.any(|input| input.name == *name) => {
            Err(action_error(format!(
                "PrimarySource of the action '{}' is {name}, which is not one of its input artifacts",
                action.name
            )))
        }
        _ => Ok(()),
    }
}

/// The properties that a mode of the CloudFormation action needs (action reference).
fn cloudformation(action: &Action) -> ApiResult<()> {
    let has = |name: &str| action.configuration.contains_key(name);
    let mode = action.configuration.get("ActionMode").map(String::as_str);
    let needed: &[&str] = match mode.unwrap_or_default() {
        "CREATE_UPDATE" | "REPLACE_ON_FAILURE" => &["RoleArn", "TemplatePath"],
        "CHANGE_SET_REPLACE" => &["ChangeSetName", "RoleArn", "TemplatePath"],
        "CHANGE_SET_EXECUTE" => &["ChangeSetName"],
        "DELETE_ONLY" => &["RoleArn"],
        reference if reference.contains("#{") => &[],
        other => {
            return Err(action_error(format!(
                "ActionMode of the action '{}' is {other}. The modes are CREATE_UPDATE, REPLACE_ON_FAILURE, \
                 CHANGE_SET_REPLACE, CHANGE_SET_EXECUTE and DELETE_ONLY",
                action.name
            )));
        }
    };
    match needed.iter().find(|name| !has(name)) {
        Some(name) => return Err(missing(action, name)),
        None if has("OutputFileName") == action.output_artifacts.is_empty() => {
            return Err(action_error(format!(
                "Action '{}' must have both OutputFileName and an output artifact, or neither",
                action.name
            )));
        }
        None => {}
    }
    for name in ["TemplatePath", "TemplateConfiguration"] {
        let Some(path) = action.configuration.get(name) else {
            continue;
        };
        let artifact = path.split_once("::").map(|(artifact, _)| artifact);
        let is_input = |artifact: &str| {
            let mut inputs = action.input_artifacts.iter();
            artifact.contains("#{") || inputs.any(|input| input.name == artifact)
        };
        if !artifact.is_some_and(is_input) {
            return Err(action_error(format!(
                "{name} of the action '{}' must be ARTIFACT::FILE, with an input artifact of the action, and is {path}",
                action.name
            )));
        }
    }
    Ok(())
}

//! The `CodePipeline` types.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::builder::{
    argument, call, camel, element_of, list, name, physical, read, set, tags_of_arn, text,
};
use super::hooks::Hooks;
use super::table::{Argument, List, Source, Spelling, Type};
use super::target::Target;
use crate::api::ApiResult;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type::new("AWS::CodePipeline::Pipeline", "codepipeline")
    .named("Name", 100)
    .create("CreatePipeline", &[STRUCTURE, name("pipeline.name")])
    .described(
        call("GetPipeline", &[physical("name")]),
        &[
            ("Arn", "/metadata/pipelineArn"),
            ("Version", "/pipeline/version"),
        ],
    )
    .settings(&[set("UpdatePipeline", &[STRUCTURE, physical("pipeline.name")]).on_update()])
    .lists(&[List {
        // A pipeline is deleted with its transitions.
        empties: false,
        ..list(
            "DisableInboundStageTransitions",
            call(
                "DisableStageTransition",
                &[
                    physical("pipelineName"),
                    element_of("stageName", "/StageName"),
                    element_of("reason", "/Reason"),
                    text("transitionType", "Inbound"),
                ],
            ),
            call(
                "EnableStageTransition",
                &[
                    physical("pipelineName"),
                    element_of("stageName", "/StageName"),
                    text("transitionType", "Inbound"),
                ],
            ),
        )
    }])
    .tags(tags_of_arn(Spelling::LowerPairs, ARN))
    .found_by("GetPipeline", &[name("name")], "/pipeline/name")
    .live(&[
        read(
            call("GetPipeline", &[physical("name")]),
            "/pipeline",
            &[camel(
                "ArtifactStore ExecutionMode Name PipelineType RoleArn Stages Variables",
            )],
        ),
        read(
            call("ListTagsForResource", &[text("resourceArn", ARN)]),
            "",
            &[camel("Tags")],
        ),
    ])
    .delete("DeletePipeline", &[physical("name")])
    .hooks(&Pipeline, "RestartExecutionOnUpdate")];

const ARN: &str = "arn:aws:codepipeline:{region}:{account}:{physical}";

/// The structure without its name.
const STRUCTURE: Argument = argument(
    "pipeline",
    Source::Object(
        "ArtifactStore ArtifactStores ExecutionMode PipelineType RoleArn Stages Variables",
    ),
)
.form(structure);

/// The member whose keys are not those of the API: an action's configuration.
const CONFIGURATION: &str = "Configuration";

#[expect(clippy::unnecessary_wraps, reason = "a form, of which others can fail")]
fn structure(value: &Value, _: &Map<String, Value>) -> ApiResult<Value> {
    let mut structure = lowered(value);
    if let Some(Value::Array(stores)) = structure.get("artifactStores") {
        let stores = stores.iter().filter_map(|store| {
            let region = store.get("region")?.as_str()?.to_owned();
            Some((region, store.get("artifactStore")?.clone()))
        });
        let stores: Map<String, Value> = stores.collect();
        structure["artifactStores"] = stores.into();
    }
    Ok(structure)
}

/// A value with names that begin in lower case.
fn lowered(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let mut letters = name.chars();
                let first = letters.next().map(|letter| letter.to_ascii_lowercase());
                let lower: String = first.into_iter().chain(letters).collect();
                if name == CONFIGURATION {
                    (lower, configuration(value))
                } else {
                    (lower, lowered(value))
                }
            })
            .collect(),
        Value::Array(items) => items.iter().map(lowered).collect(),
        other => other.clone(),
    }
}

/// The configuration of an action, which can be JSON text: every scalar is text.
fn configuration(value: &Value) -> Value {
    let parsed = value
        .as_str()
        .map(|text| crate::limits::document(text.as_bytes()));
    let value = parsed.and_then(Result::ok).unwrap_or_else(|| value.clone());
    let Value::Object(members) = &value else {
        return value;
    };
    let members = members.iter().map(|(name, value)| {
        let text = match value {
            Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
            other => other.clone(),
        };
        (name.clone(), text)
    });
    members.collect()
}

struct Pipeline;

#[async_trait]
impl Hooks for Pipeline {
    /// Starts an execution after an update, if the template requests it.
    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        let attributes = target.update().await?;
        if target.text("RestartExecutionOnUpdate") == "true" {
            let input = Map::from_iter([("name".to_owned(), json!(target.physical))]);
            target.request("StartPipelineExecution", input).await?;
        }
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_structure_are_lowered_but_not_those_of_configurations() {
        let value = json!({
            "RoleArn": "r",
            "ArtifactStores": [{"Region": "us-east-1", "ArtifactStore": {"Type": "S3", "Location": "b"}}],
            "Stages": [{"Name": "S", "Actions": [{
                "ActionTypeId": {"Category": "Source"},
                "Configuration": {"PollForSourceChanges": false, "RepositoryName": "r"},
            }]}],
        });
        let expected = json!({
            "roleArn": "r",
            "artifactStores": {"us-east-1": {"type": "S3", "location": "b"}},
            "stages": [{"name": "S", "actions": [{
                "actionTypeId": {"category": "Source"},
                "configuration": {"PollForSourceChanges": "false", "RepositoryName": "r"},
            }]}],
        });
        assert_eq!(structure(&value, &Map::new()).unwrap(), expected);
    }
}

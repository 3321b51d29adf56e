//! Build and test actions of `CodeBuild`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::records::Location;
use super::{Failure, Outcome, Output, Running};
use crate::clock::Work;
use crate::codebuild::{self, PipelineArtifact, PipelineBuild, VariableType};

/// An element of `EnvironmentVariables`.
#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

pub(super) async fn run(running: &Running<'_>, work: &mut Option<Work>) -> Outcome {
    let artifact = |name: &str, location: &Location| PipelineArtifact {
        name: name.to_owned(),
        bucket: location.bucket.clone(),
        key: location.key.clone(),
        clone: location.clone.clone(),
    };
    let inputs = running.run.inputs.iter();
    let inputs: Vec<_> = inputs.map(|(name, at)| artifact(name, at)).collect();
    let mut places = Vec::new();
    for output in &running.action.output_artifacts {
        let place = running.place(&output.name)?;
        places.push((output.name.clone(), place.location));
    }
    let primary = running.get("PrimarySource").map(str::to_owned);
    let source = primary
        .as_deref()
        .or(inputs.first().map(|input| input.name.as_str()));
    let mut revisions = running.execution.revisions.iter();
    let revision = revisions.find(|it| Some(it.artifact.as_str()) == source);
    let store = running.structure.store(running.cloud.region());
    let key = store.and_then(|store| store.encryption_key.as_ref());
    let build = PipelineBuild {
        project: running.text("ProjectName").to_owned(),
        pipeline: running.launch.pipeline.clone(),
        execution: running.execution.id.clone(),
        inputs,
        revision: revision.map(|revision| revision.id.clone()),
        primary,
        outputs: places.iter().map(|(name, at)| artifact(name, at)).collect(),
        buildspec: running.get("BuildspecOverride").map(str::to_owned),
        variables: variables(running.get("EnvironmentVariables"))?,
        encryption_key: key.map(|key| key.id.clone()),
        token: Some(running.run.id.clone()),
    };
    if !running.is_open()? {
        return Ok(None);
    }
    let id = codebuild::start_for_pipeline(running.cloud, build).await?;
    running
        .note(|run| run.external_id = Some(id.clone()))
        .await?;
    let Some(build) = wait(running, &id, work).await? else {
        return Ok(None);
    };
    let status = build["buildStatus"].as_str().unwrap_or_default();
    if status != "SUCCEEDED" {
        return Err(failed(status, &build));
    }
    let exported = build["exportedEnvironmentVariables"].as_array();
    let exported = exported.into_iter().flatten().filter_map(|variable| {
        let text = |name: &str| Some(variable[name].as_str()?.to_owned());
        Some((text("name")?, text("value").unwrap_or_default()))
    });
    let variables: BTreeMap<String, String> = exported.collect();
    Ok(Some(Output {
        external_id: Some(id),
        variables,
        artifacts: places,
        ..Output::default()
    }))
}

/// The environment variables of the configuration: name, value and type.
fn variables(text: Option<&str>) -> Result<Vec<(String, String, VariableType)>, Failure> {
    let wrong = |why: String| {
        let message = format!("EnvironmentVariables is not a list of environment variables: {why}");
        Failure::new("ConfigurationError", message)
    };
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    let value = crate::limits::document(text.as_bytes()).map_err(wrong)?;
    let listed: Vec<Variable> =
        serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
    let listed = listed.into_iter().map(|variable| {
        let kind = match variable.kind.as_deref() {
            None | Some("PLAINTEXT") => VariableType::Plaintext,
            Some("PARAMETER_STORE") => VariableType::ParameterStore,
            Some(other) => {
                let what = format!("environment variables of the type {other}");
                return Err(Failure::from(crate::api::ApiError::not_implemented(what)));
            }
        };
        Ok((variable.name, variable.value, kind))
    });
    listed.collect()
}

/// The build after its end; `None` if the action has ended before.
async fn wait(
    running: &Running<'_>,
    id: &str,
    work: &mut Option<Work>,
) -> Result<Option<Value>, Failure> {
    let clock = running.cloud.clock();
    loop {
        let seen = clock.announced(codebuild::BUILDS);
        let request = json!({"ids": [id]});
        let found = running
            .cloud
            .call("codebuild", "BatchGetBuilds", request)
            .await?;
        let build = found["builds"][0].clone();
        if build.is_null() {
            return Err(Failure::new(
                "JobFailed",
                format!("the build {id} does not exist"),
            ));
        }
        let log = build["logs"]["cloudWatchLogsArn"]
            .as_str()
            .map(str::to_owned);
        if build["buildStatus"] != "IN_PROGRESS" {
            running.note(|run| run.log_stream.clone_from(&log)).await?;
            return Ok(Some(build));
        }
        if !running.is_open()? {
            return Ok(None);
        }
        let deadline = jiff::Timestamp::from_millisecond(running.run.deadline);
        let deadline = deadline.unwrap_or(jiff::Timestamp::MAX);
        match work {
            Some(work) if clock.now() < deadline => {
                work.sleep_until_announced(deadline, codebuild::BUILDS, seen)
                    .await;
            }
            _ => return Ok(None),
        }
    }
}

/// The error of a build that did not succeed, in the words of AWS.
fn failed(status: &str, build: &Value) -> Failure {
    let phases = build["phases"].as_array();
    let mut phases = phases.into_iter().flatten();
    let phase = phases.find(|phase| {
        let status = phase["phaseStatus"].as_str();
        status.is_some_and(|status| status != "SUCCEEDED")
    });
    let mut message = format!("Build terminated with state: {status}");
    if let Some(phase) = phase {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let context = &phase["contexts"][0];
        message = format!(
            "{message}. Phase: {}, Code: {}, Message: {}",
            text(&phase["phaseType"]),
            text(&context["statusCode"]),
            text(&context["message"])
        );
    }
    Failure::new("JobFailed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_variables_are_a_list_of_objects() {
        let text = r#"[{"name": "A", "value": "1"}, {"name": "B", "value": "/b", "type": "PARAMETER_STORE"}]"#;
        let found = variables(Some(text)).unwrap();
        let expected = [
            ("A".to_owned(), "1".to_owned(), VariableType::Plaintext),
            (
                "B".to_owned(),
                "/b".to_owned(),
                VariableType::ParameterStore,
            ),
        ];
        assert_eq!(found, expected);
        assert!(variables(None).unwrap().is_empty());
        for wrong in [
            "{}",
            "[{}]",
            "x",
            r#"[{"name": "A", "value": "1", "type": "SECRETS_MANAGER"}]"#,
        ] {
            assert!(variables(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_message_names_the_phase_that_failed() {
        let build = json!({"phases": [
            {"phaseType": "INSTALL", "phaseStatus": "SUCCEEDED"},
            {"phaseType": "BUILD", "phaseStatus": "FAILED", "contexts": [
                {"statusCode": "COMMAND_EXECUTION_ERROR", "message": "exit status 1"}]}]});
        let failure = failed("FAILED", &build);
        assert_eq!(
            failure.error.unwrap().message,
            "Build terminated with state: FAILED. Phase: BUILD, Code: COMMAND_EXECUTION_ERROR, Message: exit status 1"
        );
    }
}

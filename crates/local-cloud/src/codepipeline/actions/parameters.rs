//! The files and parameters of a CloudFormation action: template, template configuration, and overrides with their
//! functions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::records::Location;
use super::{Failure, Running, artifacts};

/// Maximum size of a template, in bytes (CloudFormation's quota).
const MAX_TEMPLATE: u64 = 1 << 20;

/// Maximum size of a template in a request, in bytes; larger ones are read from S3.
const MAX_BODY: usize = 51_200;

/// Maximum size of a configuration file or of a JSON file in an artifact, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Maximum number of characters of the parameters of a stack: a parameter has at most 4,096 bytes.
const LONGEST: usize = 4096;

fn wrong(message: impl Into<String>) -> Failure {
    Failure::new("ConfigurationError", message)
}

/// The place of an input artifact.
fn artifact<'a>(running: &'a Running<'_>, name: &str) -> Result<&'a Location, Failure> {
    let mut inputs = running.run.inputs.iter();
    let found = inputs.find(|(input, _)| input == name);
    let missing = || {
        let action = &running.action.name;
        wrong(format!(
            "{name} is not an input artifact of the action {action}"
        ))
    };
    found.map(|(_, location)| location).ok_or_else(missing)
}

/// Reads a file of an input artifact.
async fn file(
    running: &Running<'_>,
    name: &str,
    file: &str,
    largest: u64,
) -> Result<Vec<u8>, Failure> {
    let (location, path) = (artifact(running, name)?.clone(), file.to_owned());
    let read = running.blocking(move |cloud, caller| {
        artifacts::read_file(cloud, caller, &location, &path, largest)
    });
    // AWS's words, as users quote them.
    read.await?
        .ok_or_else(|| wrong(format!("File [{file}] does not exist in artifact [{name}]")))
}

/// Reads the file of a property `ARTIFACT::FILE`.
async fn file_of(running: &Running<'_>, property: &str, largest: u64) -> Result<Vec<u8>, Failure> {
    let path = running.text(property);
    let (name, path) = path
        .split_once("::")
        .ok_or_else(|| wrong(format!("{property} is {path}, and not ARTIFACT::FILE")))?;
    file(running, name, path, largest).await
}

/// Adds the template to a request.
pub(super) async fn template(
    running: &Running<'_>,
    request: &mut Map<String, Value>,
) -> Result<(), Failure> {
    let bytes = file_of(running, "TemplatePath", MAX_TEMPLATE).await?;
    if bytes.len() > MAX_BODY {
        let place = running.place("template")?;
        let location = place.location.clone();
        running
            .blocking(move |cloud, caller| place.put(cloud, caller, &mut bytes.as_slice()))
            .await?;
        let url = format!(
            "{}/{}/{}",
            running.cloud.endpoint(),
            location.bucket,
            location.key
        );
        request.insert("TemplateURL".to_owned(), json!(url));
        return Ok(());
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("the template is not UTF-8"))?;
    request.insert("TemplateBody".to_owned(), json!(text));
    Ok(())
}

/// The template configuration file.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Configuration {
    parameters: BTreeMap<String, Value>,
    tags: BTreeMap<String, String>,
    stack_policy: Option<Value>,
}

/// Adds parameters, tags and a stack policy to a request.
pub(super) async fn configuration(
    running: &Running<'_>,
    request: &mut Map<String, Value>,
) -> Result<(), Failure> {
    let mut found = Configuration::default();
    if running.get("TemplateConfiguration").is_some() {
        let bytes = file_of(running, "TemplateConfiguration", MAX_FILE).await?;
        let broken = |why: String| wrong(format!("the template configuration is not valid: {why}"));
        let value = crate::limits::document(&bytes).map_err(broken)?;
        found = serde_json::from_value(value).map_err(|error| broken(error.to_string()))?;
    }
    let mut parameters = found.parameters;
    if let Some(text) = running.get("ParameterOverrides") {
        let broken = |why: String| wrong(format!("ParameterOverrides is not a JSON object: {why}"));
        let value = crate::limits::document(text.as_bytes()).map_err(broken)?;
        let overrides: BTreeMap<String, Value> =
            serde_json::from_value(value).map_err(|error| broken(error.to_string()))?;
        for (name, value) in overrides {
            let value = evaluate(running, &name, value).await?;
            parameters.insert(name, value);
        }
    }
    let mut listed = Vec::new();
    for (name, value) in parameters {
        let value = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            // A list of texts is the value of a list parameter.
            Value::Array(items) if items.iter().all(Value::is_string) => {
                let items = items.iter().filter_map(Value::as_str);
                items.collect::<Vec<_>>().join(",")
            }
            _ => {
                return Err(wrong(format!(
                    "the value of the parameter {name} is not text"
                )));
            }
        };
        if value.len() > LONGEST {
            return Err(wrong(format!(
                "the value of the parameter {name} has more than {LONGEST} bytes"
            )));
        }
        listed.push(json!({"ParameterKey": name, "ParameterValue": value}));
    }
    if !listed.is_empty() {
        request.insert("Parameters".to_owned(), listed.into());
    }
    if !found.tags.is_empty() {
        let tags = found.tags.into_iter();
        let tags: Value = tags
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        request.insert("Tags".to_owned(), tags);
    }
    if let Some(policy) = found.stack_policy {
        // CloudFormation refuses it by name.
        request.insert("StackPolicyBody".to_owned(), json!(policy.to_string()));
    }
    Ok(())
}

/// The value of an override: text, or a function of an input artifact.
async fn evaluate(running: &Running<'_>, name: &str, value: Value) -> Result<Value, Failure> {
    let Value::Object(object) = &value else {
        return Ok(value);
    };
    let unknown = || {
        wrong(format!(
            "the value of the parameter {name} is not text, Fn::GetArtifactAtt or Fn::GetParam"
        ))
    };
    let mut members = object.iter();
    let (Some((function, arguments)), None) = (members.next(), members.next()) else {
        return Err(unknown());
    };
    let arguments = arguments.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Option<Vec<&str>> = arguments.iter().map(Value::as_str).collect();
    match (function.as_str(), texts.as_deref()) {
        ("Fn::GetArtifactAtt", Some([name, attribute])) => {
            let location = artifact(running, name)?;
            let Location { bucket, key, .. } = location;
            match *attribute {
                "BucketName" => Ok(json!(bucket)),
                "ObjectKey" => Ok(json!(key)),
                "URL" => Ok(json!(format!(
                    "{}/{bucket}/{key}",
                    running.cloud.endpoint()
                ))),
                other => Err(wrong(format!("an artifact has no attribute {other}"))),
            }
        }
        ("Fn::GetParam", Some([name, path, key])) => {
            let bytes = file(running, name, path, MAX_FILE).await?;
            let broken =
                |why: String| wrong(format!("{path} in the artifact {name} is not JSON: {why}"));
            let value = crate::limits::document(&bytes).map_err(broken)?;
            value
                .get(key)
                .cloned()
                .ok_or_else(|| wrong(format!("{path} in the artifact {name} has no key {key}")))
        }
        _ => Err(unknown()),
    }
}

//! Life-cycle configurations of notebook instances.

use base64::Engine;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::records::Records;
use super::super::requests::{ListRequest, ResourceName, Stored, check_name};
use crate::Cloud;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};

pub(super) const LIFECYCLES: Records = Records {
    kind: "notebook-lifecycle",
    name: "NotebookInstanceLifecycleConfigName",
    arn: "NotebookInstanceLifecycleConfigArn",
    resource: "notebook-instance-lifecycle-config",
    title: "notebook instance lifecycle config",
    absent: None,
    list: "NotebookInstanceLifecycleConfigs",
    summary: &["CreationTime", "LastModifiedTime"],
    announce: None,
};

/// A script's limit in characters of Base64 (service model: `NotebookInstanceLifecycleConfigContent`).
const MAX_SCRIPT: usize = 16384;

/// A request that creates or changes a configuration.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Lifecycle {
    notebook_instance_lifecycle_config_name: String,
    on_create: Option<Vec<Script>>,
    on_start: Option<Vec<Script>>,
    tags: Option<Tags>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Script {
    content: Option<String>,
}

impl Lifecycle {
    fn check_scripts(&self) -> ApiResult<()> {
        for (member, scripts) in [("OnCreate", &self.on_create), ("OnStart", &self.on_start)] {
            for script in scripts.iter().flatten() {
                let content = script.content.as_deref().unwrap_or_default();
                let decoded = base64::engine::general_purpose::STANDARD.decode(content);
                if content.len() > MAX_SCRIPT || decoded.is_err() {
                    return Err(ApiError::validation(format!(
                        "{member}: Content must be a Base64-encoded script of at most {MAX_SCRIPT} \
                         characters"
                    )));
                }
            }
        }
        Ok(())
    }
}

pub(super) async fn create(cloud: &Cloud, input: Stored<Lifecycle>) -> ApiResult<Value> {
    let name = &input.notebook_instance_lifecycle_config_name;
    check_name(name, LIFECYCLES.name, 63)?;
    input.check_scripts()?;
    let record = input.pick(&[LIFECYCLES.name, "OnCreate", "OnStart"]);
    LIFECYCLES.create(cloud, name, record, input.tags.as_ref())
}

pub(super) async fn describe(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    LIFECYCLES.get(cloud, &input.name)
}

pub(super) async fn list(cloud: &Cloud, input: ListRequest) -> ApiResult<Value> {
    LIFECYCLES.list(cloud, &input)
}

pub(super) async fn update(cloud: &Cloud, input: Stored<Lifecycle>) -> ApiResult<Value> {
    input.check_scripts()?;
    let name = &input.notebook_instance_lifecycle_config_name;
    LIFECYCLES.change(cloud, name, |record| {
        let changed = input.pick(&["OnCreate", "OnStart"]);
        if let (Value::Object(record), Value::Object(changed)) = (record, changed) {
            record.extend(changed);
        }
        Ok(())
    })?;
    Ok(json!({}))
}

pub(super) async fn delete(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    LIFECYCLES.delete(cloud, &input.name)
}

/// A script of a configuration, decoded; `None` if it has none.
pub(super) fn script(cloud: &Cloud, config: &str, member: &str) -> ApiResult<Option<Vec<u8>>> {
    let record = LIFECYCLES.get(cloud, config)?;
    // The service model allows one script.
    let content = record[member][0]["Content"].as_str();
    let decode = |content| base64::engine::general_purpose::STANDARD.decode(content);
    content.map(decode).transpose().map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_base64() {
        let check = |content: &str| {
            let name = "NotebookInstanceLifecycleConfigName";
            let request = json!({name: "n", "OnStart": [{"Content": content}]});
            crate::api::parse::<Lifecycle>(request)?.check_scripts()
        };
        assert!(check("IyEvYmluL3No").is_ok());
        assert!(check("#!/bin/sh").is_err());
    }
}

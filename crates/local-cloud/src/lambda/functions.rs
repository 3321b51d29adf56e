//! Functions: their records and the operations that change them.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::code::{self, CodeSource, Zip};
use super::records::{FunctionRecord, find, records};
use super::settings::{self, Settings};
use super::states::{FunctionState, UpdateStatus};
use super::{conflict, invalid, name_of, not_found, pool};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, beneath};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FunctionName {
    function_name: String,
    qualifier: Option<String>,
}

impl FunctionName {
    fn name(&self, cloud: &Cloud) -> ApiResult<String> {
        name_of(cloud, &self.function_name, self.qualifier.as_deref())
    }
}

/// The function that a request names; the service model requires it.
fn named(cloud: &Cloud, given: Option<&str>) -> ApiResult<String> {
    let given = given.ok_or_else(|| ApiError::validation("FunctionName is required"))?;
    name_of(cloud, given, None)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateFunction {
    function_name: Option<String>,
    #[serde(default)]
    code: CodeSource,
    #[serde(default)]
    tags: Tags,
    architectures: Option<Vec<String>>,
    package_type: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

pub(super) async fn create(cloud: &Cloud, input: CreateFunction) -> ApiResult<Value> {
    let name = named(cloud, input.function_name.as_deref())?;
    let settings = input.settings;
    if input.package_type.is_some_and(|kind| kind != "Zip") {
        return Err(ApiError::not_implemented("functions from container images"));
    }
    settings.check(cloud)?;
    let mut configuration = settings.first(cloud, &name, settings::machine())?;
    let runtime = configuration["Runtime"].as_str().unwrap_or_default();
    if let Some(architecture) = settings::architecture(input.architectures, runtime)? {
        configuration["Architectures"] = json!([architecture]);
    }
    if configuration["Role"].is_null() {
        return Err(ApiError::validation("Role is required"));
    }
    let taken = || conflict(format!("Function already exist: {name}"));
    if records(cloud).get(&name)?.is_some() {
        return Err(taken());
    }
    let zip = code::keep(cloud, input.code).await?;
    configuration["State"] = json!(FunctionState::Pending);
    configuration["StateReason"] = json!("The function is being created.");
    configuration["StateReasonCode"] = json!("Creating");
    let mut record = FunctionRecord {
        configuration,
        code: String::new(),
        tags: input.tags.into_map(),
        policy: Vec::new(),
        active: None,
    };
    record.take_code(zip);
    record.touch();
    if !records(cloud).insert(&name, &record)? {
        return Err(taken());
    }
    settle(cloud, name);
    Ok(record.configuration)
}

impl FunctionRecord {
    fn take_code(&mut self, zip: Zip) {
        self.configuration["CodeSha256"] = json!(zip.base64);
        self.configuration["CodeSize"] = json!(zip.size);
        self.code = zip.sha256;
    }

    /// Records a change: a new revision and modification time.
    pub(super) fn touch(&mut self) {
        self.configuration["RevisionId"] = json!(uuid::Uuid::new_v4().to_string());
        self.configuration["LastModified"] = json!(
            jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%S.%3f+0000")
                .to_string()
        );
    }

    /// Fails if the revision is not the expected one.
    pub(super) fn expect_revision(&self, expected: Option<&str>) -> ApiResult<()> {
        if expected.is_some_and(|expected| self.configuration["RevisionId"] != expected) {
            return Err(ApiError::new(
                "PreconditionFailedException",
                "The Revision Id provided does not match the latest Revision Id. Call the \
                 GetFunction/GetAlias API to retrieve the latest Revision Id",
            )
            .status(412));
        }
        Ok(())
    }

    /// Begins an update. It is refused while another is in progress, or if the revision is not the expected
    /// one.
    fn begin(&mut self, expected: Option<&str>) -> ApiResult<()> {
        if self.is_in_progress() {
            return Err(conflict(format!(
                "The operation cannot be performed at this time. An update is in progress for \
                 resource: {}",
                self.configuration["FunctionArn"]
                    .as_str()
                    .unwrap_or_default()
            )));
        }
        self.expect_revision(expected)?;
        let configuration = &mut self.configuration;
        configuration["LastUpdateStatus"] = json!(UpdateStatus::InProgress);
        configuration["LastUpdateStatusReason"] = json!("The function is being created.");
        configuration["LastUpdateStatusReasonCode"] = json!("Creating");
        Ok(())
    }

    fn is_in_progress(&self) -> bool {
        FunctionState::of(&self.configuration) == Some(FunctionState::Pending)
            || UpdateStatus::of(&self.configuration) == Some(UpdateStatus::InProgress)
    }

    /// Records the end of a creation or an update.
    fn end(&mut self, result: ApiResult<()>) -> ApiResult<()> {
        let pending = FunctionState::of(&self.configuration) == Some(FunctionState::Pending);
        let configuration = &mut self.configuration;
        for member in ["StateReason", "StateReasonCode"]
            .into_iter()
            .chain(["LastUpdateStatusReason", "LastUpdateStatusReasonCode"])
        {
            configuration[member] = Value::Null;
        }
        match result {
            Ok(()) => {
                configuration["State"] = json!(FunctionState::Active);
                configuration["LastUpdateStatus"] = json!(UpdateStatus::Successful);
                self.active = Some(settings::plan(&self.configuration, &self.code)?);
            }
            Err(error) => {
                let (prefix, failed) = if pending {
                    ("State", json!(FunctionState::Failed))
                } else {
                    ("LastUpdateStatus", json!(UpdateStatus::Failed))
                };
                configuration[prefix] = failed;
                configuration[format!("{prefix}Reason")] = json!(error.message);
                let code = if error.status < 500 {
                    "InvalidZipFileException"
                } else {
                    "InternalError"
                };
                configuration[format!("{prefix}ReasonCode")] = json!(code);
            }
        }
        Ok(())
    }
}

/// Unpacks the code in the background, then activates the record's configuration.
fn settle(cloud: &Cloud, name: String) {
    let (owned, key) = (cloud.clone(), name.clone());
    let work = async move {
        let Ok(Some(record)) = records(&owned).get(&key) else {
            return;
        };
        let revision = record.configuration["RevisionId"].clone();
        let result = code::unpack(&owned, &record.code).await;
        // A function that was deleted in the meantime has no record, and a new one of its name has its
        // own task.
        let write = || {
            records(&owned).update(&key, |record| {
                if record.configuration["RevisionId"] == revision {
                    record.end(result.clone())
                } else {
                    Ok(())
                }
            })
        };
        let _ = owned.persist(&format!("function {key}"), write).await;
        pool::retire(&owned, &key).await;
    };
    supervise(cloud, name, work);
}

/// Runs the work that completes a creation or an update. If it panics, the creation or update fails.
fn supervise(cloud: &Cloud, name: String, work: impl Future<Output = ()> + Send + 'static) {
    let (broken, what) = (cloud.clone(), format!("function {name}"));
    cloud.spawn(what.clone(), work, move |error| async move {
        let write = || {
            records(&broken).update(&name, |record| {
                if record.is_in_progress() {
                    record.end(Err(error.clone()))
                } else {
                    Ok(())
                }
            })
        };
        let _ = broken.persist(&what, write).await;
    });
}

/// Resumes the creations and updates that were in progress when the server ended, and removes code that no
/// function uses.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    // Environments of the previous server.
    let state = cloud.directory();
    beneath::discard(state, &state.join("lambda"));
    let (mut used, mut under_way) = (BTreeSet::new(), Vec::new());
    for (name, record) in records(cloud).list("")? {
        if record.is_in_progress() {
            under_way.push(name);
        }
        used.insert(record.code);
        used.extend(record.active.map(|plan| plan.code));
    }
    let entries = std::fs::read_dir(cloud.directory().join("functions"));
    for entry in entries.into_iter().flatten().flatten() {
        if !used.contains(entry.file_name().to_string_lossy().as_ref()) {
            beneath::discard(state, &entry.path());
        }
    }
    // After the clean-up: each unpacks into a separate directory there.
    for name in under_way {
        settle(cloud, name);
    }
    Ok(())
}

pub(super) async fn get(cloud: &Cloud, input: FunctionName) -> ApiResult<Value> {
    let record = find(cloud, &input.name(cloud)?)?;
    let mut answer = json!({
        "Configuration": record.configuration,
        "Code": {
            "RepositoryType": "S3",
            "Location": super::download::location(cloud, &record.code),
        },
    });
    if !record.tags.is_empty() {
        answer["Tags"] = json!(record.tags);
    }
    Ok(answer)
}

pub(super) async fn get_configuration(cloud: &Cloud, input: FunctionName) -> ApiResult<Value> {
    Ok(find(cloud, &input.name(cloud)?)?.configuration)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ListFunctions {
    marker: Option<String>,
    max_items: Option<String>,
}

pub(super) async fn list(cloud: &Cloud, input: ListFunctions) -> ApiResult<Value> {
    let limit = match input.max_items {
        None => 50,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|limit| (1..=10_000).contains(limit))
            .ok_or_else(|| {
                ApiError::validation(format!("MaxItems {text} is not between 1 and 10000"))
            })?
            // AWS returns at most 50, regardless of the request.
            .min(50),
    };
    let after = input.marker.unwrap_or_default();
    let mut functions: Vec<(String, Value)> = records(cloud)
        .list("")?
        .into_iter()
        .filter(|(name, _)| *name > after)
        .map(|(name, record)| (name, record.configuration))
        .collect();
    let more = functions.len() > limit;
    functions.truncate(limit);
    let marker = more.then(|| functions.last().map(|(name, _)| name.clone()));
    let functions: Vec<Value> = functions
        .into_iter()
        .map(|(_, mut shown)| {
            // Lists have the configuration without its state.
            if let Some(members) = shown.as_object_mut() {
                members.retain(|name, _| {
                    !name.starts_with("State") && !name.starts_with("LastUpdateStatus")
                });
            }
            shown
        })
        .collect();
    Ok(json!({"Functions": functions, "NextMarker": marker.flatten()}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateCode {
    function_name: Option<String>,
    #[serde(flatten)]
    code: CodeSource,
    architectures: Option<Vec<String>>,
    revision_id: Option<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    publish: bool,
    /// Members that are not read here; `settings` refuses unsupported ones.
    #[serde(flatten)]
    settings: Settings,
}

pub(super) async fn update_code(cloud: &Cloud, input: UpdateCode) -> ApiResult<Value> {
    let name = named(cloud, input.function_name.as_deref())?;
    let before = find(cloud, &name)?;
    let (revision, dry) = (input.revision_id, input.dry_run);
    if input.publish {
        return Err(ApiError::not_implemented("published versions of functions"));
    }
    let runtime = before.configuration["Runtime"].as_str().unwrap_or_default();
    let architecture = settings::architecture(input.architectures, runtime)?;
    input.settings.check(cloud)?;
    let zip = code::keep(cloud, input.code).await?;
    let change = |record: &mut FunctionRecord| {
        record.begin(revision.as_deref())?;
        record.take_code(zip);
        if let Some(architecture) = architecture {
            record.configuration["Architectures"] = json!([architecture]);
        }
        record.touch();
        Ok(record.configuration.clone())
    };
    if dry {
        let mut record = before;
        return change(&mut record);
    }
    changed(cloud, name, change)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateConfiguration {
    function_name: Option<String>,
    revision_id: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

pub(super) async fn update_configuration(
    cloud: &Cloud,
    input: UpdateConfiguration,
) -> ApiResult<Value> {
    let name = named(cloud, input.function_name.as_deref())?;
    find(cloud, &name)?;
    let (revision, settings) = (input.revision_id, input.settings);
    settings.check(cloud)?;
    changed(cloud, name, |record| {
        record.begin(revision.as_deref())?;
        settings.merge(&mut record.configuration);
        record.touch();
        Ok(record.configuration.clone())
    })
}

fn changed(
    cloud: &Cloud,
    name: String,
    change: impl FnOnce(&mut FunctionRecord) -> ApiResult<Value>,
) -> ApiResult<Value> {
    let shown = records(cloud)
        .update(&name, change)?
        .ok_or_else(|| not_found(cloud, &name))?;
    settle(cloud, name);
    Ok(shown)
}

pub(super) async fn delete(cloud: &Cloud, input: FunctionName) -> ApiResult<Value> {
    if input.qualifier.is_some() {
        return Err(invalid(
            "$LATEST version cannot be deleted without deleting the function.",
        ));
    }
    let name = input.name(cloud)?;
    if !records(cloud).remove(&name)? {
        return Err(not_found(cloud, &name));
    }
    tokio::join!(pool::retire(cloud, &name), pool::store_logs(cloud, &name));
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    #[tokio::test]
    async fn a_creation_that_panics_fails_the_function() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let record: FunctionRecord = serde_json::from_value(json!({
            "configuration": {"State": "Pending"}, "code": "", "tags": {}, "active": null,
        }))
        .unwrap();
        records(&cloud).put("f", &record).unwrap();
        supervise(&cloud, "f".to_owned(), async { panic!("boom") });
        cloud.idle().await;
        let configuration = records(&cloud).get("f").unwrap().unwrap().configuration;
        assert_eq!(configuration["State"], "Failed");
        assert_eq!(configuration["StateReasonCode"], "InternalError");
        let reason = configuration["StateReason"].as_str().unwrap();
        assert!(reason.contains("boom"), "{reason}");
    }
}

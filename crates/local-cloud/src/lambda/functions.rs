//! Functions: their records, and what changes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::code::{self, Given, Zip};
use super::settings::{self, Settings};
use super::{conflict, invalid, name_of, not_found, pool};
use crate::api::{ApiError, ApiResult, parse};
use crate::store::Collection;
use crate::{Cloud, beneath};

/// A function as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// The answer of `GetFunctionConfiguration`.
    pub(super) configuration: Value,
    /// The hex SHA-256 of its zip.
    code: String,
    /// Its tags.
    pub(super) tags: BTreeMap<String, String>,
    /// What invocations run; none until the function is active. While an update is in progress it
    /// is what was there before.
    active: Option<Plan>,
}

/// What an invocation runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) arn: String,
    /// The hex SHA-256 of the zip.
    pub(super) code: String,
    pub(super) runtime: String,
    pub(super) handler: String,
    /// Seconds.
    pub(super) timeout: u64,
    /// MB; a number that the function is told, not a limit.
    pub(super) memory: u64,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) log_group: String,
    /// Environments of another revision are not used any more.
    pub(super) revision: String,
}

pub(super) fn records(cloud: &Cloud) -> Collection<'_, Record> {
    cloud.store().collection("lambda", "function")
}

pub(super) fn find(cloud: &Cloud, name: &str) -> ApiResult<Record> {
    records(cloud)
        .get(name)?
        .ok_or_else(|| not_found(cloud, name))
}

/// What an invocation of the function runs now.
pub(super) fn active(cloud: &Cloud, name: &str) -> ApiResult<Plan> {
    let record = find(cloud, name)?;
    let state = record.configuration["State"].as_str().unwrap_or_default();
    record.active.ok_or_else(|| {
        conflict(format!(
            "The operation cannot be performed at this time. The function is currently in the \
             following state: {state}"
        ))
    })
}

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

/// A request whose settings are read in two steps: some members are no settings.
fn split(input: Value) -> ApiResult<(String, Settings)> {
    let mut settings: Settings = parse(input)?;
    let name = settings
        .take("FunctionName")
        .and_then(|name| name.as_str().map(str::to_owned))
        .ok_or_else(|| ApiError::validation("FunctionName is required"))?;
    Ok((name, settings))
}

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let (name, mut settings) = split(input)?;
    let name = name_of(cloud, &name, None)?;
    let given: Given = parse(settings.take("Code").unwrap_or_default())?;
    let tags: BTreeMap<String, String> = match settings.take("Tags") {
        Some(tags) => parse(tags)?,
        None => BTreeMap::new(),
    };
    let architectures = settings.take("Architectures");
    match settings.take("PackageType") {
        None => {}
        Some(kind) if kind == "Zip" => {}
        Some(_) => return Err(ApiError::not_implemented("functions made of an image")),
    }
    settings.check(cloud)?;
    let mut configuration = settings.first(cloud, &name, settings::machine())?;
    let runtime = configuration["Runtime"].as_str().unwrap_or_default();
    if let Some(architecture) = settings::architecture(architectures, runtime)? {
        configuration["Architectures"] = json!([architecture]);
    }
    if configuration["Role"].is_null() {
        return Err(ApiError::validation("Role is required"));
    }
    let taken = || conflict(format!("Function already exist: {name}"));
    if records(cloud).get(&name)?.is_some() {
        return Err(taken());
    }
    let zip = code::keep(cloud, given).await?;
    configuration["State"] = json!("Pending");
    configuration["StateReason"] = json!("The function is being created.");
    configuration["StateReasonCode"] = json!("Creating");
    let mut record = Record {
        configuration,
        code: String::new(),
        tags,
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

impl Record {
    fn take_code(&mut self, zip: Zip) {
        self.configuration["CodeSha256"] = json!(zip.base64);
        self.configuration["CodeSize"] = json!(zip.size);
        self.code = zip.sha256;
    }

    /// A change: a new revision, at this time.
    fn touch(&mut self) {
        self.configuration["RevisionId"] = json!(uuid::Uuid::new_v4().to_string());
        self.configuration["LastModified"] = json!(
            jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%S.%3f+0000")
                .to_string()
        );
    }

    /// An update begins; refused while another goes on, or on another revision than expected.
    fn begin(&mut self, expected: Option<&str>) -> ApiResult<()> {
        if self.under_way() {
            return Err(conflict(format!(
                "The operation cannot be performed at this time. An update is in progress for \
                 resource: {}",
                self.configuration["FunctionArn"]
                    .as_str()
                    .unwrap_or_default()
            )));
        }
        if expected.is_some_and(|expected| self.configuration["RevisionId"] != expected) {
            return Err(ApiError::new(
                "PreconditionFailedException",
                "The Revision Id provided does not match the latest Revision Id. Call the \
                 GetFunction/GetAlias API to retrieve the latest Revision Id",
            )
            .status(412));
        }
        let configuration = &mut self.configuration;
        configuration["LastUpdateStatus"] = json!("InProgress");
        configuration["LastUpdateStatusReason"] = json!("The function is being created.");
        configuration["LastUpdateStatusReasonCode"] = json!("Creating");
        Ok(())
    }

    fn under_way(&self) -> bool {
        self.configuration["State"] == "Pending"
            || self.configuration["LastUpdateStatus"] == "InProgress"
    }

    /// The end of a creation or an update.
    fn end(&mut self, result: ApiResult<()>) -> ApiResult<()> {
        let pending = self.configuration["State"] == "Pending";
        let configuration = &mut self.configuration;
        for member in ["StateReason", "StateReasonCode"]
            .into_iter()
            .chain(["LastUpdateStatusReason", "LastUpdateStatusReasonCode"])
        {
            configuration[member] = Value::Null;
        }
        match result {
            Ok(()) => {
                configuration["State"] = json!("Active");
                configuration["LastUpdateStatus"] = json!("Successful");
                self.active = Some(settings::plan(&self.configuration, &self.code)?);
            }
            Err(error) => {
                let prefix = if pending { "State" } else { "LastUpdateStatus" };
                configuration[prefix] = json!("Failed");
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

/// Unpacks the code, in the background, and then makes the function what its record says.
fn settle(cloud: &Cloud, name: String) {
    let (owned, key) = (cloud.clone(), name.clone());
    let work = async move {
        let Ok(Some(record)) = records(&owned).get(&key) else {
            return;
        };
        let revision = record.configuration["RevisionId"].clone();
        let result = code::unpack(&owned, &record.code).await;
        // A function that was deleted meanwhile has no record to change, and one that was made anew
        // under its name has a task of its own.
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

/// Does the work that ends a creation or an update; when it panics, that has failed.
fn supervise(cloud: &Cloud, name: String, work: impl Future<Output = ()> + Send + 'static) {
    let (broken, what) = (cloud.clone(), format!("function {name}"));
    cloud.spawn(what.clone(), work, move |error| async move {
        let write = || {
            records(&broken).update(&name, |record| {
                if record.under_way() {
                    record.end(Err(error.clone()))
                } else {
                    Ok(())
                }
            })
        };
        let _ = broken.persist(&what, write).await;
    });
}

/// Goes on with what was being made when the server ended, and removes code of no function.
pub(super) fn recover(cloud: &Cloud) -> ApiResult<()> {
    // Environments that the end of the server cut off.
    let state = cloud.directory();
    beneath::discard(state, &state.join("lambda"));
    let (mut used, mut under_way) = (BTreeSet::new(), Vec::new());
    for (name, record) in records(cloud).list("")? {
        if record.under_way() {
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
    // After the cleaning: each unpacks into a directory of its own there.
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
pub(super) struct Page {
    marker: Option<String>,
    max_items: Option<String>,
}

pub(super) async fn list(cloud: &Cloud, input: Page) -> ApiResult<Value> {
    let limit = match input.max_items {
        None => 50,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|limit| (1..=10_000).contains(limit))
            .ok_or_else(|| {
                ApiError::validation(format!("MaxItems {text} is not between 1 and 10000"))
            })?
            // AWS answers at most 50 whatever is asked for.
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

pub(super) async fn update_code(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let (name, mut settings) = split(input)?;
    let name = name_of(cloud, &name, None)?;
    let before = find(cloud, &name)?;
    let revision = settings.take("RevisionId");
    let dry = settings.take("DryRun") == Some(Value::Bool(true));
    if settings.take("Publish") == Some(Value::Bool(true)) {
        return Err(ApiError::not_implemented("published versions of functions"));
    }
    let runtime = before.configuration["Runtime"].as_str().unwrap_or_default();
    let architecture = settings::architecture(settings.take("Architectures"), runtime)?;
    let mut given = json!({});
    for member in [
        "ZipFile",
        "S3Bucket",
        "S3Key",
        "S3ObjectVersion",
        "ImageUri",
    ] {
        given[member] = settings.take(member).unwrap_or_default();
    }
    settings.check(cloud)?;
    let zip = code::keep(cloud, parse(given)?).await?;
    let change = |record: &mut Record| {
        record.begin(revision.as_ref().and_then(Value::as_str))?;
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

pub(super) async fn update_configuration(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let (name, mut settings) = split(input)?;
    let name = name_of(cloud, &name, None)?;
    find(cloud, &name)?;
    let revision = settings.take("RevisionId");
    settings.check(cloud)?;
    changed(cloud, name, |record| {
        record.begin(revision.as_ref().and_then(Value::as_str))?;
        settings.merge(&mut record.configuration);
        record.touch();
        Ok(record.configuration.clone())
    })
}

fn changed(
    cloud: &Cloud,
    name: String,
    change: impl FnOnce(&mut Record) -> ApiResult<Value>,
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
    pool::retire(cloud, &name).await;
    Ok(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_creation_that_panics_fails_the_function() {
        let at = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(at.path());
        let record: Record = parse(json!({
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

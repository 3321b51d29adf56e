//! Processing jobs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::interrupt::{self, Interrupt};
use super::request::{self, items, required, text, words};
use super::{End, Kind, Run, list, transfer};
use crate::api::{ApiError, ApiResult};
use crate::beneath::Directory;
use crate::runtime::Prepared;
use crate::{Cloud, clock};

const KIND: Kind = Kind::Processing;

/// What a summary has of a description.
const SUMMARY: &[&str] = &[
    "ProcessingJobName",
    "ProcessingJobArn",
    "CreationTime",
    "ProcessingEndTime",
    "LastModifiedTime",
    "ProcessingJobStatus",
    "FailureReason",
    "ExitMessage",
];

/// What a description has of its request.
const KEPT: &[&str] = &[
    "ProcessingInputs",
    "ProcessingOutputConfig",
    "ProcessingJobName",
    "ProcessingResources",
    "StoppingCondition",
    "AppSpecification",
    "Environment",
    "NetworkConfig",
    "RoleArn",
    "ExperimentConfig",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ProcessingJobName {
    processing_job_name: String,
}

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = request::name(&input, "ProcessingJobName")?;
    check(cloud, &input).await?;
    let arn = KIND.arn(cloud, &name);
    let now = clock::epoch();
    let mut describe: Map<String, Value> = KEPT
        .iter()
        .filter_map(|member| Some(((*member).to_owned(), input.get(*member)?.clone())))
        .collect();
    describe
        .entry("StoppingCondition")
        .or_insert_with(|| json!({ "MaxRuntimeInSeconds": 86400 }));
    describe.extend([
        ("ProcessingJobArn".to_owned(), json!(arn)),
        ("ProcessingJobStatus".to_owned(), json!("InProgress")),
        ("CreationTime".to_owned(), json!(now)),
        ("LastModifiedTime".to_owned(), json!(now)),
    ]);
    let run = super::register(cloud, KIND, &name, describe.into(), input.get("Tags"))?;
    let job = run.clone();
    super::launch(run, async move { work(&job).await }, |_, _| {});
    Ok(json!({ "ProcessingJobArn": arn }))
}

pub(super) async fn describe(cloud: &Cloud, input: ProcessingJobName) -> ApiResult<Value> {
    super::describe(cloud, KIND, &input.processing_job_name)
}

pub(super) async fn list(cloud: &Cloud, input: list::Query) -> ApiResult<Value> {
    list::list(cloud, KIND, &input, SUMMARY)
}

pub(super) async fn stop(cloud: &Cloud, input: ProcessingJobName) -> ApiResult<Value> {
    super::stop(cloud, KIND, &input.processing_job_name)
}

pub(super) async fn delete(cloud: &Cloud, input: ProcessingJobName) -> ApiResult<Value> {
    super::delete(cloud, KIND, &input.processing_job_name)
}

async fn check(cloud: &Cloud, input: &Value) -> ApiResult<()> {
    required(input, "ProcessingResources.ClusterConfig.InstanceType")?;
    request::one_instance(&input["ProcessingResources"]["ClusterConfig"])?;
    text(input, "AppSpecification.ImageUri")?;
    request::role(cloud, input)?;
    request::image(cloud, text(input, "AppSpecification.ImageUri")?)?;
    request::network(cloud, &input["NetworkConfig"]["VpcConfig"]).await?;
    for given in items(input, "ProcessingInputs") {
        text(given, "InputName")?;
        request::refuse(given, &["DatasetDefinition"])?;
        if given["AppManaged"] == true {
            continue;
        }
        let s3 = required(given, "S3Input")?;
        request::uri(cloud, text(s3, "S3Uri")?)?;
        request::local_path(text(s3, "LocalPath")?)?;
        text(s3, "S3DataType")?;
        if s3["S3InputMode"] == "Pipe" {
            return Err(ApiError::not_implemented("S3InputMode Pipe of jobs"));
        }
        if s3["S3CompressionType"] == "Gzip" {
            return Err(ApiError::validation(
                "S3CompressionType Gzip can only be used with S3InputMode Pipe",
            ));
        }
    }
    for given in items(&input["ProcessingOutputConfig"], "Outputs") {
        text(given, "OutputName")?;
        request::refuse(given, &["FeatureStoreOutput"])?;
        if given["AppManaged"] == true {
            continue;
        }
        let s3 = required(given, "S3Output")?;
        request::uri(cloud, text(s3, "S3Uri")?)?;
        request::local_path(text(s3, "LocalPath")?)?;
        if text(s3, "S3UploadMode")? == "Continuous" {
            return Err(ApiError::not_implemented("S3UploadMode Continuous of jobs"));
        }
    }
    Ok(())
}

async fn work(run: &Run) -> ApiResult<End> {
    let uri = text(&run.request, "AppSpecification.ImageUri")?;
    let Some(prepared) = run.prepare(uri).await? else {
        return Ok(run.stopped());
    };
    if !run.transfer(run.interrupt(None), inputs).await? || run.is_stopped() {
        return Ok(run.stopped());
    }
    run.change(|job| job["ProcessingStartTime"] = clock::epoch().into())?;
    let command = command(&run.request["AppSpecification"], &prepared);
    let mut environment: BTreeMap<String, String> =
        serde_json::from_value(run.request["Environment"].clone()).unwrap_or_default();
    environment.insert("PROCESSING_JOB_NAME".to_owned(), run.name.clone());
    let end = run.execute(prepared, command, environment).await?;
    if end == End::Completed && !run.transfer(run.interrupt(Some(&end)), outputs).await? {
        return Ok(run.stopped());
    }
    Ok(end)
}

/// Docker's rules: an entry point of the request replaces the image's and its default arguments.
fn command(specification: &Value, prepared: &Prepared) -> Vec<String> {
    let entrypoint = words(specification, "ContainerEntrypoint");
    let arguments = words(specification, "ContainerArguments");
    if !entrypoint.is_empty() {
        return [entrypoint, arguments].concat();
    }
    let arguments = if arguments.is_empty() {
        prepared.words("Cmd")
    } else {
        arguments
    };
    [prepared.words("Entrypoint"), arguments].concat()
}

/// Downloads the inputs and writes the configuration files.
fn inputs(run: &Run, interrupt: &Interrupt) -> ApiResult<()> {
    run.ml.make_directory(Path::new("output"))?;
    let job = &run.request;
    let mut written = json!({
        "ProcessingJobArn": job["ProcessingJobArn"],
        "ProcessingJobName": job["ProcessingJobName"],
        "Environment": {},
    });
    for member in KEPT {
        if let Some(value) = job.get(*member)
            && !matches!(*member, "ExperimentConfig" | "NetworkConfig")
        {
            written[*member] = value.clone();
        }
    }
    run.ml.write(
        Path::new("config/processingjobconfig.json"),
        written.to_string().as_bytes(),
    )?;
    let instance = &job["ProcessingResources"]["ClusterConfig"]["InstanceType"];
    run.ml.write(
        Path::new("config/resourceconfig.json"),
        super::resource_config(instance).to_string().as_bytes(),
    )?;
    for given in items(job, "ProcessingInputs") {
        let s3 = &given["S3Input"];
        if given["AppManaged"] == true || s3.is_null() {
            continue;
        }
        let target = run
            .ml
            .make_directory(&request::local_path(text(s3, "LocalPath")?)?)?;
        let uri = text(s3, "S3Uri")?;
        let data_type = text(s3, "S3DataType")?;
        transfer::download(&run.cloud, uri, data_type, &target, interrupt)?;
    }
    for given in items(&job["ProcessingOutputConfig"], "Outputs") {
        if let Some(path) = given["S3Output"]["LocalPath"].as_str() {
            run.ml.make_directory(&request::local_path(path)?)?;
        }
    }
    Ok(())
}

/// Uploads the outputs (`EndOfJob`).
pub(super) fn outputs(run: &Run, interrupt: &Interrupt) -> ApiResult<()> {
    let mut found: Vec<(PathBuf, Directory, &str)> = Vec::new();
    for given in items(&run.request["ProcessingOutputConfig"], "Outputs") {
        let s3 = &given["S3Output"];
        if given["AppManaged"] == true || s3.is_null() {
            continue;
        }
        let path = request::local_path(text(s3, "LocalPath")?)?;
        if let Some(directory) = run.ml.subdirectory(&path)? {
            found.push((path, directory, text(s3, "S3Uri")?));
        }
    }
    // A directory inside another, or named twice, is on the volume once.
    let is_counted = |at: usize| {
        let path = &found[at].0;
        !found.iter().enumerate().any(|(other, (above, ..))| {
            other != at && path.starts_with(above) && (above != path || other < at)
        })
    };
    let counted = (0..found.len())
        .filter(|at| is_counted(*at))
        .map(|at| &found[at].1);
    let cluster = &run.request["ProcessingResources"]["ClusterConfig"];
    let volume = cluster["VolumeSizeInGB"].as_u64();
    interrupt::check_volume(counted, volume, interrupt)?;
    for (_, directory, uri) in &found {
        run.upload(directory, uri, interrupt)?;
    }
    Ok(())
}

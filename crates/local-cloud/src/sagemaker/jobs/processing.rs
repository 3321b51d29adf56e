//! Processing jobs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::requests::{ResourceName, Stored, pick};
use super::interrupt::{self, Interrupt};
use super::request::{self, Instances, NetworkConfig, null};
use super::transfer::DataType;
use super::{End, JobKind, JobType, Run, list, transfer};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::beneath::Directory;
use crate::runtime::PreparedImage;
use crate::{Cloud, clock};

const JOBS: JobType = JobType {
    kind: JobKind::Processing,
    summary: SUMMARY,
    complete: |_| {},
    work: |run| Box::pin(work(run)),
    ended: |_, _| {},
};

/// The members of a description that a summary has.
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

/// The members of a request that its description repeats.
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

/// A processing job. Only the members that AWS requires are always present.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ProcessingRequest {
    processing_job_name: String,
    role_arn: String,
    app_specification: AppSpecification,
    processing_resources: ProcessingResources,
    processing_inputs: Vec<Stored<ProcessingInput>>,
    processing_output_config: Option<OutputConfig>,
    network_config: Option<NetworkConfig>,
    environment: BTreeMap<String, String>,
    tags: Option<Tags>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct AppSpecification {
    image_uri: String,
    container_entrypoint: Option<Vec<String>>,
    container_arguments: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ProcessingResources {
    cluster_config: Instances,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessingInput {
    #[serde(default)]
    app_managed: bool,
    s3_input: Option<S3Input>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct S3Input {
    #[serde(rename = "S3Uri")]
    uri: String,
    local_path: Option<String>,
    #[serde(rename = "S3DataType")]
    data_type: DataType,
    #[serde(rename = "S3InputMode")]
    mode: Option<InputMode>,
    #[serde(rename = "S3CompressionType")]
    compression: Option<Compression>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum InputMode {
    Pipe,
    File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Compression {
    None,
    Gzip,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OutputConfig {
    outputs: Vec<Stored<ProcessingOutput>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessingOutput {
    #[serde(default)]
    app_managed: bool,
    s3_output: Option<S3Output>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct S3Output {
    #[serde(rename = "S3Uri")]
    uri: String,
    local_path: Option<String>,
    #[serde(rename = "S3UploadMode", default)]
    mode: UploadMode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum UploadMode {
    Continuous,
    #[default]
    EndOfJob,
}

impl ProcessingRequest {
    fn outputs(&self) -> &[Stored<ProcessingOutput>] {
        let config = self.processing_output_config.as_ref();
        config.map_or(&[], |config| &config.outputs)
    }

    async fn check(&self, cloud: &Cloud) -> ApiResult<()> {
        let instances = &self.processing_resources.cluster_config;
        if instances.instance_type.is_none() {
            return Err(null("ProcessingResources/ClusterConfig/InstanceType"));
        }
        instances.check()?;
        request::role(cloud, &self.role_arn)?;
        request::image(cloud, &self.app_specification.image_uri)?;
        let network = self.network_config.as_ref();
        if let Some(network) = network.and_then(|network| network.vpc_config.as_ref()) {
            network.check(cloud).await?;
        }
        for input in &self.processing_inputs {
            request::refuse(input.members(), &["DatasetDefinition"])?;
            if !input.app_managed {
                let s3 = input.s3_input.as_ref().ok_or_else(|| null("S3Input"))?;
                s3.check(cloud)?;
            }
        }
        for output in self.outputs() {
            request::refuse(output.members(), &["FeatureStoreOutput"])?;
            if !output.app_managed {
                let s3 = output.s3_output.as_ref().ok_or_else(|| null("S3Output"))?;
                s3.check(cloud)?;
            }
        }
        Ok(())
    }
}

/// The path below /opt/ml that an input or output names.
fn below(path: Option<&str>) -> ApiResult<PathBuf> {
    request::local_path(path.ok_or_else(|| null("LocalPath"))?)
}

impl S3Input {
    fn check(&self, cloud: &Cloud) -> ApiResult<()> {
        request::uri(cloud, &self.uri)?;
        below(self.local_path.as_deref())?;
        if self.mode == Some(InputMode::Pipe) {
            return Err(ApiError::not_implemented("S3InputMode Pipe of jobs"));
        }
        if self.compression == Some(Compression::Gzip) {
            return Err(ApiError::validation(
                "S3CompressionType Gzip can only be used with S3InputMode Pipe",
            ));
        }
        Ok(())
    }
}

impl S3Output {
    fn check(&self, cloud: &Cloud) -> ApiResult<()> {
        request::uri(cloud, &self.uri)?;
        below(self.local_path.as_deref())?;
        if self.mode == UploadMode::Continuous {
            return Err(ApiError::not_implemented("S3UploadMode Continuous of jobs"));
        }
        Ok(())
    }
}

pub(super) async fn create(cloud: &Cloud, input: Stored<ProcessingRequest>) -> ApiResult<Value> {
    let name = &input.processing_job_name;
    request::check_name(name, "ProcessingJobName")?;
    input.check(cloud).await?;
    let mut describe = input.pick(KEPT);
    if describe.get("StoppingCondition").is_none() {
        describe["StoppingCondition"] = json!({ "MaxRuntimeInSeconds": 86400 });
    }
    JOBS.start(cloud, name, describe, input.tags.as_ref())
}

pub(super) async fn describe(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    super::describe(cloud, JOBS.kind, &input.name)
}

pub(super) async fn list(cloud: &Cloud, input: list::ListJobs) -> ApiResult<Value> {
    JOBS.list(cloud, &input)
}

pub(super) async fn stop(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    super::stop(cloud, JOBS.kind, &input.name)
}

pub(super) async fn delete(cloud: &Cloud, input: ResourceName) -> ApiResult<Value> {
    super::delete(cloud, JOBS.kind, &input.name)
}

async fn work(run: &Run) -> ApiResult<End> {
    let job: ProcessingRequest = run.read()?;
    let Some(prepared) = run.prepare(&job.app_specification.image_uri).await? else {
        return Ok(run.stopped());
    };
    if !run.transfer(run.interrupt(None), inputs).await? || run.is_stopped() {
        return Ok(run.stopped());
    }
    run.change(|job| job["ProcessingStartTime"] = clock::epoch().into())?;
    let command = command(job.app_specification, &prepared);
    let mut environment = job.environment;
    environment.insert("PROCESSING_JOB_NAME".to_owned(), run.name.clone());
    let end = run.execute(prepared, command, environment).await?;
    if end == End::Completed && !run.transfer(run.interrupt(Some(&end)), outputs).await? {
        return Ok(run.stopped());
    }
    Ok(end)
}

/// Docker's rules: an entry point of the request replaces the image's and its default arguments.
fn command(specification: AppSpecification, prepared: &PreparedImage) -> Vec<String> {
    let entrypoint = specification.container_entrypoint.unwrap_or_default();
    let arguments = specification.container_arguments.unwrap_or_default();
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
    let job: ProcessingRequest = run.read()?;
    let mut written = json!({
        "ProcessingJobArn": run.request["ProcessingJobArn"],
        "ProcessingJobName": job.processing_job_name,
        "Environment": {},
    });
    let kept = pick(&run.request, KEPT);
    for (member, value) in kept.as_object().into_iter().flatten() {
        if !matches!(member.as_str(), "ExperimentConfig" | "NetworkConfig") {
            written[member] = value.clone();
        }
    }
    run.ml.write(
        Path::new("config/processingjobconfig.json"),
        written.to_string().as_bytes(),
    )?;
    let instance = &job.processing_resources.cluster_config.instance_type;
    run.ml.write(
        Path::new("config/resourceconfig.json"),
        super::resource_config(instance.as_deref())
            .to_string()
            .as_bytes(),
    )?;
    for input in &job.processing_inputs {
        let Some(s3) = input.s3_input.as_ref().filter(|_| !input.app_managed) else {
            continue;
        };
        let target = run.ml.make_directory(&below(s3.local_path.as_deref())?)?;
        let role = run.caller();
        transfer::download(&run.cloud, &role, &s3.uri, s3.data_type, &target, interrupt)?;
    }
    for output in job.outputs() {
        let s3 = output.s3_output.as_ref();
        if let Some(path) = s3.and_then(|s3| s3.local_path.as_deref()) {
            run.ml.make_directory(&request::local_path(path)?)?;
        }
    }
    Ok(())
}

/// Uploads the outputs (`EndOfJob`).
pub(super) fn outputs(run: &Run, interrupt: &Interrupt) -> ApiResult<()> {
    let job: ProcessingRequest = run.read()?;
    let mut found: Vec<(PathBuf, Directory, &str)> = Vec::new();
    for output in job.outputs() {
        let Some(s3) = output.s3_output.as_ref().filter(|_| !output.app_managed) else {
            continue;
        };
        let path = below(s3.local_path.as_deref())?;
        if let Some(directory) = run.ml.subdirectory(&path)? {
            found.push((path, directory, &s3.uri));
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
    let volume = job.processing_resources.cluster_config.volume_size;
    interrupt::check_volume(counted, volume, interrupt)?;
    for (_, directory, uri) in &found {
        run.upload(directory, uri, interrupt)?;
    }
    Ok(())
}

//! Training jobs.

use std::collections::BTreeMap;
use std::io::Seek;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::network::VpcConfig;
use super::super::requests::{ResourceName, Stored};
use super::super::states::{JobStatus, SecondaryStatus};
use super::interrupt::{self, Interrupt};
use super::metrics::MetricDefinition;
use super::request::{self, Instances, null};
use super::transfer::DataType;
use super::{End, JobKind, JobType, Run, archive, list, metrics, transfer};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::beneath::Directory;
use crate::runtime::PreparedImage;
use crate::s3::objects;
use crate::{Cloud, clock, logs};

const JOBS: JobType = JobType {
    kind: JobKind::Training,
    summary: SUMMARY,
    complete: |job| {
        job["ModelArtifacts"] = json!({ "S3ModelArtifacts": "" });
        complete(job);
        enter(job, SecondaryStatus::Starting);
    },
    work: |run| Box::pin(work(run)),
    ended,
};

/// The members of a description that a summary has.
const SUMMARY: &[&str] = &[
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
];

/// The members of a request that its description repeats.
const KEPT: &[&str] = &[
    "TrainingJobName",
    "HyperParameters",
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "VpcConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "DebugHookConfig",
    "ExperimentConfig",
    "ProfilerConfig",
    "Environment",
    "RetryStrategy",
];

/// The members that the local cloud does not have.
const REFUSED: &[&str] = &[
    "AlgorithmSpecification.AlgorithmName",
    "AlgorithmSpecification.TrainingImageConfig",
    "CheckpointConfig",
    "DebugRuleConfigurations",
    "EnableManagedSpotTraining",
    "MlflowConfig",
    "ModelPackageConfig",
    "ProfilerRuleConfigurations",
    "ResourceConfig.InstanceGroups",
    "ServerlessJobConfig",
    "SessionChainingConfig",
    "TensorBoardOutputConfig",
];

/// A training job. Only the members that AWS requires are always present.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TrainingRequest {
    training_job_name: String,
    role_arn: String,
    algorithm_specification: Algorithm,
    resource_config: Instances,
    input_data_config: Vec<Stored<InputChannel>>,
    output_data_config: OutputConfig,
    hyper_parameters: Map<String, Value>,
    vpc_config: Option<VpcConfig>,
    environment: BTreeMap<String, String>,
    tags: Option<Tags>,
}

/// `AlgorithmSpecification`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Algorithm {
    training_image: Option<String>,
    training_input_mode: Option<InputMode>,
    metric_definitions: Vec<MetricDefinition>,
    container_entrypoint: Option<Vec<String>>,
    container_arguments: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
enum InputMode {
    Pipe,
    File,
    FastFile,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InputChannel {
    channel_name: String,
    data_source: DataSource,
    content_type: Option<String>,
    input_mode: Option<InputMode>,
    compression_type: Option<Compression>,
    record_wrapper_type: Option<RecordWrapper>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DataSource {
    s3_data_source: Option<S3Source>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct S3Source {
    #[serde(rename = "S3Uri")]
    uri: String,
    #[serde(rename = "S3DataType")]
    data_type: DataType,
    #[serde(rename = "S3DataDistributionType")]
    distribution: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Compression {
    None,
    Gzip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
enum RecordWrapper {
    None,
    RecordIO,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OutputConfig {
    #[serde(rename = "S3OutputPath")]
    path: String,
    compression_type: OutputCompression,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum OutputCompression {
    #[default]
    Gzip,
    None,
}

pub(super) async fn create(cloud: &Cloud, input: Stored<TrainingRequest>) -> ApiResult<Value> {
    let name = &input.training_job_name;
    request::check_name(name, "TrainingJobName")?;
    request::refuse(input.members(), REFUSED)?;
    input.check(cloud).await?;
    let mut describe = input.pick(KEPT);
    for (member, value) in [
        ("EnableNetworkIsolation", json!(false)),
        ("EnableInterContainerTrafficEncryption", json!(false)),
        ("StoppingCondition", json!({ "MaxRuntimeInSeconds": 86400 })),
    ] {
        if describe.get(member).is_none() {
            describe[member] = value;
        }
    }
    describe["EnableManagedSpotTraining"] = json!(false);
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

impl TrainingRequest {
    fn image(&self) -> ApiResult<&str> {
        let image = self.algorithm_specification.training_image.as_deref();
        image.ok_or_else(|| null("AlgorithmSpecification/TrainingImage"))
    }

    async fn check(&self, cloud: &Cloud) -> ApiResult<()> {
        let algorithm = &self.algorithm_specification;
        if algorithm.training_input_mode.is_none() {
            return Err(null("AlgorithmSpecification/TrainingInputMode"));
        }
        if self.resource_config.instance_type.is_none() {
            return Err(null("ResourceConfig/InstanceType"));
        }
        self.resource_config.check()?;
        request::role(cloud, &self.role_arn)?;
        request::image(cloud, self.image()?)?;
        if let Some(network) = &self.vpc_config {
            network.check(cloud).await?;
        }
        request::uri(cloud, &self.output_data_config.path)?;
        metrics::definitions(&algorithm.metric_definitions)?;
        for channel in &self.input_data_config {
            let refused = ["DataSource.FileSystemDataSource", "ShuffleConfig"];
            channel.check_name()?;
            request::refuse(channel.members(), &refused)?;
            channel.check(cloud, algorithm.training_input_mode)?;
        }
        Ok(())
    }
}

impl InputChannel {
    fn check_name(&self) -> ApiResult<()> {
        let name = &self.channel_name;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !name.chars().all(plain) || name.starts_with('.') {
            return Err(ApiError::validation(format!(
                "`{name}` is not a channel name"
            )));
        }
        Ok(())
    }

    fn source(&self) -> ApiResult<&S3Source> {
        let source = self.data_source.s3_data_source.as_ref();
        source.ok_or_else(|| null("DataSource/S3DataSource"))
    }

    fn check(&self, cloud: &Cloud, mode: Option<InputMode>) -> ApiResult<()> {
        let source = self.source()?;
        if self.input_mode.or(mode) == Some(InputMode::Pipe) {
            return Err(ApiError::not_implemented("TrainingInputMode Pipe of jobs"));
        }
        if self.compression_type == Some(Compression::Gzip) {
            return Err(ApiError::validation(
                "CompressionType Gzip can only be used with TrainingInputMode Pipe",
            ));
        }
        if self.record_wrapper_type == Some(RecordWrapper::RecordIO) {
            return Err(ApiError::not_implemented(
                "RecordWrapperType RecordIO of jobs",
            ));
        }
        request::uri(cloud, &source.uri)?;
        match source.data_type {
            DataType::S3Prefix => transfer::has_objects(cloud, &source.uri),
            DataType::ManifestFile => Ok(()),
            other => Err(ApiError::not_implemented(format_args!(
                "S3DataType {other:?} of jobs"
            ))),
        }
    }
}

/// Adds members that AWS returns even if the request did not have them. The SageMaker Python SDK
/// reads some of it without a default (`Estimator.attach`: `OutputDataConfig.KmsKeyId`).
fn complete(job: &mut Value) {
    let mut default = |place: &str, member: &str, value: Value| {
        if let Some(members) = job.pointer_mut(place).and_then(Value::as_object_mut) {
            members.entry(member).or_insert(value);
        }
    };
    default("/OutputDataConfig", "KmsKeyId", json!(""));
    default("/OutputDataConfig", "CompressionType", json!("GZIP"));
    default("/StoppingCondition", "MaxRuntimeInSeconds", json!(86400));
    default("/ResourceConfig", "VolumeSizeInGB", json!(0));
    let metrics = "EnableSageMakerMetricsTimeSeries";
    default("/AlgorithmSpecification", metrics, json!(false));
    let channels = job.get_mut("InputDataConfig").and_then(Value::as_array_mut);
    for channel in channels.into_iter().flatten() {
        if let Some(members) = channel.as_object_mut() {
            for member in ["CompressionType", "RecordWrapperType"] {
                members.entry(member).or_insert_with(|| json!("None"));
            }
        }
    }
}

/// Moves the job to a secondary status and ends the previous one.
pub(super) fn enter(job: &mut Value, status: SecondaryStatus) {
    let now = clock::epoch();
    job["SecondaryStatus"] = status.into();
    if !job["SecondaryStatusTransitions"].is_array() {
        job["SecondaryStatusTransitions"] = json!([]);
    }
    if let Some(transitions) = job["SecondaryStatusTransitions"].as_array_mut() {
        if let Some(last) = transitions.last_mut() {
            last["EndTime"] = now.into();
        }
        let message = status.message();
        let mut next = json!({ "Status": status, "StartTime": now, "StatusMessage": message });
        if status.is_final() {
            next["EndTime"] = now.into();
        }
        transitions.push(next);
    }
}

/// Moves a job to a secondary status, unless it is stopping.
fn proceed(run: &Run, status: SecondaryStatus) -> ApiResult<()> {
    run.change(|job| {
        if JobStatus::of(&job["TrainingJobStatus"]) == Some(JobStatus::InProgress) {
            enter(job, status);
        }
    })
}

async fn work(run: &Run) -> ApiResult<End> {
    let job: TrainingRequest = run.read()?;
    proceed(run, SecondaryStatus::Downloading)?;
    if !run.transfer(run.interrupt(None), inputs).await? {
        return Ok(run.stopped());
    }
    let Some(prepared) = run.prepare(job.image()?).await? else {
        return Ok(run.stopped());
    };
    proceed(run, SecondaryStatus::Training)?;
    run.change(|job| job["TrainingStartTime"] = clock::epoch().into())?;
    let command = command(&job.algorithm_specification, &prepared);
    let mut environment = job.environment;
    environment.insert("TRAINING_JOB_NAME".to_owned(), run.name.clone());
    environment.insert(
        "TRAINING_JOB_ARN".to_owned(),
        JOBS.kind.arn(&run.cloud, &run.name),
    );
    let end = run.execute(prepared, command, environment).await?;
    let interrupt = run.interrupt(Some(&end));
    find_metrics(run, &job.algorithm_specification.metric_definitions)?;
    // The output of a stopped job is kept; that of a failed one is not.
    if !matches!(end, End::Failed(_)) {
        proceed(run, SecondaryStatus::Uploading)?;
        if !run.transfer(interrupt, outputs).await? {
            return Ok(run.stopped());
        }
    }
    Ok(end)
}

/// SageMaker runs `IMAGE train`, unless the request names an entry point.
fn command(algorithm: &Algorithm, prepared: &PreparedImage) -> Vec<String> {
    let mut entrypoint = algorithm.container_entrypoint.clone().unwrap_or_default();
    let mut arguments = algorithm.container_arguments.clone().unwrap_or_default();
    if entrypoint.is_empty() {
        entrypoint = prepared.words("Entrypoint");
        if arguments.is_empty() {
            arguments = vec!["train".to_owned()];
        }
    }
    [entrypoint, arguments].concat()
}

/// Downloads the channels and writes the configuration files.
fn inputs(run: &Run, interrupt: &Interrupt) -> ApiResult<()> {
    for directory in ["model", "output/data", "input/data", "input/config"] {
        run.ml.make_directory(Path::new(directory))?;
    }
    let job: TrainingRequest = run.read()?;
    let mut channels = Map::new();
    for channel in &job.input_data_config {
        let name = &channel.channel_name;
        let source = channel.source()?;
        let mode = job.algorithm_specification.training_input_mode;
        let wrapper = channel.record_wrapper_type.unwrap_or(RecordWrapper::None);
        let distribution = source.distribution.as_deref();
        let mut config = json!({
            "TrainingInputMode": channel.input_mode.or(mode),
            "S3DistributionType": distribution.unwrap_or("FullyReplicated"),
            "RecordWrapperType": wrapper,
        });
        if let Some(content_type) = &channel.content_type {
            config["ContentType"] = json!(content_type);
        }
        channels.insert(name.clone(), config);
        let target = run.ml.make_directory(&Path::new("input/data").join(name))?;
        transfer::download(
            &run.cloud,
            &run.caller(),
            &source.uri,
            source.data_type,
            &target,
            interrupt,
        )?;
    }
    for (file, value) in [
        ("hyperparameters.json", json!(job.hyper_parameters)),
        (
            "resourceconfig.json",
            super::resource_config(job.resource_config.instance_type.as_deref()),
        ),
        ("inputdataconfig.json", channels.into()),
    ] {
        let path = Path::new("input/config").join(file);
        run.ml.write(&path, value.to_string().as_bytes())?;
    }
    Ok(())
}

/// Records the last value of each metric in the job's log.
fn find_metrics(run: &Run, given: &[MetricDefinition]) -> ApiResult<()> {
    if given.is_empty() {
        return Ok(());
    }
    let definitions = metrics::definitions(given)?;
    let lines = logs::lines(&run.cloud, &JOBS.kind.log_group(), &run.stream())?;
    let found = metrics::last_values(&definitions, &lines);
    run.change(|job| job["FinalMetricDataList"] = found.into())
}

/// Uploads the model and the contents of output/data. A directory that the program removed counts as empty.
pub(super) fn outputs(run: &Run, interrupt: &Interrupt) -> ApiResult<()> {
    let job: TrainingRequest = run.read()?;
    let config = job.output_data_config;
    let output = format!("{}/{}/output", config.path.trim_end_matches('/'), run.name);
    let model = run.ml.subdirectory(Path::new("model"))?;
    let data = run.ml.subdirectory(Path::new("output/data"))?;
    let volume = job.resource_config.volume_size;
    interrupt::check_volume(model.iter().chain(&data), volume, interrupt)?;
    let data = match data {
        Some(data) if transfer::has_contents(&data)? => Some(data),
        _ => None,
    };
    let artifacts = if config.compression_type == OutputCompression::None {
        let uri = format!("{output}/model");
        if let Some(model) = model {
            run.upload(&model, &uri, interrupt)?;
        }
        if let Some(data) = data {
            run.upload(&data, &format!("{output}/data"), interrupt)?;
        }
        format!("{uri}/")
    } else {
        if let Some(data) = data {
            put(run, &data, &format!("{output}/output.tar.gz"), interrupt)?;
        }
        let model = match model {
            Some(model) => model,
            None => run.ml.make_directory(Path::new("model"))?,
        };
        let uri = format!("{output}/model.tar.gz");
        put(run, &model, &uri, interrupt)?;
        uri
    };
    run.change(|job| job["ModelArtifacts"]["S3ModelArtifacts"] = artifacts.into())
}

/// Uploads a directory as an archive. The archive is an unnamed file, which a program cannot remove.
fn put(run: &Run, directory: &Directory, uri: &str, interrupt: &Interrupt) -> ApiResult<()> {
    let mut file = tempfile::tempfile_in(&run.directory)?;
    archive::write(directory, &mut file, interrupt).map_err(|error| ApiError {
        message: format!("cannot write {uri}: {}", error.message),
        ..error
    })?;
    file.rewind()?;
    let (bucket, key) = objects::parse_uri(uri)?;
    let mut contents = interrupt.reader(file);
    objects::put_from(&run.cloud, &run.caller(), &bucket, &key, &mut contents)?;
    Ok(())
}

/// The final change of a training job's record.
fn ended(job: &mut Value, end: &End) {
    enter(
        job,
        match end {
            End::Completed => SecondaryStatus::Completed,
            End::Stopped => SecondaryStatus::Stopped,
            End::MaxRuntimeExceeded => SecondaryStatus::MaxRuntimeExceeded,
            End::Failed(_) => SecondaryStatus::Failed,
        },
    );
    if let (Some(start), Some(stop)) = (
        job["TrainingStartTime"].as_f64(),
        job["TrainingEndTime"].as_f64(),
    ) {
        #[expect(clippy::cast_possible_truncation, reason = "seconds of one job")]
        let seconds = (stop - start).ceil().max(1.0) as i64;
        job["TrainingTimeInSeconds"] = seconds.into();
        job["BillableTimeInSeconds"] = seconds.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issue 8, 3.4: what `Estimator.attach` of the SageMaker Python SDK 2 reads without a default.
    #[test]
    fn issue_8_3_4_a_description_has_the_members_that_the_sdk_reads() {
        let mut job = json!({
            "OutputDataConfig": {"S3OutputPath": "s3://b"},
            "StoppingCondition": {},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large"},
            "AlgorithmSpecification": {"TrainingInputMode": "File"},
        });
        complete(&mut job);
        assert_eq!(job["OutputDataConfig"]["KmsKeyId"], "");
        assert_eq!(job["StoppingCondition"]["MaxRuntimeInSeconds"], 86400);
        assert!(job["ResourceConfig"]["VolumeSizeInGB"].is_number());
        let mut given = json!({"OutputDataConfig": {"KmsKeyId": "k", "CompressionType": "NONE"}});
        complete(&mut given);
        assert_eq!(
            given,
            json!({"OutputDataConfig": {"KmsKeyId": "k", "CompressionType": "NONE"}})
        );
    }

    #[test]
    fn a_transition_ends_the_previous_one() {
        let mut job = json!({});
        enter(&mut job, SecondaryStatus::Starting);
        enter(&mut job, SecondaryStatus::Training);
        enter(&mut job, SecondaryStatus::Completed);
        let transitions = job["SecondaryStatusTransitions"].as_array().unwrap();
        let statuses: Vec<_> = transitions
            .iter()
            .map(|t| t["Status"].as_str().unwrap())
            .collect();
        assert_eq!(statuses, ["Starting", "Training", "Completed"]);
        assert!(transitions.iter().all(|t| t["EndTime"].is_number()));
        assert_eq!(job["SecondaryStatus"], "Completed");
    }
}

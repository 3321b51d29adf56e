//! Training jobs.

use std::collections::BTreeMap;
use std::io::Seek;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::interrupt::{self, Interrupt};
use super::request::{self, items, required, text, words};
use super::{End, Kind, Run, archive, list, metrics, transfer};
use crate::api::{ApiError, ApiResult};
use crate::beneath::Directory;
use crate::runtime::Prepared;
use crate::s3::objects;
use crate::{Cloud, clock, logs};

const KIND: Kind = Kind::Training;

/// What a summary has of a description.
const SUMMARY: &[&str] = &[
    "TrainingJobName",
    "TrainingJobArn",
    "CreationTime",
    "TrainingEndTime",
    "LastModifiedTime",
    "TrainingJobStatus",
    "SecondaryStatus",
];

/// What a description has of its request.
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

/// What the local cloud would silently leave out.
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

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TrainingJobName {
    training_job_name: String,
}

pub(super) async fn create(cloud: &Cloud, input: Value) -> ApiResult<Value> {
    let name = request::name(&input, "TrainingJobName")?;
    check(cloud, &input).await?;
    let arn = KIND.arn(cloud, &name);
    let now = clock::epoch();
    let mut describe: Map<String, Value> = KEPT
        .iter()
        .filter_map(|member| Some(((*member).to_owned(), input.get(*member)?.clone())))
        .collect();
    for (member, value) in [
        ("EnableNetworkIsolation", json!(false)),
        ("EnableInterContainerTrafficEncryption", json!(false)),
        ("StoppingCondition", json!({ "MaxRuntimeInSeconds": 86400 })),
    ] {
        describe.entry(member).or_insert(value);
    }
    describe.extend([
        ("EnableManagedSpotTraining".to_owned(), json!(false)),
        ("TrainingJobArn".to_owned(), json!(arn)),
        ("TrainingJobStatus".to_owned(), json!("InProgress")),
        ("CreationTime".to_owned(), json!(now)),
        ("LastModifiedTime".to_owned(), json!(now)),
        (
            "ModelArtifacts".to_owned(),
            json!({ "S3ModelArtifacts": "" }),
        ),
    ]);
    let mut describe = Value::Object(describe);
    complete(&mut describe);
    enter(&mut describe, "Starting");
    let run = super::register(cloud, KIND, &name, describe, input.get("Tags"))?;
    let job = run.clone();
    super::launch(run, async move { work(&job).await }, ended);
    Ok(json!({ "TrainingJobArn": arn }))
}

pub(super) async fn describe(cloud: &Cloud, input: TrainingJobName) -> ApiResult<Value> {
    super::describe(cloud, KIND, &input.training_job_name)
}

pub(super) async fn list(cloud: &Cloud, input: list::Query) -> ApiResult<Value> {
    list::list(cloud, KIND, &input, SUMMARY)
}

pub(super) async fn stop(cloud: &Cloud, input: TrainingJobName) -> ApiResult<Value> {
    super::stop(cloud, KIND, &input.training_job_name)
}

pub(super) async fn delete(cloud: &Cloud, input: TrainingJobName) -> ApiResult<Value> {
    super::delete(cloud, KIND, &input.training_job_name)
}

async fn check(cloud: &Cloud, input: &Value) -> ApiResult<()> {
    request::refuse(input, REFUSED)?;
    required(input, "AlgorithmSpecification.TrainingInputMode")?;
    required(input, "ResourceConfig.InstanceType")?;
    required(input, "OutputDataConfig.S3OutputPath")?;
    request::one_instance(&input["ResourceConfig"])?;
    if let Some(parameters) = input["HyperParameters"].as_object()
        && let Some((name, _)) = parameters.iter().find(|(_, value)| !value.is_string())
    {
        return Err(ApiError::new(
            "SerializationException",
            format!("the hyperparameter {name} is not a string"),
        ));
    }
    request::role(cloud, input)?;
    request::image(cloud, text(input, "AlgorithmSpecification.TrainingImage")?)?;
    request::network(cloud, &input["VpcConfig"]).await?;
    request::uri(cloud, text(input, "OutputDataConfig.S3OutputPath")?)?;
    metrics::definitions(items(&input["AlgorithmSpecification"], "MetricDefinitions"))?;
    for channel in items(input, "InputDataConfig") {
        let name = text(channel, "ChannelName")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if !name.chars().all(plain) || name.starts_with('.') {
            return Err(ApiError::validation(format!(
                "`{name}` is not a channel name"
            )));
        }
        request::refuse(
            channel,
            &["DataSource.FileSystemDataSource", "ShuffleConfig"],
        )?;
        let source = required(channel, "DataSource.S3DataSource")?;
        let mode = channel["InputMode"]
            .as_str()
            .or_else(|| input["AlgorithmSpecification"]["TrainingInputMode"].as_str());
        if mode == Some("Pipe") {
            return Err(ApiError::not_implemented("TrainingInputMode Pipe of jobs"));
        }
        if channel["CompressionType"] == "Gzip" {
            return Err(ApiError::validation(
                "CompressionType Gzip can only be used with TrainingInputMode Pipe",
            ));
        }
        if channel["RecordWrapperType"] == "RecordIO" {
            return Err(ApiError::not_implemented(
                "RecordWrapperType RecordIO of jobs",
            ));
        }
        let uri = text(source, "S3Uri")?;
        request::uri(cloud, uri)?;
        match text(source, "S3DataType")? {
            "S3Prefix" => transfer::has_objects(cloud, uri)?,
            "ManifestFile" => {}
            other => {
                return Err(ApiError::not_implemented(format_args!(
                    "S3DataType {other} of jobs"
                )));
            }
        }
    }
    Ok(())
}

/// Fills in what AWS's answer has although the request did not. The SageMaker Python SDK reads some of
/// it without a default (`Estimator.attach`: `OutputDataConfig.KmsKeyId`).
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

/// Moves the job to a secondary status, and closes the one before it.
pub(super) fn enter(job: &mut Value, status: &str) {
    let message = match status {
        "Starting" => "Preparing the instances for training",
        "Downloading" => "Downloading input data",
        "Training" => "Training image download completed. Training in progress.",
        "Uploading" => "Uploading generated training model",
        "Stopping" => "Stopping the training job",
        "Stopped" => "Training job stopped",
        "MaxRuntimeExceeded" => "Training job runtime exceeded MaxRuntimeInSeconds provided",
        "Completed" => "Training job completed",
        _ => "Training job failed",
    };
    let now = clock::epoch();
    job["SecondaryStatus"] = status.into();
    if !job["SecondaryStatusTransitions"].is_array() {
        job["SecondaryStatusTransitions"] = json!([]);
    }
    if let Some(transitions) = job["SecondaryStatusTransitions"].as_array_mut() {
        if let Some(last) = transitions.last_mut() {
            last["EndTime"] = now.into();
        }
        let mut next = json!({ "Status": status, "StartTime": now, "StatusMessage": message });
        if matches!(
            status,
            "Stopped" | "MaxRuntimeExceeded" | "Completed" | "Failed"
        ) {
            next["EndTime"] = now.into();
        }
        transitions.push(next);
    }
}

/// The same, for a job that is not about to stop: the wish to stop stays visible.
fn go_on(run: &Run, status: &str) -> ApiResult<()> {
    run.change(|job| {
        if job["TrainingJobStatus"] == "InProgress" {
            enter(job, status);
        }
    })
}

async fn work(run: &Run) -> ApiResult<End> {
    let uri = text(&run.request, "AlgorithmSpecification.TrainingImage")?;
    go_on(run, "Downloading")?;
    if !run.transfer(run.interrupt(None), inputs).await? {
        return Ok(run.stopped());
    }
    let Some(prepared) = run.prepare(uri).await? else {
        return Ok(run.stopped());
    };
    go_on(run, "Training")?;
    run.change(|job| job["TrainingStartTime"] = clock::epoch().into())?;
    let command = command(&run.request["AlgorithmSpecification"], &prepared);
    let mut environment: BTreeMap<String, String> =
        serde_json::from_value(run.request["Environment"].clone()).unwrap_or_default();
    environment.insert("TRAINING_JOB_NAME".to_owned(), run.name.clone());
    environment.insert(
        "TRAINING_JOB_ARN".to_owned(),
        KIND.arn(&run.cloud, &run.name),
    );
    let end = run.execute(prepared, command, environment).await?;
    let interrupt = run.interrupt(Some(&end));
    find_metrics(run)?;
    // What a stopped job saved is kept; what a failed one left is not.
    if !matches!(end, End::Failed(_)) {
        go_on(run, "Uploading")?;
        if !run.transfer(interrupt, outputs).await? {
            return Ok(run.stopped());
        }
    }
    Ok(end)
}

/// SageMaker runs `IMAGE train`, unless the request names an entry point.
fn command(specification: &Value, prepared: &Prepared) -> Vec<String> {
    let mut entrypoint = words(specification, "ContainerEntrypoint");
    let mut arguments = words(specification, "ContainerArguments");
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
    let job = &run.request;
    let parameters = match &job["HyperParameters"] {
        Value::Null => json!({}),
        given => given.clone(),
    };
    let mut channels = Map::new();
    for channel in items(job, "InputDataConfig") {
        let name = text(channel, "ChannelName")?;
        let source = &channel["DataSource"]["S3DataSource"];
        let or = |value: &Value, default: &Value| match value {
            Value::Null => default.clone(),
            value => value.clone(),
        };
        let mut config = json!({
            "TrainingInputMode": or(&channel["InputMode"], &job["AlgorithmSpecification"]["TrainingInputMode"]),
            "S3DistributionType": or(&source["S3DataDistributionType"], &json!("FullyReplicated")),
            "RecordWrapperType": or(&channel["RecordWrapperType"], &json!("None")),
        });
        if let Some(content_type) = channel.get("ContentType") {
            config["ContentType"] = content_type.clone();
        }
        channels.insert(name.to_owned(), config);
        let target = run.ml.make_directory(&Path::new("input/data").join(name))?;
        let data_type = text(source, "S3DataType")?;
        let uri = text(source, "S3Uri")?;
        transfer::download(&run.cloud, uri, data_type, &target, interrupt)?;
    }
    for (file, value) in [
        ("hyperparameters.json", parameters),
        (
            "resourceconfig.json",
            super::resource_config(&job["ResourceConfig"]["InstanceType"]),
        ),
        ("inputdataconfig.json", channels.into()),
    ] {
        let path = Path::new("input/config").join(file);
        run.ml.write(&path, value.to_string().as_bytes())?;
    }
    Ok(())
}

/// The last value of each metric in the job's log.
fn find_metrics(run: &Run) -> ApiResult<()> {
    let given = items(&run.request["AlgorithmSpecification"], "MetricDefinitions");
    if given.is_empty() {
        return Ok(());
    }
    let definitions = metrics::definitions(given)?;
    let lines = logs::lines(&run.cloud, &KIND.log_group(), &run.stream())?;
    let found = metrics::last_values(&definitions, &lines);
    run.change(|job| job["FinalMetricDataList"] = found.into())
}

/// Uploads the model, and what lies in output/data. A directory that the program removed is empty.
pub(super) fn outputs(run: &Run, interrupt: &Interrupt) -> ApiResult<()> {
    let config = &run.request["OutputDataConfig"];
    let path = text(config, "S3OutputPath")?.trim_end_matches('/');
    let output = format!("{path}/{}/output", run.name);
    let model = run.ml.subdirectory(Path::new("model"))?;
    let data = run.ml.subdirectory(Path::new("output/data"))?;
    let volume = run.request["ResourceConfig"]["VolumeSizeInGB"].as_u64();
    interrupt::check_volume(model.iter().chain(&data), volume, interrupt)?;
    let data = match data {
        Some(data) if transfer::has_contents(&data)? => Some(data),
        _ => None,
    };
    let artifacts = if config["CompressionType"] == "NONE" {
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

/// Uploads a directory as an archive. The archive has no name that a program could take away.
fn put(run: &Run, directory: &Directory, uri: &str, interrupt: &Interrupt) -> ApiResult<()> {
    let mut file = tempfile::tempfile_in(&run.directory)?;
    archive::write(directory, &mut file, interrupt).map_err(|error| ApiError {
        message: format!("cannot write {uri}: {}", error.message),
        ..error
    })?;
    file.rewind()?;
    let (bucket, key) = objects::parse_uri(uri)?;
    objects::put_from(&run.cloud, &bucket, &key, &mut interrupt.reader(file))?;
    Ok(())
}

/// The last change of a training job's record.
fn ended(job: &mut Value, end: &End) {
    enter(
        job,
        match end {
            End::Completed => "Completed",
            End::Stopped => "Stopped",
            End::MaxRuntimeExceeded => "MaxRuntimeExceeded",
            End::Failed(_) => "Failed",
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
    fn issue_8_3_4_a_description_has_what_the_sdk_reads() {
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
    fn transitions_close_the_one_before() {
        let mut job = json!({});
        enter(&mut job, "Starting");
        enter(&mut job, "Training");
        enter(&mut job, "Completed");
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

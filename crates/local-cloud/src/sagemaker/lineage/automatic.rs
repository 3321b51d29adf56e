//! The entities that SageMaker creates by itself when a job ends, a model package is registered or
//! an endpoint deployed (developer guide, "Amazon SageMaker AI-Created Tracking Entities").
//!
//! ```text
//! image ──ContributedTo──┐
//! input ──ContributedTo──┴→ trial component ──Produced──→ output (of training: the model)
//!
//! model, image ──ContributedTo──→ package ──AssociatedWith──→ group (context)
//! approval (action) ─ContributedTo─┘  └──ContributedTo──→ endpoint (context)
//!                            endpoint ──AssociatedWith──→ deployment (action) ──Produced──→ model
//! ```
//!
//! Types are those of the SageMaker Python SDK's `LineageSourceEnum`; the direction of the
//! endpoint's edges is what its `EndpointContext` queries expect. AWS's own graph may have more.

use serde_json::{Map, Value, json};

use super::super::states::{ActionStatus, JobStatus, ModelApprovalStatus};
use super::graph::{self, AssociationType, Entity, LineageType, connect};
use crate::Cloud;
use crate::api::ApiResult;

/// Returns the artifact of a source URI; creates it if it does not exist.
fn artifact(cloud: &Cloud, uri: &str, kind: &str, name: Option<&str>) -> ApiResult<String> {
    let mut entity = Entity::new(
        cloud,
        LineageType::Artifact,
        uri,
        kind,
        json!({"SourceUri": uri}),
    );
    entity.name = name.map(str::to_owned);
    graph::insert(cloud, &entity)?;
    Ok(entity.arn)
}

fn contribute(cloud: &Cloud, source: &str, destination: &str) -> ApiResult<()> {
    connect(
        cloud,
        source,
        destination,
        Some(AssociationType::ContributedTo),
    )
}

/// Records a processing or training job that ended; `job` is its `Describe…` response.
pub(in super::super) fn job_finished(cloud: &Cloud, job: &Value) -> ApiResult<()> {
    let training = job["TrainingJobName"].is_string();
    let word = if training { "Training" } else { "Processing" };
    let (Some(name), Some(arn)) = (
        job[format!("{word}JobName")].as_str(),
        job[format!("{word}JobArn")].as_str(),
    ) else {
        return Ok(());
    };
    let suffix = format!("-aws-{}-job", word.to_lowercase());
    let short: String = name.chars().take(120 - suffix.len()).collect();
    let mut entity = Entity::new(
        cloud,
        LineageType::TrialComponent,
        &format!("{short}{suffix}"),
        &format!("{word}Job"),
        json!({"SourceArn": arn, "SourceType": format!("SageMaker{word}Job")}),
    );
    let flow = if training {
        training_flow(job)
    } else {
        processing_flow(job)
    };
    entity.rest = facts(job, word, arn, &flow);
    graph::put(cloud, &entity)?;
    for (name, uri, kind) in &flow.inputs {
        let named = (*kind != "Image").then_some(name.as_str());
        contribute(cloud, &artifact(cloud, uri, kind, named)?, &entity.arn)?;
    }
    // A failed or stopped job has no usable outputs.
    if JobStatus::of(&job[format!("{word}JobStatus")]) == Some(JobStatus::Completed) {
        for (name, uri, kind) in &flow.outputs {
            let output = artifact(cloud, uri, kind, Some(name))?;
            connect(cloud, &entity.arn, &output, Some(AssociationType::Produced))?;
        }
    }
    Ok(())
}

/// The inputs and outputs of a job: (name, URI, artifact type).
#[derive(Debug, Default, PartialEq)]
struct Flow {
    inputs: Vec<(String, String, &'static str)>,
    outputs: Vec<(String, String, &'static str)>,
}

fn each<'a>(list: &'a Value, name: &str, uri: &str) -> Vec<(String, String, &'static str)> {
    let entry = |item: &'a Value| {
        Some((
            item[name].as_str()?.to_owned(),
            item.pointer(uri)?.as_str()?.to_owned(),
            "DataSet",
        ))
    };
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(entry)
        .collect()
}

fn training_flow(job: &Value) -> Flow {
    let mut flow = Flow {
        inputs: each(
            &job["InputDataConfig"],
            "ChannelName",
            "/DataSource/S3DataSource/S3Uri",
        ),
        outputs: Vec::new(),
    };
    if let Some(image) = job["AlgorithmSpecification"]["TrainingImage"].as_str() {
        flow.inputs
            .push(("SageMaker.ImageUri".to_owned(), image.to_owned(), "Image"));
    }
    if let Some(model) = job["ModelArtifacts"]["S3ModelArtifacts"].as_str() {
        flow.outputs.push((
            "SageMaker.ModelArtifact".to_owned(),
            model.to_owned(),
            "Model",
        ));
    }
    if let Some(checkpoint) = job["CheckpointConfig"]["S3Uri"].as_str() {
        flow.outputs.push((
            "SageMaker.Checkpoint".to_owned(),
            checkpoint.to_owned(),
            "Checkpoint",
        ));
    }
    flow
}

fn processing_flow(job: &Value) -> Flow {
    let mut flow = Flow {
        inputs: each(&job["ProcessingInputs"], "InputName", "/S3Input/S3Uri"),
        outputs: each(
            &job["ProcessingOutputConfig"]["Outputs"],
            "OutputName",
            "/S3Output/S3Uri",
        ),
    };
    if let Some(image) = job["AppSpecification"]["ImageUri"].as_str() {
        flow.inputs
            .push(("SageMaker.ImageUri".to_owned(), image.to_owned(), "Image"));
    }
    flow
}

/// The members of `DescribeTrialComponent` for a job.
fn facts(job: &Value, word: &str, arn: &str, flow: &Flow) -> Map<String, Value> {
    let artifacts = |list: &[(String, String, &'static str)]| -> Map<String, Value> {
        list.iter()
            .map(|(name, uri, _)| (name.clone(), json!({"Value": uri})))
            .collect()
    };
    let mut parameters = Map::new();
    let given = [&job["HyperParameters"], &job["Environment"]];
    for (name, value) in given.into_iter().filter_map(Value::as_object).flatten() {
        let text = value.as_str().unwrap_or_default();
        let value = match text.parse::<f64>() {
            Ok(number) if number.is_finite() => json!({"NumberValue": number}),
            _ => json!({"StringValue": text}),
        };
        parameters.insert(name.clone(), value);
    }
    let metrics: Vec<Value> = job["FinalMetricDataList"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|metric| {
            let value = &metric["Value"];
            json!({
                "MetricName": metric["MetricName"], "SourceArn": arn, "Count": 1,
                "TimeStamp": metric["Timestamp"], "Last": value, "Min": value, "Max": value,
                "Avg": value,
            })
        })
        .collect();
    let start = &job[format!("{word}StartTime")];
    let end = &job[format!("{word}EndTime")];
    let mut facts = Map::new();
    facts.insert(
        "Status".to_owned(),
        json!({
            "PrimaryStatus": job[format!("{word}JobStatus")],
            "Message": job["FailureReason"].as_str().unwrap_or_default(),
        }),
    );
    facts.insert("StartTime".to_owned(), start.clone());
    facts.insert("EndTime".to_owned(), end.clone());
    facts.insert("Parameters".to_owned(), parameters.into());
    facts.insert("InputArtifacts".to_owned(), artifacts(&flow.inputs).into());
    facts.insert(
        "OutputArtifacts".to_owned(),
        artifacts(&flow.outputs).into(),
    );
    facts.insert("Metrics".to_owned(), metrics.into());
    facts.insert(
        "Sources".to_owned(),
        json!([{"SourceArn": arn, "SourceType": format!("SageMaker{word}Job")}]),
    );
    facts
}

/// Records a model package; `package` is its `DescribeModelPackage` response. Call it again when the
/// approval changes: each status has one approval action.
pub(in super::super) fn package_created(cloud: &Cloud, package: &Value) -> ApiResult<()> {
    let Some(arn) = package["ModelPackageArn"].as_str() else {
        return Ok(());
    };
    let name = arn.split_once('/').map(|(_, name)| name);
    let entity = artifact(cloud, arn, "Model", name)?;
    for container in containers(&package["InferenceSpecification"]["Containers"]) {
        for (member, kind) in [("Image", "Image"), ("ModelDataUrl", "Model")] {
            if let Some(uri) = container[member].as_str() {
                contribute(cloud, &artifact(cloud, uri, kind, None)?, &entity)?;
            }
        }
    }
    if let Some(group) = package["ModelPackageGroupName"].as_str() {
        let group_arn = cloud.arn("sagemaker", format_args!("model-package-group/{group}"));
        let context = Entity::new(
            cloud,
            LineageType::Context,
            &format!("{group}-aws-model-package-group"),
            "ModelGroup",
            json!({"SourceUri": group_arn, "SourceType": "ModelPackageGroup"}),
        );
        graph::insert(cloud, &context)?;
        connect(
            cloud,
            &entity,
            &context.arn,
            Some(AssociationType::AssociatedWith),
        )?;
    }
    let status = ModelApprovalStatus::of(&package["ModelApprovalStatus"]);
    if let (Some(status), Some(name)) = (status, name) {
        let mut approval = Entity::new(
            cloud,
            LineageType::Action,
            &format!("{}-{status}-aws-model-package", name.replace('/', "-")),
            "Approval",
            json!({"SourceUri": arn, "SourceType": status}),
        );
        approval
            .rest
            .insert("Status".to_owned(), ActionStatus::Completed.into());
        graph::insert(cloud, &approval)?;
        contribute(cloud, &approval.arn, &entity)?;
    }
    Ok(())
}

fn containers(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Records a deployment; `endpoint` is the `DescribeEndpoint` response of an endpoint in service.
pub(in super::super) async fn endpoint_deployed(cloud: &Cloud, endpoint: &Value) -> ApiResult<()> {
    let (Some(name), Some(arn), Some(config)) = (
        endpoint["EndpointName"].as_str(),
        endpoint["EndpointArn"].as_str(),
        endpoint["EndpointConfigName"].as_str(),
    ) else {
        return Ok(());
    };
    let context = Entity::new(
        cloud,
        LineageType::Context,
        &format!("{name}-aws-endpoint"),
        "Endpoint",
        json!({"SourceUri": arn, "SourceType": "Endpoint"}),
    );
    graph::insert(cloud, &context)?;
    let config = cloud
        .internally(
            "sagemaker",
            "DescribeEndpointConfig",
            json!({"EndpointConfigName": config}),
        )
        .await?;
    let deployed = config["EndpointConfigName"].as_str().unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
    let mut when = endpoint["LastModifiedTime"].as_f64().unwrap_or_default() as i64;
    // AWS names a deployment by its time in seconds. Here an endpoint can be updated twice in one second.
    let action = loop {
        let mut action = Entity::new(
            cloud,
            LineageType::Action,
            &format!("{name}-{when}-aws-endpoint"),
            "ModelDeployment",
            json!({"SourceUri": arn, "SourceType": "ModelDeployment"}),
        );
        action
            .rest
            .insert("Status".to_owned(), ActionStatus::Completed.into());
        action
            .properties
            .insert("EndpointConfigName".to_owned(), deployed.to_owned());
        let same = |known: Entity| known.properties == action.properties;
        if graph::insert(cloud, &action)? || graph::find(cloud, &action.arn)?.is_none_or(same) {
            break action;
        }
        when += 1;
    };
    connect(
        cloud,
        &context.arn,
        &action.arn,
        Some(AssociationType::AssociatedWith),
    )?;
    for variant in containers(&config["ProductionVariants"]) {
        let model = cloud
            .internally(
                "sagemaker",
                "DescribeModel",
                json!({"ModelName": variant["ModelName"]}),
            )
            .await?;
        let Some(model_arn) = model["ModelArn"].as_str() else {
            continue;
        };
        let deployed = artifact(cloud, model_arn, "Model", model["ModelName"].as_str())?;
        connect(
            cloud,
            &action.arn,
            &deployed,
            Some(AssociationType::Produced),
        )?;
        let primary = std::iter::once(&model["PrimaryContainer"]);
        for container in primary.chain(containers(&model["Containers"])) {
            for (member, kind) in [
                ("ModelPackageName", "Model"),
                ("ModelDataUrl", "Model"),
                ("Image", "Image"),
            ] {
                if let Some(uri) = container[member].as_str() {
                    contribute(cloud, &artifact(cloud, uri, kind, None)?, &context.arn)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_job_flows_from_channels_and_image_to_the_model() {
        let job = json!({
            "InputDataConfig": [
                {"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": "s3://b/train/"}}},
                {"ChannelName": "efs", "DataSource": {"FileSystemDataSource": {}}},
            ],
            "AlgorithmSpecification": {"TrainingImage": "127.0.0.1:1/f@sha256:1"},
            "ModelArtifacts": {"S3ModelArtifacts": "s3://b/m/model.tar.gz"},
        });
        let flow = training_flow(&job);
        let uris = |list: &[(String, String, &'static str)]| -> Vec<String> {
            list.iter()
                .map(|(_, uri, kind)| format!("{kind} {uri}"))
                .collect()
        };
        assert_eq!(
            uris(&flow.inputs),
            ["DataSet s3://b/train/", "Image 127.0.0.1:1/f@sha256:1"]
        );
        assert_eq!(uris(&flow.outputs), ["Model s3://b/m/model.tar.gz"]);
    }

    #[test]
    fn a_processing_job_flows_from_inputs_to_outputs() {
        let job = json!({
            "ProcessingInputs": [{"InputName": "in", "S3Input": {"S3Uri": "s3://b/in/"}}],
            "ProcessingOutputConfig": {"Outputs": [
                {"OutputName": "train", "S3Output": {"S3Uri": "s3://b/train/"}},
            ]},
            "AppSpecification": {"ImageUri": "i"},
        });
        let flow = processing_flow(&job);
        assert_eq!(flow.inputs.len(), 2);
        assert_eq!(
            flow.outputs,
            [("train".to_owned(), "s3://b/train/".to_owned(), "DataSet")]
        );
    }
}

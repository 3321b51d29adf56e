//! Processing jobs that run one container over data in S3.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use aws_sdk_sagemaker::types::builders::ProcessingInputBuilder;
use aws_sdk_sagemaker::types::{
    AppSpecification, ProcessingClusterConfig, ProcessingInput, ProcessingInstanceType,
    ProcessingOutput, ProcessingOutputConfig, ProcessingResources,
    ProcessingS3DataDistributionType, ProcessingS3DataType, ProcessingS3Input,
    ProcessingS3InputMode, ProcessingS3Output, ProcessingS3UploadMode, ProcessingStoppingCondition,
    Tag,
};
use mlops_oci::registry::ImageReference;

use crate::aws::s3::S3Uri;
use crate::aws::state::JobState;
use crate::aws::{AwsResultExt, Clients};

/// The log group of these jobs.
pub const LOG_GROUP: &str = "/aws/sagemaker/ProcessingJobs";

/// An input of a job.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name within the job.
    pub name: String,
    /// The S3 object or prefix to download.
    pub from: From,
    /// Its path in the container, under /opt/ml/processing.
    pub path: String,
}

/// The type of an input's address.
#[derive(Debug, Clone)]
pub enum From {
    /// Every object under a prefix.
    Prefix(S3Uri),
    /// Exactly the objects that a manifest lists.
    Manifest(S3Uri),
}

/// A job to start.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its name, unique in the account and region.
    pub name: String,
    /// The image, by digest; its own entry point runs.
    pub image: ImageReference,
    /// ARN of the role that the job assumes.
    pub role: String,
    /// The instance type; the job runs on one instance.
    pub instance_type: String,
    /// The size of its volume, in GiB.
    pub volume_size: i32,
    /// Time limit in seconds.
    pub max_runtime: i32,
    /// The environment of the container.
    pub environment: HashMap<String, String>,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// The directory in the container to upload at the end, and its destination.
    pub output: (String, S3Uri),
    /// The project that the job belongs to.
    pub project: String,
}

/// The current state of a job.
#[derive(Debug, Clone)]
pub struct ProcessingJob {
    /// Its state.
    pub state: JobState,
    /// Why it failed, as reported by SageMaker.
    pub failure: Option<String>,
    /// The message that the container wrote to /opt/ml/output/message.
    pub message: Option<String>,
}

/// Starts a job.
pub async fn start(clients: &Clients, job: NewJob) -> Result<()> {
    let doing = format!("cannot start the processing job {}", job.name);
    let cluster = ProcessingClusterConfig::builder()
        .instance_count(1)
        .instance_type(ProcessingInstanceType::from(job.instance_type.as_str()))
        .volume_size_in_gb(job.volume_size)
        .build();
    let (directory, uri) = job.output;
    let output = ProcessingOutput::builder()
        .output_name("result")
        .s3_output(
            ProcessingS3Output::builder()
                .s3_uri(uri.to_string())
                .local_path(directory)
                .s3_upload_mode(ProcessingS3UploadMode::EndOfJob)
                .build(),
        )
        .build();
    let inputs = job
        .inputs
        .into_iter()
        .map(input)
        .map(ProcessingInputBuilder::build);
    clients
        .sagemaker
        .create_processing_job()
        .processing_job_name(&job.name)
        .role_arn(job.role)
        .app_specification(
            AppSpecification::builder()
                .image_uri(job.image.to_string())
                .build(),
        )
        .processing_resources(
            ProcessingResources::builder()
                .cluster_config(cluster)
                .build(),
        )
        .set_processing_inputs(Some(inputs.collect::<Vec<ProcessingInput>>()))
        .processing_output_config(ProcessingOutputConfig::builder().outputs(output).build())
        .set_environment(Some(job.environment))
        .stopping_condition(
            ProcessingStoppingCondition::builder()
                .max_runtime_in_seconds(job.max_runtime)
                .build(),
        )
        .tags(Tag::builder().key("Project").value(job.project).build())
        .send()
        .await
        .aws(doing)?;
    Ok(())
}

fn input(input: Input) -> ProcessingInputBuilder {
    let (kind, uri) = match input.from {
        From::Prefix(uri) => (ProcessingS3DataType::S3Prefix, uri),
        From::Manifest(uri) => (ProcessingS3DataType::ManifestFile, uri),
    };
    ProcessingInput::builder().input_name(input.name).s3_input(
        ProcessingS3Input::builder()
            .s3_uri(uri.to_string())
            .local_path(input.path)
            .s3_data_type(kind)
            .s3_input_mode(ProcessingS3InputMode::File)
            .s3_data_distribution_type(ProcessingS3DataDistributionType::Fullyreplicated)
            .build(),
    )
}

/// Describes a job.
pub async fn describe(clients: &Clients, name: &str) -> Result<ProcessingJob> {
    let answer = clients
        .sagemaker
        .describe_processing_job()
        .processing_job_name(name)
        .send()
        .await
        .aws(format!("cannot describe the processing job {name}"))?;
    Ok(ProcessingJob {
        state: answer
            .processing_job_status
            .with_context(|| format!("SageMaker returned no status for {name}"))?
            .into(),
        failure: answer.failure_reason,
        message: answer.exit_message.filter(|text| !text.is_empty()),
    })
}

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

/// Where SageMaker keeps the logs of these jobs.
pub const LOG_GROUP: &str = "/aws/sagemaker/ProcessingJobs";

/// What a job gets to read.
#[derive(Debug, Clone)]
pub struct Input {
    /// A name within the job.
    pub name: String,
    /// What is downloaded.
    pub from: From,
    /// Its path in the container, under /opt/ml/processing.
    pub path: String,
}

/// What an input names.
#[derive(Debug, Clone)]
pub enum From {
    /// Every object under a prefix.
    Prefix(S3Uri),
    /// The objects that a manifest lists, and no others.
    Manifest(S3Uri),
}

/// A job to start.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its name, new in the account and region.
    pub name: String,
    /// The image, by digest; its own entry point is run.
    pub image: ImageReference,
    /// ARN of the role that it runs as.
    pub role: String,
    /// One instance of this type.
    pub instance_type: String,
    /// Its disk, in GiB.
    pub volume_size: i32,
    /// It is stopped after this many seconds.
    pub max_runtime: i32,
    /// The environment of the container.
    pub environment: HashMap<String, String>,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// The directory in the container that is uploaded in the end, and where to.
    pub output: (String, S3Uri),
    /// The project that it belongs to.
    pub project: String,
}

/// A job as it is now.
#[derive(Debug, Clone)]
pub struct ProcessingJob {
    /// Whether it is running, and how it ended.
    pub state: JobState,
    /// Why it failed, in SageMaker's words.
    pub failure: Option<String>,
    /// What the container wrote to /opt/ml/output/message.
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
        .aws(format!("cannot look at the processing job {name}"))?;
    Ok(ProcessingJob {
        state: answer
            .processing_job_status
            .with_context(|| format!("SageMaker gave no status of {name}"))?
            .into(),
        failure: answer.failure_reason,
        message: answer.exit_message.filter(|text| !text.is_empty()),
    })
}

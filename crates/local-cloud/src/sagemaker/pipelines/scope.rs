//! The values that expressions of an execution can refer to.

use std::collections::BTreeMap;

use mlops_pipeline::{ExpressionError, Graph, Path, Scope};
use serde_json::{Value, json};

use super::Cloud;
use super::records::Execution;
use crate::clock;
use crate::cloud::caller::Caller;
use crate::s3::objects;

/// An execution at the moment when a step starts.
pub(super) struct Bound<'a> {
    cloud: &'a Cloud,
    execution: &'a Execution,
    graph: &'a Graph,
    /// The name of the job that the step is about to create.
    job: Option<&'a str>,
    responses: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Bound<'a> {
    pub(super) fn new(
        cloud: &'a Cloud,
        execution: &'a Execution,
        graph: &'a Graph,
        job: Option<&'a str>,
    ) -> Self {
        let responses = execution
            .steps
            .iter()
            .filter_map(|step| Some((step.name.as_str(), step.response.as_ref()?)))
            .collect();
        Self {
            cloud,
            execution,
            graph,
            job,
            responses,
        }
    }

    fn read(&self, uri: &str) -> Result<Value, ExpressionError> {
        let failed = |reason: String| ExpressionError(format!("cannot read {uri}: {reason}"));
        let (bucket, key) = objects::parse_uri(uri).map_err(|error| failed(error.message))?;
        let bytes = objects::read(self.cloud, &Caller::current(), &bucket, &key)
            .map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| failed(format!("not JSON: {error}")))
    }
}

impl Scope for Bound<'_> {
    fn parameter(&self, name: &str) -> Option<Value> {
        self.execution.parameters.get(name).cloned()
    }

    fn execution(&self, name: &str) -> Option<Value> {
        let execution = self.execution;
        Some(match name {
            "PipelineName" => json!(execution.pipeline),
            "PipelineArn" => json!(
                self.cloud
                    .arn("sagemaker", format_args!("pipeline/{}", execution.pipeline))
            ),
            "PipelineExecutionId" => json!(execution.id),
            "PipelineExecutionArn" => json!(execution.arn),
            "StartDateTime" => json!(iso(execution.created)),
            "CurrentDateTime" => json!(clock::iso()),
            "TrainingJobName" | "ProcessingJobName" => json!(self.job?),
            _ => return None,
        })
    }

    fn step(&self, name: &str) -> Option<Value> {
        self.responses.get(name).map(|response| (*response).clone())
    }

    fn property_file(&self, step: &str, file: &str) -> Result<Value, ExpressionError> {
        let declared = self
            .graph
            .node(step)
            .and_then(|node| node.step.property_file(file))
            .ok_or_else(|| {
                ExpressionError(format!("step `{step}` declares no property file `{file}`"))
            })?;
        let response = self
            .responses
            .get(step)
            .ok_or_else(|| ExpressionError(format!("step `{step}` has no result")))?;
        let output = Path::parse(&format!(
            "ProcessingOutputConfig.Outputs['{}'].S3Output.S3Uri",
            declared.output_name
        ))?;
        let uri = output
            .find(response)
            .and_then(Value::as_str)
            .ok_or_else(|| {
                ExpressionError(format!(
                    "step `{step}` has no output `{}`",
                    declared.output_name
                ))
            })?;
        self.read(&format!(
            "{}/{}",
            uri.trim_end_matches('/'),
            declared.file_path.trim_start_matches('/')
        ))
    }

    fn json_object(&self, uri: &str) -> Result<Value, ExpressionError> {
        self.read(uri)
    }
}

/// Seconds since the epoch as ISO 8601.
fn iso(epoch: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds")]
    let millis = (epoch * 1000.0).round() as i64;
    jiff::Timestamp::from_millisecond(millis).map_or_else(
        |_| String::new(),
        |time| time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
    )
}

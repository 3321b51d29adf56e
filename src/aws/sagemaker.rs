//! SageMaker AI: pipelines and their runs, the model registry, notebook instances.

use jiff::Timestamp;

pub mod compared;
pub mod models;
pub mod notebooks;
pub mod pipelines;
pub mod processing;
pub mod runs;
mod steps;

pub mod gate;

/// Converts the time of an AWS response.
pub(super) fn timestamp(time: &aws_smithy_types::DateTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(time.to_millis().ok()?).ok()
}

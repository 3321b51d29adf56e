//! SageMaker AI: pipelines and their runs, the model registry.

use jiff::Timestamp;

pub mod models;
pub mod pipelines;
pub mod processing;
pub mod runs;

pub mod gate;

/// The time of an AWS answer.
pub(super) fn timestamp(time: &aws_smithy_types::DateTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(time.to_millis().ok()?).ok()
}

/// The code of an error for what does not exist. Model packages and their groups answer
/// `ValidationException` instead.
pub(super) const NOT_FOUND: &[&str] = &["ResourceNotFound", "ResourceNotFoundException"];

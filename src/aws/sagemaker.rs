//! SageMaker AI: pipelines and their runs, the model registry.

use jiff::Timestamp;

use super::Expected;

pub mod models;
pub mod pipelines;
pub mod processing;
pub mod runs;
mod steps;

pub mod gate;

/// The time of an AWS answer.
pub(super) fn timestamp(time: &aws_smithy_types::DateTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(time.to_millis().ok()?).ok()
}

const RESOURCE_NOT_FOUND: Expected = Expected::code("ResourceNotFound");

/// A pipeline or a run that does not exist.
pub(super) const NOT_FOUND: &[Expected] = &[
    RESOURCE_NOT_FOUND,
    Expected::code("ResourceNotFoundException"),
];

// The older operations have no code for absence: they return `ValidationException`, the code of every
// invalid request, and only the message differs.

/// An endpoint that does not exist.
pub(super) const NO_ENDPOINT: &[Expected] = &absent("Could not find endpoint \"", "\"");
/// An endpoint configuration that does not exist.
pub(super) const NO_CONFIGURATION: &[Expected] =
    &absent("Could not find endpoint configuration \"", "\"");
/// A model that does not exist.
pub(super) const NO_MODEL: &[Expected] = &absent("Could not find model \"", "\"");
/// A model package that does not exist.
pub(super) const NO_PACKAGE: &[Expected] = &absent("ModelPackage ", " does not exist");
/// A model package group that does not exist.
pub(super) const NO_GROUP: &[Expected] = &absent("ModelPackageGroup ", " does not exist");

const fn absent(starts: &'static str, ends: &'static str) -> [Expected; 2] {
    [
        RESOURCE_NOT_FOUND,
        Expected::message("ValidationException", starts, ends),
    ]
}

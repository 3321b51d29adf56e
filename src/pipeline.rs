//! Pipeline as code: the SageMaker Pipelines definition, version 2020-12-01, as types; its checks,
//! its graph, and the evaluation of its expressions.
//!
//! Knows no AWS SDK, no command line and no terminal: the local cloud executes definitions with it,
//! and `mlops train` checks them with it before anything starts. The format is the one that the
//! SageMaker Python SDK writes (`Pipeline.definition()`) and that `CreatePipeline` takes.

mod check;
mod condition;
mod definition;
mod expression;
mod graph;
mod parameters;

pub use check::Problem;
pub use condition::{Condition, holds};
pub use definition::{
    Definition, MAX_BYTES, Parameter, ParameterType, PropertyFile, Step, StepType,
};
pub use expression::{ExpressionError, Path, Reference, Scope, evaluate};
pub use graph::{Graph, Node};
pub use parameters::bind;

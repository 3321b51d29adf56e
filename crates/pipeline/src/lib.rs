//! SageMaker pipeline definitions, version 2020-12-01: types, checks, the dependency graph, and the
//! evaluation of expressions.
//!
//! Does not depend on the AWS SDK, the command line or a terminal: the local cloud executes
//! definitions with it, and `mlops train` checks them before anything starts. The format is AWS's
//! published JSON schema plus what the SageMaker Python SDK writes beyond it (listed in `members`);
//! the arguments of a step follow the service model of the operation that the step calls
//! (`arguments`).

#![warn(missing_docs)]

mod arguments;
mod check;
mod condition;
mod definition;
mod expression;
mod graph;
pub mod json_keys;
mod members;
mod parameters;
mod policies;
mod problem;
pub mod shapes;

pub use arguments::SCHEMA_ONLY;
pub use condition::{Condition, holds};
pub use definition::{
    Definition, MAX_BYTES, Parameter, ParameterType, PropertyFile, Step, StepType,
};
pub use expression::{ExpressionError, Path, Reference, Scope, evaluate};
pub use graph::{Graph, Node};
pub use parameters::bind;
pub use policies::{CacheConfig, Exception, RetryPolicy};
pub use problem::{Problem, Words};

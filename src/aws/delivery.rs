//! Delivery: the project's pipelines of CodePipeline, their executions, and the builds behind them.
//!
//! ```text
//! pipelines  PROJECT-image-TAG, PROJECT-ml-TAG, PROJECT-deploy
//!    └─ executions ── actions ── externalExecutionId ── builds (logs, failed phase)
//!          └─ approvals                  │
//!                                        └── `build` in the origin of a SageMaker run
//! ```

mod actions;
pub mod approvals;
pub mod builds;
pub mod executions;
pub mod pipelines;
mod source;

/// Number of requests in parallel. CodePipeline throttles more.
const PARALLEL: usize = 6;

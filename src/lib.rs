//! `mlops`: the AWS `MLOps` reference architecture in one binary.
//!
//! src/README.md describes each module, docs/architecture.md how they fit together. A command is a
//! module under [`commands`]: its `Args`, a `run(&Context, &Args) -> Result<Report>`, and the
//! report. [`cli`] matches the parsed command line once, prints the report and returns its exit
//! code.

pub mod analyzer;
pub mod aws;
pub mod cli;
pub mod commands;
pub mod config;
pub mod context;
pub mod delivery;
pub mod git;
pub mod infra;
pub mod lambda_runtime;
pub mod monitoring;
pub mod monitors;
pub mod output;
pub mod permissions;
pub mod pin;
pub mod progress;
pub(crate) mod project_data;
pub(crate) mod project_image;
pub mod prompt;
pub mod releases;
pub mod retraining;
pub mod scaffold;

//! The local cloud: an AWS-compatible endpoint on loopback that really runs the jobs.
//!
//! ```text
//! commands/local.rs, demo.rs, context.rs
//!        │ connect / serve / stop
//!    instance ── one server per state directory: lock, address file, idle shutdown
//!        │
//!     server ── admission (who may connect) ── wire (protocols) ── Cloud::request(service, operation, JSON)
//!        │                                                          │
//!        ├── s3 (s3s)   ├── ecr::registry (/v2/)   ├── codecommit::git (/v1/repos/)
//!        │
//!      store (SQLite records, content-addressed blobs)
//! ```
//!
//! A service is one file or folder that publishes `SERVICE` (cloud/service.rs), and one line in
//! services.rs. It keeps its own records, and reaches another service only through [`Cloud::call`]
//! or functions that the other publishes (`s3::objects`), as a client would. An operation that does
//! not exist is refused with `NotImplemented` and its name.

#![warn(missing_docs)]

mod admission;
mod api;
mod application_autoscaling;
mod attempts;
mod authorization;
mod beneath;
mod children;
mod clock;
mod cloud;
mod cloudformation;
mod cloudwatch;
mod codebuild;
mod codecommit;
mod codeconnections;
mod codepipeline;
mod credentials;
#[cfg(feature = "fuzzing")]
pub mod decoders;
mod ec2;
mod ecr;
mod events;
mod faults;
mod garbage;
mod health;
mod host;
mod iam;
mod injection;
mod instance;
mod kms;
mod lambda;
mod limits;
mod log;
mod logs;
mod policy;
mod recorded;
mod requests;
mod runtime;
mod s3;
mod sagemaker;
mod scheduler;
mod seal;
mod server;
mod services;
mod signed_urls;
mod sns;
mod sqs;
mod ssm;
mod state_files;
mod store;
mod sts;
mod system_tags;
#[doc(hidden)]
pub mod test_cloud;
mod unpack;
mod wire;

use cloud::Cloud;

pub use health::Problem;
pub use host::{Environment, Host};
pub use injection::{Fault, InjectedFault, Step};
pub use instance::{
    BackgroundOptions, Connection, OnProgress, Status, adopt, connect, detach, git_credential,
    reset, status, stop,
};
pub use server::{DEFAULT_PORT, ServerOptions, serve};
pub use sts::{SessionKeys, role_session};

/// Runs the hidden process between the server and a program: that of a job, or the guard of another
/// program.
pub fn run_job_process(arguments: &[String]) -> std::process::ExitCode {
    match arguments.split_first() {
        Some((first, rest)) if first == children::GUARD => children::guard(rest),
        _ => runtime::exec(arguments),
    }
}

/// Adds findings of a vulnerability scan to the state of a local cloud, for the image with a
/// digest or for every image of the repository, and counts them by severity. `findings` is JSON as
/// printed by `aws ecr describe-image-scan-findings`.
pub fn inject_scan(
    host: &Host,
    state: &std::path::Path,
    repository: &str,
    digest: Option<&str>,
    findings: &[u8],
) -> anyhow::Result<std::collections::BTreeMap<String, u64>> {
    seal::check(state, host)?;
    ecr::scan::inject(state, repository, digest, findings)
}

/// Injects a fault that happens the next `count` times.
pub fn inject_fault(
    host: &Host,
    state: &std::path::Path,
    fault: Fault,
    count: usize,
) -> anyhow::Result<InjectedFault> {
    seal::check(state, host)?;
    injection::inject(state, fault, count)
}

/// The injected faults that will still happen.
pub fn injected_faults(host: &Host, state: &std::path::Path) -> anyhow::Result<Vec<InjectedFault>> {
    seal::check(state, host)?;
    injection::injected(state)
}

/// Removes all injected faults; returns those that would still have happened.
pub fn clear_faults(host: &Host, state: &std::path::Path) -> anyhow::Result<Vec<InjectedFault>> {
    seal::check(state, host)?;
    injection::clear(state)
}

/// The operations of each service, for docs/local-cloud.md.
pub fn operations() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut all: Vec<_> = services::SERVICES
        .iter()
        .map(|service| (service.name, service.operation_names()))
        .collect();
    all.sort_unstable();
    all
}

/// The supported CloudFormation resource types, for docs/local-cloud.md.
pub fn resource_types() -> Vec<&'static str> {
    cloudformation::resource_types()
}

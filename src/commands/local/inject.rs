//! `mlops local inject`: loads data that the local cloud cannot compute, and injects faults.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use mlops_core::error::{Failure, Hint};
use mlops_local_cloud::{self as local, Fault};
use mlops_oci::{Digest, InvalidDigest};

use super::StateArgs;
use crate::config::LOCAL_HOST;
use crate::context::Context;

mod report;

pub use report::{Injected, InjectedScan};

/// Load data that the local cloud cannot compute, and inject faults
#[derive(Debug, clap::Subcommand)]
#[expect(
    clippy::doc_markdown,
    reason = "a terminal shows these texts as they are"
)]
pub enum InjectCommand {
    Scan(InjectScanArgs),
    /// Throttle the next requests
    ///
    /// The requests are refused with the error that AWS uses in the protocol of the service. Works whether
    /// or not the local cloud is running.
    ///
    /// Example: mlops local inject throttle --operation s3:PutObject --count 2
    Throttle(InjectRequestArgs),
    /// Refuse the next requests because their credentials have expired
    ///
    /// Example: mlops local inject expired-token --operation s3:PutObject
    ExpiredToken(InjectRequestArgs),
    /// Fail the next steps on resources of stacks
    ///
    /// Example: mlops local inject resource-failure --type AWS::S3::Bucket
    ResourceFailure(InjectResourceArgs),
    /// Roll back the next updates of endpoints without a reason
    ///
    /// The endpoint ends in service with its old configuration, and CloudFormation reports success.
    ///
    /// Example: mlops local inject silent-rollback flights
    SilentRollback(InjectEndpointArgs),
    /// Let the next containers of endpoints exit when they start
    ///
    /// Example: mlops local inject container-crash flights
    ContainerCrash(InjectEndpointArgs),
    /// Let the next containers of endpoints pass their health check too late
    ///
    /// Example: mlops local inject slow-start flights
    SlowStart(InjectEndpointArgs),
    /// Let containers of endpoints respond to the next requests with status 500
    ///
    /// Example: mlops local inject http-500 flights --count 20
    #[command(name = "http-500")]
    Http500(InjectEndpointArgs),
    /// List the faults that will still happen
    List(StateArgs),
    /// Remove all injected faults
    Clear(StateArgs),
}

/// Which requests fail.
#[derive(Debug, clap::Args)]
pub struct InjectRequestArgs {
    /// The operation, such as cloudformation:CreateStack [default: any]
    #[arg(long, value_name = "SERVICE:OPERATION")]
    operation: Option<String>,
    /// How many requests fail
    #[arg(long, default_value_t = 1)]
    count: usize,
    #[command(flatten)]
    state: StateArgs,
}

/// Which steps on resources fail.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::doc_markdown,
    reason = "a terminal shows these texts as they are"
)]
pub struct InjectResourceArgs {
    /// The resource type, such as AWS::S3::Bucket
    #[arg(long = "type", value_name = "TYPE")]
    kind: String,
    /// The logical id in the template [default: any]
    #[arg(long)]
    logical_id: Option<String>,
    /// The step that fails
    #[arg(long, value_enum, default_value_t = Step::Create)]
    step: Step,
    /// How many steps fail
    #[arg(long, default_value_t = 1)]
    count: usize,
    #[command(flatten)]
    state: StateArgs,
}

/// Which endpoint has the fault.
#[derive(Debug, clap::Args)]
pub struct InjectEndpointArgs {
    /// The endpoint [default: any]
    endpoint: Option<String>,
    /// How many times it happens
    #[arg(long, default_value_t = 1)]
    count: usize,
    #[command(flatten)]
    state: StateArgs,
}

/// A step on a resource.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Step {
    /// Its creation
    Create,
    /// A change in place
    Update,
    /// Its deletion
    Delete,
}

impl From<Step> for local::Step {
    fn from(step: Step) -> Self {
        match step {
            Step::Create => Self::Create,
            Step::Update => Self::Update,
            Step::Delete => Self::Delete,
        }
    }
}

/// Load the findings of a vulnerability scan for an image
///
/// FILE is the output of `aws ecr describe-image-scan-findings`, or its `imageScanFindings` object.
/// The image then counts as scanned, with these findings; loading again replaces them. Without
/// --digest, every image of the repository that has no findings of its own counts as scanned, also
/// those that are pushed later. Works whether or not the local cloud is running.
///
/// Example: mlops local inject scan --repository flights --digest sha256:… findings.json
#[derive(Debug, clap::Args)]
pub struct InjectScanArgs {
    /// The name of the ECR repository
    #[arg(long)]
    repository: String,
    /// The image's digest [default: every image without findings of its own]
    #[arg(long)]
    digest: Option<String>,
    /// The JSON file with the findings
    file: PathBuf,
    #[command(flatten)]
    state: StateArgs,
}

pub(super) fn run(ctx: &Context, command: &InjectCommand) -> Result<Injected> {
    Ok(match command {
        InjectCommand::Scan(args) => Injected::Scan(scan(ctx, args)?),
        InjectCommand::Throttle(args) => {
            let operation = args.operation.clone();
            inject(ctx, &args.state, Fault::Throttle { operation }, args.count)?
        }
        InjectCommand::ExpiredToken(args) => {
            let operation = args.operation.clone();
            inject(
                ctx,
                &args.state,
                Fault::ExpiredToken { operation },
                args.count,
            )?
        }
        InjectCommand::ResourceFailure(args) => {
            let fault = Fault::ResourceFailure {
                kind: args.kind.clone(),
                logical_id: args.logical_id.clone(),
                step: args.step.into(),
            };
            inject(ctx, &args.state, fault, args.count)?
        }
        InjectCommand::SilentRollback(args) => {
            let endpoint = args.endpoint.clone();
            endpoint_fault(ctx, args, Fault::SilentRollback { endpoint })?
        }
        InjectCommand::ContainerCrash(args) => {
            let endpoint = args.endpoint.clone();
            endpoint_fault(ctx, args, Fault::ContainerCrash { endpoint })?
        }
        InjectCommand::SlowStart(args) => {
            let endpoint = args.endpoint.clone();
            endpoint_fault(ctx, args, Fault::SlowStart { endpoint })?
        }
        InjectCommand::Http500(args) => {
            let endpoint = args.endpoint.clone();
            endpoint_fault(ctx, args, Fault::Http500 { endpoint })?
        }
        InjectCommand::List(state) => Injected::Faults {
            faults: local::injected_faults(&LOCAL_HOST, &existing(ctx, state)?)?,
        },
        InjectCommand::Clear(state) => Injected::Cleared {
            cleared: local::clear_faults(&LOCAL_HOST, &existing(ctx, state)?)?,
        },
    })
}

fn inject(ctx: &Context, state: &StateArgs, fault: Fault, count: usize) -> Result<Injected> {
    let directory = existing(ctx, state)?;
    let injected = local::inject_fault(&LOCAL_HOST, &directory, fault, count)?;
    Ok(Injected::Fault(injected))
}

fn endpoint_fault(ctx: &Context, args: &InjectEndpointArgs, fault: Fault) -> Result<Injected> {
    inject(ctx, &args.state, fault, args.count)
}

/// The state directory, which must exist.
fn existing(ctx: &Context, state: &StateArgs) -> Result<PathBuf> {
    let directory = state.directory(ctx);
    if directory.is_dir() {
        return Ok(directory);
    }
    Err(Failure::usage(format!(
        "no local cloud in {}",
        directory.display()
    )))
    .hint("pass its state directory with --state")
}

fn scan(ctx: &Context, args: &InjectScanArgs) -> Result<InjectedScan> {
    let digest = args.digest.as_deref().map(str::parse).transpose();
    let digest: Option<Digest> =
        digest.map_err(|error: InvalidDigest| Failure::usage(error.to_string()))?;
    let directory = existing(ctx, &args.state)?;
    let bytes = std::fs::read(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let findings = local::inject_scan(
        &LOCAL_HOST,
        &directory,
        &args.repository,
        digest.map(|digest| digest.to_string()).as_deref(),
        &bytes,
    )
    .with_context(|| format!("cannot load {}", args.file.display()))?;
    Ok(InjectedScan {
        repository: args.repository.clone(),
        digest,
        findings,
    })
}

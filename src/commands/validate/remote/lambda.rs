//! `mlops validate --on lambda`: a Lambda function built from this binary. It is deployed if its
//! code or template changed, reads the data from S3, and writes the three result files there.

use anyhow::{Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint, hinted};
use serde_json::json;

use super::exchange::{Exchange, Local};
use crate::aws::function_code::{self, Code};
use crate::aws::lambda::{Invoked, invoke};
use crate::aws::s3::S3Object;
use crate::commands::validate::location::DataLocation;
use crate::commands::validate::{ValidateArgs, Validation};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Platform};

/// The part of the artifact bucket that the function's role may read (templates/governance.yaml).
const READABLE: &str = "validations/";

/// Validates in the function, which is deployed first if it is out of date.
pub(super) async fn run(ctx: &Context, args: &ValidateArgs) -> Result<Validation> {
    if args.merge || args.profile_out.is_some() {
        return Err(Failure::usage(
            "--merge and --profile-out work only with files on this machine",
        ))
        .hint("omit --on");
    }
    let data = addresses(&args.data)?;
    let local = Local::of(ctx, args)?;
    let code = Code::read(args.remote.function_binary.as_deref())?;
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    reachable(&data, &platform)?;
    let function = deployed(ctx, &project, &platform, code).await?;
    let exchange = Exchange::new(ctx, &platform.artifact_bucket);
    let mut event = json!({
        "data": data.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "suggest": local.baseline.is_none(),
        "output": exchange.at("results/").to_string(),
    });
    if let Some(format) = args.format {
        event["format"] = json!(name_of(&format));
    }
    if let Some((_, statistics)) = &local.baseline {
        exchange.put_baseline(clients, &local).await?;
        let at = |name: &str| json!(exchange.at(&format!("baseline/{name}.json")).to_string());
        event["constraints"] = at("constraints");
        if statistics.is_some() {
            event["statistics"] = at("statistics");
        }
    }
    let invoked = {
        let _task = ctx.progress.task(format!("{function} is validating"));
        invoke(clients, &function, event.to_string().into_bytes()).await?
    };
    match invoked {
        Invoked::Answer(_) => {
            let results = exchange.at("results/");
            ctx.progress.detail(format!("results in {results}"));
            exchange.finish(clients, &local).await
        }
        Invoked::Failed { kind, message, log } => {
            Err(failed(ctx, &function, &kind, &message, &log))
        }
    }
}

fn name_of(value: &impl clap::ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

/// Returns the data's addresses; rejects paths on this machine.
fn addresses(data: &[DataLocation]) -> Result<Vec<&S3Object>> {
    data.iter()
        .map(|location| match location {
            DataLocation::S3(object) => Ok(object),
            other => Err(Failure::usage(format!(
                "--on lambda reads data from S3, and `{other}` is not an S3 address"
            )))
            .hint("upload it with `mlops data push`, and pass its s3:// address"),
        })
        .collect()
}

/// Rejects data that the function's role cannot read.
fn reachable(data: &[&S3Object], platform: &Platform) -> Result<()> {
    for object in data {
        let address = &object.uri;
        let whole = [&platform.data_bucket, &platform.capture_bucket];
        let artifact =
            address.bucket == platform.artifact_bucket && address.key.starts_with(READABLE);
        if !whole.contains(&&address.bucket) && !artifact {
            return Err(Failure::usage(format!(
                "the function may not read {address}: its role allows s3://{}/, s3://{}/ and {READABLE} \
                 of s3://{}/",
                platform.data_bucket, platform.capture_bucket, platform.artifact_bucket
            )))
            .hint("copy the data there, or omit --on to read it with your own permissions");
        }
    }
    Ok(())
}

/// Returns the function's name, once it matches this binary and this template. If it already does,
/// this costs a single describe call.
async fn deployed(
    ctx: &Context,
    project: &Project,
    platform: &Platform,
    code: Code,
) -> Result<String> {
    let clients = ctx.aws().await?;
    let key = function_code::key(&code.checksum);
    let spec = infra::validation_stack(project, platform, &key, code.architecture.as_str());
    let outputs = infra::outputs(clients, &spec.name)
        .await?
        .unwrap_or_default();
    let revision = spec.parameters.iter().find(|(name, _)| *name == "Revision");
    let outputs = if outputs.get("Revision") == revision.map(|(_, value)| value) {
        outputs
    } else {
        let _task = ctx.progress.task("Uploading the function's code");
        code.upload(clients, &platform.artifact_bucket).await?;
        infra::deploy(clients, ctx.waiter, &ctx.progress, &spec)
            .await?
            .outputs
    };
    outputs
        .get("FunctionName")
        .cloned()
        .ok_or_else(|| anyhow!("the stack {} has no output FunctionName", spec.name))
}

/// Builds the error of a failed function: its message, its last log lines if the message is short,
/// and a hint.
fn failed(ctx: &Context, function: &str, kind: &str, message: &str, log: &str) -> anyhow::Error {
    let own = kind.starts_with("Validation.");
    if !own {
        ctx.progress.say(format!("last lines of {function}:"));
        for line in log.lines() {
            ctx.progress.say(format!("  {line}"));
        }
    }
    let hint = match kind {
        "Sandbox.Timedout" => {
            "a function can run for 15 minutes: use --on processing for data of this size"
                .to_owned()
        }
        "Runtime.ExitError" if message.contains("signal: killed") => {
            "the function ran out of memory: use --on processing".to_owned()
        }
        _ => format!("its complete log is in the log group /aws/lambda/{function}"),
    };
    let exit = match kind {
        "Validation.AccessDenied" => Exit::Credentials,
        "Validation.BadEvent" => Exit::Usage,
        _ => Exit::Failed,
    };
    let error = Failure::new(exit, format!("the function {function} failed: {message}"));
    hinted(error, hint)
}

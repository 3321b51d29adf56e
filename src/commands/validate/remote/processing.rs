//! `mlops validate --on processing`: a SageMaker Processing job that runs this binary under the
//! contract of Model Monitor's analyzer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, anyhow};
use mlops_core::error::{Failure, Hint, hinted};
use mlops_core::wait::Poll;
use mlops_validation::Format;

use super::exchange::{Exchange, Local};
use crate::aws::s3::S3Uri;
use crate::aws::sagemaker::processing::{self, From, Input, NewJob};
use crate::aws::{Clients, logs};
use crate::commands::validate::location::DataLocation;
use crate::commands::validate::{ValidateArgs, Validation, sources};
use crate::context::Context;
use crate::infra;

mod image;

/// Input and output paths of the job.
const DATA: &str = "/opt/ml/processing/input/data";
const BASELINE: &str = "/opt/ml/processing/input/baseline";
const OUTPUT: &str = "/opt/ml/processing/output";

/// Maximum number of buckets: a job accepts ten inputs, and one is the baseline.
const MOST_BUCKETS: usize = 9;

/// Time limit of a job in seconds.
const MAX_RUNTIME: i32 = 6 * 3600;

/// Number of log lines of a failed job to print.
const TAIL: i32 = 15;

/// Validates in a Processing job, or waits for one that was started earlier.
pub(super) async fn run(ctx: &Context, args: &ValidateArgs) -> Result<Validation> {
    if args.merge || args.profile_out.is_some() {
        return Err(Failure::usage(
            "--merge and --profile-out cannot be combined with --on processing",
        ));
    }
    refuse_elsewhere(&args.data)?;
    let local = Local::of(ctx, args)?;
    let project = ctx.project()?;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let name = |exchange: &Exchange| format!("{}-validate-{}", project.file.name, exchange.id());
    if let Some(id) = &args.remote.resume {
        let exchange = Exchange::of(&platform.artifact_bucket, id);
        return finish(ctx, clients, &name(&exchange), &exchange, &local).await;
    }
    let (objects, format) = sources::objects(ctx, &args.data, args.format).await?;
    let buckets = buckets(&objects)?;
    let image = image::ensure(ctx, clients, &platform.image_repository).await?;
    let exchange = Exchange::new(ctx, &platform.artifact_bucket);
    let mut environment = environment(&format);
    let mut inputs = Vec::new();
    if let Some((_, statistics)) = &local.baseline {
        exchange.put_baseline(clients, &local).await?;
        let parts = ["constraints"].into_iter();
        for part in parts.chain(statistics.as_ref().map(|_| "statistics")) {
            let path = format!("{BASELINE}/{part}.json");
            environment.insert(format!("baseline_{part}"), path);
        }
        inputs.push(Input {
            name: "baseline".to_owned(),
            from: From::Prefix(exchange.at("baseline/")),
            path: BASELINE.to_owned(),
        });
    }
    let bytes = objects.iter().map(|(_, size)| size).sum();
    let own = [
        &platform.data_bucket,
        &platform.artifact_bucket,
        &platform.capture_bucket,
    ];
    for (number, (bucket, keys)) in buckets.iter().enumerate() {
        if own.iter().all(|own| own != bucket) {
            let role = &platform.validation_role;
            ctx.progress.say(format!(
                "{bucket} does not belong to the project: {role} needs permission to read it"
            ));
        }
        let file = format!("data-{number}.manifest");
        let manifest = manifest(bucket, keys)?;
        inputs.push(Input {
            name: format!("data-{number}"),
            from: From::Manifest(exchange.put(clients, &file, manifest).await?),
            path: format!("{DATA}/{number}"),
        });
    }
    let job = NewJob {
        name: name(&exchange),
        image,
        role: platform.validation_role,
        instance_type: args
            .remote
            .instance_type
            .clone()
            .unwrap_or_else(|| project.file.validate.instance_type.clone()),
        volume_size: volume_size(bytes),
        max_runtime: MAX_RUNTIME,
        environment,
        inputs,
        output: (OUTPUT.to_owned(), exchange.at("results")),
        project: project.file.name.to_string(),
    };
    let name = job.name.clone();
    processing::start(clients, job).await?;
    finish(ctx, clients, &name, &exchange, &local).await
}

/// Rejects addresses that are not current objects in S3.
fn refuse_elsewhere(data: &[DataLocation]) -> Result<()> {
    for address in data {
        let DataLocation::S3(object) = address else {
            return Err(Failure::usage(format!(
                "--on processing reads data from S3, and `{address}` is not an S3 address"
            )))
            .hint("upload it with `mlops data push`, and pass its s3:// address");
        };
        if object.version_id.is_some() {
            return Err(Failure::usage(format!(
                "`{address}` has a version id, but inputs of SageMaker jobs do not: the job would \
                 read the newest"
            )))
            .hint("copy the version to a separate key, or omit --on to read it here");
        }
    }
    Ok(())
}

/// The environment that the analyzer's contract requires.
fn environment(format: &Format) -> HashMap<String, String> {
    let format = match format {
        Format::Csv => r#"{"csv":{"header":true}}"#,
        Format::Jsonl => r#"{"json":{"lines":true}}"#,
        Format::Parquet => r#"{"parquet":{}}"#,
        Format::Capture(_) => {
            r#"{"sagemakerCaptureJson":{"captureIndexNames":["endpointInput","endpointOutput"]}}"#
        }
    };
    [
        ("dataset_format", format),
        ("dataset_source", DATA),
        ("output_path", OUTPUT),
        ("publish_cloudwatch_metrics", "Disabled"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Returns the distinct keys per bucket: a job's files have one path per key.
fn buckets(objects: &[(S3Uri, u64)]) -> Result<BTreeMap<&str, BTreeSet<&str>>> {
    let mut buckets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (object, _) in objects {
        let keys = buckets.entry(&object.bucket).or_default();
        if !keys.insert(&object.key) {
            return Err(Failure::usage(format!("{object} is given twice")));
        }
    }
    if buckets.len() > MOST_BUCKETS {
        return Err(Failure::usage(format!(
            "a Processing job reads from at most {MOST_BUCKETS} buckets, not {}",
            buckets.len()
        )));
    }
    Ok(buckets)
}

/// Returns a manifest of exactly these objects: a prefix alone would include every key that starts
/// with it. Complete keys below the prefix preserve the directories (partitions, hours).
fn manifest(bucket: &str, keys: &BTreeSet<&str>) -> Result<Vec<u8>> {
    let head = serde_json::json!({"prefix": S3Uri::new(bucket, "")});
    let keys = keys.iter().map(|key| (*key).into());
    let list: Vec<serde_json::Value> = std::iter::once(head).chain(keys).collect();
    Ok(serde_json::to_vec(&list)?)
}

/// Volume size in GiB: twice the data; what the job itself needs is negligible.
fn volume_size(bytes: u64) -> i32 {
    i32::try_from(10 + bytes.div_ceil(1 << 30) * 2).unwrap_or(i32::MAX)
}

/// Waits for the job and reads its results.
async fn finish(
    ctx: &Context,
    clients: &Clients,
    name: &str,
    exchange: &Exchange,
    local: &Local,
) -> Result<Validation> {
    let resume = format!(
        "the job continues; wait for it with the same command and --resume {}",
        exchange.id()
    );
    let job = {
        let _note = ctx.on_interrupt(&resume);
        let _task = ctx.progress.task(format!("job {name} is validating"));
        let what = format!("the job {name}");
        let poll = || async {
            let job = processing::describe(clients, name).await?;
            Ok(if job.state.is_running() {
                Poll::Pending(job.state.to_string())
            } else {
                Poll::Ready(job)
            })
        };
        ctx.waiter.until(&what, |_| {}, poll).await.hint(resume)?
    };
    if job.state.has_completed() {
        let results = exchange.at("results/");
        ctx.progress.detail(format!("results in {results}"));
        return exchange.finish(clients, local).await;
    }
    let group = processing::LOG_GROUP;
    match logs::last(clients, group, name, TAIL).await {
        Ok(lines) if !lines.is_empty() => {
            ctx.progress.say(format!("last lines of {name}:"));
            for line in lines {
                ctx.progress.say(format!("  {line}"));
            }
        }
        Ok(_) => {}
        // The failure itself matters more than its log.
        Err(error) => ctx.progress.say(mlops_core::error::message(&error)),
    }
    let reasons: Vec<String> = job.message.into_iter().chain(job.failure).collect();
    let why = if reasons.is_empty() {
        "no reason given".to_owned()
    } else {
        reasons.join("; ")
    };
    Err(hinted(
        anyhow!("the job {name} is {}: {why}", job.state),
        format!("its complete log is in the log group {group}, streams {name}/"),
    ))
}

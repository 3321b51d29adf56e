//! `mlops data label push`: labels of predictions, which the model quality monitor compares them with.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use mlops_core::error::{Failure, Hint};
use mlops_core::text::bytes;
use mlops_validation::quality::truth::RecordChecker;
use serde::Serialize;

use crate::aws::{monitoring_store, s3};
use crate::config::{ModelQualitySection, Project};
use crate::context::Context;
use crate::infra;
use crate::monitors::labels::{self, LabelColumns, LabelFile, Parts};

/// Manage labels of predictions
#[derive(Debug, clap::Subcommand)]
pub enum LabelCommand {
    /// Push a file of labels (ground truth) of captured predictions
    ///
    /// The file is CSV with a header, or JSON Lines: an object with both members per line, or a record
    /// of ground truth of AWS's format, which can have several labels for a request of several rows. The
    /// id is the inference id that the caller of the endpoint set, or else the event id of the captured
    /// request. Labels may come late, and of two labels of one id the last one pushed counts. Nothing is
    /// pushed if a line is not valid, or a label is not what `[monitor.model_quality]` describes.
    ///
    /// Example: mlops data label push labels.csv
    Push(LabelPushArgs),
}

/// Arguments of `mlops data label push`.
#[derive(Debug, clap::Args)]
pub struct LabelPushArgs {
    /// The file with the labels
    file: PathBuf,
    /// The column, or the member of an object, with the id
    #[arg(long, value_name = "NAME", default_value = "id")]
    id: String,
    /// The column, or the member of an object, with the label
    #[arg(long, value_name = "NAME", default_value = "label")]
    label: String,
}

/// The labels that were pushed.
#[derive(Debug, Serialize)]
pub struct LabelPushReport {
    /// The endpoint.
    endpoint: String,
    /// Where the endpoint's labels are.
    stored: String,
    labels: u64,
    objects: usize,
    bytes: usize,
    #[serde(skip)]
    next: String,
}

pub(super) async fn run(
    ctx: &Context,
    project: Option<&Project>,
    command: &LabelCommand,
) -> Result<LabelPushReport> {
    let LabelCommand::Push(args) = command;
    let project = project
        .ok_or_else(|| Failure::usage("no mlops.toml found"))
        .hint("run the command in a project")?;
    let columns = LabelColumns {
        id: args.id.clone(),
        label: args.label.clone(),
    };
    let quality = project.file.monitor.model_quality.as_ref();
    let settings = quality.map(ModelQualitySection::settings).transpose();
    let checker = RecordChecker::new(settings.map_err(Failure::usage)?);
    let task = ctx.progress.task("Checking the labels");
    let path = args.file.clone();
    // A file that is not valid is not pushed in part.
    let checked = tokio::task::spawn_blocking(move || -> Result<(LabelFile, u64)> {
        let file = LabelFile::open(&path, columns, checker)?;
        let mut count = 0;
        file.each(|_| {
            count += 1;
            Ok(())
        })?;
        Ok((file, count))
    });
    let (file, count) = checked.await??;
    drop(task);
    let clients = ctx.aws_for(project).await?;
    let platform = infra::platform(clients, project).await?;
    let endpoint = project.file.name.as_str();
    let address = monitoring_store::labels(&platform.capture_bucket, endpoint);
    let task = ctx.progress.items("Pushing labels", count);
    let note = ctx.on_interrupt("labels that were pushed stay; push the file again");
    let (sender, mut parts) = tokio::sync::mpsc::channel::<String>(1);
    let reader = tokio::task::spawn_blocking(move || read(&file, &sender));
    let now = ctx.now();
    let (mut labels, mut objects, mut size) = (0, 0, 0);
    while let Some(part) = parts.recv().await {
        let object = labels::address(&address, now, objects, &part);
        let records = part.lines().count() as u64;
        objects += 1;
        labels += records;
        size += part.len();
        let content = "application/jsonlines";
        s3::put(&clients.s3, &object, content, part.into_bytes()).await?;
        task.advance(records);
    }
    reader.await??;
    drop(note);
    drop(task);
    Ok(LabelPushReport {
        endpoint: endpoint.to_owned(),
        stored: address.to_string(),
        labels,
        objects,
        bytes: size,
        next: ctx.command("monitor run --kind model-quality"),
    })
}

/// Sends the parts of a file; ends if nobody receives them.
fn read(file: &LabelFile, sender: &tokio::sync::mpsc::Sender<String>) -> Result<()> {
    let send = |part: Option<String>| match part {
        Some(part) => sender
            .blocking_send(part)
            .map_err(|_| anyhow::anyhow!("the push was ended")),
        None => Ok(()),
    };
    let mut parts = Parts::default();
    file.each(|record| send(parts.push(&record)))?;
    send(parts.rest())
}

impl fmt::Display for LabelPushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.labels == 1 { "" } else { "s" };
        let size = bytes(self.bytes as u64);
        writeln!(
            f,
            "Pushed {} label{plural}, {size}, to {}",
            self.labels, self.stored
        )?;
        write!(f, "compare them with predictions: `{}`", self.next)
    }
}

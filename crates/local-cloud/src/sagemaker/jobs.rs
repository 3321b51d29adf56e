//! Processing and training jobs: the container contract around a process of the runtime.
//!
//! A job's record is its `Describe…` response. The job itself is a task of the server: inputs are
//! downloaded, the program runs, outputs are uploaded; each step changes the record. The job's
//! files are in a directory of `<state>/jobs` while it runs, which is opened before the program
//! starts. The server reads beneath that handle only, regardless of what the program does to paths.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::announce;
use super::requests::absent;
use super::states::{JobStatus, SecondaryStatus};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::beneath::{self, Directory};
use crate::cloud::service::operations;
use crate::{Cloud, clock, events, runtime};

mod archive;
mod interrupt;
mod list;
mod metrics;
mod processing;
mod request;
mod run;
mod training;
mod transfer;

use run::{Run, launch};

operations! {
    "CreateProcessingJob" => processing::create,
    "DescribeProcessingJob" => processing::describe,
    "ListProcessingJobs" => processing::list,
    "StopProcessingJob" => processing::stop,
    "DeleteProcessingJob" => processing::delete,
    "CreateTrainingJob" => training::create,
    "DescribeTrainingJob" => training::describe,
    "ListTrainingJobs" => training::list,
    "StopTrainingJob" => training::stop,
    "DeleteTrainingJob" => training::delete,
}

/// The time between SIGTERM and SIGKILL of a job that is stopped.
const GRACE: Duration = Duration::from_mins(2);

/// The time between SIGTERM and SIGKILL when the server itself ends.
const SHORT_GRACE: Duration = Duration::from_secs(2);

/// The failure reason of a job that was in progress when the server ended.
const SERVER_ENDED: &str = "InternalServerError: the local cloud ended while the job ran";

/// The characters of a failure reason or exit message that SageMaker keeps.
const REASON: usize = 1024;

/// Processing or training: the differences between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum JobKind {
    Processing,
    Training,
}

impl JobKind {
    fn word(self) -> &'static str {
        match self {
            Self::Processing => "Processing",
            Self::Training => "Training",
        }
    }

    /// The records, and the resource type in ARNs.
    fn resource(self) -> &'static str {
        match self {
            Self::Processing => "processing-job",
            Self::Training => "training-job",
        }
    }

    /// `ProcessingJobName`, `TrainingJobStatus`…
    fn member(self, suffix: &str) -> String {
        format!("{}Job{suffix}", self.word())
    }

    fn records(self, cloud: &Cloud) -> crate::store::Collection<'_, JobRecord> {
        cloud.store().collection("sagemaker", self.resource())
    }

    /// Changes a record, and announces a change of its status.
    fn update<R>(
        self,
        cloud: &Cloud,
        name: &str,
        change: impl FnOnce(&mut JobRecord) -> ApiResult<R>,
    ) -> ApiResult<Option<R>> {
        let records = self.records(cloud);
        events::update(
            cloud,
            announce::SOURCE,
            (&records, name),
            change,
            |before, after| {
                let event = announce::job(self.word(), Some(&before.describe), &after.describe);
                event.into_iter().collect()
            },
        )
    }

    fn arn(self, cloud: &Cloud, name: &str) -> String {
        cloud.arn("sagemaker", format_args!("{}/{name}", self.resource()))
    }

    fn log_group(self) -> String {
        format!("/aws/sagemaker/{}Jobs", self.word())
    }

    fn not_found(self, arn: &str) -> ApiError {
        match self {
            Self::Processing => absent(format!("Could not find requested job with name: {arn}")),
            Self::Training => absent("Requested resource not found."),
        }
    }
}

/// The record of a job: its `Describe…` response.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct JobRecord {
    describe: Value,
}

impl JobRecord {
    fn status(&self, kind: JobKind) -> Option<JobStatus> {
        JobStatus::of(&self.describe[kind.member("Status")])
    }

    fn is_in_progress(&self, kind: JobKind) -> bool {
        self.status(kind).is_some_and(JobStatus::is_in_progress)
    }
}

/// How a job ended.
#[derive(Debug, PartialEq)]
enum End {
    Completed,
    Stopped,
    MaxRuntimeExceeded,
    Failed(String),
}

/// A request to stop a job, with its grace period.
type Wish = Option<Duration>;

/// The jobs in progress, to be stopped by name.
#[derive(Debug, Default)]
struct InProgress(Mutex<HashMap<(JobKind, String), watch::Sender<Wish>>>);

fn in_progress(cloud: &Cloud) -> MutexGuard<'_, HashMap<(JobKind, String), watch::Sender<Wish>>> {
    let jobs = &cloud.state::<InProgress>().0;
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parent of the jobs' directories.
fn jobs(cloud: &Cloud) -> PathBuf {
    cloud.directory().join("jobs")
}

/// Creates the directory of a job.
fn make_directory(cloud: &Cloud, kind: JobKind, name: &str) -> ApiResult<(PathBuf, Directory)> {
    let all = jobs(cloud);
    std::fs::create_dir_all(&all)?;
    let directory = tempfile::Builder::new()
        .prefix(&format!("{}-{name}.", kind.resource()))
        .tempdir_in(all)?
        .keep();
    let ml = directory.join("ml");
    std::fs::create_dir(&ml)?;
    let ml = Directory::open(&ml, runtime::MOUNT)?;
    Ok((directory, ml))
}

/// A type of job: its description and its work.
struct JobType {
    kind: JobKind,
    /// The members of a summary.
    summary: &'static [&'static str],
    /// Completes the description of a new job.
    complete: fn(&mut Value),
    /// Runs a job.
    work: for<'a> fn(&'a Run) -> BoxFuture<'a, ApiResult<End>>,
    /// Changes the description of a job that has ended.
    ended: fn(&mut Value, &End),
}

impl JobType {
    /// Records and starts a new job. `describe` holds the members of the request that the
    /// description repeats.
    fn start(
        &'static self,
        cloud: &Cloud,
        name: &str,
        mut describe: Value,
        tags: Option<&Tags>,
    ) -> ApiResult<Value> {
        let (kind, now) = (self.kind, clock::epoch());
        let arn = kind.arn(cloud, name);
        describe[kind.member("Arn")] = arn.as_str().into();
        describe[kind.member("Status")] = JobStatus::InProgress.into();
        describe["CreationTime"] = now.into();
        describe["LastModifiedTime"] = now.into();
        (self.complete)(&mut describe);
        let run = register(cloud, kind, name, describe, tags)?;
        let job = run.clone();
        launch(run, async move { (self.work)(&job).await }, self.ended);
        Ok(json!({ kind.member("Arn"): arn }))
    }

    fn list(&self, cloud: &Cloud, input: &list::ListJobs) -> ApiResult<Value> {
        list::list(cloud, self.kind, input, self.summary)
    }
}

/// Records a new job with its tags; `ResourceInUse` if the name is taken. After an error there is
/// no record, because that job would never end.
fn register(
    cloud: &Cloud,
    kind: JobKind,
    name: &str,
    describe: Value,
    tags: Option<&Tags>,
) -> ApiResult<Run> {
    let arn = kind.arn(cloud, name);
    let role = describe["RoleArn"].as_str().unwrap_or_default();
    let session = request::session(cloud, role)?;
    // Before the record, because removing that could fail.
    let (directory, ml) = make_directory(cloud, kind, name)?;
    let records = kind.records(cloud);
    let record = JobRecord { describe };
    let recorded = cloud.store().transaction(|transaction| {
        if records.get_in(transaction, name)?.is_some() {
            return Err(ApiError::new(
                "ResourceInUse",
                format!(
                    "{} job names must be unique within an AWS account and region, and a job with this name already exists ({arn})",
                    kind.word()
                ),
            ));
        }
        records.put_in(transaction, name, &record)?;
        if let Some(event) = announce::job(kind.word(), None, &record.describe) {
            events::publish_in(transaction, cloud, event)?;
        }
        super::tags::put_in(cloud, transaction, &arn, tags)
    });
    if let Err(error) = recorded {
        beneath::discard(cloud.directory(), &directory);
        return Err(error);
    }
    events::deliver_soon(cloud);
    let (sender, stop) = watch::channel(None);
    in_progress(cloud).insert((kind, name.to_owned()), sender);
    Ok(Run {
        cloud: cloud.clone(),
        kind,
        name: name.to_owned(),
        request: record.describe,
        directory,
        ml: Arc::new(ml),
        stop,
        session,
    })
}

/// `resourceconfig.json` of the only host.
fn resource_config(instance_type: Option<&str>) -> Value {
    json!({
        "current_host": "algo-1",
        "current_instance_type": instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [{
            "instance_group_name": "homogeneousCluster",
            "instance_type": instance_type,
            "hosts": ["algo-1"],
        }],
        "network_interface_name": "eth0",
    })
}

/// An error as the failure reason of a job: a `ClientError` if the job's owner can fix it.
fn reason_of(error: &ApiError) -> String {
    if error.status >= 500 && error.code != "NotImplemented" {
        format!("InternalServerError: {}", error.message)
    } else {
        format!("ClientError: {}", error.message)
    }
}

fn failure_reason(said: Option<&str>, code: i32) -> String {
    let tail = format!(", exit code: {code}");
    let said = said.unwrap_or("See job logs for more information");
    let room = REASON - "AlgorithmError: ".len() - tail.len();
    format!("AlgorithmError: {}{tail}", truncated(said, room))
}

fn truncated(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// The first characters of a file that the program wrote; `None` if it is absent or empty. A link
/// is an error: it could lead anywhere.
fn first_characters(ml: &Directory, path: &str) -> Result<Option<String>, beneath::Error> {
    use std::io::Read;

    let Some(file) = ml.file(Path::new(path))? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(4 * REASON as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| beneath::Error::Failed(ml.shown(Path::new(path)), error))?;
    // A terminal would interpret its control characters.
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .map(|sign| match sign {
            '\n' | '\t' => sign,
            sign if sign.is_control() => char::REPLACEMENT_CHARACTER,
            sign => sign,
        })
        .collect();
    let text = truncated(text.trim(), REASON);
    Ok((!text.is_empty()).then_some(text))
}

fn describe(cloud: &Cloud, kind: JobKind, name: &str) -> ApiResult<Value> {
    kind.records(cloud)
        .get(name)?
        .map(|record| record.describe)
        .ok_or_else(|| kind.not_found(&kind.arn(cloud, name)))
}

fn stop(cloud: &Cloud, kind: JobKind, name: &str) -> ApiResult<Value> {
    let changed = kind.update(cloud, name, |record| {
        if record.is_in_progress(kind) {
            record.describe[kind.member("Status")] = JobStatus::Stopping.into();
            if kind == JobKind::Training {
                training::enter(&mut record.describe, SecondaryStatus::Stopping);
            }
            record.describe["LastModifiedTime"] = clock::epoch().into();
            return Ok(true);
        }
        Ok(false)
    })?;
    match changed {
        None => Err(kind.not_found(&kind.arn(cloud, name))),
        Some(false) => Err(ApiError::validation(format!(
            "The request was rejected because the {} job is not in status InProgress",
            kind.word().to_lowercase()
        ))),
        Some(true) => {
            if let Some(wish) = in_progress(cloud).get(&(kind, name.to_owned())) {
                // Only the first request counts: an SDK's retry must not interrupt the upload of what
                // the program saves after it.
                wish.send_if_modified(|wish| {
                    let first = wish.is_none();
                    wish.get_or_insert(GRACE);
                    first
                });
            }
            Ok(Value::Null)
        }
    }
}

fn delete(cloud: &Cloud, kind: JobKind, name: &str) -> ApiResult<Value> {
    let record = describe(cloud, kind, name).map(|describe| JobRecord { describe })?;
    if record.is_in_progress(kind) {
        return Err(ApiError::new(
            "ResourceInUse",
            format!(
                "{} is {}",
                kind.arn(cloud, name),
                record.status(kind).map_or("", JobStatus::name)
            ),
        ));
    }
    cloud.store().transaction(|transaction| {
        kind.records(cloud).remove_in(transaction, name)?;
        super::tags::remove_in(cloud, transaction, &kind.arn(cloud, name))?;
        Ok(Value::Null)
    })
}

/// Marks the jobs that were in progress when the server died as failed, and removes their files.
pub(super) fn recover(cloud: &Cloud) -> anyhow::Result<()> {
    // First, because on a full disk this frees space for the next writes.
    beneath::discard(cloud.directory(), &jobs(cloud));
    for kind in [JobKind::Processing, JobKind::Training] {
        let records = kind.records(cloud);
        for (name, record) in records.list("")? {
            if !record.is_in_progress(kind) {
                continue;
            }
            kind.update(cloud, &name, |record| {
                let job = &mut record.describe;
                job[kind.member("Status")] = JobStatus::Failed.into();
                job["FailureReason"] = SERVER_ENDED.into();
                job[format!("{}EndTime", kind.word())] = clock::epoch().into();
                job["LastModifiedTime"] = clock::epoch().into();
                if kind == JobKind::Training {
                    training::enter(job, SecondaryStatus::Failed);
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Stops the jobs of this server and records that.
pub(super) async fn shut_down(cloud: &Cloud) {
    for wish in in_progress(cloud).values() {
        wish.send_replace(Some(SHORT_GRACE));
    }
    let patience = 2 * SHORT_GRACE;
    let start = std::time::Instant::now();
    while start.elapsed() < patience && !in_progress(cloud).is_empty() {
        clock::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests;

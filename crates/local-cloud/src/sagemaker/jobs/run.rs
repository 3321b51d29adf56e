//! A running job: its program, its transfers, its record and its end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use super::super::lineage;
use super::super::states::JobStatus;
use super::interrupt::Interrupt;
use super::request::Bounds;
use super::{
    End, GRACE, JobKind, JobRecord, REASON, SERVER_ENDED, SHORT_GRACE, Wish, describe,
    failure_reason, first_characters, in_progress, reason_of, transfer, truncated,
};
use crate::api::{ApiError, ApiResult};
use crate::beneath::{self, Directory};
use crate::cloud::caller::Caller;
use crate::runtime::{self, ContainerSpec, PreparedImage, Running};
use crate::sts::ServiceSession;
use crate::{Cloud, clock};

/// A running job.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) cloud: Cloud,
    pub(super) kind: JobKind,
    pub(super) name: String,
    /// The request, with its defaults.
    pub(super) request: Value,
    /// The job's directory. A later job of the same name has another one.
    pub(super) directory: PathBuf,
    /// The directory that becomes /opt/ml, open since before the program started.
    pub(super) ml: Arc<Directory>,
    pub(super) stop: watch::Receiver<Wish>,
    /// The session of its role.
    pub(super) session: Arc<ServiceSession>,
}

/// Runs a job in the background and records its end. `change` is the final change of the record. The cloud's time does not
/// overtake a job: what it writes belongs to the time at which it started.
pub(super) fn launch(
    run: Run,
    work: impl Future<Output = ApiResult<End>> + Send + 'static,
    change: fn(&mut Value, &End),
) {
    let (cloud, broken) = (run.cloud.clone(), run.clone());
    let busy = cloud.clock().begin(run.title());
    cloud.spawn(
        run.title(),
        async move {
            let _busy = busy;
            run.finish(&work.await, change).await;
        },
        move |error| async move {
            let job = describe(&broken.cloud, broken.kind, &broken.name);
            if job.is_ok_and(|describe| JobRecord { describe }.is_in_progress(broken.kind)) {
                broken.finish(&Err(error), change).await;
            } else {
                broken.let_go().await;
            }
        },
    );
}

impl Run {
    /// The job's name in server messages.
    pub(super) fn title(&self) -> String {
        format!("{} job {}", self.kind.word().to_lowercase(), self.name)
    }

    /// The job's role: on its behalf, data and images are transferred.
    pub(super) fn caller(&self) -> Caller {
        self.session.caller()
    }

    /// The request, parsed as a type.
    pub(super) fn read<T: DeserializeOwned>(&self) -> ApiResult<T> {
        crate::api::parse(self.request.clone())
    }

    /// Changes the record and its `LastModifiedTime`.
    pub(super) fn change(&self, change: impl FnOnce(&mut Value)) -> ApiResult<()> {
        self.kind.update(&self.cloud, &self.name, |record| {
            change(&mut record.describe);
            record.describe["LastModifiedTime"] = clock::epoch().into();
            Ok(())
        })?;
        Ok(())
    }

    pub(super) fn stream(&self) -> String {
        let created = self.request["CreationTime"].as_f64().unwrap_or_default();
        format!("{}/algo-1-{created:.0}", self.name)
    }

    /// Uploads a directory of the job; skipped links are named in its log.
    pub(super) fn upload(
        &self,
        directory: &Directory,
        uri: &str,
        interrupt: &Interrupt,
    ) -> ApiResult<()> {
        for link in transfer::upload(&self.cloud, &self.caller(), directory, uri, interrupt)? {
            self.say(&format!(
                "not uploaded: {} is a symbolic link",
                link.display()
            ))?;
        }
        Ok(())
    }

    /// Writes a line to the job's log.
    pub(super) fn say(&self, line: &str) -> ApiResult<()> {
        let now = jiff::Timestamp::now().as_millisecond();
        crate::logs::append(
            &self.cloud,
            &self.caller(),
            &self.kind.log_group(),
            &self.stream(),
            &[(now, format!("[mlops] {line}"))],
        )
    }

    /// True if the job was requested to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.borrow().is_some()
    }

    /// The outcome of a job that was stopped by a client or by the end of the server.
    pub(super) fn stopped(&self) -> End {
        match *self.stop.borrow() {
            Some(SHORT_GRACE) => End::Failed(SERVER_ENDED.to_owned()),
            _ => End::Stopped,
        }
    }

    /// The interrupt of a transfer that begins now; `after` is how the program ended. The files of
    /// a stopped program are still uploaded: only a later stop request ends that upload. The end of
    /// the server ends every transfer.
    pub(super) fn interrupt(&self, after: Option<&End>) -> Interrupt {
        let mut stop = self.stop.clone();
        if after.is_some() {
            stop.mark_unchanged();
        }
        let ended = *stop.borrow() == Some(SHORT_GRACE);
        Interrupt::new(stop, ended)
    }

    /// Moves files between S3 and the job's directory without blocking other requests; false if a
    /// stop is requested in the meantime.
    pub(super) async fn transfer(
        &self,
        interrupt: Interrupt,
        work: impl FnOnce(&Run, &Interrupt) -> ApiResult<()> + Send + 'static,
    ) -> ApiResult<bool> {
        let (run, flag) = (self.clone(), interrupt.clone());
        let done = tokio::task::spawn_blocking(move || work(&run, &flag))
            .await
            .map_err(ApiError::internal)?;
        if done.is_err() && interrupt.is_wanted() {
            self.say("stopped during a transfer: files that were not uploaded yet are lost")?;
            return Ok(false);
        }
        done.map(|()| true)
    }

    /// Prepares the image; `None` if a stop is requested in the meantime: installing packages can
    /// take minutes.
    pub(super) async fn prepare(&self, image: &str) -> ApiResult<Option<PreparedImage>> {
        let (mut stop, role) = (self.stop.clone(), self.caller());
        let stopped = async move {
            // The sender is dropped only when the job has ended.
            if stop.wait_for(Option::is_some).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            prepared = runtime::prepare(&self.cloud, &role, image) => prepared.map(Some),
            () = stopped => Ok(None),
        }
    }

    /// Runs the program until it ends, is stopped, or exceeds its time limit.
    pub(super) async fn execute(
        &self,
        prepared: PreparedImage,
        command: Vec<String>,
        environment: std::collections::BTreeMap<String, String>,
    ) -> ApiResult<End> {
        let bounds: Bounds = self.read()?;
        let seconds = bounds.seconds();
        let job = ContainerSpec {
            image: prepared,
            base_dir: self.directory.join("ml"),
            command,
            environment,
            session: self.session.clone(),
            log_group: self.kind.log_group(),
            log_stream: self.stream(),
        };
        let running = if bounds.is_isolated() {
            runtime::launch_without_network(&self.cloud, job).await?
        } else {
            runtime::launch(&self.cloud, job).await?
        };
        let mut stop = self.stop.clone();
        let wish = async move {
            let grace = stop.wait_for(Option::is_some).await.map(|grace| *grace);
            match grace {
                Ok(grace) => grace.unwrap_or(GRACE),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            code = running.wait() => Ok(self.ended(code)),
            grace = wish => {
                running.terminate(grace).await;
                Ok(self.stopped())
            }
            () = clock::sleep(Duration::from_secs(seconds)) => {
                self.say(&format!("stopped: MaxRuntimeInSeconds is {seconds}"))?;
                self.terminate(&running).await;
                Ok(End::MaxRuntimeExceeded)
            }
        }
    }

    /// Ends a process that ran too long. The end of the server shortens the grace period.
    async fn terminate(&self, running: &Running) {
        let mut stop = self.stop.clone();
        let hurry = async move {
            let hurried = |wish: &Wish| wish.is_some_and(|grace| grace < GRACE);
            stop.wait_for(hurried).await.is_ok()
        };
        tokio::select! {
            _ = running.terminate(GRACE) => {}
            _ = hurry => {
                running.terminate(SHORT_GRACE).await;
            }
        }
    }

    pub(super) fn ended(&self, code: i32) -> End {
        if code == 0 {
            return End::Completed;
        }
        let said = match first_characters(&self.ml, "output/failure") {
            Ok(said) => said,
            Err(error) => Some(error.to_string()),
        };
        End::Failed(failure_reason(said.as_deref(), code))
    }

    /// Records the end of the job and removes its files. If the record cannot be written (the disk is full),
    /// the files are removed first, and the write is retried until it succeeds.
    pub(super) async fn finish(&self, end: &ApiResult<End>, change: impl Fn(&mut Value, &End)) {
        let failed;
        let end = match end {
            Ok(end) => end,
            Err(error) => {
                failed = End::Failed(reason_of(error));
                &failed
            }
        };
        let message = first_characters(&self.ml, "output/message").unwrap_or_else(|error| {
            // The message is optional: without it the job has ended the same way.
            let _ = self.say(&error.to_string());
            None
        });
        let ended = clock::epoch();
        let write = || {
            self.change(|job| {
                job[self.kind.member("Status")] = match end {
                    End::Completed => JobStatus::Completed,
                    End::Failed(_) => JobStatus::Failed,
                    End::Stopped | End::MaxRuntimeExceeded => JobStatus::Stopped,
                }
                .into();
                if let End::Failed(reason) = end {
                    job["FailureReason"] = truncated(reason, REASON).into();
                }
                if self.kind == JobKind::Processing
                    && let Some(message) = &message
                {
                    job["ExitMessage"] = message.as_str().into();
                }
                job[format!("{}EndTime", self.kind.word())] = ended.into();
                change(job, end);
            })
        };
        if write().is_err_and(|error| error.is_unavailable()) {
            self.clean_up().await;
            // Any other error means that the state directory was deleted; there is nobody to notify.
            let _ = self.cloud.persist(&self.title(), write).await;
        }
        if let Ok(job) = describe(&self.cloud, self.kind, &self.name) {
            // An error in the lineage does not change the end of the job.
            let _ = lineage::job_finished(&self.cloud, &job);
        }
        self.let_go().await;
    }

    /// Unregisters a job, so that it can no longer be stopped, and removes its files.
    async fn let_go(&self) {
        in_progress(&self.cloud).remove(&(self.kind, self.name.clone()));
        self.clean_up().await;
    }

    /// Removes the job's files.
    async fn clean_up(&self) {
        let (state, directory) = (self.cloud.directory().to_owned(), self.directory.clone());
        // Only a panic of the removal is an error here; the next start removes the rest.
        let _ = tokio::task::spawn_blocking(move || beneath::discard(&state, &directory)).await;
    }
}

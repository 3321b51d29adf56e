//! A build in progress: its queue, its phases, its end.
//!
//! Unverified against AWS [codebuild-on-failure-continue]: a build with a failed phase fails, also if the buildspec
//! continues after it (`on-failure: CONTINUE`). Unverified against AWS [codebuild-upload-after-failure]: the output is
//! uploaded after every `POST_BUILD`, also a failed one. Unverified against AWS [codebuild-context-codes]: the codes
//! `ACCESS_DENIED` and `BUILD_TIMED_OUT` of phase contexts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::buildspec::CommandPhase;
use super::interrupt::Interrupt;
use super::log::BuildLog;
use super::progress::{self, Progress, SERVER_ENDED};
use super::queue::Place;
use super::records::{Build, BuildRecord, PhaseContext, Status};
use super::settings::not_assumable;
use super::{BUILDS, PRINCIPAL};
use crate::api::{ApiError, ApiResult};
use crate::clock::{Clock, Work};
use crate::events::Event;
use crate::runtime::Running;
use crate::sts::{self, ServiceSession};
use crate::{Cloud, beneath, clock};

mod commands;
mod download;
mod expressions;
mod output;

/// The time between SIGTERM and SIGKILL of a build that is stopped.
const GRACE: Duration = Duration::from_secs(2);

/// Maximum time between two looks at the clock: the machine may have been suspended.
const RECHECK: Duration = Duration::from_secs(30);

/// Who ends a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// `StopBuild`
    Client,
    /// The end of the server.
    Server,
}

type Wish = Option<Stop>;

/// The builds in progress, by id.
#[derive(Debug, Default)]
struct InProgress(Mutex<HashMap<String, watch::Sender<Wish>>>);

fn in_progress(cloud: &Cloud) -> MutexGuard<'_, HashMap<String, watch::Sender<Wish>>> {
    let builds = &cloud.state::<InProgress>().0;
    builds.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parent of the directories of builds.
pub(super) fn directory(cloud: &Cloud) -> PathBuf {
    cloud.directory().join("builds")
}

/// Why a build ends before its last phase.
#[derive(Debug)]
enum Break {
    Failed(PhaseContext),
    TimedOut(PhaseContext),
    Stopped,
    Fault(String),
}

impl Break {
    /// A failure with AWS's code for what the owner of the build can fix.
    fn client(message: impl Into<String>) -> Self {
        Self::Failed(PhaseContext::new("CLIENT_ERROR", message))
    }

    /// Writes the end of a phase to the log.
    fn log(&self, phase: &str, log: &BuildLog) {
        match self {
            Self::Failed(context) => log.phase_complete(phase, Some(context)),
            Self::TimedOut(context) => log.container(&context.message),
            Self::Stopped | Self::Fault(_) => {}
        }
    }
}

impl From<ApiError> for Break {
    fn from(error: ApiError) -> Self {
        if error.is_unavailable() || error.code == "InternalFailure" {
            return Self::Fault(error.message);
        }
        let code = if error.is_denied() {
            "ACCESS_DENIED"
        } else {
            "CLIENT_ERROR"
        };
        Self::Failed(PhaseContext::new(code, error.message))
    }
}

impl From<std::io::Error> for Break {
    fn from(error: std::io::Error) -> Self {
        ApiError::from(error).into()
    }
}

/// A build in progress.
struct Run {
    cloud: Cloud,
    record: BuildRecord,
    progress: Progress,
    stop: watch::Receiver<Wish>,
    /// Asleep while the build waits in the queue and while its commands run.
    work: Work,
    /// When the build times out; `MAX` in the queue.
    due: Timestamp,
    interrupt: Interrupt,
}

/// A build that can be stopped, from before it is recorded. Dropping it forgets the build.
pub(super) struct Registered {
    cloud: Cloud,
    id: String,
    stop: watch::Receiver<Wish>,
    /// True once the build itself forgets it, at its end.
    is_launched: bool,
}

#[cfg(test)]
impl Registered {
    /// True if the build was told to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.borrow().is_some()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if !self.is_launched {
            in_progress(&self.cloud).remove(&self.id);
        }
    }
}

/// Registers a build that is about to be recorded.
pub(super) fn register(cloud: &Cloud, id: &str) -> Registered {
    let (sender, stop) = watch::channel(None);
    in_progress(cloud).insert(id.to_owned(), sender);
    Registered {
        cloud: cloud.clone(),
        id: id.to_owned(),
        stop,
        is_launched: false,
    }
}

/// Starts a recorded build.
pub(super) fn launch(mut registered: Registered, record: BuildRecord, work: Work, place: Place) {
    registered.is_launched = true;
    let cloud = registered.cloud.clone();
    let id = record.build.id.clone();
    let progress = Progress::new(&cloud, &id);
    let (ended, failed) = (progress.clone(), cloud.clone());
    let run = Run {
        cloud: cloud.clone(),
        record,
        progress,
        stop: registered.stop.clone(),
        work,
        due: Timestamp::MAX,
        interrupt: Interrupt::default(),
    };
    let what = format!("build {id}");
    cloud.spawn(
        what,
        async move { run.run(place).await },
        move |error| async move {
            let context = PhaseContext::new("INTERNAL_SERVER_ERROR", error.message);
            let end = |build: &mut Build, now: f64| {
                let ended = progress::break_off(build, Status::Fault, &context, now);
                let complete = progress::complete(build, Status::Fault, now);
                ended.into_iter().chain(complete).collect()
            };
            ended.persist(end).await;
            ended.announce();
            in_progress(&failed).remove(&id);
        },
    );
}

/// Stops a build, and waits until it has ended.
pub(super) async fn stop(cloud: &Cloud, id: &str) {
    let mut stop = {
        let all = in_progress(cloud);
        let Some(stop) = all.get(id) else {
            return;
        };
        stop.send_if_modified(|wish| {
            let first = wish.is_none();
            wish.get_or_insert(Stop::Client);
            first
        });
        stop.subscribe()
    };
    // A build in the queue sleeps on the clock.
    cloud.clock().announce(BUILDS);
    let ended = async { while stop.changed().await.is_ok() {} };
    tokio::select! {
        () = ended => {}
        () = clock::sleep(GRACE * 2) => {}
    }
}

/// Stops the builds of this server.
pub(super) async fn shut_down(cloud: &Cloud) {
    for wish in in_progress(cloud).values() {
        wish.send_replace(Some(Stop::Server));
    }
    cloud.clock().announce(BUILDS);
    let start = std::time::Instant::now();
    while start.elapsed() < GRACE * 2 && !in_progress(cloud).is_empty() {
        clock::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until a build is stopped.
async fn stopped(stop: &mut watch::Receiver<Wish>) -> Break {
    match stop.wait_for(Option::is_some).await.map(|wish| *wish) {
        Ok(Some(Stop::Server)) => Break::Fault(SERVER_ENDED.to_owned()),
        Ok(_) => Break::Stopped,
        // The sender is dropped only when the build has ended.
        Err(_) => std::future::pending().await,
    }
}

/// The directories of a build; removed by [`Files::remove`].
struct Files {
    /// The parent of the root and of the runtime's own directory.
    parent: PathBuf,
    /// The root, which programs see under another path.
    root: PathBuf,
}

impl Files {
    fn create(cloud: &Cloud) -> ApiResult<Self> {
        let all = directory(cloud);
        std::fs::create_dir_all(&all)?;
        let parent = tempfile::Builder::new()
            .prefix("build-")
            .tempdir_in(all)?
            .keep();
        let root = parent.join("root");
        for directory in [
            super::globs::HOME,
            super::globs::TEMPORARY,
            super::globs::SOURCE,
        ] {
            std::fs::create_dir_all(root.join(directory))?;
        }
        Ok(Self { parent, root })
    }

    async fn remove(self, cloud: &Cloud) {
        let state = cloud.directory().to_owned();
        // Only a panic of the removal is an error here; the next start removes the rest.
        let _ = tokio::task::spawn_blocking(move || beneath::discard(&state, &self.parent)).await;
    }
}

impl Run {
    async fn run(mut self, place: Place) {
        let mut files = None;
        let result = self.phases(&place, &mut files).await;
        let (status, context) = match result {
            Ok(true) => (Status::Succeeded, None),
            Ok(false) => (Status::Failed, None),
            Err(Break::Failed(context)) => (Status::Failed, Some(context)),
            Err(Break::TimedOut(context)) => (Status::TimedOut, Some(context)),
            Err(Break::Stopped) => (Status::Stopped, Some(PhaseContext::default())),
            Err(Break::Fault(message)) => {
                let context = PhaseContext::new("INTERNAL_SERVER_ERROR", message);
                (Status::Fault, Some(context))
            }
        };
        if let Some(context) = context {
            let end = |build: &mut Build, now| {
                let ended = progress::break_off(build, status, &context, now);
                ended.into_iter().collect()
            };
            self.write(&mut files, end).await;
        }
        let is_finalized = matches!(
            status,
            Status::Succeeded | Status::Failed | Status::TimedOut
        );
        if is_finalized {
            let begin = |build: &mut Build, now| {
                progress::begin(build, "FINALIZING", now);
                Vec::new()
            };
            self.write(&mut files, begin).await;
        }
        if let Some(files) = files.take() {
            files.remove(&self.cloud).await;
        }
        if is_finalized {
            let end = |build: &mut Build, now| {
                let context = PhaseContext::default();
                let ended = progress::end(build, Status::Succeeded, &context, now);
                ended.into_iter().collect()
            };
            self.write(&mut files, end).await;
        }
        let complete = |build: &mut Build, now| progress::complete(build, status, now);
        self.write(&mut files, complete).await;
        self.progress.announce();
        in_progress(&self.cloud).remove(&self.record.build.id);
        drop(place);
    }

    /// Writes the end of the build. If the disk is full, the files of the build are removed first: they may be what
    /// fills it.
    async fn write(
        &self,
        files: &mut Option<Files>,
        change: impl Fn(&mut Build, f64) -> Vec<Event>,
    ) {
        if self.progress.change(&change).await.is_ok() {
            return;
        }
        if let Some(files) = files.take() {
            files.remove(&self.cloud).await;
        }
        self.progress.persist(change).await;
    }

    /// Runs the phases up to `UPLOAD_ARTIFACTS`; true if all of them succeeded.
    async fn phases(&mut self, place: &Place, files: &mut Option<Files>) -> Result<bool, Break> {
        self.wait_in_queue(place).await?;
        let session = self.assume_role()?;
        self.progress.next("PROVISIONING").await?;
        self.due = self.later(self.record.settings.timeout_in_minutes);
        let files = files.insert(Files::create(&self.cloud)?);
        let mut build = download::Prepared::new(self, &session, &files.root).await?;
        let log = build.log.clone();
        self.progress.next("DOWNLOAD_SOURCE").await?;
        let downloaded = build.download(self).await;
        downloaded.inspect_err(|reason| reason.log("DOWNLOAD_SOURCE", &log))?;
        log.phase_complete("DOWNLOAD_SOURCE", None);
        // The next phase begins before anything of it can fail.
        self.progress.next(CommandPhase::Install.name()).await?;
        let outcome = self.commands(&build).await;
        let outcome = outcome.inspect_err(|reason| {
            if let Break::TimedOut(context) = reason {
                log.container(&context.message);
            }
        })?;
        if !outcome.uploads {
            return Ok(!outcome.has_failed);
        }
        self.progress.begin("UPLOAD_ARTIFACTS").await?;
        let uploaded = self.upload(&build, &outcome).await;
        uploaded.inspect_err(|reason| reason.log("UPLOAD_ARTIFACTS", &log))?;
        log.phase_complete("UPLOAD_ARTIFACTS", None);
        self.progress
            .end(Status::Succeeded, &PhaseContext::default())
            .await?;
        Ok(!outcome.has_failed)
    }

    /// Waits until the build must end: it was stopped, or has run for too long. What runs until then keeps the cloud's
    /// time from being advanced.
    async fn halted(&mut self) -> Break {
        let reached = reached(self.cloud.clock(), self.due);
        tokio::select! {
            biased;
            reason = stopped(&mut self.stop) => return reason,
            () = reached => {}
        }
        self.timed_out()
    }

    fn timed_out(&self) -> Break {
        let minutes = self.record.settings.timeout_in_minutes;
        let message = format!("Build has timed out after {minutes} minutes.");
        Break::TimedOut(PhaseContext::new("BUILD_TIMED_OUT", message))
    }

    fn later(&self, minutes: u32) -> Timestamp {
        let duration = Duration::from_secs(u64::from(minutes) * 60);
        self.cloud
            .clock()
            .now()
            .checked_add(duration)
            .unwrap_or(Timestamp::MAX)
    }

    /// Waits until the build may run.
    async fn wait_in_queue(&mut self, place: &Place) -> Result<(), Break> {
        let minutes = self.record.settings.queued_timeout_in_minutes;
        let due = self.later(minutes);
        loop {
            let seen = self.cloud.clock().announced(BUILDS);
            if self.stop.borrow().is_some() {
                return Err(stopped(&mut self.stop).await);
            }
            if place.start() {
                return Ok(());
            }
            if self.cloud.clock().now() >= due {
                let message = format!("Build has timed out after {minutes} minutes in the queue.");
                return Err(Break::TimedOut(PhaseContext::new(
                    "BUILD_TIMED_OUT",
                    message,
                )));
            }
            self.work.sleep_until_announced(due, BUILDS, seen).await;
        }
    }

    /// The session of the service role. Unverified against AWS [codebuild-role-phase]: the phase in which a build
    /// fails whose role cannot be assumed any more.
    fn assume_role(&self) -> Result<Arc<ServiceSession>, Break> {
        let role = &self.record.settings.service_role;
        let name = format!("AWSCodeBuild-{}", self.uuid());
        let session = sts::for_service(&self.cloud, role, &name, PRINCIPAL);
        session.map(Arc::new).map_err(|error| {
            if error.status >= 500 {
                return error.into();
            }
            Break::Failed(PhaseContext::new("ACCESS_DENIED", not_assumable(role)))
        })
    }

    /// The id of the build without its project.
    fn uuid(&self) -> &str {
        let id = &self.record.build.id;
        id.split_once(':').map_or(id.as_str(), |(_, uuid)| uuid)
    }

    /// Runs work that blocks. A stop and the timeout interrupt it.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(Interrupt) -> Result<T, Break> + Send + 'static,
    ) -> Result<T, Break> {
        let interrupt = self.interrupt.clone();
        interruptible(&interrupt, self.halted(), work).await
    }

    /// Ends the program of a build.
    async fn terminate(&self, running: &Running) {
        running.terminate(GRACE).await;
    }
}

/// Runs work that blocks until it has ended, which `end` makes it do early.
async fn interruptible<T: Send + 'static>(
    interrupt: &Interrupt,
    end: impl Future<Output = Break>,
    work: impl FnOnce(Interrupt) -> Result<T, Break> + Send + 'static,
) -> Result<T, Break> {
    let own = interrupt.clone();
    let mut task = tokio::task::spawn_blocking(move || work(own));
    tokio::select! {
        done = &mut task => done.map_err(ApiError::internal)?,
        reason = end => {
            interrupt.set();
            // Nothing may use the directories when they are removed.
            let _ = task.await;
            Err(reason)
        }
    }
}

/// Waits until a time of the cloud.
async fn reached(clock: &Clock, due: Timestamp) {
    loop {
        let left = Duration::try_from(due.duration_since(clock.now())).unwrap_or_default();
        if left.is_zero() {
            return;
        }
        clock::sleep(left.min(RECHECK)).await;
    }
}

/// A file that a program of the build may have written: its first bytes as text.
fn read_text(root: &beneath::Directory, path: &Path, limit: u64) -> ApiResult<Option<String>> {
    use std::io::Read;

    let Some(file) = root.file(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_build_interrupts_its_work_and_waits_for_it() {
        let interrupt = Interrupt::default();
        let ended = Arc::new(Mutex::new(false));
        let own = ended.clone();
        let timeout = async { Break::TimedOut(PhaseContext::default()) };
        let result: Result<(), Break> = interruptible(&interrupt, timeout, move |interrupt| {
            while interrupt.check().is_ok() {
                std::thread::yield_now();
            }
            *own.lock().unwrap() = true;
            Ok(())
        })
        .await;
        assert!(matches!(result, Err(Break::TimedOut(_))));
        assert!(*ended.lock().unwrap());
    }

    #[tokio::test]
    async fn a_time_that_has_passed_is_reached() {
        let at = crate::test_cloud::TestCloud::new();
        let cloud = at.cloud();
        let now = cloud.clock().now();
        reached(cloud.clock(), now).await;
        let soon = now.checked_add(Duration::from_millis(20)).unwrap();
        reached(cloud.clock(), soon).await;
        assert!(cloud.clock().now() >= soon);
    }
}

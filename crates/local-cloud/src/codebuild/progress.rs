//! The phases of a build in its record. Each change is written with its event in one transaction.

use std::time::Duration;

use super::records::{Build, BuildRecord, Phase, PhaseContext, Status, builds};
use super::{BUILDS, event};
use crate::api::ApiResult;
use crate::events::{self, Event};
use crate::{Cloud, clock};

/// Maximum length of the message of a phase, in characters; a command can be long.
const MAX_MESSAGE: usize = 4096;

/// The pauses between attempts to write the record, which another process may be reading.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
];

/// The record of a build in progress.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    cloud: Cloud,
    id: String,
}

impl Progress {
    pub(super) fn new(cloud: &Cloud, id: &str) -> Self {
        Self {
            cloud: cloud.clone(),
            id: id.to_owned(),
        }
    }

    fn write(&self, change: impl FnOnce(&mut Build, f64) -> Vec<Event>) -> ApiResult<()> {
        write(&self.cloud, &self.id, |record, now| {
            change(&mut record.build, now)
        })
    }

    /// Changes the record; `change` returns the events of the change.
    ///
    /// # Errors
    /// The disk is full, not only for a moment: the build ends, so that its own files are removed.
    pub(super) async fn change(
        &self,
        change: impl Fn(&mut Build, f64) -> Vec<Event>,
    ) -> ApiResult<()> {
        let mut pauses = PAUSES.into_iter();
        while let Err(error) = self.write(&change)
            && error.is_unavailable()
        {
            clock::sleep(pauses.next().ok_or(error)?).await;
        }
        // Any other error means that the state directory was deleted.
        events::deliver_soon(&self.cloud);
        Ok(())
    }

    /// Changes the record as soon as the disk has space.
    pub(super) async fn persist(&self, change: impl Fn(&mut Build, f64) -> Vec<Event>) {
        let write = || self.write(&change);
        // Any error other than a full disk means that the state directory was deleted.
        let _ = self
            .cloud
            .persist(&format!("build {}", self.id), write)
            .await;
        events::deliver_soon(&self.cloud);
    }

    /// Changes members of the record other than its phases.
    pub(super) async fn set(&self, change: impl Fn(&mut Build)) -> ApiResult<()> {
        self.change(|build, _| {
            change(build);
            Vec::new()
        })
        .await
    }

    /// Begins a phase; the one before has ended.
    pub(super) async fn begin(&self, phase: &str) -> ApiResult<()> {
        self.change(|build, now| {
            begin(build, phase, now);
            Vec::new()
        })
        .await
    }

    /// Ends the current phase.
    pub(super) async fn end(&self, status: Status, context: &PhaseContext) -> ApiResult<()> {
        self.change(|build, now| end(build, status, context, now).into_iter().collect())
            .await
    }

    /// Ends the current phase and begins the next one.
    pub(super) async fn next(&self, phase: &str) -> ApiResult<()> {
        self.change(|build, now| {
            let ended = end(build, Status::Succeeded, &PhaseContext::default(), now);
            begin(build, phase, now);
            ended.into_iter().collect()
        })
        .await
    }

    /// Announces that the build has ended.
    pub(super) fn announce(&self) {
        self.cloud.clock().announce(BUILDS);
    }
}

/// The phase that would be next, for a build that breaks between two phases.
fn after(phase: &str) -> &'static str {
    match phase {
        "SUBMITTED" => "QUEUED",
        "QUEUED" => "PROVISIONING",
        "PROVISIONING" => "DOWNLOAD_SOURCE",
        "DOWNLOAD_SOURCE" => "INSTALL",
        "INSTALL" => "PRE_BUILD",
        "PRE_BUILD" => "BUILD",
        "BUILD" => "POST_BUILD",
        "POST_BUILD" => "UPLOAD_ARTIFACTS",
        _ => "FINALIZING",
    }
}

/// Ends the current phase of a build that breaks; the phase that would be next, if none is open.
pub(super) fn break_off(
    build: &mut Build,
    status: Status,
    context: &PhaseContext,
    now: f64,
) -> Option<Event> {
    let is_open = build
        .phases
        .last()
        .is_some_and(|phase| phase.end_time.is_none());
    if !is_open {
        let phase = after(&build.current_phase);
        begin(build, phase, now);
    }
    end(build, status, context, now)
}

/// Changes a record with its events in one transaction.
fn write(
    cloud: &Cloud,
    id: &str,
    change: impl FnOnce(&mut BuildRecord, f64) -> Vec<Event>,
) -> ApiResult<()> {
    let now = cloud.clock().epoch();
    cloud.store().transaction(|tx| {
        let Some(mut record) = builds(cloud).get_in(tx, id)? else {
            return Ok(());
        };
        let events = change(&mut record, now);
        builds(cloud).put_in(tx, id, &record)?;
        events
            .into_iter()
            .try_for_each(|event| events::publish_in(tx, cloud, event))
    })
}

/// Begins a phase.
pub(super) fn begin(build: &mut Build, phase: &str, now: f64) {
    phase.clone_into(&mut build.current_phase);
    build.phases.push(Phase {
        phase_type: phase.to_owned(),
        phase_status: None,
        start_time: now,
        end_time: None,
        duration_in_seconds: None,
        contexts: Vec::new(),
    });
}

/// Ends the current phase, if it has not ended.
pub(super) fn end(
    build: &mut Build,
    status: Status,
    context: &PhaseContext,
    now: f64,
) -> Option<Event> {
    let phase = build
        .phases
        .last_mut()
        .filter(|phase| phase.end_time.is_none())?;
    phase.phase_status = Some(status);
    phase.end_time = Some(now);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at least 0"
    )]
    let seconds = (now - phase.start_time).max(0.0) as u64;
    phase.duration_in_seconds = Some(seconds);
    phase.contexts = vec![PhaseContext {
        status_code: context.status_code.clone(),
        message: context.message.chars().take(MAX_MESSAGE).collect(),
    }];
    let ended = phase.clone();
    Some(event::phase_change(build, &ended))
}

/// Ends a build.
pub(super) fn complete(build: &mut Build, status: Status, now: f64) -> Vec<Event> {
    begin(build, "COMPLETED", now);
    build.build_status = status;
    build.build_complete = true;
    build.end_time = Some(now);
    vec![event::state_change(build)]
}

/// The message of a build that was in progress when the server ended.
pub(super) const SERVER_ENDED: &str = "the local cloud ended while the build was in progress";

/// Ends a build that was in progress when the server ended.
pub(super) fn interrupted(cloud: &Cloud, id: &str) -> ApiResult<()> {
    write(cloud, id, |record, now| {
        let build = &mut record.build;
        if build.build_complete {
            return Vec::new();
        }
        let context = PhaseContext::new("INTERNAL_SERVER_ERROR", SERVER_ENDED);
        let ended = break_off(build, Status::Fault, &context, now);
        ended
            .into_iter()
            .chain(complete(build, Status::Fault, now))
            .collect()
    })
}

/// `2016/10/06 12:00:00.123456`, in real time, as in the logs of `CodeBuild`.
pub(super) fn stamp() -> String {
    clock::now().strftime("%Y/%m/%d %H:%M:%S.%6f").to_string()
}

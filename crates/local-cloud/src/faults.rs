//! Faults that tests inject at named points of the server's work, to prove what a crash leaves behind.
//!
//! A server has none unless its host names one: see [`crate::Host::fault`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::api::{ApiError, ApiResult};
use crate::{Cloud, clock};

/// Between two checks for the file of [`Action::Hold`].
const POLL: Duration = Duration::from_millis(20);

/// Where a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before the call that creates a stack's resource. Existing resources are recorded.
    Create,
    /// After that call, before its response is recorded.
    Created,
    /// After the response is recorded, before the resource's settings are written.
    Recorded,
    /// Before a resource is changed in place.
    Update,
    /// Before a resource is deleted.
    Delete,
}

/// What happens at the point.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// The step fails.
    #[cfg(test)]
    Fail,
    /// The step waits until as many others as the barrier counts have come to theirs.
    #[cfg(test)]
    Meet(std::sync::Arc<tokio::sync::Barrier>),
    /// The step never continues, as if the server had died; see [`Faults::reached`].
    #[cfg(test)]
    Stop,
    /// The server's process dies, as after `kill -9`.
    Kill,
    /// The step creates this file and waits until it is removed.
    Hold(PathBuf),
}

/// The faults of a server.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Each with the subject that it is for: a resource type, or `TYPE/LOGICAL ID`.
    injected: Mutex<Vec<(Point, String, Action)>>,
    /// Time limits that tests shorten, by name.
    limits: Mutex<BTreeMap<String, Duration>>,
    #[cfg(test)]
    reached: tokio::sync::Notify,
}

impl Faults {
    fn list(&self) -> MutexGuard<'_, Vec<(Point, String, Action)>> {
        let list = self.injected.lock();
        list.unwrap_or_else(PoisonError::into_inner)
    }

    /// Injects a fault that happens once.
    pub(crate) fn inject(&self, point: Point, subject: &str, action: Action) {
        self.list().push((point, subject.to_owned(), action));
    }

    /// Injects the faults that a host describes, separated by `;`: `kill POINT SUBJECT`, `hold POINT
    /// SUBJECT FILE`, or `limit NAME SECONDS` for a shorter time limit.
    pub(crate) fn inject_text(&self, text: &str) -> Result<()> {
        text.split(';')
            .try_for_each(|fault| self.inject_one(fault.trim()))
    }

    fn inject_one(&self, text: &str) -> Result<()> {
        let (action, rest) = text.split_once(' ').context("a fault has a point")?;
        let (point, rest) = rest.split_once(' ').context("a fault has a subject")?;
        if action == "limit" {
            let limit = Duration::from_secs(rest.parse().context("a limit is in seconds")?);
            let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
            limits.insert(point.to_owned(), limit);
            return Ok(());
        }
        let point = match point {
            "resource-create" => Point::Create,
            "resource-created" => Point::Created,
            "resource-recorded" => Point::Recorded,
            "resource-delete" => Point::Delete,
            other => bail!("{other} is not a point for faults"),
        };
        match (action, rest.split_once(' ')) {
            ("kill", None) => self.inject(point, rest, Action::Kill),
            ("hold", Some((subject, file))) => {
                self.inject(point, subject, Action::Hold(file.into()));
            }
            _ => bail!("{text} is not a fault"),
        }
        Ok(())
    }

    /// Waits until a step has stopped.
    #[cfg(test)]
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }
}

/// A named time limit: the usual one, unless a test has shortened it.
pub(crate) fn limit(cloud: &Cloud, name: &str, usual: Duration) -> Duration {
    let limits = cloud.state::<Faults>().limits.lock();
    let limits = limits.unwrap_or_else(PoisonError::into_inner);
    limits.get(name).copied().unwrap_or(usual)
}

/// A named point: runs the fault injected here for this resource; does nothing outside of tests.
pub(crate) async fn point(cloud: &Cloud, point: Point, kind: &str, logical: &str) -> ApiResult<()> {
    let faults = cloud.state::<Faults>();
    let action = {
        let mut list = faults.list();
        let is_of = |of: &str| match of.split_once('/') {
            None => of == kind,
            Some(of) => of == (kind, logical),
        };
        let found = list
            .iter()
            .position(|(at, of, _)| *at == point && is_of(of));
        found.map(|index| list.remove(index).2)
    };
    match action {
        None => Ok(()),
        #[cfg(test)]
        Some(Action::Fail) => Err(ApiError::internal("an injected fault")),
        #[cfg(test)]
        Some(Action::Meet(barrier)) => {
            barrier.wait().await;
            Ok(())
        }
        #[cfg(test)]
        Some(Action::Stop) => {
            faults.reached.notify_one();
            std::future::pending().await
        }
        Some(Action::Kill) => {
            let process = nix::unistd::Pid::this();
            nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL)
                .map_err(ApiError::internal)
        }
        Some(Action::Hold(file)) => {
            std::fs::write(&file, "")?;
            while file.exists() {
                clock::sleep(POLL).await;
            }
            Ok(())
        }
    }
}

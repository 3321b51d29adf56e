//! The builds that wait, and those that run: this machine runs a few at a time. A project can limit its builds; as on
//! AWS, a build over this limit is refused ("New builds are only started if the current number of builds is less than
//! or equal to this limit. If the current build count meets this limit, new builds are throttled and are not run").
//!
//! Unverified against AWS [concurrent-build-limit]: the code and the message of that error, and that builds in the
//! queue count.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Cloud;
use crate::api::{ApiError, ApiResult};

use super::BUILDS;

/// Maximum number of builds that wait; each is a task with its record.
const MAX_WAITING: usize = 100;

/// Maximum number of builds that this machine runs at a time, whatever the number of its cores.
const MAX_RUNNING: usize = 8;

/// The builds in progress.
#[derive(Debug, Default)]
struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of the next place.
    next: u64,
    waiting: HashMap<u64, Waiting>,
    /// The projects of the builds that run, by their places.
    running: HashMap<u64, String>,
}

/// A build that waits.
#[derive(Debug, Default)]
struct Waiting {
    /// Empty until the settings of the build are known.
    project: String,
}

impl State {
    /// Starts the build with this place if nothing prevents it.
    fn start(&mut self, place: u64, machine: usize) -> bool {
        let Some(own) = self.waiting.get(&place) else {
            return true;
        };
        let is_next =
            |(number, other): (&u64, &Waiting)| *number >= place || other.project != own.project;
        if self.running.len() >= machine || !self.waiting.iter().all(is_next) {
            return false;
        }
        if let Some(started) = self.waiting.remove(&place) {
            self.running.insert(place, started.project);
        }
        true
    }
}

impl State {
    /// The number of builds of a project, without the one at this place.
    fn builds(&self, project: &str, place: u64) -> usize {
        let waiting = self.waiting.iter();
        let waiting = waiting.map(|(number, waiting)| (number, &waiting.project));
        waiting
            .chain(&self.running)
            .filter(|(number, own)| **number != place && *own == project)
            .count()
    }

    /// Sets whose build waits at a place; fails if the project has as many builds as it may.
    fn set(&mut self, place: u64, project: &str, limit: Option<u32>) -> ApiResult<()> {
        let count = self.builds(project, place);
        if let Some(limit) = limit.filter(|limit| count >= *limit as usize) {
            let message = format!(
                "Cannot have more than {limit} concurrent build(s) for the project {project}"
            );
            return Err(ApiError::new("AccountLimitExceededException", message));
        }
        if let Some(waiting) = self.waiting.get_mut(&place) {
            project.clone_into(&mut waiting.project);
        }
        Ok(())
    }
}

fn lock(cloud: &Cloud) -> MutexGuard<'_, State> {
    cloud
        .state::<Queue>()
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// The place of a build in the queue, or among those that run. Dropping it lets the next one start.
#[derive(Debug)]
pub(super) struct Place {
    cloud: Cloud,
    number: u64,
}

/// Reserves a place for a new build; fails if too many wait.
pub(super) fn reserve(cloud: &Cloud) -> ApiResult<Place> {
    let mut state = lock(cloud);
    if state.waiting.len() >= MAX_WAITING {
        let message =
            format!("Cannot have more than {MAX_WAITING} builds in queue for the account");
        return Err(ApiError::new("AccountLimitExceededException", message));
    }
    let number = state.next;
    state.next += 1;
    state.waiting.insert(number, Waiting::default());
    Ok(Place {
        cloud: cloud.clone(),
        number,
    })
}

impl Place {
    /// Sets whose build waits here; fails if the project has as many builds as it may.
    pub(super) fn set(&self, project: &str, limit: Option<u32>) -> ApiResult<()> {
        lock(&self.cloud).set(self.number, project, limit)
    }

    /// Starts the build, if it may run now.
    pub(super) fn start(&self) -> bool {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        lock(&self.cloud).start(self.number, cores.clamp(2, MAX_RUNNING))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.cloud);
            state.waiting.remove(&self.number);
            state.running.remove(&self.number);
        }
        self.cloud.clock().announce(BUILDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(waiting: &[(u64, &str)]) -> State {
        let waiting = waiting.iter().map(|(place, project)| {
            let project = (*project).to_owned();
            (*place, Waiting { project })
        });
        State {
            next: 10,
            waiting: waiting.collect(),
            running: HashMap::new(),
        }
    }

    #[test]
    fn builds_of_a_project_start_in_order() {
        let mut all = state(&[(0, "a"), (1, "a"), (2, "b")]);
        assert!(
            !all.start(1, 4),
            "the first one of its project is before it"
        );
        assert!(all.start(2, 4), "another project");
        assert!(all.start(0, 4) && all.start(1, 4));
    }

    #[test]
    fn a_project_has_no_more_builds_than_its_limit() {
        let mut all = state(&[(0, "a"), (1, ""), (2, "b")]);
        assert!(all.start(0, 4));
        let error = all.set(1, "a", Some(1)).unwrap_err();
        assert_eq!(error.code, "AccountLimitExceededException");
        all.set(1, "a", Some(2)).unwrap();
        all.set(1, "a", Some(2)).unwrap();
        assert!(all.set(2, "a", Some(2)).is_err(), "one runs and one waits");
        all.set(2, "a", None).unwrap();
        all.running.clear();
        assert_eq!(all.builds("a", 1), 1);
    }

    #[test]
    fn the_machine_has_a_limit() {
        let mut all = state(&[(0, "a"), (1, "b"), (2, "c")]);
        assert!(all.start(0, 2) && all.start(1, 2));
        assert!(!all.start(2, 2));
        all.running.remove(&1);
        assert!(all.start(2, 2));
    }

    #[test]
    fn a_full_queue_refuses_builds() {
        let at = crate::test_cloud::TestCloud::new();
        let cloud = at.cloud();
        let places: Vec<_> = (0..MAX_WAITING).map(|_| reserve(&cloud).unwrap()).collect();
        let error = reserve(&cloud).unwrap_err();
        assert_eq!(error.code, "AccountLimitExceededException");
        drop(places);
        reserve(&cloud).unwrap();
    }
}

//! Attempts of what services store for later: in the background, by the cloud's time.
//!
//! ```text
//! a row ── due ── attempt (a task of its own) ──┬── done ─────────────── removed by the service
//!   ▲                                           ├── cannot be read ───── set aside, with a line in the log
//!   └──────────────── later ────────────────────┘
//! ```
//!
//! One task for each kind of rows takes what is due. Attempts run concurrently, at most
//! [`Rows::PER_ENDPOINT`] for one endpoint, so that a slow endpoint does not hold up the others. Time does not move
//! during an attempt.

use std::collections::{BTreeSet, HashMap};
use std::future::ready;
use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::task::AbortHandle;

use crate::api::ApiResult;
use crate::clock::{self, Topic, Work};
use crate::cloud::{Busy, catch_panic};
use crate::{Cloud, log};

/// Pause after rows could not be read.
pub(crate) const PAUSE: Duration = Duration::from_mins(1);

/// What follows.
#[derive(Debug)]
pub(crate) enum Next {
    /// This row is due.
    Attempt { number: i64, endpoint: String },
    /// Nothing is due before this time.
    At(Timestamp),
}

impl Next {
    /// The row that is due first, in milliseconds of the cloud's time.
    pub(crate) fn of(first: Option<(i64, String, i64)>, now: i64) -> Self {
        match first {
            Some((number, endpoint, due)) if due <= now => Self::Attempt { number, endpoint },
            Some((_, _, due)) => {
                Self::At(Timestamp::from_millisecond(due).unwrap_or(Timestamp::MAX))
            }
            None => Self::At(Timestamp::MAX),
        }
    }
}

/// A kind of rows.
pub(crate) trait Rows: Send + Sync + 'static {
    /// What they are, for the log and the problems of a server.
    const WHAT: &'static str;
    /// Announced when a row has been stored, or an attempt has ended.
    const TOPIC: Topic;
    /// Maximum number of concurrent attempts.
    const CONCURRENT: usize;
    /// Maximum number of concurrent attempts for one endpoint.
    const PER_ENDPOINT: usize;

    /// The row that is due first, without those in progress and those of endpoints with too many in progress.
    fn next(cloud: &Cloud, running: &[i64], saturated: &[String]) -> ApiResult<Next>;

    /// Attempts a row, and records the outcome. A row for which this fails is set aside.
    fn attempt(cloud: Cloud, number: i64) -> BoxFuture<'static, ApiResult<()>>;

    /// Sets a row aside: it stays, and is not due any more.
    fn set_aside(cloud: &Cloud, number: i64) -> ApiResult<()>;
}

/// The task that attempts rows; it begins with the first row.
struct Worker<R>(Mutex<State>, PhantomData<R>);

impl<R> Default for Worker<R> {
    fn default() -> Self {
        Self(Mutex::default(), PhantomData)
    }
}

#[derive(Default)]
struct State {
    task: Option<AbortHandle>,
    /// The server is not idle while something is due.
    busy: Option<Busy>,
    /// Attempts in progress.
    numbers: BTreeSet<i64>,
    /// The number of those, by endpoint.
    endpoints: HashMap<String, usize>,
    is_stopped: bool,
}

fn state<R: Rows>(cloud: &Cloud) -> MutexGuard<'_, State> {
    let worker = &cloud.state::<Worker<R>>().0;
    worker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Attempts what is due, because rows have changed. The task is busy before this returns.
pub(crate) fn wake<R: Rows>(cloud: &Cloud) {
    let mut state = state::<R>(cloud);
    if state.is_stopped {
        return;
    }
    if state.busy.is_none() {
        state.busy = Some(cloud.busy());
    }
    if state.task.as_ref().is_some_and(|task| !task.is_finished()) {
        // With the lock, so that the task does not regard the server as idle in between.
        cloud.clock().announce(R::TOPIC);
        return;
    }
    let work = cloud.clock().begin(R::WHAT);
    state.task = Some(tokio::spawn(run::<R>(cloud.clone(), work)).abort_handle());
}

/// Ends the task, which holds the cloud. It does not start again.
pub(crate) fn stop<R: Rows>(cloud: &Cloud) {
    let mut state = state::<R>(cloud);
    state.is_stopped = true;
    state.busy = None;
    if let Some(task) = state.task.take() {
        task.abort();
    }
}

async fn run<R: Rows>(cloud: Cloud, mut work: Work) {
    let clock = cloud.clock();
    // What rows are for may recover after the service with the rows.
    while cloud.is_recovering() {
        clock::sleep(Duration::from_millis(10)).await;
    }
    loop {
        let seen = clock.announced(R::TOPIC);
        let started = cloud.persist(R::WHAT, || start_due::<R>(&cloud));
        let next = match started.await {
            Ok(next) => next,
            Err(error) => {
                log::write_line(&format!("cannot read {}: {error}", R::WHAT));
                clock.now().checked_add(PAUSE).unwrap_or(Timestamp::MAX)
            }
        };
        if next > clock.now() {
            let mut state = state::<R>(&cloud);
            // A row may have been stored in between.
            if state.numbers.is_empty() && clock.announced(R::TOPIC) == seen {
                state.busy = None;
            }
        }
        work.sleep_until_announced(next, R::TOPIC, seen).await;
    }
}

/// Starts attempts of what is due, as many as may run. Returns when the next row is due; those that wait for others to
/// end do not count.
fn start_due<R: Rows>(cloud: &Cloud) -> ApiResult<Timestamp> {
    loop {
        let (running, saturated) = {
            let state = state::<R>(cloud);
            let full = state.endpoints.iter();
            let full = full.filter(|(_, count)| **count >= R::PER_ENDPOINT);
            let full: Vec<String> = full.map(|(endpoint, _)| endpoint.clone()).collect();
            (state.numbers.iter().copied().collect::<Vec<_>>(), full)
        };
        if running.len() >= R::CONCURRENT {
            return Ok(Timestamp::MAX);
        }
        match R::next(cloud, &running, &saturated)? {
            Next::At(time) => return Ok(time),
            Next::Attempt { number, endpoint } => start::<R>(cloud, number, endpoint),
        }
    }
}

/// An attempt in progress; it ends also if the attempt panics.
struct Running<R: Rows> {
    cloud: Cloud,
    number: i64,
    endpoint: String,
    /// Time does not move during an attempt.
    _work: Work,
    kind: PhantomData<R>,
}

impl<R: Rows> Drop for Running<R> {
    fn drop(&mut self) {
        {
            let mut state = state::<R>(&self.cloud);
            state.numbers.remove(&self.number);
            if let Some(count) = state.endpoints.get_mut(&self.endpoint) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    state.endpoints.remove(&self.endpoint);
                }
            }
        }
        self.cloud.clock().announce(R::TOPIC);
    }
}

fn start<R: Rows>(cloud: &Cloud, number: i64, endpoint: String) {
    {
        let mut state = state::<R>(cloud);
        state.numbers.insert(number);
        *state.endpoints.entry(endpoint.clone()).or_default() += 1;
    }
    let running = Running::<R> {
        cloud: cloud.clone(),
        number,
        endpoint,
        _work: cloud.clock().begin(R::WHAT),
        kind: PhantomData,
    };
    let work = async move {
        let cloud = running.cloud.clone();
        let attempt = R::attempt(cloud.clone(), number);
        if let Err(error) = catch_panic(R::WHAT, attempt).await {
            log::write_line(&format!(
                "{}: number {number} is not attempted again: {error}",
                R::WHAT
            ));
            let write = || R::set_aside(&cloud, number);
            if let Err(error) = cloud.persist(R::WHAT, write).await {
                log::write_line(&format!("cannot change {}: {error}", R::WHAT));
            }
        }
        drop(running);
    };
    cloud.spawn(R::WHAT, work, |_| ready(()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ApiError;
    use crate::clock;
    use crate::test_cloud::TestCloud;

    /// The rows of a test, all of them due.
    #[derive(Default)]
    struct Table {
        rows: Mutex<Vec<(i64, &'static str)>>,
        set_aside: Mutex<Vec<i64>>,
    }

    impl Table {
        fn rows(&self) -> MutexGuard<'_, Vec<(i64, &'static str)>> {
            self.rows.lock().unwrap()
        }

        fn remove(&self, number: i64) {
            self.rows().retain(|(it, _)| *it != number);
        }
    }

    struct InMemory;

    impl Rows for InMemory {
        const WHAT: &'static str = "the rows of a test";
        const TOPIC: Topic = Topic("rows of a test");
        const CONCURRENT: usize = 8;
        const PER_ENDPOINT: usize = 2;

        fn next(cloud: &Cloud, running: &[i64], saturated: &[String]) -> ApiResult<Next> {
            let rows = cloud.state::<Table>().rows();
            let mut free = rows.iter().filter(|(number, endpoint)| {
                !running.contains(number) && saturated.iter().all(|it| it != endpoint)
            });
            let first = free
                .next()
                .map(|(it, endpoint)| (*it, (*endpoint).to_owned(), 0));
            Ok(Next::of(first, 1))
        }

        fn attempt(cloud: Cloud, number: i64) -> BoxFuture<'static, ApiResult<()>> {
            Box::pin(async move {
                let table = cloud.state::<Table>();
                let found = table.rows().iter().find(|(it, _)| *it == number).copied();
                match found {
                    Some((_, "hangs")) => std::future::pending().await,
                    Some((_, "fails")) => Err(ApiError::internal("no")),
                    Some((_, "panics")) => panic!("a panic in a test"),
                    _ => {
                        table.remove(number);
                        Ok(())
                    }
                }
            })
        }

        fn set_aside(cloud: &Cloud, number: i64) -> ApiResult<()> {
            let table = cloud.state::<Table>();
            table.remove(number);
            table.set_aside.lock().unwrap().push(number);
            Ok(())
        }
    }

    /// The endpoints of the rows that are left after a while.
    async fn left(cloud: &Cloud) -> Vec<&'static str> {
        for _ in 0..20 {
            clock::sleep(Duration::from_millis(5)).await;
        }
        let rows = cloud.state::<Table>().rows();
        rows.iter().map(|(_, endpoint)| *endpoint).collect()
    }

    #[tokio::test]
    async fn an_endpoint_that_hangs_holds_up_no_other() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let table = cloud.state::<Table>();
        let endpoints = ["hangs"; 9].into_iter().chain(["works"; 40]);
        let numbered = (1..).zip(endpoints);
        table.rows().extend(numbered);
        wake::<InMemory>(&cloud);
        assert_eq!(left(&cloud).await, ["hangs"; 9]);
        assert_eq!(state::<InMemory>(&cloud).numbers.len(), 2);
        stop::<InMemory>(&cloud);
        table.rows().push((100, "works"));
        wake::<InMemory>(&cloud);
        assert_eq!(left(&cloud).await.len(), 10);
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_attempted_is_set_aside() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let table = cloud.state::<Table>();
        table
            .rows()
            .extend([(1, "fails"), (2, "panics"), (3, "works")]);
        wake::<InMemory>(&cloud);
        assert_eq!(left(&cloud).await, [""; 0]);
        let mut set_aside = table.set_aside.lock().unwrap().clone();
        set_aside.sort_unstable();
        assert_eq!(set_aside, [1, 2]);
        assert!(!cloud.is_busy());
    }
}

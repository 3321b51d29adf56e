//! Problems that keep a server from working; `mlops local status` shows them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::store::Store;

/// Path at which a server reports its status.
pub(super) const STATUS: &str = "/_mlops/status";

/// Timeout for the status. A database that another process has locked delays it by up to 5 seconds.
const STATUS_TIMEOUT: Duration = Duration::from_secs(15);

/// Minimum free disk space in bytes; a disk with less counts as full.
const LEAST_SPACE: u64 = 1 << 20;

/// A problem of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is affected, such as a job whose end cannot be recorded.
    pub what: String,
    /// The reason, as the system reports it.
    pub why: String,
    /// Start of the problem (RFC 3339).
    pub since: String,
}

impl Problem {
    pub(super) fn new(what: &str, why: &str) -> Self {
        Self {
            what: what.to_owned(),
            why: why.to_owned(),
            since: jiff::Timestamp::now()
                .strftime("%Y-%m-%dT%H:%M:%SZ")
                .to_string(),
        }
    }
}

/// The problems of a server.
#[derive(Debug, Default)]
pub(crate) struct Health(Arc<Mutex<Problems>>);

#[derive(Debug, Default)]
struct Problems {
    next: u64,
    problems: BTreeMap<u64, Problem>,
}

/// A reported problem; it ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Reported {
    reported: Arc<Mutex<Problems>>,
    number: u64,
}

fn lock(reported: &Mutex<Problems>) -> MutexGuard<'_, Problems> {
    reported.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Health {
    /// Reports a problem until the returned value is dropped.
    pub(crate) fn report(&self, what: &str, why: &str) -> Reported {
        let mut reported = lock(&self.0);
        reported.next += 1;
        let number = reported.next;
        reported.problems.insert(number, Problem::new(what, why));
        Reported {
            reported: self.0.clone(),
            number,
        }
    }

    /// All current problems, oldest first. Writes to the state to find out whether that is
    /// possible.
    pub(super) fn problems(&self, store: &Store, directory: &Path) -> Vec<Problem> {
        let mut all: Vec<Problem> = lock(&self.0).problems.values().cloned().collect();
        if let Err(error) = store.probe() {
            all.push(Problem::new("writing the state", &error.message));
        }
        if let Ok(space) = nix::sys::statvfs::statvfs(directory) {
            #[cfg_attr(
                target_os = "linux",
                expect(clippy::useless_conversion, reason = "the types differ by system")
            )]
            let free = u64::from(space.blocks_available()) * u64::from(space.fragment_size());
            if free < LEAST_SPACE {
                let why = format!("{free} bytes are free in {}", directory.display());
                all.push(Problem::new("disk space", &why));
            }
        }
        all
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        lock(&self.reported).problems.remove(&self.number);
    }
}

/// The part of a server's status that clients use.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    degraded: Vec<Problem>,
}

/// Requests the problems of a server.
pub(super) async fn fetch_problems(endpoint: &str) -> anyhow::Result<Vec<Problem>> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(STATUS_TIMEOUT)
        .build()?;
    let url = format!("{endpoint}{STATUS}");
    let answer: Answer = client
        .get(url)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    Ok(answer.degraded)
}

#[cfg(test)]
mod tests {
    use crate::api::ApiError;
    use crate::test_cloud::TestCloud;

    // Issue 8, 2.3
    #[tokio::test]
    async fn failed_writes_are_retried_and_reported_until_they_succeed() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let numbers = || cloud.store().collection::<i64>("test", "number");
        cloud.store().refuse_writes(true);
        let problems = || cloud.health().problems(cloud.store(), at.path());
        let mut attempts = 0;
        let written = cloud.persist("job x", || {
            attempts += 1;
            if attempts == 3 {
                let all = problems();
                assert_eq!(all.len(), 2, "{all:?}");
                assert_eq!(all[0].what, "job x");
                assert!(all[0].why.contains("readonly"), "{all:?}");
                assert_eq!(all[1].what, "writing the state");
                cloud.store().refuse_writes(false);
            }
            numbers().put("a", &1)
        });
        written.await.unwrap();
        assert_eq!(attempts, 3);
        assert_eq!(numbers().get("a").unwrap(), Some(1));
        assert_eq!(problems(), []);
        // An error that waiting does not fix is returned at once.
        let error = cloud
            .persist("x", || Err::<(), _>(ApiError::validation("no")))
            .await;
        assert_eq!(error.unwrap_err().code, "ValidationException");
    }
}

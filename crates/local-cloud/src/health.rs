//! What keeps a server from doing its work: `mlops local status` shows it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::store::Store;

/// Where a server tells its status.
pub(super) const STATUS: &str = "/_mlops/status";

/// Longest time to wait for that answer. A database that another process holds delays it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Below this many free bytes a disk is called full.
const LEAST_SPACE: u64 = 1 << 20;

/// Something that a server cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What waits for it, such as a job whose end cannot be recorded.
    pub what: String,
    /// Why, in the system's words.
    pub why: String,
    /// Since when (RFC 3339).
    pub since: String,
}

impl Trouble {
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

/// The troubles of a server.
#[derive(Debug, Default)]
pub(crate) struct Health(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    next: u64,
    troubles: BTreeMap<u64, Trouble>,
}

/// A trouble that lasts as long as this lives.
#[derive(Debug)]
pub(crate) struct Reported {
    known: Arc<Mutex<Known>>,
    number: u64,
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Health {
    /// Reports a trouble; it is over when the answer is dropped.
    pub(crate) fn report(&self, what: &str, why: &str) -> Reported {
        let mut known = lock(&self.0);
        known.next += 1;
        let number = known.next;
        known.troubles.insert(number, Trouble::new(what, why));
        Reported {
            known: self.0.clone(),
            number,
        }
    }

    /// Everything that is wrong now, the oldest first. Writes to the state to find out whether it
    /// can be written.
    pub(super) fn troubles(&self, store: &Store, directory: &Path) -> Vec<Trouble> {
        let mut all: Vec<Trouble> = lock(&self.0).troubles.values().cloned().collect();
        if let Err(error) = store.probe() {
            all.push(Trouble::new("writing the state", &error.message));
        }
        if let Ok(space) = nix::sys::statvfs::statvfs(directory) {
            #[cfg_attr(
                target_os = "linux",
                expect(clippy::useless_conversion, reason = "the types differ by system")
            )]
            let free = u64::from(space.blocks_available()) * u64::from(space.fragment_size());
            if free < LEAST_SPACE {
                let why = format!("{free} bytes are free in {}", directory.display());
                all.push(Trouble::new("disk space", &why));
            }
        }
        all
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        lock(&self.known).troubles.remove(&self.number);
    }
}

/// What a server's status has that a client wants.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    degraded: Vec<Trouble>,
}

/// Asks a server for its troubles.
pub(super) async fn ask(endpoint: &str) -> anyhow::Result<Vec<Trouble>> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
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
    use crate::Cloud;
    use crate::api::ApiError;

    // Issue 8, 2.3
    #[tokio::test]
    async fn what_cannot_be_written_is_written_later_and_is_a_trouble_until_then() {
        let at = tempfile::tempdir().unwrap();
        let cloud = Cloud::in_directory(at.path());
        let numbers = || cloud.store().collection::<i64>("test", "number");
        cloud.store().refuse_writes(true);
        let troubles = || cloud.health().troubles(cloud.store(), at.path());
        let mut attempts = 0;
        let written = cloud.persist("job x", || {
            attempts += 1;
            if attempts == 3 {
                let all = troubles();
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
        assert_eq!(troubles(), []);
        // What waiting does not cure is not waited for.
        let error = cloud
            .persist("x", || Err::<(), _>(ApiError::validation("no")))
            .await;
        assert_eq!(error.unwrap_err().code, "ValidationException");
    }
}

//! The releases of an endpoint in the artifact bucket.
//!
//! ```text
//! releases/<endpoint>/0000000007.json           the manifest, written once (If-None-Match: *)
//! releases/<endpoint>/0000000007.outcome.json   what became of it: a list of events that only grows
//! ```
//!
//! Of two clients that write the same number, S3 admits one. The outcome is written with the `ETag` that was
//! read, so that no event is lost.

use anyhow::{Context as _, Result};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::manifest::{SCHEMA, Sealed};
use crate::aws::Clients;
use crate::aws::s3::{self, Condition, Fetched, S3Uri};

/// Maximum number of requests in parallel.
const PARALLEL: usize = 16;

/// Attempts to write an outcome that other clients change, too.
const ATTEMPTS: usize = 5;

/// What became of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was deployed, and proven to be what the endpoint serves.
    Live,
    /// Its deployment failed.
    Failed,
    /// The endpoint returned to an earlier release: automatically, or by `mlops rollback`.
    RolledBack,
    /// It was never deployed, because another release was deployed first.
    Abandoned,
}

impl Outcome {
    /// Returns the name in documents and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Something that happened to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What became of it.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// ARN of the identity that recorded it.
    pub by: String,
    /// Why, if it is not live.
    pub reason: Option<String>,
    /// The endpoint configuration that was live.
    pub configuration: Option<String>,
}

/// The outcome of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The format; always [`SCHEMA`].
    pub schema: u32,
    /// The release.
    pub release: u32,
    /// SHA-256 of its manifest.
    pub sha256: String,
    /// What happened, oldest first.
    pub events: Vec<Event>,
}

/// A release: its manifest and its outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// The manifest.
    pub sealed: Sealed,
    /// Its outcome; none while it is being deployed.
    pub events: Vec<Event>,
    /// The checksum in the outcome.
    pub recorded_sha256: Option<String>,
}

impl Release {
    /// Returns its number.
    pub fn number(&self) -> u32 {
        self.sealed.manifest.release
    }

    /// Returns the last event.
    pub fn last(&self) -> Option<&Event> {
        self.events.last()
    }

    /// Returns what became of it; `None` while it is being deployed, or if the client was killed.
    pub fn outcome(&self) -> Option<Outcome> {
        self.last().map(|event| event.outcome)
    }
}

/// The newest releases of an endpoint, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The releases.
    pub releases: Vec<Release>,
}

impl History {
    /// Returns the newest release.
    pub fn newest(&self) -> Option<&Release> {
        self.releases.first()
    }

    /// Returns the number for the next release.
    pub fn next_number(&self) -> u32 {
        self.newest().map_or(1, |newest| newest.number() + 1)
    }

    /// Returns the release that the records have as live: the newest whose last event is that.
    pub fn live(&self) -> Option<&Release> {
        self.releases
            .iter()
            .find(|release| release.outcome() == Some(Outcome::Live))
    }

    /// Returns the release with this number.
    pub fn release(&self, number: u32) -> Option<&Release> {
        self.releases
            .iter()
            .find(|release| release.number() == number)
    }

    /// Returns the releases that are still running or that nobody finished: newer than every release with an
    /// outcome.
    pub fn pending(&self) -> Option<&Release> {
        self.newest().filter(|newest| newest.events.is_empty())
    }
}

/// The releases of one endpoint.
#[derive(Debug, Clone)]
pub struct Store {
    prefix: S3Uri,
}

impl Store {
    /// The releases of an endpoint in the artifact bucket.
    pub fn new(bucket: &str, endpoint: &str) -> Self {
        Self {
            prefix: S3Uri::new(bucket, format!("releases/{endpoint}/")),
        }
    }

    /// Returns the address of a manifest.
    pub fn manifest(&self, number: u32) -> S3Uri {
        self.prefix.join(&format!("{number:010}.json"))
    }

    /// Returns the address of an outcome.
    pub fn outcome(&self, number: u32) -> S3Uri {
        self.prefix.join(&format!("{number:010}.outcome.json"))
    }

    /// Returns the numbers of all releases, newest first.
    pub async fn numbers(&self, clients: &Clients) -> Result<Vec<u32>> {
        let objects = s3::list(&clients.s3, &self.prefix).await?;
        let mut numbers: Vec<u32> = objects
            .iter()
            .filter_map(|object| number(object.key()?.strip_prefix(&self.prefix.key)?))
            .collect();
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        Ok(numbers)
    }

    /// Reads the newest releases, at most `limit`.
    pub async fn history(&self, clients: &Clients, limit: usize) -> Result<History> {
        let numbers = self.numbers(clients).await?;
        let releases = futures::stream::iter(numbers.into_iter().take(limit))
            .map(|number| async move { self.read(clients, number).await })
            .buffered(PARALLEL)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(History {
            releases: releases.into_iter().flatten().collect(),
        })
    }

    /// Reads one release; `None` if it does not exist.
    pub async fn read(&self, clients: &Clients, number: u32) -> Result<Option<Release>> {
        let uri = self.manifest(number);
        let (manifest, record) = futures::try_join!(
            s3::get(&clients.s3, &uri, None),
            self.record(clients, number)
        )?;
        let Some(manifest) = manifest else {
            return Ok(None);
        };
        let sealed = Sealed::read(manifest.bytes, &uri.to_string())?;
        let (recorded_sha256, events) = match record {
            Some((record, _)) => (Some(record.sha256), record.events),
            None => (None, Vec::new()),
        };
        Ok(Some(Release {
            sealed,
            events,
            recorded_sha256,
        }))
    }

    async fn record(
        &self,
        clients: &Clients,
        number: u32,
    ) -> Result<Option<(Record, Option<String>)>> {
        let uri = self.outcome(number);
        let Some(Fetched { bytes, etag, .. }) = s3::get(&clients.s3, &uri, None).await? else {
            return Ok(None);
        };
        let record: Record = serde_json::from_slice(&bytes)
            .with_context(|| format!("{uri} is not the outcome of a release"))?;
        Ok(Some((record, etag)))
    }

    /// Writes a manifest. Returns false if the number is taken; nothing is written then.
    pub async fn write(&self, clients: &Clients, sealed: &Sealed) -> Result<bool> {
        let uri = self.manifest(sealed.manifest.release);
        let bytes = sealed.bytes.clone();
        if s3::put_json_if(&clients.s3, &uri, bytes, Condition::Absent).await? {
            return Ok(true);
        }
        // The response to our request may have been lost; the SDK's retry then finds our own object.
        let found = s3::get(&clients.s3, &uri, None).await?;
        Ok(found.is_some_and(|found| found.bytes == sealed.bytes))
    }

    /// Adds an event to a release's outcome. An event that repeats the last one is not added.
    pub async fn add(&self, clients: &Clients, sealed: &Sealed, event: &Event) -> Result<()> {
        let number = sealed.manifest.release;
        let uri = self.outcome(number);
        for _ in 0..ATTEMPTS {
            let (mut record, etag) = match self.record(clients, number).await? {
                Some(found) => found,
                None => (
                    Record {
                        schema: SCHEMA,
                        release: number,
                        sha256: sealed.sha256.clone(),
                        events: Vec::new(),
                    },
                    None,
                ),
            };
            let repeats = record.events.last().is_some_and(|last| {
                last.outcome == event.outcome && last.configuration == event.configuration
            });
            if repeats {
                return Ok(());
            }
            record.events.push(event.clone());
            let mut bytes = serde_json::to_vec_pretty(&record)?;
            bytes.push(b'\n');
            let condition = match &etag {
                Some(etag) => Condition::Unchanged(etag),
                None => Condition::Absent,
            };
            if s3::put_json_if(&clients.s3, &uri, bytes, condition).await? {
                return Ok(());
            }
        }
        anyhow::bail!("other clients keep changing {uri}")
    }
}

/// Parses the number of a manifest's file name; outcomes have another one.
fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 10).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::releases::manifest::tests::example;
    use mlops_core::names::Version;

    /// A release of a version with these outcomes.
    pub(crate) fn release(number: u32, version: i32, outcomes: &[Outcome]) -> Release {
        let mut manifest = example();
        manifest.release = number;
        manifest.model.version = Version(version);
        let events = outcomes.iter().map(|outcome| Event {
            outcome: *outcome,
            at: manifest.created,
            by: "me".to_owned(),
            reason: None,
            configuration: None,
        });
        let events = events.collect();
        let sealed = manifest.seal().unwrap();
        Release {
            recorded_sha256: Some(sealed.sha256.clone()),
            sealed,
            events,
        }
    }

    #[test]
    fn names_of_manifests_are_numbers() {
        let store = Store::new("b", "flights");
        assert_eq!(
            store.manifest(7).to_string(),
            "s3://b/releases/flights/0000000007.json"
        );
        assert_eq!(number("0000000007.json"), Some(7));
        for other in ["0000000007.outcome.json", "7.json", "000000000x.json", "a"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn the_live_release_is_the_newest_that_was_not_rolled_back() {
        use Outcome::{Failed, Live, RolledBack};
        let history = History {
            releases: vec![
                release(4, 4, &[]),
                release(3, 3, &[Live, RolledBack]),
                release(2, 2, &[Live]),
                release(1, 1, &[Failed]),
            ],
        };
        assert_eq!(history.live().unwrap().number(), 2);
        assert_eq!(history.next_number(), 5);
        assert_eq!(history.pending().unwrap().number(), 4);
        assert_eq!(History::default().next_number(), 1);
    }
}

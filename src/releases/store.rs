//! The releases of an endpoint in the artifact bucket.
//!
//! ```text
//! releases/<endpoint>/0000000007.json           the manifest, written once (If-None-Match: *)
//! releases/<endpoint>/0000000007.outcome.json   what became of it: a list of events that only grows
//! ```
//!
//! Of two clients that write the same number, S3 admits one. The outcome is written with the `ETag` that was
//! read, so that no event is lost. A release whose documents cannot be read, or belong to another key, is kept
//! apart ([`Damaged`]): it cannot be used, but does not hide the others.

use anyhow::{Context as _, Result};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use mlops_core::error::{Exit, Failure, cause, message};
use serde::{Deserialize, Serialize};

use super::manifest::{Manifest, SCHEMA, Sealed};
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

/// A release whose manifest or outcome cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// Its number, from the name of the object.
    pub release: u32,
    /// Why.
    pub problem: String,
}

/// The documents of this release cannot be used.
#[derive(Debug)]
struct Unusable(u32);

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the documents of release {} cannot be used", self.0)
    }
}

impl std::error::Error for Unusable {}

/// The error for a release that cannot be used (exit 3).
fn unusable(number: u32, problem: impl Into<String>) -> anyhow::Error {
    Failure::new(Exit::Refused, problem).context(Unusable(number))
}

/// The newest releases of an endpoint, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The releases.
    pub releases: Vec<Release>,
    /// Those that cannot be used.
    pub damaged: Vec<Damaged>,
}

impl History {
    /// Returns the newest release that can be used.
    pub fn newest(&self) -> Option<&Release> {
        self.releases.first()
    }

    /// Returns the number for the next release.
    pub fn next_number(&self) -> u32 {
        let usable = self.releases.iter().map(Release::number);
        let damaged = self.damaged.iter().map(|damaged| damaged.release);
        usable.chain(damaged).max().unwrap_or(0) + 1
    }

    /// Returns why the release with this number cannot be used.
    pub fn damaged(&self, number: u32) -> Option<&Damaged> {
        self.damaged
            .iter()
            .find(|damaged| damaged.release == number)
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
        self.newest()
            .filter(|newest| newest.events.is_empty() && newest.number() + 1 == self.next_number())
    }
}

/// The releases of one endpoint.
#[derive(Debug, Clone)]
pub struct Store {
    endpoint: String,
    prefix: S3Uri,
}

impl Store {
    /// The releases of an endpoint in the artifact bucket.
    pub fn new(bucket: &str, endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
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
        let found = futures::stream::iter(numbers.into_iter().take(limit))
            .map(|number| async move {
                match self.read(clients, number).await {
                    Ok(found) => Ok(found.map(Ok)),
                    Err(error) if cause::<Unusable>(&error).is_some() => Ok(Some(Err(Damaged {
                        release: number,
                        problem: message(&error),
                    }))),
                    Err(error) => Err(error),
                }
            })
            .buffered(PARALLEL)
            .try_collect::<Vec<_>>()
            .await?;
        let mut history = History::default();
        for found in found.into_iter().flatten() {
            match found {
                Ok(release) => history.releases.push(release),
                Err(damaged) => history.damaged.push(damaged),
            }
        }
        Ok(history)
    }

    /// Reads one release; `None` if it does not exist.
    ///
    /// # Errors
    /// Its manifest or its outcome cannot be read, or is that of another release (exit 3).
    pub async fn read(&self, clients: &Clients, number: u32) -> Result<Option<Release>> {
        let uri = self.manifest(number);
        let manifest = s3::get(&clients.s3, &uri, None);
        let (manifest, record) = futures::join!(manifest, self.record(clients, number));
        let Some(manifest) = undamaged(number, manifest)? else {
            return Ok(None);
        };
        let sealed = self.checked(number, manifest.bytes)?;
        let (recorded_sha256, events) = match record? {
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
        let found = s3::get(&clients.s3, &uri, None).await;
        let Some(Fetched { bytes, etag, .. }) = undamaged(number, found)? else {
            return Ok(None);
        };
        Ok(Some((recorded(number, &bytes, &uri)?, etag)))
    }

    /// Reads a manifest, which must be that of its key.
    fn checked(&self, number: u32, bytes: Vec<u8>) -> Result<Sealed> {
        let uri = self.manifest(number);
        let sealed = Sealed::read(bytes, &uri.to_string())
            .map_err(|error| unusable(number, message(&error)))?;
        let Manifest {
            release, endpoint, ..
        } = &sealed.manifest;
        if *release != number || *endpoint != self.endpoint {
            let other = format!("{uri} is the manifest of release {release} of {endpoint}");
            return Err(unusable(number, other));
        }
        Ok(sealed)
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

/// Reads an outcome, which must be that of its key.
fn recorded(number: u32, bytes: &[u8], uri: &S3Uri) -> Result<Record> {
    let record: Record = serde_json::from_slice(bytes)
        .with_context(|| format!("{uri} is not the outcome of a release"))
        .map_err(|error| unusable(number, message(&error)))?;
    if record.schema != SCHEMA {
        let format = record.schema;
        let newer =
            format!("{uri} has the format {format}, but this version of mlops supports {SCHEMA}");
        return Err(unusable(number, newer));
    }
    if record.release != number {
        let other = format!("{uri} is the outcome of release {}", record.release);
        return Err(unusable(number, other));
    }
    Ok(record)
}

/// Names the release whose bytes S3 reports as damaged.
fn undamaged<T>(number: u32, result: Result<T>) -> Result<T> {
    result.map_err(|error| match cause::<s3::Damaged>(&error) {
        Some(_) => unusable(number, message(&error)),
        None => error,
    })
}

/// Parses the number of a manifest's file name; outcomes have another one.
fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".json")?;
    // `parse` would accept a sign. The largest number has no next one.
    let is_number = digits.len() == 10 && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number: u32 = digits.parse().ok().filter(|_| is_number)?;
    (number < u32::MAX).then_some(number)
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
            damaged: Vec::new(),
        };
        assert_eq!(history.live().unwrap().number(), 2);
        assert_eq!(history.next_number(), 5);
        assert_eq!(history.pending().unwrap().number(), 4);
        assert_eq!(History::default().next_number(), 1);
        // A damaged release has a number, too: what is older than it is not the newest.
        let mut damaged = history;
        damaged.damaged.push(Damaged {
            release: 5,
            problem: "x".to_owned(),
        });
        assert_eq!(damaged.next_number(), 6);
        assert!(damaged.pending().is_none());
        assert!(damaged.damaged(5).is_some() && damaged.damaged(4).is_none());
    }

    #[test]
    fn documents_must_be_those_of_their_keys() {
        let sealed = release(2, 1, &[]).sealed;
        let store = Store::new("b", "flights");
        let read = |store: &Store, number, bytes: &[u8]| {
            let checked = store.checked(number, bytes.to_vec());
            checked.map(|sealed| sealed.manifest.release)
        };
        assert_eq!(read(&store, 2, &sealed.bytes).unwrap(), 2);
        let elsewhere = Store::new("b", "other");
        let text = String::from_utf8(sealed.bytes.clone()).unwrap();
        let newer = text.replace("\"schema\": 1", "\"schema\": 2");
        for (found, what) in [
            (read(&store, 3, &sealed.bytes), "manifest of release 2"),
            (read(&elsewhere, 2, &sealed.bytes), "of flights"),
            (read(&store, 2, newer.as_bytes()), "format 2"),
            (read(&store, 2, b"{"), "not a release manifest"),
        ] {
            let error = found.unwrap_err();
            assert!(message(&error).contains(what), "{error:#}");
            assert_eq!(mlops_core::error::exit(&error), Exit::Refused, "{error:#}");
            assert!(cause::<Unusable>(&error).is_some(), "{error:#}");
        }
        let uri = store.outcome(2);
        let outcome = |schema: u32, release: u32| {
            let text = format!(
                r#"{{"schema": {schema}, "release": {release}, "sha256": "a", "events": []}}"#
            );
            recorded(2, text.as_bytes(), &uri).map_err(|error| message(&error))
        };
        assert!(outcome(1, 2).is_ok());
        assert!(outcome(2, 2).unwrap_err().contains("format 2"));
        assert!(outcome(1, 3).unwrap_err().contains("of release 3"));
        assert!(recorded(2, b"", &uri).is_err());
    }
}

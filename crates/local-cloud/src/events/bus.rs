//! Accepts events: those that a rule matches are stored with one delivery for each target.
//!
//! Events of clients are matched before the transaction that stores them, so that nothing waits for a large one.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Transaction;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::compiled::{self, Compiled};
use super::rules::Rule;
use super::{brake, delivery, stored};
use crate::Cloud;
use crate::api::ApiResult;
use crate::cloud::ACCOUNT;
use crate::store::Collection;

/// Something that happened in the account, for the default event bus.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// The service that it comes from, such as `aws.codebuild`.
    pub(crate) source: &'static str,
    /// Its kind, such as `CodeBuild Build State Change`.
    pub(crate) detail_type: &'static str,
    /// The ARNs of the resources that it is about.
    pub(crate) resources: Vec<String>,
    /// What happened: an object.
    pub(crate) detail: Value,
}

impl Event {
    fn sent(self, cloud: &Cloud) -> Sent {
        Sent {
            id: uuid::Uuid::new_v4().to_string(),
            time: cloud.clock().now(),
            source: self.source.to_owned(),
            detail_type: self.detail_type.to_owned(),
            resources: self.resources,
            detail: self.detail,
        }
    }
}

/// An event with its id and time.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) time: Timestamp,
    pub(super) source: String,
    pub(super) detail_type: String,
    pub(super) resources: Vec<String>,
    pub(super) detail: Value,
}

impl Sent {
    /// The event in the form in which rules match it and targets receive it.
    fn envelope(self, cloud: &Cloud) -> Value {
        json!({
            "version": "0",
            "id": self.id,
            "detail-type": self.detail_type,
            "source": self.source,
            "account": ACCOUNT,
            "time": self.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "region": cloud.region(),
            "resources": self.resources,
            "detail": self.detail,
        })
    }
}

/// An event that rules match.
struct Matched {
    id: String,
    /// The event as targets receive it.
    text: String,
    rules: Vec<Arc<Rule>>,
}

/// Matches an event; `None` if no rule does.
fn matched(cloud: &Cloud, rules: &Compiled, event: Sent) -> Option<Matched> {
    if rules.ignores(&event.source) {
        return None;
    }
    let (id, source) = (event.id.clone(), event.source.clone());
    let envelope = event.envelope(cloud);
    let rules = rules.matching(&source, &envelope);
    (!rules.is_empty()).then(|| Matched {
        id,
        text: envelope.to_string(),
        rules,
    })
}

/// Stores an event and its deliveries; false if too many wait already.
fn accept(tx: &Transaction<'_>, cloud: &Cloud, event: &Matched) -> ApiResult<bool> {
    let targets = event.rules.iter().map(|rule| rule.targets.len()).sum();
    if !stored::has_room(tx, targets, event.text.len())? {
        return Ok(false);
    }
    delivery::will_store(cloud);
    let now = cloud.clock().now();
    let number = stored::add_event(tx, &event.id, now, &event.text)?;
    for rule in &event.rules {
        for target in &rule.targets {
            let due = brake::due(cloud, &rule.name, target, now);
            stored::add(tx, number, &rule.name, target, due)?;
        }
    }
    // The worker waits for the end of this transaction before it reads.
    deliver_soon(cloud);
    Ok(true)
}

/// [`is_ignored`] inside a transaction.
pub(crate) fn is_ignored_in(tx: &Transaction<'_>, cloud: &Cloud, source: &str) -> ApiResult<bool> {
    Ok(compiled::current(cloud, Some(tx))?.ignores(source))
}

/// Accepts events of clients; they are stored when this returns. For each, whether it was accepted: otherwise, too
/// many deliveries wait. The rules are those at the time of the call.
pub(super) fn accept_all(cloud: &Cloud, events: Vec<Sent>) -> ApiResult<Vec<bool>> {
    let rules = compiled::current(cloud, None)?;
    let events = events.into_iter();
    let events: Vec<_> = events.map(|event| matched(cloud, &rules, event)).collect();
    if events.iter().all(Option::is_none) {
        return Ok(vec![true; events.len()]);
    }
    cloud.store().transaction(|tx| {
        let accepted = events.iter().map(|event| match event {
            Some(event) => accept(tx, cloud, event),
            None => Ok(true),
        });
        accepted.collect()
    })
}

/// Accepts an event; its deliveries are stored when this returns. A fault of a rule never fails the caller's operation:
/// if too many deliveries wait, the event is dropped.
pub(crate) fn publish(cloud: &Cloud, event: Event) -> ApiResult<()> {
    let kind = event.detail_type;
    if accept_all(cloud, vec![event.sent(cloud)])?.contains(&false) {
        stored::report_dropped(kind);
    }
    Ok(())
}

/// [`publish`] within the transaction that changes what the event is about; call [`deliver_soon`] after its
/// commit.
pub(crate) fn publish_in(tx: &Transaction<'_>, cloud: &Cloud, event: Event) -> ApiResult<()> {
    let rules = compiled::current(cloud, Some(tx))?;
    let kind = event.detail_type;
    if let Some(event) = matched(cloud, &rules, event.sent(cloud))
        && !accept(tx, cloud, &event)?
    {
        stored::report_dropped(kind);
    }
    Ok(())
}

/// Changes a record as [`Collection::update`] does, and accepts the events of the change in the same transaction:
/// `events` compares the record before and after it. It is not called if no rule could match events of `source`.
pub(crate) fn update<T, R>(
    cloud: &Cloud,
    source: &str,
    (records, key): (&Collection<'_, T>, &str),
    change: impl FnOnce(&mut T) -> ApiResult<R>,
    events: impl FnOnce(&T, &T) -> Vec<Event>,
) -> ApiResult<Option<R>>
where
    T: Serialize + DeserializeOwned + Clone,
{
    if is_ignored(cloud, source) {
        return records.update(key, change);
    }
    let result = cloud.store().transaction(|tx| {
        let Some(mut record) = records.get_in(tx, key)? else {
            return Ok(None);
        };
        let before = record.clone();
        let result = change(&mut record)?;
        records.put_in(tx, key, &record)?;
        for event in events(&before, &record) {
            publish_in(tx, cloud, event)?;
        }
        Ok(Some(result))
    })?;
    deliver_soon(cloud);
    Ok(result)
}

/// True if no rule could match an event of a source, so that it need not be composed. Must not be called inside a
/// transaction.
pub(crate) fn is_ignored(cloud: &Cloud, source: &str) -> bool {
    compiled::current(cloud, None).is_ok_and(|rules| rules.ignores(source))
}

/// Delivers events that [`publish_in`] has stored.
pub(crate) fn deliver_soon(cloud: &Cloud) {
    delivery::wake(cloud);
}

//! Named records of one family, stored as their `Describe…` response, and the operations that are
//! the same for every family.

use rusqlite::Transaction;
use serde_json::{Value, json};

use super::requests::{self, ListRequest, Listing, SortOrder};
use super::tags;
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::events::{self, Event};
use crate::store::Collection;
use crate::{Cloud, clock};

/// Composes the events of a change: of the record before it, if there is one, and after it.
type Announce = fn(Option<&Value>, &Value) -> Vec<Event>;

/// A family of records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Records {
    /// The collection.
    pub(super) kind: &'static str,
    /// The member that holds the name.
    pub(super) name: &'static str,
    /// The member that holds the ARN.
    pub(super) arn: &'static str,
    /// The resource type of the ARN.
    pub(super) resource: &'static str,
    /// The family in messages.
    pub(super) title: &'static str,
    /// The message for a record that does not exist, if it does not name the record.
    pub(super) absent: Option<&'static str>,
    /// The list in the response of its `List…` operation.
    pub(super) list: &'static str,
    /// The members of a summary besides name and ARN.
    pub(super) summary: &'static [&'static str],
    /// The events of a change: of the record before it, if there is one, and after it.
    pub(super) announce: Option<Announce>,
}

impl Records {
    fn arn_of(self, cloud: &Cloud, name: &str) -> String {
        cloud.arn("sagemaker", format_args!("{}/{name}", self.resource))
    }

    fn records(self, cloud: &Cloud) -> Collection<'_, Value> {
        cloud.store().collection("sagemaker", self.kind)
    }

    /// Adds a record with its ARN, its times and the tags of the request, in one transaction. Returns
    /// the response, which has the ARN; `ValidationException` if the name is taken.
    pub(super) fn create(
        self,
        cloud: &Cloud,
        name: &str,
        mut record: Value,
        given_tags: Option<&Tags>,
    ) -> ApiResult<Value> {
        let arn = self.arn_of(cloud, name);
        let now = clock::epoch();
        record[self.arn] = json!(arn);
        record["CreationTime"] = json!(now);
        record["LastModifiedTime"] = json!(now);
        let records = self.records(cloud);
        cloud.store().transaction(|transaction| {
            if records.get_in(transaction, name)?.is_some() {
                return Err(ApiError::validation(format!(
                    "Cannot create already existing {} \"{arn}\".",
                    self.title
                )));
            }
            records.put_in(transaction, name, &record)?;
            self.publish(cloud, transaction, None, &record)?;
            tags::put_in(cloud, transaction, &arn, given_tags)
        })?;
        events::deliver_soon(cloud);
        Ok(json!({ self.arn: arn }))
    }

    /// Accepts the events of a change in its transaction.
    fn publish(
        self,
        cloud: &Cloud,
        transaction: &Transaction<'_>,
        before: Option<&Value>,
        after: &Value,
    ) -> ApiResult<()> {
        let announce = self.announce.into_iter();
        announce
            .flat_map(|announce| announce(before, after))
            .try_for_each(|event| events::publish_in(transaction, cloud, event))
    }

    fn missing(self, cloud: &Cloud, name: &str) -> ApiError {
        requests::absent(self.absent.map_or_else(
            || {
                format!(
                    "Could not find {} \"{}\".",
                    self.title,
                    self.arn_of(cloud, name)
                )
            },
            str::to_owned,
        ))
    }

    /// A record by name, as `Describe…` returns it.
    pub(super) fn get(self, cloud: &Cloud, name: &str) -> ApiResult<Value> {
        self.records(cloud)
            .get(name)?
            .ok_or_else(|| self.missing(cloud, name))
    }

    /// A record of a family that never changes: its description has no `LastModifiedTime`.
    pub(super) fn get_unchanging(self, cloud: &Cloud, name: &str) -> ApiResult<Value> {
        let mut found = self.get(cloud, name)?;
        found["LastModifiedTime"].take();
        Ok(found)
    }

    /// Every record, by name.
    pub(super) fn all(self, cloud: &Cloud) -> ApiResult<Vec<Value>> {
        let records = self.records(cloud).list("")?;
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    /// Changes a record and its `LastModifiedTime`.
    pub(super) fn change<R>(
        self,
        cloud: &Cloud,
        name: &str,
        change: impl FnOnce(&mut Value) -> ApiResult<R>,
    ) -> ApiResult<R> {
        self.change_in(cloud, name, |_, record| change(record))
    }

    /// Changes a record like [`Records::change`]. All writes of `change` in the transaction are
    /// committed with the record or not at all.
    pub(super) fn change_in<R>(
        self,
        cloud: &Cloud,
        name: &str,
        change: impl FnOnce(&Transaction<'_>, &mut Value) -> ApiResult<R>,
    ) -> ApiResult<R> {
        let records = self.records(cloud);
        let result = cloud.store().transaction(|transaction| {
            let mut record = records
                .get_in(transaction, name)?
                .ok_or_else(|| self.missing(cloud, name))?;
            let before = self.announce.map(|_| record.clone());
            let result = change(transaction, &mut record)?;
            record["LastModifiedTime"] = json!(clock::epoch());
            records.put_in(transaction, name, &record)?;
            self.publish(cloud, transaction, before.as_ref(), &record)?;
            Ok(result)
        })?;
        events::deliver_soon(cloud);
        Ok(result)
    }

    /// Removes a record and its tags. An absent record is no error.
    pub(super) fn remove(self, cloud: &Cloud, name: &str) -> ApiResult<()> {
        let records = self.records(cloud);
        cloud.store().transaction(|transaction| {
            records.remove_in(transaction, name)?;
            tags::remove_in(cloud, transaction, &self.arn_of(cloud, name))
        })
    }

    /// Deletes a record and its tags, for the `Delete…` operation.
    pub(super) fn delete(self, cloud: &Cloud, name: &str) -> ApiResult<Value> {
        self.get(cloud, name)?;
        self.remove(cloud, name)?;
        Ok(json!({}))
    }

    /// The response of the `List…` operation: newest first by default.
    pub(super) fn list(self, cloud: &Cloud, request: &ListRequest) -> ApiResult<Value> {
        let listing = Listing {
            name: self.name,
            status: None,
            sort_by: "CreationTime",
            order: SortOrder::Descending,
        };
        self.list_of(self.all(cloud)?, listing, request)
    }

    /// The response of the `List…` operation, of these records.
    pub(super) fn list_of(
        self,
        records: Vec<Value>,
        listing: Listing,
        request: &ListRequest,
    ) -> ApiResult<Value> {
        let (page, token) = listing.page(records, request)?;
        let members = [&[self.name, self.arn], self.summary].concat();
        let summaries: Vec<Value> = page
            .iter()
            .map(|record| requests::pick(record, &members))
            .collect();
        Ok(json!({ self.list: summaries, "NextToken": token }))
    }
}

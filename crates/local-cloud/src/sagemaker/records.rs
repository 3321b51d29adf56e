//! Named records of one kind, stored as their `Describe…` answer.

use rusqlite::Transaction;
use serde_json::{Value, json};

use super::{requests, tags};
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, clock};

/// A kind of record.
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
    /// The kind in messages.
    pub(super) title: &'static str,
}

impl Records {
    fn arn_of(self, cloud: &Cloud, name: &str) -> String {
        cloud.arn("sagemaker", format_args!("{}/{name}", self.resource))
    }

    /// Adds a record with its ARN, its times and the `Tags` of the request, in one transaction;
    /// `ValidationException` when the name is taken.
    pub(super) fn create(
        self,
        cloud: &Cloud,
        name: &str,
        mut record: Value,
        given_tags: Option<&Value>,
    ) -> ApiResult<String> {
        let arn = self.arn_of(cloud, name);
        let now = clock::epoch();
        record[self.arn] = json!(arn);
        record["CreationTime"] = json!(now);
        record["LastModifiedTime"] = json!(now);
        let records = cloud.store().collection::<Value>("sagemaker", self.kind);
        cloud.store().transaction(|transaction| {
            if records.get_in(transaction, name)?.is_some() {
                return Err(ApiError::validation(format!(
                    "Cannot create already existing {} \"{arn}\".",
                    self.title
                )));
            }
            records.put_in(transaction, name, &record)?;
            tags::put_in(cloud, transaction, &arn, given_tags)
        })?;
        Ok(arn)
    }

    fn missing(self, cloud: &Cloud, name: &str) -> ApiError {
        requests::absent(format!(
            "Could not find {} \"{}\".",
            self.title,
            self.arn_of(cloud, name)
        ))
    }

    /// A record by name; `ValidationException`, as SageMaker answers for these families.
    pub(super) fn get(self, cloud: &Cloud, name: &str) -> ApiResult<Value> {
        cloud
            .store()
            .collection::<Value>("sagemaker", self.kind)
            .get(name)?
            .ok_or_else(|| self.missing(cloud, name))
    }

    /// Every record, by name.
    pub(super) fn all(self, cloud: &Cloud) -> ApiResult<Vec<Value>> {
        let records = cloud.store().collection::<Value>("sagemaker", self.kind);
        Ok(records
            .list("")?
            .into_iter()
            .map(|(_, record)| record)
            .collect())
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

    /// The same; what `change` writes in the transaction is written with the record or not at all.
    pub(super) fn change_in<R>(
        self,
        cloud: &Cloud,
        name: &str,
        change: impl FnOnce(&Transaction<'_>, &mut Value) -> ApiResult<R>,
    ) -> ApiResult<R> {
        let records = cloud.store().collection::<Value>("sagemaker", self.kind);
        cloud.store().transaction(|transaction| {
            let mut record = records
                .get_in(transaction, name)?
                .ok_or_else(|| self.missing(cloud, name))?;
            let result = change(transaction, &mut record)?;
            record["LastModifiedTime"] = json!(clock::epoch());
            records.put_in(transaction, name, &record)?;
            Ok(result)
        })
    }

    /// Removes a record and its tags; one that is not there is no error.
    pub(super) fn remove(self, cloud: &Cloud, name: &str) -> ApiResult<()> {
        let records = cloud.store().collection::<Value>("sagemaker", self.kind);
        cloud.store().transaction(|transaction| {
            records.remove_in(transaction, name)?;
            tags::remove_in(cloud, transaction, &self.arn_of(cloud, name))
        })
    }

    /// The page of a `List…` request: name, ARN and `more` of each record. Newest first unless the
    /// request says otherwise.
    pub(super) fn page(
        self,
        cloud: &Cloud,
        input: &Value,
        more: &[&str],
    ) -> ApiResult<(Vec<Value>, Option<String>)> {
        let (page, token) = requests::Listing {
            name: self.name,
            status: None,
            sort_by: "CreationTime",
            descending: true,
        }
        .page(self.all(cloud)?, input)?;
        let members = [&[self.name, self.arn], more].concat();
        let summaries = page
            .iter()
            .map(|record| requests::pick(record, &members))
            .collect();
        Ok((summaries, token))
    }
}

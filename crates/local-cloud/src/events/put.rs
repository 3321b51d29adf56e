//! `PutEvents`: events of clients.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bus::{self, Sent};
use super::buses;
use crate::api::{ApiError, ApiResult};
use crate::{Cloud, limits};

/// Maximum size of all entries of a request, in bytes; AWS's own limit.
const MAX_SIZE: usize = 1 << 20;

/// How the sources of AWS's services begin.
const RESERVED: &str = "aws.";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutEvents {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    time: Option<f64>,
    source: Option<String>,
    detail_type: Option<String>,
    detail: Option<String>,
    #[serde(default)]
    resources: Vec<String>,
    event_bus_name: Option<String>,
}

impl Entry {
    /// The size by which AWS limits a request (user guide, "Calculating `PutEvents` event entry size").
    fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let time = self.time.map_or(0, |_| 14);
        let resources: usize = self.resources.iter().map(String::len).sum();
        time + length(&self.source) + length(&self.detail_type) + length(&self.detail) + resources
    }

    /// The event, or the error of this entry.
    fn event(self, cloud: &Cloud) -> ApiResult<Sent> {
        let given = |member: Option<String>, name: &str| {
            member.filter(|text| !text.is_empty()).ok_or_else(|| {
                ApiError::new(
                    "InvalidArgument",
                    format!(
                        "Parameter {name} is not valid. Reason: {name} is a required argument."
                    ),
                )
            })
        };
        let source = given(self.source, "Source")?;
        let detail_type = given(self.detail_type, "DetailType")?;
        let detail = given(self.detail, "Detail")?;
        if source.starts_with(RESERVED) {
            return Err(ApiError::new(
                "NotAuthorizedForSourceException",
                "Not authorized for the source.",
            ));
        }
        let detail = limits::document(detail.as_bytes())
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| ApiError::new("MalformedDetail", "Detail is malformed."))?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is checked")]
        let milliseconds = |seconds: f64| (seconds * 1000.0) as i64;
        let given = self
            .time
            .map(|seconds| Timestamp::from_millisecond(milliseconds(seconds)));
        let time = match given {
            Some(time) => {
                time.map_err(|_| ApiError::new("InvalidArgument", "Parameter Time is not valid."))?
            }
            None => cloud.clock().now(),
        };
        Ok(Sent {
            id: uuid::Uuid::new_v4().to_string(),
            time,
            source,
            detail_type,
            resources: self.resources,
            detail,
        })
    }
}

fn failed_entry(error: &ApiError) -> Value {
    json!({"ErrorCode": error.code, "ErrorMessage": error.message})
}

/// `PutEvents`: an entry that is not valid fails alone.
pub(super) async fn put_events(cloud: &Cloud, input: PutEvents) -> ApiResult<Value> {
    for entry in &input.entries {
        buses::check(cloud, entry.event_bus_name.as_deref())?;
    }
    let size: usize = input.entries.iter().map(Entry::size).sum();
    if size >= MAX_SIZE {
        return Err(ApiError::validation(format!(
            "Total size of the entries in the request is over the limit ({size} bytes, limit {MAX_SIZE})."
        )));
    }
    let (mut valid, mut results) = (Vec::new(), Vec::new());
    for entry in input.entries {
        let event = entry.event(cloud);
        results.push(event.map(|event| {
            let id = event.id.clone();
            valid.push(event);
            id
        }));
    }
    let mut accepted = bus::accept_all(cloud, valid)?.into_iter();
    for result in &mut results {
        if result.is_ok() && accepted.next() == Some(false) {
            *result = Err(ApiError::new(
                "ThrottlingException",
                "Too many events wait for their delivery.",
            ));
        }
    }
    let failed = results.iter().filter(|result| result.is_err()).count();
    let entry = |result: ApiResult<String>| match result {
        Ok(id) => json!({"EventId": id}),
        Err(error) => failed_entry(&error),
    };
    let entries: Vec<Value> = results.into_iter().map(entry).collect();
    Ok(json!({"FailedEntryCount": failed, "Entries": entries}))
}

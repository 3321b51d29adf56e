//! Log events: written in batches, read by stream or searched by group.

use rusqlite::{Transaction, params};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{group_name, invalid, now, require_group, stream_id};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Maximum events of one response: AWS's limit and default.
const PAGE: usize = 10_000;
/// Maximum bytes of one response.
const PAGE_BYTES: usize = 1 << 20;
const HOUR: i64 = 3_600_000;

/// Adds events to a stream, in the caller's transaction.
pub(super) fn insert<'a>(
    tx: &Transaction<'_>,
    stream: i64,
    events: impl Iterator<Item = (i64, &'a str)>,
) -> ApiResult<()> {
    let ingested = now();
    let mut number: i64 = tx
        .prepare_cached("SELECT events FROM log_streams WHERE id = ?1")?
        .query_row([stream], |row| row.get(0))?;
    let mut span: Option<(i64, i64)> = None;
    let mut statement = tx.prepare_cached("INSERT INTO log_events VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (time, message) in events {
        number += 1;
        statement.execute(params![stream, time, number, ingested, message])?;
        let (first, last) = span.unwrap_or((time, time));
        span = Some((first.min(time), last.max(time)));
    }
    if let Some((first, last)) = span {
        tx.prepare_cached(
            "UPDATE log_streams SET events = ?2, ingested = ?3,
                 first = min(coalesce(first, ?4), ?4), last = max(coalesce(last, ?5), ?5)
             WHERE id = ?1",
        )?
        .execute(params![stream, number, ingested, first, last])?;
    }
    Ok(())
}

#[derive(Deserialize)]
pub(super) struct PutEvents {
    #[serde(rename = "logGroupName")]
    group: String,
    #[serde(rename = "logStreamName")]
    stream: String,
    #[serde(rename = "logEvents")]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    timestamp: i64,
    message: String,
}

pub(super) async fn put(cloud: &Cloud, input: PutEvents) -> ApiResult<Value> {
    let events = &input.events;
    if events.is_empty() || events.len() > PAGE {
        return Err(invalid("logEvents must have 1 to 10000 events"));
    }
    if events.iter().any(|event| event.message.is_empty()) {
        return Err(invalid("Log event message must not be empty"));
    }
    if !events.is_sorted_by_key(|event| event.timestamp) {
        return Err(invalid(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    let now = now();
    let too_old = events.partition_point(|event| event.timestamp < now - 14 * 24 * HOUR);
    let too_new = events.partition_point(|event| event.timestamp <= now + 2 * HOUR);
    let number: i64 = cloud.store().transaction(|tx| {
        let stream = stream_id(tx, &input.group, &input.stream)?;
        insert(
            tx,
            stream,
            events[too_old..too_new]
                .iter()
                .map(|event| (event.timestamp, event.message.as_str())),
        )?;
        Ok(tx.query_row(
            "SELECT events FROM log_streams WHERE id = ?1",
            [stream],
            |row| row.get(0),
        )?)
    })?;
    let mut answer = json!({ "nextSequenceToken": format!("{number:056}") });
    if too_old > 0 {
        answer["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"] = too_old.into();
    }
    if too_new < events.len() {
        answer["rejectedLogEventsInfo"]["tooNewLogEventStartIndex"] = too_new.into();
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetEvents {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    log_stream_name: String,
    start_time: Option<i64>,
    end_time: Option<i64>,
    next_token: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    start_from_head: bool,
}

/// The position of an event in its stream.
#[derive(Clone, Copy, PartialEq, Debug)]
struct StreamPosition {
    time: i64,
    number: i64,
}

impl StreamPosition {
    /// 32 digits of time and 24 of number: as long as AWS's, and in the events' order.
    fn encode(self) -> String {
        format!("{:032}{:024}", self.time, self.number)
    }

    fn decode(text: &str) -> Option<Self> {
        Some(Self {
            time: text.get(..32)?.parse().ok()?,
            number: text.get(32..)?.parse().ok()?,
        })
    }
}

pub(super) async fn get(cloud: &Cloud, input: GetEvents) -> ApiResult<Value> {
    let group = group_name(cloud, input.log_group_name, input.log_group_identifier)?;
    let limit = page(input.limit)?;
    let start = StreamPosition {
        time: input.start_time.unwrap_or(0),
        number: 0,
    };
    let end = StreamPosition {
        time: input.end_time.unwrap_or(i64::MAX),
        number: 0,
    };
    let bad_token = || invalid("The specified nextToken is invalid.");
    let (forward, from) = match &input.next_token {
        None => (input.start_from_head, None),
        Some(token) => {
            let (direction, place) = token.split_once('/').ok_or_else(bad_token)?;
            let place = StreamPosition::decode(place).ok_or_else(bad_token)?;
            match direction {
                "f" => (true, Some(place)),
                "b" => (false, Some(place)),
                _ => return Err(bad_token()),
            }
        }
    };
    let mut found = cloud.store().transaction(|tx| {
        let stream = stream_id(tx, &group, &input.log_stream_name)?;
        let after = |place: StreamPosition| StreamPosition {
            number: place.number + 1,
            ..place
        };
        if forward {
            let first = from.map_or(start, after);
            select(tx, stream, first, end, limit, "ASC")
        } else {
            select(tx, stream, start, from.unwrap_or(end), limit, "DESC")
        }
    })?;
    cut(&mut found);
    if !forward {
        found.reverse();
    }
    // Without new events the position is unchanged: a client stops when the token repeats.
    let here = from.unwrap_or(start);
    let beside = |step: i64| StreamPosition {
        number: here.number + step,
        ..here
    };
    // The other direction starts with the event at that position.
    let (before, after) = if forward {
        (beside(1), here)
    } else {
        (here, beside(-1))
    };
    let first = found.first().map_or(before, |event| event.place);
    let last = found.last().map_or(after, |event| event.place);
    let events: Vec<Value> = found
        .into_iter()
        .map(|event| {
            json!({
                "timestamp": event.place.time,
                "message": event.message,
                "ingestionTime": event.ingested,
            })
        })
        .collect();
    Ok(json!({
        "events": events,
        "nextForwardToken": format!("f/{}", last.encode()),
        "nextBackwardToken": format!("b/{}", first.encode()),
    }))
}

struct FoundEvent {
    place: StreamPosition,
    ingested: i64,
    message: String,
}

/// At most `limit` events of a stream from `first` to before `end`, from one side.
fn select(
    tx: &Transaction<'_>,
    stream: i64,
    first: StreamPosition,
    end: StreamPosition,
    limit: usize,
    direction: &str,
) -> ApiResult<Vec<FoundEvent>> {
    let mut statement = tx.prepare_cached(&format!(
        "SELECT time, number, ingested, message FROM log_events
         WHERE stream = ?1 AND (time, number) >= (?2, ?3) AND (time, number) < (?4, ?5)
         ORDER BY time {direction}, number {direction} LIMIT ?6"
    ))?;
    let limit = i64::try_from(limit).map_err(ApiError::internal)?;
    let rows = statement.query_map(
        params![
            stream,
            first.time,
            first.number,
            end.time,
            end.number,
            limit
        ],
        |row| {
            Ok(FoundEvent {
                place: StreamPosition {
                    time: row.get(0)?,
                    number: row.get(1)?,
                },
                ingested: row.get(2)?,
                message: row.get(3)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Truncates the events to the size of one response, but keeps at least one.
fn cut(events: &mut Vec<FoundEvent>) {
    let mut bytes = 0;
    let fits = events
        .iter()
        .take_while(|event| {
            bytes += event.message.len() + 26;
            bytes <= PAGE_BYTES
        })
        .count();
    events.truncate(fits.max(1));
}

fn page(limit: Option<usize>) -> ApiResult<usize> {
    match limit.unwrap_or(PAGE) {
        limit @ 1..=PAGE => Ok(limit),
        limit => Err(invalid(format!("limit is {limit}; it can be 1 to {PAGE}"))),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FilterEvents {
    log_group_name: Option<String>,
    log_group_identifier: Option<String>,
    #[serde(default)]
    log_stream_names: Vec<String>,
    #[serde(default)]
    log_stream_name_prefix: String,
    start_time: Option<i64>,
    end_time: Option<i64>,
    #[serde(default, rename = "filterPattern")]
    pattern: String,
    next_token: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn filter(cloud: &Cloud, input: FilterEvents) -> ApiResult<Value> {
    let group = group_name(cloud, input.log_group_name, input.log_group_identifier)?;
    let limit = page(input.limit)?;
    let terms = terms(&input.pattern)?;
    if !input.log_stream_names.is_empty() && !input.log_stream_name_prefix.is_empty() {
        return Err(invalid(
            "logStreamNames and logStreamNamePrefix are mutually exclusive parameters.",
        ));
    }
    let bad_token = || invalid("The specified nextToken is invalid.");
    let after = match &input.next_token {
        None => (input.start_time.unwrap_or(0), i64::MIN, 0),
        Some(token) => {
            let (stream, place) = token.split_once('/').ok_or_else(bad_token)?;
            let place = StreamPosition::decode(place).ok_or_else(bad_token)?;
            (
                place.time,
                stream.parse().map_err(|_| bad_token())?,
                place.number,
            )
        }
    };
    let end = input.end_time.unwrap_or(i64::MAX);
    cloud.store().transaction(|tx| {
        require_group(tx, &group)?;
        let mut statement = tx.prepare_cached(
            "SELECT e.time, s.id, e.number, s.name, e.ingested, e.message
             FROM log_events e JOIN log_streams s ON s.id = e.stream
             WHERE s.log_group = ?1 AND substr(s.name, 1, length(?2)) = ?2
               AND (e.time, s.id, e.number) > (?3, ?4, ?5) AND e.time < ?6
             ORDER BY e.time, s.id, e.number",
        )?;
        let mut rows = statement.query(params![
            group,
            input.log_stream_name_prefix,
            after.0,
            after.1,
            after.2,
            end
        ])?;
        let (mut events, mut bytes, mut token) = (Vec::new(), 0, None);
        while let Some(row) = rows.next()? {
            let (name, message): (String, String) = (row.get(3)?, row.get(5)?);
            let wanted =
                input.log_stream_names.is_empty() || input.log_stream_names.contains(&name);
            if !wanted || !matches(&terms, &message) {
                continue;
            }
            // The next page starts after the last event of this one.
            if events.len() == limit || bytes > PAGE_BYTES {
                token = events.last().map(|event: &Value| event["eventId"].clone());
                break;
            }
            bytes += message.len() + 26;
            let place = StreamPosition {
                time: row.get(0)?,
                number: row.get(2)?,
            };
            let stream: i64 = row.get(1)?;
            events.push(json!({
                "logStreamName": name,
                "timestamp": place.time,
                "message": message,
                "ingestionTime": row.get::<_, i64>(4)?,
                "eventId": format!("{stream}/{}", place.encode()),
            }));
        }
        let mut answer = json!({ "events": events, "searchedLogStreams": [] });
        if let Some(token) = token {
            answer["nextToken"] = token;
        }
        Ok(answer)
    })
}

/// A term of a filter pattern: text that a line must have, or must not (`-term`).
#[derive(Debug, PartialEq)]
struct Term {
    text: String,
    wanted: bool,
}

/// Reads a pattern of plain terms, each a word or a quoted phrase, all of which must match.
/// Optional terms (`?`), JSON (`{…}`), columns (`[…]`) and regular expressions (`%…%`) are refused.
fn terms(pattern: &str) -> ApiResult<Vec<Term>> {
    let mut terms = Vec::new();
    let mut rest = pattern.trim();
    while !rest.is_empty() {
        if rest.starts_with(['{', '[', '%', '?']) {
            return Err(ApiError::not_implemented(format_args!(
                "the filter pattern `{pattern}`: only plain terms are supported"
            )));
        }
        let (wanted, term) = match rest.strip_prefix('-') {
            Some(term) => (false, term),
            None => (true, rest),
        };
        let (text, tail) = match term.strip_prefix('"') {
            Some(quoted) => quoted
                .split_once('"')
                .ok_or_else(|| invalid("Invalid filter pattern: a quote is not closed"))?,
            None => term.split_once(char::is_whitespace).unwrap_or((term, "")),
        };
        if text.is_empty() {
            return Err(invalid("Invalid filter pattern: an empty term"));
        }
        terms.push(Term {
            text: text.to_owned(),
            wanted,
        });
        rest = tail.trim_start();
    }
    Ok(terms)
}

fn matches(terms: &[Term], message: &str) -> bool {
    terms
        .iter()
        .all(|term| message.contains(&term.text) == term.wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_plain_terms_must_match_and_other_patterns_are_refused() {
        let found = terms(r#"ERROR "disk full" -retry"#).unwrap();
        assert!(matches(&found, "ERROR: the disk full of logs"));
        assert!(!matches(&found, "ERROR: disk full, will retry"));
        assert!(!matches(&found, "error: disk full"));
        assert_eq!(terms("{ $.a = 1 }").unwrap_err().code, "NotImplemented");
        assert_eq!(terms("?a ?b").unwrap_err().code, "NotImplemented");
        assert_eq!(terms("\"a").unwrap_err().code, "InvalidParameterException");
    }

    #[test]
    fn a_position_survives_its_token() {
        let place = StreamPosition {
            time: 1_700_000_000_000,
            number: 42,
        };
        assert_eq!(StreamPosition::decode(&place.encode()), Some(place));
        assert_eq!(place.encode().len(), 56);
        assert_eq!(StreamPosition::decode("1"), None);
    }
}

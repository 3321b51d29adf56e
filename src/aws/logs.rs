//! Reads job logs from CloudWatch Logs.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;

use super::{AwsResultExt, Clients, Missing};

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// The line's timestamp.
    pub time: Option<Timestamp>,
    /// The text.
    pub message: String,
}

/// Reads the log of a job from its beginning; each read returns only new lines.
#[derive(Debug)]
pub struct Reader {
    group: String,
    job: String,
    /// The position of the next read, by stream.
    places: BTreeMap<String, String>,
}

impl Reader {
    /// A reader at the beginning of the log.
    pub fn new(group: &str, job: &str) -> Self {
        Self {
            group: group.to_owned(),
            job: job.to_owned(),
            places: BTreeMap::new(),
        }
    }

    /// Returns the lines written since the last read, oldest first within each stream.
    pub async fn read(&mut self, clients: &Clients) -> Result<Vec<LogEvent>> {
        let mut events = Vec::new();
        for stream in streams(clients, &self.group, &self.job).await? {
            loop {
                let token = self.places.get(&stream).cloned();
                let page = clients
                    .logs
                    .get_log_events()
                    .log_group_name(&self.group)
                    .log_stream_name(&stream)
                    .start_from_head(true)
                    .set_next_token(token.clone())
                    .send()
                    .await
                    .aws(format!("cannot read the log of `{}`", self.job))?;
                events.extend(page.events().iter().map(event));
                // At the end of a stream, the response repeats the token of the request.
                let next = page.next_forward_token().map(str::to_owned);
                if next.is_none() || next == token {
                    break;
                }
                self.places.extend(next.map(|next| (stream.clone(), next)));
            }
        }
        Ok(events)
    }
}

/// Returns the last `tail` lines of each stream of a job; nothing for a job that has not written
/// yet.
pub async fn last(clients: &Clients, group: &str, job: &str, tail: i32) -> Result<Vec<String>> {
    let streams = tails(clients, group, job, tail).await?;
    let events = streams.into_iter().flat_map(|(_, events)| events);
    Ok(events.map(|event| event.message).collect())
}

/// Returns the names of the streams of a job, each with its last `tail` lines.
pub async fn tails(
    clients: &Clients,
    group: &str,
    job: &str,
    tail: i32,
) -> Result<Vec<(String, Vec<LogEvent>)>> {
    let mut found = Vec::new();
    for stream in streams(clients, group, job).await? {
        let page = clients
            .logs
            .get_log_events()
            .log_group_name(group)
            .log_stream_name(&stream)
            .start_from_head(false)
            .limit(tail)
            .send()
            .await
            .aws(format!("cannot read the log of `{job}`"))?;
        found.push((stream, page.events().iter().map(event).collect()));
    }
    Ok(found)
}

/// Lists the streams of a job, by name.
async fn streams(clients: &Clients, group: &str, job: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut token = None;
    loop {
        let page = clients
            .logs
            .describe_log_streams()
            .log_group_name(group)
            .log_stream_name_prefix(format!("{job}/"))
            .set_next_token(token)
            .send()
            .await
            .aws_if_found(format!("cannot find the log of `{job}`"), Missing::Resource)?;
        let Some(page) = page else {
            return Ok(found);
        };
        token = page.next_token().map(str::to_owned);
        let streams = page.log_streams.unwrap_or_default();
        found.extend(streams.into_iter().filter_map(|s| s.log_stream_name));
        if token.is_none() {
            return Ok(found);
        }
    }
}

fn event(event: &aws_sdk_cloudwatchlogs::types::OutputLogEvent) -> LogEvent {
    LogEvent {
        time: event
            .timestamp()
            .and_then(|time| Timestamp::from_millisecond(time).ok()),
        message: event.message().unwrap_or_default().to_owned(),
    }
}

//! Reads the logs of jobs and builds from CloudWatch Logs.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
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

/// Where a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPlace {
    /// The streams of a job, one for each host.
    Job {
        /// The log group.
        group: String,
        /// The job.
        job: String,
    },
    /// One stream.
    Stream {
        /// The log group.
        group: String,
        /// The stream.
        stream: String,
    },
}

impl LogPlace {
    /// Parses the ARN of a stream: `arn:aws:logs:REGION:ACCOUNT:log-group:GROUP:log-stream:STREAM`.
    pub fn of_arn(arn: &str) -> Option<Self> {
        let (_, rest) = arn.split_once(":log-group:")?;
        let (group, stream) = rest.split_once(":log-stream:")?;
        Some(Self::Stream {
            group: group.to_owned(),
            stream: stream.to_owned(),
        })
    }

    /// The log group.
    pub fn group(&self) -> &str {
        let (Self::Job { group, .. } | Self::Stream { group, .. }) = self;
        group
    }

    /// Its name within the group.
    pub fn name(&self) -> &str {
        match self {
            Self::Job { job: name, .. } | Self::Stream { stream: name, .. } => name,
        }
    }

    /// Lists its streams, by name.
    async fn streams(&self, clients: &Clients) -> Result<Vec<String>> {
        match self {
            Self::Job { group, job } => streams(clients, group, job).await,
            Self::Stream { stream, .. } => Ok(vec![stream.clone()]),
        }
    }

    /// Returns its streams, each with its last `lines` lines; none for a log that was not written yet.
    pub async fn tails(
        &self,
        clients: &Clients,
        lines: i32,
    ) -> Result<Vec<(String, Vec<LogEvent>)>> {
        let mut found = Vec::new();
        for stream in self.streams(clients).await? {
            if let Some(events) = last_of(clients, self.group(), &stream, lines).await? {
                found.push((stream, events));
            }
        }
        Ok(found)
    }
}

/// Reads a log from its beginning; each read returns only new lines.
#[derive(Debug)]
pub struct Reader {
    log: LogPlace,
    /// The position of the next read, by stream.
    places: BTreeMap<String, String>,
    is_missing: bool,
}

impl Reader {
    /// A reader at the beginning of the log.
    pub fn new(log: LogPlace) -> Self {
        Self {
            log,
            places: BTreeMap::new(),
            is_missing: false,
        }
    }

    /// Whether the log did not exist at the last read: it was not written yet, or was deleted.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// Returns the lines written since the last read, oldest first within each stream.
    pub async fn read(&mut self, clients: &Clients) -> Result<Vec<LogEvent>> {
        let mut events = Vec::new();
        self.is_missing = false;
        for stream in self.log.streams(clients).await? {
            loop {
                let token = self.places.get(&stream).cloned();
                let page = clients
                    .logs
                    .get_log_events()
                    .log_group_name(self.log.group())
                    .log_stream_name(&stream)
                    .start_from_head(true)
                    .set_next_token(token.clone())
                    .send()
                    .await
                    .aws_if_found(
                        format!("cannot read the log of `{}`", self.log.name()),
                        Missing::Resource,
                    )?;
                // A build has the name of its stream before the stream exists.
                let Some(page) = page else {
                    self.is_missing = true;
                    break;
                };
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

/// A line of any stream of a log group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEvent {
    /// The name of its stream.
    pub stream: String,
    /// The line's timestamp.
    pub time: Option<Timestamp>,
    /// The text.
    pub message: String,
}

/// The state of a group after a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupState {
    /// Whether the group exists.
    pub exists: bool,
    /// Whether the receiver accepts more lines.
    pub open: bool,
}

/// Reads all streams of a log group in the order of time; each read returns only new lines.
#[derive(Debug)]
pub struct GroupReader {
    group: String,
    /// The time of the newest line that was read, in milliseconds.
    from: i64,
    /// The lines that the next read returns again.
    seen: BTreeMap<String, i64>,
}

impl GroupReader {
    /// Lines may arrive this much later than newer lines of other streams, in milliseconds.
    const OVERLAP: i64 = 10_000;

    /// A reader that starts at a time.
    pub fn new(group: &str, start: Timestamp) -> Self {
        Self {
            group: group.to_owned(),
            from: start.as_millisecond(),
            seen: BTreeMap::new(),
        }
    }

    /// Passes the lines written since the last read to `each`, oldest first, until it returns false. `now` is the
    /// current time.
    pub async fn read(
        &mut self,
        clients: &Clients,
        now: Timestamp,
        mut each: impl FnMut(GroupEvent) -> Result<bool>,
    ) -> Result<GroupState> {
        let mut pages = clients
            .logs
            .filter_log_events()
            .log_group_name(&self.group)
            .start_time(self.from.max(0))
            .into_paginator()
            .send();
        let mut newest = self.from;
        // CloudWatch accepts lines up to two hours ahead; they must not hide those that are written now.
        let now = now.as_millisecond();
        while let Some(page) = pages.next().await {
            let doing = format!("cannot read the log group {}", self.group);
            let Some(page) = page.aws_if_found(doing, Missing::Resource)? else {
                return Ok(GroupState {
                    exists: false,
                    open: true,
                });
            };
            for event in page.events() {
                let time = event.timestamp().unwrap_or_default();
                let id = event.event_id().unwrap_or_default().to_owned();
                newest = newest.max(time.min(now));
                if self.seen.insert(id, time).is_some() {
                    continue;
                }
                let event = GroupEvent {
                    stream: event.log_stream_name().unwrap_or_default().to_owned(),
                    time: timestamp(time),
                    message: event.message().unwrap_or_default().to_owned(),
                };
                if !each(event)? {
                    return Ok(GroupState {
                        exists: true,
                        open: false,
                    });
                }
            }
            // Only the lines of the overlap are read again.
            let oldest = newest - Self::OVERLAP;
            self.seen.retain(|_, time| *time >= oldest);
        }
        self.from = self.from.max(newest - Self::OVERLAP);
        Ok(GroupState {
            exists: true,
            open: true,
        })
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
    let log = LogPlace::Job {
        group: group.to_owned(),
        job: job.to_owned(),
    };
    log.tails(clients, tail).await
}

/// Returns the last `lines` lines of a stream.
pub async fn tail(
    clients: &Clients,
    group: &str,
    stream: &str,
    lines: i32,
) -> Result<Vec<LogEvent>> {
    let events = last_of(clients, group, stream, lines).await?;
    events.ok_or_else(|| anyhow!("the log {group} has no stream `{stream}`"))
}

/// The last `lines` lines of a stream; `None` if it does not exist.
async fn last_of(
    clients: &Clients,
    group: &str,
    stream: &str,
    lines: i32,
) -> Result<Option<Vec<LogEvent>>> {
    let page = clients
        .logs
        .get_log_events()
        .log_group_name(group)
        .log_stream_name(stream)
        .start_from_head(false)
        .limit(lines)
        .send()
        .await
        .aws_if_found(
            format!("cannot read the log of `{stream}`"),
            Missing::Resource,
        )?;
    Ok(page.map(|page| page.events().iter().map(event).collect()))
}

/// A stream of a log group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// The time of its last line. CloudWatch may report it with a delay of an hour.
    pub last: Option<Timestamp>,
}

/// Returns all streams of a group; none if the group does not exist.
pub async fn streams_of(clients: &Clients, group: &str) -> Result<Vec<LogStream>> {
    let mut pages = clients
        .logs
        .describe_log_streams()
        .log_group_name(group)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let doing = format!("cannot list the streams of {group}");
        let Some(page) = page.aws_if_found(doing, Missing::Resource)? else {
            break;
        };
        found.extend(page.log_streams().iter().filter_map(|stream| {
            Some(LogStream {
                name: stream.log_stream_name()?.to_owned(),
                created: stream.creation_time().and_then(timestamp),
                last: stream.last_event_timestamp().and_then(timestamp),
            })
        }));
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

fn timestamp(milliseconds: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(milliseconds).ok()
}

fn event(event: &aws_sdk_cloudwatchlogs::types::OutputLogEvent) -> LogEvent {
    LogEvent {
        time: event.timestamp().and_then(timestamp),
        message: event.message().unwrap_or_default().to_owned(),
    }
}

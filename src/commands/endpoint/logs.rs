//! `mlops endpoint logs`: what the containers of the endpoint write.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use mlops_core::error::Hint;
use mlops_core::text::{clean, exact_time};
use serde::Serialize;

use super::EndpointReport;
use crate::aws::endpoint_failure::log_group;
use crate::aws::logs::{GroupEvent, GroupReader};
use crate::aws::{Clients, logs};
use crate::context::Context;
use crate::output::Format;

/// Maximum number of days to look back; CloudWatch Logs accepts more, but reading it would take hours.
const LONGEST_DAYS: i64 = 90;
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * LONGEST_DAYS);

/// Print the log of the endpoint's containers
///
/// Each line is preceded by its stream, VARIANT/INSTANCE. The log outlives the endpoint, so it also
/// shows why a deployment failed. With --follow, prints new lines until Ctrl-C or --timeout; with
/// --output json, one JSON object per line.
///
/// Example: mlops endpoint logs --follow --since 10m
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// Print new lines as they are written
    #[arg(long, short)]
    follow: bool,
    /// How far to look back: 30s, 10m, 2h, 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = since)]
    since: SignedDuration,
    /// Print the time of each line
    #[arg(long)]
    timestamps: bool,
}

fn since(text: &str) -> Result<SignedDuration, String> {
    // `d` is not a unit of a duration, because days differ in length; a log does not care.
    let parsed = match text.strip_suffix('d').map(str::parse::<i64>) {
        Some(Ok(days @ 0..=LONGEST_DAYS)) => Some(SignedDuration::from_hours(24 * days)),
        Some(_) => None,
        None => text.parse().ok(),
    };
    match parsed {
        Some(duration) if duration.is_positive() && duration <= LONGEST => Ok(duration),
        _ => Err("expected a duration such as 30s, 10m, 2h or 7d, at most 90d".to_owned()),
    }
}

/// A line of the log.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// `VARIANT/INSTANCE`
    stream: String,
    time: Option<Timestamp>,
    message: String,
    #[serde(skip)]
    timestamps: bool,
}

/// The log of an endpoint.
#[derive(Debug, Serialize)]
pub struct Logs {
    endpoint: String,
    log_group: String,
    lines: Vec<Line>,
}

impl Line {
    fn new(event: GroupEvent, timestamps: bool) -> Self {
        Self {
            stream: event.stream,
            time: event.time,
            message: event.message,
            timestamps,
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.timestamps {
            write!(f, "{}  ", self.time.map(exact_time).unwrap_or_default())?;
        }
        // A message with a line break must not look like a line of another stream.
        let message = clean(&self.message).replace('\n', "\n    ");
        let stream = console::style(clean(&self.stream));
        let stream = match self
            .stream
            .bytes()
            .fold(0_u32, |sum, byte| sum + u32::from(byte))
            % 4
        {
            0 => stream.cyan(),
            1 => stream.magenta(),
            2 => stream.blue(),
            _ => stream.yellow(),
        };
        write!(f, "{stream}  {message}")
    }
}

pub(super) async fn run(
    ctx: &Context,
    clients: &Clients,
    endpoint: &str,
    args: &LogArgs,
) -> Result<EndpointReport> {
    let group = log_group(endpoint);
    let start = ctx.now().checked_sub(args.since).unwrap_or(Timestamp::MIN);
    let mut reader = GroupReader::new(&group, start);
    if args.follow {
        follow(ctx, clients, &mut reader, args.timestamps).await?;
        return Ok(EndpointReport::Printed);
    }
    let mut lines = Vec::new();
    let mut count: u64 = 0;
    let collects = ctx.output.format() == Format::Json;
    let found = reader
        .read(clients, ctx.now(), |event| {
            count += 1;
            let line = Line::new(event, args.timestamps);
            if collects {
                lines.push(line);
                return Ok(true);
            }
            Ok(ctx.output.line(&line)?)
        })
        .await?;
    if !found.exists {
        return Err(anyhow!("the endpoint {endpoint} has no log yet")).hint(format!(
            "deploy a version with `{}`",
            ctx.command("promote")
        ));
    }
    if collects {
        return Ok(EndpointReport::Logs(Logs {
            endpoint: endpoint.to_owned(),
            log_group: group,
            lines,
        }));
    }
    if count == 0 {
        ctx.progress.say(match newest(clients, &group).await? {
            Some(last) => format!(
                "no line in the last {}; the last line is from {}",
                mlops_core::text::duration(args.since.as_secs()),
                exact_time(last)
            ),
            None => "the log is empty".to_owned(),
        });
    }
    Ok(EndpointReport::Printed)
}

/// When the last line was written, if any.
async fn newest(clients: &Clients, group: &str) -> Result<Option<Timestamp>> {
    let streams = logs::streams_of(clients, group).await?;
    let newest = streams.into_iter().max_by_key(|stream| stream.last);
    Ok(newest.and_then(|stream| stream.last))
}

/// Prints new lines until stdout is closed, or `--timeout`.
async fn follow(
    ctx: &Context,
    clients: &Clients,
    reader: &mut GroupReader,
    timestamps: bool,
) -> Result<()> {
    let mut waited = Duration::ZERO;
    let mut said_waiting = false;
    loop {
        let print = |event: GroupEvent| -> Result<bool> {
            Ok(ctx.output.line(&Line::new(event, timestamps))?)
        };
        let read = reader.read(clients, ctx.now(), print).await?;
        if !read.open {
            return Ok(());
        }
        if !read.exists && !std::mem::replace(&mut said_waiting, true) {
            ctx.progress.say("waiting for the first line of the log");
        }
        if waited + ctx.waiter.interval > ctx.waiter.timeout {
            return Ok(());
        }
        ctx.waiter.pause().await;
        waited += ctx.waiter.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_limit() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("2h", 7200), ("7d", 604_800)] {
            assert_eq!(since(text).map(|it| it.as_secs()), Ok(seconds), "{text}");
        }
        for wrong in ["", "0s", "10", "-5m", "91d", "99999999999999999d", "d"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}

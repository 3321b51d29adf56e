//! Explains why a deployment of an endpoint failed, from the log of the container that failed.
//!
//! ```text
//! log group of the endpoint → streams created since the deployment began → their last lines
//!                                                    failure reason ─┴→ known_causes → Explanation
//! ```

use anyhow::Result;
use jiff::Timestamp;
use mlops_core::error::hinted;
use serde::Serialize;

use super::known_causes::{self, Cause, Place};
use super::logs::LogStream;
use super::{Clients, logs};

/// Number of log lines to show.
const SHOWN: usize = 15;

/// Number of log lines to search for a cause: a traceback is longer than what is shown.
const SEARCHED: i32 = 100;

/// Maximum number of containers whose log is read.
const CONTAINERS: usize = 5;

/// What is known about a failed deployment.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// The endpoint's log group.
    pub log_group: String,
    /// The stream of the container that failed, such as `AllTraffic/i-0123`; null if no container of the
    /// deployment has written a line.
    pub log_stream: Option<String>,
    /// Its last lines, oldest first.
    pub lines: Vec<String>,
    /// The likely cause, if the reason or the lines are known.
    pub cause: Option<Cause>,
}

/// Returns the log group of an endpoint.
pub fn log_group(endpoint: &str) -> String {
    format!("/aws/sagemaker/Endpoints/{endpoint}")
}

/// Explains the failure of a deployment. `reason` is the endpoint's failure reason, and `since` is when the
/// deployment began: containers that started before it belong to the previous version. Without `since`,
/// explains the container that was started last.
pub async fn explain(
    clients: &Clients,
    endpoint: &str,
    reason: Option<&str>,
    since: Option<Timestamp>,
) -> Result<Explanation> {
    let log_group = log_group(endpoint);
    let streams = candidates(logs::streams_of(clients, &log_group).await?, since);
    let mut found: Option<(String, Vec<String>)> = None;
    for stream in streams {
        let events = logs::tail(clients, &log_group, &stream.name, SEARCHED).await?;
        let lines: Vec<String> = events.into_iter().map(|event| event.message).collect();
        if lines.is_empty() {
            continue;
        }
        // A cause in the reason alone does not identify the container that failed.
        if known_causes::find(Place::Server, None, &lines).is_some() {
            found = Some((stream.name, lines));
            break;
        }
        found.get_or_insert((stream.name, lines));
    }
    let (log_stream, lines) = found.unzip();
    let all = lines.unwrap_or_default();
    Ok(Explanation {
        log_group,
        log_stream,
        cause: known_causes::find(Place::Server, reason, &all),
        lines: all[all.len().saturating_sub(SHOWN)..].to_vec(),
    })
}

/// Returns the streams that can be the failed container's, the likeliest first: the oldest of the deployment,
/// because a rollback starts containers too.
fn candidates(mut streams: Vec<LogStream>, since: Option<Timestamp>) -> Vec<LogStream> {
    streams.sort_by_key(|stream| stream.created);
    match since {
        Some(since) => {
            streams.retain(|stream| stream.created.is_some_and(|at| at >= since));
            streams.truncate(CONTAINERS);
            streams
        }
        None => streams.pop().into_iter().collect(),
    }
}

impl Explanation {
    /// Returns the log as lines to print before the error.
    pub fn report(&self) -> Vec<String> {
        let Some(stream) = &self.log_stream else {
            return vec![format!(
                "no container of this deployment wrote a line to {}",
                self.log_group
            )];
        };
        let title = format!("last lines of the container {stream}:");
        let lines = self.lines.iter().map(|line| format!("  {line}"));
        std::iter::once(title).chain(lines).collect()
    }

    /// Adds the likely cause and its fix to the error of the deployment, and `logs`, the command that
    /// prints the whole log.
    pub fn explain(&self, error: anyhow::Error, logs: &str) -> anyhow::Error {
        let error = match &self.cause {
            Some(cause) => cause.explain(error),
            None => error,
        };
        match &self.log_stream {
            Some(_) => hinted(error, format!("print the whole log with `{logs}`")),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_of_the_previous_version_are_not_explained() {
        let at = |second: i64| Timestamp::from_second(second).ok();
        let streams = || {
            [("rollback", 30), ("old", 10), ("new", 20)].map(|(name, second)| LogStream {
                name: name.to_owned(),
                created: at(second),
                last: None,
            })
        };
        let names = |since| -> Vec<String> {
            let found = candidates(streams().to_vec(), since);
            found.into_iter().map(|stream| stream.name).collect()
        };
        assert_eq!(names(at(15)), ["new", "rollback"]);
        assert_eq!(names(None), ["rollback"]);
        assert!(names(at(40)).is_empty());
    }

    #[test]
    fn the_cause_and_its_fix_are_hints_of_the_error() {
        let explanation = Explanation {
            log_group: "/aws/sagemaker/Endpoints/e".to_owned(),
            log_stream: Some("AllTraffic/i-1".to_owned()),
            lines: vec!["ModuleNotFoundError: No module named 'pandas'".to_owned()],
            cause: known_causes::find(
                Place::Server,
                None,
                &["ModuleNotFoundError: No module named 'pandas'".to_owned()],
            ),
        };
        let error = explanation.explain(anyhow::anyhow!("failed"), "mlops endpoint logs");
        let hints = mlops_core::error::hints(&error);
        assert!(
            hints[0].starts_with("likely cause: the program imports `pandas`"),
            "{hints:?}"
        );
        assert!(hints[1].contains("requirements.txt"), "{hints:?}");
        assert_eq!(hints[2], "print the whole log with `mlops endpoint logs`");
        let report = explanation.report();
        assert_eq!(report[0], "last lines of the container AllTraffic/i-1:");
        assert_eq!(report.len(), 2);
    }
}

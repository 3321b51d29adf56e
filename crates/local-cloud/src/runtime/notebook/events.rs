//! The events of a machine: output goes to CloudWatch Logs, ends to those who wait for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use super::LOG_GROUP;
use crate::Cloud;
use crate::cloud::caller::Caller;
use crate::runtime::enter::{Ended, Event};
use crate::runtime::process::{self, Lines};

/// Maximum size of a log stream per start of the instance, in bytes.
const MAX_LOG: usize = 10 << 20;

/// Number of lines that are kept of each program, for the reason of a failure.
const TAIL: usize = 5;

/// The name of the machine itself among its programs.
pub(super) const MACHINE: &str = "machine";

/// Prefix of the names of clone processes; their output is not logged.
pub(super) const CLONE: &str = "clone ";

/// What is known of the programs of a machine.
#[derive(Debug, Default)]
pub(super) struct Programs {
    pub(super) ended: BTreeMap<String, Ended>,
    pub(super) tails: BTreeMap<String, VecDeque<String>>,
}

/// Receives the events of a machine: output goes to the logs, ends to those who wait for them.
pub(super) fn receiver(
    cloud: &Cloud,
    role: &Caller,
    instance: &str,
    programs: Arc<watch::Sender<Programs>>,
) -> impl FnMut(&Lines) + Send + 'static {
    let (cloud, role, instance) = (cloud.clone(), role.clone(), instance.to_owned());
    let mut logs: BTreeMap<String, Log> = BTreeMap::new();
    move |lines| {
        let mut output: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
        let mut ended = Vec::new();
        for (time, line) in lines {
            match serde_json::from_str(line) {
                Ok(Event::Output { name, line }) => {
                    output.entry(name).or_default().push((*time, line));
                }
                Ok(Event::Ended { name, end }) => ended.push((name, end)),
                // The machine itself could not start or continue.
                Err(_) => output
                    .entry(MACHINE.to_owned())
                    .or_default()
                    .push((*time, line.clone())),
            }
        }
        for (name, lines) in &output {
            if !name.starts_with(CLONE) && (logs.contains_key(name) || logs.len() < 16) {
                let log = logs.entry(name.clone());
                let log = log.or_insert_with(|| Log::new(&cloud, &role, &instance, name));
                log.append(lines);
            }
        }
        programs.send_modify(|programs| {
            for (name, lines) in output {
                let tail = programs.tails.entry(name).or_default();
                tail.extend(lines.into_iter().map(|(_, line)| line));
                tail.drain(..tail.len().saturating_sub(TAIL));
            }
            programs.ended.extend(ended);
        });
    }
}

/// A log stream of limited size.
struct Log {
    append: Box<dyn FnMut(&Lines) + Send>,
    left: usize,
}

impl Log {
    fn new(cloud: &Cloud, role: &Caller, instance: &str, name: &str) -> Self {
        let stream = format!("{instance}/{name}");
        Self {
            append: Box::new(process::to_log(
                cloud,
                role.clone(),
                LOG_GROUP.to_owned(),
                stream,
            )),
            left: MAX_LOG,
        }
    }

    fn append(&mut self, lines: &Lines) {
        if self.left == 0 {
            return;
        }
        let size = lines.iter().map(|(_, line)| line.len() + 26).sum();
        (self.append)(lines);
        self.left = self.left.saturating_sub(size);
        if self.left == 0 {
            let time = lines.last().map_or(0, |(time, _)| *time);
            let note = "[mlops] this log is full: further output of this start of the instance is \
                        not kept";
            (self.append)(&[(time, note.to_owned())]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_bounded() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut log = Log {
            append: Box::new(move |lines: &Lines| {
                for (_, line) in lines {
                    let _ = sender.send(line.clone());
                }
            }),
            left: 100,
        };
        for _ in 0..10 {
            log.append(&[(0, "x".repeat(60))]);
        }
        drop(log);
        let lines: Vec<String> = receiver.iter().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[2].contains("full"), "{lines:?}");
    }
}

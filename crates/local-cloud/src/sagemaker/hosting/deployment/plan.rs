//! The plan of an update: the steps that move an endpoint from its old fleet to a new one.
//!
//! A plan is a value without effects. Every number in it is one of the new fleet's instances, by variant; how
//! many instances of the old fleet still serve follows from it ([`super::super::capacity`]).

use std::fmt;

/// A step of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The new fleet has these instances, and all are healthy.
    Launch(Vec<u32>),
    /// These instances of the new fleet receive their share of the traffic.
    Route(Vec<u32>),
    /// The alarms are watched.
    Bake { seconds: u32, wait: Wait },
    /// The endpoint has the new configuration. Before this step, a server that dies leaves the old one.
    Commit,
    /// The instances of the old fleet that these instances have replaced end.
    Retire(Vec<u32>),
}

/// Why a deployment waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// After traffic has shifted (`WaitIntervalInSeconds`).
    Interval,
    /// Before the old fleet ends (`TerminationWaitInSeconds`).
    Termination,
}

/// The steps of an update, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
}

impl Plan {
    /// The plan of a new endpoint with these numbers of instances.
    pub(super) fn first(counts: &[u32]) -> Self {
        let all = counts.to_vec();
        Self {
            steps: vec![Step::Launch(all.clone()), Step::Route(all), Step::Commit],
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |counts: &[u32]| {
            let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
            counts.join(" ")
        };
        let steps: Vec<String> = self
            .steps
            .iter()
            .map(|step| match step {
                Step::Launch(counts) => format!("launch {}", of(counts)),
                Step::Route(counts) => format!("route {}", of(counts)),
                Step::Bake { seconds, wait } => match wait {
                    Wait::Interval => format!("bake {seconds}"),
                    Wait::Termination => format!("wait {seconds}"),
                },
                Step::Commit => "commit".to_owned(),
                Step::Retire(counts) => format!("retire {}", of(counts)),
            })
            .collect();
        f.write_str(&steps.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_endpoint_has_no_old_fleet() {
        assert_eq!(
            Plan::first(&[2, 1]).to_string(),
            "launch 2 1, route 2 1, commit"
        );
    }
}

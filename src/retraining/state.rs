//! What the gate remembers, and its decision: a function of state, request and limits.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use mlops_core::error::Failure;
use serde::{Deserialize, Serialize};

use super::message::{Reason, ReasonKind, Request};

/// The version of the format.
const SCHEMA: u32 = 1;

/// Number of starts that are remembered; more than can happen in a day.
const STARTS: usize = 100;

/// Number of refusals that are remembered; all are counted.
const REFUSALS: usize = 50;

/// Number of ids of events that are remembered, so that an event that is delivered twice is one.
const EVENTS: usize = 200;

/// The limits of retraining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time between two starts.
    pub cool_down: SignedDuration,
    /// Maximum number of starts in 24 hours.
    pub maximum_per_day: u32,
}

/// A run that the gate has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When.
    pub time: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The execution of the ML pipeline; null if the gate was interrupted before it knew it.
    pub execution: Option<String>,
    /// How it ended; null while it runs.
    pub outcome: Option<String>,
}

impl Start {
    fn is_running(&self) -> bool {
        self.outcome.is_none()
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Why {
    /// A run that the gate has started is still running.
    Running {
        /// The execution.
        execution: Option<String>,
    },
    /// The last start is too recent.
    CoolDown {
        /// When the next one is possible.
        until: Timestamp,
    },
    /// There were as many starts in the last 24 hours as are allowed.
    MaximumPerDay {
        /// When the next one is possible.
        until: Timestamp,
    },
}

impl Why {
    /// The reason as a sentence's end.
    pub fn text(&self) -> String {
        match self {
            Self::Running {
                execution: Some(execution),
            } => format!("the run {execution} is still running"),
            Self::Running { execution: None } => "a run is being started".to_owned(),
            Self::CoolDown { until } => format!("cool-down until {until}"),
            Self::MaximumPerDay { until } => {
                format!("maximum number of runs per day, until {until}")
            }
        }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When.
    pub time: Timestamp,
    /// What asked.
    pub reason: Reason,
    /// Why it was refused.
    #[serde(flatten)]
    pub why: Why,
}

/// What the gate remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The format.
    pub schema: u32,
    /// The newest runs that it has started, oldest first.
    pub starts: Vec<Start>,
    /// The newest refusals, oldest first.
    pub refusals: Vec<Refusal>,
    /// The number of all refusals.
    pub refused: u64,
    /// Alarms that were refused: they are re-armed once a start is possible, because an alarm announces only its
    /// transitions.
    pub unheard: Vec<String>,
    /// Ids of the newest events.
    pub events: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            starts: Vec::new(),
            refusals: Vec::new(),
            refused: 0,
            unheard: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// What the gate does about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Start a run.
    Start,
    /// Start the run of a request whose gate was interrupted; CodePipeline starts it once.
    Continue,
    /// The event was handled before.
    Repeated,
    /// Start nothing.
    Refuse(Why),
}

impl State {
    /// Reads a state.
    ///
    /// # Errors
    /// It has another format.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let state: Self = serde_json::from_slice(bytes)
            .map_err(|error| Failure::usage(format!("the gate's state is damaged: {error}")))?;
        if state.schema != SCHEMA {
            return Err(Failure::usage(format!(
                "the gate's state has the format {}, which a newer version of mlops wrote",
                state.schema
            )));
        }
        Ok(state)
    }

    /// The run that holds the lock.
    pub fn running(&self) -> Option<&Start> {
        self.starts.last().filter(|start| start.is_running())
    }

    /// Decides about a request; changes nothing.
    pub fn decide(&self, request: &Request, limits: Limits) -> Decision {
        let event = &request.reason.event;
        if let Some(running) = self.running() {
            if running.reason.event == *event && running.execution.is_none() {
                return Decision::Continue;
            }
            if !event.is_empty() && self.events.contains(event) {
                return Decision::Repeated;
            }
            let execution = running.execution.clone();
            return Decision::Refuse(Why::Running { execution });
        }
        if !event.is_empty() && self.events.contains(event) {
            return Decision::Repeated;
        }
        match self.closed_until(request.time, limits) {
            Some(why) => Decision::Refuse(why),
            None => Decision::Start,
        }
    }

    /// Why no run may start at this time, if no other one is running.
    pub fn closed_until(&self, time: Timestamp, limits: Limits) -> Option<Why> {
        let day = SignedDuration::from_hours(24);
        let later = |start: &Start, by| start.time.checked_add(by).unwrap_or(Timestamp::MAX);
        if let Some(last) = self.starts.last() {
            let until = later(last, limits.cool_down);
            if time < until {
                return Some(Why::CoolDown { until });
            }
        }
        let allowed = usize::try_from(limits.maximum_per_day).unwrap_or(usize::MAX);
        // The start that must be a day old.
        let oldest = self.starts.iter().rev().nth(allowed.saturating_sub(1));
        let until = match oldest {
            _ if allowed == 0 => Timestamp::MAX,
            Some(start) => later(start, day),
            None => return None,
        };
        (time < until).then_some(Why::MaximumPerDay { until })
    }

    /// Records that a run is being started.
    pub fn begin(&mut self, request: &Request) {
        self.remember(&request.reason.event);
        self.starts.push(Start {
            time: request.time,
            reason: request.reason.clone(),
            execution: None,
            outcome: None,
        });
        trim(&mut self.starts, STARTS);
        if request.reason.kind == ReasonKind::Drift {
            self.unheard.retain(|alarm| *alarm != request.reason.detail);
        }
    }

    /// Records the execution of the run that is being started.
    pub fn started(&mut self, event: &str, execution: &str) {
        let mut starts = self.starts.iter_mut().rev();
        if let Some(start) = starts.find(|start| start.reason.event == event) {
            start.execution = Some(execution.to_owned());
        }
    }

    /// Records a refusal.
    pub fn refuse(&mut self, request: &Request, why: Why) {
        self.remember(&request.reason.event);
        let alarm = &request.reason.detail;
        if request.reason.kind == ReasonKind::Drift && !self.unheard.contains(alarm) {
            self.unheard.push(alarm.clone());
        }
        self.refused += 1;
        self.refusals.push(Refusal {
            time: request.time,
            reason: request.reason.clone(),
            why,
        });
        trim(&mut self.refusals, REFUSALS);
    }

    /// Records the end of an execution. Returns false if the gate did not start it, or knows the end.
    pub fn end(&mut self, execution: &str, outcome: &str) -> bool {
        let mut starts = self.starts.iter_mut().rev();
        let found = starts.find(|start| start.execution.as_deref() == Some(execution));
        match found {
            Some(start) if start.is_running() => {
                start.outcome = Some(outcome.to_owned());
                true
            }
            _ => false,
        }
    }

    fn remember(&mut self, event: &str) {
        if !event.is_empty() {
            self.events.push(event.to_owned());
            trim(&mut self.events, EVENTS);
        }
    }
}

fn trim<T>(list: &mut Vec<T>, most: usize) {
    let over = list.len().saturating_sub(most);
    list.drain(..over);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        cool_down: SignedDuration::from_hours(6),
        maximum_per_day: 2,
    };

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_764_500_000 + hour * 3600).unwrap()
    }

    fn request(kind: ReasonKind, event: &str, hour: i64) -> Request {
        Request {
            reason: Reason::new(kind, "f-drift-data", event),
            time: at(hour),
            is_test: false,
        }
    }

    fn drift(event: &str, hour: i64) -> Request {
        request(ReasonKind::Drift, event, hour)
    }

    /// Starts a run, which ends at once.
    fn run(state: &mut State, event: &str, hour: i64) {
        let request = drift(event, hour);
        assert_eq!(state.decide(&request, LIMITS), Decision::Start, "{event}");
        state.begin(&request);
        state.started(event, &format!("x-{event}"));
        assert!(state.end(&format!("x-{event}"), "SUCCEEDED"));
    }

    #[test]
    fn one_run_at_a_time() {
        let mut state = State::default();
        let first = drift("a", 0);
        assert_eq!(state.decide(&first, LIMITS), Decision::Start);
        state.begin(&first);
        // Until the execution is known, the same event continues, and another one is refused.
        assert_eq!(state.decide(&first, LIMITS), Decision::Continue);
        let refused = Decision::Refuse(Why::Running { execution: None });
        assert_eq!(state.decide(&drift("b", 99), LIMITS), refused);
        state.started("a", "x");
        assert_eq!(state.decide(&first, LIMITS), Decision::Repeated);
        let execution = Some("x".to_owned());
        let refused = Decision::Refuse(Why::Running { execution });
        assert_eq!(state.decide(&drift("b", 99), LIMITS), refused);
        // The end of an execution of somebody else changes nothing.
        assert!(!state.end("y", "FAILED"));
        assert!(state.running().is_some());
        assert!(state.end("x", "FAILED"));
        assert!(!state.end("x", "SUCCEEDED"), "the end is known");
        assert!(state.running().is_none());
    }

    #[test]
    fn a_cool_down_and_a_maximum_per_day() {
        let mut state = State::default();
        run(&mut state, "a", 0);
        let until = at(6);
        assert_eq!(
            state.decide(&drift("b", 5), LIMITS),
            Decision::Refuse(Why::CoolDown { until })
        );
        run(&mut state, "b", 6);
        let until = at(24);
        assert_eq!(
            state.decide(&drift("c", 23), LIMITS),
            Decision::Refuse(Why::MaximumPerDay { until })
        );
        run(&mut state, "c", 24);
        let none = Limits {
            maximum_per_day: 0,
            ..LIMITS
        };
        assert!(matches!(
            State::default().decide(&drift("a", 0), none),
            Decision::Refuse(Why::MaximumPerDay { .. })
        ));
    }

    #[test]
    fn an_event_that_comes_twice_is_one() {
        let mut state = State::default();
        run(&mut state, "a", 0);
        assert_eq!(state.decide(&drift("a", 100), LIMITS), Decision::Repeated);
        let second = drift("b", 1);
        let Decision::Refuse(why) = state.decide(&second, LIMITS) else {
            panic!("it is too early");
        };
        state.refuse(&second, why);
        assert_eq!(state.decide(&drift("b", 100), LIMITS), Decision::Repeated);
    }

    #[test]
    fn a_refused_alarm_is_remembered_until_it_is_heard() {
        let mut state = State::default();
        run(&mut state, "a", 0);
        for event in ["b", "c"] {
            let refused = drift(event, 1);
            state.refuse(&refused, Why::CoolDown { until: at(6) });
        }
        assert_eq!(state.unheard, ["f-drift-data"]);
        state.refuse(
            &request(ReasonKind::Schedule, "d", 1),
            Why::CoolDown { until: at(6) },
        );
        assert_eq!(state.unheard.len(), 1, "schedules come again by themselves");
        run(&mut state, "e", 7);
        assert!(state.unheard.is_empty());
        assert_eq!(state.refused, 3);
    }

    #[test]
    fn a_storm_does_not_grow_the_state() {
        let mut state = State::default();
        run(&mut state, "a", 0);
        for number in 0..1000 {
            let refused = drift(&format!("storm-{number}"), 1);
            state.refuse(&refused, Why::CoolDown { until: at(6) });
        }
        assert_eq!(
            (state.refusals.len(), state.events.len()),
            (REFUSALS, EVENTS)
        );
        assert_eq!(state.refused, 1000);
        let bytes = serde_json::to_vec(&state).unwrap();
        assert!(bytes.len() < 64 << 10, "{}", bytes.len());
        assert_eq!(State::read(&bytes).unwrap(), state);
    }

    #[test]
    fn another_format_is_refused() {
        assert!(State::read(b"{\"schema\": 2}").is_err());
        assert!(State::read(b"{").is_err());
        assert_eq!(State::read(b"{\"schema\": 1}").unwrap(), State::default());
    }
}

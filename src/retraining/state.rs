//! What the gate remembers, and its decision: a function of state, request and limits.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use mlops_core::error::Failure;
use serde::{Deserialize, Serialize};

use super::reason::{Reason, ReasonKind};

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
    pub outcome: Option<Outcome>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All stages succeeded.
    Succeeded,
    /// A stage failed.
    Failed,
    /// A person stopped it.
    Stopped,
    /// Another execution took its place.
    Superseded,
    /// It was canceled.
    Cancelled,
    /// It no longer exists.
    Deleted,
}

impl Outcome {
    /// The outcome as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
        }
    }

    /// CodePipeline's word, of an event or of a response; `None` for an execution that is not over.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            "stopped" => Self::Stopped,
            "superseded" => Self::Superseded,
            "cancelled" | "canceled" => Self::Cancelled,
            _ => return None,
        })
    }
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
            Self::MaximumPerDay { until } if *until == Timestamp::MAX => {
                "`retrain.maximum_per_day` is 0".to_owned()
            }
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
    /// The request.
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
    /// The newest request for new data that was refused: it is repeated once a run may start.
    pub refused_data: Option<Reason>,
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
            refused_data: None,
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
    /// The event started this run before, unless it was refused.
    Repeated(Option<Start>),
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
    pub fn decide(&self, reason: &Reason, now: Timestamp, limits: Limits) -> Decision {
        let event = &reason.event;
        if let Some(running) = self.running()
            && running.reason.event == *event
            && running.execution.is_none()
        {
            return Decision::Continue;
        }
        if self.events.contains(event) {
            let mut starts = self.starts.iter().rev();
            let mut refusals = self.refusals.iter().rev();
            let refusal = refusals.find(|refusal| refusal.reason.event == *event);
            return match (starts.find(|start| start.reason.event == *event), refusal) {
                (None, Some(refusal)) => Decision::Refuse(refusal.why.clone()),
                (start, _) => Decision::Repeated(start.cloned()),
            };
        }
        match self.closed(now, limits) {
            Some(why) => Decision::Refuse(why),
            None => Decision::Start,
        }
    }

    /// Why no run may start now.
    pub fn closed(&self, now: Timestamp, limits: Limits) -> Option<Why> {
        match self.running() {
            Some(running) => Some(Why::Running {
                execution: running.execution.clone(),
            }),
            None => self.closed_until(now, limits),
        }
    }

    /// Why no run may start at this time, if no other one is running.
    fn closed_until(&self, time: Timestamp, limits: Limits) -> Option<Why> {
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

    /// Records that a run is being started. Every run uses the newest data, so that a refused request for it is obsolete.
    pub fn begin(&mut self, reason: &Reason, now: Timestamp) {
        self.remember(&reason.event);
        self.refused_data = None;
        self.starts.push(Start {
            time: now,
            reason: reason.clone(),
            execution: None,
            outcome: None,
        });
        trim(&mut self.starts, STARTS);
    }

    /// Removes a start that CodePipeline rejected, so that a retry of the event can start it.
    pub fn abandon(&mut self, event: &str) {
        self.starts
            .retain(|start| start.reason.event != event || start.execution.is_some());
        self.events.retain(|known| known != event);
    }

    /// Records the execution of the run that is being started.
    pub fn started(&mut self, event: &str, execution: &str) {
        let mut starts = self.starts.iter_mut().rev();
        if let Some(start) = starts.find(|start| start.reason.event == event) {
            start.execution = Some(execution.to_owned());
        }
    }

    /// Records a refusal, unless the event is known.
    pub fn refuse(&mut self, reason: &Reason, why: Why, now: Timestamp) {
        if self.events.contains(&reason.event) {
            return;
        }
        self.remember(&reason.event);
        if reason.kind == ReasonKind::Data {
            self.refused_data = Some(reason.clone());
        }
        self.refused += 1;
        self.refusals.push(Refusal {
            time: now,
            reason: reason.clone(),
            why,
        });
        trim(&mut self.refusals, REFUSALS);
    }

    /// Records the end of an execution, or with `None` that the newest one was resumed. Returns false if the gate did
    /// not start it, or has recorded that already.
    pub fn end(&mut self, execution: &str, outcome: Option<Outcome>) -> bool {
        let newest = self.starts.len();
        let mut starts = self.starts.iter_mut().enumerate().rev();
        let found = starts.find(|(_, start)| start.execution.as_deref() == Some(execution));
        match found {
            // Another run may have started since.
            Some((number, _)) if outcome.is_none() && number + 1 < newest => false,
            Some((_, start)) if start.outcome != outcome => {
                start.outcome = outcome;
                true
            }
            _ => false,
        }
    }

    fn remember(&mut self, event: &str) {
        self.events.push(event.to_owned());
        trim(&mut self.events, EVENTS);
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

    fn drift(event: &str) -> Reason {
        Reason::new(ReasonKind::Drift, "f-drift-data", event)
    }

    fn decide(state: &State, event: &str, hour: i64) -> Decision {
        state.decide(&drift(event), at(hour), LIMITS)
    }

    /// Starts a run, which ends at once.
    fn run(state: &mut State, event: &str, hour: i64) {
        assert_eq!(decide(state, event, hour), Decision::Start, "{event}");
        state.begin(&drift(event), at(hour));
        state.started(event, &format!("x-{event}"));
        assert!(state.end(&format!("x-{event}"), Some(Outcome::Succeeded)));
    }

    #[test]
    fn one_run_at_a_time() {
        let mut state = State::default();
        assert_eq!(decide(&state, "a", 0), Decision::Start);
        state.begin(&drift("a"), at(0));
        // Until the execution is known, the same event continues, and another one is refused.
        assert_eq!(decide(&state, "a", 0), Decision::Continue);
        let refused = Decision::Refuse(Why::Running { execution: None });
        assert_eq!(decide(&state, "b", 99), refused);
        state.started("a", "x");
        assert!(matches!(
            decide(&state, "a", 0),
            Decision::Repeated(Some(_))
        ));
        let execution = Some("x".to_owned());
        let refused = Decision::Refuse(Why::Running { execution });
        assert_eq!(decide(&state, "b", 99), refused);
        // The end of an execution of somebody else changes nothing.
        assert!(!state.end("y", Some(Outcome::Failed)));
        assert!(state.running().is_some());
        assert!(state.end("x", Some(Outcome::Failed)));
        assert!(!state.end("x", Some(Outcome::Failed)), "the end is known");
        assert!(state.running().is_none());
    }

    #[test]
    fn a_run_that_is_retried_holds_the_lock_again() {
        let mut state = State::default();
        run(&mut state, "a", 0);
        assert!(state.end("x-a", None));
        assert!(state.running().is_some());
        assert!(state.end("x-a", Some(Outcome::Succeeded)));
        run(&mut state, "b", 7);
        // Only the newest: the lock is that of one run.
        assert!(!state.end("x-a", None));
        assert!(state.running().is_none());
    }

    #[test]
    fn a_start_that_is_refused_leaves_nothing() {
        let mut state = State::default();
        state.begin(&drift("a"), at(0));
        state.abandon("a");
        assert_eq!(state, State::default());
        assert_eq!(decide(&state, "a", 0), Decision::Start);
    }

    #[test]
    fn a_cool_down_and_a_maximum_per_day() {
        let mut state = State::default();
        run(&mut state, "a", 0);
        let until = at(6);
        assert_eq!(
            decide(&state, "b", 5),
            Decision::Refuse(Why::CoolDown { until })
        );
        run(&mut state, "b", 6);
        let until = at(24);
        assert_eq!(
            decide(&state, "c", 23),
            Decision::Refuse(Why::MaximumPerDay { until })
        );
        run(&mut state, "c", 24);
        let none = Limits {
            maximum_per_day: 0,
            ..LIMITS
        };
        assert!(matches!(
            State::default().decide(&drift("a"), at(0), none),
            Decision::Refuse(Why::MaximumPerDay { .. })
        ));
    }

    #[test]
    fn an_event_that_comes_twice_has_one_answer() {
        let mut state = State::default();
        run(&mut state, "a", 0);
        let Decision::Repeated(Some(start)) = decide(&state, "a", 100) else {
            panic!("it was started");
        };
        assert_eq!(start.execution.as_deref(), Some("x-a"));
        let Decision::Refuse(why) = decide(&state, "b", 1) else {
            panic!("it is too early");
        };
        state.refuse(&drift("b"), why.clone(), at(1));
        state.refuse(&drift("b"), why.clone(), at(1));
        assert_eq!(state.refused, 1);
        assert_eq!(decide(&state, "b", 100), Decision::Refuse(why));
    }

    #[test]
    fn refused_data_is_remembered_until_a_run_starts() {
        let mut state = State::default();
        run(&mut state, "a", 0);
        let until = Why::CoolDown { until: at(6) };
        for (event, version) in [("b", "f@1"), ("c", "f@2")] {
            let data = Reason::new(ReasonKind::Data, version, event);
            state.refuse(&data, until.clone(), at(1));
        }
        state.refuse(&drift("d"), until, at(1));
        let remembered = state.refused_data.clone().map(|reason| reason.detail);
        assert_eq!(remembered.as_deref(), Some("f@2"));
        run(&mut state, "e", 7);
        assert_eq!(state.refused_data, None);
    }

    #[test]
    fn a_storm_does_not_grow_the_state() {
        let mut state = State::default();
        run(&mut state, "a", 0);
        for number in 0..1000 {
            let until = Why::CoolDown { until: at(6) };
            state.refuse(&drift(&format!("storm-{number}")), until, at(1));
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
    fn words_of_codepipeline_are_known() {
        for (word, expected) in [
            ("SUCCEEDED", Some(Outcome::Succeeded)),
            ("Failed", Some(Outcome::Failed)),
            ("CANCELED", Some(Outcome::Cancelled)),
            ("RESUMED", None),
            ("InProgress", None),
        ] {
            assert_eq!(Outcome::of(word), expected, "{word}");
        }
    }

    #[test]
    fn another_format_is_refused() {
        assert!(State::read(b"{\"schema\": 2}").is_err());
        assert!(State::read(b"{").is_err());
        assert_eq!(State::read(b"{\"schema\": 1}").unwrap(), State::default());
    }
}

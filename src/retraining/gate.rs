//! The gate itself: reads and writes the state, starts the pipeline, re-arms alarms.

use anyhow::{Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use mlops_core::wait::Backoff;
use serde_json::{Value, json};

use super::message::Message;
use super::reason::Reason;
use super::state::{Decision, Limits, Outcome, State};
use super::{ALARMS, REASON};
use crate::aws::delivery::executions::{self, Started};
use crate::aws::delivery::pipelines::{Pipeline, PipelineKind};
use crate::aws::s3::{self, Condition, S3Uri};
use crate::aws::{Clients, cloudwatch};

/// Attempts to change the state while other gates change it, too.
const ATTEMPTS: u32 = 12;

/// How long a gate may take to start a run; after that, it was interrupted.
const INTERRUPTED: SignedDuration = SignedDuration::from_mins(15);

/// What a gate works on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The project.
    pub project: String,
    /// The artifact bucket.
    pub bucket: String,
    /// The name of the ML pipeline.
    pub pipeline: String,
    /// The limits.
    pub limits: Limits,
}

/// The object with the state.
pub fn object(bucket: &str) -> S3Uri {
    S3Uri::new(bucket, "retraining/state.json")
}

/// Reads the state, with the `ETag` that a change of it must name; the default state if there is none.
///
/// # Errors
/// The object cannot be read, or has another format.
pub async fn read(clients: &Clients, bucket: &str) -> Result<(State, Option<String>)> {
    match s3::get(&clients.s3, &object(bucket), None).await? {
        None => Ok((State::default(), None)),
        Some(found) => Ok((State::read(&found.bytes)?, found.etag)),
    }
}

/// The gate.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'a> {
    /// The clients, with the function's role.
    pub clients: &'a Clients,
    /// What it works on.
    pub settings: &'a Settings,
    /// The time, by the clock of the cloud: messages could lie about it.
    pub now: Timestamp,
}

impl Gate<'_> {
    /// Handles a message, and returns what it did.
    ///
    /// # Errors
    /// A request to AWS failed; the message may be sent again.
    pub async fn handle(&self, message: &Message) -> Result<Value> {
        match message {
            Message::Request(request) if request.is_test => {
                let (state, _) = read(self.clients, &self.settings.bucket).await?;
                let decision = state.decide(&request.reason, self.now, self.settings.limits);
                Ok(answer(&decision, None))
            }
            Message::Request(request) => {
                self.repair_lock().await?;
                self.request(&request.reason).await
            }
            Message::Ended { execution, outcome } => {
                self.change(|state| ((), state.end(execution, *outcome)))
                    .await?;
                self.continue_refused().await
            }
            Message::Tick => {
                self.repair_lock().await?;
                self.continue_refused().await
            }
            Message::Nothing => Ok(json!({"decision": "nothing"})),
        }
    }

    async fn request(&self, reason: &Reason) -> Result<Value> {
        let decision = self
            .change(|state| {
                let decision = state.decide(reason, self.now, self.settings.limits);
                match &decision {
                    Decision::Start => state.begin(reason, self.now),
                    Decision::Refuse(why) => state.refuse(reason, why.clone(), self.now),
                    Decision::Continue | Decision::Repeated(_) => return (decision, false),
                }
                (decision, true)
            })
            .await?;
        if !matches!(decision, Decision::Start | Decision::Continue) {
            return Ok(answer(&decision, None));
        }
        let execution = self.start(reason).await?;
        Ok(answer(&decision, Some(&execution)))
    }

    /// Starts the pipeline, and records the execution. Unverified against AWS [codepipeline-token]: that a second start
    /// with the same token returns the same execution. A start that CodePipeline refuses is forgotten.
    async fn start(&self, reason: &Reason) -> Result<String> {
        let started = executions::start(
            self.clients,
            &self.settings.pipeline,
            (REASON, &reason.to_string()),
            &token(&reason.event),
        )
        .await?;
        let execution = match started {
            Started::Execution(execution) => execution,
            Started::Refused(error) => {
                self.change(|state| {
                    state.abandon(&reason.event);
                    ((), true)
                })
                .await?;
                return Err(error);
            }
        };
        self.change(|state| {
            state.started(&reason.event, &execution);
            ((), true)
        })
        .await?;
        Ok(execution)
    }

    /// If a run may start: requests again what was refused. CloudWatch sends an event only when an alarm changes its
    /// state, so every alarm that is in ALARM is set to OK; it goes off again if its metric still exceeds the limit.
    async fn continue_refused(&self) -> Result<Value> {
        let (state, _) = read(self.clients, &self.settings.bucket).await?;
        if state.closed(self.now, self.settings.limits).is_some() {
            return Ok(json!({"decision": "nothing"}));
        }
        if let Some(data) = &state.refused_data {
            let again = Reason::new(data.kind, &data.detail, &format!("{}-again", data.event));
            return self.request(&again).await;
        }
        let prefix = format!("{}{ALARMS}", self.settings.project);
        let alarms = cloudwatch::in_alarm(self.clients, &prefix).await?;
        for alarm in &alarms {
            let reason =
                "A retraining is possible again: the alarm goes off again if the drift lasts";
            cloudwatch::set_ok(self.clients, alarm, reason).await?;
        }
        Ok(json!({"decision": "rearmed", "alarms": alarms}))
    }

    /// Releases the lock of an execution whose end was not announced, and continues the start of a gate that was
    /// interrupted and not invoked again.
    async fn repair_lock(&self) -> Result<()> {
        let (state, _) = read(self.clients, &self.settings.bucket).await?;
        let Some(running) = state.running() else {
            return Ok(());
        };
        let Some(execution) = &running.execution else {
            if self.now.duration_since(running.time) >= INTERRUPTED {
                // What fails is the old start; this message has its own answer.
                let _ = self.start(&running.reason).await;
            }
            return Ok(());
        };
        let pipeline = Pipeline {
            name: self.settings.pipeline.clone(),
            kind: PipelineKind::Ml,
            tag: None,
        };
        let found = executions::state(self.clients, &pipeline, execution).await?;
        let outcome = match found {
            Some(found) if !found.is_over() => return Ok(()),
            Some(found) => Outcome::of(found.as_str()).unwrap_or(Outcome::Failed),
            None => Outcome::Deleted,
        };
        self.change(|state| ((), state.end(execution, Some(outcome))))
            .await
    }

    /// Changes the state, if `change` says that it did, and returns its result. Other gates may change it at the same
    /// time: the change is made again on the new state then.
    async fn change<T>(&self, mut change: impl FnMut(&mut State) -> (T, bool)) -> Result<T> {
        let bucket = &self.settings.bucket;
        let mut backoff = Backoff::new(ATTEMPTS);
        loop {
            let (mut state, etag) = read(self.clients, bucket).await?;
            let (result, has_changed) = change(&mut state);
            if !has_changed {
                return Ok(result);
            }
            let condition = match &etag {
                Some(etag) => Condition::Unchanged(etag),
                None => Condition::Absent,
            };
            let bytes = serde_json::to_vec_pretty(&state)?;
            if s3::put_json_if(&self.clients.s3, &object(bucket), bytes, condition).await? {
                return Ok(result);
            }
            if !backoff.pause(None).await {
                return Err(anyhow!(
                    "could not update the gate's state: {ATTEMPTS} concurrent changes"
                ));
            }
        }
    }
}

/// A token of CodePipeline (1 to 128 letters, digits and hyphens) for an event.
fn token(event: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(event))
}

fn answer(decision: &Decision, execution: Option<&str>) -> Value {
    match decision {
        Decision::Start | Decision::Continue => {
            json!({"decision": "start", "execution": execution})
        }
        Decision::Repeated(start) => {
            let execution = start.as_ref().and_then(|start| start.execution.as_ref());
            json!({"decision": "repeated", "execution": execution})
        }
        Decision::Refuse(why) => {
            let mut answer = json!({"decision": "refuse", "because": why.text()});
            if let (Value::Object(answer), Ok(Value::Object(why))) =
                (&mut answer, serde_json::to_value(why))
            {
                answer.extend(why);
            }
            answer
        }
    }
}

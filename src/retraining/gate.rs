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
use crate::progress::write_stderr;

/// Attempts to change the state while other gates change it, too.
const ATTEMPTS: u32 = 12;

/// Maximum time for a gate to start a run; after that, it was interrupted.
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
    /// Whether alarms request runs.
    pub on_drift: bool,
    /// Whether new versions of the data set request runs.
    pub on_data: bool,
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
    /// The time according to the cloud's clock; times in messages are not trusted.
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
                let (mut state, _) = read(self.clients, &self.settings.bucket).await?;
                // As a request would, but only here.
                if let Some((execution, outcome)) = self.unannounced_end(&state).await? {
                    state.end(&execution, Some(outcome));
                }
                let decision = state.decide(&request.reason, self.now, self.settings.limits);
                Ok(answer(&decision, None))
            }
            Message::Request(request) => {
                self.repair().await;
                self.request(&request.reason).await
            }
            Message::Ended { execution, outcome } => {
                self.change(|state| ((), state.end(execution, *outcome)))
                    .await?;
                self.continue_refused().await
            }
            Message::Tick => {
                self.repair().await;
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
    /// with the same token returns the same execution. Removes the start from the state if CodePipeline rejects it.
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

    /// If a run may start: repeats refused requests of the strategies that are on. CloudWatch sends an event only when an
    /// alarm changes its state, so alarms in ALARM are set to OK; they go off again if their metric still exceeds the
    /// limit.
    async fn continue_refused(&self) -> Result<Value> {
        let (state, _) = read(self.clients, &self.settings.bucket).await?;
        if state.closed(self.now, self.settings.limits).is_some() {
            return Ok(json!({"decision": "nothing"}));
        }
        if let (true, Some(data)) = (self.settings.on_data, &state.refused_data) {
            let again = Reason::new(data.kind, &data.detail, &format!("{}-again", data.event));
            return self.request(&again).await;
        }
        if !self.settings.on_drift {
            return Ok(json!({"decision": "nothing"}));
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

    /// Repairs the lock. A failure is logged: the request itself must be recorded, even if CodePipeline fails.
    async fn repair(&self) {
        if let Err(error) = self.repair_lock().await {
            let message = mlops_core::error::message(&error);
            write_stderr(&format!("cannot check the run in progress: {message}"));
        }
    }

    /// Releases the lock of an execution whose end was not announced, and continues the start of a gate that was
    /// interrupted and not invoked again.
    async fn repair_lock(&self) -> Result<()> {
        let (state, _) = read(self.clients, &self.settings.bucket).await?;
        if let Some(running) = state.running()
            && running.execution.is_none()
        {
            if self.now.duration_since(running.time) >= INTERRUPTED {
                self.start(&running.reason).await?;
            }
            return Ok(());
        }
        match self.unannounced_end(&state).await? {
            Some((execution, outcome)) => {
                self.change(|state| ((), state.end(&execution, Some(outcome))))
                    .await
            }
            None => Ok(()),
        }
    }

    /// The execution that holds the lock although it has ended, and how it ended.
    async fn unannounced_end(&self, state: &State) -> Result<Option<(String, Outcome)>> {
        let Some(execution) = state.running().and_then(|it| it.execution.clone()) else {
            return Ok(None);
        };
        let pipeline = Pipeline {
            name: self.settings.pipeline.clone(),
            kind: PipelineKind::Ml,
            tag: None,
        };
        let found = executions::state(self.clients, &pipeline, &execution).await?;
        let outcome = match found {
            Some(found) if !found.is_over() => return Ok(None),
            Some(found) => Outcome::of(found.as_str()).unwrap_or(Outcome::Failed),
            None => Outcome::Deleted,
        };
        Ok(Some((execution, outcome)))
    }

    /// Applies `change` to the state and returns its result; the flag tells whether there is anything to write. If another
    /// gate wrote the state concurrently, applies it to the new state again.
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

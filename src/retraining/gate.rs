//! The gate itself: reads and writes the state, starts the pipeline, re-arms alarms.

use anyhow::{Result, anyhow};
use aws_sdk_codepipeline::types::PipelineVariable;
use jiff::{SignedDuration, Timestamp};
use mlops_core::wait::Backoff;
use serde_json::{Value, json};

use super::message::{Message, Reason, ReasonKind, Request};
use super::state::{Decision, Limits, State};
use super::{ALARMS, REASON};
use crate::aws::delivery::executions;
use crate::aws::delivery::pipelines::{Pipeline, PipelineKind};
use crate::aws::s3::{self, Condition, S3Uri};
use crate::aws::{AwsResultExt, Clients, cloudwatch};

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
}

impl Gate<'_> {
    /// Handles a message, and returns what it did.
    ///
    /// # Errors
    /// A request to AWS failed; the message may be sent again.
    pub async fn handle(&self, message: &Message) -> Result<Value> {
        match message {
            Message::Request(request) => self.request(request).await,
            Message::Ended {
                execution,
                outcome,
                time,
            } => self.ended(execution, outcome, *time).await,
            Message::Tick { time } => self.listen_again(*time).await,
            Message::Nothing => Ok(json!({"decision": "nothing"})),
        }
    }

    async fn request(&self, request: &Request) -> Result<Value> {
        if !request.is_test {
            self.repair_lock(request.time).await?;
        }
        let decide = |state: &State| state.decide(request, self.settings.limits);
        if request.is_test {
            let (state, _) = read(self.clients, &self.settings.bucket).await?;
            return Ok(answer(&decide(&state), None));
        }
        let decision = self
            .change(|state| {
                let decision = decide(state);
                match &decision {
                    Decision::Start => state.begin(request),
                    Decision::Refuse(why) => state.refuse(request, why.clone()),
                    Decision::Continue | Decision::Repeated => return (decision, false),
                }
                (decision, true)
            })
            .await?;
        if !matches!(decision, Decision::Start | Decision::Continue) {
            return Ok(answer(&decision, None));
        }
        let execution = self.start(&request.reason).await?;
        Ok(answer(&decision, Some(&execution)))
    }

    /// Starts the pipeline, and records the execution. A second start with the same token returns the same one.
    async fn start(&self, reason: &Reason) -> Result<String> {
        let variable = PipelineVariable::builder()
            .name(REASON)
            .value(reason.to_string());
        let pipeline = &self.settings.pipeline;
        let started = self
            .clients
            .codepipeline
            .start_pipeline_execution()
            .name(pipeline)
            .variables(variable.build()?)
            .client_request_token(token(&reason.event))
            .send()
            .await
            .aws(format!("cannot start the pipeline {pipeline}"))?;
        let execution = started
            .pipeline_execution_id
            .ok_or_else(|| anyhow!("CodePipeline returned no execution"))?;
        self.change(|state| {
            state.started(&reason.event, &execution);
            ((), true)
        })
        .await?;
        Ok(execution)
    }

    /// Releases the lock after an execution, and re-arms the alarm that started it: it announces only its transitions,
    /// and its metric is measured again against the new baseline.
    async fn ended(&self, execution: &str, outcome: &str, time: Timestamp) -> Result<Value> {
        let reason = self
            .change(|state| {
                let is_ours = state.end(execution, outcome);
                let ended = state.starts.iter().rev();
                let mut ended = ended.filter(|it| it.execution.as_deref() == Some(execution));
                let reason = ended.next().map(|start| start.reason.clone());
                (reason.filter(|_| is_ours), is_ours)
            })
            .await?;
        let Some(reason) = reason else {
            return Ok(json!({"decision": "not-ours", "execution": execution}));
        };
        if reason.kind == ReasonKind::Drift {
            self.rearm(&reason.detail, execution).await?;
        }
        self.listen_again(time).await?;
        Ok(json!({"decision": "released", "execution": execution, "outcome": outcome}))
    }

    /// Re-arms the alarms that were refused, if a run may start now.
    async fn listen_again(&self, time: Timestamp) -> Result<Value> {
        self.repair_lock(time).await?;
        let limits = self.settings.limits;
        let alarms = self
            .change(|state| {
                let is_closed =
                    state.running().is_some() || state.closed_until(time, limits).is_some();
                if is_closed || state.unheard.is_empty() {
                    return (Vec::new(), false);
                }
                (std::mem::take(&mut state.unheard), true)
            })
            .await?;
        for alarm in &alarms {
            self.rearm(alarm, "a refused request").await?;
        }
        Ok(json!({"decision": "listening", "rearmed": alarms}))
    }

    /// Releases the lock of an execution whose end was not announced, and continues the start of a gate that was
    /// interrupted and not called again.
    async fn repair_lock(&self, time: Timestamp) -> Result<()> {
        let (state, _) = read(self.clients, &self.settings.bucket).await?;
        let Some(running) = state.running() else {
            return Ok(());
        };
        let Some(execution) = &running.execution else {
            if time.duration_since(running.time) >= INTERRUPTED {
                self.start(&running.reason).await?;
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
            Some(found) => found.to_string(),
            None => "deleted".to_owned(),
        };
        self.change(|state| ((), state.end(execution, &outcome)))
            .await
    }

    /// Sets an alarm of the project to OK; it goes off again if its metric still exceeds the limit.
    async fn rearm(&self, alarm: &str, after: &str) -> Result<()> {
        if !alarm.starts_with(&format!("{}{ALARMS}", self.settings.project)) {
            return Ok(());
        }
        let reason = format!("Re-armed after {after}");
        cloudwatch::set_ok(self.clients, alarm, &reason).await
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
                    "the state of the gate was changed {ATTEMPTS} times by others"
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
        Decision::Repeated => json!({"decision": "repeated"}),
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

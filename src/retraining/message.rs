//! The messages that the gate receives: an event of EventBridge, the input of a schedule, or a request of `mlops retrain`.

use anyhow::{Result, anyhow};
use mlops_core::error::{Failure, hinted};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reason::{Reason, ReasonKind};
use super::state::Outcome;

/// A request for a retraining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Why.
    pub reason: Reason,
    /// Only what the gate would do is wanted.
    pub is_test: bool,
}

/// A message to the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Start a run, if the limits allow it.
    Request(Request),
    /// An execution of the ML pipeline has ended, or was resumed (`None`).
    Ended {
        /// The execution.
        execution: String,
        /// How.
        outcome: Option<Outcome>,
    },
    /// Time has passed: what was refused may be possible now.
    Tick,
    /// An event that requests nothing, such as an alarm that is over.
    Nothing,
}

/// The input of a schedule, or of `mlops retrain`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    /// The kind, or `tick`.
    retrain: String,
    /// The id; two messages with the same one are one request.
    #[serde(default)]
    id: String,
    /// The note, the alarm or the version.
    #[serde(default)]
    detail: String,
    /// Whether nothing may be changed.
    #[serde(default)]
    test: bool,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// The event has an unknown form (exit 2).
    pub fn read(event: &[u8]) -> Result<Self> {
        let unknown = || {
            hinted(
                Failure::usage("the event is not one of the gate's"),
                "EventBridge sends alarms, objects and ends of pipelines; `mlops retrain` sends the rest",
            )
        };
        let value: Value = serde_json::from_slice(event).map_err(|_| unknown())?;
        if value.get("retrain").is_some() {
            let own: Own = serde_json::from_value(value)
                .map_err(|error| Failure::usage(format!("the event is not valid: {error}")))?;
            return own.message().ok_or_else(unknown);
        }
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let id = text("/id").ok_or_else(unknown)?;
        let request = |kind, detail: &str| {
            Self::Request(Request {
                reason: Reason::new(kind, detail, id),
                is_test: false,
            })
        };
        match text("/detail-type") {
            Some("CloudWatch Alarm State Change") => {
                let alarm = text("/detail/alarmName").ok_or_else(unknown)?;
                Ok(match text("/detail/state/value") {
                    Some("ALARM") => request(ReasonKind::Drift, alarm),
                    _ => Self::Nothing,
                })
            }
            Some("Object Created") => {
                let key = text("/detail/object/key").ok_or_else(unknown)?;
                let version = text("/detail/object/version-id").unwrap_or_default();
                // datasets/NAME/manifest.json
                let name = key.split('/').nth(1).unwrap_or(key);
                Ok(request(ReasonKind::Data, &format!("{name}@{version}")))
            }
            Some("CodePipeline Pipeline Execution State Change") => {
                let execution = text("/detail/execution-id").ok_or_else(unknown)?.to_owned();
                let word = text("/detail/state").unwrap_or_default();
                Ok(match Outcome::of(word) {
                    None if word != "RESUMED" => Self::Nothing,
                    outcome => Self::Ended { execution, outcome },
                })
            }
            _ => Err(unknown()),
        }
    }
}

impl Own {
    fn message(self) -> Option<Message> {
        let kind = match self.retrain.as_str() {
            "tick" => return Some(Message::Tick),
            "drift" => ReasonKind::Drift,
            "data" => ReasonKind::Data,
            "schedule" => ReasonKind::Schedule,
            "manual" => ReasonKind::Manual,
            _ => return None,
        };
        // The id identifies the request in the state, and in CodePipeline's token.
        if self.id.is_empty() {
            return None;
        }
        let detail = if self.detail.is_empty() {
            &self.id
        } else {
            &self.detail
        };
        Some(Message::Request(Request {
            reason: Reason::new(kind, detail, &self.id),
            is_test: self.test,
        }))
    }
}

impl Request {
    /// The request as the event that `mlops retrain` sends.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn event(&self) -> Result<Vec<u8>> {
        let own = Own {
            retrain: self.reason.kind.as_str().to_owned(),
            id: self.reason.event.clone(),
            detail: self.reason.detail.clone(),
            test: self.is_test,
        };
        serde_json::to_vec(&own).map_err(|error| anyhow!(error))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(event: &Value) -> Result<Message> {
        Message::read(event.to_string().as_bytes())
    }

    fn envelope(kind: &str, detail: &Value) -> Value {
        json!({"id": "e1", "detail-type": kind, "detail": detail})
    }

    fn reason(message: Message) -> Reason {
        match message {
            Message::Request(request) => request.reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn alarms_objects_and_ends_are_told_apart() {
        let alarm = |state: &str| {
            let detail = json!({"alarmName": "f-drift-data", "state": {"value": state}});
            read(&envelope("CloudWatch Alarm State Change", &detail)).unwrap()
        };
        let drift = reason(alarm("ALARM"));
        assert_eq!(drift.to_string(), "drift: f-drift-data");
        assert_eq!(drift.event, "e1");
        assert_eq!(alarm("OK"), Message::Nothing);
        let object = json!({"object": {"key": "datasets/f/manifest.json", "version-id": "v1"}});
        let data = reason(read(&envelope("Object Created", &object)).unwrap());
        assert_eq!(data.to_string(), "data: f@v1");
        let ended = |state: &str| {
            let detail = json!({"execution-id": "x", "state": state, "pipeline": "f-ml-develop"});
            read(&envelope(
                "CodePipeline Pipeline Execution State Change",
                &detail,
            ))
            .unwrap()
        };
        let execution = || "x".to_owned();
        for (state, outcome) in [("FAILED", Some(Outcome::Failed)), ("RESUMED", None)] {
            let execution = execution();
            assert_eq!(
                ended(state),
                Message::Ended { execution, outcome },
                "{state}"
            );
        }
        assert_eq!(ended("STARTED"), Message::Nothing);
    }

    #[test]
    fn a_request_reads_what_it_wrote() {
        for kind in [
            ReasonKind::Drift,
            ReasonKind::Data,
            ReasonKind::Schedule,
            ReasonKind::Manual,
        ] {
            let request = Request {
                reason: Reason::new(kind, "because", "id"),
                is_test: true,
            };
            let read = Message::read(&request.event().unwrap()).unwrap();
            assert_eq!(read, Message::Request(request));
        }
    }

    #[test]
    fn other_events_are_refused() {
        for event in [
            json!({}),
            json!([1]),
            json!({"retrain": "sometimes", "id": "x"}),
            json!({"retrain": "manual"}),
            json!({"retrain": "manual", "id": 1}),
            json!({"retrain": "manual", "id": "x", "more": 1}),
            envelope("ECR Image Action", &json!({})),
            envelope("Object Created", &json!({})),
        ] {
            let error = read(&event).unwrap_err();
            assert_eq!(
                mlops_core::error::exit(&error),
                mlops_core::error::Exit::Usage,
                "{event}"
            );
        }
        assert!(Message::read(b"\xff").is_err());
    }
}

//! Metric alarms: their records, and the operations on them.

use jiff::Timestamp;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::errors::validation;
use super::evaluation::{Comparison, MissingData, Rule, State};
use super::history::{self, Item};
use super::metrics::{DAY, Dimension, HOUR, MINUTE, Metric};
use super::reason::timestamp;
use super::statistics::Statistic;
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::clock;
use crate::store::Collection;

/// Periods below a minute, in seconds.
const SHORT_PERIODS: [i64; 3] = [10, 20, 30];

/// The configuration of an alarm: a request of `PutMetricAlarm` without its tags.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Configuration {
    pub(super) alarm_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm_description: Option<String>,
    #[serde(default = "yes")]
    pub(super) actions_enabled: bool,
    #[serde(rename = "OKActions", default)]
    ok_actions: Vec<String>,
    #[serde(default)]
    alarm_actions: Vec<String>,
    #[serde(default)]
    insufficient_data_actions: Vec<String>,
    pub(super) metric_name: String,
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) statistic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extended_statistic: Option<String>,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    pub(super) period: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unit: Option<String>,
    pub(super) evaluation_periods: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) datapoints_to_alarm: Option<usize>,
    threshold: f64,
    comparison_operator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    treat_missing_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluate_low_sample_count_percentile: Option<String>,
}

fn yes() -> bool {
    true
}

/// An alarm, with the names of `DescribeAlarms`.
#[expect(clippy::struct_field_names, reason = "the names of the API")]
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Alarm {
    #[serde(flatten)]
    pub(super) configuration: Configuration,
    pub(super) alarm_arn: String,
    alarm_configuration_updated_timestamp: f64,
    pub(super) state_value: State,
    state_reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_reason_data: Option<String>,
    state_updated_timestamp: f64,
    state_transitioned_timestamp: f64,
}

/// The record of an alarm.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) alarm: Alarm,
    pub(super) tags: Vec<(String, String)>,
}

/// The records of alarms, by name.
pub(super) fn records(cloud: &Cloud) -> Collection<'_, Record> {
    cloud.store().collection("cloudwatch", "alarm")
}

/// A new state of an alarm.
pub(super) struct NewState {
    pub(super) value: State,
    pub(super) reason: String,
    /// JSON.
    pub(super) data: Option<String>,
}

impl Configuration {
    /// Checks what the service model does not.
    pub(super) fn check(&self) -> ApiResult<()> {
        let wrong = |message: &str| Err(validation(message));
        if self.alarm_name.chars().any(|it| it.is_ascii_control()) {
            return wrong("Alarm names must not contain ASCII control characters.");
        }
        match (&self.statistic, &self.extended_statistic) {
            (Some(_), None) | (None, Some(_)) => {}
            _ => return wrong("Exactly one of Statistic or ExtendedStatistic must be specified."),
        }
        self.statistic_value()?;
        self.metric()?;
        if Comparison::parse(&self.comparison_operator).is_none() {
            return Err(ApiError::not_implemented(format_args!(
                "the comparison operator {} (anomaly detection) of cloudwatch:PutMetricAlarm",
                self.comparison_operator
            )));
        }
        if self.treatment().is_none() {
            return wrong(
                "TreatMissingData must be one of breaching, notBreaching, ignore and missing.",
            );
        }
        let low = self.evaluate_low_sample_count_percentile.as_deref();
        match low {
            None => {}
            Some("evaluate" | "ignore") if self.extended_statistic.is_some() => {}
            Some("evaluate" | "ignore") => {
                return wrong(
                    "EvaluateLowSampleCountPercentile can only be specified with a percentile.",
                );
            }
            Some(_) => {
                return wrong("EvaluateLowSampleCountPercentile must be evaluate or ignore.");
            }
        }
        let is_minutes = self.period > 0 && self.period % MINUTE == 0;
        if !SHORT_PERIODS.contains(&self.period) && !is_minutes {
            return wrong("Period must be 10, 20, 30 or a multiple of 60.");
        }
        let (longest, limit) = match self.period {
            HOUR.. => (7 * DAY, "a week"),
            _ => (DAY, "a day"),
        };
        let which = if self.period >= HOUR { ">=" } else { "<" };
        let periods = i64::try_from(self.evaluation_periods).unwrap_or(i64::MAX);
        if self.period.saturating_mul(periods) > longest {
            return Err(validation(format!(
                "Metrics cannot be checked across more than {limit} (EvaluationPeriods * Period must be <= \
                 {longest}) for alarms using period {which} {HOUR}"
            )));
        }
        if self
            .datapoints_to_alarm
            .is_some_and(|least| least > self.evaluation_periods)
        {
            return wrong("DatapointsToAlarm must be less than or equal to EvaluationPeriods.");
        }
        if !self.threshold.is_finite() {
            return wrong("Threshold must be a number.");
        }
        for action in [State::Ok, State::Alarm, State::InsufficientData]
            .into_iter()
            .flat_map(|state| self.actions(state))
        {
            if !action.starts_with("arn:") || action.split(':').count() < 6 {
                return Err(validation(format!("Invalid arn syntax: {action}")));
            }
        }
        Ok(())
    }

    /// The statistic, as its name.
    pub(super) fn statistic_name(&self) -> &str {
        let name = self.statistic.as_ref().or(self.extended_statistic.as_ref());
        name.map_or("", String::as_str)
    }

    /// The statistic.
    pub(super) fn statistic_value(&self) -> ApiResult<Statistic> {
        match &self.extended_statistic {
            Some(extended) => Statistic::extended(extended, "ExtendedStatistic"),
            None => Statistic::parse(self.statistic_name(), "Statistic"),
        }
    }

    /// The metric.
    pub(super) fn metric(&self) -> ApiResult<Metric> {
        Metric::new(
            &self.namespace,
            &self.metric_name,
            &self.dimensions,
            "Dimensions",
        )
    }

    fn treatment(&self) -> Option<MissingData> {
        MissingData::parse(self.treat_missing_data.as_deref().unwrap_or("missing"))
    }

    /// When the alarm is in ALARM.
    pub(super) fn rule(&self) -> ApiResult<Rule> {
        let damaged = || ApiError::internal(format!("the alarm {} is damaged", self.alarm_name));
        Ok(Rule {
            evaluation_periods: self.evaluation_periods,
            datapoints_to_alarm: self.datapoints_to_alarm.unwrap_or(self.evaluation_periods),
            comparison: Comparison::parse(&self.comparison_operator).ok_or_else(damaged)?,
            threshold: self.threshold,
            missing: self.treatment().ok_or_else(damaged)?,
        })
    }

    /// True if a percentile of few samples changes nothing.
    pub(super) fn ignores_few_samples(&self) -> bool {
        self.evaluate_low_sample_count_percentile.as_deref() == Some("ignore")
    }

    /// The actions for a state.
    pub(super) fn actions(&self, state: State) -> &[String] {
        match state {
            State::Ok => &self.ok_actions,
            State::Alarm => &self.alarm_actions,
            State::InsufficientData => &self.insufficient_data_actions,
        }
    }
}

impl Alarm {
    /// A new alarm. It is evaluated with the next minute.
    pub(super) fn new(configuration: Configuration, arn: String, now: f64) -> Self {
        Self {
            configuration,
            alarm_arn: arn,
            alarm_configuration_updated_timestamp: now,
            state_value: State::InsufficientData,
            state_reason: "Unchecked: Initial alarm creation".to_owned(),
            state_reason_data: None,
            state_updated_timestamp: now,
            state_transitioned_timestamp: now,
        }
    }

    /// Replaces the configuration; the state stays.
    pub(super) fn configure(&mut self, configuration: Configuration, now: f64) {
        self.configuration = configuration;
        self.alarm_configuration_updated_timestamp = now;
    }

    /// As the history shows it: the names begin with a lower-case letter.
    fn in_history(&self) -> Value {
        let Value::Object(members) = json!(self) else {
            return Value::Null;
        };
        let hidden = [
            "StateReason",
            "StateReasonData",
            "StateTransitionedTimestamp",
        ];
        let shown = members
            .into_iter()
            .filter(|(name, _)| !hidden.contains(&name.as_str()));
        let shown = shown.map(|(name, value)| {
            let name = match name.as_str() {
                "OKActions" => "okactions".to_owned(),
                _ => lower_first(&name),
            };
            let value = match (name.as_str(), value) {
                (name, Value::Number(time)) if name.ends_with("Timestamp") => time
                    .as_f64()
                    .and_then(time_of_record)
                    .map_or(Value::Null, |time| Value::from(timestamp(time))),
                ("dimensions", Value::Array(dimensions)) => dimensions
                    .iter()
                    .map(|it| json!({"value": it["Value"], "name": it["Name"]}))
                    .collect(),
                (_, value) => value,
            };
            (name, value)
        });
        Value::Object(shown.collect())
    }

    /// Changes the state, if it is another one, with the items of the history; true if it changed.
    pub(super) fn set_state(
        &mut self,
        tx: &Transaction<'_>,
        new: NewState,
        now: Timestamp,
    ) -> ApiResult<bool> {
        if new.value == self.state_value {
            return Ok(false);
        }
        let state = |value: State, reason: &str, data: Option<&String>| {
            let mut state = json!({"stateValue": value, "stateReason": reason});
            if let Some(data) = data {
                let parsed = serde_json::from_str(data);
                state["stateReasonData"] = parsed.unwrap_or_else(|_| Value::from(data.as_str()));
            }
            state
        };
        let name = self.configuration.alarm_name.clone();
        let old = state(
            self.state_value,
            &self.state_reason,
            self.state_reason_data.as_ref(),
        );
        let summary = format!(
            "Alarm updated from {} to {}",
            self.state_value.name(),
            new.value.name()
        );
        let data = json!({
            "version": "1.0",
            "oldState": old,
            "newState": state(new.value, &new.reason, new.data.as_ref()),
        });
        let update = Item {
            alarm: &name,
            time: now,
            kind: "StateUpdate",
            summary,
            data,
        };
        history::add(tx, &update)?;
        let time = clock::seconds(now);
        self.state_value = new.value;
        self.state_reason = new.reason;
        self.state_reason_data = new.data;
        self.state_updated_timestamp = time;
        self.state_transitioned_timestamp = time;
        if self.configuration.actions_enabled {
            for action in self.configuration.actions(new.value) {
                history::add(tx, &failed_action(&name, action, now))?;
            }
        }
        Ok(true)
    }
}

/// The item of an action, none of which the local cloud executes: AWS records a failed action in this form.
fn failed_action<'a>(alarm: &'a str, action: &str, now: Timestamp) -> Item<'a> {
    Item {
        alarm,
        time: now,
        kind: "Action",
        summary: format!("Failed to execute action {action}"),
        data: json!({
            "actionState": "Failed",
            "stateUpdateTimestamp": now.as_millisecond(),
            "notificationResource": action,
            "publishedMessage": null,
            "error": "NotImplemented: the local cloud does not execute the actions of alarms",
        }),
    }
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

fn upper_first(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// A time of a record.
fn time_of_record(seconds: f64) -> Option<Timestamp> {
    super::time_of(seconds, "").ok()
}

/// Adds the item of a new, changed or deleted alarm: `change` is `create`, `update` or `delete`.
pub(super) fn record_change(
    tx: &Transaction<'_>,
    change: &str,
    alarm: &Alarm,
    now: Timestamp,
) -> ApiResult<()> {
    let name = &alarm.configuration.alarm_name;
    let mut data = json!({"version": "1.0", "type": upper_first(change)});
    data[format!("{change}dAlarm")] = alarm.in_history();
    let item = Item {
        alarm: name,
        time: now,
        kind: "ConfigurationUpdate",
        summary: format!("Alarm \"{name}\" {change}d"),
        data,
    };
    history::add(tx, &item)
}

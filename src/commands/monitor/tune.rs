//! `mlops monitor tune`: what other thresholds would have done.

use std::fmt;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use mlops_core::error::{Exit, Failure, Hint};
use mlops_core::text;
use mlops_validation::capture::Window;
use serde::Serialize;

use super::data_quality;
use crate::aws::monitoring_store;
use crate::context::Context;
use crate::infra;
use crate::monitors::run::no_traffic;
use crate::monitors::tune::{Consequence, Policy, Replay, Replayed, consequence, replay};
use crate::retraining::Limits;

/// The thresholds that are tried in addition to today's.
const THRESHOLDS: [f64; 5] = [0.05, 0.1, 0.2, 0.3, 0.5];

/// Selects the traffic and the thresholds.
#[derive(Debug, clap::Args)]
pub struct TuneArgs {
    /// Number of days of traffic to replay, up to now
    #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    /// A threshold of drift to try, from 0 to 1; can be repeated [default: 0.05 0.1 0.2 0.3 0.5]
    #[arg(long, value_name = "DISTANCE", value_parser = threshold)]
    threshold: Vec<f64>,
}

fn threshold(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok();
    let value = value.filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "a threshold is a number from 0 to 1".to_owned())
}

/// What the thresholds would have done.
#[derive(Debug, Serialize)]
pub struct Tuned {
    /// Length of a window in hours.
    hours: u32,
    /// The threshold of today's baseline.
    current: f64,
    alarm_periods: u32,
    alarm_datapoints: u32,
    cool_down_hours: u32,
    maximum_per_day: u32,
    thresholds: Vec<Consequence>,
    windows: Vec<Replayed>,
    #[serde(skip)]
    baseline: String,
}

pub(super) async fn tune(ctx: &Context, args: &TuneArgs) -> Result<Tuned> {
    let project = ctx.project()?;
    let baseline = data_quality::baseline(&project)?;
    if baseline.statistics.is_none() {
        return Err(Failure::usage(
            "the baseline has no statistics, which drift is measured with",
        ))
        .hint("create both files with `mlops validate --suggest DATA`");
    }
    let current = baseline.constraints.rules_of(None).threshold;
    let mut thresholds = if args.threshold.is_empty() {
        THRESHOLDS.to_vec()
    } else {
        args.threshold.clone()
    };
    thresholds.push(current);
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    let (monitor, retrain) = (&project.file.monitor, &project.file.retrain);
    let hours = monitor.every_hours;
    let clients = ctx.aws_for(&project).await?;
    let platform = infra::platform(clients, &project).await?;
    let endpoint = project.file.name.as_str();
    let traffic = monitoring_store::captured(&platform.capture_bucket, endpoint);
    let windows = args.days * 24 / hours;
    let task = ctx
        .progress
        .items("replaying captured traffic", windows.into());
    let until = ctx.now();
    let replayed = Replay {
        traffic: &traffic,
        until,
        windows,
        hours,
        minimum_records: monitor.minimum_records,
        baseline: &baseline,
        thresholds: &thresholds,
        current,
    };
    let windows = replay(clients, &replayed, || task.advance(1)).await?;
    drop(task);
    if windows.iter().all(|window| window.rows == 0) {
        let since = until - SignedDuration::from_hours(i64::from(args.days) * 24);
        let window = Window {
            since: Some(since),
            until: Some(until),
        };
        return Err(no_traffic(&traffic, window));
    }
    if windows.iter().all(|window| window.violations.is_none()) {
        let minimum = monitor.minimum_records;
        return Err(Failure::new(
            Exit::Refused,
            format!("not enough data: every window has fewer than {minimum} rows"),
        ))
        .hint("set a smaller `monitor.minimum_records`, or wait for more traffic");
    }
    let policy = Policy {
        alarm_periods: monitor.alarm_periods,
        alarm_datapoints: monitor.alarm_datapoints,
        limits: Limits {
            cool_down: SignedDuration::from_hours(retrain.cool_down_hours.into()),
            maximum_per_day: retrain.maximum_per_day,
        },
    };
    let consequences = thresholds.iter().enumerate();
    Ok(Tuned {
        hours,
        current,
        alarm_periods: policy.alarm_periods,
        alarm_datapoints: policy.alarm_datapoints,
        cool_down_hours: retrain.cool_down_hours,
        maximum_per_day: retrain.maximum_per_day,
        thresholds: consequences
            .map(|(index, threshold)| consequence(&windows, index, *threshold, policy))
            .collect(),
        windows,
        baseline: monitor.baseline.display().to_string(),
    })
}

impl fmt::Display for Tuned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let enough = self.windows.iter().filter(|it| it.violations.is_some());
        writeln!(
            f,
            "{} windows of {} h, {} with enough rows",
            self.windows.len(),
            self.hours,
            enough.count()
        )?;
        writeln!(
            f,
            "alarm: {} of {} windows; runs: one in {} h, at most {} a day\n",
            self.alarm_datapoints, self.alarm_periods, self.cool_down_hours, self.maximum_per_day
        )?;
        let unreadable: u64 = self.windows.iter().map(|window| window.unreadable).sum();
        if unreadable > 0 {
            writeln!(f, "{unreadable} captured requests could not be read\n")?;
        }
        let day = |time: &Timestamp| time.strftime("%Y-%m-%d").to_string();
        f.write_str(&text::table(
            &["THRESHOLD", "VIOLATED", "ALARMS", "RETRAINS", "FIRST", ""],
            self.thresholds.iter().map(|found| {
                vec![
                    found.threshold.to_string(),
                    found.violated.to_string(),
                    found.alarms.to_string(),
                    found.retrains.len().to_string(),
                    found.retrains.first().map_or_else(|| "-".to_owned(), day),
                    if found.threshold.total_cmp(&self.current).is_eq() {
                        "today's"
                    } else {
                        ""
                    }
                    .to_owned(),
                ]
            }),
        ))?;
        let file = text::clean(&self.baseline);
        write!(
            f,
            "\nset it as comparison_threshold and categorical_comparison_threshold\n\
             (monitoring_config.distribution_constraints) in {file}/constraints.json"
        )
    }
}

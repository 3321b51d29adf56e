//! What a release would change: one screen, before anything happens.

use std::fmt;

use mlops_core::text::table;
use serde::Serialize;
use serde_json::Value;

use super::manifest::{Image, Manifest};

/// A line of the comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What is compared.
    pub what: String,
    /// The value in the live release; null if there is none.
    pub live: Option<String>,
    /// The value in the new release.
    pub new: Option<String>,
    /// Whether they differ.
    pub changes: bool,
}

/// The comparison of a release with the live one, or with any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The release to compare with: the live one, if any.
    pub live: Option<u32>,
    /// The new release.
    pub release: u32,
    /// Whether `live` is the live release.
    #[serde(skip)]
    is_live: bool,
    /// The endpoint.
    pub endpoint: String,
    /// The lines.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// Compares a manifest with that of the live release.
    pub fn new(live: Option<&Manifest>, new: &Manifest) -> Self {
        let mut rows = Vec::new();
        let mut add = |what: &str, value: &dyn Fn(&Manifest) -> Option<String>| {
            let (before, after) = (live.and_then(value), value(new));
            if before.is_some() || after.is_some() {
                rows.push(Row {
                    what: what.to_owned(),
                    changes: before != after,
                    live: before,
                    new: after,
                });
            }
        };
        add("version", &|one| Some(one.model.version.to_string()));
        let mut metrics: Vec<&String> = new.metrics.keys().collect();
        let old = live.iter().flat_map(|live| live.metrics.keys());
        metrics.extend(old.filter(|name| !new.metrics.contains_key(*name)));
        for name in metrics {
            add(name, &|one| one.metrics.get(name).map(number));
        }
        add("image", &|one| Some(image(&one.image)));
        add("artifact", &|one| {
            let artifact = one.artifact.as_ref()?;
            Some(format!("sha256:{}", &artifact.sha256[..12]))
        });
        add("commit", &|one| {
            let commit = one.code.commit.as_ref()?;
            Some(commit.chars().take(12).collect())
        });
        add("data", &|one| {
            let data = one.data.as_ref()?;
            Some(format!("{} {}", data.dataset, data.version))
        });
        add("instances", &|one| Some(one.settings.instance_text()));
        add("strategy", &|one| Some(one.settings.strategy_text()));
        add("alarms", &|one| Some(one.settings.alarm_text()));
        add("captured", &|one| {
            Some(format!("{} % of requests", one.settings.capture_percent))
        });
        add("challenger", &|one| {
            let other = one.settings.challenger.as_ref()?;
            Some(format!("version {}, {} %", other.version, other.percent))
        });
        Self {
            live: live.map(|live| live.release),
            is_live: true,
            release: new.release,
            endpoint: new.endpoint.clone(),
            rows,
        }
    }
}

impl Comparison {
    /// Compares two releases, whatever is live.
    pub fn between(before: &Manifest, after: &Manifest) -> Self {
        Self {
            is_live: false,
            ..Self::new(Some(before), after)
        }
    }
}

/// Formats a metric.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) => crate::aws::sagemaker::models::significant(number),
        None => value.to_string(),
    }
}

/// Formats an image: `sha256:1f2e3d4c5b6a`, or its reference.
fn image(image: &Image) -> String {
    match &image.digest {
        Some(digest) => digest.chars().take("sha256:".len() + 12).collect(),
        None => image.uri.clone(),
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let new = format!("RELEASE {}", self.release);
        let live = match self.live {
            Some(live) if self.is_live => format!("RELEASE {live} (LIVE)"),
            Some(other) => format!("RELEASE {other}"),
            None => "LIVE".to_owned(),
        };
        let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let rows = self.rows.iter().map(|row| {
            let mark = if row.changes { "*" } else { "" };
            vec![
                row.what.clone(),
                cell(&row.live),
                cell(&row.new),
                mark.to_owned(),
            ]
        });
        f.write_str(&table(&["", &live, &new, ""], rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::releases::manifest::tests::example;

    #[test]
    fn every_difference_is_marked() {
        let live = example();
        let mut new = example();
        new.release = 3;
        new.model.version = mlops_core::names::Version(2);
        new.settings.instance_count = 2;
        new.metrics.insert("mae".to_owned(), 1.into());
        let comparison = Comparison::new(Some(&live), &new);
        let changed: Vec<&str> = comparison
            .rows
            .iter()
            .filter(|row| row.changes)
            .map(|row| row.what.as_str())
            .collect();
        assert_eq!(changed, ["version", "mae", "instances"]);
        let text = comparison.to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let first = Comparison::new(None, &new);
        assert!(
            first
                .rows
                .iter()
                .all(|row| row.changes && row.live.is_none())
        );
    }
}

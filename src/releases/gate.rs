//! `promote --if-better METRIC`: compares a metric of the candidate with that of the live release.

use std::collections::BTreeMap;

use anyhow::Result;
use mlops_core::error::{Exit, Failure, Hint};
use serde_json::{Map, Value};

use super::store::{History, Release};
use crate::config::Better;

/// The prefix of the properties of a model package that declare which value of a metric is better:
/// `Better.rmse = lower`.
const PROPERTY: &str = "Better.";

/// The measurements of one version.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// What to call it: `version 3`.
    pub name: &'a str,
    /// Its metrics.
    pub metrics: &'a Map<String, Value>,
    /// The version of the data that it was trained and measured on.
    pub data_version: Option<&'a str>,
}

/// Returns which value of a metric is better: as the model package declares, otherwise as mlops.toml does;
/// `None` if neither does.
///
/// # Errors
/// The package's value is neither `lower` nor `higher` (exit 2).
pub fn declared(
    metric: &str,
    properties: &BTreeMap<String, String>,
    file: &BTreeMap<String, Better>,
) -> Result<Option<Better>> {
    let name = format!("{PROPERTY}{metric}");
    match properties.get(&name).map(String::as_str) {
        Some("lower") => Ok(Some(Better::Lower)),
        Some("higher") => Ok(Some(Better::Higher)),
        Some(other) => Err(Failure::usage(format!(
            "the model package declares {name} as `{other}`, which is neither lower nor higher"
        ))),
        None => Ok(file.get(metric).copied()),
    }
}

/// The same, but it is an error (exit 2) if neither declares it.
pub fn direction(
    metric: &str,
    properties: &BTreeMap<String, String>,
    file: &BTreeMap<String, Better>,
) -> Result<Better> {
    declared(metric, properties, file)?.ok_or_else(|| {
        Failure::usage(format!(
            "neither the model package nor mlops.toml declares which value of {metric} is better"
        ))
    })
    .hint(format!(
        "add `{metric} = \"lower\"` or `{metric} = \"higher\"` to [deploy.metrics] in mlops.toml, or the property \
         {PROPERTY}{metric} to the model package"
    ))
}

/// Returns the release to compare a candidate with: the one that the endpoint serves. If that is a release of
/// the candidate itself, because its promotion is repeated, the one before it.
///
/// # Errors
/// The endpoint serves something that no release describes (exit 3).
pub fn baseline<'a>(
    history: &'a History,
    serving: Option<&'a Release>,
    is_serving: bool,
    package: &str,
) -> Result<Option<&'a Release>> {
    if serving.is_none() && is_serving {
        return Err(refused(
            "no release describes what the endpoint serves, so there is nothing to compare with; the release \
             was not made"
                .to_owned(),
        ))
        .hint("compare the metrics of the versions, then promote without --if-better");
    }
    let mut found = serving;
    while let Some(release) = found
        && release.sealed.manifest.model.package_arn == package
    {
        let manifest = &release.sealed.manifest;
        // A release names older ones only.
        let before = manifest.restores.or(manifest.previous);
        found = before
            .filter(|before| *before < manifest.release)
            .and_then(|before| history.release(before));
    }
    Ok(found)
}

/// Fails (exit 3) unless the candidate is better. Any candidate is better than nothing.
pub fn check(
    metric: &str,
    better: Better,
    candidate: Measured<'_>,
    live: Option<Measured<'_>>,
    allow_other_data: bool,
) -> Result<()> {
    let value = |of: Measured<'_>| {
        let found = of.metrics.get(metric).and_then(Value::as_f64);
        found.filter(|value| value.is_finite()).ok_or_else(|| {
            let known: Vec<&str> = of.metrics.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", known.join(", "))
            };
            refused(format!("{} has no metric {metric}; {known}", of.name))
        })
    };
    let new = value(candidate)?;
    let Some(live) = live else {
        return Ok(());
    };
    let old = value(live)?;
    let is_same = candidate.data_version.is_some() && candidate.data_version == live.data_version;
    if !is_same && !allow_other_data {
        let data = |of: Measured<'_>| of.data_version.unwrap_or("an unknown version").to_owned();
        return Err(refused(format!(
            "{metric} was not measured on the same data: {} on {}, {} on {}",
            candidate.name,
            data(candidate),
            live.name,
            data(live)
        )))
        .hint("train again on the same version of the data, or pass --allow-other-data to compare anyway");
    }
    let is_better = match better {
        Better::Lower => new < old,
        Better::Higher => new > old,
    };
    if is_better {
        return Ok(());
    }
    let word = if new.total_cmp(&old).is_eq() {
        "the same as"
    } else {
        "worse than"
    };
    Err(refused(format!(
        "{metric} of {} is {new}, {word} {old} of {}; the release was not made",
        candidate.name, live.name
    )))
}

fn refused(text: String) -> anyhow::Error {
    Failure::new(Exit::Refused, text)
}

#[cfg(test)]
mod tests {
    use mlops_core::error::exit;
    use serde_json::json;

    use super::*;

    fn metrics(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    fn measured<'a>(
        name: &'a str,
        metrics: &'a Map<String, Value>,
        data_version: Option<&'a str>,
    ) -> Measured<'a> {
        Measured {
            name,
            metrics,
            data_version,
        }
    }

    #[test]
    fn only_a_better_value_on_the_same_data_passes() {
        let (new, old) = (
            metrics(&json!({"rmse": 1.0, "r2": 0.5})),
            metrics(&json!({"rmse": 2.0, "r2": 0.5, "mae": 1})),
        );

        let gate = |metric, better, data: Option<&str>, allow| {
            check(
                metric,
                better,
                measured("version 2", &new, Some("a")),
                Some(measured("version 1", &old, data)),
                allow,
            )
        };
        assert!(gate("rmse", Better::Lower, Some("a"), false).is_ok());
        for (metric, better, data, allow, text) in [
            ("rmse", Better::Higher, Some("a"), false, "worse than"),
            ("r2", Better::Higher, Some("a"), false, "the same as"),
            ("r2", Better::Lower, Some("a"), false, "the same as"),
            (
                "mae",
                Better::Lower,
                Some("a"),
                false,
                "version 2 has no metric mae; it has rmse, r2",
            ),
            (
                "rmse",
                Better::Lower,
                Some("b"),
                false,
                "not measured on the same data",
            ),
            ("rmse", Better::Lower, None, false, "an unknown version"),
            ("rmse", Better::Higher, Some("b"), true, "worse than"),
        ] {
            let error = gate(metric, better, data, allow).unwrap_err();
            assert_eq!(exit(&error), Exit::Refused, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        assert!(gate("rmse", Better::Lower, Some("b"), true).is_ok());
        // Two unknown versions may differ.
        let unknown = |allow| {
            let (new, old) = (measured("new", &new, None), measured("old", &old, None));
            check("rmse", Better::Lower, new, Some(old), allow)
        };
        assert!(unknown(false).is_err() && unknown(true).is_ok());
        // There is nothing to be better than, but the metric must exist.
        let alone = measured("version 2", &new, None);
        assert!(check("rmse", Better::Lower, alone, None, false).is_ok());
        assert!(check("mae", Better::Lower, alone, None, false).is_err());
    }

    #[test]
    fn a_repeated_promotion_is_compared_with_what_was_live_before_it() {
        let release = |number, version: i32, previous, restores| {
            let mut release = crate::releases::store::tests::release(number, version, &[]);
            let manifest = &mut release.sealed.manifest;
            manifest.model.package_arn = format!("arn/{version}");
            (manifest.previous, manifest.restores) = (previous, restores);
            release
        };
        let history = History {
            releases: vec![
                release(5, 1, Some(4), Some(3)),
                release(4, 3, Some(3), None),
                release(3, 1, Some(2), None),
                release(2, 2, Some(1), None),
                release(1, 1, None, None),
            ],
            damaged: Vec::new(),
        };
        let found = |serving, version: i32| {
            let package = format!("arn/{version}");
            let found = baseline(&history, history.release(serving), true, &package).unwrap();
            found.map(Release::number)
        };
        assert_eq!(found(4, 2), Some(4));
        assert_eq!(found(4, 3), Some(3));
        assert_eq!(found(1, 1), None);
        // Not with the release that was rolled back.
        assert_eq!(found(5, 1), Some(2));
        assert!(baseline(&history, None, false, "a").unwrap().is_none());
        let error = baseline(&history, None, true, "a").unwrap_err();
        assert_eq!(exit(&error), Exit::Refused);
    }

    #[test]
    fn the_package_declares_the_direction_before_mlops_toml() {
        let toml = BTreeMap::from([("rmse".to_owned(), Better::Higher)]);
        let package = |value: &str| BTreeMap::from([("Better.rmse".to_owned(), value.to_owned())]);
        assert_eq!(
            direction("rmse", &package("lower"), &toml).unwrap(),
            Better::Lower
        );
        assert_eq!(
            direction("rmse", &BTreeMap::new(), &toml).unwrap(),
            Better::Higher
        );
        for error in [
            direction("rmse", &package("up"), &toml).unwrap_err(),
            direction("mae", &BTreeMap::new(), &toml).unwrap_err(),
        ] {
            assert_eq!(exit(&error), Exit::Usage);
        }
    }
}

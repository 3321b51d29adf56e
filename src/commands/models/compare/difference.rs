//! What differs between two versions: metrics, parameters, definitions.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use similar::TextDiff;

/// Number of unchanged lines around a change of the definition.
const AROUND: usize = 3;

/// A metric of both versions.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct MetricPair {
    pub(super) metric: String,
    pub(super) a: Option<Value>,
    pub(super) b: Option<Value>,
    /// B - A; null if one of them is unknown. Whether more is better is not known here.
    pub(super) difference: Option<f64>,
}

/// A parameter of both runs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) a: Option<String>,
    pub(super) b: Option<String>,
}

/// The pipeline definitions of both runs.
#[derive(Debug, Serialize)]
pub(super) struct DefinitionPair {
    /// Null if one of the definitions is unknown.
    pub(super) same: Option<bool>,
    /// The changes from A to B as a unified diff of formatted JSON, line by line.
    pub(super) diff: Vec<String>,
}

/// Pairs the metrics of both versions, in the order of the first one's.
pub(super) fn metrics(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<MetricPair> {
    let only_b = b.keys().filter(|name| !a.contains_key(*name));
    let pair = |name: &String| {
        let number = |of: &Map<String, Value>| of.get(name).and_then(Value::as_f64);
        MetricPair {
            metric: name.clone(),
            a: a.get(name).cloned(),
            b: b.get(name).cloned(),
            difference: number(a).zip(number(b)).map(|(a, b)| b - a),
        }
    };
    a.keys().chain(only_b).map(pair).collect()
}

/// Pairs the parameters of both runs by name.
pub(super) fn pairs(mut a: BTreeMap<String, String>, mut b: BTreeMap<String, String>) -> Vec<Pair> {
    let names: BTreeSet<String> = a.keys().chain(b.keys()).cloned().collect();
    let pair = |name: String| Pair {
        a: a.remove(&name),
        b: b.remove(&name),
        name,
    };
    names.into_iter().map(pair).collect()
}

/// Compares two definitions as formatted JSON: SageMaker keeps the text that it was given.
pub(super) fn definitions(a: (&str, Option<&str>), b: (&str, Option<&str>)) -> DefinitionPair {
    let (Some(old), Some(new)) = (a.1.map(formatted), b.1.map(formatted)) else {
        return DefinitionPair {
            same: None,
            diff: Vec::new(),
        };
    };
    let diff = TextDiff::from_lines(old.as_str(), new.as_str());
    let text = diff
        .unified_diff()
        .context_radius(AROUND)
        .header(a.0, b.0)
        .to_string();
    DefinitionPair {
        same: Some(old == new),
        diff: text.lines().map(str::to_owned).collect(),
    }
}

/// Formats JSON; other text stays as it is.
fn formatted(text: &str) -> String {
    let value: Option<Value> = serde_json::from_str(text).ok();
    let formatted = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    formatted.unwrap_or_else(|| text.to_owned()) + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn metrics_of_both_are_paired() {
        let a = object(&json!({"rmse": 4.0, "mae": 2.0}));
        let b = object(&json!({"r2": 0.5, "rmse": 3.0}));
        let found = metrics(&a, &b);
        let names: Vec<_> = found.iter().map(|pair| pair.metric.as_str()).collect();
        assert_eq!(names, ["rmse", "mae", "r2"]);
        assert_eq!(found[0].difference, Some(-1.0));
        assert_eq!((found[1].b.as_ref(), found[1].difference), (None, None));
        assert_eq!((found[2].a.as_ref(), found[2].difference), (None, None));
    }

    #[test]
    fn definitions_differ_by_content_and_not_by_format() {
        let a = r#"{"Steps": [{"Name": "Train"}]}"#;
        let spaced = "{ \"Steps\": [ {\"Name\": \"Train\"} ] }";
        let same = definitions(("version 1", Some(a)), ("version 2", Some(spaced)));
        assert_eq!((same.same, same.diff.len()), (Some(true), 0));
        let b = a.replace("Train", "Tune");
        let changed = definitions(("version 1", Some(a)), ("version 2", Some(&b)));
        assert_eq!(changed.same, Some(false));
        assert_eq!(changed.diff[..2], ["--- version 1", "+++ version 2"]);
        let line = |start: char| {
            let lines = changed.diff.iter();
            lines
                .skip(2)
                .find(|line| line.starts_with(start))
                .unwrap()
                .clone()
        };
        assert!(line('-').contains("Train") && line('+').contains("Tune"));
        assert_eq!(definitions(("1", None), ("2", Some(a))).same, None);
    }

    #[test]
    fn parameters_of_both_runs_are_paired() {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let found = pairs(of(&[("B", "1"), ("A", "1")]), of(&[("B", "2")]));
        assert_eq!(
            found[0],
            Pair {
                name: "A".to_owned(),
                a: Some("1".to_owned()),
                b: None
            }
        );
        assert_eq!(found[1].b.as_deref(), Some("2"));
    }
}

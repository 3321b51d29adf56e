//! The part of JSON path that locates predictions and labels: members (`$.a`, `$['a b']`), elements
//! (`$[0]`) and all elements (`$[*]`), in any combination. Filters, slices and `..` are refused.

use mlops_core::quote::short;
use serde_json::Value;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Element(usize),
    All,
}

impl Path {
    /// Parses a path that starts with `$`.
    ///
    /// # Errors
    /// The path has anything but members, elements and `[*]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unsupported = || {
            format!(
                "`{}` is not a supported JSON path: use members and indices, as in \
                 $.predictions[0].score",
                short(text)
            )
        };
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('$').ok_or_else(unsupported)?;
        while !rest.is_empty() {
            let (step, after) = step(rest).ok_or_else(unsupported)?;
            steps.push(step);
            rest = after;
        }
        Ok(Self {
            text: text.to_owned(),
            steps,
        })
    }

    /// Returns the values at the path, in order; an array at the end of the path counts as its
    /// elements. Empty if a member or element does not exist.
    pub(super) fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.steps {
            found = match step {
                Step::Member(name) => found.iter().filter_map(|value| value.get(name)).collect(),
                Step::Element(index) => found.iter().filter_map(|value| value.get(index)).collect(),
                Step::All => found.into_iter().flat_map(elements).collect(),
            };
        }
        found
            .into_iter()
            .flat_map(|value| {
                if value.is_array() {
                    elements(value)
                } else {
                    vec![value]
                }
            })
            .collect()
    }
}

fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&short(&self.text))
    }
}

/// Parses one step and returns the rest.
fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(name) = text.strip_prefix('.') {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (name, rest) = name.split_at(end);
        return match name {
            "" => None,
            "*" => Some((Step::All, rest)),
            name if name.contains(['*', '(', ')', '?', '@', ' ']) => None,
            name => Some((Step::Member(name.to_owned()), rest)),
        };
    }
    let inner = text.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(name) = inner.strip_prefix(quote) {
            let (name, rest) = name.split_once(quote)?;
            return Some((Step::Member(name.to_owned()), rest.strip_prefix(']')?));
        }
    }
    let (index, rest) = inner.split_once(']')?;
    if index == "*" {
        return Some((Step::All, rest));
    }
    let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    let index = index.parse().ok().filter(|_| digits)?;
    Some((Step::Element(index), rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn find(path: &str, value: &Value) -> Vec<Value> {
        let path = Path::parse(path).unwrap();
        path.find(value).into_iter().cloned().collect()
    }

    #[test]
    fn members_and_elements_are_found() {
        let value = json!({"SageMakerOutput": {"predicted_label": 1, "a b": [2, 3]},
            "predictions": [{"score": 0.5}, {"score": 0.25}, {}]});
        for (path, expected) in [
            ("$.SageMakerOutput.predicted_label", vec![json!(1)]),
            ("$['SageMakerOutput']['a b'][1]", vec![json!(3)]),
            ("$.SageMakerOutput[\"a b\"]", vec![json!(2), json!(3)]),
            ("$.predictions[*].score", vec![json!(0.5), json!(0.25)]),
            ("$.predictions[0].score", vec![json!(0.5)]),
            ("$.predictions[0].*", vec![json!(0.5)]),
            ("$.nothing", vec![]),
        ] {
            assert_eq!(find(path, &value), expected, "{path}");
        }
        assert_eq!(find("$", &json!(0.5)), [json!(0.5)]);
        assert_eq!(find("$[1]", &json!([1, 2])), [json!(2)]);
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "$..a",
            "$.a[?(@.b>1)]",
            "$[1:2]",
            "$[-1]",
            "$.",
            "$a",
            "$['a",
            "$[",
            "$.a b",
            "a",
        ] {
            let error = Path::parse(path).unwrap_err();
            assert!(
                error.contains("not a supported JSON path"),
                "{path}: {error}"
            );
        }
    }
}

//! Members of forms, where every scalar is text and an empty list is empty text.
//!
//! `CloudFormation` calls the same operations with JSON, so both ways of writing a value are read.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A list; empty text and null are an empty one.
pub(crate) fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Vec::new()),
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        value => serde_json::from_value(value).map_err(Error::custom),
    }
}

/// A whole number, if there is one.
pub(crate) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(None),
        Some(value) => lenient::int(value).map(Some).map_err(Error::custom),
    }
}

/// A boolean, if there is one. EC2 wraps some of them: `{"Value": "true"}`.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    match value.get("Value").unwrap_or(&value) {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        value => lenient::bool(value).map(Some).map_err(Error::custom),
    }
}

/// Scalars that must be there.
pub(crate) mod lenient {
    use serde::{Deserialize, Deserializer};
    use serde_json::Value;

    /// A boolean, or the text of one.
    pub(crate) fn bool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(value) => Ok(value),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            other => Err(serde::de::Error::custom(format!(
                "{other} is not a boolean"
            ))),
        }
    }

    /// A whole number, or the text of one.
    pub(crate) fn int<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match &value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
        .ok_or_else(|| serde::de::Error::custom(format!("{value} is not an integer")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Form {
        #[serde(deserialize_with = "list")]
        names: Vec<String>,
        #[serde(deserialize_with = "whole")]
        number: Option<i64>,
        #[serde(deserialize_with = "flag")]
        on: Option<bool>,
    }

    #[test]
    fn text_and_json_are_equivalent() {
        let read = |value: Value| serde_json::from_value::<Form>(value);
        let expected = Form {
            names: vec!["a".to_owned()],
            number: Some(5),
            on: Some(true),
        };
        for form in [
            json!({"names": ["a"], "number": "5", "on": "TRUE"}),
            json!({"names": ["a"], "number": 5, "on": true}),
            json!({"names": ["a"], "number": 5, "on": {"Value": "true"}}),
        ] {
            assert_eq!(read(form).unwrap(), expected);
        }
        for absent in [json!({}), json!({"names": "", "on": ""})] {
            assert_eq!(read(absent).unwrap(), Form::default());
        }
        for wrong in [
            json!({"names": "a"}),
            json!({"number": "x"}),
            json!({"on": "yes"}),
        ] {
            assert!(read(wrong).is_err());
        }
    }
}

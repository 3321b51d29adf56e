//! Why a document is not a policy, and the texts in it.

use std::fmt;

use serde_json::Value;

/// Why a document is not a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One text, or a list of them; numbers and Booleans count as texts.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, Malformed> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        _ => Err(malformed("a value is neither a text nor a list of texts")),
    };
    match value {
        Value::Array(values) => values.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// The error with this message.
pub(super) fn malformed(message: impl fmt::Display) -> Malformed {
    Malformed(message.to_string())
}

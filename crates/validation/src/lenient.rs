//! Parses numbers as AWS's files, and hand-edited ones, write them.

use serde::{Deserialize, Deserializer, Serializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Value(f64),
    Text(String),
    Nothing(()),
}

/// A number, `"NaN"` or another number as text, or null (not a number).
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match Number::deserialize(deserializer)? {
        Number::Value(value) => Ok(value),
        Number::Text(text) => text
            .parse()
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is not a number"))),
        Number::Nothing(()) => Ok(f64::NAN),
    }
}

/// Parses a number, or `"NaN"`, which AWS writes for undefined values.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde requires"
)]
pub(super) fn write<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_nan() {
        serializer.serialize_str("NaN")
    } else {
        serializer.serialize_f64(*value)
    }
}

/// A count, including counts written as a float (`24000.0`).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value was checked to be a whole number that fits"
)]
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = number(deserializer)?;
    if value >= 0.0 && value <= 2f64.powi(53) {
        Ok(value.round() as u64)
    } else {
        Err(serde::de::Error::custom(format!(
            "`{value}` is not a count"
        )))
    }
}

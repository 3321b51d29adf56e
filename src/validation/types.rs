//! Type inference by Deequ's rules (`StatefulDataType`, `DataType`).
//!
//! A value's text decides: `^(-|\+)? ?\d+$` is Integral, the same with a fraction or an exponent
//! is Fractional, `true` and `false` are Boolean, everything else is String. So `.5`, `5.`, `NaN`,
//! `inf` and `1,000` are strings, and `- 5` is a number. One more corner is ours: digits beyond
//! what a double can hold (`1e999`) are a String.

use serde::{Deserialize, Serialize};

/// A column's type, as AWS's files spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InferredType {
    /// Whole numbers.
    Integral,
    /// Numbers.
    Fractional,
    /// Text.
    String,
    /// No value at all.
    Unknown,
}

impl InferredType {
    /// Whether the column has numerical statistics.
    pub fn is_numeric(self) -> bool {
        matches!(self, Self::Integral | Self::Fractional)
    }
}

impl std::fmt::Display for InferredType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Integral => "Integral",
            Self::Fractional => "Fractional",
            Self::String => "String",
            Self::Unknown => "Unknown",
        })
    }
}

/// What one value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A whole number.
    Integral(f64),
    /// A number with a fraction or an exponent.
    Fractional(f64),
    /// `true` or `false`.
    Boolean,
    /// Anything else.
    String,
}

/// Classifies a value that is present.
pub fn classify(text: &str) -> Kind {
    let bytes = text.as_bytes();
    let mut at = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    if bytes.get(at) == Some(&b' ') {
        at += 1;
    }
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let start = at;
    at += digits(at);
    if at == start {
        return if text == "true" || text == "false" {
            Kind::Boolean
        } else {
            Kind::String
        };
    }
    if at == bytes.len() {
        return number(text, Kind::Integral);
    }
    if bytes[at] == b'.' {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return Kind::String;
        }
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'-' | b'+')));
        let exponent = digits(at);
        if exponent == 0 {
            return Kind::String;
        }
        at += exponent;
    }
    if at == bytes.len() {
        number(text, Kind::Fractional)
    } else {
        Kind::String
    }
}

fn number(text: &str, kind: fn(f64) -> Kind) -> Kind {
    let parsed = match text.parse() {
        Ok(value) => Some(value),
        Err(_) => text.replacen(' ', "", 1).parse().ok(),
    };
    match parsed {
        Some(value) if f64::is_finite(value) => kind(value),
        _ => Kind::String,
    }
}

/// How many values of each kind a column has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypeCounts {
    /// Missing values.
    pub missing: u64,
    /// Whole numbers.
    pub integral: u64,
    /// Numbers with a fraction or an exponent.
    pub fractional: u64,
    /// `true` and `false`.
    pub boolean: u64,
    /// Everything else.
    pub string: u64,
}

impl TypeCounts {
    /// Values that are present.
    pub fn present(&self) -> u64 {
        self.integral + self.fractional + self.boolean + self.string
    }

    /// Adds the counts of another part.
    pub fn merge(&mut self, other: &Self) {
        self.missing += other.missing;
        self.integral += other.integral;
        self.fractional += other.fractional;
        self.boolean += other.boolean;
        self.string += other.string;
    }

    /// Deequ's decision. Model Monitor has no Boolean type, so such a column is a String.
    pub fn inferred(&self) -> InferredType {
        if self.present() == 0 {
            InferredType::Unknown
        } else if self.string > 0 || self.boolean > 0 {
            InferredType::String
        } else if self.fractional > 0 {
            InferredType::Fractional
        } else {
            InferredType::Integral
        }
    }

    /// How many of the present values are of a type: any value is a String, whole numbers are
    /// Fractional too.
    pub fn matching(&self, expected: InferredType) -> u64 {
        match expected {
            InferredType::Integral => self.integral,
            InferredType::Fractional => self.integral + self.fractional,
            InferredType::String | InferredType::Unknown => self.present(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_classified_by_deequs_rules() {
        for (text, kind) in [
            ("0", Kind::Integral(0.0)),
            ("-12", Kind::Integral(-12.0)),
            ("+ 7", Kind::Integral(7.0)),
            (" 7", Kind::Integral(7.0)),
            ("007", Kind::Integral(7.0)),
            (
                "9223372036854775809",
                Kind::Integral(9_223_372_036_854_775_809.0),
            ),
            ("1.50", Kind::Fractional(1.5)),
            ("-1e-3", Kind::Fractional(-0.001)),
            ("1.5E+2", Kind::Fractional(150.0)),
            ("true", Kind::Boolean),
        ] {
            assert_eq!(classify(text), kind, "{text}");
        }
        for text in [
            ".5", "5.", "NaN", "inf", "-inf", "1,000", "True", "1e", "1e+", "1.e5", "-", "+",
            "  7", "7 ", "0x10", "1_000", "1e999", "٣", "-.5",
        ] {
            assert_eq!(classify(text), Kind::String, "{text}");
        }
    }

    #[test]
    fn a_columns_type_is_the_widest_of_its_values() {
        let counts = |integral, fractional, boolean, string| TypeCounts {
            missing: 3,
            integral,
            fractional,
            boolean,
            string,
        };
        assert_eq!(counts(0, 0, 0, 0).inferred(), InferredType::Unknown);
        assert_eq!(counts(5, 0, 0, 0).inferred(), InferredType::Integral);
        assert_eq!(counts(5, 1, 0, 0).inferred(), InferredType::Fractional);
        assert_eq!(counts(5, 0, 1, 0).inferred(), InferredType::String);
        assert_eq!(counts(5, 1, 0, 1).inferred(), InferredType::String);
        assert_eq!(counts(5, 1, 0, 1).matching(InferredType::Fractional), 6);
    }
}

//! Type inference by Deequ's rules (`StatefulDataType`, `DataType`): `number.rs` decides what is a
//! number; `true` and `false` are Boolean, everything else is String.

use serde::{Deserialize, Serialize};

use super::rule_set::RuleSet;

/// A column's type, as written in AWS's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InferredType {
    /// Integers.
    Integral,
    /// Numbers.
    Fractional,
    /// Text; also Deequ's Boolean, which Model Monitor does not have.
    #[serde(alias = "Boolean")]
    String,
    /// No values.
    Unknown,
}

impl InferredType {
    /// Whether the column has numeric statistics.
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

/// The number of values of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeCounts {
    /// Missing values.
    pub missing: u64,
    /// Integers.
    pub integral: u64,
    /// Numbers with a fraction or an exponent.
    pub fractional: u64,
    /// `true` and `false`.
    pub boolean: u64,
    /// Everything else.
    pub string: u64,
}

impl TypeCounts {
    /// Number of present values.
    pub fn present(&self) -> u64 {
        self.integral + self.fractional + self.boolean + self.string
    }

    /// Number of all values including missing ones; `None` on overflow.
    pub(super) fn checked_total(&self) -> Option<u64> {
        [self.integral, self.fractional, self.boolean, self.string]
            .into_iter()
            .try_fold(self.missing, u64::checked_add)
    }

    /// Counts a text that is not a number.
    #[inline]
    pub(super) fn word(&mut self, text: &[u8], count: u64) {
        if text == b"true" || text == b"false" {
            self.boolean += count;
        } else {
            self.string += count;
        }
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

    /// Returns how many of the present values have a type; any value is a String. Integers do not
    /// count as Fractional in AWS's analyzer, but do with [`RuleSet::Mlops`].
    pub fn matching(&self, expected: InferredType, rules: RuleSet) -> u64 {
        match (expected, rules) {
            (InferredType::Integral, _) => self.integral,
            (InferredType::Fractional, RuleSet::Aws) => self.fractional,
            (InferredType::Fractional, RuleSet::Mlops) => self.integral + self.fractional,
            (InferredType::String | InferredType::Unknown, _) => self.present(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let fractional = |rules| counts(5, 1, 0, 1).matching(InferredType::Fractional, rules);
        assert_eq!(fractional(RuleSet::Aws), 1);
        assert_eq!(fractional(RuleSet::Mlops), 6);
    }
}

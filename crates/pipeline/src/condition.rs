//! The conditions of a Condition step.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::expression::{ExpressionError, Scope, evaluate};

/// One condition; its values are expressions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "Type")]
#[expect(missing_docs, reason = "named as in the format")]
pub enum Condition {
    #[serde(rename_all = "PascalCase")]
    Equals {
        left_value: Value,
        right_value: Value,
    },
    #[serde(rename_all = "PascalCase")]
    NotEquals {
        left_value: Value,
        right_value: Value,
    },
    #[serde(rename_all = "PascalCase")]
    GreaterThan {
        left_value: Value,
        right_value: Value,
    },
    #[serde(rename_all = "PascalCase")]
    GreaterThanOrEqualTo {
        left_value: Value,
        right_value: Value,
    },
    #[serde(rename_all = "PascalCase")]
    LessThan {
        left_value: Value,
        right_value: Value,
    },
    #[serde(rename_all = "PascalCase")]
    LessThanOrEqualTo {
        left_value: Value,
        right_value: Value,
    },
    #[serde(rename_all = "PascalCase")]
    In {
        #[serde(alias = "Value")]
        query_value: Value,
        #[serde(alias = "In")]
        values: Vec<Value>,
    },
    #[serde(rename_all = "PascalCase")]
    NotIn {
        #[serde(alias = "Value")]
        query_value: Value,
        #[serde(alias = "In")]
        values: Vec<Value>,
    },
    #[serde(rename_all = "PascalCase")]
    Not { condition: Box<Condition> },
    #[serde(rename_all = "PascalCase")]
    Or { conditions: Vec<Condition> },
}

impl Condition {
    /// Returns whether the condition is true. Fails if its values cannot be compared.
    pub fn holds(&self, scope: &dyn Scope) -> Result<bool, ExpressionError> {
        let order = |left: &Value, right: &Value, wanted: fn(Ordering) -> bool| {
            let (left, right) = (evaluate(left, scope)?, evaluate(right, scope)?);
            match (whole(&left), whole(&right), number(&left), number(&right)) {
                // As doubles, integers beyond 2^53 would equal their neighbors.
                (Some(a), Some(b), ..) => Ok(wanted(a.cmp(&b))),
                (_, _, Some(a), Some(b)) => Ok(a.partial_cmp(&b).is_some_and(wanted)),
                _ => Err(ExpressionError(format!(
                    "{left} and {right} cannot be ordered: both must be numbers"
                ))),
            }
        };
        let equals = |left: &Value, right: &Value| {
            Ok(equal(&evaluate(left, scope)?, &evaluate(right, scope)?))
        };
        let within = |query: &Value, values: &[Value]| {
            let query = evaluate(query, scope)?;
            for value in values {
                if equal(&query, &evaluate(value, scope)?) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        match self {
            Self::Equals {
                left_value,
                right_value,
            } => equals(left_value, right_value),
            Self::NotEquals {
                left_value,
                right_value,
            } => equals(left_value, right_value).map(|equal| !equal),
            Self::GreaterThan {
                left_value,
                right_value,
            } => order(left_value, right_value, Ordering::is_gt),
            Self::GreaterThanOrEqualTo {
                left_value,
                right_value,
            } => order(left_value, right_value, Ordering::is_ge),
            Self::LessThan {
                left_value,
                right_value,
            } => order(left_value, right_value, Ordering::is_lt),
            Self::LessThanOrEqualTo {
                left_value,
                right_value,
            } => order(left_value, right_value, Ordering::is_le),
            Self::In {
                query_value,
                values,
            } => within(query_value, values),
            Self::NotIn {
                query_value,
                values,
            } => within(query_value, values).map(|within| !within),
            Self::Not { condition } => Ok(!condition.holds(scope)?),
            Self::Or { conditions } => {
                for condition in conditions {
                    if condition.holds(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

/// Returns whether all conditions are true: a Condition step's outcome.
pub fn holds(conditions: &[Condition], scope: &dyn Scope) -> Result<bool, ExpressionError> {
    for condition in conditions {
        if !condition.holds(scope)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An integer, exactly as written.
fn whole(value: &Value) -> Option<i128> {
    let signed = value.as_i64().map(i128::from);
    signed.or_else(|| value.as_u64().map(i128::from))
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

#[expect(
    clippy::float_cmp,
    reason = "Equals compares as written: 1 and 1.0 are equal"
)]
fn equal(left: &Value, right: &Value) -> bool {
    match (whole(left), whole(right), number(left), number(right)) {
        (Some(left), Some(right), ..) => left == right,
        (_, _, Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::expression::tests::Fixed;
    use super::*;

    fn outcome(condition: Value) -> Result<bool, ExpressionError> {
        Condition::deserialize(condition).unwrap().holds(&Fixed)
    }

    #[expect(clippy::needless_pass_by_value, reason = "json!() is passed")]
    fn pair(kind: &str, left: Value, right: Value) -> Result<bool, ExpressionError> {
        outcome(json!({"Type": kind, "LeftValue": left, "RightValue": right}))
    }

    #[test]
    fn numbers_are_ordered() {
        for (kind, less, same, more) in [
            ("LessThan", true, false, false),
            ("LessThanOrEqualTo", true, true, false),
            ("GreaterThan", false, false, true),
            ("GreaterThanOrEqualTo", false, true, true),
            ("Equals", false, true, false),
        ] {
            let max = json!({"Get": "Parameters.Max"});
            assert_eq!(pair(kind, json!(6), max.clone()), Ok(less), "{kind}");
            assert_eq!(pair(kind, json!(6.5), max.clone()), Ok(same), "{kind}");
            assert_eq!(pair(kind, json!(7), max), Ok(more), "{kind}");
        }
        assert_eq!(pair("Equals", json!(1), json!(1.0)), Ok(true));
        assert_eq!(pair("Equals", json!("1"), json!(1)), Ok(false));
        let error = pair("LessThan", json!("NaN"), json!(1)).unwrap_err();
        assert!(error.0.contains("cannot be ordered"), "{error}");
    }

    #[test]
    fn conditions_combine() {
        let equals = |right: &str| json!({"Type": "Equals", "LeftValue": "a", "RightValue": right});
        assert_eq!(
            outcome(json!({"Type": "Not", "Condition": equals("b")})),
            Ok(true)
        );
        let or = json!({"Type": "Or", "Conditions": [equals("b"), equals("a")]});
        assert_eq!(outcome(or), Ok(true));
        let within = |values: Value| json!({"Type": "In", "QueryValue": "a", "Values": values});
        assert_eq!(outcome(within(json!(["b", "a"]))), Ok(true));
        assert_eq!(outcome(within(json!(["b"]))), Ok(false));
        // The published schema's names for the same members, and two conditions that only the
        // schema has.
        let not_in = |values: Value| json!({"Type": "NotIn", "Value": "a", "In": values});
        assert_eq!(outcome(not_in(json!(["b", "a"]))), Ok(false));
        assert_eq!(outcome(not_in(json!([]))), Ok(true));
        assert_eq!(pair("NotEquals", json!(1), json!(1.0)), Ok(false));
        assert_eq!(pair("NotEquals", json!(1), json!("1")), Ok(true));
        let both: Vec<Condition> =
            serde_json::from_value(json!([equals("a"), equals("b")])).unwrap();
        assert_eq!(holds(&both, &Fixed), Ok(false));
    }

    #[test]
    fn an_unknown_type_is_refused() {
        assert!(Condition::deserialize(json!({"Type": "Matches", "LeftValue": 1})).is_err());
    }
}

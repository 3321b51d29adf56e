//! Suggests constraints on metrics, and checks metrics against constraints.

use serde_json::{Map, Value, json};

use super::super::rule_set::RuleSet;
use super::super::violations::{Violation, Violations};
use super::{
    ComparisonOperator, Problem, QualityConstraint, QualityConstraints, QualityStatistics, finite,
    java,
};
use ComparisonOperator::{GreaterThanThreshold, LessThanThreshold};

/// A metric with a suggested constraint: its name in files, its name in violations, and its operator.
struct Limit {
    metric: &'static str,
    name: &'static str,
    operator: ComparisonOperator,
}

const fn limit(metric: &'static str, name: &'static str, operator: ComparisonOperator) -> Limit {
    Limit {
        metric,
        name,
        operator,
    }
}

/// In the order of AWS's constraints.json.
const REGRESSION: &[Limit] = &[
    limit("mae", "mae", GreaterThanThreshold),
    limit("mse", "mse", GreaterThanThreshold),
    limit("rmse", "rmse", GreaterThanThreshold),
    limit("r2", "r2", LessThanThreshold),
];
const BINARY: &[Limit] = &[
    limit("recall", "recall", LessThanThreshold),
    limit("precision", "precision", LessThanThreshold),
    limit("accuracy", "accuracy", LessThanThreshold),
    limit("true_positive_rate", "truePositiveRate", LessThanThreshold),
    limit("true_negative_rate", "trueNegativeRate", LessThanThreshold),
    limit(
        "false_positive_rate",
        "falsePositiveRate",
        GreaterThanThreshold,
    ),
    limit(
        "false_negative_rate",
        "falseNegativeRate",
        GreaterThanThreshold,
    ),
    limit("auc", "auc", LessThanThreshold),
    limit(F0_5, F0_5, LessThanThreshold),
    limit("f1", "f1", LessThanThreshold),
    limit("f2", "f2", LessThanThreshold),
];
const MULTICLASS: &[Limit] = &[
    limit("accuracy", "accuracy", LessThanThreshold),
    limit("weighted_recall", "weightedRecall", LessThanThreshold),
    limit("weighted_precision", "weightedPrecision", LessThanThreshold),
    limit("weighted_f0_5", "weightedF0_5", LessThanThreshold),
    limit("weighted_f1", "weightedF1", LessThanThreshold),
    limit("weighted_f2", "weightedF2", LessThanThreshold),
];

/// The metric that AWS suggests a constraint for and never checks: not even 0.0 below 0.648855 is a
/// violation (binary-no-probability).
const F0_5: &str = "f0_5";

/// The order of violations by their names. It is that of a hash map of Scala 2.12, by which AWS's four
/// known files of binary classifications are sorted; the other two are computed by the same function.
/// unverified against AWS [violation-names]: the names and the order of a multiclass classification.
const BINARY_ORDER: &[&str] = &[
    "auc",
    "precision",
    "truePositiveRate",
    "f1",
    "accuracy",
    "falsePositiveRate",
    F0_5,
    "trueNegativeRate",
    "falseNegativeRate",
    "recall",
    "f2",
];
const MULTICLASS_ORDER: &[&str] = &[
    "weightedF2",
    "weightedF0_5",
    "accuracy",
    "weightedRecall",
    "weightedPrecision",
    "weightedF1",
];
const REGRESSION_ORDER: &[&str] = &["mae", "mse", "rmse", "r2"];

impl Problem {
    fn limits(self) -> &'static [Limit] {
        match self {
            Self::Regression => REGRESSION,
            Self::BinaryClassification => BINARY,
            Self::MulticlassClassification => MULTICLASS,
        }
    }

    fn order(self) -> &'static [&'static str] {
        match self {
            Self::Regression => REGRESSION_ORDER,
            Self::BinaryClassification => BINARY_ORDER,
            Self::MulticlassClassification => MULTICLASS_ORDER,
        }
    }
}

impl QualityConstraints {
    /// Suggests the metrics of a baseline as thresholds, with AWS's operators and in AWS's order. A
    /// metric that is not a number gets the threshold null, which is never exceeded
    /// (binary-maintenance); a metric that was not computed gets no constraint.
    pub fn suggest(statistics: &QualityStatistics) -> Self {
        let mut suggested = Self::default();
        let Some((problem, metrics)) = statistics.metrics() else {
            return suggested;
        };
        let mut constraints = Map::new();
        for limit in problem.limits() {
            if metrics.contains_key(limit.metric) {
                let threshold = statistics
                    .metric(limit.metric)
                    .map_or(f64::NAN, |metric| metric.value);
                let constraint = json!({
                    "threshold": finite(threshold),
                    "comparison_operator": limit.operator,
                });
                constraints.insert(limit.metric.to_owned(), constraint);
            }
        }
        *suggested.of_mut(problem) = Some(constraints);
        suggested
    }
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checked {
    /// The violations, as AWS writes them.
    pub violations: Violations,
    /// The metrics of the violations, by their names in the statistics.
    pub violated: Vec<String>,
    /// Constraints that could not be checked: the metric was not computed, or is not a number.
    pub unchecked: Vec<String>,
}

/// Checks metrics against constraints.
///
/// A violation is a metric less or greater than its threshold, without a tolerance, by AWS's texts and
/// in AWS's order; constraints on other metrics follow in the order of the file. An infinite metric is
/// greater or less than any threshold. With AWS's rules
/// `f0_5` is never a violation; with [`RuleSet::Mlops`] it is checked, too. A threshold of null is
/// never exceeded.
///
/// # Errors
/// A constraint that cannot be parsed, or constraints of another type of model.
pub fn check(
    statistics: &QualityStatistics,
    constraints: &QualityConstraints,
    rules: RuleSet,
) -> Result<Checked, String> {
    let mut checked = Checked::default();
    let Some((problem, _)) = statistics.metrics() else {
        return Ok(checked);
    };
    let limits = constraints
        .of(problem)
        .ok_or_else(|| format!("the constraints have no {}_constraints", problem.prefix()))?;
    let mut found: Vec<(usize, Violation)> = Vec::new();
    for (metric, value) in limits {
        let constraint: QualityConstraint = serde_json::from_value(value.clone())
            .map_err(|error| format!("the constraint of `{metric}`: {error}"))?;
        let is_ignored =
            metric == F0_5 && problem == Problem::BinaryClassification && rules == RuleSet::Aws;
        if is_ignored || constraint.threshold.is_nan() {
            continue;
        }
        let current = statistics
            .metric(metric)
            .filter(|metric| !metric.value.is_nan());
        let Some(current) = current else {
            checked.unchecked.push(metric.clone());
            continue;
        };
        let is_violation = match constraint.comparison_operator {
            LessThanThreshold => current.value < constraint.threshold,
            GreaterThanThreshold => current.value > constraint.threshold,
        };
        if !is_violation {
            continue;
        }
        checked.violated.push(metric.clone());
        let known = problem.limits().iter().find(|limit| limit.metric == metric);
        let name = known.map_or(metric.as_str(), |limit| limit.name);
        let order = problem.order();
        let place = order
            .iter()
            .position(|known| *known == name)
            .unwrap_or(order.len());
        found.push((
            place,
            violation(name, current.value, current.standard_deviation, &constraint),
        ));
    }
    found.sort_by_key(|(place, _)| *place);
    checked.violations.violations = found.into_iter().map(|(_, violation)| violation).collect();
    Ok(checked)
}

fn violation(name: &str, value: f64, deviation: f64, constraint: &QualityConstraint) -> Violation {
    let operator = match constraint.comparison_operator {
        LessThanThreshold => "LessThanThreshold",
        GreaterThanThreshold => "GreaterThanThreshold",
    };
    let deviation = if deviation.is_nan() {
        String::new()
    } else {
        format!(" +/- {}", java::double(deviation))
    };
    Violation {
        metric_name: Some(name.to_owned()),
        constraint_check_type: operator.to_owned(),
        description: format!(
            "Metric {name} with {}{deviation} was {operator} '{}'",
            java::double(value),
            java::double(constraint.threshold)
        ),
        ..Violation::default()
    }
}

/// The members of a file by the type of the model.
impl QualityConstraints {
    /// Checks that the file has constraints of this type of model, and that each can be parsed.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn fit(&self, problem: Problem) -> Result<(), String> {
        let limits = self.of(problem);
        let limits =
            limits.ok_or_else(|| format!("there are no {}_constraints", problem.prefix()))?;
        for (metric, value) in limits {
            let _: QualityConstraint = serde_json::from_value(value.clone())
                .map_err(|error| format!("the constraint of `{metric}`: {error}"))?;
        }
        Ok(())
    }

    /// The constraints of a type of model.
    pub fn of(&self, problem: Problem) -> Option<&Map<String, Value>> {
        match problem {
            Problem::Regression => self.regression_constraints.as_ref(),
            Problem::BinaryClassification => self.binary_classification_constraints.as_ref(),
            Problem::MulticlassClassification => {
                self.multiclass_classification_constraints.as_ref()
            }
        }
    }

    fn of_mut(&mut self, problem: Problem) -> &mut Option<Map<String, Value>> {
        match problem {
            Problem::Regression => &mut self.regression_constraints,
            Problem::BinaryClassification => &mut self.binary_classification_constraints,
            Problem::MulticlassClassification => &mut self.multiclass_classification_constraints,
        }
    }
}

//! `constraints.json`: the requirements on a data set, and how to suggest them from statistics.
//!
//! Parsed leniently (both spellings of `monitoringConfigOverrides`; missing members have defaults and
//! unknown ones are kept), written as AWS's analyzer does. `datatype_check_threshold` and
//! `domain_content_threshold` are required shares, as the text of AWS's violations implies
//! ("Expected match: 100.0%" for 1.0), although the documentation reads as if they were tolerances.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::categories::MAX_CATEGORIES;
use super::rule_set::{self, RuleSet};
use super::statistics::{FeatureStatistics, Statistics};
use super::types::InferredType;

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constraints {
    /// Always 0.0.
    #[serde(default)]
    pub version: f64,
    /// One entry per column, in the order of the data.
    pub features: Vec<FeatureConstraints>,
    /// How the checks are performed.
    #[serde(default)]
    pub monitoring_config: MonitoringConfig,
    /// Unknown members, and [`opt_in::KEY`](super::opt_in::KEY).
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// The requirements on one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureConstraints {
    /// The column.
    pub name: String,
    /// Its type.
    pub inferred_type: InferredType,
    /// Minimum share of rows that have a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness: Option<f64>,
    /// Constraints of a numeric column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_constraints: Option<NumConstraints>,
    /// Constraints of a categorical column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_constraints: Option<StringConstraints>,
    /// Overrides of `monitoring_config` for this column.
    #[serde(
        default,
        rename = "monitoringConfigOverrides",
        alias = "monitoring_config_overrides",
        skip_serializing_if = "Option::is_none"
    )]
    pub overrides: Option<MonitoringConfig>,
    /// Unknown members, and [`opt_in::KEY`](super::opt_in::KEY).
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// Constraints of a numeric column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumConstraints {
    /// Whether values below 0 are violations.
    #[serde(default)]
    pub is_non_negative: bool,
}

/// Constraints of a categorical column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StringConstraints {
    /// The allowed categories.
    #[serde(default)]
    pub domains: Vec<String>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    /// On.
    #[serde(alias = "enabled")]
    Enabled,
    /// Off.
    #[serde(alias = "disabled")]
    Disabled,
}

/// How distances of numbers are corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ComparisonMethod {
    /// The maximum difference of the two cumulative distributions.
    #[serde(alias = "linf_simple")]
    Simple,
    /// The same, minus what chance explains for samples of these sizes.
    #[serde(alias = "linf_robust")]
    Robust,
}

/// How distances of categories are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CategoricalMethod {
    /// The maximum difference of a category's share.
    LInfinity,
    /// The chi-squared test.
    ChiSquared,
}

/// How to perform the checks; missing settings have AWS's defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MonitoringConfig {
    /// Whether constraints are checked at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate_constraints: Option<Switch>,
    /// Whether metrics are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emit_metrics: Option<Switch>,
    /// Minimum share of values that must have the column's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datatype_check_threshold: Option<f64>,
    /// Minimum share of values that must be one of the column's categories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_content_threshold: Option<f64>,
    /// How drift is detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution_constraints: Option<DistributionConstraints>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// How drift is detected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DistributionConstraints {
    /// Whether distributions are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perform_comparison: Option<Switch>,
    /// Maximum distance of numbers; a greater one is drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison_threshold: Option<f64>,
    /// How distances are corrected.
    #[serde(
        default,
        alias = "comparion_method",
        skip_serializing_if = "Option::is_none"
    )]
    pub comparison_method: Option<ComparisonMethod>,
    /// Maximum distance of categories; a greater one is drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categorical_comparison_threshold: Option<f64>,
    /// How distances of categories are measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub categorical_drift_method: Option<CategoricalMethod>,
    /// Unknown members, kept.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// The rules of one column, with all defaults resolved.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(
    missing_docs,
    reason = "the members of MonitoringConfig, with AWS's defaults"
)]
pub struct Rules {
    pub set: RuleSet,
    pub evaluate: bool,
    pub emit_metrics: bool,
    pub datatype_threshold: f64,
    pub domain_threshold: f64,
    pub compare: bool,
    pub threshold: f64,
    pub method: ComparisonMethod,
    pub categorical_threshold: f64,
    pub categorical_method: CategoricalMethod,
}

impl Constraints {
    /// The columns by name.
    pub fn by_name(&self) -> HashMap<&str, &FeatureConstraints> {
        self.features
            .iter()
            .map(|feature| (feature.name.as_str(), feature))
            .collect()
    }

    /// Returns the rules of a column. A column without its own constraints uses the general
    /// rules.
    pub fn rules(&self, column: &str) -> Rules {
        let feature = self.features.iter().find(|feature| feature.name == column);
        self.rules_of(feature)
    }

    /// Returns the rules of a column with these constraints, or the general rules.
    ///
    /// A column's own members override the general ones, member by member. Only the threshold of
    /// categories is resolved level by level: `categorical_comparison_threshold`, or without it
    /// `comparison_threshold`, of the column; then those of `monitoring_config`.
    pub fn rules_of(&self, feature: Option<&FeatureConstraints>) -> Rules {
        let own = feature.and_then(|feature| feature.overrides.as_ref());
        let layers = [own, Some(&self.monitoring_config)];
        let layers = || layers.iter().copied().flatten();
        let distributions = || layers().filter_map(|layer| layer.distribution_constraints.as_ref());
        let on = |switch: Option<Switch>| switch != Some(Switch::Disabled);
        let threshold = |layer: &DistributionConstraints| layer.comparison_threshold;
        Rules {
            set: self.rule_set().unwrap_or_default(),
            evaluate: on(layers().find_map(|layer| layer.evaluate_constraints)),
            emit_metrics: on(layers().find_map(|layer| layer.emit_metrics)),
            datatype_threshold: layers()
                .find_map(|layer| layer.datatype_check_threshold)
                .unwrap_or(1.0),
            domain_threshold: layers()
                .find_map(|layer| layer.domain_content_threshold)
                .unwrap_or(1.0),
            compare: on(distributions().find_map(|layer| layer.perform_comparison)),
            threshold: distributions().find_map(threshold).unwrap_or(0.1),
            method: distributions()
                .find_map(|layer| layer.comparison_method)
                .unwrap_or(ComparisonMethod::Robust),
            categorical_threshold: distributions()
                .find_map(|layer| {
                    layer
                        .categorical_comparison_threshold
                        .or_else(|| threshold(layer))
                })
                .unwrap_or(0.1),
            categorical_method: distributions()
                .find_map(|layer| layer.categorical_drift_method)
                .unwrap_or(CategoricalMethod::LInfinity),
        }
    }

    /// Returns the rule set that these constraints select, if any.
    pub fn rule_set(&self) -> Option<RuleSet> {
        let set = self.others.get(rule_set::KEY)?.get(rule_set::RULES)?;
        serde_json::from_value(set.clone()).ok()
    }

    /// Selects a rule set.
    pub fn set_rules(&mut self, rules: RuleSet) {
        let own = self.others.entry(rule_set::KEY).or_insert(Value::Null);
        if !own.is_object() {
            *own = Value::Object(Map::new());
        }
        own[rule_set::RULES] = serde_json::json!(rules);
    }

    /// Suggests constraints that this data satisfies, as AWS's analyzer does.
    pub fn suggest(statistics: &Statistics) -> Self {
        Self::suggest_by(statistics, RuleSet::Aws)
    }

    /// Suggests constraints that this data satisfies, by Deequ's rules: the inferred type;
    /// non-negative if no value is below 0; a domain if at most 120 categories occur and at most a
    /// tenth of them once; and the observed completeness, as in AWS's analyzer, or with
    /// [`RuleSet::Mlops`] its lower 95 % bound, rounded down to two digits (`RetainCompletenessRule`).
    pub fn suggest_by(statistics: &Statistics, rules: RuleSet) -> Self {
        let features = statistics.features.iter();
        Self {
            version: 0.0,
            features: features.map(|feature| suggest(feature, rules)).collect(),
            monitoring_config: MonitoringConfig {
                evaluate_constraints: Some(Switch::Enabled),
                emit_metrics: Some(Switch::Enabled),
                datatype_check_threshold: Some(1.0),
                domain_content_threshold: Some(1.0),
                distribution_constraints: Some(DistributionConstraints {
                    perform_comparison: Some(Switch::Enabled),
                    comparison_threshold: Some(0.1),
                    comparison_method: Some(ComparisonMethod::Robust),
                    categorical_comparison_threshold: Some(0.1),
                    categorical_drift_method: Some(CategoricalMethod::LInfinity),
                    others: Map::new(),
                }),
                others: Map::new(),
            },
            others: Map::new(),
        }
    }
}

fn suggest(feature: &FeatureStatistics, rules: RuleSet) -> FeatureConstraints {
    let numbers = feature
        .numerical_statistics
        .as_ref()
        .filter(|_| feature.inferred_type.is_numeric());
    FeatureConstraints {
        name: feature.name.clone(),
        inferred_type: feature.inferred_type,
        completeness: feature.common().map(|common| {
            let rows = common.num_present + common.num_missing;
            match rules {
                RuleSet::Aws => common.completeness(),
                RuleSet::Mlops => lower_bound(common.completeness(), rows),
            }
        }),
        num_constraints: numbers.map(|numbers| NumConstraints {
            is_non_negative: numbers.min >= 0.0,
        }),
        string_constraints: domain(feature).map(|domains| StringConstraints { domains }),
        overrides: None,
        others: Map::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn lower_bound(share: f64, rows: u64) -> f64 {
    if share >= 1.0 {
        return 1.0;
    }
    let bound = share - 1.96 * (share * (1.0 - share) / rows as f64).sqrt();
    ((bound * 100.0).floor() / 100.0).max(0.0)
}

fn domain(feature: &FeatureStatistics) -> Option<Vec<String>> {
    let categories = feature.categories();
    let once = categories.iter().filter(|c| c.count == 1).count();
    let fits = (1..=MAX_CATEGORIES).contains(&categories.len()) && once * 10 <= categories.len();
    fits.then(|| categories.iter().map(|c| c.value.clone()).collect())
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the values are exact")]
mod tests {
    use super::*;

    #[test]
    fn overrides_take_precedence_over_general_rules() {
        let constraints: Constraints = serde_json::from_str(
            r#"{"version":0.0,"features":[
                {"name":"a","inferred_type":"Integral","completeness":1.0,
                 "monitoring_config_overrides":{"datatype_check_threshold":0.5,
                   "distribution_constraints":{"comparison_threshold":0.4}}},
                {"name":"b","inferred_type":"String","note":"kept"}],
               "monitoring_config":{"datatype_check_threshold":0.9,
                 "distribution_constraints":{"comparison_threshold":0.2,
                   "comparion_method":"linf_simple","perform_comparison":"Disabled"}}}"#,
        )
        .unwrap();
        let a = constraints.rules("a");
        assert_eq!((a.datatype_threshold, a.threshold), (0.5, 0.4));
        assert_eq!((a.method, a.compare), (ComparisonMethod::Simple, false));
        let b = constraints.rules("b");
        assert_eq!((b.datatype_threshold, b.threshold), (0.9, 0.2));
        assert_eq!(b.categorical_threshold, 0.2);
        assert_eq!(b.domain_threshold, 1.0);
        let written = serde_json::to_value(&constraints).unwrap();
        assert!(written["features"][0]["monitoringConfigOverrides"].is_object());
        assert_eq!(written["features"][1]["note"], "kept");
    }

    #[test]
    fn a_columns_own_threshold_applies_to_its_categories() {
        let constraints: Constraints = serde_json::from_str(
            r#"{"features":[{"name":"s","inferred_type":"String","monitoringConfigOverrides":
                {"emit_metrics":"Disabled","distribution_constraints":{"comparison_threshold":0.4}}}],
               "monitoring_config":{"distribution_constraints":
                {"comparison_threshold":0.1,"categorical_comparison_threshold":0.2}}}"#,
        )
        .unwrap();
        let (own, general) = (constraints.rules("s"), constraints.rules_of(None));
        assert_eq!(own.categorical_threshold, 0.4);
        assert!(!own.emit_metrics && own.evaluate);
        assert_eq!(general.categorical_threshold, 0.2);
        assert!(general.emit_metrics);
    }

    #[test]
    fn incomplete_columns_get_their_share_or_deequs_lower_bound() {
        assert_eq!(lower_bound(1.0, 50), 1.0);
        // 0.95 - 1.96 * sqrt(0.95 * 0.05 / 1000) = 0.9365
        assert_eq!(lower_bound(0.95, 1000), 0.93);
        assert_eq!(lower_bound(0.0, 1000), 0.0);
        let feature: FeatureStatistics = serde_json::from_str(
            r#"{"name":"a","inferred_type":"String","string_statistics":
                {"common":{"num_present":3895,"num_missing":4},"distinct_count":3895.0}}"#,
        )
        .unwrap();
        assert_eq!(
            suggest(&feature, RuleSet::Aws).completeness,
            Some(3895.0 / 3899.0)
        );
        assert_eq!(suggest(&feature, RuleSet::Mlops).completeness, Some(0.99));
    }

    #[test]
    fn the_rules_are_a_member_of_the_file() {
        let mut constraints: Constraints =
            serde_json::from_str(r#"{"features":[],"mlops_constraints":{"row_count":{"min":1}}}"#)
                .unwrap();
        assert_eq!(constraints.rule_set(), None);
        assert_eq!(constraints.rules_of(None).set, RuleSet::Aws);
        constraints.set_rules(RuleSet::Mlops);
        assert_eq!(constraints.rules_of(None).set, RuleSet::Mlops);
        assert!(constraints.understood().is_ok());
        let own = &constraints.others["mlops_constraints"];
        assert_eq!(
            *own,
            serde_json::json!({"row_count": {"min": 1}, "rules": "mlops"})
        );
        for wrong in ["\"deequ\"", "\"Disabled\"", "7"] {
            let text = format!(r#"{{"features":[],"mlops_constraints":{{"rules":{wrong}}}}}"#);
            let constraints: Constraints = serde_json::from_str(&text).unwrap();
            let error = constraints.understood().unwrap_err();
            assert!(error.starts_with("mlops_constraints: rules: "), "{error}");
        }
    }
}

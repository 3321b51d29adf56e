//! Opt-in checks beyond AWS's: the key `mlops_constraints` in `constraints.json`, next to AWS's own
//! members at the top level and in each feature. Readers that ignore unknown keys can still read
//! the file. `--suggest` never writes it.
//!
//! An unknown key, a value out of range or an invalid regular expression is an error that names the
//! column and the key: a check that is silently skipped is worse than none.

use jiff::{SignedDuration, Span, SpanRelativeTo};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::constraints::{Constraints, FeatureConstraints};
use super::rule_set::RuleSet;
pub use super::rule_set::{KEY, RULES};

mod evaluate;

pub(super) use evaluate::{Column, feature, row_count};

/// Checks of the whole data set, and defaults for its columns.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DatasetChecks {
    /// The allowed number of rows.
    pub row_count: Option<RowCount>,
    /// Defaults for every column that has a distribution.
    pub drift: DriftChecks,
}

/// The allowed number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCount {
    /// Minimum number of rows.
    pub min: Option<u64>,
    /// Maximum number of rows.
    pub max: Option<u64>,
    /// Minimum as a multiple of the baseline's rows.
    pub min_ratio: Option<f64>,
    /// Maximum as a multiple of the baseline's rows.
    pub max_ratio: Option<f64>,
}

/// Limits on the distances between the baseline's distribution and the current one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DriftChecks {
    /// The population stability index.
    pub psi: Option<Psi>,
    /// The Wasserstein distance.
    pub wasserstein: Option<Wasserstein>,
    /// The Kolmogorov-Smirnov test.
    pub kolmogorov_smirnov: Option<KolmogorovSmirnov>,
}

/// The limit of the population stability index.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Psi {
    /// The threshold: a greater index is drift; 0.1 and 0.2 are common.
    pub threshold: f64,
    /// Number of ranges, each with the same share of the baseline.
    #[serde(default = "ten")]
    pub bins: u32,
}

/// The limit of the Wasserstein distance.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wasserstein {
    /// The threshold: a greater distance is drift; in the column's unit, or in standard deviations.
    pub threshold: f64,
    /// Whether the distance is divided by the baseline's standard deviation.
    #[serde(default)]
    pub normalize: bool,
}

/// The limit of the Kolmogorov-Smirnov test's p-value.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KolmogorovSmirnov {
    /// The threshold: a smaller p-value is drift.
    pub min_p_value: f64,
}

/// The checks of one column.
#[derive(Debug, Clone, Default)]
pub struct FeatureChecks {
    /// Distances from the baseline, including the data set's defaults.
    pub drift: DriftChecks,
    /// The distances that the column itself requests. If one of them cannot be measured, that is an
    /// error; a default is skipped.
    own: [bool; 3],
    /// Minimum share of distinct values among the present ones.
    pub uniqueness: Option<f64>,
    /// The allowed range of numbers.
    pub range: Option<Range>,
    /// The regular expression that values must match.
    pub pattern: Option<Pattern>,
    /// Maximum age of the newest time.
    pub freshness: Option<SignedDuration>,
}

/// The range of numbers, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The minimum.
    pub min: Option<f64>,
    /// The maximum.
    pub max: Option<f64>,
}

/// A regular expression that values match.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Matches anywhere in a value: use `^…$` to match the whole value.
    pub regex: Regex,
    /// Minimum share of present values that match.
    pub min_match: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Uniqueness {
    min: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternText {
    regex: String,
    #[serde(default = "one")]
    min_match: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Freshness {
    max_age: String,
}

fn ten() -> u32 {
    10
}

fn one() -> f64 {
    1.0
}

impl DatasetChecks {
    /// Parses the opt-in checks of a data set.
    ///
    /// # Errors
    /// An unknown key, or an invalid value.
    pub fn of(constraints: &Constraints) -> Result<Self, String> {
        let mut found = Self::default();
        let mut members = members(constraints.others.get(KEY)).map_err(|text| at("", &text))?;
        found.row_count = member(&mut members, "row_count", |rows: &RowCount| {
            if [rows.min_ratio, rows.max_ratio]
                .into_iter()
                .flatten()
                .any(f64::is_sign_negative)
            {
                return Err("a ratio must be at least 0".to_owned());
            }
            if rows.min.zip(rows.max).is_some_and(|(min, max)| min > max)
                || rows
                    .min_ratio
                    .zip(rows.max_ratio)
                    .is_some_and(|(min, max)| min > max)
            {
                return Err("the minimum is above the maximum".to_owned());
            }
            Ok(())
        })
        .map_err(|text| at("", &text))?
        .alone();
        found.drift = drift(&mut members)
            .map(|own| own.over(DriftChecks::default()))
            .map_err(|text| at("", &text))?;
        if let Some(rules) = members.remove(RULES) {
            serde_json::from_value::<RuleSet>(rules)
                .map_err(|error| at("", &format!("{RULES}: {error}")))?;
        }
        nothing_left(
            &members,
            "row_count, psi, wasserstein, kolmogorov_smirnov, rules",
        )
        .map_err(|text| at("", &text))?;
        Ok(found)
    }
}

impl FeatureChecks {
    /// Parses the opt-in checks of one column.
    ///
    /// # Errors
    /// An unknown key, or an invalid value.
    pub fn of(feature: &FeatureConstraints, defaults: &DatasetChecks) -> Result<Self, String> {
        Self::parse(feature.others.get(KEY), defaults).map_err(|text| at(&feature.name, &text))
    }

    /// Returns whether a pass over the values is needed (see [`super::watch::Watch`]).
    pub fn needs_values(&self) -> bool {
        self.pattern.is_some() || self.freshness.is_some()
    }

    fn parse(value: Option<&Value>, defaults: &DatasetChecks) -> Result<Self, String> {
        let mut members = members(value)?;
        let own = drift(&mut members)?;
        let share = |share: f64| {
            if (0.0..=1.0).contains(&share) {
                Ok(())
            } else {
                Err("a share must be between 0 and 1".to_owned())
            }
        };
        let checks = Self {
            own: own.wanted(),
            drift: own.over(defaults.drift),
            uniqueness: member(&mut members, "uniqueness", |u: &Uniqueness| share(u.min))?
                .alone()
                .map(|uniqueness| uniqueness.min),
            range: member(&mut members, "range", |range: &Range| {
                match (range.min, range.max) {
                    (None, None) => Err("set `min`, `max` or both".to_owned()),
                    (Some(min), Some(max)) if min > max => {
                        Err("the minimum is above the maximum".to_owned())
                    }
                    _ => Ok(()),
                }
            })?
            .alone(),
            pattern: member(&mut members, "pattern", |p: &PatternText| {
                share(p.min_match)
            })?
            .alone()
            .map(|text| {
                Ok::<_, String>(Pattern {
                    regex: Regex::new(&text.regex).map_err(|error| format!("pattern: {error}"))?,
                    min_match: text.min_match,
                })
            })
            .transpose()?,
            freshness: member(&mut members, "freshness", |_: &Freshness| Ok(()))?
                .alone()
                .map(|freshness| age(&freshness.max_age))
                .transpose()?,
        };
        nothing_left(
            &members,
            "psi, wasserstein, kolmogorov_smirnov, uniqueness, range, pattern, freshness",
        )?;
        Ok(checks)
    }
}

/// The setting of a check on one level.
enum Said<T> {
    Nothing,
    Disabled,
    This(T),
}

impl<T> Said<T> {
    /// Returns the check, if no other level applies.
    fn alone(self) -> Option<T> {
        self.over(None)
    }

    /// Returns the check, if another level applies by default.
    fn over(self, other: Option<T>) -> Option<T> {
        match self {
            Self::Nothing => other,
            Self::Disabled => None,
            Self::This(check) => Some(check),
        }
    }

    fn is_wanted(&self) -> bool {
        matches!(self, Self::This(_))
    }
}

/// The setting of each distance on one level.
struct OwnDrift {
    psi: Said<Psi>,
    wasserstein: Said<Wasserstein>,
    kolmogorov_smirnov: Said<KolmogorovSmirnov>,
}

impl OwnDrift {
    fn over(self, defaults: DriftChecks) -> DriftChecks {
        DriftChecks {
            psi: self.psi.over(defaults.psi),
            wasserstein: self.wasserstein.over(defaults.wasserstein),
            kolmogorov_smirnov: self.kolmogorov_smirnov.over(defaults.kolmogorov_smirnov),
        }
    }

    fn wanted(&self) -> [bool; 3] {
        [
            self.psi.is_wanted(),
            self.wasserstein.is_wanted(),
            self.kolmogorov_smirnov.is_wanted(),
        ]
    }
}

fn drift(members: &mut Map<String, Value>) -> Result<OwnDrift, String> {
    let threshold = |threshold: f64| {
        if threshold >= 0.0 {
            Ok(())
        } else {
            Err("the threshold is below 0".to_owned())
        }
    };
    Ok(OwnDrift {
        psi: member(members, "psi", |psi: &Psi| {
            if !(2..=100).contains(&psi.bins) {
                return Err("`bins` must be between 2 and 100".to_owned());
            }
            threshold(psi.threshold)
        })?,
        wasserstein: member(members, "wasserstein", |w: &Wasserstein| {
            threshold(w.threshold)
        })?,
        kolmogorov_smirnov: member(members, "kolmogorov_smirnov", |ks: &KolmogorovSmirnov| {
            if (0.0..=1.0).contains(&ks.min_p_value) {
                Ok(())
            } else {
                Err("`min_p_value` must be between 0 and 1".to_owned())
            }
        })?,
    })
}

fn members(value: Option<&Value>) -> Result<Map<String, Value>, String> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(members)) => Ok(members.clone()),
        Some(other) => Err(format!("{other} is not an object")),
    }
}

/// Removes a member and parses it.
fn member<T: for<'de> Deserialize<'de>>(
    members: &mut Map<String, Value>,
    name: &str,
    check: impl Fn(&T) -> Result<(), String>,
) -> Result<Said<T>, String> {
    match members.remove(name) {
        None => Ok(Said::Nothing),
        Some(Value::String(text)) if text == "Disabled" => Ok(Said::Disabled),
        Some(value) => {
            let parsed: T =
                serde_json::from_value(value).map_err(|error| format!("{name}: {error}"))?;
            check(&parsed).map_err(|text| format!("{name}: {text}"))?;
            Ok(Said::This(parsed))
        }
    }
}

fn nothing_left(members: &Map<String, Value>, known: &str) -> Result<(), String> {
    match members.keys().next() {
        None => Ok(()),
        Some(name) => Err(format!("no check `{name}`; available checks: {known}")),
    }
}

/// `36h`, `2 days`, `PT90M`, `P1D`; a day has 24 hours.
fn age(text: &str) -> Result<SignedDuration, String> {
    let span: Span = text
        .parse()
        .map_err(|error| format!("freshness: max_age: {error}"))?;
    let age = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| "freshness: max_age: months and years have no fixed length".to_owned())?;
    if age.is_positive() {
        Ok(age)
    } else {
        Err("freshness: max_age: is not positive".to_owned())
    }
}

fn at(feature: &str, text: &str) -> String {
    if feature.is_empty() {
        format!("{KEY}: {text}")
    } else {
        format!("{KEY} of `{feature}`: {text}")
    }
}

impl Constraints {
    /// Checks that everything under [`KEY`] can be parsed.
    ///
    /// # Errors
    /// An unknown key, or an invalid value, with the column's name.
    pub fn understood(&self) -> Result<(), String> {
        if self.others.contains_key("dataset") {
            return Err("these are statistics, not constraints: pass \
                constraints.json instead"
                .to_owned());
        }
        let defaults = DatasetChecks::of(self)?;
        self.features
            .iter()
            .try_for_each(|feature| FeatureChecks::of(feature, &defaults).map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn constraints(top: &Value, feature: &Value) -> Constraints {
        serde_json::from_value(json!({
            "version": 0.0,
            "features": [{"name": "age", "inferred_type": "Integral", "mlops_constraints": feature}],
            "mlops_constraints": top,
        }))
        .unwrap()
    }

    #[test]
    fn defaults_apply_unless_a_column_overrides_them() {
        let top = json!({"psi": {"threshold": 0.2}, "wasserstein": {"threshold": 1.0}});
        let own = json!({"psi": "Disabled", "wasserstein": {"threshold": 3.0, "normalize": true}});
        let constraints = constraints(&top, &own);
        let defaults = DatasetChecks::of(&constraints).unwrap();
        assert_eq!(defaults.drift.psi.unwrap().bins, 10);
        let age = FeatureChecks::of(&constraints.features[0], &defaults).unwrap();
        assert_eq!(age.drift.psi, None);
        assert!(age.drift.wasserstein.unwrap().normalize);
        assert_eq!(age.own, [false, true, false]);
    }

    #[test]
    fn ages_are_read_in_both_spellings() {
        for (text, hours) in [("36h", 36), ("P1D", 24), ("2 days", 48), ("PT90M", 1)] {
            assert_eq!(age(text).unwrap().as_hours(), hours, "{text}");
        }
    }

    #[test]
    fn inconsistent_options_are_rejected_by_name() {
        let none = json!({});
        for (top, feature, message) in [
            (
                &json!({"rows": 5}),
                &none,
                "mlops_constraints: no check `rows`; available checks: row_count, psi",
            ),
            (
                &json!({"row_count": {"minimum": 5}}),
                &none,
                "mlops_constraints: row_count: unknown field `minimum`, expected one of `min`",
            ),
            (
                &json!({"row_count": {"min": 5, "max": 2}}),
                &none,
                "row_count: the minimum is above the maximum",
            ),
            (
                &none,
                &json!({"psi": {"threshold": 0.1, "bin": 5}}),
                "mlops_constraints of `age`: psi: unknown field `bin`",
            ),
            (
                &none,
                &json!({"psi": {"threshold": 0.1, "bins": 1}}),
                "psi: `bins` must be between 2 and 100",
            ),
            (
                &none,
                &json!({"uniqueness": {"min": 99}}),
                "uniqueness: a share must be between 0 and 1",
            ),
            (&none, &json!({"range": {}}), "range: set `min`, `max`"),
            (
                &none,
                &json!({"pattern": {"regex": "^(a"}}),
                "mlops_constraints of `age`: pattern: regex parse error",
            ),
            (
                &none,
                &json!({"freshness": {"max_age": "2 months"}}),
                "freshness: max_age: months and years",
            ),
            (
                &none,
                &json!({"freshness": {"max_age": "soon"}}),
                "mlops_constraints of `age`: freshness: max_age:",
            ),
            (&none, &json!(["psi"]), "is not an object"),
            (
                &none,
                &json!({"median": {}}),
                "no check `median`; available checks: psi",
            ),
        ] {
            let error = constraints(top, feature).understood().unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_parsed() {
        let text = include_str!("../../../docs/validation.md");
        let example = text.split("```json\n").nth(1).unwrap();
        let example = example.split("```").next().unwrap();
        let constraints: Constraints = serde_json::from_str(example).unwrap();
        constraints.understood().unwrap();
        let defaults = DatasetChecks::of(&constraints).unwrap();
        assert_eq!(defaults.row_count.unwrap().min, Some(1000));
        let of = |i: usize| FeatureChecks::of(&constraints.features[i], &defaults).unwrap();
        assert!(of(0).pattern.is_some() && of(0).drift.psi.is_some());
        assert!(of(1).range.is_some() && of(1).drift.psi.is_none());
        assert!(of(2).freshness.is_some());
        let again: Value = serde_json::from_str(example).unwrap();
        assert_eq!(serde_json::to_value(&constraints).unwrap(), again);
    }
}

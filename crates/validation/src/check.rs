//! Compares a profile with constraints and reports violations.

use std::collections::HashSet;

use jiff::Timestamp;

use super::constraints::{Constraints, FeatureConstraints, Rules};
use super::opt_in::{self, DatasetChecks, FeatureChecks};
use super::rule_set::RuleSet;
use super::statistics::FeatureStatistics;
use super::violations::{Violation, Violations};
use super::{Baseline, Profile, Statistics, drift};

/// The order of violations, by check. AWS's output lists types before completeness before drift;
/// within a check it has no order, so we use the baseline's. Opt-in checks come last.
const ORDER: [&str; 7] = [
    "data_type_check",
    "completeness_check",
    "missing_column_check",
    "extra_column_check",
    "categorical_values_check",
    "non_negative_check",
    "baseline_drift_check",
];

/// Returns every violation of the baseline's constraints. `clock` is the current time, for checks of
/// age.
///
/// # Errors
/// The constraints request a check that cannot be performed: see [`opt_in`].
pub fn check(
    profile: &Profile,
    statistics: &Statistics,
    baseline: &Baseline,
    clock: Timestamp,
) -> Result<Violations, String> {
    let constraints = &baseline.constraints;
    let wanted = DatasetChecks::of(constraints)?;
    let current = statistics.by_name();
    let before = baseline.statistics.as_ref().map(Statistics::by_name);
    let general = constraints.rules_of(None).evaluate;
    let mut violations = Vec::new();
    if general {
        violations.extend(columns(statistics, constraints));
        let rows = baseline.statistics.as_ref().map(|s| s.dataset.item_count);
        violations.extend(opt_in::row_count(&wanted, profile.rows(), rows)?);
    }
    for feature in &constraints.features {
        let rules = constraints.rules_of(Some(feature));
        let Some(now) = current.get(feature.name.as_str()).copied() else {
            continue;
        };
        if !rules.evaluate {
            continue;
        }
        violations.extend(values(profile, now, feature, &rules));
        let before = before
            .as_ref()
            .and_then(|before| before.get(feature.name.as_str()).copied());
        violations.extend(
            before
                .and_then(|before| drift::feature(before, now, &rules).description())
                .map(|text| Violation::of(&feature.name, "baseline_drift_check", text)),
        );
        violations.extend(opt_in::feature(
            &FeatureChecks::of(feature, &wanted)?,
            &opt_in::Column {
                before,
                now,
                watch: profile.watch(&feature.name),
                compare: rules.compare,
                clock,
            },
        )?);
    }
    violations.sort_by_key(|violation| {
        let check = violation.constraint_check_type.as_str();
        let known = ORDER.iter().position(|known| *known == check);
        known.unwrap_or(ORDER.len())
    });
    Ok(Violations {
        version: None,
        violations,
    })
}

/// Reports missing and new columns. AWS compares only their number. We compare names, so that one
/// missing and one new column are both reported; order does not matter.
fn columns(statistics: &Statistics, constraints: &Constraints) -> Vec<Violation> {
    let current: HashSet<&str> = statistics.features.iter().map(|f| &*f.name).collect();
    let expected: HashSet<&str> = constraints.features.iter().map(|f| &*f.name).collect();
    let rules = constraints.rules_of(None).set;
    let describe = |kind: &str, names: &[&str]| {
        let text = format!(
            "There are {kind} columns in current dataset. Number of columns in current dataset: \
             {}, Number of columns in baseline constraints: {}",
            statistics.features.len(),
            constraints.features.len(),
        );
        if rules == RuleSet::Aws {
            return text;
        }
        let shown: Vec<String> = names.iter().take(20).map(|name| shorten(name)).collect();
        let more = if names.len() > 20 { ", …" } else { "" };
        format!("{text}. Columns: {}{more}", shown.join(", "))
    };
    let mut found = Vec::new();
    let missing: Vec<&str> = constraints
        .features
        .iter()
        .filter(|feature| constraints.rules_of(Some(feature)).evaluate)
        .map(|feature| &*feature.name)
        .filter(|name| !current.contains(name))
        .collect();
    if !missing.is_empty() {
        let text = describe("missing", &missing);
        found.push(Violation::of(
            "Missing columns",
            "missing_column_check",
            text,
        ));
    }
    let extra: Vec<&str> = statistics
        .features
        .iter()
        .map(|feature| &*feature.name)
        .filter(|name| !expected.contains(name))
        .collect();
    if !extra.is_empty() {
        let text = describe("extra", &extra);
        found.push(Violation::of("Extra columns", "extra_column_check", text));
    }
    found
}

/// Returns the violations of one column's values.
fn values(
    profile: &Profile,
    current: &FeatureStatistics,
    feature: &FeatureConstraints,
    rules: &Rules,
) -> Vec<Violation> {
    let name = feature.name.as_str();
    let mut found = Vec::new();
    let expected = feature.inferred_type;
    if let Some(share) = profile.type_match(name, expected, rules.set)
        && share < rules.datatype_threshold
    {
        found.push(Violation::of(
            name,
            "data_type_check",
            format!(
                "Data type match requirement is not met. Expected data type: {expected}, Expected \
                 match: {}. Observed: Only {} of data is {expected}.",
                percent(rules.datatype_threshold),
                percent(share)
            ),
        ));
    }
    if let (Some(wanted), Some(common)) = (feature.completeness, current.common())
        && common.completeness() < wanted
    {
        found.push(Violation::of(
            name,
            "completeness_check",
            format!(
                "Data completeness requirement is not met. Expected: {}. Observed: Only {}.",
                percent(wanted),
                percent(common.completeness())
            ),
        ));
    }
    found.extend(domain(profile, feature, rules));
    if let (Some(constraints), Some(numbers)) =
        (feature.num_constraints, &current.numerical_statistics)
        && constraints.is_non_negative
        && numbers.min < 0.0
    {
        found.push(Violation::of(
            name,
            "non_negative_check",
            format!(
                "Non-negative requirement is not met. Observed minimum: {}.",
                numbers.min
            ),
        ));
    }
    found
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 do not occur")]
fn domain(profile: &Profile, feature: &FeatureConstraints, rules: &Rules) -> Option<Violation> {
    let domains = &feature.string_constraints.as_ref()?.domains;
    if domains.is_empty() {
        return None;
    }
    let (counts, examples) = profile.categories(&feature.name)?;
    let present = profile.present(&feature.name)?;
    let domains: HashSet<&str> = domains.iter().map(String::as_str).collect();
    let known: u64 = counts
        .iter()
        .filter(|(category, _)| domains.contains(category))
        .map(|(_, count)| count)
        .sum();
    let share = if present == 0 {
        1.0
    } else {
        known as f64 / present as f64
    };
    if share >= rules.domain_threshold {
        return None;
    }
    let all_counted = examples.is_none();
    let unknown: Vec<&str> = counts
        .iter()
        .map(|(category, _)| *category)
        .chain(examples.into_iter().flatten())
        .filter(|category| !domains.contains(category))
        .collect();
    let shown: Vec<String> = unknown.iter().take(5).map(|text| shorten(text)).collect();
    let more = if all_counted && unknown.len() <= 5 {
        ""
    } else {
        ", …"
    };
    Some(Violation::of(
        &feature.name,
        "categorical_values_check",
        format!(
            "Categorical values requirement is not met. Expected match: {}. Observed: Only {} of \
             values are in the baseline's domain. Unknown values: {}{more}",
            percent(rules.domain_threshold),
            percent(share),
            shown.join(", ")
        ),
    ))
}

/// Truncates a value to 40 characters.
fn shorten(text: &str) -> String {
    if text.chars().count() > 40 {
        text.chars().take(39).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

/// Formats a share as AWS does: `100.0%`, `99.71751412429379%`.
pub(super) fn percent(share: f64) -> String {
    format!("{:?}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::constraints::{MonitoringConfig, Switch};
    use super::super::{Format, Source, profile};
    use super::*;

    fn source(text: &str) -> Vec<Source> {
        let text = text.as_bytes().to_vec();
        let bytes = std::io::Cursor::new(text);
        vec![Source::stream("data.csv", || Ok(bytes))]
    }

    fn by(rules: RuleSet, mut baseline: Baseline) -> Baseline {
        baseline.constraints.set_rules(rules);
        baseline
    }

    fn baseline(text: &str) -> Baseline {
        let statistics = profile(source(text), &Format::Csv, None)
            .unwrap()
            .statistics();
        Baseline {
            constraints: Constraints::suggest(&statistics),
            statistics: Some(statistics),
        }
    }

    fn violations(baseline: &Baseline, text: &str) -> Vec<(String, String, String)> {
        let profile = profile(source(text), &Format::Csv, Some(baseline)).unwrap();
        check(
            &profile,
            &profile.statistics(),
            baseline,
            Timestamp::UNIX_EPOCH,
        )
        .unwrap()
        .violations
        .into_iter()
        .map(|v| (v.subject(), v.constraint_check_type, v.description))
        .collect()
    }

    fn table(header: &str, row: impl Fn(u32) -> String) -> String {
        let mut text = format!("{header}\n");
        for i in 0..400 {
            text.push_str(&row(i));
            text.push('\n');
        }
        text
    }

    fn good() -> String {
        table("delay,distance,origin", |i| {
            format!(
                "{},{}.5,{}",
                i % 50,
                i % 90,
                ["JFK", "LGA", "EWR"][i as usize % 3]
            )
        })
    }

    #[test]
    fn data_like_the_baseline_has_no_violations() {
        assert_eq!(violations(&baseline(&good()), &good()), []);
    }

    #[test]
    fn each_spoiled_column_is_named_with_its_check() {
        let spoiled = table("delay,distance,origin", |i| {
            let delay = match i % 4 {
                0 => "late".to_owned(),
                1 => String::new(),
                _ => (i % 50).to_string(),
            };
            let origin = if i % 2 == 0 { "ZZZ" } else { "JFK" };
            format!("{delay},{},{origin}", i64::from(i % 90) - 80)
        });
        let found = violations(&baseline(&good()), &spoiled);
        let kinds = |found: &[(String, String, String)]| -> Vec<(String, String)> {
            let kinds = found.iter();
            kinds
                .map(|(feature, check, _)| (feature.clone(), check.clone()))
                .collect()
        };
        let wanted = |wanted: &[(&str, &str)]| -> Vec<(String, String)> {
            let wanted = wanted.iter();
            wanted
                .map(|(feature, check)| ((*feature).to_owned(), (*check).to_owned()))
                .collect()
        };
        // `delay` and `distance` have a different type than in the baseline, so no distance is
        // measured.
        assert_eq!(
            kinds(&found),
            wanted(&[
                ("delay", "data_type_check"),
                ("distance", "data_type_check"),
                ("delay", "completeness_check"),
                ("origin", "categorical_values_check"),
                ("distance", "non_negative_check"),
                ("origin", "baseline_drift_check"),
            ]),
            "{found:#?}"
        );
        // 200 of the 300 present values are integers.
        let texts: Vec<&str> = found.iter().map(|(_, _, text)| text.as_str()).collect();
        assert_eq!(
            texts[..3],
            [
                "Data type match requirement is not met. Expected data type: Integral, Expected \
                 match: 100.0%. Observed: Only 66.66666666666666% of data is Integral.",
                "Data type match requirement is not met. Expected data type: Fractional, Expected \
                 match: 100.0%. Observed: Only 0.0% of data is Fractional.",
                "Data completeness requirement is not met. Expected: 100.0%. Observed: Only 75.0%.",
            ]
        );
        assert!(texts[3].ends_with("Unknown values: ZZZ"), "{}", texts[3]);
        let found = violations(&by(RuleSet::Mlops, baseline(&good())), &spoiled);
        assert_eq!(
            kinds(&found),
            wanted(&[
                ("delay", "data_type_check"),
                ("delay", "completeness_check"),
                ("origin", "categorical_values_check"),
                ("distance", "non_negative_check"),
                ("distance", "baseline_drift_check"),
                ("origin", "baseline_drift_check"),
            ]),
            "{found:#?}"
        );
        let text = found[4].2.as_str();
        assert!(text.starts_with("Baseline drift distance: 0."), "{text}");
        assert!(text.ends_with(" exceeds threshold: 0.1"), "{text}");
    }

    /// Issue 8, 4.6: observed behavior of AWS's analyzer, and our rules.
    #[test]
    fn columns_of_few_values_do_not_drift_by_awss_rules() {
        let ones = |share: u32| table("seen", |i| u32::from(i % 10 < share).to_string());
        let from_zero_to_72 = table("seen", |i| (i % 73).to_string());
        for (before, now) in [(ones(9), ones(1)), (from_zero_to_72, ones(5))] {
            let baseline = baseline(&before);
            assert_eq!(violations(&baseline, &now), []);
            let found = violations(&by(RuleSet::Mlops, baseline), &now);
            assert_eq!(found.len(), 1, "{found:#?}");
            assert_eq!(found[0].1, "baseline_drift_check");
        }
    }

    #[test]
    fn missing_and_extra_columns() {
        let other = table("delay,origin,gate", |i| format!("{},JFK,{i}", i % 50));
        let found = violations(&baseline(&good()), &other);
        let texts = |found: &[(String, String, String)]| -> Vec<String> {
            let found = found
                .iter()
                .filter(|(_, check, _)| check.ends_with("column_check"));
            found
                .map(|(feature, check, text)| format!("{feature}, {check}: {text}"))
                .collect()
        };
        let expected = ["Missing columns, missing", "Extra columns, extra"].map(|start| {
            let kind = start.rsplit(' ').next().unwrap();
            format!(
                "{start}_column_check: There are {kind} columns in current dataset. Number of \
                 columns in current dataset: 3, Number of columns in baseline constraints: 3"
            )
        });
        assert_eq!(texts(&found), expected);
        let found = texts(&violations(&by(RuleSet::Mlops, baseline(&good())), &other));
        assert_eq!(found[0], format!("{}. Columns: distance", expected[0]));
        assert_eq!(found[1], format!("{}. Columns: gate", expected[1]));
    }

    #[test]
    fn disabled_checks_report_nothing() {
        let other = table("delay,gate", |i| format!("late{i},{i}"));
        let mut baseline = by(RuleSet::Mlops, baseline(&good()));
        baseline.constraints.features[1].overrides = Some(MonitoringConfig {
            evaluate_constraints: Some(Switch::Disabled),
            ..MonitoringConfig::default()
        });
        let found = violations(&baseline, &other);
        assert_eq!(
            (found[0].0.as_str(), found[0].1.as_str()),
            ("delay", "data_type_check")
        );
        assert!(found[1].2.ends_with("Columns: origin"), "{}", found[1].2);
        let config = &mut baseline.constraints.monitoring_config;
        config.evaluate_constraints = Some(Switch::Disabled);
        assert_eq!(violations(&baseline, &other), []);
    }

    #[test]
    fn drift_is_not_measured_when_comparison_is_disabled() {
        let far = good().replace(".5,", "99.5,");
        let mut baseline = baseline(&good());
        assert_eq!(violations(&baseline, &far).len(), 1);
        let config = &mut baseline.constraints.monitoring_config;
        if let Some(distribution) = &mut config.distribution_constraints {
            distribution.perform_comparison = Some(Switch::Disabled);
        }
        assert_eq!(violations(&baseline, &far), []);
    }

    #[test]
    fn nan_and_inf_are_violations_not_numbers() {
        let text = table("delay,distance,origin", |i| {
            format!("{},{},JFK", i % 50, if i == 7 { "NaN" } else { "inf" })
        });
        let found = violations(&baseline(&good()), &text);
        assert_eq!(found[0].1, "data_type_check");
        assert!(
            found[0].2.contains("Only 0.0% of data is Fractional"),
            "{}",
            found[0].2
        );
    }

    #[test]
    fn thresholds_and_switches_are_honored() {
        let mut baseline = baseline(&good());
        let spoiled = table("delay,distance,origin", |i| {
            format!("{},{}.5,ZZZ", i % 50 + 40, i % 90)
        });
        assert_eq!(violations(&baseline, &spoiled).len(), 3);
        baseline.constraints.features[0].overrides = Some(
            serde_json::from_str(r#"{"distribution_constraints":{"comparison_threshold":0.99}}"#)
                .unwrap(),
        );
        baseline.constraints.features[2].overrides =
            Some(serde_json::from_str(r#"{"evaluate_constraints":"Disabled"}"#).unwrap());
        assert_eq!(violations(&baseline, &spoiled), []);
    }

    #[test]
    fn a_flood_of_new_categories_is_still_drift() {
        let text = table("delay,distance,origin", |i| {
            format!("{},{}.5,gate {i}", i % 50, i % 90)
        });
        let found = violations(&baseline(&good()), &text);
        let checks: Vec<&str> = found.iter().map(|v| v.1.as_str()).collect();
        assert_eq!(checks, ["categorical_values_check", "baseline_drift_check"]);
        assert!(found[0].2.contains("Only 0.0% of values"), "{}", found[0].2);
    }
}

//! Constraints against a profile: the violations.

use super::constraints::{FeatureConstraints, Rules};
use super::violations::{Violation, Violations};
use super::{Baseline, Profile, Statistics, drift};

/// Everything about the data that breaks the baseline's constraints.
///
/// # Errors
/// The constraints ask for a check that is not here.
pub fn check(
    profile: &Profile,
    statistics: &Statistics,
    baseline: &Baseline,
) -> Result<Violations, String> {
    let constraints = &baseline.constraints;
    let mut violations = columns(statistics, &constraints.features);
    let drifts = match &baseline.statistics {
        Some(before) => drift::compare(before, statistics, constraints)?,
        None => Vec::new(),
    };
    for feature in &constraints.features {
        let rules = constraints.rules(&feature.name);
        if rules.evaluate {
            violations.extend(values(profile, statistics, feature, &rules));
        }
        violations.extend(
            drifts
                .iter()
                .filter(|drift| rules.evaluate && drift.drifted && drift.feature == feature.name)
                .filter_map(|drift| {
                    let text = format!(
                        "Baseline drift distance: {} exceeds threshold: {}",
                        drift.distance?, drift.threshold
                    );
                    Some(Violation::of(&feature.name, "baseline_drift_check", text))
                }),
        );
    }
    Ok(Violations {
        version: None,
        violations,
    })
}

/// Columns that are missing or new.
fn columns(statistics: &Statistics, features: &[FeatureConstraints]) -> Vec<Violation> {
    let current: Vec<&str> = statistics
        .features
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    let expected: Vec<&str> = features.iter().map(|f| f.name.as_str()).collect();
    let without = |some: &[&str], others: &[&str]| -> Vec<String> {
        some.iter()
            .filter(|name| !others.contains(name))
            .map(|name| (*name).to_owned())
            .collect()
    };
    let describe = |kind: &str, names: &[String]| {
        format!(
            "There are {kind} columns in current dataset. Number of columns in current dataset: \
             {}, Number of columns in baseline constraints: {}. Columns: {}",
            current.len(),
            expected.len(),
            names.join(", ")
        )
    };
    let mut found = Vec::new();
    let missing = without(&expected, &current);
    if !missing.is_empty() {
        let text = describe("missing", &missing);
        found.push(Violation::of(
            "Missing columns",
            "missing_column_check",
            text,
        ));
    }
    let extra = without(&current, &expected);
    if !extra.is_empty() {
        let text = describe("extra", &extra);
        found.push(Violation::of("Extra columns", "extra_column_check", text));
    }
    found
}

/// What the values of one column break.
fn values(
    profile: &Profile,
    statistics: &Statistics,
    feature: &FeatureConstraints,
    rules: &Rules,
) -> Vec<Violation> {
    let name = feature.name.as_str();
    let mut found = Vec::new();
    let Some(current) = statistics.features.iter().find(|f| f.name == name) else {
        return found;
    };
    let expected = feature.inferred_type;
    if let Some(share) = profile.type_match(name, expected)
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
                "Data completeness requirement is not met. Expected completeness: {}. Observed \
                 completeness: {}.",
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
    let known: u64 = counts
        .iter()
        .filter(|(category, _)| domains.iter().any(|known| known == category))
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
        .filter(|category| !domains.iter().any(|known| known == category))
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

/// At most 40 characters of a value.
fn shorten(text: &str) -> String {
    if text.chars().count() > 40 {
        text.chars().take(39).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

/// A share as AWS writes it: `100.0%`, `99.71751412429379%`.
fn percent(share: f64) -> String {
    format!("{:?}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::{Constraints, Format, Source, profile};
    use super::*;

    fn source(text: &str) -> Vec<Source> {
        let text = text.as_bytes().to_vec();
        let bytes = std::io::Cursor::new(text);
        vec![Source::stream("data.csv", || Ok(bytes))]
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
        check(&profile, &profile.statistics(), baseline)
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
        let kinds: Vec<(&str, &str)> = found
            .iter()
            .map(|(feature, check, _)| (feature.as_str(), check.as_str()))
            .collect();
        assert_eq!(
            kinds,
            [
                ("delay", "data_type_check"),
                ("delay", "completeness_check"),
                ("distance", "non_negative_check"),
                ("distance", "baseline_drift_check"),
                ("origin", "categorical_values_check"),
                ("origin", "baseline_drift_check"),
            ],
            "{found:#?}"
        );
        // 200 of the 300 present values are whole numbers.
        assert_eq!(
            found[0].2,
            "Data type match requirement is not met. Expected data type: Integral, Expected \
             match: 100.0%. Observed: Only 66.66666666666666% of data is Integral."
        );
        assert!(
            found[3].2.starts_with("Baseline drift distance: 0."),
            "{}",
            found[3].2
        );
        assert!(
            found[3].2.ends_with(" exceeds threshold: 0.1"),
            "{}",
            found[3].2
        );
        assert!(
            found[4].2.ends_with("Unknown values: ZZZ"),
            "{}",
            found[4].2
        );
    }

    #[test]
    fn missing_and_extra_columns() {
        let other = table("delay,origin,gate", |i| format!("{},JFK,{i}", i % 50));
        let found = violations(&baseline(&good()), &other);
        assert_eq!(found[0].1, "missing_column_check");
        assert!(found[0].2.ends_with("Columns: distance"), "{}", found[0].2);
        assert_eq!(found[1].1, "extra_column_check");
        assert!(found[1].2.ends_with("Columns: gate"), "{}", found[1].2);
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
    fn thresholds_and_switches_are_honoured() {
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

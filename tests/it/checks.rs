//! `mlops validate`: opt-in checks beyond AWS's, `monitoring_config`, and `--explain`.

use std::path::Path;

use serde_json::{Value, json};
use snapbox::str;

use crate::sandbox::{Run, Sandbox};

/// 1000 rows: an airport, a delay of 0 to 49, a day of January.
fn good() -> String {
    rows(|i| {
        let origin = ["JFK", "LGA", "EWR"][i % 3];
        format!("{origin},{},2026-01-{:02}", i % 50, i % 28 + 1)
    })
}

fn rows(row: impl Fn(usize) -> String) -> String {
    let rows: String = (0..1000).map(|i| row(i) + "\n").collect();
    format!("origin,delay,day\n{rows}")
}

fn with_baseline() -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.set("MLOPS_NOW", "2026-02-01T00:00:00Z");
    sandbox.write("good.csv", good());
    let made = sandbox.mlops(["validate", "--suggest", "good.csv", "--output-dir", "base"]);
    let _ = made.success();
    sandbox
}

/// Changes the baseline's constraints.
fn change(sandbox: &Sandbox, change: impl FnOnce(&mut Value)) {
    let path = sandbox.path().join("base/constraints.json");
    let mut constraints = read(&path);
    change(&mut constraints);
    std::fs::write(path, constraints.to_string()).unwrap();
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn check(sandbox: &Sandbox, more: &[&str]) -> Run {
    let known = [
        "validate",
        "--constraints",
        "base/constraints.json",
        "--statistics",
        "base/statistics.json",
    ];
    sandbox.mlops(known.iter().chain(more))
}

#[test]
fn checks_beyond_aws_are_opt_in_and_shown_in_the_table() {
    let sandbox = with_baseline();
    let far = rows(|i| {
        let origin = ["JFK", "LGA", "ewr"][i % 3];
        format!("{origin},{},2026-01-{:02}", i % 50, i % 9 + 1)
    });
    sandbox.write("far.csv", far);
    change(&sandbox, |constraints| {
        constraints["monitoring_config"]["domain_content_threshold"] = json!(0.0);
        constraints["monitoring_config"]["distribution_constraints"]["perform_comparison"] =
            json!("Disabled");
        for feature in 0..3 {
            let feature = constraints["features"][feature].as_object_mut().unwrap();
            feature.remove("string_constraints");
        }
    });
    check(&sandbox, &["far.csv"]).success();
    change(&sandbox, |constraints| {
        constraints["features"][0]["mlops_constraints"] =
            json!({"pattern": {"regex": "^[A-Z]{3}$"}});
        constraints["features"][1]["mlops_constraints"] = json!({"range": {"max": 40}});
        constraints["features"][2]["mlops_constraints"] = json!({"freshness": {"max_age": "14d"}});
        constraints["mlops_constraints"] = json!({"row_count": {"min_ratio": 2.0}});
    });
    check(&sandbox, &["far.csv"]).code(3).stdout(str![[r#"
FEATURE    CHECK            DESCRIPTION
Row count  row_count_check  Row count requirement is not met. Expected: at
                            least 2 times the baseline's 1000 rows. Observed:
                            1000 rows, 1 times.
origin     pattern_check    Pattern requirement is not met. Expected match of
                            ^[A-Z]{3}$: 100.0%. Observed: Only 66.7% of values
                            match.
delay      range_check      Range requirement is not met. Expected: at most
                            40. Observed: 0 to 49.
day        freshness_check  Freshness requirement is not met. Expected age: at
                            most 336h. Observed: the newest value is
                            2026-01-09T00:00:00Z, 552h old.

1000 rows, 3 columns: 4 violations

"#]]);
}

#[test]
fn an_invalid_check_is_rejected_with_file_and_column() {
    let sandbox = with_baseline();
    for (checks, message) in [
        (
            json!({"regex": "^a"}),
            "no check `regex`; available checks: psi, wasserstein, kolmogorov_smirnov, \
             uniqueness, range, pattern, freshness",
        ),
        (
            json!({"range": {"maximum": 40}}),
            "range: unknown field `maximum`, expected `min` or `max`",
        ),
    ] {
        change(&sandbox, |constraints| {
            constraints["features"][1]["mlops_constraints"] = checks;
        });
        let run = check(&sandbox, &["no-such-file.csv"]).code(1);
        let expected =
            format!("error: base/constraints.json: mlops_constraints of `delay`: {message}\n");
        assert!(run.stderr.starts_with(&expected), "{}", run.stderr);
    }
}

#[test]
fn suggested_baselines_have_no_opt_in_checks() {
    let sandbox = with_baseline();
    let text = std::fs::read_to_string(sandbox.path().join("base/constraints.json")).unwrap();
    assert!(!text.contains("mlops"), "{text}");
}

#[test]
fn the_chi_squared_method_is_a_test_of_its_p_value() {
    let sandbox = with_baseline();
    change(&sandbox, |constraints| {
        let distribution = &mut constraints["monitoring_config"]["distribution_constraints"];
        distribution["categorical_drift_method"] = json!("ChiSquared");
        distribution["categorical_comparison_threshold"] = json!(0.01);
    });
    check(&sandbox, &["good.csv"]).success();
    let skewed = good().replacen("JFK", "LGA", 60);
    sandbox.write("skewed.csv", skewed);
    let report = check(&sandbox, &["skewed.csv", "--output", "json"])
        .code(3)
        .json();
    let violations = report["violations"].as_array().unwrap();
    assert_eq!(violations.len(), 1, "{violations:?}");
    assert_eq!(violations[0]["feature_name"], "origin");
    let text = violations[0]["description"].as_str().unwrap();
    assert!(
        text.starts_with("Baseline drift p-value (ChiSquared): ")
            && text.ends_with(" is below threshold: 0.01"),
        "{text}"
    );
}

#[test]
fn a_numeric_column_is_explained_with_its_baseline() {
    let sandbox = with_baseline();
    let late = rows(|i| format!("JFK,{},2026-01-{:02}", i % 50 + 20, i % 28 + 1));
    sandbox.write("late.csv", late);
    let ours = ["late.csv", "--explain", "delay", "--rules", "mlops"];
    let run = check(&sandbox, &ours).code(3);
    for line in run.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    run.stdout(str![[r#"
DELAY         BASELINE                  CURRENT
distribution  ████████████████▆▁▁▁▁▁▁▁  ▁▁▁▁▁▁▃████████████████▃
type          Integral                  Integral
present       1000                      1000
missing       0                         0
complete      100.00 %                  100.00 %
distinct      50                        50
mean          24.5                      44.5
std_dev       14.43                     14.43
min           0                         20
max           49                        69
1 %           0                         20
5 %           2                         22
25 %          12                        32
50 %          24                        44
75 %          37                        57
95 %          47                        67
99 %          49                        69

METHOD                      DISTANCE  THRESHOLD  VERDICT
linf_simple                 0.4       -          not checked
linf_robust                 0.3195    0.1        drift
psi                         3.4       -          not checked
wasserstein                 20        -          not checked
wasserstein_normalized      1.39      -          not checked
kolmogorov_smirnov_p_value  6.51e-70  -          not checked

FEATURE  CHECK                 DESCRIPTION
delay    baseline_drift_check  Baseline drift distance: 0.3195015528100076
                               exceeds threshold: 0.1

1000 rows, 3 columns: 2 violations

"#]]);
    let report = check(&sandbox, &[&ours[..], &["--output", "json"]].concat())
        .code(3)
        .json();
    let explanation = &report["explanation"];
    assert_eq!(explanation["baseline"]["mean"], 24.5);
    assert_eq!(explanation["current"]["mean"], 44.5);
    assert_eq!(explanation["quantiles"][3]["current"], 44.0);
    assert_eq!(explanation["violations"].as_array().unwrap().len(), 1);
    assert!(report["violations"].as_array().unwrap().len() > 1);
}

#[test]
fn categories_are_explained_with_their_baseline() {
    let sandbox = with_baseline();
    sandbox.write("one.csv", good().replace("EWR", "BOS"));
    check(&sandbox, &["one.csv", "--explain", "origin"])
        .code(3)
        .stdout(str![[r#"
ORIGIN        BASELINE  CURRENT
distribution  █▁██      ██▁█
type          String    String
present       1000      1000
missing       0         0
complete      100.00 %  100.00 %
distinct      3         3
JFK           33.40 %   33.40 %
BOS           0.00 %    33.30 %
EWR           33.30 %   0.00 %
LGA           33.30 %   33.30 %

METHOD                   DISTANCE  THRESHOLD  VERDICT
categorical_linf_simple  0.333     -          not checked
categorical_linf_robust  0.2525    0.1        drift
chi_squared_statistic    333       -          not checked
chi_squared_p_value      4.90e-73  -          not checked
psi                      5.4       -          not checked

FEATURE  CHECK                     DESCRIPTION
origin   categorical_values_check  Categorical values requirement is not met.
                                   Expected match: 100.0%. Observed: Only
                                   66.7% of values are in the baseline's
                                   domain. Unknown values: BOS
origin   baseline_drift_check      Baseline drift distance: 0.2525015528100076
                                   exceeds threshold: 0.1

1000 rows, 3 columns: 2 violations

"#]]);
}

#[test]
fn an_unknown_column_is_rejected_with_similar_names() {
    let sandbox = with_baseline();
    check(&sandbox, &["no-such-file.csv", "--explain", "dely"])
        .code(2)
        .stderr(str![[r#"
error: the baseline has no column `dely`
hint: similar names: delay, day, origin

"#]]);
}

#[test]
fn a_column_missing_in_the_data_is_explained_by_its_baseline() {
    let sandbox = with_baseline();
    let less = good().replace("origin,delay,day", "origin,late,day");
    sandbox.write("less.csv", less);
    let run = check(&sandbox, &["less.csv", "--explain", "delay"]).code(3);
    assert!(run.stdout.contains("mean"), "{}", run.stdout);
    assert!(
        run.stdout.contains("mean      24.5      -\n"),
        "{}",
        run.stdout
    );
}

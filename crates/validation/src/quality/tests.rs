//! Tests of the whole analysis, on AWS's files and on generated data. Figures without another source
//! are those of scikit-learn 1.9.1 on the same data.

use super::super::Input;
use super::*;

macro_rules! aws {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/data/aws-output/model-quality/",
            $name
        ))
    };
}

mod aws;
mod joins;
mod shapes;

/// The printed violations of AWS.
pub(super) const VIOLATIONS: [&str; 4] = [
    aws!("binary-churn/violations-printed.txt"),
    aws!("binary-internet-churn/violations-printed.txt"),
    aws!("binary-maintenance/violations-printed.txt"),
    aws!("binary-no-probability/violations-printed.txt"),
];

const STATISTICS: &str = r#"{"version":0.0,"dataset":{"item_count":500},
    "binary_classification_metrics":{
        "confusion_matrix":{"0":{"0":200,"1":10},"1":{"0":20,"1":270}},
        "recall":{"value":0.93,"standard_deviation":0.01},
        "auc":{"value":0.97,"standard_deviation":"NaN"}}}"#;

pub(super) fn source(name: &str, text: impl Into<Vec<u8>>) -> Source {
    let text = text.into();
    Source::stream(name, move || Ok(std::io::Cursor::new(text)))
}

pub(super) fn settings(variables: &[(&str, &'static str)]) -> Settings {
    Settings::parse(|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    })
    .unwrap()
}

fn table(text: &str, format: Format, settings: &Settings) -> Result<QualityReport, String> {
    let data = Data::Table {
        sources: vec![source("t", text)],
        format,
    };
    analyse(settings, data, Window::default(), None).map_err(|error| error.to_string())
}

pub(super) fn close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= 1e-14 * expected.abs().max(1.0),
        "{found} {expected}"
    );
}

fn all_close(report: &QualityReport, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        close(
            report
                .statistics
                .metric(name)
                .unwrap_or_else(|| panic!("{name}"))
                .value,
            *value,
        );
    }
}

/// Rounds numbers to the six digits that pandas prints.
fn printed(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            json!((number.as_f64().unwrap() * 1e6).round() / 1e6)
        }
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), printed(value)))
            .collect(),
        other => other.clone(),
    }
}

const BINARY: &[(&str, &str)] = &[
    ("problem_type", "BinaryClassification"),
    ("inference_attribute", "prediction"),
    ("probability_attribute", "probability"),
    ("ground_truth_attribute", "label"),
];

#[test]
fn constraints_of_another_problem_or_without_sense_are_refused() {
    let statistics: QualityStatistics = serde_json::from_str(STATISTICS).unwrap();
    let check = |text: &str| {
        let constraints = serde_json::from_str(text).unwrap();
        check(&statistics, &constraints, super::super::RuleSet::Aws).unwrap_err()
    };
    let error = check(r#"{"regression_constraints":{}}"#);
    assert_eq!(
        error,
        "the constraints have no binary_classification_constraints"
    );
    let error = check(r#"{"binary_classification_constraints":{"auc":{"threshold":"x"}}}"#);
    assert!(
        error.contains("the constraint of `auc`: `x` is not a number"),
        "{error}"
    );
}

#[test]
fn a_regression_agrees_with_scikit_learn() {
    let mut text = String::from("{\"unused\":[{\"a\":1}],\"y\":0,\"p\":null}\n");
    for row in 0..500_u32 {
        let label = f64::from(row * 7919 % 1000) / 100.0;
        let error =
            (f64::from(u32::try_from(u64::from(row) * 104_729 % 200).unwrap()) - 100.0) / 100.0;
        text += &format!(
            "{{\"p\":{},\"unused\":{{\"a\":[]}},\"y\":\"{label}\"}}\n",
            label + error
        );
    }
    let by_name = [
        ("problem_type", "Regression"),
        ("inference_attribute", "p"),
        ("ground_truth_attribute", "y"),
    ];
    let report = table(&text, Format::Jsonl, &settings(&by_name)).unwrap();
    assert_eq!(report.statistics.dataset.item_count, 500);
    assert_eq!(report.counts.incomplete_rows, 1);
    let expected = [
        ("mae", 0.501),
        ("mse", 0.33435),
        ("rmse", 0.578_230_058_021_891_4),
        ("r2", 0.959_997_966_099_667_1),
    ];
    all_close(&report, &expected);
    for (name, value) in expected {
        let deviation = report.statistics.metric(name).unwrap().standard_deviation;
        assert!(
            deviation > 0.0 && deviation < 0.05 * value,
            "{name} {deviation}"
        );
    }
    let by_path = [
        by_name[0],
        ("inference_attribute", "$.p"),
        ("ground_truth_attribute", "$.y"),
    ];
    assert_eq!(
        table(&text, Format::Jsonl, &settings(&by_path)).unwrap(),
        report
    );
    let constraints = serde_json::to_value(&report.constraints).unwrap();
    let operators: Vec<_> = constraints["regression_constraints"]
        .as_object()
        .unwrap()
        .iter()
        .collect();
    let expected: Value =
        serde_json::from_str(aws!("regression-sales/constraints-printed.json")).unwrap();
    let expected = expected["regression_constraints"].as_object().unwrap();
    for ((name, ours), (known, theirs)) in operators.into_iter().zip(expected) {
        assert_eq!(
            (name, &ours["comparison_operator"]),
            (known, &theirs["comparison_operator"])
        );
    }
    // Labels without variance.
    let flat = table("p,y\n1,5\n2,5\n", Format::Csv, &settings(&by_name)).unwrap();
    assert_eq!(
        flat.statistics.regression_metrics.unwrap()["r2"]["value"],
        Value::Null
    );
}

/// Errors that are too large for a double are worse than any threshold.
#[test]
fn infinite_errors_are_violations() {
    let settings = settings(&[
        ("problem_type", "Regression"),
        ("inference_attribute", "p"),
        ("ground_truth_attribute", "y"),
    ]);
    let baseline = serde_json::from_str(
        r#"{"regression_constraints":{
            "mae":{"threshold":1.5,"comparison_operator":"GreaterThanThreshold"},
            "mse":{"threshold":null,"comparison_operator":"GreaterThanThreshold"},
            "rmse":{"threshold":2,"comparison_operator":"GreaterThanThreshold"},
            "r2":{"threshold":0.8,"comparison_operator":"LessThanThreshold"}}}"#,
    )
    .unwrap();
    let run = |text: &str| {
        let data = Data::Table {
            sources: vec![source("t", text)],
            format: Format::Csv,
        };
        analyse(&settings, data, Window::default(), Some(&baseline)).unwrap()
    };
    let descriptions = |report: &QualityReport| -> Vec<String> {
        let violations = report.violations.as_ref().unwrap().violations.iter();
        violations.map(|found| found.description.clone()).collect()
    };
    let report = run("p,y\n0,1.7e308\n0,1.7e308\n");
    assert_eq!(
        descriptions(&report),
        [
            "Metric mae with Infinity was GreaterThanThreshold '1.5'",
            "Metric rmse with Infinity was GreaterThanThreshold '2.0'",
        ]
    );
    assert_eq!(report.unchecked, ["r2"]);
    let metrics = report.statistics.regression_metrics.as_ref().unwrap();
    assert_eq!(metrics["mae"]["value"], "Infinity");
    assert_eq!(metrics["r2"]["value"], Value::Null);
    let text = serde_json::to_string(&report.statistics).unwrap();
    let again: QualityStatistics = serde_json::from_str(&text).unwrap();
    assert_eq!(again, report.statistics);
    // Not a threshold of a later run.
    let suggested = report.constraints.constraint("mae").unwrap();
    assert!(suggested.threshold.is_nan());
    // The mean of the labels overflows, the errors do not.
    let report = run("p,y\n1.7e308,1.7e308\n1.7e308,1.7e308\n");
    assert_eq!(descriptions(&report), [] as [&str; 0]);
    assert_eq!(report.unchecked, ["r2"]);
    // Labels with a finite variance.
    let report = run("p,y\n1e200,1\n0,2\n");
    assert_eq!(
        descriptions(&report)[2],
        "Metric r2 with -Infinity was LessThanThreshold '0.8'"
    );
}

#[test]
fn a_confusion_matrix_of_long_names_is_refused() {
    let settings = settings(&[
        ("problem_type", "MulticlassClassification"),
        ("inference_attribute", "p"),
        ("ground_truth_attribute", "y"),
    ]);
    let rows = |classes: usize, length: usize| {
        let rows = (0..classes).map(|class| {
            let name = format!("{class:0>length$}x");
            format!("{name},{name}\n")
        });
        let text = format!("p,y\n{}", rows.collect::<String>());
        let report = table(&text, Format::Csv, &settings);
        report.map(|report| report.statistics.dataset.item_count)
    };
    assert_eq!(rows(300, 250), Ok(300));
    let error = rows(400, 250).unwrap_err();
    assert!(
        error.starts_with("the data: 400 classes with names of 251 bytes on average"),
        "{error}"
    );
}

#[test]
fn a_multiclass_classification_agrees_with_scikit_learn() {
    let names = ["bird", "cat", "dog", "eel"];
    let mut text = String::from("y,other,p\n");
    for row in 0..300_usize {
        let label = names[row * 7919 % 97 % 4];
        let prediction = if row * 31 % 10 < 7 {
            label
        } else {
            names[row * 13 % 3]
        };
        text += &format!("{label},\"a,b\",{prediction}\n");
    }
    let settings = settings(&[
        ("problem_type", "MulticlassClassification"),
        ("inference_attribute", "2"),
        ("ground_truth_attribute", "0"),
    ]);
    let report = table(&text, Format::Csv, &settings).unwrap();
    all_close(
        &report,
        &[
            ("accuracy", 0.77),
            ("weighted_recall", 0.77),
            ("weighted_precision", 0.791_335_096_483_495),
            ("weighted_f0_5", 0.781_243_281_501_241_4),
            ("weighted_f1", 0.772_373_992_304_993_6),
            ("weighted_f2", 0.769_368_383_328_829_3),
            (
                "accuracy_best_constant_classifier",
                0.253_333_333_333_333_35,
            ),
            (
                "weighted_recall_best_constant_classifier",
                0.253_333_333_333_333_35,
            ),
            (
                "weighted_precision_best_constant_classifier",
                0.064_177_777_777_777_78,
            ),
            (
                "weighted_f0_5_best_constant_classifier",
                0.075_444_096_133_751_3,
            ),
            (
                "weighted_f1_best_constant_classifier",
                0.102_411_347_517_730_48,
            ),
            (
                "weighted_f2_best_constant_classifier",
                0.159_381_898_454_746_12,
            ),
        ],
    );
    let metrics = report
        .statistics
        .multiclass_classification_metrics
        .as_ref()
        .unwrap();
    assert_eq!(
        metrics["confusion_matrix"]["bird"],
        json!({"bird": 60, "cat": 8, "dog": 8, "eel": 0})
    );
    let suggested = report
        .constraints
        .multiclass_classification_constraints
        .unwrap();
    let expected: Value =
        serde_json::from_str(aws!("multiclass-text/constraints-printed.json")).unwrap();
    let expected = expected["multiclass_classification_constraints"]
        .as_object()
        .unwrap();
    assert!(suggested.keys().eq(expected.keys()));
    assert!(
        suggested
            .values()
            .all(|limit| limit["comparison_operator"] == "LessThanThreshold")
    );
}

fn scores() -> (Vec<f64>, Vec<u8>) {
    let rows = 0..1000_u64;
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let rows = rows.map(|row| {
        let score = (row * 7919 % 1000 / 10) as f64 / 100.0;
        (
            score,
            u8::from(((row * 104_729 % 1000) as f64 / 1000.0) < score.powi(2)),
        )
    });
    rows.unzip()
}

#[test]
fn a_probability_alone_is_compared_with_the_threshold() {
    let (scores, labels) = scores();
    let rows = || scores.iter().zip(&labels);
    let lines =
        |line: &dyn Fn((&f64, &u8)) -> String| rows().map(line).collect::<Vec<_>>().concat();
    let csv = lines(&|(score, label)| {
        format!(
            "{score},{label}
"
        )
    });
    let settings = settings(&[
        BINARY[0],
        BINARY[2],
        ("probability_threshold_attribute", "0.6"),
        BINARY[3],
    ]);
    let report = table(&format!("probability,label\n{csv}"), Format::Csv, &settings).unwrap();
    all_close(
        &report,
        &[
            ("recall", 0.792_168_674_698_795_1),
            ("precision", 0.674_358_974_358_974_4),
            ("accuracy", 0.804),
            ("auc", 0.873_620_229_420_676_7),
            ("au_prc", 0.790_951_661_677_482_7),
            ("f0_5", 0.695_031_712_473_573),
            ("f1", 0.728_531_855_955_678_7),
            ("f2", 0.765_424_912_689_173_5),
        ],
    );
    let auc = report.statistics.metric("auc").unwrap();
    assert!((0.001..0.02).contains(&auc.standard_deviation));
    // Booleans as labels, and Parquet.
    let flags = lines(&|(score, label)| {
        format!(
            "{score},{}
",
            *label == 1
        )
    });
    let flags = table(
        &format!("probability,label\n{flags}"),
        Format::Csv,
        &settings,
    )
    .unwrap();
    assert_eq!(flags, report);
    for file in [
        parquet(&scores, &labels, true),
        parquet(&scores, &labels, false),
    ] {
        let data = Data::Table {
            sources: vec![Source {
                name: "t.parquet".to_owned(),
                open: Box::new(move || Ok(Input::Stream(Box::new(std::io::Cursor::new(file))))),
                partition: Vec::new(),
            }],
            format: Format::Parquet,
        };
        let found = analyse(&settings, data, Window::default(), None).unwrap();
        assert_eq!(found, report);
    }
}

/// A file with the columns in another order, and one that is not read.
fn parquet(scores: &[f64], labels: &[u8], as_text: bool) -> Vec<u8> {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};

    let label: ArrayRef = if as_text {
        Arc::new(StringArray::from_iter_values(
            labels.iter().map(u8::to_string),
        ))
    } else {
        Arc::new(Int64Array::from_iter_values(
            labels.iter().map(|label| i64::from(*label)),
        ))
    };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("label", label),
        (
            "unused",
            Arc::new(BooleanArray::from(vec![true; labels.len()])),
        ),
        ("probability", Arc::new(Float64Array::from(scores.to_vec()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn bad_tables_are_refused_by_name() {
    let binary = settings(BINARY);
    for (text, message) in [
        (
            "probability,label\n",
            "t, line 1: there is no column `prediction`; there are `probability`, `label`",
        ),
        ("prediction,probability,label\n", "the table: no rows"),
        (
            "prediction,probability,label\n1,0.5,1\n1,x,1\n",
            "t: row 2, `probability`: `x` is not a number",
        ),
        (
            "prediction,probability,label\n0.7,0.7,1\n0.8,0.8,0\n0.9,0.9,0\n",
            "t: row 1, `prediction`: `0.7` is one class too many",
        ),
        (
            "prediction,probability,label\n1,0.5,2\n0,0.5,1\n",
            "t: row 2, `prediction`: `0` is one class too many",
        ),
    ] {
        let error = table(text, Format::Csv, &binary).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
    let threshold = settings(&[BINARY[0], BINARY[2], BINARY[3]]);
    let error = table(
        "probability,label\n0.7,yes\n0.2,no\n",
        Format::Csv,
        &threshold,
    )
    .unwrap_err();
    assert!(
        error.starts_with(
            "the data: BinaryClassification has two classes, and the data has 4: `0`, `1`, `no`, `yes`"
        ),
        "{error}"
    );
    let error = table("prediction,label\n", Format::Csv, &settings(&BINARY[..3])).unwrap_err();
    assert!(
        error.contains("ground_truth_attribute is not set"),
        "{error}"
    );
    for (line, message) in [
        (
            "{\"prediction\":[],\"label\":1}",
            "t, line 1: `prediction` is an array",
        ),
        (
            "{\"prediction\":1,\"prediction\":1}",
            "t, line 1: the key `prediction` occurs twice",
        ),
        ("[1]", "t, line 1: unexpected `[`"),
        (
            "{\"prediction\":1,\"label\":0} 1",
            "t, line 1: unexpected `1`",
        ),
    ] {
        let error = table(
            line,
            Format::Jsonl,
            &settings(&[BINARY[0], BINARY[1], BINARY[3]]),
        )
        .unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
}

/// Classes other than 0 and 1, and data with one class.
#[test]
fn the_second_of_two_classes_is_positive() {
    let settings = settings(&[BINARY[0], BINARY[1], BINARY[3]]);
    let recall = |rows: &str| {
        let report = table(&format!("prediction,label\n{rows}"), Format::Csv, &settings).unwrap();
        let metrics = report.statistics.binary_classification_metrics.unwrap();
        (
            metrics["recall"]["value"].clone(),
            metrics["confusion_matrix"].to_string(),
        )
    };
    let words = recall("no,no\nno,yes\nyes,yes\nyes,yes\nyes,yes\n");
    assert_eq!(
        words,
        (
            json!(0.75),
            r#"{"no":{"no":1,"yes":0},"yes":{"no":1,"yes":3}}"#.to_owned()
        )
    );
    let numbers = recall("2,10\n10,10\n10,2\n");
    assert_eq!(
        numbers,
        (
            json!(0.5),
            r#"{"2":{"2":0,"10":1},"10":{"2":1,"10":1}}"#.to_owned()
        )
    );
    assert_eq!(
        recall("0,0\n"),
        (
            Value::Null,
            r#"{"0":{"0":1,"1":0},"1":{"0":0,"1":0}}"#.to_owned()
        )
    );
    assert_eq!(
        recall("yes,yes\n"),
        (
            json!(1.0),
            r#"{"0":{"0":0,"yes":0},"yes":{"0":0,"yes":1}}"#.to_owned()
        )
    );
}

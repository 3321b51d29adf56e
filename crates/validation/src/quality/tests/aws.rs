//! Tests with the figures of AWS: of its files, and of the developer guide.

use super::super::super::RuleSet;
use super::*;

/// AWS's figures on the same file. The deviations depend on the samples that AWS drew: 0.0299822 for
/// recall, 0.00589373 for accuracy and 0.0102492 for auc.
#[test]
#[expect(clippy::float_cmp, reason = "AWS's figures, to the last digit")]
fn binary_churn() {
    let data = aws!("binary-churn/predictions-and-labels.csv");
    let report = table(data, Format::Csv, &settings(BINARY)).unwrap();
    assert_eq!(report.statistics.dataset.item_count, 201);
    let metrics = report
        .statistics
        .binary_classification_metrics
        .as_ref()
        .unwrap();
    assert_eq!(
        metrics["confusion_matrix"],
        json!({"0": {"0": 173, "1": 0}, "1": {"0": 12, "1": 16}})
    );
    let value = |name: &str| report.statistics.metric(name).unwrap().value;
    for (name, expected) in [
        ("auc", 0.939_512_799_339_389_8),
        ("recall", 0.571_428_571_428_571_4),
        ("true_positive_rate", 0.571_428_571_428_571_4),
        ("false_negative_rate", 0.428_571_428_571_428_6),
        ("true_negative_rate", 1.0),
        ("false_positive_rate", 0.0),
        ("precision", 1.0),
        ("accuracy", 0.940_298_507_462_686_6),
        ("f1", 0.727_272_727_272_727_3),
        ("f2", 0.625),
        ("recall_best_constant_classifier", 0.0),
        ("precision_best_constant_classifier", 0.0),
        ("f1_best_constant_classifier", 0.0),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    assert!((value("accuracy_best_constant_classifier") - 0.860_697).abs() < 5e-7);
    for (name, of_aws) in [
        ("recall", 0.029_982_2),
        ("accuracy", 0.005_893_73),
        ("auc", 0.010_249_2),
    ] {
        let deviation = report.statistics.metric(name).unwrap().standard_deviation;
        assert!(
            (of_aws / 3.0..of_aws * 3.0).contains(&deviation),
            "{name} {deviation}"
        );
    }
    // One point per distinct probability, as AWS's file shows: rates of 1/28, 2/28, …
    let roc = &metrics["receiver_operating_characteristic_curve"];
    assert_eq!(roc["false_positive_rates"].as_array().unwrap().len(), 203);
    assert_eq!(roc["true_positive_rates"][1], 1.0 / 28.0);
    assert_eq!(
        metrics["precision_recall_curve"]["recalls"]
            .as_array()
            .unwrap()
            .len(),
        202
    );
    let expected: Value =
        serde_json::from_str(aws!("binary-churn/constraints-printed.json")).unwrap();
    let mut suggested = serde_json::to_value(&report.constraints).unwrap();
    suggested.as_object_mut().unwrap().remove("version");
    assert_eq!(printed(&suggested).to_string(), expected.to_string());
    let names: Vec<&str> = metrics.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "confusion_matrix",
            "recall",
            "precision",
            "accuracy",
            "recall_best_constant_classifier",
            "precision_best_constant_classifier",
            "accuracy_best_constant_classifier",
            "true_positive_rate",
            "true_negative_rate",
            "false_positive_rate",
            "false_negative_rate",
            "receiver_operating_characteristic_curve",
            "precision_recall_curve",
            "auc",
            "au_prc",
            "f0_5",
            "f1",
            "f2",
            "f0_5_best_constant_classifier",
            "f1_best_constant_classifier",
            "f2_best_constant_classifier",
        ]
    );
}

/// A metric equal to its threshold is no violation.
#[test]
fn a_baseline_has_no_violations_of_itself() {
    let data = || Data::Table {
        sources: vec![source("t", aws!("binary-churn/predictions-and-labels.csv"))],
        format: Format::Csv,
    };
    let settings = settings(BINARY);
    let baseline = analyse(&settings, data(), Window::default(), None).unwrap();
    assert_eq!(baseline.violations, None);
    let limits = Some(&baseline.constraints);
    let again = analyse(&settings, data(), Window::default(), limits).unwrap();
    assert_eq!(again.violations, Some(Violations::default()));
    assert_eq!(
        (again.unchecked.len(), again.statistics),
        (0, baseline.statistics)
    );
}

/// Rebuilt: the counts of labels and predictions that AWS's figures imply, without probabilities.
#[test]
fn constraints_of_other_binary_classifications() {
    for (counts, constraints, constant) in [
        (
            [87, 5, 20, 89],
            aws!("binary-internet-churn/constraints-printed.json"),
            92.0 / 201.0,
        ),
        (
            [0, 0, 1, 200],
            aws!("binary-maintenance/constraints-printed.json"),
            1.0,
        ),
        (
            [0, 46, 0, 68],
            aws!("binary-no-probability/constraints-printed.json"),
            68.0 / 114.0,
        ),
        (
            [101, 4, 68, 28],
            aws!("binary-toxicity/constraints-printed.json"),
            105.0 / 201.0,
        ),
    ] {
        let mut text = String::from("prediction,label\n");
        for (cell, count) in counts.iter().enumerate() {
            text += &format!("{},{}\n", cell % 2, cell / 2).repeat(*count);
        }
        let settings = settings(&[BINARY[0], BINARY[1], BINARY[3]]);
        let report = table(&text, Format::Csv, &settings).unwrap();
        let mut expected: Value = serde_json::from_str(constraints).unwrap();
        let limits = expected["binary_classification_constraints"]
            .as_object_mut()
            .unwrap();
        limits.shift_remove("auc");
        let mut suggested = serde_json::to_value(&report.constraints).unwrap();
        suggested.as_object_mut().unwrap().remove("version");
        assert_eq!(printed(&suggested).to_string(), expected.to_string());
        all_close(&report, &[("accuracy_best_constant_classifier", constant)]);
        let deviation = report
            .statistics
            .metric("accuracy")
            .unwrap()
            .standard_deviation;
        assert_eq!(deviation.is_nan(), counts.iter().sum::<usize>() < 200);
        assert!(report.statistics.metric("auc").is_none());
    }
}

/// Rebuilt: metrics with the figures that AWS's texts have.
#[test]
fn violations_have_the_names_texts_and_order_of_aws() {
    for text in VIOLATIONS {
        let mut metrics = Map::new();
        let mut limits = Map::new();
        let mut expected = Vec::new();
        for line in text.lines() {
            let Some(at) = line.find("Metric ") else {
                continue;
            };
            let description = line[at..].trim();
            let words: Vec<&str> = description.split(' ').collect();
            let figure = |word: &str| word.trim_matches('\'').parse::<f64>().unwrap();
            let known = BINARY_LIMITS.iter().find(|(_, name)| *name == words[1]);
            let metric = known.unwrap().0;
            let deviation = words
                .iter()
                .position(|word| *word == "+/-")
                .map(|at| figure(words[at + 1]));
            metrics.insert(
                metric.to_owned(),
                json!({"value": figure(words[3]),
                    "standard_deviation": deviation.map_or(json!("NaN"), |value| json!(value))}),
            );
            let operator = words[words.len() - 2];
            limits.insert(
                metric.to_owned(),
                json!({"threshold": figure(words[words.len() - 1]), "comparison_operator": operator}),
            );
            expected.push((
                words[1].to_owned(),
                operator.to_owned(),
                description.to_owned(),
            ));
        }
        assert!(expected.len() >= 7);
        metrics.insert(
            "f0_5".to_owned(),
            json!({"value": 0.0, "standard_deviation": "NaN"}),
        );
        limits.insert(
            "f0_5".to_owned(),
            json!({"threshold": 0.6, "comparison_operator": "LessThanThreshold"}),
        );
        metrics.insert("true_positive".to_owned(), json!({"value": null}));
        limits.insert(
            "none".to_owned(),
            json!({"threshold": null, "comparison_operator": "LessThanThreshold"}),
        );
        limits.insert(
            "gini".to_owned(),
            json!({"threshold": 0.6, "comparison_operator": "LessThanThreshold"}),
        );
        // The order of a file does not matter.
        limits.sort_keys();
        let statistics = QualityStatistics {
            version: 0.0,
            dataset: Dataset { item_count: 1 },
            regression_metrics: None,
            binary_classification_metrics: Some(metrics),
            multiclass_classification_metrics: None,
        };
        let constraints = QualityConstraints {
            binary_classification_constraints: Some(limits),
            ..QualityConstraints::default()
        };
        let checked = check(&statistics, &constraints, RuleSet::Aws).unwrap();
        let found: Vec<_> = checked.violations.violations.into_iter().collect();
        let found: Vec<_> = found
            .into_iter()
            .map(|v| {
                (
                    v.metric_name.unwrap(),
                    v.constraint_check_type,
                    v.description,
                )
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(checked.unchecked, ["gini"]);
        let more = check(&statistics, &constraints, RuleSet::Mlops).unwrap();
        assert_eq!(more.violations.violations.len(), expected.len() + 1);
    }
}

const BINARY_LIMITS: [(&str, &str); 10] = [
    ("recall", "recall"),
    ("precision", "precision"),
    ("accuracy", "accuracy"),
    ("true_positive_rate", "truePositiveRate"),
    ("true_negative_rate", "trueNegativeRate"),
    ("false_positive_rate", "falsePositiveRate"),
    ("false_negative_rate", "falseNegativeRate"),
    ("auc", "auc"),
    ("f1", "f1"),
    ("f2", "f2"),
];

/// The examples of the developer guide. Its best constant classifier of the multiclass example is
/// the less frequent class, unlike in AWS's real files.
#[test]
fn examples_of_the_developer_guide() {
    let rows = |counts: [usize; 4]| {
        let cells = counts.iter().enumerate();
        let rows = cells.map(|(cell, count)| format!("{},{}\n", cell % 2, cell / 2).repeat(*count));
        format!("prediction,label\n{}", rows.collect::<String>())
    };
    let binary = settings(&[BINARY[0], BINARY[1], BINARY[3]]);
    let report = table(&rows([1, 2, 0, 1]), Format::Csv, &binary).unwrap();
    all_close(
        &report,
        &[
            ("recall", 1.0),
            ("precision", 0.333_333_333_333_333_3),
            ("accuracy", 0.5),
            ("recall_best_constant_classifier", 1.0),
            ("precision_best_constant_classifier", 0.25),
            ("accuracy_best_constant_classifier", 0.25),
            ("true_negative_rate", 0.333_333_333_333_333_37),
            ("false_positive_rate", 0.666_666_666_666_666_6),
            ("false_negative_rate", 0.0),
            ("f0_5", 0.384_615_384_615_384_6),
            ("f1", 0.5),
            ("f2", 0.714_285_714_285_714_3),
            ("f0_5_best_constant_classifier", 0.294_117_647_058_823_54),
            ("f1_best_constant_classifier", 0.4),
            ("f2_best_constant_classifier", 0.625),
        ],
    );
    let multiclass = settings(&[
        ("problem_type", "MulticlassClassification"),
        BINARY[1],
        BINARY[3],
    ]);
    let report = table(&rows([1180, 510, 268, 138]), Format::Csv, &multiclass).unwrap();
    all_close(
        &report,
        &[
            ("accuracy", 0.628_816_793_893_129_7),
            ("weighted_recall", 0.628_816_793_893_129_7),
            ("weighted_precision", 0.698_317_226_962_950_5),
            ("weighted_f0_5", 0.680_394_731_717_877_1),
            ("weighted_f1", 0.657_116_234_666_490_4),
            ("weighted_f2", 0.638_402_435_439_460_1),
        ],
    );
    let deviation = report
        .statistics
        .metric("accuracy")
        .unwrap()
        .standard_deviation;
    assert!(
        (0.001..0.012).contains(&deviation),
        "AWS's is 0.0037: {deviation}"
    );
    let regression = settings(&[("problem_type", "Regression"), BINARY[1], BINARY[3]]);
    let report = table(&rows([1180, 510, 268, 138]), Format::Csv, &regression).unwrap();
    all_close(
        &report,
        &[
            ("mae", 0.371_183_206_106_870_2),
            ("mse", 0.371_183_206_106_870_2),
            ("rmse", 0.609_248_066_149_471),
        ],
    );
    // AWS's last three digits are other roundings of sums.
    let r2 = report.statistics.metric("r2").unwrap().value;
    assert!((r2 + 1.376_611_187_221_266_5).abs() < 1e-13);
}

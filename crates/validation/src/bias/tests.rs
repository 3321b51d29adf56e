//! Compares with AWS's files, and with numbers of AWS's open library.

use std::fmt::Write as _;
use std::io::Cursor;

use serde_json::Value as Json;

use super::metrics::{Cells, Counts, Predicted};
use super::*;

mod whole;

/// Metrics of [`generated`], computed by AWS's `smclarify` 0.5 (pandas 2.2.3, scikit-learn 1.9.1): of the
/// facets `sex` (value 0), `age` (threshold 45) and `region` (`each` value, or 1 and 2).
const REFERENCE: &str = include_str!("tests/smclarify.json");

/// A file that AWS wrote, or its data.
fn aws(name: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::read_to_string(format!("{root}/../../tests/data/aws-output/clarify/{name}")).unwrap()
}

fn analysis(name: &str) -> Analysis {
    serde_json::from_str(&aws(name)).unwrap()
}

fn source(text: &str) -> Vec<Source> {
    let text = text.to_owned();
    vec![Source::stream("t", move || Ok(Cursor::new(text)))]
}

fn run(settings: &Settings, text: &str, format: &Format) -> Result<Outcome, String> {
    analyze(settings, source(text), format, None).map_err(|error| error.to_string())
}

fn named(name: &str) -> Column {
    Column::Name(name.to_owned())
}

fn facet(name: &str, values: &[&str]) -> FacetSettings {
    FacetSettings {
        column: named(name),
        selection: Selection::aws(values.iter().map(|value| Value::new(*value)).collect()),
    }
}

/// 400 rows of a linear congruential generator. The script that made [`REFERENCE`] has the same.
fn generated() -> String {
    let mut state = 20_261_130_u64;
    let mut next = |end: u64| {
        state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
        (state >> 8) % end
    };
    let mut text = "sex,age,region,income,label,predicted\n".to_owned();
    for _ in 0..400 {
        let (sex, age, region, income) = (next(3) % 2, 18 + next(60), next(4), next(100_000));
        let chance = 300 + 200 * sex + if age > 45 { 100 } else { 0 } + 40 * region;
        let label = u64::from(next(1_000) < chance);
        let predicted = if next(10) < 8 { label } else { next(2) };
        let income = format!("{}.{:02}", income / 100, income % 100);
        writeln!(text, "{sex},{age},{region},{income},{label},{predicted}").unwrap();
    }
    text
}

/// The settings for the generated table.
fn settings(facets: Vec<FacetSettings>) -> Settings {
    Settings {
        label: Some(named("label")),
        prediction: Some(Prediction::Label(named("predicted"))),
        favorable: Selection::aws(vec![Value::new("1")]),
        facets,
        group: Some(named("region")),
        ..Settings::default()
    }
}

fn metrics<'a>(analysis: &'a Analysis, post: bool, facet: &str, group: &str) -> &'a [BiasMetric] {
    let stage = if post {
        &analysis.post_training_bias_metrics
    } else {
        &analysis.pre_training_bias_metrics
    };
    let groups = stage.as_ref().unwrap().facets.get(facet).iter();
    let texts: Vec<&str> = groups
        .clone()
        .map(|group| group.value_or_threshold.as_str())
        .collect();
    let mut found = groups.filter(|found| found.value_or_threshold == group);
    &found
        .next()
        .unwrap_or_else(|| panic!("{group} is not in {texts:?}"))
        .metrics
}

/// Compares values up to rounding: a few units in the last place of 1.
fn close(found: Option<f64>, expected: Option<f64>, what: &str) {
    let same = match (found, expected) {
        (Some(found), Some(expected)) => {
            let near = (found - expected).abs() <= 2e-15 * expected.abs().max(1.0);
            near || (found.is_infinite() && found.to_bits() == expected.to_bits())
        }
        (found, expected) => found == expected,
    };
    assert!(same, "{what}: {found:?} instead of {expected:?}");
}

/// Compares one of our stages with AWS's: names, descriptions, order, values.
fn same_stage(ours: Option<&BiasMetrics>, aws: Option<&BiasMetrics>, except: &[&str]) {
    let (ours, aws) = (ours.unwrap(), aws.unwrap());
    assert_eq!(ours.label, aws.label);
    assert_eq!(ours.label_value_or_threshold, aws.label_value_or_threshold);
    assert_eq!(ours.facets.0.len(), aws.facets.0.len());
    for ((facet, ours), (known, aws)) in ours.facets.0.iter().zip(&aws.facets.0) {
        assert_eq!(facet, known);
        assert_eq!(ours.len(), aws.len());
        for (ours, aws) in ours.iter().zip(aws) {
            assert_eq!(ours.value_or_threshold, aws.value_or_threshold);
            let names = |facet: &Facet| -> Vec<(String, String)> {
                let metrics = facet.metrics.iter();
                metrics
                    .map(|m| (m.name.clone(), m.description.clone()))
                    .collect()
            };
            assert_eq!(names(ours), names(aws));
            for (ours, aws) in ours.metrics.iter().zip(&aws.metrics) {
                if !except.contains(&aws.name.as_str()) {
                    close(ours.value, aws.value, &format!("{facet} {}", aws.name));
                    assert_eq!(ours.error, aws.error, "{facet} {}", aws.name);
                }
            }
        }
    }
}

/// AWS's data set as CSV without a header, and its configuration.
fn adult() -> (AnalysisConfig, String) {
    let config = aws("adult-bias/analysis_config.json");
    let mut config: Json = serde_json::from_str(&config).unwrap();
    // AWS's job read nested JSON by `features` and `label`; the test uses CSV.
    config["dataset_type"] = "text/csv".into();
    config.as_object_mut().unwrap().remove("features");
    config["label"] = "Target".into();
    let data: Json = serde_json::from_str(&aws("adult-bias/validation-dataset.json")).unwrap();
    let mut text = String::new();
    for row in data["instances"].as_array().unwrap() {
        let features = row["features"].as_array().unwrap().iter();
        let cells: Vec<String> = features
            .chain([&row["label"]])
            .map(Json::to_string)
            .collect();
        writeln!(text, "{}", cells.join(",")).unwrap();
    }
    (parse_config(config.to_string().as_bytes()).unwrap(), text)
}

#[test]
fn the_pre_training_metrics_of_aws_are_recomputed_from_its_data() {
    let (config, text) = adult();
    let mut settings = config.settings;
    settings.post_training.clear();
    let found = run(&settings, &text, &Format::Csv).unwrap().analysis;
    let known = analysis("adult-bias/analysis.json");
    same_stage(
        found.pre_training_bias_metrics.as_ref(),
        known.pre_training_bias_metrics.as_ref(),
        &[],
    );

    let config = aws("stars-pre-training/analysis_config.json");
    let mut settings = parse_config(config.as_bytes()).unwrap().settings;
    // 3 of the 23 columns are kept, with their header.
    settings.headers.clear();
    let data = aws("stars-pre-training/data.csv");
    let found = run(&settings, &data, &Format::Csv).unwrap().analysis;
    let known = analysis("stars-pre-training/analysis.json");
    same_stage(
        found.pre_training_bias_metrics.as_ref(),
        known.pre_training_bias_metrics.as_ref(),
        &[],
    );
}

/// A confusion matrix per group: true and false positives, false and true negatives, first outside of the
/// group.
fn counts(a: [u64; 4], d: [u64; 4]) -> Counts {
    let mut all = Cells::default();
    for (facet, [tp, fp, fn_, tn]) in [(false, a), (true, d)] {
        all.0[Cells::index(facet, true, Predicted::Positive)] = tp;
        all.0[Cells::index(facet, false, Predicted::Positive)] = fp;
        all.0[Cells::index(facet, true, Predicted::Negative)] = fn_;
        all.0[Cells::index(facet, false, Predicted::Negative)] = tn;
    }
    Counts {
        all,
        groups: Vec::new(),
    }
}

/// The predictions are not public, but few confusion matrices have the metrics that AWS printed: the
/// smallest data with AWS's CI and DPL, and the only matrices of it with AWS's RD, DPPL, DAR, DRR and
/// TE. All other metrics then agree, too. Files of 2020 and 2021 (fraud, german-credit) measure JS from the
/// distribution of all rows; those of 2024 and 2026, as the developer guide, from the mean of the two.
#[test]
fn the_post_training_metrics_of_aws_follow_from_its_confusion_matrices() {
    for (name, facet, group, a, d) in [
        (
            "adult-bias/analysis.json",
            "Sex",
            "0",
            [86, 36, 57, 277],
            [8, 2, 9, 191],
        ),
        (
            "german-credit/analysis.json",
            "ForeignWorker",
            "0",
            [522, 28, 8, 211],
            [28, 0, 0, 3],
        ),
        (
            "german-credit/analysis.json",
            "Age",
            "(40, 75]",
            [394, 20, 6, 163],
            [156, 8, 2, 51],
        ),
        (
            "fraud/bias_1-analysis.json",
            "customer_gender_female",
            "1",
            [2707, 89, 0, 0],
            [1187, 17, 0, 0],
        ),
    ] {
        let (known, counts) = (analysis(name), counts(a, d));
        let mut compared = 0;
        for post in [false, true] {
            for known in metrics(&known, post, facet, group) {
                let all = Metric::PRE_TRAINING.iter().chain(&Metric::POST_TRAINING);
                let metric = all
                    .clone()
                    .find(|metric| metric.name() == known.name)
                    .unwrap();
                assert_eq!(metric.description(), known.description);
                let pooled = *metric == Metric::JS && !name.starts_with("adult");
                if matches!(metric, Metric::CDDL | Metric::CDDPL | Metric::FT) || pooled {
                    continue;
                }
                close(
                    counts.metric(*metric).ok(),
                    known.value,
                    &format!("{name} {metric}"),
                );
                compared += 1;
            }
        }
        assert!(compared >= 15, "{name}: {compared}");
    }
}

/// The run that AWS's monitor compared with the adult baseline: 334 rows, whose confusion matrices follow
/// from the violations. Its violations are those of the plain check, and not of the intervals: DCA of
/// −36.7 is based on two positive predictions.
#[test]
fn violations_are_those_of_aws() {
    let (a, d) = ([32, 17, 130, 45], [2, 0, 78, 30]);
    let data: Json = serde_json::from_str(&aws("adult-bias/test-dataset.json")).unwrap();
    let rows = data["instances"].as_array().unwrap();
    let inside = rows.iter().filter(|row| row["features"][9] == 0).count() as u64;
    assert_eq!(
        (rows.len() as u64 - inside, inside),
        (a.iter().sum(), d.iter().sum())
    );
    let counts = counts(a, d);
    let report: Vec<BiasMetric> = Metric::POST_TRAINING
        .iter()
        .map(|metric| BiasMetric {
            name: metric.name().to_owned(),
            description: String::new(),
            // Not a function of these counts: AWS's value.
            value: match metric {
                Metric::CDDPL => Some(0.374_894_782_529_513),
                metric => counts.metric(*metric).ok(),
            },
            error: None,
            others: Map::new(),
        })
        .collect();
    let mut live = analysis("adult-bias/analysis.json");
    let stage = live.post_training_bias_metrics.as_mut().unwrap();
    stage.facets.0[0].1[0].metrics = report;
    live.pre_training_bias_metrics = None;
    let mut baseline = BiasBaseline {
        analysis: analysis("adult-bias/analysis.json"),
        check: Check::FartherFromZero,
    };
    let found = drift::check(&live, &[], &baseline).unwrap();
    let expected = aws("adult-bias/constraint_violations-batch.json");
    let expected: Violations = serde_json::from_str(&expected).unwrap();
    let named = |all: &Violations| -> Vec<Option<String>> {
        all.violations
            .iter()
            .map(|v| v.metric_name.clone())
            .collect()
    };
    assert_eq!(named(&found), named(&expected));
    for (found, expected) in found.violations.iter().zip(&expected.violations) {
        // The last digit depends on the order of operations.
        let words = |text: &str| -> Vec<String> {
            let words = text.split(' ').map(|word| match word.parse::<f64>() {
                Ok(number) => format!("{number:.12}"),
                Err(_) => word.to_owned(),
            });
            words.collect()
        };
        assert_eq!(words(&found.description), words(&expected.description));
        let rest = |violation: &super::super::Violation| super::super::Violation {
            description: String::new(),
            ..violation.clone()
        };
        assert_eq!(rest(found), rest(expected));
    }
    assert_eq!(found.version, expected.version);

    baseline.check = Check::Interval { tolerance: 0.0 };
    let errors = bootstrap::standard_errors(&counts, &Metric::POST_TRAINING, 1);
    let live_metrics = &live.post_training_bias_metrics.as_ref().unwrap().facets.0[0].1[0].metrics;
    let intervals: Vec<MetricInterval> = live_metrics
        .iter()
        .zip(errors)
        .filter_map(|(metric, error)| {
            let (value, reach) = (metric.value?, 1.96 * error?);
            Some(MetricInterval {
                post_training: true,
                facet: "Sex".to_owned(),
                facet_value: "0".to_owned(),
                metric: metric.name.clone(),
                low: value - reach,
                high: value + reach,
            })
        })
        .collect();
    let found = named(&drift::check(&live, &intervals, &baseline).unwrap());
    assert!(!found.contains(&Some("DCA".to_owned())), "{found:?}");
    assert!(found.contains(&Some("GE".to_owned())), "{found:?}");
}

#[test]
fn all_metrics_are_those_of_the_open_library() {
    let facets = vec![
        facet("sex", &["0"]),
        facet("age", &["45"]),
        facet("region", &[]),
    ];
    let found = run(&settings(facets), &generated(), &Format::Csv).unwrap();
    assert_eq!(found.rows, 400);
    let several = vec![facet("region", &["1", "2"])];
    let several = run(&settings(several), &generated(), &Format::Csv).unwrap();
    let reference: Json = serde_json::from_str(REFERENCE).unwrap();
    let mut compared = 0;
    for (name, found) in [("each", &found), ("several", &several)] {
        for known in reference[name].as_array().unwrap() {
            let (facet, group) = (
                known["facet"].as_str().unwrap(),
                known["group"].as_str().unwrap(),
            );
            let ours = metrics(&found.analysis, known["post"] == true, facet, group);
            let known = known["metrics"].as_object().unwrap();
            assert_eq!(ours.len(), known.len());
            for (ours, (name, value)) in ours.iter().zip(known) {
                assert_eq!(ours.name, *name);
                close(
                    ours.value,
                    value.as_f64(),
                    &format!("{facet} {group} {name}"),
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 7 * 21);
    // Each finite metric with an interval has it around its value.
    let ad = found
        .intervals
        .iter()
        .find(|i| i.metric == "AD" && i.facet == "sex")
        .unwrap();
    assert!(ad.low < 0.0069 && ad.high > 0.0070, "{ad:?}");
    let ft = found
        .intervals
        .iter()
        .find(|i| i.metric == "FT" && i.facet == "sex")
        .unwrap();
    assert!(
        (f64::midpoint(ft.low, ft.high) + 0.200_772).abs() < 1e-6,
        "{ft:?}"
    );
}

#[test]
fn configurations_of_aws_are_parsed() {
    let parse = |name: &str| parse_config(aws(name).as_bytes());
    let error = parse("adult-bias/analysis_config.json").unwrap_err();
    assert!(error.starts_with("`features` is not supported"), "{error}");
    let german = parse("german-credit/analysis_config.json")
        .unwrap()
        .settings;
    assert_eq!(
        german.facets,
        [facet("ForeignWorker", &["0"]), facet("Age", &["40"])]
    );
    assert_eq!(german.group, Some(named("A151")));
    assert_eq!(
        (german.pre_training.len(), german.post_training.len()),
        (8, 13)
    );
    // The predictions come from an endpoint.
    assert!(
        german
            .check()
            .unwrap_err()
            .contains("post-training metrics need predictions")
    );
    let fraud = parse("fraud/analysis_config.json").unwrap().settings;
    fraud.check().unwrap();
    assert_eq!(fraud.favorable, Selection::aws(vec![Value::new("0")]));
}

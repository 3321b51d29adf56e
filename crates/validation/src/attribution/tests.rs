//! The engine against the `shap` package. The expected values are those of shap 0.51.0 with
//! `l1_reg=0`, printed by `tests/oracles/attribution_values.py`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use super::super::clarify::Analysis;
use super::coalitions::float;
use super::*;

fn table(rows: &[&[f64]]) -> Table {
    let columns = (0..rows[0].len()).map(|i| format!("f{i}")).collect();
    let rows = rows.iter().map(|row| row.iter().map(f64::to_string));
    Table::from_rows("t", columns, rows).unwrap()
}

/// Returns predictions for a number of rows.
type Answer = fn(usize) -> Predictions;

/// A model of numbers. It cannot fail.
fn model(
    outputs: usize,
    predict: impl Fn(&[f64]) -> Vec<f64> + Sync,
) -> impl Fn(&Rows<'_>) -> Result<Predictions, String> + Sync {
    move |rows| {
        let values = rows.iter().flat_map(|row| {
            let numbers: Vec<f64> = row.map(|cell| cell.parse().unwrap()).collect();
            predict(&numbers)
        });
        Ok(Predictions {
            outputs,
            values: values.collect(),
        })
    }
}

fn explained(
    settings: &Settings,
    sample: &Table,
    background: &Table,
    model: &impl Model<Error = String>,
) -> Result<Explanation, String> {
    explain(settings, sample, background, model, &Limits::default())
        .map_err(|error| error.to_string())
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < tolerance, "{found} {expected}");
    }
}

const BACKGROUND: [&[f64]; 3] = [
    &[0.5, 1.0, -1.0, 0.25, 2.0],
    &[1.5, -0.5, 0.0, 0.75, -1.0],
    &[-1.0, 0.25, 2.0, -0.5, 0.5],
];
const SAMPLE: [&[f64]; 3] = [
    &[1.0, 2.0, 3.0, 0.5, -1.5],
    &[0.5, 1.0, 0.5, -2.0, 0.25],
    &[-0.75, 0.125, -2.5, 1.25, 3.0],
];

fn score(x: &[f64]) -> f64 {
    0.8 * x[0] - 0.5 * x[1] * x[2] + x[3].sin() + 0.3 * x[0] * x[4]
}

fn probability(x: &[f64]) -> f64 {
    1.0 / (1.0 + (-score(x)).exp())
}

#[test]
fn several_outputs_agree_with_shap() {
    let model = model(2, |x| vec![score(x), probability(x)]);
    let (sample, background) = (table(&SAMPLE), table(&BACKGROUND));
    let found = explained(&Settings::default(), &sample, &background, &model).unwrap();
    let expected = [
        [
            [
                0.508_333_333_333_331_4,
                -1.520_833_333_333_332,
                -1.562_499_999_999_998_7,
                0.329_553_145_046_317_3,
                -0.325_000_000_000_000_2,
            ],
            [
                0.078_006_244_834_036_38,
                -0.260_754_133_250_985_1,
                -0.301_133_466_311_967_14,
                0.045_460_088_114_161_48,
                -0.050_463_409_713_322_194,
            ],
        ],
        [
            [
                0.227_083_333_333_332_6,
                -0.218_749_999_999_999_97,
                -0.114_583_333_333_333_6,
                -1.059_169_820_383_565_3,
                0.043_749_999_999_999_956,
            ],
            [
                0.030_491_751_951_483_036,
                -0.035_961_307_358_589_94,
                -0.034_570_340_657_329_6,
                -0.228_370_624_532_564_88,
                0.004_098_935_286_796_779,
            ],
        ],
        [
            [
                -1.360_416_666_666_665_5,
                -0.130_208_333_333_333_26,
                0.203_124_999_999_999_67,
                0.799_112_225_797_700_5,
                -0.081_249_999_999_999_82,
            ],
            [
                -0.238_747_923_668_832_13,
                -0.025_981_677_133_532_336,
                0.035_098_898_716_771_63,
                0.151_180_980_207_744_65,
                -0.055_198_870_694_620_567,
            ],
        ],
    ];
    for (row, outputs) in expected.iter().enumerate() {
        for (label, values) in outputs.iter().enumerate() {
            assert_close(found.local(row, label).unwrap(), values, 1e-10);
        }
    }
    let bases: Vec<f64> = found.labels.iter().map(|l| l.expected_value).collect();
    assert_close(
        &bases,
        &[0.399_872_393_557_884_73, 0.591_308_885_467_695_6],
        1e-12,
    );
    let names: Vec<&str> = found.labels.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["label0", "label1"]);
    // The mean of the absolute values of the first feature.
    let mean = (0.508_333_333_333_331_4 + 0.227_083_333_333_332_6 + 1.360_416_666_666_665_5) / 3.0;
    assert!((found.labels[0].global[0] - mean).abs() < 1e-12);
    // Every row has all 30 coalitions, and the background has three rows.
    assert_eq!(found.predictions, 3 + 3 * (1 + 30 * 3));
    let planned = predictions(&Settings::default(), &sample, &background);
    assert_eq!(planned, found.predictions);
}

#[test]
fn log_odds_agree_with_shap() {
    let settings = Settings {
        use_logit: true,
        ..Settings::default()
    };
    let model = model(1, |x| vec![probability(x)]);
    let found = explained(&settings, &table(&SAMPLE), &table(&BACKGROUND), &model).unwrap();
    let expected: [&[f64]; 3] = [
        &[
            0.393_012_765_290_347_3,
            -1.349_305_687_903_201_3,
            -1.508_265_373_201_792_3,
            0.239_359_624_707_047_75,
            -0.314_754_670_479_264_75,
        ],
        &[
            0.129_045_332_435_242_5,
            -0.153_589_066_973_878_97,
            -0.147_549_637_779_484_6,
            -0.936_217_001_307_158_7,
            0.017_134_066_608_532_006,
        ],
        &[
            -1.011_634_604_345_144,
            -0.111_126_558_442_176_02,
            0.152_786_092_822_009_44,
            0.661_970_771_164_169_6,
            -0.231_139_962_034_338_5,
        ],
    ];
    for (row, values) in expected.into_iter().enumerate() {
        assert_close(found.local(row, 0).unwrap(), values, 1e-9);
    }
    assert!((found.labels[0].expected_value - 0.369_378_880_191_065_85).abs() < 1e-12);
}

/// The maximum error of shap for this function and 500 samples, over 200 seeds, is 0.0051 on average
/// and 0.0100 at most.
#[test]
fn sampled_values_have_the_error_of_shap() {
    let exact = [
        0.280_729_180_060_448_67,
        0.133_136_686_191_486_22,
        -0.026_939_510_968_422_9,
        -0.198_974_502_949_084_45,
        0.093_474_822_062_191_18,
        -0.168_887_244_002_928_18,
        -0.053_979_730_748_602_156,
        0.0,
        -0.273_772_905_502_733_4,
        0.045_686_161_593_898_44,
        0.040_217_411_593_898_83,
        -0.479_536_146_815_557_6,
        0.080_200_235_391_834_98,
        0.026_837_425_615_676_37,
    ];
    let model = model(1, |x| {
        let z: f64 = (0..14)
            .map(|i| x[i] * (float((7 * i) % 11) - 5.0) / 4.0)
            .sum();
        vec![(z / 4.0).tanh() + 0.1 * x[0] * x[5] - 0.05 * x[3] * x[9] * x[11]]
    });
    let row: Vec<f64> = (0..14)
        .map(|i| (float((5 * i) % 7) - 3.0) / 2.0 + 0.25)
        .collect();
    let (sample, background) = (table(&[&row]), table(&[&[0.0; 14]]));
    let run = |samples: usize, seed: u64| {
        let settings = Settings {
            num_samples: Some(samples),
            seed,
            ..Settings::default()
        };
        explained(&settings, &sample, &background, &model).unwrap()
    };
    assert_close(run(1 << 14, 0).local(0, 0).unwrap(), &exact, 1e-10);
    let mut sum = 0.0;
    for seed in 0..20 {
        let found = run(500, seed);
        assert_eq!(found.predictions, 1 + 1 + 500);
        let errors = found.local(0, 0).unwrap().iter().zip(exact);
        let worst = errors.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 0.011, "{worst}");
        sum += worst;
    }
    assert!(sum / 20.0 < 0.006, "{sum}");
    assert_eq!(run(500, 3), run(500, 3));
    assert_ne!(run(500, 3), run(500, 4));
}

/// For a linear model, the attribution is the weight times the difference to the background's mean.
#[test]
fn a_linear_model_has_its_closed_form() {
    let weight = |i: usize| float((i * 13) % 17) - 8.0;
    let model = model(1, move |x| {
        vec![
            x.iter()
                .enumerate()
                .map(|(i, x)| weight(i) * x)
                .sum::<f64>()
                + 3.0,
        ]
    });
    let row = |shift: f64| -> Vec<f64> { (0..40).map(|i| (float(i) + shift).sin()).collect() };
    let background = [row(0.5), row(2.0)];
    let sample = [row(9.0), row(4.5)];
    let slices = |rows: &[Vec<f64>; 2]| table(&[&rows[0], &rows[1]]);
    let settings = Settings {
        num_samples: Some(300),
        ..Settings::default()
    };
    let found = explained(&settings, &slices(&sample), &slices(&background), &model).unwrap();
    for (number, row) in sample.iter().enumerate() {
        let expected: Vec<f64> = (0..40)
            .map(|i| weight(i) * (row[i] - f64::midpoint(background[0][i], background[1][i])))
            .collect();
        assert_close(found.local(number, 0).unwrap(), &expected, 1e-9);
    }
}

#[test]
fn text_is_replaced_by_the_backgrounds_text() {
    let columns = ["colour", "size", "same", "empty"]
        .map(str::to_owned)
        .to_vec();
    let table =
        |rows: &[[&str; 4]]| Table::from_rows("t", columns.clone(), rows.iter().copied()).unwrap();
    let sample = table(&[["red", "XL", "a,b", ""], ["blue", "S", "a,b", "x"]]);
    let background = table(&[["blue", "S", "a,b", "x"]]);
    let seen = Mutex::new(Vec::new());
    let model = |rows: &Rows<'_>| -> Result<Predictions, String> {
        seen.lock().unwrap().push(rows.to_csv());
        let values = rows.iter().map(|row| {
            let cells: Vec<&str> = row.collect();
            let points = |i: usize, text: &str, points: f64| {
                if cells[i] == text { points } else { 0.0 }
            };
            points(0, "red", 10.0) + points(1, "XL", 5.0) + points(3, "", 1.0)
        });
        Ok(Predictions::single(values.collect()))
    };
    let found = explained(&Settings::default(), &sample, &background, &model).unwrap();
    assert_close(found.local(0, 0).unwrap(), &[10.0, 5.0, 0.0, 1.0], 1e-12);
    // A row like the background has no attributions.
    assert_eq!(found.local(1, 0).unwrap(), [0.0; 4]);
    assert_eq!(found.predictions, 1 + (1 + 6) + 1);
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen[0], "blue,S,\"a,b\",x\n");
    assert!(seen[1].contains("\nred,S,\"a,b\",\n"), "{}", seen[1]);
    assert!(seen[1].ends_with("\nblue,S,\"a,b\",x\n"), "{}", seen[1]);
}

#[test]
fn a_single_feature_has_the_entire_effect() {
    let model = model(1, |x| vec![x[0] * x[0] + x[1]]);
    let sample = table(&[&[3.0, 1.0]]);
    let found = explained(
        &Settings::default(),
        &sample,
        &table(&[&[1.0, 1.0]]),
        &model,
    )
    .unwrap();
    assert_eq!(found.local(0, 0).unwrap(), [8.0, 0.0]);
    assert_eq!(found.predictions, 2);
}

#[test]
fn batches_and_threads_do_not_change_results() {
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wait = AtomicBool::new(false);
    let sizes = Mutex::new(Vec::new());
    let inner = model(2, |x| vec![score(x), probability(x)]);
    let model = |rows: &Rows<'_>| {
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // The first batch of several waits for a second one.
        let start = Instant::now();
        while rows.len() == 7
            && wait.load(Ordering::SeqCst)
            && most.load(Ordering::SeqCst) < 2
            && start.elapsed().as_secs() < 10
        {
            std::thread::yield_now();
        }
        sizes
            .lock()
            .unwrap()
            .push((rows.len(), rows.to_csv().len()));
        let result = inner(rows);
        running.fetch_sub(1, Ordering::SeqCst);
        result
    };
    let run = |rows, bytes, parallel| {
        let limits = Limits {
            rows,
            bytes,
            parallel,
        };
        sizes.lock().unwrap().clear();
        most.store(0, Ordering::SeqCst);
        wait.store(parallel > 1, Ordering::SeqCst);
        let settings = Settings {
            num_samples: Some(17),
            ..Settings::default()
        };
        let (sample, background) = (table(&SAMPLE), table(&BACKGROUND));
        explain(&settings, &sample, &background, &model, &limits).unwrap()
    };
    let whole = run(1000, 1 << 20, 1);
    let lengths: Vec<usize> = sizes
        .lock()
        .unwrap()
        .iter()
        .map(|(rows, _)| *rows)
        .collect();
    assert_eq!(lengths, [3, 156]);
    for rows in [1, 2, 7, 64] {
        let one = run(rows, 1 << 20, 1);
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert!(
            sizes
                .lock()
                .unwrap()
                .iter()
                .all(|(found, _)| *found <= rows)
        );
        for (found, expected) in one.labels.iter().zip(&whole.labels) {
            assert_close(&found.global, &expected.global, 1e-12);
        }
        let four = run(rows, 1 << 20, 4);
        let most = most.load(Ordering::SeqCst);
        assert!(most <= 4 && (rows != 7 || most > 1), "{most}");
        assert_eq!(four, one);
    }
    run(1000, 200, 3);
    let sizes = sizes.lock().unwrap();
    assert!(sizes.iter().all(|(_, bytes)| *bytes <= 200), "{sizes:?}");
    assert!(sizes.iter().any(|(rows, _)| *rows > 5));
}

#[test]
fn rows_of_several_waves_are_explained_in_order() {
    let rows: Vec<Vec<f64>> = (0..150).map(|i| vec![float(i), 1.0 - float(i)]).collect();
    let slices: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
    let model = model(1, |x| vec![2.0 * x[0] + x[1]]);
    let limits = Limits {
        rows: 3,
        ..Limits::default()
    };
    let (sample, background) = (table(&slices), table(&[&[-1.0, -1.0]]));
    let found = explain(&Settings::default(), &sample, &background, &model, &limits).unwrap();
    assert_eq!(found.rows(), 150);
    for (number, row) in rows.iter().enumerate() {
        let expected = [2.0 * (row[0] + 1.0), row[1] + 1.0];
        assert_close(found.local(number, 0).unwrap(), &expected, 1e-9);
    }
}

#[test]
fn the_models_error_ends_the_explanation() {
    let calls = AtomicUsize::new(0);
    let model = |rows: &Rows<'_>| {
        if calls.fetch_add(1, Ordering::SeqCst) < 2 {
            return Ok(Predictions::single(vec![0.5; rows.len()]));
        }
        Err("503".to_owned())
    };
    let limits = Limits {
        rows: 3,
        parallel: 1,
        ..Limits::default()
    };
    let (sample, background) = (table(&SAMPLE), table(&BACKGROUND));
    let found = explain(&Settings::default(), &sample, &background, &model, &limits);
    assert!(matches!(found, Err(Error::Model(message)) if message == "503"));
    assert_eq!(calls.into_inner(), 3);
}

#[test]
fn unusable_predictions_are_refused() {
    let (sample, background) = (table(&SAMPLE), table(&BACKGROUND));
    let logit = Settings {
        use_logit: true,
        ..Settings::default()
    };
    let plain = Settings::default();
    let cases: [(&Settings, Answer, &str); 5] = [
        (
            &plain,
            |rows| Predictions::single(vec![0.0; rows + 1]),
            "predictions: the model returned 4 values for 3 rows, not 3",
        ),
        (
            &plain,
            |rows| Predictions::single(vec![f64::NAN; rows]),
            "predictions: the model returned NaN, which cannot be explained",
        ),
        (
            &plain,
            |rows| Predictions {
                outputs: rows,
                values: vec![0.0; rows * rows],
            },
            "predictions: the model returned 273 outputs per row, but 3 before",
        ),
        (
            &plain,
            |_| Predictions {
                outputs: 0,
                values: Vec::new(),
            },
            "predictions: the model has 0 outputs per row, not from 1 to 1000",
        ),
        (
            &logit,
            |rows| Predictions::single(vec![1.0; rows]),
            "predictions: use_logit needs predictions between 0 and 1 (both exclusive), but one is 1",
        ),
    ];
    for (settings, answer, message) in cases {
        let model = |rows: &Rows<'_>| Ok::<_, String>(answer(rows.len()));
        let found = explained(settings, &sample, &background, &model);
        assert_eq!(found.unwrap_err(), message);
    }
}

#[test]
fn unusable_input_is_refused_before_the_model_is_called() {
    let model = |_: &Rows<'_>| -> Result<Predictions, String> { Err("called".to_owned()) };
    let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let of = |names: &[&str], rows: usize| {
        let row = || names.iter().map(|_| "1");
        Table::from_rows("t", columns(names), (0..rows).map(|_| row())).unwrap()
    };
    let error = |settings: &Settings, sample: &Table, background: &Table| {
        explained(settings, sample, background, &model).unwrap_err()
    };
    let (plain, ab) = (Settings::default(), of(&["a", "b"], 1));
    for (sample, background, message) in [
        (
            &of(&["a"], 0),
            &of(&["a"], 1),
            "rows to explain: there are no rows",
        ),
        (
            &of(&["a"], 1),
            &of(&["a"], 0),
            "SHAP baseline: there are no rows",
        ),
        (
            &of(&["a"], 1),
            &of(&["a"], 1001),
            "SHAP baseline: 1001 rows, but at most 1000",
        ),
        (
            &of(&["a"], 1),
            &ab,
            "SHAP baseline: 2 columns for 1 features",
        ),
        (
            &of(&["b", "a"], 1),
            &ab,
            "SHAP baseline: the column `a` is at the place of the feature `b`",
        ),
    ] {
        assert_eq!(error(&plain, sample, background), message);
    }
    let none = Settings {
        num_samples: Some(0),
        ..Settings::default()
    };
    let expected = "SHAP settings: num_samples must be a whole number from 1 to 1048576, not 0";
    assert_eq!(error(&none, &ab, &ab), expected);
}

#[test]
fn names_and_sizes_must_fit_the_outputs() {
    let model = |rows: &Rows<'_>| -> Result<Predictions, String> {
        Ok(Predictions {
            outputs: 2,
            values: vec![0.5; rows.len() * 2],
        })
    };
    let named = |names: &[&str]| Settings {
        label_headers: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..Settings::default()
    };
    let (sample, background) = (table(&SAMPLE), table(&BACKGROUND));
    let run = |settings: &Settings| explained(settings, &sample, &background, &model);
    assert_eq!(run(&named(&["no", "yes"])).unwrap().labels[1].name, "yes");
    let expected = "label headers: 1 names for 2 outputs of the model";
    assert_eq!(run(&named(&["no"])).unwrap_err(), expected);
    let expected = "label headers: the name `x` occurs twice";
    assert_eq!(run(&named(&["x", "x"])).unwrap_err(), expected);

    let wide = table(&[&[1.0; 2048]]);
    let settings = Settings {
        num_samples: Some(MAX_SAMPLES),
        ..Settings::default()
    };
    let found = explained(&settings, &wide, &wide, &model).unwrap_err();
    let expected = "rows to explain: 1048576 samples are too many for 2048 features and 2 outputs: \
                    reduce num_samples";
    assert_eq!(found, expected);
}

/// Clarify's own files: the section has the same members in the same order.
#[test]
fn the_section_has_the_layout_of_aws_files() {
    for text in [
        include_str!("../../../../tests/data/aws-output/clarify/adult-shap/analysis.json"),
        include_str!(
            "../../../../tests/data/aws-output/clarify/adult-shap/analysis-json-format.json"
        ),
        include_str!(
            "../../../../tests/data/aws-output/clarify/weather-shap-drift/analysis-baseline.json"
        ),
        include_str!(
            "../../../../tests/data/aws-output/clarify/fraud/explainability-analysis.json"
        ),
    ] {
        let analysis: Analysis = serde_json::from_str(text).unwrap();
        let section = analysis.explanations.clone().unwrap();
        let labels: Vec<String> = section.kernel_shap.unwrap().keys().cloned().collect();
        let attributions = analysis.attributions(&labels[0]).unwrap();
        let (features, values): (Vec<String>, Vec<f64>) = attributions
            .values()
            .into_iter()
            .map(|(feature, value)| (feature.to_owned(), value))
            .unzip();
        let expected = vec![attributions.expected_value.unwrap()];
        let aggregation = Aggregation::MeanAbs;
        let ours = Explanation::new(features, labels, expected, values, 0, aggregation);
        let analysis = Analysis {
            explanations: Some(ours.explanations()),
            ..analysis
        };
        let without_space = |text: &str| text.split_whitespace().collect::<String>();
        let found = serde_json::to_string(&analysis).unwrap();
        assert_eq!(without_space(&found), without_space(text));
    }
}

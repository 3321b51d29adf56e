//! Formats, predictions, baselines and errors, from bytes to files.

use std::fmt::Write as _;
use std::io::Cursor;

use super::super::super::capture::Window;
use super::super::super::files;
use super::super::super::violations::Violation;
use super::*;

/// The same table as JSON Lines.
fn as_json_lines(table: &str) -> String {
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut text = String::new();
    for line in lines {
        let members = names.iter().zip(line.split(','));
        let members: Vec<String> = members
            .map(|(name, cell)| format!("\"{name}\":{cell}"))
            .collect();
        writeln!(text, "{{{}}}", members.join(",")).unwrap();
    }
    text
}

/// The same table as captured traffic that SageMaker merged with ground truth.
fn as_captured(table: &str) -> String {
    let mut text = String::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (input, label, output) = (cells[..4].join(","), cells[4], cells[5]);
        writeln!(
            text,
            "{{\"captureData\":{{\"endpointInput\":{{\"data\":\"{input}\",\"encoding\":\"CSV\"}},\
             \"endpointOutput\":{{\"data\":\"{output}\",\"encoding\":\"CSV\"}}}},\
             \"groundTruthData\":{{\"data\":\"{label}\",\"encoding\":\"CSV\"}}}}"
        )
        .unwrap();
    }
    text
}

#[test]
fn all_formats_give_the_same_analysis() {
    let facets = || vec![facet("sex", &["0"]), facet("age", &["45"])];
    let expected = run(&settings(facets()), &generated(), &Format::Csv).unwrap();
    let found = run(
        &settings(facets()),
        &as_json_lines(&generated()),
        &Format::Jsonl,
    )
    .unwrap();
    assert_eq!(found, expected);
    let mut with_headers = settings(facets());
    let header = generated().lines().next().unwrap().to_owned();
    with_headers.headers = header.split(',').map(str::to_owned).collect();
    let window = Format::Capture(Window::default());
    let captured = as_captured(&generated());
    assert_eq!(run(&with_headers, &captured, &window).unwrap(), expected);
    assert_eq!(
        run(&with_headers, &generated(), &Format::Csv).unwrap(),
        expected
    );
    let (_, rows) = generated()
        .split_once('\n')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(run(&with_headers, &rows, &Format::Csv).unwrap(), expected);
    let short = rows.replace(',', ";");
    let error = run(&with_headers, &short, &Format::Csv).unwrap_err();
    assert!(
        error.contains("1 values, but `headers` has 6 names"),
        "{error}"
    );
}

#[test]
fn groups_times_strata_are_limited() {
    let mut text = "sex,region,label,predicted\n".to_owned();
    for row in 0..=tally::MAX_GROUPED / MAX_GROUPS {
        writeln!(text, "{},{row},1,1", row % MAX_GROUPS).unwrap();
    }
    let error = run(&settings(vec![facet("sex", &[])]), &text, &Format::Csv).unwrap_err();
    let expected = "t: 256 groups of facets and 16385 values of the group variable: their product is \
                    limited to 4194304";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn the_order_of_rows_does_not_matter() {
    let mut settings = settings(vec![facet("sex", &["0"])]);
    settings.group = Some(named("age"));
    let expected = run(&settings, &generated(), &Format::Csv).unwrap();
    let table = generated();
    let mut lines: Vec<&str> = table.lines().collect();
    lines[1..].reverse();
    let reversed = format!("{}\n", lines.join("\n"));
    assert_eq!(run(&settings, &reversed, &Format::Csv).unwrap(), expected);
}

/// Output columns are not features: the second one here is text, which the flip test would refuse.
#[test]
fn outputs_of_captured_traffic_are_found_by_position() {
    let mut text = String::new();
    for row in 0..40 {
        let (sex, score) = (row % 2, row % 9);
        writeln!(
            text,
            "{{\"captureData\":{{\"endpointInput\":{{\"data\":\"{sex},{row}\",\"encoding\":\"CSV\"}},\
             \"endpointOutput\":{{\"data\":\"0.{score},yes\",\"encoding\":\"CSV\"}}}}}}"
        )
        .unwrap();
    }
    let settings = Settings {
        prediction: Some(Prediction::Probability {
            column: Column::Index(0),
            threshold: 0.5,
        }),
        favorable: Selection::Values(vec![Value::new("1")]),
        facets: vec![facet("sex", &["0"])],
        headers: vec!["sex".to_owned(), "income".to_owned()],
        pre_training: Vec::new(),
        post_training: vec![Metric::DI, Metric::FT],
        ..Settings::default()
    };
    let window = Format::Capture(Window::default());
    let found = run(&settings, &text, &window).unwrap();
    let found = metrics(&found.analysis, true, "sex", "0");
    assert!(
        found.iter().all(|metric| metric.value.is_some()),
        "{found:?}"
    );
    let wide = text
        .replace(",yes", "")
        .replace("\",\"encoding", ",7\",\"encoding");
    let error = run(&settings, &wide, &window).unwrap_err();
    assert!(
        error.contains("the input has 3 values, but `headers` has 2 features"),
        "{error}"
    );
}

#[test]
fn parquet_gives_the_same_analysis() {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};

    let table = generated();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect();
    let names = table.lines().next().unwrap().split(',').enumerate();
    let columns = names.map(|(index, name)| {
        let cells = rows.iter().map(|row| row[index]);
        let values: ArrayRef = if name == "income" {
            Arc::new(
                cells
                    .map(|cell| cell.parse::<f64>().unwrap())
                    .collect::<Float64Array>(),
            )
        } else {
            Arc::new(
                cells
                    .map(|cell| cell.parse::<i64>().unwrap())
                    .collect::<Int64Array>(),
            )
        };
        (name, values)
    });
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let facets = || vec![facet("sex", &["0"]), facet("age", &["45"])];
    let expected = run(&settings(facets()), &generated(), &Format::Csv).unwrap();
    let sources = vec![Source::stream("t", move || Ok(Cursor::new(bytes)))];
    let found = analyze(&settings(facets()), sources, &Format::Parquet, None).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn predictions_can_be_probabilities_and_labels_can_be_absent() {
    let table = "g,p,y\na,0.9,1\na,0.2,0\nb,0.51,0\nb,0.5,1\nb,,1\n,0.9,0\na,0.9,\n";
    let mut settings = Settings {
        label: Some(named("y")),
        prediction: Some(Prediction::Probability {
            column: named("p"),
            threshold: 0.5,
        }),
        favorable: Selection::Values(vec![Value::new("1")]),
        facets: vec![facet("g", &["b"])],
        post_training: vec![Metric::AD, Metric::DI, Metric::DPPL],
        ..Settings::default()
    };
    let value = |outcome: &Outcome, post, name: &str| {
        let all = metrics(&outcome.analysis, post, "g", "b");
        all.iter()
            .find(|metric| metric.name == name)
            .unwrap()
            .value
            .unwrap()
    };
    let found = run(&settings, table, &Format::Csv).unwrap();
    assert!((value(&found, true, "AD") - 1.0).abs() < 1e-15);
    assert!((value(&found, true, "DI") - 1.0).abs() < 1e-15);
    // A row without a prediction counts for labels.
    assert!((value(&found, false, "DPL") - (0.5 - 2.0 / 3.0)).abs() < 1e-15);
    assert_eq!(found.skipped.no_label, 1);
    assert_eq!(found.skipped.no_prediction, 1);
    assert_eq!(found.skipped.no_facet, [("g".to_owned(), 1)]);

    // A favorable 0 reverses the outcome of a probability of 1.
    settings.favorable = Selection::Values(vec![Value::new("0")]);
    let found = run(&settings, table, &Format::Csv).unwrap();
    assert!((value(&found, true, "AD") - 1.0).abs() < 1e-15);
    assert!((value(&found, false, "DPL") - (0.5 - 1.0 / 3.0)).abs() < 1e-15);

    settings.favorable = Selection::Values(vec![Value::new("1")]);
    settings.label = None;
    settings.pre_training.clear();
    settings.post_training = vec![Metric::DPPL];
    let found = run(&settings, table, &Format::Csv).unwrap();
    assert!((value(&found, true, "DPPL") - (2.0 / 3.0 - 0.5)).abs() < 1e-15);
    assert_eq!(
        found.analysis.post_training_bias_metrics.unwrap().label,
        "p"
    );
}

#[test]
fn a_baseline_is_read_back_and_checked() {
    let settings = settings(vec![facet("sex", &["0"]), facet("age", &["45"])]);
    let first = run(&settings, &generated(), &Format::Csv).unwrap();
    let bytes = files::render(&first.analysis).unwrap();
    let read: Analysis = files::parse("analysis.json", &bytes).unwrap();
    assert_eq!(read, first.analysis);
    let mut baseline = BiasBaseline {
        analysis: read,
        check: Check::FartherFromZero,
    };
    let check = |text: &str, baseline: &BiasBaseline| {
        let outcome = analyze(&settings, source(text), &Format::Csv, Some(baseline)).unwrap();
        outcome.violations.unwrap().violations
    };
    assert_eq!(check(&generated(), &baseline), []);
    // Another maximum changes the interval's text, and no woman has a favorable prediction.
    let worse: String = generated()
        .replace(",77,", ",76,")
        .lines()
        .map(|line| match line.strip_suffix(",1") {
            Some(rest) if line.starts_with("0,") => format!("{rest},0\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let found = check(&worse, &baseline);
    let subjects: Vec<String> = found.iter().map(Violation::subject).collect();
    assert!(subjects.contains(&"sex 0 DPPL".to_owned()), "{subjects:?}");
    assert!(
        subjects
            .iter()
            .any(|subject| subject.starts_with("age (45, 76] ")),
        "{subjects:?}"
    );
    baseline.check = Check::Interval { tolerance: 0.0 };
    assert_eq!(check(&generated(), &baseline), []);
    let subjects: Vec<String> = check(&worse, &baseline)
        .iter()
        .map(Violation::subject)
        .collect();
    assert!(subjects.contains(&"sex 0 DPPL".to_owned()), "{subjects:?}");
    // Infinite metrics have no interval, and no tolerance allows them.
    baseline.check = Check::Interval { tolerance: 10.0 };
    let found = check(&worse, &baseline);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found
            .iter()
            .all(|violation| violation.description.contains("Infinity "))
    );

    baseline.analysis.post_training_bias_metrics = None;
    baseline.analysis.pre_training_bias_metrics = None;
    let nothing = analyze(
        &settings,
        source(&generated()),
        &Format::Csv,
        Some(&baseline),
    );
    let error = nothing.unwrap_err().to_string();
    assert!(error.contains("has none of the metrics"), "{error}");
}

#[test]
fn invalid_data_is_one_clear_error() {
    let good = settings(vec![facet("sex", &["0"])]);
    let error = |text: &str, change: &dyn Fn(&mut Settings)| {
        let mut settings = good.clone();
        change(&mut settings);
        run(&settings, text, &Format::Csv).unwrap_err()
    };
    let table = "sex,age,region,income,label,predicted\n0,1,2,3,1,1\n1,1,2,3,0,1\n";
    for (message, change) in [
        (
            "t: the data has no column `race` (facet); its columns are sex, age",
            &(|s: &mut Settings| s.facets = vec![facet("race", &["0"])]) as &dyn Fn(&mut Settings),
        ),
        ("no column `y` (label)", &|s| s.label = Some(named("y"))),
        ("no column `column_9` (group variable)", &|s| {
            s.group = Some(Column::Index(9));
        }),
        ("no facet: name", &|s| s.facets.clear()),
        ("the facet `sex` occurs twice", &|s| {
            s.facets.push(s.facets[0].clone());
        }),
        ("the facet `label` is also the label", &|s| {
            s.facets[0].column = named("label");
        }),
        ("no favorable values", &|s| s.favorable = Selection::Each),
        ("pre-training metrics need labels", &|s| s.label = None),
        ("post-training metrics need predictions", &|s| {
            s.prediction = None;
        }),
        ("label and prediction are the same", &|s| {
            s.prediction = Some(Prediction::Label(named("label")));
        }),
        ("the confidence level 1 is not", &|s| s.confidence = 1.0),
        ("AD compares predictions with labels", &|s| {
            s.label = None;
            s.pre_training.clear();
        }),
        ("CI is not a post-training metric", &|s| {
            s.post_training = vec![Metric::CI];
        }),
    ] {
        let found = error(table, change);
        assert!(found.contains(message), "{found}");
    }
    let header = table.lines().next().unwrap();
    let empty = analyze(&good, source(&format!("{header}\n")), &Format::Csv, None).unwrap_err();
    assert!(empty.is_empty());
    let unlabeled = error(&format!("{header}\n0,1,2,3,,1\n"), &|_| {});
    assert!(unlabeled.contains("no row has a label"), "{unlabeled}");
    let twice = run(&good, "{\"sex\":1,\"sex\":0}\n", &Format::Jsonl).unwrap_err();
    assert_eq!(twice, "t, line 1: the column `sex` occurs twice");
    let single = run(&good, &format!("{header}\n0,1,2,3,1,1\n"), &Format::Csv).unwrap();
    let ci = &metrics(&single.analysis, false, "sex", "0")[1];
    assert_eq!(ci.value, None);
    assert_eq!(
        ci.error.as_deref(),
        Some("the facet has no rows outside of this group")
    );
}

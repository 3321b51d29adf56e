//! Tests of joining captured traffic with ground truth.

use super::*;

fn captured(id: &str, output: &str, time: &str) -> String {
    let output = serde_json::Value::String(output.to_owned());
    format!(
        r#"{{"captureData":{{"endpointInput":{{"observedContentType":"text/csv","mode":"INPUT","data":"1,2","encoding":"CSV"}},"endpointOutput":{{"observedContentType":"text/csv","mode":"OUTPUT","data":{output},"encoding":"CSV"}}}},"eventMetadata":{{"eventId":"{id}","inferenceTime":"{time}"}},"eventVersion":"0"}}"#
    ) + "\n"
}

fn truth(id: &str, data: &str) -> String {
    let data = serde_json::Value::String(data.to_owned());
    format!(
        r#"{{"groundTruthData":{{"data":{data},"encoding":"CSV"}},"eventMetadata":{{"eventId":"{id}"}},"eventVersion":"0"}}"#
    ) + "\n"
}

fn regression() -> Settings {
    settings(&[("problem_type", "Regression"), ("inference_attribute", "0")])
}

fn window() -> Window {
    let at = |text: &str| Some(text.parse().unwrap());
    Window {
        since: at("2026-11-01T10:00:00Z"),
        until: at("2026-11-01T11:00:00Z"),
    }
}

fn run(
    settings: &Settings,
    captures: Vec<String>,
    labels: Vec<String>,
    window: Window,
) -> Result<QualityReport, String> {
    let sources = |kind: &str, texts: Vec<String>| {
        let texts = texts.into_iter().enumerate();
        texts
            .map(|(index, text)| source(&format!("{kind}{index}"), text))
            .collect()
    };
    let data = Data::Captures {
        captures: sources("c", captures),
        labels: sources("g", labels),
    };
    analyse(settings, data, window, None).map_err(|error| error.to_string())
}

const INSIDE: &str = "2026-11-01T10:30:00Z";

#[test]
fn every_way_to_miss_a_label_is_counted() {
    let captures = [
        captured("a", "1.0", INSIDE),
        captured("b", "2.0\n3.0\n", "2026-11-01T10:00:00Z"),
        captured("early", "9", "2026-11-01T11:00:00Z"),
        captured("late", "9", "2026-11-01T09:59:59Z"),
        captured("late and unknown", "9", "2026-11-01T09:59:59.5Z"),
        captured("unknown", "9", INSIDE),
        captured("wrong", "1\n2", INSIDE),
        captured("empty", "4", INSIDE),
        captured("a", "1.5", "2026-11-01T10:59:59.999Z"),
        captured("c", "0.5", INSIDE).replace(
            "\"eventId\":\"c\"",
            "\"eventId\":\"x\",\"inferenceId\":\"c\"",
        ),
    ];
    let first = [
        truth("a", "7"),
        truth("b", "2\n5\n"),
        truth("early", "9"),
        truth("late", "9"),
        truth("nobody", "9"),
        truth("x", "100"),
    ];
    let second = [
        truth("wrong", "1\n2\n3"),
        truth("a", "2.0"),
        truth("empty", ""),
        truth("empty", "\"\""),
        truth("c", "1.5"),
    ];
    let report = run(
        &regression(),
        vec![captures[..4].concat(), captures[4..].concat()],
        vec![first.concat(), second.concat()],
        window(),
    )
    .unwrap();
    let expected = JoinCounts {
        predictions: 7,
        joined: 5,
        predictions_without_label: 1,
        mismatched: 1,
        first_mismatch: Some(
            "c1, line 3: 2 rows of predictions, and 3 of labels (id `wrong`)".to_owned(),
        ),
        duplicate_predictions: 1,
        predictions_outside_window: 3,
        labels: 11,
        duplicate_labels: 2,
        late_labels: 1,
        early_labels: 1,
        labels_without_prediction: 2,
        incomplete_rows: 1,
        ..JoinCounts::default()
    };
    assert_eq!(report.counts, expected);
    assert_eq!(report.counts.join_rate(), Some(5.0 / 7.0));
    assert_eq!(report.statistics.dataset.item_count, 5);
    // |2 − 1|, |2 − 2|, |5 − 3|, |2 − 1.5|, |1.5 − 0.5|: the newest label of a.
    close(report.statistics.metric("mae").unwrap().value, 4.5 / 5.0);
    // Without a window, everything is joined.
    let all = run(
        &regression(),
        vec![captures.concat()],
        vec![first.concat(), second.concat()],
        Window::default(),
    );
    let counts = all.unwrap().counts;
    assert_eq!(
        (counts.predictions, counts.joined, counts.late_labels),
        (10, 7, 0)
    );
}

#[test]
fn nothing_joined_is_a_report_without_metrics() {
    let report = run(
        &regression(),
        vec![captured("a", "1", INSIDE)],
        vec![truth("b", "1")],
        window(),
    )
    .unwrap();
    assert_eq!(report.statistics.metrics(), None);
    assert_eq!(report.statistics.dataset.item_count, 0);
    assert_eq!(report.constraints, QualityConstraints::default());
    assert_eq!(report.counts.join_rate(), Some(0.0));
    assert_eq!(
        run(&regression(), vec![], vec![], window())
            .unwrap()
            .counts
            .join_rate(),
        None
    );
}

/// The built-in algorithms of AWS answer several rows with one line.
#[test]
fn one_line_of_predictions_may_be_several_rows() {
    let captures = captured("a", "1,2,3", INSIDE) + &captured("b", "4,5", INSIDE);
    let labels = truth("a", "1\n2\n5") + &truth("b", "4");
    let report = run(&regression(), vec![captures], vec![labels], window()).unwrap();
    assert_eq!(report.statistics.dataset.item_count, 4);
    close(report.statistics.metric("mae").unwrap().value, 0.5);
}

#[test]
fn bad_lines_are_named() {
    let good = captured("a", "1", INSIDE);
    let label = truth("a", "1");
    for (capture, label, message) in [
        (
            captured("a", "x", INSIDE),
            label.clone(),
            "c0, line 2: endpointOutput: `x` is not a number",
        ),
        (
            good.replace("captureData", "data"),
            label.clone(),
            "c0, line 2: the line has no captureData",
        ),
        (
            good.replace("endpointOutput", "other"),
            label.clone(),
            "c0, line 2: the endpoint's output was not captured",
        ),
        (
            good.replace("eventId", "id"),
            label.clone(),
            "c0, line 2: the event has neither inferenceId nor eventId",
        ),
        (
            good.replace("inferenceTime", "time"),
            label.clone(),
            "c0, line 2: the event has no inferenceTime",
        ),
        (
            captured("a", "1", "noon"),
            label.clone(),
            "c0, line 2: inferenceTime `noon` is not a time",
        ),
        (
            captured("a", "1", "2026-13-01T10:30:00+00:00"),
            label.clone(),
            "c0, line 2: inferenceTime",
        ),
        (
            good.clone(),
            truth("a", "1,2"),
            "g0, line 1: groundTruthData: 2 values in a row",
        ),
        (
            good.clone(),
            good.clone(),
            "g0, line 1: the line has captured data",
        ),
        (
            good.clone(),
            label.replace("eventId", "id"),
            "g0, line 1: the record has no eventId",
        ),
        (
            good.clone(),
            label.replace("groundTruthData", "truth"),
            "g0, line 1: there is no groundTruthData",
        ),
        (good.clone(), "{".to_owned(), "g0, line 1: not JSON"),
    ] {
        // It is counted and skipped; the other pair is joined.
        let other = (captured("other", "1", INSIDE), truth("other", "1"));
        let counts = run(
            &regression(),
            vec![format!("\n{capture}\n{}", other.0)],
            vec![format!("{label}\n{}", other.1)],
            window(),
        )
        .unwrap()
        .counts;
        assert_eq!(counts.joined, 1, "{message}");
        let found = (counts.unreadable_predictions, counts.unreadable_labels);
        let is_label = message.starts_with('g');
        assert_eq!(found, (u64::from(!is_label), u64::from(is_label)));
        let first = counts.first_unreadable_prediction;
        let error = first.or(counts.first_unreadable_label).unwrap();
        assert!(error.starts_with(message), "{error}");
    }
}

/// AWS's merge job's output, and the same data joined, in several files and threads.
#[test]
fn merged_lines_and_joined_lines_agree() {
    let aws = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/aws-output/captured-data/from-notebooks/aws-76.jsonl"
    ))
    .unwrap();
    let settings = super::settings(&[
        ("problem_type", "BinaryClassification"),
        ("inference_attribute", "$.SageMakerOutput.predicted_label"),
        ("probability_attribute", "$.SageMakerOutput.score"),
        ("ground_truth_attribute", "$.label"),
    ]);
    let of_aws = analyse(
        &settings,
        Data::Merged(vec![source("m", aws.clone())]),
        window(),
        None,
    )
    .unwrap();
    assert_eq!(
        (
            of_aws.counts.joined,
            of_aws.counts.labels,
            of_aws.counts.join_rate()
        ),
        (1, 1, Some(1.0))
    );
    close(of_aws.statistics.metric("accuracy").unwrap().value, 1.0);
    let (mut merged, mut captures, mut labels) = (String::new(), String::new(), Vec::new());
    for event in 0..3000_u32 {
        let (label, score) = (event * 7 % 3 % 2, f64::from(event * 7919 % 1000) / 1000.0);
        let line = aws
            .replace("ae4ec948", &event.to_string())
            .replace("0.989977359771728", &score.to_string())
            .replace("\\\"label\\\": 1", &format!("\\\"label\\\": {label}"));
        let value: Value = serde_json::from_str(&line).unwrap();
        let part = |member: &str| {
            let mut value = value.clone();
            value.as_object_mut().unwrap().remove(member);
            value.to_string() + "\n"
        };
        captures += &part("groundTruthData");
        labels.push(part("captureData"));
        merged += &line;
    }
    labels.reverse();
    let labels = labels.concat();
    let run_merged = |merged: &str| {
        let data = Data::Merged(vec![source("m", merged)]);
        analyse(&settings, data, Window::default(), None).unwrap()
    };
    let one = run_merged(&merged);
    let joined = run(&settings, vec![captures], vec![labels], Window::default()).unwrap();
    assert_eq!(one.statistics, joined.statistics);
    assert_eq!(one.counts, joined.counts);
    assert_eq!(one.counts.joined, 3000);
    let threads = |count| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .build()
            .unwrap();
        pool.install(|| run_merged(&merged))
    };
    assert_eq!(threads(1), one);
    assert_eq!(threads(3), one);
}

//! `mlops validate`: exit codes, table, JSON, and input that is not a data set.

use snapbox::str;

use crate::sandbox::Sandbox;

/// 300 rows: delay, distance, origin.
fn good() -> String {
    rows(|i| {
        let origin = ["JFK", "LGA", "EWR"][i % 3];
        format!("{},{}.5,{origin}", i % 50, i % 90)
    })
}

fn spoiled() -> String {
    rows(|i| {
        let delay = if i % 2 == 0 { "late" } else { "7" };
        format!(
            "{delay},{}.5,{}",
            i % 90,
            if i % 3 == 0 { "ZZZ" } else { "JFK" }
        )
    })
}

fn rows(row: impl Fn(usize) -> String) -> String {
    let rows: String = (0..300).map(|i| row(i) + "\n").collect();
    format!("delay,distance,origin\n{rows}")
}

fn with_baseline() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("good.csv", good());
    sandbox
        .mlops(["validate", "--suggest", "good.csv", "--output-dir", "base"])
        .success()
        .stdout(str![[r#"
300 rows, 3 columns: baseline created
wrote base/statistics.json
wrote base/constraints.json

"#]]);
    sandbox
}

const CHECK: [&str; 5] = [
    "validate",
    "--constraints",
    "base/constraints.json",
    "--statistics",
    "base/statistics.json",
];

fn check(sandbox: &Sandbox, data: &[&str]) -> crate::sandbox::Run {
    sandbox.mlops(CHECK.iter().chain(data))
}

#[test]
fn a_good_file_passes_without_project_or_credentials() {
    let sandbox = with_baseline();
    check(&sandbox, &["good.csv"])
        .success()
        .stdout("300 rows, 3 columns: no violations\n")
        .stderr("");
}

#[test]
fn a_spoiled_file_is_refused_with_a_table() {
    let sandbox = with_baseline();
    sandbox.write("spoiled.csv", spoiled());
    let run = check(&sandbox, &["spoiled.csv"]).code(3);
    for line in run.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    run.stdout(str![[r#"
FEATURE  CHECK                     DESCRIPTION
delay    data_type_check           Data type match requirement is not met.
                                   Expected data type: Integral, Expected
                                   match: 100.0%. Observed: Only 50.0% of data
                                   is Integral.
origin   categorical_values_check  Categorical values requirement is not met.
                                   Expected match: 100.0%. Observed: Only
                                   66.66666666666666% of values are in the
                                   baseline's domain. Unknown values: ZZZ
origin   baseline_drift_check      Baseline drift distance: 0.1863639487663426
                                   exceeds threshold: 0.1

300 rows, 3 columns: 3 violations

"#]]);
}

/// Issue 8, 4.6: by AWS's rules, a column whose type changed has no drift; our rules are an option
/// of the command line, the constraints and mlops.toml.
#[test]
fn the_rules_are_awss_unless_ours_are_requested() {
    let sandbox = with_baseline();
    sandbox.write("spoiled.csv", spoiled());
    let drifted = |run: crate::sandbox::Run| {
        let report = run.code(3).json();
        let violations = report["violations"].as_array().unwrap().iter();
        let drifts = violations.filter(|v| v["constraint_check_type"] == "baseline_drift_check");
        let names = drifts.map(|v| v["feature_name"].as_str().unwrap().to_owned());
        names.collect::<Vec<String>>()
    };
    let json = |more: &[&str]| {
        let all = ["spoiled.csv", "--output", "json"];
        check(&sandbox, &[&all[..], more].concat())
    };
    assert_eq!(drifted(json(&[])), ["origin"]);
    assert_eq!(drifted(json(&["--rules", "mlops"])), ["delay", "origin"]);
    let project = "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n";
    sandbox.write(
        "mlops.toml",
        format!("{project}[validate]\nrules = \"mlops\"\n"),
    );
    assert_eq!(drifted(json(&[])), ["delay", "origin"]);
    assert_eq!(drifted(json(&["--rules", "aws"])), ["origin"]);

    // A baseline keeps the rules it was created with; `--explain` shows its verdict.
    sandbox
        .mlops(["validate", "--suggest", "good.csv", "--output-dir", "base"])
        .success();
    std::fs::remove_file(sandbox.path().join("mlops.toml")).unwrap();
    let text = std::fs::read_to_string(sandbox.path().join("base/constraints.json")).unwrap();
    assert!(text.contains(r#""rules" : "mlops""#), "{text}");
    assert_eq!(drifted(json(&[])), ["delay", "origin"]);
    let verdict = |more: &[&str]| {
        let run = json(&[&["--explain", "delay"][..], more].concat()).code(3);
        let distances = run.json()["explanation"]["distances"].clone();
        let robust = distances.as_array().unwrap().iter();
        let mut robust = robust.filter(|distance| distance["method"] == "linf_robust");
        robust.next().unwrap()["drifted"].clone()
    };
    assert_eq!(verdict(&[]), true);
    assert_eq!(verdict(&["--rules", "aws"]), serde_json::Value::Null);
    sandbox.write(
        "mlops.toml",
        format!("{project}[validate]\nrules = \"deequ\"\n"),
    );
    let args = ["validate", "--suggest", "good.csv", "--output-dir", "more"];
    let run = sandbox.mlops(args).code(2);
    assert!(
        run.stderr.contains("expected `aws` or `mlops`"),
        "{}",
        run.stderr
    );
}

#[test]
fn json_and_files_have_the_violations() {
    let sandbox = with_baseline();
    sandbox.write("spoiled.csv", spoiled());
    let run = check(
        &sandbox,
        &["spoiled.csv", "--output-dir", "out", "--output", "json"],
    )
    .code(3);
    let report = run.json();
    assert_eq!(report["rows"], 300);
    assert_eq!(report["columns"], 3);
    let first = &report["violations"][0];
    assert_eq!(first["feature_name"], "delay");
    assert_eq!(first["constraint_check_type"], "data_type_check");
    assert_eq!(report["files"].as_array().unwrap().len(), 3);
    let read = |name: &str| -> serde_json::Value {
        let path = sandbox.path().join("out").join(name);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    assert_eq!(
        read("constraint_violations.json")["violations"],
        report["violations"]
    );
    assert_eq!(read("statistics.json")["dataset"]["item_count"], 300);
    assert_eq!(
        read("constraints.json")["features"][0]["inferred_type"],
        "String"
    );
}

#[test]
fn the_projects_baseline_is_the_default() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"000000000000\"\nregion = \"us-east-1\"\n",
    );
    sandbox.write("data/a.csv", good());
    sandbox
        .mlops(["validate", "data/a.csv"])
        .code(1)
        .stderr(str![[r#"
error: [DIR]/baseline/constraints.json: No such file or directory (os error 2)
hint: create a baseline with `mlops validate --suggest DATA`

"#]]);
    let made = sandbox.mlops(["validate", "--suggest", "data"]).success();
    assert!(made.stdout.contains("baseline/constraints.json"));
    sandbox
        .mlops_in("data", ["validate", "a.csv"])
        .success()
        .stdout("300 rows, 3 columns: no violations\n");
}

#[test]
fn without_a_baseline_the_hint_suggests_creating_one() {
    let sandbox = Sandbox::new();
    sandbox.write("a.csv", good());
    sandbox
        .mlops(["validate", "a.csv"])
        .code(2)
        .stderr(str![[r#"
error: no baseline to check against
hint: pass --constraints FILE, or create a baseline with --suggest --output-dir DIR

"#]]);
}

#[test]
fn invalid_input_is_reported_with_its_line() {
    let sandbox = with_baseline();
    for (name, bytes, message) in [
        ("empty.csv", &b""[..], "empty.csv: the file is empty"),
        ("header.csv", b"a,b\n", "the data: no rows"),
        (
            "ragged.csv",
            b"a,b\n1,2\n1,2,3\n",
            "ragged.csv, line 3: 3 fields, but there are 2 columns",
        ),
        (
            "quote.csv",
            b"a,b\n1,\"2\n3,4\n",
            "quote.csv, line 2: a quote is opened here and never closed",
        ),
        (
            "twice.csv",
            b"a,a,a0\n1,2,3\n",
            "twice.csv, line 1: two columns are named `a0`",
        ),
        (
            "latin.csv",
            b"a\nMalm\xf6\n",
            "latin.csv, line 2: byte 0xf6 is not UTF-8: convert the file (iconv -f LATIN1 -t UTF-8)",
        ),
        (
            "x.parquet",
            b"PAR1",
            "x.parquet: the Parquet file is truncated",
        ),
    ] {
        sandbox.write(name, bytes);
        let run = check(&sandbox, &[name]);
        assert!(matches!(run.code, Some(1 | 2)), "{name}: {:?}", run.code);
        assert_eq!(run.stderr, format!("error: {message}\n"), "{name}");
        assert_eq!(run.stdout, "");
    }
    let missing = check(&sandbox, &["nothing.csv"]).code(1);
    assert!(
        missing
            .stderr
            .starts_with("error: nothing.csv: No such file")
    );
}

#[test]
fn byte_order_mark_and_windows_line_ends_are_read() {
    let sandbox = with_baseline();
    let text = format!("\u{feff}{}", good().replace('\n', "\r\n"));
    sandbox.write("windows.csv", text);
    check(&sandbox, &["windows.csv"]).success();
}

#[test]
fn captured_traffic_gets_its_columns_from_the_baseline() {
    let sandbox = with_baseline();
    let lines: Vec<String> = (0..100)
        .map(|i| {
            format!(
                "{{\"captureData\":{{\"endpointInput\":{{\"observedContentType\":\"text/csv\",\
                 \"mode\":\"INPUT\",\"data\":\"{}.5,JFK\\n\",\"encoding\":\"CSV\"}},\
                 \"endpointOutput\":{{\"observedContentType\":\"text/csv\",\"mode\":\"OUTPUT\",\
                 \"data\":\"{}\",\"encoding\":\"CSV\"}}}},\"eventMetadata\":{{\"eventId\":\"{i}\",\
                 \"inferenceTime\":\"2026-02-14T17:25:06Z\"}},\"eventVersion\":\"0\"}}\n",
                i % 90,
                i % 50
            )
        })
        .collect();
    sandbox.write("capture/a.jsonl", lines.concat());
    let run = check(
        &sandbox,
        &["capture", "--format", "capture", "--output", "json"],
    )
    .code(3);
    let violations = run.json()["violations"].clone();
    assert_eq!(violations.as_array().unwrap().len(), 1, "{violations}");
    assert_eq!(violations[0]["feature_name"], "origin");
    assert_eq!(
        violations[0]["constraint_check_type"],
        "baseline_drift_check"
    );
}

/// Profiling parts separately gives the same verdict as the whole, message for message.
#[test]
fn merged_profiles_have_the_verdict_of_one_pass() {
    let sandbox = with_baseline();
    let text = spoiled();
    let (header, rows) = text.split_once('\n').unwrap();
    let (left, right) =
        rows.split_at(rows.len() / 2 + 1 + rows[rows.len() / 2..].find('\n').unwrap());
    sandbox.write("whole.csv", &text);
    for (name, part) in [("a", left), ("b", right)] {
        sandbox.write(&format!("{name}.csv"), format!("{header}\n{part}"));
        let run = sandbox.mlops(
            [
                "validate",
                "--constraints",
                "base/constraints.json",
                "--statistics",
            ]
            .into_iter()
            .chain([
                "base/statistics.json",
                "--profile-out",
                &format!("{name}.json"),
            ])
            .chain([format!("{name}.csv").as_str()]),
        );
        let run = run.success();
        assert!(
            run.stdout.contains("3 columns: profiled\n"),
            "{}",
            run.stdout
        );
    }
    let whole = check(&sandbox, &["whole.csv"]).code(3);
    let merged = check(&sandbox, &["--merge", "a.json", "b.json"]).code(3);
    assert_eq!(merged.stdout, whole.stdout);
    assert!(
        whole
            .stdout
            .ends_with("300 rows, 3 columns: 3 violations\n"),
        "{}",
        whole.stdout
    );

    // A tree of merges, and a baseline from profiles.
    sandbox
        .mlops([
            "validate",
            "--merge",
            "--profile-out",
            "ab.json",
            "a.json",
            "b.json",
        ])
        .success();
    let tree = check(&sandbox, &["--merge", "ab.json"]).code(3);
    assert_eq!(tree.stdout, whole.stdout);
    sandbox
        .mlops([
            "validate",
            "--suggest",
            "--merge",
            "ab.json",
            "--output-dir",
            "again",
        ])
        .success();

    // A different table, and a file that is not a profile.
    sandbox.write("other.csv", "x\n1\n");
    sandbox
        .mlops(["validate", "--profile-out", "other.json", "other.csv"])
        .success();
    let run = check(&sandbox, &["--merge", "a.json", "other.json"]).code(1);
    assert_eq!(
        run.stderr,
        "error: other.json: the columns of the two profiles differ\n"
    );
    let run = check(&sandbox, &["--merge", "whole.csv"]).code(1);
    assert!(
        run.stderr.starts_with("error: whole.csv: not a profile"),
        "{}",
        run.stderr
    );
}

/// Cases found in review; each once gave a wrong verdict.
#[test]
fn verdicts_that_were_once_wrong() {
    let sandbox = Sandbox::new();
    let table = |row: &dyn Fn(usize) -> String| -> String {
        let rows: Vec<String> = (0..1000).map(|i| format!("{},{i}\n", row(i))).collect();
        format!("g,x\n{}", rows.concat())
    };
    let verdict = |baseline: &str, data: &str| {
        sandbox.mlops([
            "validate",
            "--constraints",
            &format!("{baseline}/constraints.json"),
            "--statistics",
            &format!("{baseline}/statistics.json"),
            data,
        ])
    };
    // Categories of which only those remain that look like numbers.
    sandbox.write("both.csv", table(&|i| ["1", "A"][i % 2].to_owned()));
    sandbox.write("ones.csv", table(&|_| "1".to_owned()));
    let suggest = |data: &str, directory: &str| {
        sandbox
            .mlops(["validate", "--suggest", data, "--output-dir", directory])
            .success();
    };
    suggest("both.csv", "both");
    let run = verdict("both", "ones.csv").code(3);
    assert!(
        run.stdout.contains("baseline_drift_check"),
        "{}",
        run.stdout
    );
    // A category with the name that Deequ uses for missing values.
    let named = |i: usize| ["NullValue", "", "x"][i % 3].to_owned();
    sandbox.write("null.csv", table(&named));
    suggest("null.csv", "null");
    verdict("null", "null.csv").success();
    // A range that exceeds a double.
    sandbox.write("far.csv", "a,b\n-1.7e308,1\n1.7e308,2\n1.0,3\n");
    suggest("far.csv", "far");
    verdict("far", "far.csv").success();
    // Profiles that did not know the categories.
    sandbox.write("many.csv", table(&|i| format!("k{i}")));
    sandbox
        .mlops(["validate", "--profile-out", "many.json", "many.csv"])
        .success();
    let run = sandbox
        .mlops([
            "validate",
            "--merge",
            "many.json",
            "--constraints",
            "both/constraints.json",
        ])
        .code(1);
    assert!(
        run.stderr.contains("has not counted the category"),
        "{}",
        run.stderr
    );
}

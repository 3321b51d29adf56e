//! `mlops validate` with the files of tests/data/cases: data and baselines that were once read
//! incorrectly or rejected. Each folder's README states the correct result.

use serde_json::{Value, json};

use crate::sandbox::{Run, Sandbox};

fn case(file: &str) -> String {
    format!("{}/tests/data/cases/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn suggest(sandbox: &Sandbox, data: &[&str]) -> Run {
    let args = ["validate", "--suggest", "--output-dir", "out"];
    sandbox.mlops(args.iter().chain(data))
}

/// Returns statistics.json of the data that a baseline was created from.
#[track_caller]
fn statistics(data: &str) -> Value {
    let sandbox = Sandbox::new();
    suggest(&sandbox, &[data]).success();
    let bytes = std::fs::read(sandbox.path().join("out/statistics.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Returns name, type, present and missing values of every column.
fn columns(statistics: &Value) -> Vec<(String, String, u64, u64)> {
    let features = statistics["features"].as_array().unwrap().iter();
    let found = features.map(|feature| {
        let common = ["numerical_statistics", "string_statistics"]
            .iter()
            .find_map(|kind| feature[kind].get("common"))
            .unwrap();
        (
            feature["name"].as_str().unwrap().to_owned(),
            feature["inferred_type"].as_str().unwrap().to_owned(),
            common["num_present"].as_u64().unwrap(),
            common["num_missing"].as_u64().unwrap(),
        )
    });
    found.collect()
}

fn column(name: &str, kind: &str, present: u64, missing: u64) -> (String, String, u64, u64) {
    (name.to_owned(), kind.to_owned(), present, missing)
}

fn categories(feature: &Value) -> Vec<(String, u64)> {
    let buckets = &feature["string_statistics"]["distribution"]["categorical"]["buckets"];
    let buckets = buckets.as_array().unwrap().iter();
    let mut found: Vec<(String, u64)> = buckets
        .map(|bucket| {
            let value = bucket["value"].as_str().unwrap().to_owned();
            (value, bucket["count"].as_u64().unwrap())
        })
        .collect();
    found.sort();
    found
}

fn category(value: &str, count: u64) -> (String, u64) {
    (value.to_owned(), count)
}

/// Issue 8, 4.3.
#[test]
fn year_9999_is_a_date_and_a_time() {
    let found = statistics(&case("parquet-year-9999/valid_to.parquet"));
    for (index, time) in [(0, ""), (1, " 02:00:00")] {
        let feature = &found["features"][index];
        assert_eq!(feature["inferred_type"], "String");
        assert_eq!(
            categories(feature),
            [
                category(&format!("2024-05-01{time}"), 5),
                category(&format!("2024-06-01{time}"), 5),
                category(&format!("9999-12-31{time}"), 10),
            ]
        );
    }
}

/// Issue 8, 4.3.
#[test]
fn legacy_timestamps_keep_their_year() {
    let found = statistics(&case("parquet-int96/int96.parquet"));
    assert_eq!(
        categories(&found["features"][0]),
        [
            category("0001-01-01 00:00:00", 10),
            category("1969-12-31 23:59:59.5", 10),
            category("9999-12-31 02:00:00", 10),
        ]
    );
}

/// Issue 8, 4.3: in CSV, JSON Lines and captured traffic.
#[test]
fn whole_numbers_of_twenty_digits_are_distinguished() {
    let sandbox = Sandbox::new();
    let constraints = case("long-number-ids/constraints.json");
    let csv = std::fs::read_to_string(case("long-number-ids/sims.csv")).unwrap();
    sandbox.write("sims.csv", &csv);
    let rows = || {
        csv.lines()
            .skip(1)
            .map(|line| line.split_once(',').unwrap())
    };
    let lines = |line: &dyn Fn(&str, &str) -> String| -> String {
        rows().map(|(iccid, mb)| line(iccid, mb) + "\n").collect()
    };
    sandbox.write(
        "sims.jsonl",
        lines(&|iccid, mb| format!("{{\"iccid\":{iccid},\"mb\":{mb}}}")),
    );
    for (name, data, encoding) in [
        ("csv", "\\\"I\\\",M", "CSV"),
        ("json", "[I,M]", "JSON"),
        ("objects", "{\\\"iccid\\\":I,\\\"mb\\\":M}", "JSON"),
    ] {
        sandbox.write(
            &format!("{name}.jsonl"),
            lines(&|iccid, mb| {
                let data = data.replace('I', iccid).replace('M', mb);
                format!(
                    "{{\"captureData\":{{\"endpointInput\":{{\"data\":\"{data}\",\"encoding\":\"{encoding}\"}}}}}}"
                )
            }),
        );
    }
    for data in [
        "sims.csv",
        "sims.jsonl",
        "csv.jsonl",
        "json.jsonl",
        "objects.jsonl",
    ] {
        let args = ["validate", data, "--constraints", &constraints];
        let run = sandbox.mlops(args.iter().chain(&["--output-dir", "out"]));
        run.success().stdout(
            "200 rows, 2 columns: no violations\nwrote out/statistics.json\nwrote \
             out/constraints.json\nwrote out/constraint_violations.json\n",
        );
        let bytes = std::fs::read(sandbox.path().join("out/statistics.json")).unwrap();
        let found: Value = serde_json::from_slice(&bytes).unwrap();
        let numbers = &found["features"][0]["numerical_statistics"];
        assert_eq!(numbers["approximate_num_distinct_values"], 200, "{data}");
        assert_eq!(found["features"][0]["inferred_type"], "Integral", "{data}");
    }
    // A single duplicate number is found.
    sandbox.write("twice.csv", format!("{csv}89490123456780000007,1\n"));
    sandbox
        .mlops(["validate", "twice.csv", "--constraints", &constraints])
        .code(3);
}

/// Issue 8, 4.4.
#[test]
fn parquet_of_older_writers_is_read() {
    let found = statistics(&case("parquet-fastparquet-0-8/fp080.parquet"));
    assert_eq!(
        columns(&found),
        [
            column("i", "Integral", 3, 0),
            column("f", "Fractional", 2, 1),
            column("s", "String", 2, 1),
            column("b", "String", 3, 0),
        ]
    );
    let found = statistics(&case(
        "parquet-dictionary-offset-zero/dict-page-offset-zero.parquet",
    ));
    assert_eq!(columns(&found), [column("l_partkey", "Integral", 39, 0)]);
    let numbers = &found["features"][0]["numerical_statistics"];
    assert_eq!(
        (&numbers["min"], &numbers["max"]),
        (&json!(1552.0), &json!(1552.0))
    );
}

/// Issue 8, 4.4.
#[test]
fn brotli_is_decompressed() {
    let found = statistics(&case("parquet-brotli/brotli.parquet"));
    assert_eq!(
        columns(&found),
        [
            column("i", "Integral", 100, 0),
            column("s", "String", 100, 0)
        ]
    );
    assert_eq!(found["features"][0]["numerical_statistics"]["sum"], 4950.0);
}

/// Issue 8, 4.4.
#[test]
fn half_floats_short_decimals_and_date64_are_read() {
    let read = |name: &str| statistics(&case(&format!("parquet-refused-types/{name}.parquet")));
    for (name, minimum, maximum, sum) in [
        ("float16", -0.5, 4.0, 7.5),
        ("decimal32", -3.0, 2.25, 0.75),
        ("decimal64", -3.0, 2.25, 0.75),
    ] {
        let found = read(name);
        let feature = &found["features"][0];
        assert_eq!(feature["inferred_type"], "Fractional", "{name}");
        let numbers = &feature["numerical_statistics"];
        for (member, value) in [("min", minimum), ("max", maximum), ("sum", sum)] {
            assert_eq!(numbers[member], value, "{name} {member}");
        }
    }
    let days = read("date64");
    assert_eq!(
        categories(&days["features"][0]),
        [category("2024-01-01", 6), category("2024-01-02", 6)]
    );
}

/// Issue 8, 4.4: by name, in Parquet, CSV and profiles.
#[test]
fn parts_may_order_columns_differently() {
    let found = statistics(&case("parquet-parts-reordered/parts"));
    assert_eq!(
        columns(&found),
        [
            column("age", "Integral", 4, 0),
            column("town", "String", 4, 0)
        ]
    );
    assert_eq!(found["features"][0]["numerical_statistics"]["sum"], 164.0);
    let towns = [
        category("Bergen", 1),
        category("Bodo", 1),
        category("Oslo", 2),
    ];
    assert_eq!(categories(&found["features"][1]), towns);

    let sandbox = Sandbox::new();
    sandbox.write("year=1/a.csv", "age,town\n31,Oslo\n45,Bergen\n");
    sandbox.write("year=2/b.csv", "town,age\nOslo,28\nBodo,60\n");
    let read = |sandbox: &Sandbox| -> Value {
        let bytes = std::fs::read(sandbox.path().join("out/statistics.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    suggest(&sandbox, &["."]).success();
    let csv = read(&sandbox);
    assert_eq!(csv["features"][0], found["features"][0]);
    assert_eq!(csv["features"][1], found["features"][1]);
    assert_eq!(csv["features"][2]["name"], "year");

    sandbox.write("a.csv", "age,town\n31,Oslo\n45,Bergen\n");
    sandbox.write("b.csv", "town,age\nOslo,28\nBodo,60\n");
    for part in ["a", "b"] {
        let (data, profile) = (format!("{part}.csv"), format!("{part}.json"));
        sandbox
            .mlops(["validate", "--profile-out", &profile, &data])
            .success();
    }
    suggest(&sandbox, &["--merge", "a.json", "b.json"]).success();
    assert_eq!(read(&sandbox)["features"], found["features"]);

    sandbox.write("c.csv", "town,size\nOslo,28\n");
    let run = suggest(&sandbox, &["a.csv", "c.csv"]).code(1);
    assert_eq!(
        run.stderr,
        "error: c.csv, line 1: the columns differ from those of the first file: `age` is missing, \
         `size` is new\n"
    );
}

/// Issue 8, 4.4.
#[test]
fn lines_that_end_with_a_carriage_return_are_read() {
    let found = statistics(&case("carriage-return-csv/mac.csv"));
    assert_eq!(
        columns(&found),
        [
            column("id", "Integral", 20, 0),
            column("group", "String", 20, 0),
            column("pulse", "Integral", 20, 0),
        ]
    );
    let found = statistics(&case("carriage-return-csv/mac_repeated.csv"));
    assert_eq!(found["dataset"]["item_count"], 2);

    // Compressed, mixed, and longer than a block; a carriage return in quotes belongs to its cell.
    let sandbox = Sandbox::new();
    let mut unix = "n,text,k\n".to_owned();
    for i in 0..60_000 {
        unix.push_str(&format!("{i},\"a\rb\",{}\n", i % 7));
    }
    sandbox.write("unix.csv", &unix);
    suggest(&sandbox, &["unix.csv"]).success();
    let read = || std::fs::read(sandbox.path().join("out/statistics.json")).unwrap();
    let expected = read();
    let mac = unix.replace('\n', "\r");
    let mut index = 0;
    let mixed: String = unix
        .split_inclusive('\n')
        .map(|line| {
            index += 1;
            line.replace('\n', ["\r", "\n", "\r\n"][index / 1000 % 3])
        })
        .collect();
    sandbox.write("mac.csv", &mac);
    sandbox.write("mixed.csv", mixed);
    sandbox.write("mac.csv.zst", zstd::encode_all(mac.as_bytes(), 1).unwrap());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, mac.as_bytes()).unwrap();
    sandbox.write("mac.csv.gz", gzip.finish().unwrap());
    for data in ["mac.csv", "mixed.csv", "mac.csv.zst", "mac.csv.gz"] {
        suggest(&sandbox, &[data]).success();
        assert!(read() == expected, "{data}");
    }
}

/// Issue 8, 4.4.
#[test]
fn unnamed_and_repeated_columns_are_named_as_spark_does() {
    let found = statistics(&case("unnamed-first-column/frame.csv"));
    assert_eq!(
        columns(&found),
        [
            column("_c0", "Integral", 3, 0),
            column("temp", "Integral", 3, 0),
            column("wind", "Fractional", 3, 0),
        ]
    );
    let sandbox = Sandbox::new();
    sandbox.write("twice.csv", "a,b,A,\n1,2,3,4\n");
    let found = statistics(sandbox.path().join("twice.csv").to_str().unwrap());
    let names: Vec<String> = columns(&found).into_iter().map(|column| column.0).collect();
    assert_eq!(names, ["a0", "b", "A2", "_c3"]);
}

/// Issue 8, 4.4.
#[test]
fn a_baseline_with_a_byte_order_mark_is_read() {
    let sandbox = Sandbox::new();
    let (data, constraints) = (
        case("baseline-with-bom/today.csv"),
        case("baseline-with-bom/constraints.json"),
    );
    sandbox
        .mlops(["validate", &data, "--constraints", &constraints])
        .success()
        .stdout("2 rows, 2 columns: no violations\n");
    suggest(&sandbox, &[&data]).success();
    let statistics = std::fs::read_to_string(sandbox.path().join("out/statistics.json")).unwrap();
    sandbox.write("marked.json", format!("\u{feff}{statistics}"));
    let args = ["validate", &data, "--constraints", &constraints];
    sandbox
        .mlops(args.iter().chain(&["--statistics", "marked.json"]))
        .success();
    let utf16 = statistics.encode_utf16().flat_map(u16::to_le_bytes);
    sandbox.write("wide.json", utf16.collect::<Vec<u8>>());
    let run = sandbox.mlops(args.iter().chain(&["--statistics", "wide.json"]));
    assert_eq!(
        run.code(1).stderr.lines().next(),
        Some(
            "error: wide.json: this is UTF-16, which is not supported: convert it (iconv -f UTF-16 -t UTF-8)"
        )
    );
}

/// Issue 8, 4.4: only a truncated file is reported as truncated.
#[test]
fn invalid_parquet_files_are_explained() {
    let sandbox = Sandbox::new();
    let whole = std::fs::read(case("parquet-year-9999/valid_to.parquet")).unwrap();
    let mut lzo = std::fs::read(case("parquet-brotli/brotli.parquet")).unwrap();
    // The codec of both columns is Brotli, 4; as a zigzag number in member 4 after a list of names.
    for at in 0..lzo.len() - 4 {
        if lzo[at..].starts_with(b"\x18\x01i\x15\x08")
            || lzo[at..].starts_with(b"\x18\x01s\x15\x08")
        {
            lzo[at + 4] = 6;
        }
    }
    let mut encrypted = whole.clone();
    let end = encrypted.len();
    encrypted[end - 4..].copy_from_slice(b"PARE");
    let mut damaged = whole.clone();
    damaged[end - 8..end - 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    for (name, bytes, message) in [
        ("cut", &whole[..end / 2], "the Parquet file is truncated\n"),
        ("mark", &whole[..end - 1], "the Parquet file is truncated\n"),
        ("lzo", &lzo, "compressed with LZO, which is not supported"),
        ("encrypted", &encrypted, "the Parquet file is encrypted"),
        ("damaged", &damaged, "cannot read the Parquet file: "),
        ("text", b"a,b\n1,2\n3,4\n", "not a Parquet file: "),
    ] {
        let file = format!("{name}.parquet");
        sandbox.write(&file, bytes);
        let run = suggest(&sandbox, &[&file]).code(1);
        assert!(
            run.stderr.starts_with(&format!("error: {file}: {message}")),
            "{}",
            run.stderr
        );
    }
}

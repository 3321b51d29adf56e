//! `mlops validate DATA`: which bytes are read, from where, and in which format.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use snapbox::str;

use crate::sandbox::{Run, Sandbox};

const CSV: &str = "a,b\n1,x\n2,y\n,x\n";

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// Profiles data; returns the report.
fn suggest(sandbox: &Sandbox, data: &[&str]) -> Run {
    let args = [
        "validate",
        "--suggest",
        "--output-dir",
        "out",
        "--output",
        "json",
    ];
    sandbox.mlops(args.iter().chain(data))
}

fn rows(run: Run) -> serde_json::Value {
    run.success().json()["rows"].clone()
}

fn features(sandbox: &Sandbox) -> Vec<serde_json::Value> {
    let bytes = std::fs::read(sandbox.path().join("out/statistics.json")).unwrap();
    let statistics: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    statistics["features"].as_array().unwrap().clone()
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let features = features(sandbox);
    let names = features
        .iter()
        .map(|f| f["name"].as_str().unwrap().to_owned());
    names.collect()
}

#[test]
fn compressed_data_gives_the_same_statistics() {
    let sandbox = Sandbox::new();
    sandbox.write("a.csv", CSV);
    assert_eq!(rows(suggest(&sandbox, &["a.csv"])), 3);
    let plain = features(&sandbox);
    let (head, tail) = CSV.split_at(9);
    sandbox.write("a.csv.gz", [gzip(head), gzip(tail)].concat());
    sandbox.write("a.csv.zst", zstd::encode_all(CSV.as_bytes(), 1).unwrap());
    sandbox.write("named-wrongly.csv", gzip(CSV));
    for name in ["a.csv.gz", "a.csv.zst", "named-wrongly.csv"] {
        assert_eq!(rows(suggest(&sandbox, &[name])), 3, "{name}");
        assert_eq!(features(&sandbox), plain, "{name}");
    }
    let mut command = sandbox.command("");
    command.args(["validate", "--suggest", "-", "--output-dir", "out"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&gzip(CSV)).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(features(&sandbox), plain);
}

#[test]
fn directories_patterns_and_files_are_one_data_set() {
    let sandbox = Sandbox::new();
    sandbox.write("d/b/2.csv", CSV);
    sandbox.write("d/1.csv.gz", gzip(CSV));
    sandbox.write("d/_SUCCESS", "");
    sandbox.write("d/.x.csv.crc", "");
    sandbox.write("a[1].csv", CSV);
    sandbox.write("a1.csv", CSV);
    for (data, count) in [
        (&["d"][..], 6),
        (&["d/"], 6),
        (&["d/*.gz", "a[1].csv"], 6),
        (&["d/**/*.csv*"], 6),
        (&["a*.csv"], 6),
        (&["./a1.csv", "d/b"], 6),
        (&["a[1].csv"], 3),
    ] {
        assert_eq!(rows(suggest(&sandbox, data)), count, "{data:?}");
    }
    let refused = suggest(&sandbox, &["x*.csv"]).code(1);
    let error: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(error["error"], "x*.csv: no file matches this pattern");
    let hint = "a pattern matches files and directories; `**` matches any depth";
    assert_eq!(error["hints"], serde_json::json!([hint]));
}

#[test]
fn hive_partitions_are_columns_in_every_format() {
    let sandbox = Sandbox::new();
    for (year, count) in [("2025", 1), ("2026", 2), ("__HIVE_DEFAULT_PARTITION__", 1)] {
        let place = format!("year={year}/city=S%C3%A3o%20Paulo");
        sandbox.write(
            &format!("csv/{place}/p.csv"),
            "a\n".to_owned() + &"1\n".repeat(count),
        );
        sandbox.write(
            &format!("jsonl/{place}/p.jsonl"),
            "{\"a\":1}\n".repeat(count),
        );
    }
    for format in ["csv", "jsonl"] {
        assert_eq!(rows(suggest(&sandbox, &[format])), 4, "{format}");
        assert_eq!(names(&sandbox), ["a", "year", "city"], "{format}");
        let features = features(&sandbox);
        assert_eq!(features[1]["inferred_type"], "Integral");
        let common = &features[1]["numerical_statistics"]["common"];
        assert_eq!(
            (&common["num_present"], &common["num_missing"]),
            (&3.into(), &1.into())
        );
        let cities = &features[2]["string_statistics"]["distribution"]["categorical"]["buckets"];
        assert_eq!(cities[0]["value"], "São Paulo");
        assert_eq!(cities[0]["count"], 4);
        // One partition has the same columns as all.
        suggest(&sandbox, &[&format!("{format}/year=2026/*/*")]).success();
        assert_eq!(names(&sandbox), ["a", "year", "city"], "{format}");
    }
    sandbox.write("own/year=1/p.csv", "a,year\n1,2\n");
    let error = suggest(&sandbox, &["own"]).code(1).stderr;
    assert!(error.contains("own/year=1/p.csv"), "{error}");
    assert!(
        error.contains("`year` is both in the file and in its directory's name"),
        "{error}"
    );
    sandbox.write("uneven/year=1/p.csv", "a\n1\n");
    sandbox.write("uneven/p.csv", "a\n1\n");
    let error = suggest(&sandbox, &["uneven"]).code(1).stderr;
    assert!(
        error.contains("uneven/year=1/p.csv: the file is in a partition by year, but uneven/p.csv is in no partition"),
        "{error}"
    );
}

#[test]
fn the_names_determine_the_common_format() {
    let sandbox = Sandbox::new();
    sandbox.write("a.jsonl", "{\"a\":1,\"b\":\"x\"}\n{\"a\":null}\n");
    sandbox.write("b.ndjson", "{\"c\":true}\n");
    assert_eq!(rows(suggest(&sandbox, &["a.jsonl", "b.ndjson"])), 3);
    assert_eq!(names(&sandbox), ["a", "b", "c"]);
    sandbox.write(
        "captured.jsonl",
        "{\"captureData\":{\"endpointInput\":{\"data\":\"1,2\",\"encoding\":\"CSV\"}}}\n",
    );
    assert_eq!(rows(suggest(&sandbox, &["captured.jsonl"])), 1);
    assert_eq!(names(&sandbox), ["_c0", "_c1"]);
    sandbox.write("a.csv", CSV);
    sandbox
        .mlops([
            "validate",
            "--suggest",
            "a.csv",
            "a.jsonl",
            "--output-dir",
            "out",
        ])
        .code(1)
        .stderr(str![[r#"
error: a.jsonl: the file is JSON Lines and a.csv is CSV: a data set must have one format
hint: pass files of one format, or select a format with --format

"#]]);
    assert_eq!(rows(suggest(&sandbox, &[".", "--format", "csv"])), 3);
    let twice = suggest(&sandbox, &["-", "-"]).code(2).stderr;
    assert!(
        twice.contains("stdin (`-`) can be read only once"),
        "{twice}"
    );
}

#[test]
fn numbers_are_classified_by_their_spelling() {
    let sandbox = Sandbox::new();
    let columns = "big,exponent,nan,inf\n9223372036854775809,1e400,1,2.5\n1,2e3,NaN,inf\n";
    sandbox.write("a.csv", columns);
    sandbox.write(
        "a.jsonl",
        "{\"big\":9223372036854775809,\"exponent\":1e400,\"nan\":1,\"inf\":2.5}\n\
         {\"big\":1,\"exponent\":2e3,\"nan\":\"NaN\",\"inf\":\"inf\"}\n",
    );
    for data in ["a.csv", "a.jsonl"] {
        suggest(&sandbox, &[data]).success();
        let types: Vec<String> = features(&sandbox)
            .iter()
            .map(|feature| feature["inferred_type"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(types, ["Integral", "String", "String", "String"], "{data}");
    }
    sandbox.write(
        "good.csv",
        "big,exponent,nan,inf\n5,0.5,1,2.5\n6,1.5,2,3.5\n",
    );
    sandbox
        .mlops(["validate", "--suggest", "good.csv", "--output-dir", "base"])
        .success();
    let run = sandbox
        .mlops([
            "validate",
            "a.csv",
            "--constraints",
            "base/constraints.json",
            "--output",
            "json",
        ])
        .code(3);
    let found = run.json()["violations"].as_array().unwrap().clone();
    let checks: Vec<(&str, &str)> = found
        .iter()
        .map(|v| {
            let name = v["feature_name"].as_str().unwrap();
            (name, v["constraint_check_type"].as_str().unwrap())
        })
        .collect();
    let texts = ["exponent", "nan", "inf"];
    assert_eq!(checks, texts.map(|name| (name, "data_type_check")));
}

#[test]
fn ten_thousand_columns_are_read() {
    let sandbox = Sandbox::new();
    let line = |cell: &dyn Fn(usize) -> String| {
        let cells: Vec<String> = (0..10_000).map(cell).collect();
        cells.join(",") + "\n"
    };
    let mut text = line(&|i| format!("c{i}"));
    for row in 0..20 {
        text += &line(&|i| (i * row).to_string());
    }
    sandbox.write("wide.csv", text);
    let report = suggest(&sandbox, &["wide.csv"]).success().json();
    assert_eq!(
        (&report["rows"], &report["columns"]),
        (&20.into(), &10_000.into())
    );
    let member: Vec<String> = (0..10_000).map(|i| format!("\"c{i}\":{i}")).collect();
    sandbox.write(
        "wide.jsonl",
        format!("{{{}}}\n", member.join(",")).repeat(5),
    );
    let report = suggest(&sandbox, &["wide.jsonl"]).success().json();
    assert_eq!(
        (&report["rows"], &report["columns"]),
        (&5.into(), &10_000.into())
    );
}

#[test]
fn objects_versions_and_prefixes_are_read() {
    let sandbox = Sandbox::new();
    let status = sandbox
        .mlops(["local", "start", "--detach", "--output", "json"])
        .success();
    let endpoint = status.json()["endpoint"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let old = runtime.block_on(async {
        use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
        let s3 = mlops::aws::Clients::of_endpoint(&endpoint, "x", "y", None).s3;
        s3.create_bucket().bucket("data").send().await.unwrap();
        let enabled = BucketVersioningStatus::Enabled;
        let versioning = VersioningConfiguration::builder().status(enabled).build();
        let request = s3.put_bucket_versioning().bucket("data");
        request
            .versioning_configuration(versioning)
            .send()
            .await
            .unwrap();
        let put = async |key: &str, bytes: Vec<u8>| {
            let request = s3.put_object().bucket("data").key(key).body(bytes.into());
            request.send().await.unwrap().version_id.unwrap()
        };
        let old = put("t/year=1/a.csv", b"a\n1\n".to_vec()).await;
        put("t/year=1/a.csv", b"a\n1\n2\n".to_vec()).await;
        put("t/year=2/b.csv.gz", gzip("a\n3\n")).await;
        put("t/_SUCCESS", Vec::new()).await;
        put("t/", Vec::new()).await;
        put("empty.csv", Vec::new()).await;
        put("t-other.csv", b"z\n1\n".to_vec()).await;
        old
    });
    let remote = |data: &str| {
        let args = [
            "--local",
            "validate",
            "--suggest",
            data,
            "--output-dir",
            "out",
        ];
        sandbox.mlops(args.iter().chain(&["--output", "json"]))
    };
    assert_eq!(rows(remote("s3://data/t/")), 3);
    assert_eq!(names(&sandbox), ["a", "year"]);
    assert_eq!(rows(remote("s3://data/t")), 3);
    assert_eq!(rows(remote("s3://data/t/year=1/a.csv")), 2);
    assert_eq!(
        rows(remote(&format!("s3://data/t/year=1/a.csv?versionId={old}"))),
        1
    );
    assert_eq!(rows(remote("s3://data/t-other.csv")), 1);
    for (data, code, message) in [
        ("s3://data/nothing", 1, "s3://data/nothing: no such object"),
        (
            "s3://data/empty.csv",
            1,
            "s3://data/empty.csv: the file is empty",
        ),
        ("s3://nobucket/x.csv", 1, "NoSuchBucket"),
        ("s3://data/a.csv?versionId=", 2, "the version id is empty"),
        (
            "s3://data/t/year=1/a.csv?versionId=nonsense",
            1,
            "s3://data/t/year=1/a.csv: cannot read it: ",
        ),
    ] {
        let run = remote(data).code(code);
        assert!(run.stderr.contains(message), "{data}: {}", run.stderr);
    }
}

/// Answers S3's requests: a list with one object of 1000 bytes, and `answer` for the object.
fn fake_s3(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 64 * 1024];
            let length = stream.read(&mut request).unwrap();
            let text = String::from_utf8_lossy(&request[..length]).into_owned();
            let listing = "<ListBucketResult><Name>b</Name><Contents><Key>a.csv</Key>\
                           <Size>1000</Size></Contents></ListBucketResult>";
            let answer = if text.contains("list-type=2") {
                let length = listing.len();
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{listing}"
                )
            } else {
                answer.to_owned()
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    endpoint
}

fn with_fake_s3(answer: &'static str) -> Run {
    let mut sandbox = Sandbox::new();
    sandbox
        .set("AWS_ACCESS_KEY_ID", "x")
        .set("AWS_SECRET_ACCESS_KEY", "y");
    sandbox.mlops([
        "--endpoint-url",
        &fake_s3(answer),
        "--region",
        "us-east-1",
        "validate",
        "--suggest",
        "s3://b/a.csv",
        "--output-dir",
        "out",
    ])
}

#[test]
fn expired_credentials_and_a_broken_connection_are_named() {
    with_fake_s3(
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 79\r\nConnection: close\r\n\r\n\
         <Error><Code>ExpiredToken</Code><Message>The token has expired</Message></Error>",
    )
    .code(4)
    .stderr(str![[r#"
error: s3://b/a.csv: cannot read it: ExpiredToken: The token has expired
hint: the credentials have expired: run `aws sso login`, or renew them

"#]]);
    let cut = with_fake_s3(
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\na,b\n1,2\n3,4\n",
    )
    .code(1);
    assert!(
        cut.stderr.starts_with("error: s3://b/a.csv"),
        "{}",
        cut.stderr
    );
}

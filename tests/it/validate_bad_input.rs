//! `mlops validate` with broken input: one clear error, and never a panic.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::sandbox::{Run, Sandbox, pause};

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn suggest(sandbox: &Sandbox, data: &[&str]) -> Run {
    let args = ["validate", "--suggest", "--output-dir", "out"];
    sandbox.mlops(args.iter().chain(data))
}

/// Checks for exactly one error that begins with this text, followed only by hints.
#[track_caller]
fn refused(run: Run, code: i32, message: &str) {
    let run = run.code(code);
    assert_eq!(run.stdout, "");
    let mut lines = run.stderr.lines();
    let error = lines.next().unwrap_or_default();
    assert!(
        error.starts_with(&format!("error: {message}")),
        "{}",
        run.stderr
    );
    assert!(
        lines.all(|line| line.starts_with("hint: ")),
        "{}",
        run.stderr
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of files and their messages")]
fn broken_files_are_named_with_their_line() {
    let rows: Vec<String> = (0..20_000).map(|i| format!("{i},x{i}\n")).collect();
    let table = rows.concat();
    let whole = gzip(format!("a,b\n{table}"));
    let frame = zstd::encode_all(format!("a,b\n{table}").as_bytes(), 1).unwrap();
    let sandbox = Sandbox::new();
    for (name, bytes, message) in [
        (
            "short.csv",
            &b"a,b\n1,2\n3\n"[..],
            "short.csv, line 3: 1 fields, but there are 2 columns",
        ),
        (
            "long.csv",
            b"a,b\n1,2,3\n",
            "long.csv, line 2: 3 fields, but there are 2 columns",
        ),
        (
            "quote.csv",
            b"a,b\n1,\"2\n3,4\n",
            "quote.csv, line 2: a quote is opened here and never closed",
        ),
        (
            "latin.csv",
            b"a\nx\nMalm\xf6\n",
            "latin.csv, line 3: byte 0xf6 is not UTF-8",
        ),
        (
            "latin-header.csv",
            b"st\xe4d\nx\n",
            "latin-header.csv, line 1: byte 0xe4 is not UTF-8",
        ),
        (
            "twice.csv",
            b"a,_c2,,a\n1,2,3,4\n",
            "twice.csv, line 1: two columns are named `_c2`",
        ),
        ("empty.csv", b"", "empty.csv: the file is empty"),
        ("blank.csv", b"\n\n\r\n", "blank.csv: the file is empty"),
        ("bom.csv", b"\xef\xbb\xbf", "bom.csv: the file is empty"),
        ("header.csv", b"a,b\n", "the data: no rows"),
        ("gap.csv", b"a,b\n\n", "the data: no rows"),
        (
            "utf16.csv",
            b"\xff\xfea\0,\0b\0\n\0",
            "utf16.csv: this is UTF-16, which is not supported: convert it",
        ),
        (
            "zip.csv",
            b"PK\x03\x04\x14\0\0\0\x08\0",
            "zip.csv: this is a ZIP archive, which is not supported: unpack it",
        ),
        (
            "bz.csv.bz2",
            b"BZh91AY&SY\x01\x02\x03\x04",
            "bz.csv.bz2: this is bzip2, which is not supported",
        ),
        ("cut.csv.gz", &whole[..whole.len() / 2], "cut.csv.gz"),
        ("tiny.csv.gz", &whole[..12], "tiny.csv.gz"),
        ("cut.csv.zst", &frame[..frame.len() / 2], "cut.csv.zst"),
        ("no.parquet", b"a,b\n1,2\n", "no.parquet: "),
        ("magic.parquet", b"PAR1", "magic.parquet: "),
        (
            "ends.parquet",
            b"PAR1\xff\xff\xff\xffPAR1",
            "ends.parquet: ",
        ),
        ("empty.parquet", b"", "empty.parquet: the file is empty"),
        (
            "array.json",
            b"[{\"a\":1}]",
            "array.json, line 1: an array is not a row: JSON Lines have one object per line",
        ),
        (
            "pretty.json",
            b"{\n  \"a\": 1\n}\n",
            "pretty.json, line 1: the line ends; expected a key in quotes (column 2): an object must not span several lines",
        ),
        (
            "nested.jsonl",
            b"{\"a\":1}\n{\"a\":{\"b\":2}}\n",
            "nested.jsonl, line 2: `a`: an object is nested here: flatten it",
        ),
        (
            "nan.jsonl",
            b"{\"a\":NaN}\n",
            "nan.jsonl, line 1: `a`: NaN is not JSON: write null",
        ),
        (
            "latin.jsonl",
            b"{\"a\":\"\xf6\"}\n",
            "latin.jsonl, line 1: byte 0xf6 is not UTF-8",
        ),
        ("empty.jsonl", b"", "the data: no rows"),
        (
            "csv.jsonl",
            b"a,b\n1,2\n",
            "csv.jsonl, line 1: not a JSON object",
        ),
    ] {
        sandbox.write(name, bytes);
        refused(suggest(&sandbox, &[name]), 1, message);
    }
    let nesting = "{\"a\":".repeat(100_000);
    sandbox.write("deep.jsonl", &nesting);
    refused(
        suggest(&sandbox, &["deep.jsonl"]),
        1,
        "deep.jsonl, line 1: `a`: an object is nested here",
    );
    refused(
        suggest(&sandbox, &["deep.jsonl", "--format", "capture"]),
        1,
        "deep.jsonl, line 1: not a captured invocation",
    );
    for name in ["cut.csv.gz", "tiny.csv.gz", "cut.csv.zst"] {
        let run = suggest(&sandbox, &[name]).code(1);
        assert!(run.stderr.contains("data is truncated"), "{}", run.stderr);
    }
    assert!(!sandbox.path().join("out").exists(), "nothing was written");
}

#[test]
fn the_bad_file_of_a_directory_is_named() {
    let sandbox = Sandbox::new();
    for i in 0..5 {
        sandbox.write(&format!("d/{i}.csv"), "a,b\n1,2\n");
    }
    sandbox.write("d/3.csv", "a,b\n1,2\n5\n");
    refused(
        suggest(&sandbox, &["d"]),
        1,
        "d/3.csv, line 3: 1 fields, but there are 2 columns",
    );
    sandbox.write("d/3.csv", "a,c\n1,2\n");
    refused(
        suggest(&sandbox, &["d"]),
        1,
        "d/3.csv, line 1: the columns differ from those of the first file",
    );
    sandbox.write("d/3.csv", "");
    refused(suggest(&sandbox, &["d"]), 1, "d/3.csv: the file is empty");
    std::fs::create_dir(sandbox.path().join("none")).unwrap();
    refused(
        suggest(&sandbox, &["none"]),
        1,
        "none: no files in this directory",
    );
    refused(
        suggest(&sandbox, &["d/9.csv"]),
        1,
        "d/9.csv: No such file or directory",
    );
}

#[test]
fn files_that_may_not_be_read_are_named() {
    let sandbox = Sandbox::new();
    sandbox.write("closed.csv", "a\n1\n");
    sandbox.write("closed/a.csv", "a\n1\n");
    sandbox.write("good.csv", "a\n1\n");
    for path in ["closed.csv", "closed"] {
        use std::os::unix::fs::PermissionsExt as _;
        let none = std::fs::Permissions::from_mode(0o0);
        std::fs::set_permissions(sandbox.path().join(path), none).unwrap();
    }
    // Root can read everything, unless it drops that capability.
    let binary = env!("CARGO_BIN_EXE_mlops");
    let drop = "setpriv --bounding-set=-dac_override,-dac_read_search";
    let run = |arguments: &str| {
        let command = format!(
            "if [ $(id -u) = 0 ]; then exec {drop} {binary} validate --suggest {arguments}; \
             else exec {binary} validate --suggest {arguments}; fi"
        );
        sandbox.program("", "sh", &["-c", &command])
    };
    refused(
        run("closed.csv --output-dir o"),
        1,
        "closed.csv: Permission denied",
    );
    refused(run("closed --output-dir o"), 1, "closed: Permission denied");
    refused(
        run("good.csv --output-dir closed"),
        1,
        "closed/statistics.json: Permission denied",
    );
    refused(
        run("good.csv --output-dir good.csv/x"),
        1,
        "good.csv/x: Not a directory",
    );
}

#[test]
fn a_full_disk_leaves_no_partial_files() {
    let sandbox = Sandbox::new();
    sandbox.write("good.csv", "a\n1\n2\n");
    let binary = env!("CARGO_BIN_EXE_mlops");
    // No file may exceed 512 bytes, as if the disk were full.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 1; exec {binary} validate --suggest good.csv --output-dir out"
    );
    refused(
        sandbox.program("", "bash", &["-c", &limited]),
        1,
        "out/statistics.json: File too large",
    );
    let left: Vec<_> = std::fs::read_dir(sandbox.path().join("out"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let full =
        format!("{binary} validate --suggest good.csv --output-dir full --output json >/dev/full");
    let run = sandbox.program("", "sh", &["-c", &full]).code(1);
    assert!(
        run.stderr.contains("No space left on device"),
        "{}",
        run.stderr
    );
}

#[test]
fn files_of_another_schema_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("good.csv", "a,b\n1,x\n2,y\n");
    suggest(&sandbox, &["good.csv"]).success();
    let deep = "[".repeat(200_000);
    let wide = format!(
        "{{\"features\":[{}",
        "{\"name\":\"a\",\"inferred_type\":\"Integral\",\"x\":[".repeat(50_000)
    );
    for (name, bytes) in [
        ("empty.json", ""),
        ("list.json", "[1,2,3]"),
        ("text.json", "hello"),
        ("number.json", "12"),
        ("null.json", "null"),
        (
            "other.json",
            "{\"expectation_suite_name\":\"x\",\"expectations\":[{\"kwargs\":{}}]}",
        ),
        ("rules.json", "{\"rules\":[]}"),
        (
            "type.json",
            "{\"features\":[{\"name\":\"a\",\"inferred_type\":\"Float\"}]}",
        ),
        (
            "name.json",
            "{\"features\":[{\"name\":7,\"inferred_type\":\"Integral\"}]}",
        ),
        ("cut.json", "{\"version\":0.0,\"features\":[{\"name\":\"a\""),
        ("deep.json", &deep),
        ("wide.json", &wide),
    ] {
        sandbox.write(name, bytes);
        for args in [
            &["--constraints", name][..],
            &[
                "--constraints",
                "out/constraints.json",
                "--statistics",
                name,
            ],
        ] {
            let run = sandbox.mlops(["validate", "good.csv"].iter().chain(args));
            if name == "type.json" && args.len() == 4 {
                continue;
            }
            refused(run, 1, &format!("{name}: not a Model Monitor file: "));
        }
    }
    sandbox.write("latin.json", b"{\"features\":[{\"name\":\"\xf6\"}]}");
    let run = sandbox.mlops(["validate", "good.csv", "--constraints", "latin.json"]);
    refused(run, 1, "latin.json: not a Model Monitor file");
    let run = sandbox.mlops(["validate", "good.csv", "--constraints", "."]);
    refused(run, 1, ".: Is a directory");
    let swapped = sandbox.mlops([
        "validate",
        "good.csv",
        "--constraints",
        "out/statistics.json",
    ]);
    assert_ne!(swapped.code, Some(101), "{}", swapped.stderr);
}

/// Returns the peak memory of a running process in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Sends a gibibyte in one line; returns the error, and the peak memory in MiB.
fn one_long_line(format: &str, start: &str, piece: &str) -> (String, u64) {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("");
    command.args([
        "validate",
        "--suggest",
        "-",
        "--output-dir",
        "out",
        "--format",
        format,
    ]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    let mut stdin = child.stdin.take().unwrap();
    let block = piece.repeat(1024 * 1024 / piece.len());
    let mut highest = 0;
    let _ = stdin.write_all(start.as_bytes());
    for _ in 0..1024 {
        // The command must stop reading long before the end.
        if stdin.write_all(block.as_bytes()).is_err() {
            break;
        }
        highest = highest.max(peak(pid).unwrap_or_default());
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    (String::from_utf8(output.stderr).unwrap(), highest / 1024)
}

#[test]
fn a_line_of_a_gibibyte_ends_in_bounded_memory() {
    for (format, start, piece, message) in [
        (
            "csv",
            "a\n",
            "xxxxxxxx",
            "stdin, line 2: a row is longer than 64 MiB",
        ),
        (
            "csv",
            "",
            "abcdefgh",
            "stdin, line 1: a row is longer than 64 MiB",
        ),
        (
            "csv",
            "a,b\n1,2\n3,\"",
            "quoted, ",
            "stdin, line 3: a row is longer than 64 MiB",
        ),
        ("csv", "a,b\n", "1,2,3,4,", "stdin, line 2: "),
        (
            "jsonl",
            "{\"a\":1}\n{\"a\":\"",
            "xxxxxxxx",
            "stdin, line 2: the line is longer than 64 MiB",
        ),
        (
            "capture",
            "",
            "xxxxxxxx",
            "stdin, line 1: the line is longer than 128 MiB",
        ),
    ] {
        let (error, mebibytes) = one_long_line(format, start, piece);
        assert!(error.starts_with(&format!("error: {message}")), "{error}");
        // A few times the maximum length of a row, 64 or 128 MiB.
        let limit = if format == "capture" { 256 } else { 192 };
        assert!(mebibytes < limit, "{format}, {start:?}: {mebibytes} MiB");
    }
}

#[test]
fn an_interrupted_validation_writes_nothing() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("");
    command.args(["validate", "--suggest", "-", "--output-dir", "out"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than a pipe's buffer, so that it is being read when this returns.
    stdin.write_all(b"a,b\n").unwrap();
    stdin.write_all("1,2\n".repeat(500_000).as_bytes()).unwrap();
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut code = None;
    for _ in 0..3_000 {
        code = child.try_wait().unwrap();
        if code.is_some() {
            break;
        }
        pause();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        code.and_then(|code| code.code()),
        Some(130),
        "it ends while stdin is open"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "interrupted\n");
    assert!(output.stdout.is_empty());
    assert!(!sandbox.path().join("out").exists());
}

#[test]
fn empty_stdin_is_an_error() {
    let sandbox = Sandbox::new();
    refused(suggest(&sandbox, &["-"]), 1, "stdin: the file is empty");
    let binary = env!("CARGO_BIN_EXE_mlops");
    let closed = format!("{binary} validate --suggest - --output-dir out <&-");
    refused(
        sandbox.program("", "sh", &["-c", &closed]),
        1,
        "stdin: the file is empty",
    );
    let terminal = format!("{binary} validate --suggest - --output-dir out");
    let run = sandbox
        .program("", "script", &["-qec", &terminal, "/dev/null"])
        .code(2);
    let text = run.stdout.replace('\r', "");
    assert!(text.contains("stdin is a terminal"), "{text}");
    let directory = format!("{binary} validate --suggest - --output-dir out <.");
    refused(
        sandbox.program("", "sh", &["-c", &directory]),
        1,
        "stdin: Is a directory",
    );
}

#[test]
fn pipes_and_devices_are_read_as_streams() {
    let sandbox = Sandbox::new();
    let binary = env!("CARGO_BIN_EXE_mlops");
    sandbox.write("rows", "1,2\n".repeat(50_000));
    let piped = format!("{binary} validate --suggest <(echo a,b; cat rows) --output-dir out");
    let run = sandbox.program("", "bash", &["-c", &piped]).success();
    assert!(
        run.stdout.starts_with("50000 rows, 2 columns"),
        "{}",
        run.stdout
    );
    refused(
        suggest(&sandbox, &["/dev/null"]),
        1,
        "/dev/null: the file is empty",
    );
}

//! The whole story, as the README's first command tells it.

use std::path::Path;

use crate::sandbox::Sandbox;

#[test]
fn the_demo_tells_the_whole_story_and_leaves_it_to_explore() {
    let sandbox = Sandbox::new();
    // As in the README's first command, which runs in a clone of another repository.
    let _ = sandbox.program("", "git", &["init", "--quiet"]).success();
    let demo = sandbox.mlops(["demo", "flights"]).success();
    for command in [
        "$ mlops --local init --name flights --yes",
        "$ mlops image push",
        "$ mlops data push data/train flights",
        "$ mlops validate data/spoiled.csv",
        "$ mlops train --branch develop",
        "$ mlops promote 1 --yes",
        "$ mlops monitor run",
        "$ mlops lineage",
    ] {
        assert!(demo.stderr.contains(command), "{command}: {}", demo.stderr);
    }
    readme_shows(&format!("{}\n{}", demo.stderr, demo.stdout));
    let json = |command: &str| {
        let arguments = command.split(' ').chain(["--output", "json"]);
        sandbox.mlops_in("flights", arguments).success().json()
    };

    let models = json("models list");
    let model = &models["models"][0];
    assert_eq!(model["version"], 1, "{models}");
    assert_eq!(model["status"], "Approved", "{models}");

    let lineage = json("lineage").to_string();
    let head = sandbox
        .program("flights", "git", &["log", "--format=%H", "develop"])
        .success();
    assert!(
        head.stdout.lines().any(|commit| lineage.contains(commit)),
        "a commit of develop: {lineage}"
    );
    assert!(lineage.contains("sha256:"), "the image's digest: {lineage}");
    let versions = json("data versions flights");
    let version = versions["versions"][0]["version"].as_str().unwrap();
    assert!(lineage.contains(version), "the data's version: {lineage}");

    let status = sandbox.mlops_in("flights", ["status"]).success();
    assert!(status.stdout.lines().count() <= 24, "{}", status.stdout);
    assert!(
        status.stdout.lines().all(|line| line.chars().count() <= 80),
        "{}",
        status.stdout
    );

    let page = std::fs::read_to_string(sandbox.path().join("flights/drift.html")).unwrap();
    assert!(page.contains("<svg"), "a chart");
    assert!(page.contains("temp"), "July is warmer than the winter");
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!page.contains(outside), "the page loads nothing: {outside}");
    }

    // Issue 8, 5.3: what is suggested can be pasted, although `mlops` is not on PATH.
    let program = env!("CARGO_BIN_EXE_mlops");
    for line in [
        format!("`mlops` is not on PATH; it is {program}"),
        format!("  {program} models list"),
    ] {
        assert!(demo.stdout.contains(&line), "{line}: {}", demo.stdout);
    }

    // Nothing private: what is shown comes from AWS calls alone.
    let again = sandbox.mlops_in("flights", ["local", "stop"]);
    let _ = again.success();
    assert_eq!(json("models list"), models);
}

/// Checks that the demo prints every line of the README's transcript, apart from ids, times, ports and
/// distances; `…` ends a shortened line. Distances are estimated from one sketch per captured file, and
/// the clock decides where the capture starts a new file.
#[track_caller]
fn readme_shows(printed: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, transcript) = page.split_once("$ cargo run --locked -- demo\n\n").unwrap();
    let transcript = transcript.split("```").next().unwrap();
    let changing = [
        (r"\b[0-9a-f]{7,}\b…?", "HEX"),
        (r"\b[0-9a-z]{12}\b", "RUN"),
        (r"\b\d+( min \d+)? s\b", "TIME"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\b0\.\d{3}\b", "DISTANCE"),
        (r"[▁▂▃▄▅▆▇█]", "#"),
        (r" +", " "),
    ]
    .map(|(pattern, name)| (regex::Regex::new(pattern).unwrap(), name));
    let constant = |line: &str| {
        let mut line = line.trim_end().to_owned();
        for (pattern, name) in &changing {
            line = pattern.replace_all(&line, *name).into_owned();
        }
        line
    };
    let printed: Vec<String> = printed.lines().map(constant).collect();
    for line in transcript.lines().filter(|line| *line != "…") {
        let shown = constant(line);
        let found = match shown.strip_suffix('…') {
            Some(begin) => printed.iter().any(|line| line.starts_with(begin)),
            None => printed.contains(&shown),
        };
        assert!(
            found,
            "README.md has a line that the demo does not print: {line}"
        );
    }
}

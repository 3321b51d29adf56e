//! docs/ci.md: its shell blocks work from top to bottom on a local cloud, and it shows the files of a new project.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlops::cli::Cli;
use regex::Regex;

use crate::contract::sh;
use crate::sandbox::Sandbox;

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci.md")
}

/// A block of the page: its language, the attributes behind it (`exit=3`), and its text.
struct Block {
    language: String,
    attributes: BTreeMap<String, String>,
    text: String,
    /// Where the text starts in the page.
    start: usize,
}

impl Block {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

fn blocks(page: &str) -> Vec<Block> {
    let fence = Regex::new(r"(?ms)^```(\w+)([^\n]*)\n(.*?)^```$").unwrap();
    let found = fence.captures_iter(page).map(|found| {
        let attributes = found[2].split_whitespace().map(|attribute| {
            let (name, value) = attribute.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        Block {
            language: found[1].to_owned(),
            attributes: attributes.collect(),
            text: found[3].to_owned(),
            start: found.get(3).unwrap().start(),
        }
    });
    found.collect()
}

/// The file of a new project that `mlops init` writes to `path`.
fn scaffold(path: &str) -> String {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scaffold/files");
    std::fs::read_to_string(files.join(path.trim_start_matches('.'))).unwrap()
}

#[test]
fn the_page_shows_the_files_of_a_new_project() {
    let mut text = std::fs::read_to_string(page()).unwrap();
    let shown: Vec<Block> = blocks(&text)
        .into_iter()
        .filter(|block| block.attributes.contains_key("file"))
        .collect();
    if std::env::var_os("UPDATE").is_some() {
        for block in shown.iter().rev() {
            let range = block.start..block.start + block.text.len();
            text.replace_range(range, &scaffold(block.attribute("file").unwrap()));
        }
        std::fs::write(page(), text).unwrap();
        return;
    }
    for block in &shown {
        let path = block.attribute("file").unwrap();
        assert_eq!(
            block.text,
            scaffold(path),
            "{path} in docs/ci.md is stale: run `UPDATE=1 cargo test the_page_shows`"
        );
    }
    let mut paths: Vec<&str> = shown
        .iter()
        .filter_map(|block| block.attribute("file"))
        .collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            ".github/workflows/mlops.yml",
            ".gitlab-ci.yml",
            "ci/pipeline.sh",
            "ci/promote.sh",
            "ci/sign-in.sh",
            "ci/test.sh",
            "ci/train.sh",
        ]
    );
}

#[test]
fn every_command_line_of_ci_exists() {
    // The page contains the files of a new project, too. Where a command can start: a line, an item of a list in
    // YAML, behind an operator.
    let code: String = blocks(&std::fs::read_to_string(page()).unwrap())
        .into_iter()
        .map(|block| block.text)
        .collect();
    let command =
        Regex::new(r"(?m)(?:^\s*(?:- |run: )?|[|&;({] ?|\$\()(mlops [^|&;<>(){}\n]*)").unwrap();
    let variable = Regex::new(r"\$\w+").unwrap();
    let redirection = Regex::new(r"\d?>\S+").unwrap();
    let code = redirection.replace_all(&code, "");
    let lines: Vec<&str> = command
        .captures_iter(&code)
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert!(lines.len() > 20, "{lines:#?}");
    for line in lines {
        let line = variable.replace_all(line.trim(), "1").replace('"', "");
        if let Err(error) = Cli::read(line.split_whitespace()) {
            panic!("`{line}`: {error}");
        }
    }
}

#[test]
fn every_shell_block_works() {
    let mut sandbox = Sandbox::new();
    for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
        sandbox.set(&format!("{name}_NAME"), "team");
        sandbox.set(&format!("{name}_EMAIL"), "team@localhost");
    }
    let page = std::fs::read_to_string(page()).unwrap();
    let mut last = String::new();
    for block in blocks(&page) {
        // The files are executed by other blocks, below, and in tests/conformance/test_ci.py.
        if block.language != "sh" || block.attributes.contains_key("file") {
            continue;
        }
        let role = block.attribute("as").map_or(String::new(), session);
        let wanted = block
            .attribute("exit")
            .map_or(0, |code| code.parse().unwrap());
        let ran = sh(&mut sandbox, "", &format!("{role}{}", block.text));
        assert_eq!(
            ran.code,
            Some(wanted),
            "{}\nstdout:\n{}\nstderr:\n{}",
            block.text,
            ran.stdout,
            ran.stderr
        );
        last = ran.stdout;
    }
    assert_eq!(last, "credentials AccessDeniedException\n");
    let read = |name: &str| -> serde_json::Value {
        let text = std::fs::read_to_string(sandbox.path().join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    // What the page says about the results.
    assert_eq!(read("training.json")["model"]["version"], 1);
    assert_eq!(read("release.json")["version"], 1);
    assert_eq!(read("refused.json")["status"], "Refused");
    assert!(sandbox.path().join("drift.html").is_file());
    let live = sandbox.mlops(["releases", "list", "--output", "json"]);
    let live = live.success().json();
    let outcomes = live["releases"].as_array().unwrap().iter();
    let outcomes: Vec<_> = outcomes.map(|release| &release["outcome"]).collect();
    assert_eq!(outcomes, ["live"], "{live:#}");

    // CI checks out a commit without a branch, and without history.
    let checkout = "git init --quiet runner
        git -C runner fetch --quiet --depth 1 \"$PWD\" develop
        git -C runner checkout --quiet --detach FETCH_HEAD";
    let _ = sh(&mut sandbox, "", checkout).success();
    let train = format!(
        "{}cd runner\nBRANCH=develop ci/train.sh",
        session("data-scientist")
    );
    let trained = sh(&mut sandbox, "", &train).success();
    assert!(
        trained.stdout.contains("PendingManualApproval"),
        "{}",
        trained.stdout
    );
    let promote = format!(
        "{}cd runner\nVERSION=1 ci/promote.sh",
        session("ml-engineer")
    );
    let _ = sh(&mut sandbox, "", &promote).success();
}

/// The start of a script that runs with a role of the project.
fn session(role: &str) -> String {
    format!("eval \"$(mlops --quiet local env --role flights-{role})\"\n")
}

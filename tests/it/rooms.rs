//! Which modules may depend on which (design.md, section 3), checked against the code.

use std::path::{Path, PathBuf};

/// Returns the sources of the program and of the crates; those of the program without the prefix
/// `src/`.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending = vec![root.join("src"), root.join("crates")];
    let mut found = Vec::new();
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "files") {
                    pending.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                let name = name.strip_prefix("src/").unwrap_or(name).to_owned();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Returns the lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
}

/// Checks that no file outside `allowed` contains `pattern`.
fn only_in(pattern: &str, allowed: &[&str]) {
    let pattern = regex::Regex::new(pattern).unwrap();
    let mut offenders = Vec::new();
    for (name, text) in sources() {
        if allowed.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        for line in code(&text).filter(|line| pattern.is_match(line)) {
            offenders.push(format!("{name}: {}", line.trim()));
        }
    }
    assert!(
        offenders.is_empty(),
        "{pattern} is only for {allowed:?}:\n{}",
        offenders.join("\n")
    );
}

/// Checks that a module (a file and a directory of that name) does not contain `pattern`.
fn never_in(room: &str, pattern: &str) {
    let pattern = regex::Regex::new(pattern).unwrap();
    let (file, folder) = (format!("{room}.rs"), format!("{room}/"));
    for (name, text) in sources() {
        if name == file || name.starts_with(&folder) {
            for line in code(&text) {
                assert!(
                    !pattern.is_match(line),
                    "{name} must not know {pattern}: {}",
                    line.trim()
                );
            }
        }
    }
}

#[test]
fn clients_are_created_in_one_place() {
    only_in(r"aws_config::", &["aws.rs"]);
    only_in(r"aws_sdk_\w+::Client::(new|from_conf)", &["aws.rs"]);
    only_in(r"aws_sdk_", &["aws.rs", "aws/", "infra", "commands/"]);
}

#[test]
fn library_crates_keep_their_boundaries() {
    only_in(r"indicatif::", &["progress.rs", "progress/"]);
    only_in(r"dialoguer::", &["prompt.rs"]);
    only_in(
        r"\blocal_cloud::",
        &[
            "cli",
            "config",
            "context.rs",
            "commands/local",
            "commands/demo.rs",
        ],
    );
}

#[test]
fn one_place_sleeps_and_one_reads_the_environment() {
    only_in(
        r"time::sleep",
        &["crates/core/src/wait.rs", "crates/local-cloud/src/clock.rs"],
    );
    only_in(r"env::(var|vars|home_dir)\b", &["config"]);
}

#[test]
fn one_place_writes_to_stdout() {
    only_in(
        r"\bprintln!|\bprint!|\beprintln!|io::stdout\(\)",
        &[
            "output.rs",
            "output/",
            // A pipe to the server.
            "crates/local-cloud/src/runtime/enter/supervisor.rs",
        ],
    );
}

#[test]
fn monitoring_depends_on_neither_aws_nor_the_terminal() {
    never_in(
        "monitoring",
        r"crate::(aws|commands|context|infra)\b|aws_sdk_|dialoguer|\btokio::|\bclap::",
    );
}

#[test]
fn the_analyzer_only_depends_on_the_engine() {
    // The command reads the environment on its behalf (`config::analyzer_environment`).
    never_in(
        "analyzer",
        r"crate::(aws|cli|commands|config|context|git|infra|monitoring|output|progress|prompt|scaffold)\b|\b(tokio|clap|mlops_oci|mlops_pipeline|mlops_local_cloud)::|aws_sdk_",
    );
}

#[test]
fn the_lambda_function_wraps_one_command() {
    only_in(r"\blambda_runtime::", &["main.rs", "lambda_runtime"]);
    never_in(
        "lambda_runtime",
        r"crate::(infra|cli)\b|aws_sdk_|mlops_local_cloud",
    );
}

#[test]
fn commands_do_not_import_each_other() {
    let import = regex::Regex::new(r"(crate::commands|super)::([a-z_]+)").unwrap();
    for (name, text) in sources() {
        let Some(own) = name.strip_prefix("commands/") else {
            continue;
        };
        let own = own.split(['/', '.']).next().unwrap();
        for line in code(&text) {
            if let Some(found) = import.captures(line)
                && &found[1] == "crate::commands"
            {
                assert_eq!(&found[2], own, "{name}: {}", line.trim());
            }
        }
    }
}

#[test]
fn rooms_have_names() {
    for (name, _) in sources() {
        for bad in ["utils", "common", "helpers", "misc"] {
            assert!(!name.split(['/', '.']).any(|part| part == bad), "{name}");
        }
    }
}

#[test]
fn files_are_short_enough_to_read() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        let limit = if name.starts_with("commands/") {
            250
        } else {
            600
        };
        assert!(
            lines <= limit,
            "{name} has {lines} lines, more than {limit}"
        );
    }
}

#[test]
fn every_test_file_is_a_module() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "{name} is not run"
        );
    }
}

//! Issue 8, 5.9: the commands of docs/contract.md do what it says, as do the scaffold's tests and
//! CI.

use std::path::Path;
use std::process::Command;

use crate::sandbox::{Run, Sandbox};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/contract.md");
    std::fs::read_to_string(path).unwrap()
}

/// Runs a script with `mlops` on PATH.
pub(crate) fn sh(sandbox: &mut Sandbox, directory: &str, script: &str) -> Run {
    let programs = sandbox.home().join("bin");
    let mlops = programs.join("mlops");
    if !mlops.exists() {
        std::fs::create_dir_all(&programs).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mlops"), mlops).unwrap();
    }
    let path = std::env::var_os("PATH").unwrap();
    let path = path.to_str().unwrap();
    sandbox.set("PATH", &format!("{}:{path}", programs.display()));
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", &format!("cd './{directory}'\n{script}")]);
    sandbox.shell(command)
}

#[test]
fn issue_8_5_9_every_command_of_the_smallest_project_works() {
    let page = page();
    let (_, section) = page.split_once("\n## The smallest project\n").unwrap();
    let blocks = section.split("```sh\n").skip(1);
    let script: String = blocks
        .map(|block| block.split_once("```").unwrap().0)
        .collect();
    for command in [
        "mlops train",
        "mlops promote 1",
        "mlops train --working-tree",
    ] {
        assert!(script.contains(command), "{command}");
    }
    let mut sandbox = Sandbox::new();
    let ran = sh(&mut sandbox, "", &script).success();
    // The claims of the text around the commands.
    let (_, promised) = section
        .split_once("prints the prediction for `sample.csv`, `")
        .unwrap();
    let promised = promised.split('`').next().unwrap();
    for part in [
        promised,
        "Refused",
        "rmse 0.1336, must be at most 0.01 (MaxRmse)",
        "-dirty",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
}

#[test]
fn issue_8_5_9_the_scaffolds_tests_and_ci_run_in_a_fresh_clone() {
    let mut sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("team")).unwrap();
    let init = ["--local", "init", "--name", "flights", "--yes"];
    let _ = sandbox.mlops_in("team", init).success();
    let _ = sandbox
        .program("", "git", &["clone", "--quiet", "team", "clone"])
        .success();
    let tested = sh(&mut sandbox, "clone", "ci/test.sh").success();
    assert!(tested.stderr.contains("\nOK"), "{}", tested.stderr);
    let trained = sh(&mut sandbox, "clone", "ci/pipeline.sh").success();
    assert!(
        trained.stdout.contains("PendingManualApproval"),
        "{}",
        trained.stdout
    );

    // With the image's packages installed, no test is skipped.
    let venvs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache/venvs");
    let python = std::fs::read_dir(venvs)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin/python"))
        .find(|python| {
            let imports = ["-c", "import joblib, sklearn"];
            let known = Command::new(python).args(imports).output();
            known.is_ok_and(|output| output.status.success())
        })
        .unwrap();
    let script = format!(
        "'{}' -m unittest discover --start-directory tests",
        python.display()
    );
    let tested = sh(&mut sandbox, "clone", &script).success();
    assert!(!tested.stderr.contains("skipped"), "{}", tested.stderr);
    let status = sandbox.program("clone", "git", &["status", "--porcelain"]);
    assert_eq!(
        status.success().stdout,
        "",
        "the tests leave nothing behind"
    );
}

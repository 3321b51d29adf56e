//! A small project whose complete pipeline runs in a second or two: no packages, no data. Its files are in
//! tests/small.

use crate::sandbox::Sandbox;

/// Prints two lines, the second after a pause.
const TRAIN: &str = include_str!("../small/train");

const SERVE: &str = include_str!("../small/serve");

/// The metric that [`evaluate`] writes at first.
pub(crate) const RMSE: &str = "4.25";

/// Returns a program that writes this metric.
pub(crate) fn evaluate(rmse: &str) -> String {
    include_str!("../small/evaluate").replace("RMSE", rmse)
}

const PIPELINE: &str = include_str!("../small/pipeline.json");

/// Creates a project on the local cloud with a small program, deployed and pushed.
pub(crate) fn project(sandbox: &Sandbox) {
    let _ = sandbox
        .mlops(["init", "--local", "--name", "small", "--yes"])
        .success();
    write(sandbox);
    let _ = sandbox.mlops(["image", "push"]).success();
}

/// Replaces the program and the pipeline of a project by small ones, and commits them.
pub(crate) fn write(sandbox: &Sandbox) {
    sandbox.write("image/requirements.txt", "");
    sandbox.write("image/program/train", TRAIN);
    sandbox.write("image/program/evaluate", evaluate(RMSE));
    sandbox.write("image/program/serve", SERVE);
    sandbox.write("pipeline.json", PIPELINE);
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write("mlops.toml", toml.replace("sample =", "# sample ="));
    commit(sandbox);
}

/// Commits everything.
pub(crate) fn commit(sandbox: &Sandbox) {
    let _ = sandbox.program("", "git", &["add", "-A"]).success();
    let commit = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@localhost",
        "commit",
        "-qm",
        "small",
    ];
    let _ = sandbox.program("", "git", &commit).success();
}

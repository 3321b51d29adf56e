//! The table behind `mlops doctor --iam`, against the operations that real commands called on the
//! local cloud.

mod not_provoked;
mod recorder;
mod working_day;

use std::collections::{BTreeMap, BTreeSet};

use not_provoked::NOT_PROVOKED;
use recorder::Recorder;
use working_day::{checks, data, delivery, endless_build, images, models, retraining};

use crate::sandbox::Sandbox;
use crate::{small_delivery, small_project};

/// Commands whose rows were written by reading them, and are not compared yet.
const NOT_COMPARED: [&str; 1] = ["notebook open"];

/// The operations in the table; what CloudFormation does is not an operation of the command.
fn listed() -> BTreeMap<&'static str, BTreeSet<String>> {
    let all = mlops::permissions::commands().into_iter();
    all.map(|(command, operations)| {
        let operations = operations.into_iter().map(str::to_owned);
        let called =
            operations.filter(|it| !it.starts_with("deploys:") && !it.starts_with("passes:"));
        (command, called.collect())
    })
    .collect()
}

#[test]
fn the_table_lists_exactly_what_each_command_calls() {
    let mut recorder = Recorder::start();
    let init = ["init", "--local", "--name", "small", "--yes"];
    let _ = recorder.run("init", &init).success();
    small_project::write(&recorder.sandbox);
    let _ = recorder.plain("init").success();
    images(&mut recorder);
    let _ = recorder.sandbox.mlops(["image", "push"]).success();
    data(&mut recorder);
    models(&mut recorder);
    delivery(&mut recorder);
    checks(&mut recorder);
    // The project has a deploy pipeline of its own.
    small_delivery::delete_deploy(&recorder.sandbox);
    // Of a branch that does not exist, so that nothing is built.
    let settings = recorder.sandbox.path().join("mlops.toml");
    let settings = std::fs::read_to_string(settings).unwrap();
    let delivery = "\n[delivery]\nbranches = [\"team/none\"]\n";
    recorder
        .sandbox
        .write("mlops.toml", format!("{settings}{delivery}"));
    small_project::commit(&recorder.sandbox);
    // The second one looks for pipelines of other branches.
    let _ = recorder.plain("init").success();
    let _ = recorder.plain("init").success();
    let _ = recorder.plain("plan").success();
    // Retraining needs the pipelines of the develop branch.
    let delivery = "\n[delivery]\n\n[branches]\ndevelop = \"team/none\"\n";
    recorder.sandbox.write("mlops.toml", settings + delivery);
    small_project::commit(&recorder.sandbox);
    let _ = recorder.plain("init").success();
    retraining(&mut recorder);
    endless_build(&recorder);
    let delete = ["endpoint", "delete", "--yes"];
    let _ = recorder.run("endpoint delete", &delete).success();
    let _ = recorder.run("destroy", &["destroy", "--yes"]).success();
    let all = ["destroy", "--delete-data", "--yes"];
    let _ = recorder.run("destroy", &all).success();

    let table = listed();
    let mut wrong = String::new();
    for (command, called) in &recorder.called {
        if NOT_COMPARED.contains(command) {
            continue;
        }
        let listed = table.get(command).cloned().unwrap_or_default();
        for missing in called.difference(&listed) {
            wrong.push_str(&format!("{command}: + {missing}\n"));
        }
        for superfluous in listed.difference(called) {
            let excused = NOT_PROVOKED.iter().any(|(name, operation, _)| {
                (name == command || *name == "*") && operation == superfluous
            });
            if !excused {
                wrong.push_str(&format!("{command}: - {superfluous}\n"));
            }
        }
    }
    for (command, operation, _) in NOT_PROVOKED {
        let called = recorder.called.get(command);
        if called.is_some_and(|called| called.contains(*operation)) {
            wrong.push_str(&format!("{command}: {operation} is excused, but called\n"));
        }
    }
    assert!(
        wrong.is_empty(),
        "src/permissions/commands.txt lacks (+) and has too many (-):\n{wrong}"
    );
}

#[test]
fn a_policy_names_the_project_s_resources() {
    let sandbox = Sandbox::new();
    let policy = |words: &[&str]| {
        let run = sandbox.mlops([&["doctor", "--iam"], words].concat());
        run.success().json()
    };
    let push = policy(&["data", "push"]);
    assert!(
        push.to_string().contains("arn:aws:s3:::PROJECT-"),
        "{push:#}"
    );
    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"111111111111\"\nregion = \"eu-west-1\"\n",
    );
    let push = policy(&["data", "push"]);
    let objects = "arn:aws:s3:::flights-*-111111111111-eu-west-1/*";
    assert!(push.to_string().contains(objects), "{push:#}");
    assert!(!push.to_string().contains("ecr:"), "{push:#}");
    let all = policy(&[]);
    assert!(all.to_string().contains("ecr:PutImage"), "{all:#}");
    let unknown = sandbox.mlops(["doctor", "--iam", "image", "pull"]).code(2);
    assert!(unknown.stderr.contains("image push"), "{}", unknown.stderr);
}

//! `mlops init`: the architecture in the local cloud, and a new project.

use crate::sandbox::Sandbox;

#[test]
fn init_in_a_new_directory_is_idempotent() {
    let sandbox = Sandbox::new();
    let init = ["--local", "init", "--name", "flights", "--output", "json"];
    let first = sandbox.mlops(init).success().json();
    let actions = |report: &serde_json::Value| -> Vec<String> {
        let stacks = report["stacks"].as_array().unwrap();
        stacks
            .iter()
            .map(|stack| format!("{} {}", stack["stack"], stack["action"]).replace('"', ""))
            .collect()
    };
    assert_eq!(
        actions(&first),
        [
            "flights-data created",
            "flights-network created",
            "flights-registry created",
            "flights-governance created",
            "flights-workbench created"
        ]
    );
    assert_eq!(
        first["platform"]["data_bucket"],
        "flights-data-000000000000-us-east-1"
    );
    assert_eq!(
        first["platform"]["execution_role"],
        "arn:aws:iam::000000000000:role/flights-training"
    );
    assert_eq!(
        first["network"]["private_subnets"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let git = |arguments: &[&str]| sandbox.program("", "git", arguments).success().stdout;
    assert_eq!(git(&["branch", "--show-current"]).trim(), "develop");
    assert_eq!(git(&["status", "--porcelain"]), "");
    assert_eq!(git(&["log", "--format=%s"]).trim(), "Start flights");
    assert!(git(&["ls-files"]).contains("image/program/train"));
    assert!(
        git(&["remote", "get-url", "codecommit"])
            .trim()
            .ends_with("/v1/repos/flights")
    );

    std::fs::write(sandbox.path().join("pipeline.json"), "mine").unwrap();
    let second = sandbox.mlops(["--local", "init", "--output", "json"]);
    let second = second.success().json();
    assert_eq!(
        actions(&second),
        [
            "flights-data unchanged",
            "flights-network unchanged",
            "flights-registry unchanged",
            "flights-governance unchanged",
            "flights-workbench unchanged"
        ]
    );
    assert_eq!(second["files"].as_array().unwrap().len(), 0);
    let kept = std::fs::read_to_string(sandbox.path().join("pipeline.json")).unwrap();
    assert_eq!(kept, "mine");
}

#[test]
fn existing_files_are_not_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.write("notes.txt", "mine");
    let refused = sandbox.mlops(["--local", "init"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("notes.txt"), "{}", refused.stderr);

    sandbox.write("pipeline.json", "{}");
    let refused = sandbox.mlops(["--local", "init", "--name", "flights"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("pipeline.json"),
        "{}",
        refused.stderr
    );
    assert!(!sandbox.path().join("mlops.toml").exists());
}

#[test]
fn an_invalid_name_or_account_is_rejected_early() {
    let sandbox = Sandbox::new();
    let refused = sandbox.mlops(["--local", "init", "--name", "Flights!"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);

    sandbox.write(
        "mlops.toml",
        "name = \"flights\"\naccount = \"111122223333\"\nregion = \"us-east-1\"\n",
    );
    let refused = sandbox.mlops(["--local", "init"]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("111122223333"),
        "{}",
        refused.stderr
    );
    let refused = sandbox.mlops(["--local", "init", "--name", "other"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

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
            "flights-code created",
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
            "flights-code unchanged",
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

#[test]
fn a_connection_takes_the_place_of_the_repositories() {
    let sandbox = Sandbox::new();
    let init = [
        "--local",
        "init",
        "--name",
        "flights",
        "--empty",
        "--source",
        "codeconnections",
        "--provider",
        "gitlab",
    ];
    let first = sandbox.mlops(init).success();
    for line in [
        "connection         arn:aws:codeconnections:us-east-1:000000000000:connection/",
        "A new connection is PENDING until somebody authorizes it",
        "Wrote 6 files",
        "Next: write image/ and pipeline.json",
    ] {
        assert!(first.stdout.contains(line), "{line}: {}", first.stdout);
    }
    let remotes = sandbox.program("", "git", &["remote"]).success();
    assert_eq!(remotes.stdout, "");
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    assert!(toml.contains("provider = \"gitlab\""), "{toml}");

    let refused = sandbox.mlops(["init", "--source", "codecommit"]).code(2);
    assert!(
        refused
            .stderr
            .contains("mlops.toml says source = \"codeconnections\""),
        "{}",
        refused.stderr
    );
    let _ = sandbox.mlops(["plan"]).success();
}

#[test]
fn network_access_can_be_chosen_and_changed() {
    let sandbox = Sandbox::new();
    let init = [
        "--local",
        "init",
        "--name",
        "flights",
        "--network",
        "endpoints",
    ];
    let first = sandbox.mlops(init).success();
    assert!(!first.stdout.contains("up to date"), "{}", first.stdout);
    let again = sandbox.mlops(["init"]).success();
    assert!(
        again
            .stdout
            .contains("Everything is up to date; nothing was changed."),
        "{}",
        again.stdout
    );

    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    let changed = toml.replace("network = \"endpoints\"", "network = \"nat\"");
    assert_ne!(changed, toml);
    sandbox.write("mlops.toml", changed);
    let plan = sandbox.mlops(["plan"]).code(3);
    for line in [
        "  + NatGateway                   EC2::NatGateway",
        "  - SageMakerApiEndpoint         EC2::VPCEndpoint, removed",
        "      lost: connections that are open through it",
    ] {
        assert!(plan.stdout.contains(line), "{line}: {}", plan.stdout);
    }
    let _ = sandbox.mlops(["init"]).success();
    let _ = sandbox.mlops(["plan"]).success();
}

#[test]
fn the_validation_function_can_be_deployed_with_another_executable() {
    let sandbox = Sandbox::new();
    let binary = env!("CARGO_BIN_EXE_mlops");
    let init = ["--local", "init", "--name", "flights", "--output", "json"];
    let with = |binary| init.into_iter().chain(["--linux-binary", binary]);
    sandbox.write("notes.txt", "text");
    let refused = sandbox.mlops(with("notes.txt"));
    assert_ne!(refused.code, Some(0), "{}", refused.stdout);
    assert!(!sandbox.path().join("mlops.toml").exists());

    for action in ["created", "unchanged"] {
        let report = sandbox.mlops(with(binary)).success().json();
        let last = report["stacks"].as_array().unwrap().last().unwrap();
        assert_eq!(last["stack"], "flights-validation");
        assert_eq!(last["action"], action);
    }
}

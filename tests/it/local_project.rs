//! Issue 8, 5.2 and 5.3: projects that remember the local cloud, and other clients of the cloud.

use std::path::Path;
use std::process::Command;

use crate::sandbox::Sandbox;

fn set_project(sandbox: &Sandbox, account: &str, rest: &str) {
    sandbox.write(
        "mlops.toml",
        format!("name = \"small\"\naccount = \"{account}\"\nregion = \"us-east-1\"\n{rest}"),
    );
}

#[test]
fn issue_8_5_2_a_local_project_needs_no_flag() {
    let mut sandbox = Sandbox::new();
    // Whatever the shell's environment sets for AWS.
    sandbox
        .set("AWS_PROFILE", "work")
        .set("AWS_ACCESS_KEY_ID", "AKIAREAL")
        .set("AWS_SECRET_ACCESS_KEY", "SECRET");
    let init = sandbox
        .mlops(["init", "--local", "--name", "small", "--yes"])
        .success();
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    assert!(toml.contains("\nlocal = true\n"), "{toml}");
    // 5.3: `mlops` is not on this PATH.
    let program = env!("CARGO_BIN_EXE_mlops");
    let next =
        format!("`mlops` is not on PATH; its path is {program}\nNext: {program} image push\n");
    assert!(init.stdout.ends_with(&next), "{}", init.stdout);

    let status = sandbox
        .mlops(["status", "--output", "json"])
        .success()
        .json();
    assert_eq!(status["account"], "000000000000", "{status}");
    assert_eq!(status["next"], "mlops image push", "{status}");
    let shown = sandbox
        .mlops(["config", "show", "--output", "json"])
        .success()
        .json();
    assert_eq!(shown["local"], true, "{shown}");

    // An explicit endpoint is used, and a project of a local cloud is not there.
    for flags in [["--local=false"].as_slice(), &["--profile", "work"]] {
        for command in [["models", "list"], ["runs", "list"], ["data", "versions"]] {
            let run = sandbox.mlops(command.iter().chain(flags)).code(4);
            assert!(
                run.stderr.contains("was created on a local cloud"),
                "{}",
                run.stderr
            );
            assert!(run.stderr.contains("--local=false"), "{}", run.stderr);
        }
    }
    let on_path = sandbox.path().join("bin");
    std::fs::create_dir(&on_path).unwrap();
    std::os::unix::fs::symlink(program, on_path.join("mlops")).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let path = format!("{}:{}", on_path.display(), path.to_str().unwrap());
    sandbox.set("PATH", &path);
    let again = sandbox.mlops(["init"]).success();
    assert!(
        again.stdout.ends_with("\nNext: mlops image push\n"),
        "{}",
        again.stdout
    );
}

#[test]
fn issue_8_5_2_a_project_of_a_local_cloud_is_recognized_without_a_request() {
    let sandbox = Sandbox::new();
    // A file as written by an earlier version.
    set_project(&sandbox, "000000000000", "");
    sandbox.write("data/a.csv", "a\n1\n");
    for command in [
        ["status"].as_slice(),
        &["init"],
        &["lineage"],
        &["image", "list"],
        &["data", "push", "data", "small"],
        &["promote", "1", "--yes"],
    ] {
        let run = sandbox.mlops(command).code(4);
        assert!(
            run.stderr.contains("was created on a local cloud"),
            "{command:?}: {}",
            run.stderr
        );
        assert!(
            run.stderr.contains("local = true"),
            "{command:?}: {}",
            run.stderr
        );
        assert!(
            !run.stderr.contains("credential"),
            "{command:?}: {}",
            run.stderr
        );
    }
    let again = sandbox.mlops(["--local", "init"]).success();
    assert!(again.stderr.contains("`local = true`"), "{}", again.stderr);
}

#[test]
fn issue_8_5_2_an_untrusted_project_only_starts_its_own_cloud() {
    let sandbox = Sandbox::new();
    set_project(&sandbox, "000000000000", "local = true\n");
    let status = sandbox
        .mlops(["status", "--output", "json"])
        .success()
        .json();
    assert_eq!(status["next"], "mlops init", "{status}");
    let local = sandbox
        .mlops(["local", "status", "--output", "json"])
        .success()
        .json();
    let directory = Path::new(local["directory"].as_str().unwrap())
        .canonicalize()
        .unwrap();
    assert!(
        directory.starts_with(sandbox.path().canonicalize().unwrap()),
        "{local}"
    );

    // It cannot set an endpoint, a profile or a state directory.
    for key in [
        "endpoint_url = \"http://x\"",
        "profile = \"x\"",
        "state = \"/tmp/x\"",
    ] {
        set_project(&sandbox, "000000000000", &format!("local = true\n{key}\n"));
        let _ = sandbox.mlops(["status"]).code(2);
        set_project(
            &sandbox,
            "000000000000",
            &format!("[local]\nenabled = true\n{key}\n"),
        );
        let _ = sandbox.mlops(["status"]).code(2);
    }
    // The account belongs to someone else, so nothing is changed there.
    set_project(&sandbox, "111111111111", "local = true\n");
    let _ = sandbox.mlops(["init"]).code(4);
}

#[test]
fn issue_8_5_3_other_clients_get_endpoint_region_and_credentials() {
    let mut sandbox = Sandbox::new();
    set_project(&sandbox, "000000000000", "local = true\n");
    sandbox
        .set("AWS_PROFILE", "work")
        .set("AWS_SESSION_TOKEN", "real");
    let env = sandbox.mlops(["local", "env"]).success();
    let endpoint = sandbox
        .mlops(["local", "status", "--output", "json"])
        .success()
        .json();
    let endpoint = endpoint["endpoint"].as_str().unwrap().to_owned();
    for line in env.stdout.lines() {
        assert!(
            line.starts_with("export AWS_") || line.starts_with("unset AWS_"),
            "{line}"
        );
    }
    assert!(env.stderr.contains(&endpoint), "{}", env.stderr);

    let mut shell = Command::new("sh");
    let script = format!(
        "eval \"$('{}' local env --quiet)\" && env",
        env!("CARGO_BIN_EXE_mlops")
    );
    shell.args(["-c", &script]);
    let seen = sandbox.shell(shell).success().stdout;
    for line in [
        format!("AWS_ENDPOINT_URL={endpoint}"),
        "AWS_REGION=us-east-1".to_owned(),
        "AWS_DEFAULT_REGION=us-east-1".to_owned(),
        "AWS_SECRET_ACCESS_KEY=local".to_owned(),
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line}: {seen}");
    }
    assert!(seen.contains("\nAWS_ACCESS_KEY_ID=local-"), "{seen}");
    assert!(
        !seen.contains("AWS_PROFILE") && !seen.contains("AWS_SESSION_TOKEN"),
        "{seen}"
    );

    let json = sandbox
        .mlops(["local", "env", "--output", "json"])
        .success()
        .json();
    assert_eq!(json["AWS_ENDPOINT_URL"], endpoint.as_str(), "{json}");
    assert!(json["AWS_PROFILE"].is_null(), "{json}");
    // A request to this machine must not use a proxy.
    sandbox
        .set("HTTP_PROXY", "http://proxy.example:3128")
        .set("NO_PROXY", "internal.example");
    let proxied = sandbox.mlops(["local", "env", "--output", "json"]);
    let proxied = proxied.success().json();
    assert_eq!(
        proxied["NO_PROXY"], "internal.example,127.0.0.1",
        "{proxied}"
    );
    let fish = sandbox
        .mlops(["local", "env", "--shell", "fish"])
        .success()
        .stdout;
    assert!(fish.contains("set -gx AWS_REGION 'us-east-1'"), "{fish}");
}

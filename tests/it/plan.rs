//! `mlops plan`: what `init` would change, before and after.

use serde_json::Value;

use crate::sandbox::Sandbox;

/// `mlops plan` as JSON, with this exit code.
fn plan(sandbox: &Sandbox, code: i32) -> Value {
    sandbox
        .mlops(["plan", "--output", "json"])
        .code(code)
        .json()
}

/// The changes of a stack.
fn changes<'a>(plan: &'a Value, part: &str) -> &'a Vec<Value> {
    let stacks = plan["stacks"].as_array().unwrap();
    let stack = stacks.iter().find(|stack| stack["part"] == part).unwrap();
    stack["changes"].as_array().unwrap()
}

/// The stacks of the account, with their status.
fn stacks(sandbox: &Sandbox) -> Value {
    sandbox
        .mlops(["status", "--output", "json"])
        .success()
        .json()["stacks"]
        .clone()
}

#[test]
fn without_changes_there_is_nothing_to_do() {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["init", "--local", "--name", "flights"])
        .success();
    let before = stacks(&sandbox);
    let _ = sandbox.mlops(["plan"]).success().stdout(
        "flights in account 000000000000, us-east-1\n\n\
         Every stack is up to date; there is nothing to do.\n",
    );
    assert_eq!(stacks(&sandbox), before);
}

#[test]
fn changes_are_listed_and_nothing_is_left_behind() {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["init", "--local", "--name", "flights"])
        .success();
    let before = stacks(&sandbox);
    let toml = std::fs::read_to_string(sandbox.path().join("mlops.toml")).unwrap();
    sandbox.write(
        "mlops.toml",
        format!("{toml}\n[branches]\nproduction = \"release\"\n"),
    );

    let human = sandbox.mlops(["plan"]).code(3);
    for line in [
        "unchanged: flights-data, flights-network, flights-code, flights-workbench",
        "flights-governance: update",
        "  ~ Boundary                     IAM::ManagedPolicy, changed: PolicyDocument",
        "  ~ ImageRepository              ECR::Repository, changed:",
        "Next: mlops init",
    ] {
        assert!(human.stdout.contains(line), "{line}: {}", human.stdout);
    }
    let words = human.stdout.replace("\n        ", " ");
    let references = |sign: &str, branch: &str| {
        let mut lines = words.lines();
        lines.any(|line| {
            line.trim_start().starts_with(sign)
                && line.contains(&format!("References = refs/heads/{branch}"))
        })
    };
    assert!(references("- Deny", "main"), "{}", human.stdout);
    assert!(references("+ Deny", "release"), "{}", human.stdout);
    assert!(
        human
            .stdout
            .lines()
            .all(|line| line.chars().count() <= 80 || line.contains("arn:")),
        "{}",
        human.stdout
    );

    let json = plan(&sandbox, 3);
    assert_eq!(
        (
            &json["added"],
            &json["changed"],
            &json["replaced"],
            &json["removed"]
        ),
        (&0.into(), &2.into(), &0.into(), &0.into())
    );
    let boundary = &changes(&json, "governance")[0];
    assert_eq!(
        boundary["permissions"]["before"].as_array().unwrap().len(),
        1
    );
    assert_eq!(stacks(&sandbox), before, "the plan left something behind");

    // What the plan showed is what init does; afterwards, there is nothing to do.
    let done = sandbox.mlops(["init", "--output", "json"]).success().json();
    let updated = done["stacks"].as_array().unwrap().iter();
    let updated: Vec<&Value> = updated
        .filter(|stack| stack["action"] == "updated")
        .collect();
    assert_eq!(updated.len(), 2);
    assert_eq!(plan(&sandbox, 0)["changed"], 0);
}

#[test]
fn an_empty_account_is_planned_from_the_templates() {
    let sandbox = Sandbox::new();
    let _ = sandbox
        .mlops(["init", "--local", "--name", "flights"])
        .success();
    let _ = sandbox
        .mlops(["destroy", "--delete-data", "--yes"])
        .success();
    let json = plan(&sandbox, 3);
    let stacks = json["stacks"].as_array().unwrap();
    assert!(stacks.iter().all(|stack| stack["effect"] == "create"));
    // Two stacks import nothing: CloudFormation computes what they would create.
    let computed: Vec<&Value> = stacks
        .iter()
        .filter(|stack| stack["from_template"] == false)
        .map(|stack| &stack["part"])
        .collect();
    assert_eq!(computed, ["data", "code"]);
    let roles = changes(&json, "governance").iter();
    let roles = roles.filter(|change| change["type"] == "AWS::IAM::Role");
    assert_eq!(roles.count(), 17);
    let human = sandbox.mlops(["plan"]).code(3);
    assert!(
        human.stdout.contains("(from the template:"),
        "{}",
        human.stdout
    );
    assert_eq!(plan(&sandbox, 3), json, "the plan left something behind");
}

//! Checks files that the program generates; `UPDATE=1 cargo test` rewrites them.

use std::path::Path;

use crate::sandbox::Sandbox;

fn check(path: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "{} is stale: run `UPDATE=1 cargo test generated`",
        path.display()
    );
}

#[test]
fn completions() {
    for (shell, file) in [
        ("bash", "mlops.bash"),
        ("zsh", "_mlops"),
        ("fish", "mlops.fish"),
    ] {
        let run = Sandbox::new().mlops(["completions", shell]).success();
        check(&format!("completions/{file}"), &run.stdout);
    }
}

#[test]
fn command_reference() {
    let run = Sandbox::new().mlops(["markdown-help"]).success();
    check("docs/cli.md", &run.stdout);
}

#[test]
fn exit_codes() {
    let mut table = String::from("# Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (exit, meaning) in mlops_core::error::Exit::TABLE {
        table.push_str(&format!("| {} | {meaning} |\n", *exit as u8));
    }
    check("docs/exit-codes.md", &table);
}

#[test]
fn known_causes() {
    check("docs/causes.md", &mlops::aws::known_causes::page());
}

#[test]
fn the_lists_of_the_local_cloud() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/local-cloud.md");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let marker = "<!-- generated: operations -->\n";
    let prose = kept.split(marker).next().unwrap();
    let mut made = format!("{prose}{marker}\n## Operations\n\n");
    for (service, mut operations) in mlops_local_cloud::operations() {
        operations.sort_unstable();
        made.push_str(&format!(
            "**{service}** ({}): {}\n\n",
            operations.len(),
            operations.join(", ")
        ));
    }
    made.push_str("## CloudFormation resource types\n\n");
    let mut types = mlops_local_cloud::resource_types();
    types.sort_unstable();
    for resource in types {
        made.push_str(&format!("- `{resource}`\n"));
    }
    check("docs/local-cloud.md", &made);
}

#[test]
fn every_variable_is_documented() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md"))
            .unwrap();
    for (name, meaning) in mlops::config::VARIABLES {
        assert!(
            page.contains(&format!("| `{name}` | {meaning} |")),
            "{name} is not in docs/config.md"
        );
    }
}

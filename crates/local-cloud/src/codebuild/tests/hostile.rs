//! What a build can try against the server that runs it.

use super::*;
use crate::codebuild::run::directory;

/// A buildspec with the commands of one phase.
fn spec(commands: &[&str], rest: &str) -> String {
    let commands = serde_json::to_string(commands).unwrap();
    format!("version: 0.2\nphases:\n  build:\n    commands: {commands}\n{rest}")
}

#[tokio::test]
async fn the_credentials_of_the_role_are_hidden() {
    let cloud = cloud().await;
    let commands = [
        "env | grep ^AWS_ | sed 's/^/=/'",
        "mkdir out; for value in \"$AWS_ACCESS_KEY_ID\"; do echo \"<testsuite name='$value'><testcase \
         name='$value' classname='$value'/></testsuite>\" >\"out/$value.xml\"; done",
    ];
    let reports = "reports: {r: {files: ['out/*']}}\n";
    let build = run(&cloud, project("app", &spec(&commands, reports))).await;
    assert_eq!(build["buildStatus"], "SUCCEEDED");
    let lines = printed(&cloud, &build, "=");
    for name in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ] {
        assert!(lines.contains(&format!("{name}=***")), "{lines:#?}");
    }
    let input = json!({"reportArn": build["reportArns"][0]});
    let tests = cloud
        .call("codebuild", "DescribeTestCases", input)
        .await
        .unwrap();
    let test = &tests["testCases"][0];
    for member in ["name", "prefix", "testSuiteName"] {
        assert_eq!(test[member], "***", "{member}");
    }
    assert_eq!(test["testRawDataPath"], "out/***.xml");
}

#[tokio::test]
async fn a_program_that_the_build_chooses_runs_like_the_build() {
    let cloud = cloud().await;
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("python3");
    let text = "#!/bin/sh\necho \"Python 3.${HOME:+9}.1 ${AWS_SESSION_TOKEN:-none}\"\n";
    std::fs::write(&program, text).unwrap();
    let mut mode = program.metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let spec = format!(
        "version: 0.2\nenv: {{variables: {{PATH: '{}:/usr/bin:/bin'}}}}\nphases:\n  install:\n    \
         runtime-versions: {{python: 3.9.1}}\n",
        place.path().display()
    );
    let build = run(&cloud, project("app", &spec)).await;
    // The server itself would have run it without HOME.
    assert_eq!(
        build["buildStatus"],
        "SUCCEEDED",
        "{:#?}",
        log(&cloud, &build)
    );
    // One that prints without end, or never ends, is ended.
    std::fs::write(&program, "#!/bin/sh\nyes 3.9.1 | head -c 3000000\n").unwrap();
    let build = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
    assert_eq!(build["buildStatus"], "SUCCEEDED");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    let id = start(&cloud, json!({"projectName": "app"})).await;
    in_phase(&cloud, &id, "DOWNLOAD_SOURCE").await;
    cloud
        .call("codebuild", "StopBuild", json!({"id": id}))
        .await
        .unwrap();
    let build = ended(&cloud, &id).await;
    assert!(phases(&build).ends_with("DOWNLOAD_SOURCE=STOPPED COMPLETED=-"));
}

#[tokio::test]
async fn forged_reports_change_nothing() {
    let cloud = cloud().await;
    let forge = "marker=$(tr '\\0' '\\n' </proc/$PPID/cmdline | sed -n 4p); \
        for i in $(seq 500); do for line in 'begin BUILD' 'begin POST_BUILD' 'command 0' 'command 7' 'failed 9 1' \
        'retry 1' 'end INSTALL 0'; do echo; echo \"$marker $line\"; done; done; echo \"=$marker\" | cut -c1-11";
    let build = run(&cloud, project("app", &spec(&[forge, "echo =end"], ""))).await;
    assert_eq!(phases(&build), SUCCEEDED);
    let lines = printed(&cloud, &build, "=");
    assert_eq!(lines, ["[codebuild", "end"]);
    let own = printed(&cloud, &build, "> ");
    let entered = own.iter().filter(|line| line.starts_with("Entering"));
    assert_eq!(entered.count(), 4);
    assert!(!own.iter().any(|line| line.starts_with("Retrying")));
}

#[tokio::test]
async fn no_pattern_of_a_build_reaches_its_control_files() {
    let cloud = cloud().await;
    crate::s3::buckets::create(&cloud.cloud(), "data").unwrap();
    // In a test, a build sees its own root.
    let commands = [
        "echo x >a; ln -s / ../tmp/link; rm -rf ../home; ln -s /etc ../home",
        "root=$(cd .. && pwd)",
    ];
    let rest = "artifacts: {files: ['a', '$root/**/*', '$root/c*/**/*'], enable-symlinks: yes}\n\
        cache: {paths: ['$root/**/*', '$root/*', '$root/control/plan', '$root/home']}\n";
    let mut input = project("app", &spec(&commands, rest));
    input["artifacts"] =
        json!({"type": "S3", "location": "data", "name": "n", "packaging": "NONE"});
    input["cache"] = json!({"type": "LOCAL", "modes": ["LOCAL_CUSTOM_CACHE"]});
    create(&cloud, input).await;
    for _ in 0..2 {
        let build = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
        let lines = log(&cloud, &build);
        assert_eq!(build["buildStatus"], "SUCCEEDED", "{lines:#?}");
        let handle = cloud.cloud();
        let caller = crate::cloud::caller::Caller::Root;
        let found = crate::s3::objects::list(&handle, &caller, "data", "").unwrap();
        let found: Vec<String> = found.into_iter().map(|object| object.key).collect();
        assert!(found.contains(&"n/a".to_owned()), "{found:?}");
        assert!(
            !found
                .iter()
                .any(|key| key.contains("driver.sh") || key.contains("variables")),
            "{found:?}"
        );
        let skipped = lines
            .iter()
            .find(|line| line.contains("Skipping symbolic link"));
        assert!(
            skipped.is_some_and(|line| line.contains("packaging: ZIP")),
            "{lines:#?}"
        );
    }
}

#[tokio::test]
async fn a_new_project_has_no_cache_of_a_deleted_one() {
    let cloud = cloud().await;
    let commands = ["echo \"=$(cat a 2>/dev/null || echo none)\"; echo secret >a; sleep 0.3"];
    let mut input = project("app", &spec(&commands, "cache: {paths: [a]}\n"));
    input["cache"] = json!({"type": "LOCAL", "modes": ["LOCAL_CUSTOM_CACHE"]});
    create(&cloud, input.clone()).await;
    let id = start(&cloud, json!({"projectName": "app"})).await;
    in_phase(&cloud, &id, "BUILD").await;
    cloud
        .call("codebuild", "DeleteProject", json!({"name": "app"}))
        .await
        .unwrap();
    create(&cloud, input).await;
    let build = ended(&cloud, &id).await;
    let note = "> The local cache was not saved: the project was deleted".to_owned();
    assert!(log(&cloud, &build).contains(&note));
    let build = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
    assert_eq!(printed(&cloud, &build, "="), ["none"]);
}

#[tokio::test]
async fn a_build_that_fills_the_disk_ends_and_its_files_are_removed() {
    let cloud = cloud().await;
    let spec = "version: 0.2\nphases:\n  install:\n    commands: [echo x >file, sleep 0.5]\n  \
        build:\n    commands: [sleep 600]\n";
    create(&cloud, project("app", spec)).await;
    let id = start(&cloud, json!({"projectName": "app"})).await;
    in_phase(&cloud, &id, "INSTALL").await;
    cloud.refuse_writes_after(0);
    let all = directory(&cloud.cloud());
    let count = || std::fs::read_dir(&all).unwrap().count();
    for _ in 0..2000 {
        if count() == 0 {
            break;
        }
        crate::clock::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(count(), 0, "while nothing can be written");
    cloud.accept_writes();
    let build = ended(&cloud, &id).await;
    assert_eq!(build["buildStatus"], "FAULT");
    assert!(context(&build, "INSTALL").starts_with("INTERNAL_SERVER_ERROR"));
}

#[tokio::test]
async fn only_links_that_match_are_an_error_that_names_them() {
    let cloud = cloud().await;
    crate::s3::buckets::create(&cloud.cloud(), "data").unwrap();
    let rest = "artifacts: {files: ['*.txt']}\n";
    let commands = ["echo x >a; ln -s a a.txt; mkfifo fifo"];
    let mut input = project("app", &spec(&commands, rest));
    input["artifacts"] = json!({"type": "S3", "location": "data", "name": "n"});
    let build = run(&cloud, input).await;
    let found = context(&build, "UPLOAD_ARTIFACTS");
    assert!(found.contains("1 symbolic link(s) match"), "{found}");
    let lines = log(&cloud, &build);
    let is_named =
        |line: &String| line.contains("Skipping symbolic link") && line.contains("a.txt");
    assert!(lines.iter().any(is_named), "{lines:#?}");
}

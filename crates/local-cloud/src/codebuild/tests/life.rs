//! The life of a build: phases, environment, stop, timeout, queue, crash.

use super::*;

#[tokio::test]
async fn a_build_runs_its_commands_with_the_environment_of_codebuild() {
    let cloud = cloud().await;
    let parameter = json!({"Name": "/team/word", "Value": "secret word", "Type": "String"});
    cloud.call("ssm", "PutParameter", parameter).await.unwrap();
    let spec = r#"
version: 0.2
env:
  shell: bash
  variables:
    OWN: from the buildspec
    SHARED: from the buildspec
  parameter-store:
    WORD: /team/word
  exported-variables: [TAG, WORD2]
phases:
  install:
    runtime-versions:
      python: 3.x
    commands:
      - TAG="v$CODEBUILD_BUILD_NUMBER"
  build:
    commands:
      - echo "=$OWN=$SHARED=$FROM_START"
      - echo "=$AWS_REGION=$AWS_DEFAULT_REGION=$AWS_ENDPOINT_URL=${AWS_ACCESS_KEY_ID:0:4}"
      - echo "=$CODEBUILD_BUILD_ID=$CODEBUILD_BUILD_IMAGE=$CODEBUILD_INITIATOR=$CODEBUILD_BUILD_SUCCEEDING"
      - echo "=$WORD="
      - test "$PWD" = "$CODEBUILD_SRC_DIR" && test "$CODEBUILD_LOG_PATH" = "${CODEBUILD_BUILD_ID#*:}"
      - test -d "$HOME" && echo x >"$HOME/file" && WORD2=two
"#;
    let mut input = project("app", spec);
    input["environment"]["environmentVariables"] =
        json!([{"name": "SHARED", "value": "from the project"}]);
    create(&cloud, input).await;
    let more = json!({
        "projectName": "app",
        "environmentVariablesOverride": [{"name": "FROM_START", "value": "a b"}],
    });
    let id = start(&cloud, more).await;
    let build = ended(&cloud, &id).await;
    assert_eq!(phases(&build), SUCCEEDED, "{:#?}", log(&cloud, &build));
    assert_eq!(build["buildStatus"], "SUCCEEDED");
    assert_eq!(build["currentPhase"], "COMPLETED");
    assert_eq!(build["buildNumber"], 1);
    assert_eq!(build["initiator"], "local");
    assert_eq!(build["logs"]["groupName"], "/aws/codebuild/app");
    let exported = json!([{"name": "TAG", "value": "v1"}, {"name": "WORD2", "value": "two"}]);
    assert_eq!(build["exportedEnvironmentVariables"], exported);
    let lines = printed(&cloud, &build, "=");
    assert_eq!(lines[0], "from the buildspec=from the project=a b");
    assert_eq!(lines[1], "us-east-1=us-east-1=http://127.0.0.1:1=ASIA");
    assert_eq!(lines[2], format!("{id}=aws/codebuild/standard:7.0=local=1"));
    assert_eq!(lines[3], "***=", "the value of a parameter is hidden");
    let own = printed(&cloud, &build, "> ");
    for line in [
        "Phase complete: DOWNLOAD_SOURCE State: SUCCEEDED",
        "Phases found in YAML: 2",
        " BUILD: 6 commands",
        "Entering phase BUILD",
        "Running command TAG=\"v$CODEBUILD_BUILD_NUMBER\"",
    ] {
        assert!(own.contains(&line.to_owned()), "{line}: {own:#?}");
    }
    let again = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
    assert_eq!(again["buildNumber"], 2);
    // Nothing of a build remains.
    cloud.idle().await;
    assert_eq!(
        std::fs::read_dir(cloud.path().join("builds"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test]
async fn a_failed_command_fails_its_phase() {
    let cloud = cloud().await;
    let spec = "version: 0.2\nphases:\n  pre_build:\n    commands: [echo =pre]\n  build:\n    commands:\n      \
        - exit 3\n      - echo =no\n    finally: [echo =finally]\n  post_build:\n    commands:\n      \
        - echo =$CODEBUILD_BUILD_SUCCEEDING\n";
    let build = run(&cloud, project("app", spec)).await;
    let expected = SUCCEEDED.replace(" BUILD=SUCCEEDED", " BUILD=FAILED");
    assert_eq!(phases(&build), expected);
    assert_eq!(build["buildStatus"], "FAILED");
    assert_eq!(
        context(&build, "BUILD"),
        "COMMAND_EXECUTION_ERROR: Error while executing command: exit 3. Reason: exit status 3"
    );
    assert_eq!(printed(&cloud, &build, "="), ["pre", "finally", "0"]);
    let lines = log(&cloud, &build);
    assert!(
        lines.contains(&"> Command did not exit successfully exit 3 exit status 3".to_owned()),
        "{lines:#?}"
    );
    assert!(
        lines.contains(&"> Phase complete: BUILD State: FAILED".to_owned()),
        "{lines:#?}"
    );
    let spec = "version: 0.2\nphases:\n  install:\n    commands: ['false']\n  build:\n    commands: [echo =no]\n";
    let build = run(&cloud, project("other", spec)).await;
    let expected = "SUBMITTED=SUCCEEDED QUEUED=SUCCEEDED PROVISIONING=SUCCEEDED DOWNLOAD_SOURCE=SUCCEEDED \
        INSTALL=FAILED FINALIZING=SUCCEEDED COMPLETED=-";
    assert_eq!(phases(&build), expected);
}

#[tokio::test]
async fn what_cannot_be_prepared_fails_the_download() {
    let cloud = cloud().await;
    for (number, (rest, expected)) in [
        ("phases: [", "YAML_FILE_ERROR"),
        (
            "phases:\n  biuld: {}\n",
            "Invalid buildspec phase name found: biuld",
        ),
        (
            "phases:\n  install:\n    runtime-versions: {python: 2.5}\n",
            "Unknown runtime version named '2.5' of python",
        ),
        (
            "phases: {}\nenv:\n  parameter-store: {A: /absent}\n",
            "Decrypted Variables Error: parameter does not exist: /absent",
        ),
    ]
    .iter()
    .enumerate()
    {
        let spec = format!("version: 0.2\n{rest}");
        let build = run(&cloud, project(&format!("app{number}"), &spec)).await;
        assert_eq!(build["buildStatus"], "FAILED");
        assert!(
            phases(&build).ends_with("DOWNLOAD_SOURCE=FAILED FINALIZING=SUCCEEDED COMPLETED=-")
        );
        let found = context(&build, "DOWNLOAD_SOURCE");
        assert!(found.contains(expected), "{rest}: {found}");
        let line = "> Phase complete: DOWNLOAD_SOURCE State: FAILED".to_owned();
        assert!(log(&cloud, &build).contains(&line));
    }
    permit(&cloud, &["logs:*"]).await;
    let spec = "version: 0.2\nphases: {}\nenv:\n  parameter-store: {A: /absent}\n";
    let build = run(&cloud, project("denied", spec)).await;
    let found = context(&build, "DOWNLOAD_SOURCE");
    assert!(
        found.contains("is not authorized to perform: ssm:GetParameters"),
        "{found}"
    );
}

#[tokio::test]
async fn a_role_that_is_gone_fails_the_build() {
    let cloud = cloud().await;
    create(&cloud, project("app", "version: 0.2\nphases: {}\n")).await;
    let input = json!({"RoleName": "build", "PolicyName": "p"});
    cloud.call("iam", "DeleteRolePolicy", input).await.unwrap();
    cloud
        .call("iam", "DeleteRole", json!({"RoleName": "build"}))
        .await
        .unwrap();
    let build = ended(&cloud, &start(&cloud, json!({"projectName": "app"})).await).await;
    assert_eq!(
        context(&build, "QUEUED"),
        format!("ACCESS_DENIED: CodeBuild is not authorized to perform: sts:AssumeRole on {ROLE}")
    );
}

const SLEEP: &str = "version: 0.2\nphases:\n  build:\n    commands: [echo =begun, sleep 600]\n";

/// Waits until the commands of a build run.
async fn begun(cloud: &TestCloud, id: &str) {
    in_phase(cloud, id, "BUILD").await;
    for _ in 0..2000 {
        let build = get(cloud, id).await;
        if printed(cloud, &build, "=").contains(&"begun".to_owned()) {
            return;
        }
        crate::clock::sleep(Duration::from_millis(5)).await;
    }
    panic!("{id} does not begin");
}

#[tokio::test]
async fn a_build_can_be_stopped_and_retried() {
    let cloud = cloud().await;
    create(&cloud, project("app", SLEEP)).await;
    let id = start(&cloud, json!({"projectName": "app"})).await;
    begun(&cloud, &id).await;
    let error = refused(&cloud, "RetryBuild", json!({"id": id})).await;
    assert_eq!(error.code, "InvalidInputException");
    let kept = cloud
        .call("codebuild", "BatchDeleteBuilds", json!({"ids": [id]}))
        .await
        .unwrap();
    assert_eq!(
        kept["buildsNotDeleted"][0]["statusCode"],
        "BUILD_IN_PROGRESS"
    );
    let stopped = cloud
        .call("codebuild", "StopBuild", json!({"id": id}))
        .await
        .unwrap();
    assert_eq!(stopped["build"]["buildStatus"], "STOPPED");
    let build = ended(&cloud, &id).await;
    assert!(phases(&build).ends_with("PRE_BUILD=SUCCEEDED BUILD=STOPPED COMPLETED=-"));
    // Stopping it again changes nothing.
    cloud
        .call("codebuild", "StopBuild", json!({"id": id}))
        .await
        .unwrap();
    let retried = cloud
        .call("codebuild", "RetryBuild", json!({"id": id}))
        .await
        .unwrap();
    let second = retried["build"]["id"].as_str().unwrap();
    assert_ne!(second, id);
    begun(&cloud, second).await;
    cloud
        .call("codebuild", "StopBuild", json!({"id": second}))
        .await
        .unwrap();
    let list = json!({"projectName": "app"});
    let listed = cloud
        .call("codebuild", "ListBuildsForProject", list)
        .await
        .unwrap();
    assert_eq!(listed["ids"], json!([second, id]));
    let deleted = cloud
        .call("codebuild", "BatchDeleteBuilds", json!({"ids": [id]}))
        .await
        .unwrap();
    assert_eq!(deleted["buildsDeleted"].as_array().unwrap().len(), 1);
    let listed = cloud
        .call("codebuild", "ListBuilds", json!({}))
        .await
        .unwrap();
    assert_eq!(listed["ids"], json!([second]));
    let error = refused(&cloud, "StopBuild", json!({"id": "app:absent"})).await;
    assert_eq!(error.code, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_build_times_out_by_the_clouds_time() {
    let cloud = cloud().await;
    let mut input = project("app", SLEEP);
    input["timeoutInMinutes"] = 5.into();
    create(&cloud, input).await;
    let id = start(&cloud, json!({"projectName": "app"})).await;
    begun(&cloud, &id).await;
    cloud.cloud().advance(Duration::from_mins(4)).await.unwrap();
    assert_eq!(get(&cloud, &id).await["buildComplete"], false);
    cloud
        .cloud()
        .advance(Duration::from_secs(90))
        .await
        .unwrap();
    let build = ended(&cloud, &id).await;
    assert_eq!(build["buildStatus"], "TIMED_OUT");
    assert!(phases(&build).ends_with("BUILD=TIMED_OUT FINALIZING=SUCCEEDED COMPLETED=-"));
    assert_eq!(
        context(&build, "BUILD"),
        "BUILD_TIMED_OUT: Build has timed out after 5 minutes."
    );
}

#[tokio::test]
async fn a_build_over_the_limit_of_its_project_is_refused() {
    let cloud = cloud().await;
    let mut input = project("app", SLEEP);
    input["concurrentBuildLimit"] = 1.into();
    create(&cloud, input).await;
    let first = start(&cloud, json!({"projectName": "app"})).await;
    let error = refused(&cloud, "StartBuild", json!({"projectName": "app"})).await;
    assert_eq!(error.code, "AccountLimitExceededException");
    begun(&cloud, &first).await;
    let stop = json!({"id": first});
    cloud.call("codebuild", "StopBuild", stop).await.unwrap();
    ended(&cloud, &first).await;
    cloud.idle().await;
    let retry = json!({"id": first});
    let second = cloud.call("codebuild", "RetryBuild", retry).await.unwrap();
    let error = refused(&cloud, "RetryBuild", json!({"id": first})).await;
    assert_eq!(error.code, "AccountLimitExceededException");
    let stop = json!({"id": second["build"]["id"]});
    cloud.call("codebuild", "StopBuild", stop).await.unwrap();
}

#[tokio::test]
async fn a_build_that_the_machine_cannot_run_waits_and_times_out() {
    let cloud = cloud().await;
    let mut input = project("app", SLEEP);
    input["queuedTimeoutInMinutes"] = 5.into();
    create(&cloud, input).await;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut running = Vec::new();
    for _ in 0..cores.clamp(2, 8) {
        let id = start(&cloud, json!({"projectName": "app"})).await;
        begun(&cloud, &id).await;
        running.push(id);
    }
    let waiting = start(&cloud, json!({"projectName": "app"})).await;
    assert_eq!(get(&cloud, &waiting).await["currentPhase"], "QUEUED");
    // A build in the queue can be stopped.
    let stop = json!({"id": waiting});
    cloud.call("codebuild", "StopBuild", stop).await.unwrap();
    let build = ended(&cloud, &waiting).await;
    assert!(phases(&build).ends_with("QUEUED=STOPPED COMPLETED=-"));
    let waiting = start(&cloud, json!({"projectName": "app"})).await;
    cloud
        .cloud()
        .advance(Duration::from_secs(301))
        .await
        .unwrap();
    let build = ended(&cloud, &waiting).await;
    assert_eq!(build["buildStatus"], "TIMED_OUT");
    assert!(context(&build, "QUEUED").starts_with("BUILD_TIMED_OUT"));
    for id in running {
        let stop = json!({"id": id});
        cloud.call("codebuild", "StopBuild", stop).await.unwrap();
    }
}

#[tokio::test]
async fn a_stop_reaches_a_build_that_was_just_recorded() {
    let cloud = cloud().await;
    let handle = cloud.cloud();
    let registered = crate::codebuild::run::register(&handle, "app:1");
    let stop = crate::codebuild::run::stop(&handle, "app:1");
    tokio::select! {
        () = stop => panic!("the build has not ended"),
        () = crate::clock::sleep(Duration::from_millis(20)) => {}
    }
    assert!(registered.is_stopped());
    drop(registered);
    crate::codebuild::run::stop(&handle, "app:1").await;
}

#[tokio::test]
async fn a_build_that_the_end_of_the_server_interrupts_has_a_fault() {
    for by_kill in [true, false] {
        let cloud = cloud().await;
        create(&cloud, project("app", SLEEP)).await;
        let id = start(&cloud, json!({"projectName": "app"})).await;
        begun(&cloud, &id).await;
        let old = cloud.cloud();
        let cloud = if by_kill {
            cloud.crash()
        } else {
            cloud.restart().await
        };
        let build = get(&cloud, &id).await;
        assert_eq!(build["buildStatus"], "FAULT");
        assert!(
            phases(&build).ends_with("BUILD=FAULT COMPLETED=-"),
            "{}",
            phases(&build)
        );
        assert!(context(&build, "BUILD").contains("the local cloud ended"));
        assert!(build["endTime"].is_number());
        // The process of the killed server dies with it; here it is still the test's.
        tokio::select! {
            () = super::super::run::shut_down(&old) => {}
            () = crate::clock::sleep(Duration::from_millis(200)) => {}
        }
        let retried = cloud
            .call("codebuild", "RetryBuild", json!({"id": id}))
            .await
            .unwrap();
        let second = retried["build"]["id"].as_str().unwrap().to_owned();
        begun(&cloud, &second).await;
        cloud
            .call("codebuild", "StopBuild", json!({"id": second}))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_same_token_returns_the_same_build() {
    let cloud = cloud().await;
    create(&cloud, project("app", "version: 0.2\nphases: {}\n")).await;
    let input = |image: &str| json!({"projectName": "app", "idempotencyToken": "t", "imageOverride": image});
    let first = start(&cloud, input("aws/codebuild/a")).await;
    assert_eq!(start(&cloud, input("aws/codebuild/a")).await, first);
    let error = refused(&cloud, "StartBuild", input("aws/codebuild/b")).await;
    assert_eq!(error.code, "InvalidInputException");
    ended(&cloud, &first).await;
    cloud
        .cloud()
        .advance(Duration::from_secs(301))
        .await
        .unwrap();
    let later = start(&cloud, input("aws/codebuild/b")).await;
    assert_ne!(later, first);
    ended(&cloud, &later).await;
    // The request counts, not the project, and not a build that was deleted.
    let update = json!({"name": "app", "description": "other", "timeoutInMinutes": 9});
    cloud
        .call("codebuild", "UpdateProject", update)
        .await
        .unwrap();
    assert_eq!(start(&cloud, input("aws/codebuild/b")).await, later);
    let delete = json!({"ids": [later]});
    cloud
        .call("codebuild", "BatchDeleteBuilds", delete)
        .await
        .unwrap();
    let last = start(&cloud, input("aws/codebuild/b")).await;
    assert_ne!(last, later);
    ended(&cloud, &last).await;
}

#[tokio::test]
async fn a_role_without_logs_builds_without_a_log() {
    let cloud = cloud().await;
    permit(&cloud, &["s3:GetObject"]).await;
    let spec = "version: 0.2\nphases:\n  build:\n    commands: [echo x]\n";
    let build = run(&cloud, project("app", spec)).await;
    assert_eq!(build["buildStatus"], "SUCCEEDED");
    assert!(log(&cloud, &build).is_empty());
    let groups = cloud
        .call("logs", "DescribeLogGroups", json!({}))
        .await
        .unwrap();
    assert_eq!(groups["logGroups"], json!([]));
}

#[tokio::test]
async fn overrides_apply_to_one_build() {
    let cloud = cloud().await;
    create(&cloud, project("app", SLEEP)).await;
    let input = json!({
        "projectName": "app",
        "buildspecOverride": "version: 0.2\nphases:\n  build:\n    commands: [echo =short]\n",
        "timeoutInMinutesOverride": 7,
        "logsConfigOverride": {"cloudWatchLogs": {"status": "ENABLED", "groupName": "g", "streamName": "s"}},
    });
    let build = ended(&cloud, &start(&cloud, input).await).await;
    assert_eq!(printed(&cloud, &build, "="), ["short"]);
    assert_eq!(build["timeoutInMinutes"], 7);
    assert_eq!(build["logs"]["groupName"], "g");
    let uuid = build["id"].as_str().unwrap().split_once(':').unwrap().1;
    assert_eq!(build["logs"]["streamName"], format!("s/{uuid}"));
    for (member, value, code) in [
        ("privilegedModeOverride", json!(true), "NotImplemented"),
        ("debugSessionEnabled", json!(true), "NotImplemented"),
        (
            "timeoutInMinutesOverride",
            json!(1),
            "InvalidInputException",
        ),
        ("sourceTypeOverride", json!("GITHUB"), "NotImplemented"),
        (
            "sourceTypeOverride",
            json!("CODEPIPELINE"),
            "InvalidInputException",
        ),
    ] {
        let error = refused(
            &cloud,
            "StartBuild",
            json!({"projectName": "app", member: value}),
        )
        .await;
        assert_eq!(error.code, code, "{member}: {error}");
    }
    let error = refused(&cloud, "StartBuild", json!({"projectName": "absent"})).await;
    assert_eq!(error.code, "ResourceNotFoundException");
}

/// Sends the events of CodeBuild to a log group.
async fn watch(cloud: &TestCloud) {
    let group = json!({"logGroupName": "/aws/events/builds"});
    cloud.call("logs", "CreateLogGroup", group).await.unwrap();
    let rule = json!({"Name": "builds", "EventPattern": r#"{"source": ["aws.codebuild"]}"#});
    cloud.call("events", "PutRule", rule).await.unwrap();
    let arn = cloud.cloud().arn("logs", "log-group:/aws/events/builds");
    let targets = json!({"Rule": "builds", "Targets": [{"Id": "log", "Arn": arn}]});
    let put = cloud.call("events", "PutTargets", targets).await.unwrap();
    assert_eq!(put["FailedEntryCount"], 0, "{put}");
}

/// The details of the events of a kind.
async fn seen(cloud: &TestCloud, kind: &str) -> Vec<Value> {
    cloud.idle().await;
    let input = json!({"logGroupName": "/aws/events/builds"});
    let found = cloud.call("logs", "FilterLogEvents", input).await.unwrap();
    let events = found["events"].as_array().unwrap().iter().map(|line| {
        let event: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
        event
    });
    events
        .filter(|event| event["detail-type"] == kind)
        .map(|event| event["detail"].clone())
        .collect()
}

#[tokio::test]
async fn events_tell_the_phases_and_the_states() {
    let cloud = cloud().await;
    watch(&cloud).await;
    let spec = "version: 0.2\nphases:\n  build:\n    commands: ['false']\n";
    let build = run(&cloud, project("app", spec)).await;
    let states = seen(&cloud, "CodeBuild Build State Change").await;
    assert_eq!(states.len(), 2);
    let of = |status: &str| {
        states
            .iter()
            .find(|state| state["build-status"] == status)
            .unwrap()
    };
    assert_eq!(
        of("IN_PROGRESS")["additional-information"]["build-complete"],
        false
    );
    let last = of("FAILED");
    assert_eq!(last["project-name"], "app");
    assert_eq!(last["build-id"], build["arn"]);
    assert_eq!(last["current-phase"], "COMPLETED");
    assert_eq!(last["current-phase-context"], "[]");
    assert_eq!(last["version"], "1");
    let more = &last["additional-information"];
    assert_eq!(more["build-complete"], true);
    assert_eq!(more["environment"]["compute-type"], "BUILD_GENERAL1_SMALL");
    assert_eq!(more["logs"]["group-name"], "/aws/codebuild/app");
    assert_eq!(more["phases"].as_array().unwrap().len(), 11);
    let phases = seen(&cloud, "CodeBuild Build Phase Change").await;
    let mut completed: Vec<_> = phases
        .iter()
        .map(|detail| detail["completed-phase"].as_str().unwrap())
        .collect();
    // Deliveries are concurrent.
    completed.sort_unstable();
    assert_eq!(
        completed.join(" "),
        "BUILD DOWNLOAD_SOURCE FINALIZING INSTALL POST_BUILD PRE_BUILD PROVISIONING QUEUED UPLOAD_ARTIFACTS"
    );
    let failed = phases
        .iter()
        .find(|detail| detail["completed-phase-status"] == "FAILED")
        .unwrap();
    assert_eq!(
        failed["completed-phase-context"],
        "[COMMAND_EXECUTION_ERROR: Error while executing command: false. Reason: exit status 1]"
    );
}

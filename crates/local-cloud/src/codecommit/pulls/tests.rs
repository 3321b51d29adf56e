use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::ApiResult;
use crate::cloud::caller::Caller;
use crate::test_cloud::TestCloud;
use crate::{iam, sts};

struct Fixture {
    at: TestCloud,
}

impl Fixture {
    /// A repository with the branches `main` and `next`.
    async fn new() -> Self {
        let fixture = Self {
            at: TestCloud::new(),
        };
        fixture
            .run("CreateRepository", json!({"repositoryName": "r"}))
            .await;
        let first = fixture.put("main", "a", "1\n2\n3\n4\n5\n").await;
        let branch = json!({"repositoryName": "r", "branchName": "next", "commitId": first});
        fixture.run("CreateBranch", branch).await;
        fixture
    }

    async fn call(&self, operation: &str, input: Value) -> ApiResult<Value> {
        self.at.cloud().call("codecommit", operation, input).await
    }

    async fn run(&self, operation: &str, input: Value) -> Value {
        let found = self.call(operation, input).await;
        found.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    async fn code(&self, operation: &str, input: Value) -> String {
        self.call(operation, input).await.unwrap_err().code
    }

    async fn head(&self, branch: &str) -> Option<String> {
        let input = json!({"repositoryName": "r", "branchName": branch});
        let found = self.call("GetBranch", input).await.ok()?;
        found["branch"]["commitId"].as_str().map(str::to_owned)
    }

    async fn put(&self, branch: &str, path: &str, content: &str) -> String {
        let mut input = json!({"repositoryName": "r", "branchName": branch, "filePath": path,
            "fileContent": STANDARD.encode(content)});
        if let Some(head) = self.head(branch).await {
            input["parentCommitId"] = json!(head);
        }
        let put = self.run("PutFile", input).await;
        put["commitId"].as_str().unwrap().to_owned()
    }

    async fn create(&self) -> Value {
        let input = json!({"title": "t", "targets": [
            {"repositoryName": "r", "sourceReference": "next", "destinationReference": "refs/heads/main"}]});
        self.run("CreatePullRequest", input).await["pullRequest"].clone()
    }

    /// Sends the events of pull requests to a log group.
    async fn watch(&self) {
        let cloud = self.at.cloud();
        let call = async |service: &'static str, operation: &'static str, input: Value| {
            cloud.call(service, operation, input).await.unwrap()
        };
        call("logs", "CreateLogGroup", json!({"logGroupName": LOG})).await;
        let pattern = json!({"detail-type": [KIND]}).to_string();
        call(
            "events",
            "PutRule",
            json!({"Name": "pulls", "EventPattern": pattern}),
        )
        .await;
        let arn = cloud.arn("logs", format_args!("log-group:{LOG}"));
        let targets = json!({"Rule": "pulls", "Targets": [{"Id": "log", "Arn": arn}]});
        call("events", "PutTargets", targets).await;
    }

    /// The details of the events of pull requests, by their names.
    async fn events(&self) -> BTreeMap<String, Value> {
        self.at.idle().await;
        let input = json!({"logGroupName": LOG});
        let cloud = self.at.cloud();
        let found = cloud.call("logs", "FilterLogEvents", input);
        let found = found.await.unwrap();
        let lines = found["events"].as_array().unwrap().iter();
        let details = lines.map(|line| {
            let text = line["message"].as_str().unwrap();
            let event: Value = serde_json::from_str(text).unwrap();
            assert_eq!(event["detail-type"], KIND);
            let detail = event["detail"].clone();
            (detail["event"].as_str().unwrap().to_owned(), detail)
        });
        details.collect()
    }
}

/// The log group that receives the events, and their kind.
const LOG: &str = "/aws/events/pulls";
const KIND: &str = "CodeCommit Pull Request State Change";

fn merge(id: &Value) -> Value {
    json!({"pullRequestId": id, "repositoryName": "r"})
}

#[tokio::test]
async fn a_branch_is_merged_by_fast_forward() {
    let fixture = Fixture::new().await;
    fixture.watch().await;
    let base = fixture.head("main").await.unwrap();
    let tip = fixture.put("next", "b", "x").await;
    let pull = fixture.create().await;
    assert_eq!(pull["pullRequestId"], "1");
    let target = &pull["pullRequestTargets"][0];
    assert_eq!(target["sourceReference"], "refs/heads/next");
    assert_eq!(target["sourceCommit"], tip.as_str());
    assert_eq!(target["mergeBase"], base.as_str());
    assert_eq!(target["mergeMetadata"], json!({"isMerged": false}));
    // A push is a new revision.
    let tip = fixture.put("next", "c", "y").await;
    let again = fixture
        .run("GetPullRequest", json!({"pullRequestId": "1"}))
        .await["pullRequest"]
        .clone();
    assert_eq!(again["pullRequestTargets"][0]["sourceCommit"], tip.as_str());
    assert_ne!(again["revisionId"], pull["revisionId"]);
    let mut old = merge(&pull["pullRequestId"]);
    old["sourceCommitId"] = json!(base);
    assert_eq!(
        fixture.code("MergePullRequestByFastForward", old).await,
        "TipOfSourceReferenceIsDifferentException"
    );
    let merged = fixture
        .run(
            "MergePullRequestByFastForward",
            merge(&pull["pullRequestId"]),
        )
        .await;
    assert_eq!(merged["pullRequest"]["pullRequestStatus"], "CLOSED");
    let metadata = &merged["pullRequest"]["pullRequestTargets"][0]["mergeMetadata"];
    assert_eq!(metadata["mergeOption"], "FAST_FORWARD_MERGE");
    assert_eq!(metadata["mergeCommitId"], tip.as_str());
    assert_eq!(fixture.head("main").await.unwrap(), tip);
    let code = fixture
        .code(
            "MergePullRequestByFastForward",
            merge(&pull["pullRequestId"]),
        )
        .await;
    assert_eq!(code, "PullRequestAlreadyClosedException");
    let listed = fixture
        .run(
            "ListPullRequests",
            json!({"repositoryName": "r", "pullRequestStatus": "OPEN"}),
        )
        .await;
    assert_eq!(listed["pullRequestIds"], json!([]));
    let events = fixture.events().await;
    let names: Vec<&str> = events.keys().map(String::as_str).collect();
    let expected = [
        "pullRequestCreated",
        "pullRequestMergeStatusUpdated",
        "pullRequestSourceBranchUpdated",
    ];
    assert_eq!(names, expected);
    assert_eq!(events[expected[0]]["pullRequestStatus"], "Open");
    assert_eq!(events[expected[1]]["isMerged"], "True");
    assert_eq!(events[expected[1]]["mergeOption"], "FAST_FORWARD_MERGE");
    assert_eq!(events[expected[2]]["sourceCommit"], tip.as_str());
}

#[tokio::test]
async fn branches_that_diverged_are_squashed_unless_they_conflict() {
    let fixture = Fixture::new().await;
    fixture.put("next", "b", "x").await;
    fixture.put("next", "a", "1\n2\n3\n4\nfive\n").await;
    let main = fixture.put("main", "c", "y").await;
    let pull = fixture.create().await;
    let id = &pull["pullRequestId"];
    assert_eq!(
        fixture
            .code("MergePullRequestByFastForward", merge(id))
            .await,
        "ManualMergeRequiredException"
    );
    let compare = |option: &str, level: &str| {
        json!({"repositoryName": "r", "sourceCommitSpecifier": "next", "destinationCommitSpecifier": "main",
            "mergeOption": option, "conflictDetailLevel": level})
    };
    let found = fixture
        .run("GetMergeConflicts", compare("SQUASH_MERGE", "FILE_LEVEL"))
        .await;
    assert_eq!(found["mergeable"], true);
    let found = fixture
        .run(
            "GetMergeConflicts",
            compare("FAST_FORWARD_MERGE", "FILE_LEVEL"),
        )
        .await;
    assert_eq!(found["mergeable"], false);
    // The same file, other lines: a conflict of files, and none of lines.
    fixture.put("main", "a", "one\n2\n3\n4\n5\n").await;
    let found = fixture
        .run("GetMergeConflicts", compare("SQUASH_MERGE", "FILE_LEVEL"))
        .await;
    assert_eq!(found["mergeable"], false);
    assert_eq!(found["conflictMetadataList"][0]["filePath"], "a");
    let found = fixture
        .run("GetMergeConflicts", compare("SQUASH_MERGE", "LINE_LEVEL"))
        .await;
    assert_eq!(found["mergeable"], true);
    assert_eq!(
        fixture.code("MergePullRequestBySquash", merge(id)).await,
        "ManualMergeRequiredException"
    );
    let mut lines = merge(id);
    lines["conflictDetailLevel"] = json!("LINE_LEVEL");
    lines["commitMessage"] = json!("all of it");
    let merged = fixture.run("MergePullRequestBySquash", lines).await;
    let commit =
        merged["pullRequest"]["pullRequestTargets"][0]["mergeMetadata"]["mergeCommitId"].clone();
    let found = fixture
        .run(
            "GetCommit",
            json!({"repositoryName": "r", "commitId": commit}),
        )
        .await;
    assert!(
        found["commit"]["message"]
            .as_str()
            .unwrap()
            .starts_with("all of it")
    );
    assert_eq!(found["commit"]["parents"].as_array().unwrap().len(), 1);
    assert_ne!(found["commit"]["parents"][0], main.as_str());
    let file = fixture
        .run("GetFile", json!({"repositoryName": "r", "filePath": "a"}))
        .await;
    let text = STANDARD
        .decode(file["fileContent"].as_str().unwrap())
        .unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "one\n2\n3\n4\nfive\n");
}

#[tokio::test]
async fn the_same_lines_cannot_be_merged() {
    let fixture = Fixture::new().await;
    fixture.put("next", "a", "x\n").await;
    fixture.put("main", "a", "y\n").await;
    let pull = fixture.create().await;
    let mut input = merge(&pull["pullRequestId"]);
    input["conflictDetailLevel"] = json!("LINE_LEVEL");
    assert_eq!(
        fixture
            .code("MergePullRequestBySquash", input.clone())
            .await,
        "ManualMergeRequiredException"
    );
    input["conflictResolutionStrategy"] = json!("ACCEPT_SOURCE");
    assert_eq!(
        fixture.code("MergePullRequestBySquash", input).await,
        "NotImplemented"
    );
    let options = json!({"repositoryName": "r", "sourceCommitSpecifier": "next", "destinationCommitSpecifier": "main"});
    assert_eq!(
        fixture.run("GetMergeOptions", options).await["mergeOptions"],
        json!([])
    );
}

#[tokio::test]
async fn requests_are_checked_and_idempotent() {
    let fixture = Fixture::new().await;
    let input = |source: &str, title: &str| {
        json!({"title": title, "clientRequestToken": "token", "targets": [
            {"repositoryName": "r", "sourceReference": source}]})
    };
    for (source, title, code) in [
        ("none", "t", "ReferenceDoesNotExistException"),
        ("main", "t", "SourceAndDestinationAreSameException"),
        ("refs/tags/v1", "t", "ReferenceTypeNotSupportedException"),
        ("next", " ", "TitleRequiredException"),
    ] {
        assert_eq!(
            fixture
                .code("CreatePullRequest", input(source, title))
                .await,
            code,
            "{source}"
        );
    }
    let first = fixture.run("CreatePullRequest", input("next", "t")).await;
    let second = fixture.run("CreatePullRequest", input("next", "t")).await;
    assert_eq!(
        first["pullRequest"]["pullRequestId"],
        second["pullRequest"]["pullRequestId"]
    );
    let code = fixture
        .code("CreatePullRequest", input("next", "other"))
        .await;
    assert_eq!(code, "IdempotencyParameterMismatchException");
    assert_eq!(
        fixture
            .code("GetPullRequest", json!({"pullRequestId": "9"}))
            .await,
        "PullRequestDoesNotExistException"
    );
    assert_eq!(
        fixture
            .code("GetPullRequest", json!({"pullRequestId": "x"}))
            .await,
        "InvalidPullRequestIdException"
    );
    let title = fixture
        .run(
            "UpdatePullRequestTitle",
            json!({"pullRequestId": "1", "title": "new"}),
        )
        .await;
    assert_eq!(title["pullRequest"]["title"], "new");
    let text = fixture
        .run(
            "UpdatePullRequestDescription",
            json!({"pullRequestId": "1", "description": "why"}),
        )
        .await;
    assert_eq!(text["pullRequest"]["description"], "why");
    let fixture = Fixture {
        at: fixture.at.crash(),
    };
    let status = |status: &str| json!({"pullRequestId": "1", "pullRequestStatus": status});
    let closed = fixture
        .run("UpdatePullRequestStatus", status("CLOSED"))
        .await;
    assert_eq!(closed["pullRequest"]["pullRequestStatus"], "CLOSED");
    let code = fixture
        .code("UpdatePullRequestStatus", status("OPEN"))
        .await;
    assert_eq!(code, "InvalidPullRequestStatusUpdateException");
    let code = fixture
        .code(
            "UpdatePullRequestTitle",
            json!({"pullRequestId": "1", "title": "x"}),
        )
        .await;
    assert_eq!(code, "PullRequestAlreadyClosedException");
    let branches = json!({"repositoryName": "r", "sourceCommitSpecifier": "next", "destinationCommitSpecifier": "main"});
    let merged = fixture.run("MergeBranchesByFastForward", branches).await;
    assert_eq!(merged["commitId"], json!(fixture.head("main").await));
}

/// A session of a role whose policy is this statement.
fn session(fixture: &Fixture, name: &str, statement: &Value) -> (sts::ServiceSession, Caller) {
    let cloud = fixture.at.cloud();
    let role = iam::trusting(&cloud, name, "lambda.amazonaws.com", &["codecommit:*"]);
    let policy = json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
    let policies = vec![policy];
    let session =
        sts::for_service_within(&cloud, &role, "s", "lambda.amazonaws.com", policies).unwrap();
    let caller = session.caller();
    (session, caller)
}

#[tokio::test]
async fn roles_approve_and_merge_what_their_policies_allow() {
    let fixture = Fixture::new().await;
    fixture.put("next", "b", "x").await;
    let pull = fixture.create().await;
    let approve =
        json!({"pullRequestId": "1", "revisionId": pull["revisionId"], "approvalState": "APPROVE"});
    let code = fixture
        .code("UpdatePullRequestApprovalState", approve.clone())
        .await;
    assert_eq!(code, "PullRequestCannotBeApprovedByAuthorException");
    let cloud = Arc::new(fixture.at.cloud());
    let of_repository = json!({"Effect": "Allow", "Action": "codecommit:*",
        "Resource": "arn:aws:codecommit:us-east-1:000000000000:r"});
    let (_one, reviewer) = session(&fixture, "reviewer", &of_repository);
    let call = |caller: &Caller, operation: &'static str, input: Value| {
        let (cloud, caller) = (cloud.clone(), caller.clone());
        async move {
            caller
                .scope(cloud.call("codecommit", operation, input))
                .await
        }
    };
    call(&reviewer, "UpdatePullRequestApprovalState", approve)
        .await
        .unwrap();
    let revision = json!({"pullRequestId": "1", "revisionId": pull["revisionId"]});
    let found = fixture
        .run("GetPullRequestApprovalStates", revision.clone())
        .await;
    assert_eq!(
        found["approvals"][0]["userArn"],
        "arn:aws:sts::000000000000:assumed-role/reviewer/s"
    );
    let found = fixture
        .run("EvaluatePullRequestApprovalRules", revision)
        .await;
    assert_eq!(found["evaluation"]["approved"], true);

    // Another repository, and another branch.
    let elsewhere = json!({"Effect": "Allow", "Action": "codecommit:*",
        "Resource": "arn:aws:codecommit:us-east-1:000000000000:other"});
    let (_two, other) = session(&fixture, "other", &elsewhere);
    let error = call(&other, "GetPullRequest", json!({"pullRequestId": "1"}))
        .await
        .unwrap_err();
    assert!(error.is_denied(), "{error}");
    let limited = |branch: &str| {
        json!({"Effect": "Allow", "Action": "codecommit:*", "Resource": "*",
            "Condition": {"StringEquals": {"codecommit:References": format!("refs/heads/{branch}")}}})
    };
    let (_three, wrong) = session(&fixture, "wrong", &limited("develop"));
    let error = call(&wrong, "MergePullRequestByFastForward", merge(&json!("1")))
        .await
        .unwrap_err();
    assert!(error.is_denied(), "{error}");
    let branches = json!({"repositoryName": "r", "sourceCommitSpecifier": "next", "destinationCommitSpecifier": "main"});
    let error = call(&wrong, "MergeBranchesByFastForward", branches)
        .await
        .unwrap_err();
    assert!(error.is_denied(), "{error}");
    let (_four, right) = session(&fixture, "right", &limited("main"));
    let merged = call(&right, "MergePullRequestByFastForward", merge(&json!("1")))
        .await
        .unwrap();
    let metadata = &merged["pullRequest"]["pullRequestTargets"][0]["mergeMetadata"];
    assert_eq!(
        metadata["mergedBy"],
        "arn:aws:sts::000000000000:assumed-role/right/s"
    );
}

#[tokio::test]
async fn pull_requests_belong_to_a_repository_and_not_to_its_name() {
    let fixture = Fixture::new().await;
    fixture.put("next", "b", "x").await;
    let create = json!({"title": "t", "clientRequestToken": "token", "targets": [
        {"repositoryName": "r", "sourceReference": "next"}]});
    fixture.run("CreatePullRequest", create).await;
    let rename = |from: &str, to: &str| json!({"oldName": from, "newName": to});
    fixture.run("UpdateRepositoryName", rename("r", "s")).await;
    let pull = fixture
        .run("GetPullRequest", json!({"pullRequestId": "1"}))
        .await;
    assert_eq!(
        pull["pullRequest"]["pullRequestTargets"][0]["repositoryName"],
        "s"
    );
    let cloud = fixture.at.cloud();
    assert_eq!(
        super::repository_of(&cloud, "1"),
        Some(cloud.arn("codecommit", "s"))
    );
    // Another repository of the name does not have it.
    fixture
        .run("CreateRepository", json!({"repositoryName": "r"}))
        .await;
    let list = |name: &str| fixture.run("ListPullRequests", json!({"repositoryName": name}));
    assert_eq!(list("r").await["pullRequestIds"], json!([]));
    assert_eq!(list("s").await["pullRequestIds"], json!(["1"]));
    fixture
        .run("DeleteRepository", json!({"repositoryName": "s"}))
        .await;
    fixture.run("UpdateRepositoryName", rename("r", "s")).await;
    let get = json!({"pullRequestId": "1"});
    assert_eq!(
        fixture.code("GetPullRequest", get).await,
        "PullRequestDoesNotExistException"
    );
    assert_eq!(list("s").await["pullRequestIds"], json!([]));
}

#[tokio::test]
async fn approvals_do_not_come_back_with_a_commit() {
    let fixture = Fixture::new().await;
    let approved = fixture.put("next", "b", "x").await;
    let pull = fixture.create().await;
    let cloud = fixture.at.cloud();
    let all = json!({"Effect": "Allow", "Action": "codecommit:*", "Resource": "*"});
    let (_one, reviewer) = session(&fixture, "reviewer", &all);
    let approve =
        json!({"pullRequestId": "1", "revisionId": pull["revisionId"], "approvalState": "APPROVE"});
    let call = cloud.call(
        "codecommit",
        "UpdatePullRequestApprovalState",
        approve.clone(),
    );
    reviewer.clone().scope(call).await.unwrap();
    // Without a look at the pull request in between.
    fixture.put("next", "c", "y").await;
    let (_, bare) = crate::codecommit::find(&cloud, "r").unwrap();
    let head = fixture.head("next").await;
    bare.set_branch("next", &approved, head.as_deref())
        .await
        .unwrap();
    crate::codecommit::changes::after(&cloud, "r", &Caller::Root).await;
    let again = fixture
        .run("GetPullRequest", json!({"pullRequestId": "1"}))
        .await;
    let again = &again["pullRequest"];
    assert_eq!(
        again["pullRequestTargets"][0]["sourceCommit"],
        approved.as_str()
    );
    assert_ne!(again["revisionId"], pull["revisionId"]);
    let revision = json!({"pullRequestId": "1", "revisionId": again["revisionId"]});
    let found = fixture.run("GetPullRequestApprovalStates", revision).await;
    assert_eq!(found["approvals"], json!([]));
    let call = cloud.call("codecommit", "UpdatePullRequestApprovalState", approve);
    let error = reviewer.scope(call).await.unwrap_err();
    assert_eq!(error.code, "RevisionNotCurrentException");
}

#[tokio::test]
async fn a_merge_is_announced_as_a_change_of_the_branch() {
    let fixture = Fixture::new().await;
    let cloud = fixture.at.cloud();
    let group = json!({"logGroupName": "/aws/events/refs"});
    let created = cloud.call("logs", "CreateLogGroup", group.clone()).await;
    created.unwrap();
    let pattern = json!({"detail": {"event": ["referenceUpdated"]}}).to_string();
    let rule = json!({"Name": "refs", "EventPattern": pattern});
    cloud.call("events", "PutRule", rule).await.unwrap();
    let arn = cloud.arn("logs", "log-group:/aws/events/refs");
    let targets = json!({"Rule": "refs", "Targets": [{"Id": "log", "Arn": arn}]});
    cloud.call("events", "PutTargets", targets).await.unwrap();
    let tip = fixture.put("next", "b", "x").await;
    let pull = fixture.create().await;
    fixture
        .run(
            "MergePullRequestByFastForward",
            merge(&pull["pullRequestId"]),
        )
        .await;
    fixture.at.idle().await;
    let found = cloud.call("logs", "FilterLogEvents", group).await.unwrap();
    let lines = found["events"].as_array().unwrap().iter();
    let mut events =
        lines.map(|line| serde_json::from_str::<Value>(line["message"].as_str().unwrap()).unwrap());
    let update = events.find(|event| event["detail"]["referenceName"] == "main");
    assert_eq!(update.unwrap()["detail"]["commitId"], tip.as_str());
}

#[tokio::test]
async fn authors_are_checked_before_a_merge() {
    let fixture = Fixture::new().await;
    fixture.put("next", "b", "x").await;
    let pull = fixture.create().await;
    for (member, value, code) in [
        ("authorName", "x".repeat(300), "NameLengthExceededException"),
        ("authorName", "a\0b".to_owned(), "ValidationException"),
        ("email", "x".repeat(300), "InvalidEmailException"),
        ("commitMessage", "a\0b".to_owned(), "ValidationException"),
    ] {
        let mut input = merge(&pull["pullRequestId"]);
        input[member] = json!(value);
        assert_eq!(
            fixture.code("MergePullRequestBySquash", input).await,
            code,
            "{member}"
        );
    }
}

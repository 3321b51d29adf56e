//! The local cloud's git repositories: nothing in them is executed (issue 8, 1.2), access requires
//! credentials (1.3), no git process outlives its request or its server (2.4), and a deleted
//! repository is deleted completely (2.5).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sandbox::{Run, Sandbox, pause};

/// Starts a local cloud.
struct Cloud {
    sandbox: Sandbox,
    address: String,
}

impl Cloud {
    fn start(options: &[&str]) -> Self {
        let mut cloud = Self {
            sandbox: Sandbox::new(),
            address: String::new(),
        };
        cloud.serve(options);
        cloud
    }

    fn serve(&mut self, options: &[&str]) {
        let start = ["local", "start", "--detach", "--port", "0"];
        let arguments = start.iter().chain(options);
        let _ = self.sandbox.mlops(arguments).success();
        let endpoint = self.status()["endpoint"].as_str().unwrap().to_owned();
        endpoint
            .strip_prefix("http://")
            .unwrap()
            .clone_into(&mut self.address);
    }

    fn status(&self) -> Value {
        let status = ["local", "status", "--output", "json"];
        self.sandbox.mlops(status).success().json()
    }

    /// Calls an operation of CodeCommit; returns status code and response.
    fn call(&self, operation: &str, input: &Value) -> (String, Value) {
        let body = input.to_string();
        let answer = self.http(&format!(
            "POST / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/codecommit/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\
             X-Amz-Target: CodeCommit_20150413.{operation}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = request.replace("HOST", &self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn create(&self, name: &str) -> String {
        let (status, answer) = self.call("CreateRepository", &json!({"repositoryName": name}));
        assert_eq!(status, "200", "{answer}");
        answer["repositoryMetadata"]["cloneUrlHttp"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn git(&self, directory: &str, arguments: &[&str]) -> Run {
        let identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
        let arguments: Vec<&str> = identity.iter().chain(arguments).copied().collect();
        self.sandbox.program(directory, "git", &arguments)
    }

    fn directories(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.sandbox.path().join(".mlops/local/git"));
        entries
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }

    /// Clones, commits a file with this text, and pushes.
    fn push(&self, url: &str, directory: &str, text: &str) {
        let _ = self
            .git("", &["clone", "--quiet", url, directory])
            .success();
        self.sandbox.write(&format!("{directory}/file"), text);
        let _ = self.git(directory, &["add", "."]).success();
        let _ = self.git(directory, &["commit", "-qm", text]).success();
        let _ = self
            .git(
                directory,
                &["push", "--quiet", "origin", "HEAD:refs/heads/main"],
            )
            .success();
    }
}

fn script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

// Issue 8, 1.2: a hook planted in a repository ran on the next push, outside of any isolation.
#[test]
fn nothing_in_a_repository_is_executed() {
    let cloud = Cloud::start(&[]);
    let url = cloud.create("flights");
    let repository = cloud.directories().remove(0);
    let traces = cloud.sandbox.path().join("traces");
    std::fs::create_dir(&traces).unwrap();
    let evil = cloud.sandbox.path().join("evil");
    let trace = |name: &str| format!("touch '{}/{name}'; cat >/dev/null", traces.display());
    for hook in [
        "pre-receive",
        "update",
        "post-receive",
        "post-update",
        "proc-receive",
        "reference-transaction",
        "push-to-checkout",
        "pre-auto-gc",
        "post-index-change",
        "fsmonitor-watchman",
    ] {
        script(&repository.join("hooks").join(hook), &trace(hook));
        script(
            &evil.join("hooks").join(hook),
            &trace(&format!("elsewhere-{hook}")),
        );
    }
    script(&evil.join("program"), &trace("program"));
    let (program, hooks) = (evil.join("program"), evil.join("hooks"));
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\thooksPath = {hooks}\n\
         \tfsmonitor = {program}\n\talternateRefsCommand = {program}\n\tpager = {program}\n\
         \tsshCommand = {program}\n\teditor = {program}\n\
         [receive]\n\tprocReceiveRefs = refs\n\tcertNonceSeed = x\n\
         [uploadpack]\n\tpackObjectsHook = {program}\n\
         [gpg]\n\tprogram = {program}\n[diff]\n\texternal = {program}\n\
         [filter \"x\"]\n\tclean = {program}\n\tsmudge = {program}\n\
         [hook \"x\"]\n\tcommand = {program}\n\tevent = post-receive\n\
         [gc]\n\tauto = 1\n[include]\n\tpath = {included}\n",
        hooks = hooks.display(),
        program = program.display(),
        included = evil.join("more").display(),
    );
    std::fs::write(evil.join("more"), &config).unwrap();
    std::fs::write(repository.join("config"), &config).unwrap();
    cloud.push(&url, "one", "first");
    std::fs::write(repository.join("config"), &config).unwrap();
    let put = json!({
        "repositoryName": "flights", "branchName": "other", "fileContent": "eA==",
        "filePath": ".gitattributes",
    });
    let (_, branch) = cloud.call(
        "GetBranch",
        &json!({"repositoryName": "flights", "branchName": "main"}),
    );
    let commit = branch["branch"]["commitId"].as_str().unwrap();
    let input = json!({"repositoryName": "flights", "branchName": "other", "commitId": commit});
    assert_eq!(cloud.call("CreateBranch", &input).0, "200");
    let mut put = put;
    put["parentCommitId"] = commit.into();
    std::fs::write(repository.join("config"), &config).unwrap();
    let (status, answer) = cloud.call("PutFile", &put);
    assert_eq!(status, "200", "{answer}");
    std::fs::write(repository.join("config"), &config).unwrap();
    let differences = json!({
        "repositoryName": "flights", "beforeCommitSpecifier": "main",
        "afterCommitSpecifier": "other",
    });
    let (status, answer) = cloud.call("GetDifferences", &differences);
    assert_eq!(status, "200", "{answer}");
    cloud.push(&url, "two", "second");
    let _ = cloud.git("one", &["fetch", "--quiet", "--all"]).success();
    let found: Vec<_> = std::fs::read_dir(&traces)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(found.is_empty(), "executed: {found:?}");

    // A repository that redirects git elsewhere is refused, and usable again after the redirection
    // is removed.
    let elsewhere = repository.join("objects/info/alternates");
    std::fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    std::fs::write(&elsewhere, format!("{}\n", evil.display())).unwrap();
    assert_ne!(cloud.git("one", &["fetch"]).code, Some(0));
    let (status, answer) = cloud.call("GetRepository", &json!({"repositoryName": "flights"}));
    assert_eq!(status, "500");
    assert!(answer.to_string().contains("alternates"), "{answer}");
    std::fs::remove_file(elsewhere).unwrap();
    let _ = cloud.git("one", &["fetch", "--quiet"]).success();
}

// Issue 8, 1.3: git over HTTP was open even if credentials were required.
// tests/conformance/test_git_credentials.py covers the aws CLI's credential helper.
#[test]
fn git_needs_credentials_where_they_are_required() {
    let cloud = Cloud::start(&["--require-credentials"]);
    for (path, authorization) in [
        ("info/refs?service=git-upload-pack", ""),
        ("info/refs?service=git-receive-pack", ""),
        // local:local
        (
            "info/refs?service=git-upload-pack",
            "Authorization: Basic bG9jYWw6bG9jYWw=\r\n",
        ),
        (
            "info/refs?service=git-upload-pack",
            "Authorization: Bearer x\r\n",
        ),
    ] {
        for name in ["flights", "none"] {
            let answer = cloud.http(&format!(
                "GET /v1/repos/{name}/{path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\
                 {authorization}\r\n"
            ));
            assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
            assert!(
                answer
                    .to_ascii_lowercase()
                    .contains("www-authenticate: basic"),
                "{answer}"
            );
        }
    }
}

// Issue 8, 1.3: the project's own remote works if credentials are required.
#[test]
fn the_project_s_remote_has_its_credentials() {
    let cloud = Cloud::start(&["--require-credentials"]);
    let init = ["--local", "init", "--name", "small", "--yes"];
    let _ = cloud.sandbox.mlops(init).success();
    let push = ["push", "--quiet", "codecommit", "develop"];
    let _ = cloud.git("", &push).success();
    let _ = cloud.git("", &["fetch", "--quiet", "codecommit"]).success();
    let url = cloud.git("", &["remote", "get-url", "codecommit"]).stdout;
    // git gets no credentials for any other host.
    let outside = cloud.git("..", &["-c", "credential.helper=", "ls-remote", url.trim()]);
    assert_ne!(outside.code, Some(0));
}

/// Returns the git processes that serve this cloud's repositories.
fn backends(cloud: &Cloud) -> Vec<u32> {
    let root = cloud.sandbox.path().join(".mlops/local/git");
    let root = format!(
        "GIT_PROJECT_ROOT={}",
        root.canonicalize().unwrap().display()
    );
    let of_ours = |pid: &u32| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let environment = read("environ");
        environment.split(|byte| *byte == 0).any(|line| line == root.as_bytes())
            // Not a process that has ended but was not reaped yet.
            && !String::from_utf8_lossy(&read("stat")).contains(") Z ")
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(of_ours)
        .collect()
}

pub(crate) fn wait_until(what: &str, mut probe: impl FnMut() -> bool) {
    let start = Instant::now();
    while !probe() {
        assert!(start.elapsed() < Duration::from_mins(1), "{what}");
        pause();
    }
}

// Issue 8, 2.4: `git http-backend` used 100 % of a CPU after its client or its server was killed.
#[test]
#[cfg(target_os = "linux")]
fn git_ends_with_its_request_and_with_its_server() {
    let cloud = Cloud::start(&[]);
    cloud.create("flights");
    for service in ["git-receive-pack", "git-upload-pack"] {
        for server_dies in [false, true] {
            let mut stream = TcpStream::connect(&cloud.address).unwrap();
            let request = format!(
                "POST /v1/repos/flights/{service} HTTP/1.1\r\nHost: {}\r\n\
                 Content-Type: application/x-{service}-request\r\nContent-Length: 1000000\r\n\r\n00",
                cloud.address
            );
            stream.write_all(request.as_bytes()).unwrap();
            // The guard, and its child git.
            wait_until("git is started", || backends(&cloud).len() >= 2);
            if server_dies {
                let pid = cloud.status()["pid"].to_string();
                let _ = cloud.sandbox.program("", "kill", &["-9", &pid]).success();
            } else {
                drop(stream);
            }
            wait_until("git ends", || backends(&cloud).is_empty());
            if server_dies {
                let start = ["local", "start", "--detach"];
                let _ = cloud.sandbox.mlops(start).success();
                assert_eq!(
                    cloud.status()["endpoint"],
                    format!("http://{}", cloud.address),
                    "the address stays the same"
                );
            }
        }
    }
}

// Issue 8, 2.5: after an interrupted DeleteRepository, a new repository with that name had the old
// history.
#[test]
fn a_new_repository_never_has_the_history_of_a_deleted_one() {
    let mut cloud = Cloud::start(&[]);
    let url = cloud.create("flights");
    cloud.push(&url, "one", "secret");
    let kept = cloud.create("kept");
    cloud.push(&kept, "kept", "kept");
    let directories = cloud.directories();
    assert_eq!(directories.len(), 2);
    let _ = cloud.sandbox.mlops(["local", "stop"]).success();
    // The first half of the deletion.
    let database = cloud.sandbox.path().join(".mlops/local/records.sqlite");
    let connection = rusqlite::Connection::open(database).unwrap();
    let removed = connection
        .execute(
            "DELETE FROM records WHERE service = 'codecommit' AND key = 'flights'",
            [],
        )
        .unwrap();
    assert_eq!(removed, 1);
    connection.close().unwrap();
    cloud.serve(&[]);
    assert_eq!(cloud.directories().len(), 1, "what is left is removed");
    cloud.create("flights");
    let (_, branches) = cloud.call("ListBranches", &json!({"repositoryName": "flights"}));
    assert_eq!(branches["branches"], json!([]));
    let (_, branches) = cloud.call("ListBranches", &json!({"repositoryName": "kept"}));
    assert_eq!(branches["branches"], json!(["main"]));

    // A rename keeps the history, also across a restart; the old name is free and empty.
    let rename = json!({"oldName": "kept", "newName": "renamed"});
    assert_eq!(cloud.call("UpdateRepositoryName", &rename).0, "200");
    assert_eq!(cloud.call("UpdateRepositoryName", &rename).0, "400");
    let _ = cloud.sandbox.mlops(["local", "stop"]).success();
    cloud.serve(&[]);
    cloud.create("kept");
    for (name, branches) in [("kept", json!([])), ("renamed", json!(["main"]))] {
        let (_, found) = cloud.call("ListBranches", &json!({"repositoryName": name}));
        assert_eq!(found["branches"], branches, "{name}");
    }
    let (status, _) = cloud.call("DeleteRepository", &json!({"repositoryName": "renamed"}));
    assert_eq!((status.as_str(), cloud.directories().len()), ("200", 2));
}

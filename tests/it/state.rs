//! The owner of a state directory (issue 8, 1.4), and damaged state directories (issue 8, 2.5).

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::sandbox::{Run, Sandbox, pause};

/// Creates a sandbox with the state of a local cloud that a different user, with a separate HOME,
/// created.
fn stranger() -> Sandbox {
    let sandbox = Sandbox::new();
    let start = ["local", "start", "--detach", "--port", "0"];
    let _ = sandbox.mlops(start).success();
    let _ = sandbox.mlops(["local", "stop"]).success();
    sandbox
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(done.success());
}

fn refused(run: Run) -> Run {
    let run = run.code(2);
    for part in [
        "not created by you",
        "mlops local reset --state",
        "mlops local adopt",
    ] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    run
}

// Issue 8, 1.4: the server started on a committed state directory and ran its endpoint's program.
#[test]
fn a_state_directory_of_a_stranger_is_not_used() {
    let (stranger, mine) = (stranger(), Sandbox::new());
    copy(&stranger.path().join(".mlops"), &mine.path().join(".mlops"));
    let state = mine.path().join(".mlops/local");
    // Its address points to a program that collects credentials.
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let port = trap.local_addr().unwrap().port();
    let address = format!(
        r#"{{"endpoint":"http://127.0.0.1:{port}","port":{port},"pid":{},"access_key":"a","secret_key":"b"}}"#,
        std::process::id()
    );
    std::fs::write(state.join("address.json"), address).unwrap();
    // Pretend that this program is the directory's server.
    let lock = std::fs::File::open(state.join("lock")).unwrap();
    lock.lock().unwrap();
    let log = std::fs::read(state.join("server.log")).ok();
    std::fs::write(mine.path().join("findings.json"), "{}").unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    for command in [
        &["--local", "status"][..],
        &["--local", "init", "--name", "small", "--yes"],
        &["local", "status"],
        &["local", "start", "--port", "0"],
        &["local", "start", "--detach"],
        &["local", "stop"],
        &[
            "local",
            "inject",
            "scan",
            "--repository",
            "x",
            "--digest",
            &digest,
            "findings.json",
        ],
    ] {
        let run = mine.mlops(command);
        // `status` needs a project; in any case, it must not contact the server.
        if command[..2] == ["--local", "status"] {
            assert_ne!(run.code, Some(0));
        } else {
            let _ = refused(run);
        }
    }
    assert_eq!(
        trap.accept().unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "nobody looked at the address"
    );
    assert_eq!(std::fs::read(state.join("server.log")).ok(), log);

    // While the lock is held, it is not removed and no process is signaled (the address names this
    // process).
    let held = mine.mlops(["local", "reset", "--yes"]).code(2);
    assert!(held.stderr.contains("not yours"), "{}", held.stderr);
    drop(lock);
    let _ = mine.mlops(["local", "reset", "--yes"]).success();
    assert!(!state.exists());
    let start = ["local", "start", "--detach", "--port", "0"];
    let _ = mine.mlops(start).success();
}

#[test]
fn a_moved_project_is_refused_until_its_state_is_adopted() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("one")).unwrap();
    let start = ["local", "start", "--detach", "--port", "0"];
    let _ = sandbox.mlops_in("one", start).success();
    let _ = sandbox.mlops_in("one", ["local", "stop"]).success();
    std::fs::rename(sandbox.path().join("one"), sandbox.path().join("two")).unwrap();
    let _ = refused(sandbox.mlops_in("two", start));
    let adopt = ["local", "adopt", "--yes"];
    let unsure = sandbox.mlops_in("two", ["local", "adopt"]).code(2);
    assert!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);
    let _ = sandbox.mlops_in("two", adopt).success();
    let _ = sandbox.mlops_in("two", start).success();
    let _ = sandbox.mlops_in("two", ["local", "stop"]).success();
    // Other directories cannot be adopted.
    sandbox.write("mine/precious.txt", "x");
    let none = sandbox
        .mlops(["local", "adopt", "--yes", "--state", "mine"])
        .code(2);
    assert!(none.stderr.contains("not the state"), "{}", none.stderr);
}

#[test]
fn a_link_to_another_project_s_state_is_not_followed() {
    let sandbox = Sandbox::new();
    for directory in ["mine", "clone", "clone2/.mlops"] {
        std::fs::create_dir_all(sandbox.path().join(directory)).unwrap();
    }
    let start = ["local", "start", "--detach", "--port", "0"];
    let _ = sandbox.mlops_in("mine", start).success();
    let _ = sandbox.mlops_in("mine", ["local", "stop"]).success();
    let own = sandbox.path().join("mine/.mlops");
    symlink(&own, sandbox.path().join("clone/.mlops")).unwrap();
    symlink(
        own.join("local"),
        sandbox.path().join("clone2/.mlops/local"),
    )
    .unwrap();
    for clone in ["clone", "clone2"] {
        for command in [
            &["local", "status"][..],
            &["local", "start", "--detach"],
            &["local", "reset", "--yes"],
            &["local", "adopt", "--yes"],
            &["local", "reset", "--yes", "--state", ".mlops/local/"],
        ] {
            let _ = sandbox.mlops_in(clone, command).code(2);
        }
    }
    assert!(own.join("local/records.sqlite").is_file());
    let _ = sandbox.mlops_in("mine", ["local", "status"]).success();
}

#[test]
fn a_state_directory_that_git_tracks_is_refused() {
    let sandbox = stranger();
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "--force", ".mlops/local/records.sqlite"],
    ] {
        let _ = sandbox.program("", "git", arguments).success();
    }
    let run = sandbox.mlops(["local", "status"]).code(2);
    assert!(run.stderr.contains("git tracks"), "{}", run.stderr);
    assert!(run.stderr.contains("git rm -r --cached"), "{}", run.stderr);
}

#[test]
fn the_key_is_the_user_s_alone_and_outside_of_the_project() {
    let sandbox = stranger();
    let key = sandbox.home().join(".local/state/mlops/state.key");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&key), 0o600);
    assert_eq!(mode(key.parent().unwrap()), 0o700);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = sandbox.mlops(["local", "status"]).code(1);
    assert!(run.stderr.contains("others may read"), "{}", run.stderr);
}

// Issue 8, 2.5: an empty or truncated records.sqlite was mistaken for an empty cloud.
#[test]
fn lost_records_are_an_error_and_not_an_empty_cloud() {
    let sandbox = stranger();
    let state = sandbox.path().join(".mlops/local");
    let records = state.join("records.sqlite");
    let whole = std::fs::read(&records).unwrap();
    for (why, bytes) in [
        ("it is empty", Some(&[][..])),
        ("cannot be used", Some(&whole[..whole.len() / 2])),
        ("it is missing", None),
    ] {
        std::fs::remove_file(&records).unwrap();
        if let Some(bytes) = bytes {
            std::fs::write(&records, bytes).unwrap();
        }
        let run = sandbox.mlops(["local", "start", "--port", "0"]).code(1);
        assert!(run.stderr.contains(why), "{}", run.stderr);
        assert!(run.stderr.contains("mlops local reset"), "{}", run.stderr);
        let run = sandbox.mlops(["local", "start", "--detach"]).code(1);
        assert!(run.stderr.contains(why), "{}", run.stderr);
        assert_eq!(std::fs::read(&records).ok().as_deref(), bytes);
        if bytes.is_none() {
            std::fs::write(&records, &whole).unwrap();
        }
    }
    let _ = sandbox
        .mlops(["local", "start", "--detach", "--port", "0"])
        .success();
}

// Issue 8, 2.5: `local stop` reported success while a waiting server took over.
#[test]
fn after_a_stop_no_server_runs_even_if_one_was_waiting() {
    let sandbox = Sandbox::new();
    let start = ["local", "start", "--detach", "--port", "0"];
    let _ = sandbox.mlops(start).success();
    let state = sandbox.path().join(".mlops/local");
    let open = |name: &str| std::fs::File::open(state.join(name)).unwrap();
    // This test waits for the directory, as a server would.
    let waiting = open("waiting");
    waiting.lock_shared().unwrap();
    let mut stop = sandbox.command("");
    stop.args(["local", "stop", "--output", "json"]);
    let stop = stop.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lock = open("lock");
    while lock.try_lock_shared().is_err() {
        pause();
    }
    drop(lock);
    let mut second = sandbox.command("");
    second.args(["local", "start", "--port", "0", "--quiet"]);
    let mut second = second.spawn().unwrap();
    let address = state.join("address.json");
    let answers = |pid: u32| {
        let text = std::fs::read_to_string(&address).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|found| found["pid"] == pid)
    };
    // It may be stopped before this test sees it respond.
    while !answers(second.id()) && second.try_wait().unwrap().is_none() {
        pause();
    }
    drop(waiting);
    let stopped = stop.wait_with_output().unwrap();
    let stopped: serde_json::Value = serde_json::from_slice(&stopped.stdout).unwrap();
    assert_eq!(
        stopped["processes"].as_array().unwrap().len(),
        2,
        "{stopped}"
    );
    assert!(second.wait().unwrap().success());
    let status = ["local", "status", "--output", "json"];
    assert_eq!(sandbox.mlops(status).success().json()["running"], false);
    assert_eq!(
        sandbox.mlops(["local", "stop", "--output", "json"]).json()["stopped"],
        false
    );
}

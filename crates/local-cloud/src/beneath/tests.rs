use super::*;

use std::os::unix::fs::{PermissionsExt, symlink};

use nix::unistd::{Gid, Uid};

/// Runs a test as an ordinary user, to whom permissions apply, even if the tests run as the
/// superuser.
pub(crate) fn as_ordinary_user(test: impl FnOnce(&Path) + Send + 'static) {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().to_owned();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
    }
    // The user of file accesses belongs to the thread.
    std::thread::spawn(move || {
        if nix::unistd::geteuid().is_root() {
            become_ordinary();
        }
        test(&path);
    })
    .join()
    .unwrap();
}

/// Drops the superuser's file capabilities of this thread.
fn become_ordinary() {
    #[cfg(target_os = "linux")]
    {
        nix::unistd::setfsgid(Gid::from_raw(65534));
        nix::unistd::setfsuid(Uid::from_raw(65534));
    }
    assert!(std::fs::read("/etc/shadow").is_err(), "still the superuser");
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// With the resolution of the kernel, and component by component.
fn both_ways(test: impl Fn()) {
    for by_hand in [false, true] {
        resolve::tests::BY_HAND.set(by_hand);
        test();
    }
    resolve::tests::BY_HAND.set(false);
}

fn paths(directory: &Directory) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    directory.walk(|path, entry| {
        let kind = match entry {
            WalkEntry::Directory(_) => "/",
            WalkEntry::File(..) => "",
            WalkEntry::Link(_) => "@",
        };
        found.push(format!("{}{kind}", path.display()));
        Ok::<_, Error>(())
    })?;
    Ok(found)
}

// Issue 8, 1.1
#[test]
fn no_component_of_a_path_may_be_a_link() {
    both_ways(|| {
        let at = tempfile::tempdir().unwrap();
        let (secret, base) = (at.path().join(".aws"), at.path().join("ml"));
        std::fs::create_dir_all(base.join("output/data")).unwrap();
        std::fs::create_dir(&secret).unwrap();
        std::fs::write(secret.join("credentials"), "SECRET").unwrap();
        symlink(&secret, base.join("model")).unwrap();
        symlink("../.aws", base.join("relative")).unwrap();
        symlink("output", base.join("inside")).unwrap();
        symlink(secret.join("credentials"), base.join("output/failure")).unwrap();
        let directory = Directory::open(&base, "/opt/ml").unwrap();
        for (path, link) in [
            ("model", "/opt/ml/model"),
            ("model/credentials", "/opt/ml/model"),
            ("relative/credentials", "/opt/ml/relative"),
            ("inside/data", "/opt/ml/inside"),
            ("output/failure", "/opt/ml/output/failure"),
        ] {
            let relative = Path::new(path);
            for error in [
                directory.subdirectory(relative).unwrap_err(),
                directory.file(relative).unwrap_err(),
            ] {
                let text = error.to_string();
                assert!(matches!(error, Error::Refused(_)), "{path}: {text}");
                let expected = format!("{link} is a symbolic link to ");
                assert!(text.starts_with(&expected), "{path}: {text}");
            }
        }
        // Writing replaces a link, and never follows it.
        let below = directory.create_file(Path::new("model/credentials"));
        assert!(below.is_err());
        directory
            .write(Path::new("output/failure"), b"mine")
            .unwrap();
        let kept = std::fs::read_to_string(secret.join("credentials")).unwrap();
        assert_eq!(kept, "SECRET");
        assert!(directory.make_directory(Path::new("relative/new")).is_err());
        assert!(!secret.join("new").exists());
        for path in ["../.aws", "output/../../.aws", "/etc"] {
            assert!(directory.subdirectory(Path::new(path)).is_err(), "{path}");
        }
        assert!(
            directory
                .subdirectory(Path::new("none/x"))
                .unwrap()
                .is_none()
        );
        assert!(directory.file(Path::new("none/x")).unwrap().is_none());
    });
}

// Issue 8, 1.1
#[test]
fn exchanging_a_directory_for_a_link_does_not_escape_it() {
    let at = tempfile::tempdir().unwrap();
    let base = at.path().join("ml");
    std::fs::create_dir_all(base.join("model")).unwrap();
    std::fs::write(base.join("model/weights"), "mine").unwrap();
    std::fs::write(at.path().join("weights"), "SECRET").unwrap();
    let directory = Directory::open(&base, "/opt/ml").unwrap();
    let model = directory.subdirectory(Path::new("model")).unwrap().unwrap();
    std::fs::rename(&base, at.path().join("old")).unwrap();
    symlink(at.path(), &base).unwrap();
    std::fs::rename(at.path().join("old/model"), at.path().join("old/moved")).unwrap();
    symlink(at.path(), at.path().join("old/model")).unwrap();
    let mut text = String::new();
    let mut file = model.file(Path::new("weights")).unwrap().unwrap();
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    assert_eq!(text, "mine");
    assert!(directory.subdirectory(Path::new("model")).is_err());
    assert!(Directory::open(&base, "/opt/ml").is_err());
}

#[test]
fn links_inside_resolve_only_inside() {
    both_ways(|| {
        let at = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(at.path().join("root/a/b")).unwrap();
        let root = at.path().join("root");
        for (target, name) in [
            ("a", "plain"),
            ("../root/a", "outside"),
            ("/", "absolute"),
            ("b/../..", "a/up"),
            ("circle", "circle"),
            ("plain/b", "two"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let directory = Directory::open(&root, "root").unwrap();
        let open = |path: &str| {
            let handle = directory.open_directory(Path::new(path), Links::Inside)?;
            rustix::fs::fstat(&handle).map(|found| found.st_ino)
        };
        assert_eq!(open("plain/b"), open("a/b"));
        assert_eq!(open("two"), open("a/b"));
        assert_eq!(open("a/up"), open(""));
        assert!(open("a/up/a/b").is_ok());
        for path in ["outside", "absolute/etc", "circle", "outside/b"] {
            assert!(open(path).is_err(), "{path}");
        }
    });
}

#[test]
fn a_walk_is_sorted_and_reports_links() {
    both_ways(|| {
        let at = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(at.path().join("b/c")).unwrap();
        for name in ["b/c/2", "b/1", "b0", "a"] {
            std::fs::write(at.path().join(name), "").unwrap();
        }
        symlink("/etc", at.path().join("b/link")).unwrap();
        let directory = Directory::open(at.path(), "x").unwrap();
        let expected = ["a", "b/", "b/1", "b/c/", "b/c/2", "b/link@", "b0"];
        assert_eq!(paths(&directory).unwrap(), expected);
    });
}

// Issue 8, 1.1: nothing that a program leaves behind can block the server.
#[test]
fn a_fifo_is_reported_and_does_not_block() {
    let at = tempfile::tempdir().unwrap();
    std::fs::create_dir(at.path().join("model")).unwrap();
    let pipe = at.path().join("model/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let directory = Directory::open(at.path(), "/opt/ml").unwrap();
    for error in [
        paths(&directory).unwrap_err(),
        directory.file(Path::new("model/pipe")).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "/opt/ml/model/pipe is a FIFO");
    }
    std::fs::remove_file(&pipe).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(&pipe).unwrap();
    let error = paths(&directory).unwrap_err().to_string();
    assert_eq!(error, "/opt/ml/model/pipe is a socket");
}

/// Creates a chain of directories named `d`, deeper than any path can be, with a file at its end.
fn deep(at: &Path, levels: usize) {
    let mut handle = Directory::open(at, "x").unwrap().handle;
    for _ in 0..levels {
        rustix::fs::mkdirat(&handle, "d", OWN).unwrap();
        handle = open_with_mode(handle.as_fd(), OsStr::new("d"), READ).unwrap();
    }
    create_file(handle.as_fd(), OsStr::new("file")).unwrap();
}

// Issue 8, 1.1: the depth of a tree costs neither the stack nor file handles.
#[test]
fn a_tree_that_is_too_deep_is_reported_and_removed() {
    let at = tempfile::tempdir().unwrap();
    let tree = at.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    deep(&tree, 5000);
    let directory = Directory::open(&tree, "/opt/ml").unwrap();
    let error = paths(&directory).unwrap_err().to_string();
    assert!(error.contains("the longest is 4096 bytes"), "{error}");
    remove(&tree).unwrap();
    assert!(!tree.exists());
}

// Issue 8, 2.2
#[test]
fn read_only_directories_are_removed() {
    as_ordinary_user(|at| {
        for bits in [0o555, 0o000, 0o100, 0o444] {
            let tree = at.join("job");
            std::fs::create_dir_all(tree.join("ml/model/sub")).unwrap();
            std::fs::write(tree.join("ml/model/sub/file"), "x").unwrap();
            std::fs::write(tree.join("ml/model/file"), "x").unwrap();
            mode(&tree.join("ml/model/sub/file"), 0);
            for part in ["ml/model/sub", "ml/model", "ml"] {
                mode(&tree.join(part), bits);
            }
            mode(&tree, bits);
            assert!(std::fs::remove_dir_all(&tree).is_err(), "{bits:o}: no test");
            remove(&tree).unwrap();
            assert!(tree.symlink_metadata().is_err(), "{bits:o}");
        }
        std::fs::create_dir_all(at.join("jobs/job")).unwrap();
        mode(&at.join("jobs"), 0o555);
        remove(&at.join("jobs/job")).unwrap();
        assert!(!at.join("jobs/job").exists());
        std::fs::create_dir(at.join("jobs/job")).unwrap();
        mode(&at.join("jobs"), 0);
        remove::clear(&at.join("jobs"), &[]).unwrap();
        assert_eq!(std::fs::read_dir(at.join("jobs")).unwrap().count(), 0);
    });
}

// Issue 8, 2.2
#[test]
fn removal_follows_no_link() {
    let at = tempfile::tempdir().unwrap();
    std::fs::create_dir(at.path().join("kept")).unwrap();
    std::fs::write(at.path().join("kept/file"), "x").unwrap();
    std::fs::create_dir(at.path().join("job")).unwrap();
    symlink(at.path().join("kept"), at.path().join("job/model")).unwrap();
    symlink(at.path().join("kept"), at.path().join("link")).unwrap();
    mode(&at.path().join("kept"), 0o500);
    remove(&at.path().join("job")).unwrap();
    remove(&at.path().join("link")).unwrap();
    remove(&at.path().join("link")).unwrap();
    let kept = at.path().join("kept");
    assert!(kept.join("file").exists());
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o500);
}

// Issue 8, 1.1: files that SageMaker's uploads, as superuser, could read are uploaded.
#[test]
fn a_program_may_close_its_output_to_its_own_user() {
    as_ordinary_user(|at| {
        std::fs::create_dir_all(at.join("output/data")).unwrap();
        std::fs::write(at.join("output/data/file"), "x").unwrap();
        std::fs::write(at.join("output/failure"), "why").unwrap();
        let directory = Directory::open(at, "/opt/ml").unwrap();
        for path in [
            "output/data/file",
            "output/failure",
            "output/data",
            "output",
            "",
        ] {
            mode(&at.join(path), 0);
        }
        assert!(
            directory
                .file(Path::new("output/failure"))
                .unwrap()
                .is_some()
        );
        let data = directory.subdirectory(Path::new("output/data")).unwrap();
        assert_eq!(paths(&data.unwrap()).unwrap(), ["file"]);
    });
}

// Issue 8, 2.2
#[test]
fn undeletable_files_are_moved_aside_and_the_rest_is_removed() {
    // Only the superuser can create files that an ordinary user cannot remove.
    let foreign = nix::unistd::geteuid().is_root();
    let at = tempfile::tempdir().unwrap();
    let job = at.path().join("jobs/job");
    std::fs::create_dir_all(job.join("ml/foreign")).unwrap();
    std::fs::write(job.join("ml/foreign/file"), "x").unwrap();
    std::fs::write(job.join("ml/other"), "x").unwrap();
    if foreign {
        for path in ["", "jobs", "jobs/job", "jobs/job/ml", "jobs/job/ml/other"] {
            std::os::unix::fs::chown(at.path().join(path), Some(65534), Some(65534)).unwrap();
        }
    }
    let state = at.path().to_owned();
    std::thread::spawn(move || {
        if foreign {
            become_ordinary();
        }
        let job = state.join("jobs/job");
        if foreign {
            let remains = remove(&job).unwrap_err();
            assert_eq!(remains.path, job.join("ml/foreign/file"));
            assert_eq!(remains.error.kind(), std::io::ErrorKind::PermissionDenied);
            assert!(!job.join("ml/other").exists());
        }
        discard(&state, &job);
        assert!(!job.exists());
    })
    .join()
    .unwrap();
    assert_eq!(at.path().join(remove::UNREMOVED).exists(), foreign);
}

#[test]
fn a_failed_reset_keeps_the_proof_of_ownership() {
    // Only the superuser can create files that an ordinary user cannot remove.
    let foreign = nix::unistd::geteuid().is_root();
    let at = tempfile::tempdir().unwrap();
    let state = at.path().join("state");
    std::fs::create_dir_all(state.join("foreign")).unwrap();
    for name in ["foreign/file", "lock", "seal"] {
        std::fs::write(state.join(name), "x").unwrap();
    }
    if foreign {
        // The parent directory is read-only, so the state cannot be moved, as if it were a mount
        // point.
        for name in ["", "lock", "seal"] {
            std::os::unix::fs::chown(state.join(name), Some(65534), Some(65534)).unwrap();
        }
        mode(at.path(), 0o755);
    }
    let path = state.clone();
    std::thread::spawn(move || {
        if foreign {
            become_ordinary();
        }
        discard_all(&path, &["seal"]);
    })
    .join()
    .unwrap();
    assert!(!state.join("lock").exists());
    assert_eq!(state.join("seal").exists(), foreign);
    discard_all(&state, &["seal"]);
    assert!(!state.exists());
}

#[test]
fn targets_inside_the_directory_are_distinguished_from_others() {
    let inside = |from: &str, target: &str| stays_inside(Path::new(from), Path::new(target));
    assert!(inside("latest", "model.joblib"));
    assert!(inside("a/b/link", "../../x"));
    assert!(inside("a/link", "./b/../../x"));
    for (from, target) in [
        ("link", "../x"),
        ("link", "/opt/ml/model/x"),
        ("a/link", "../../x"),
        ("a/link", "b/../../../x"),
    ] {
        assert!(!inside(from, target), "{from} {target}");
    }
}

//! Likely causes of failed containers: one table of texts that SageMaker and programs print.
//!
//! ```text
//! failure reason of the service ─┐
//!                                ├─ find ─→ Cause: its kind, what happened, how to fix it
//! last lines of the log ─────────┘
//! ```
//!
//! Sources of the texts are the messages of SageMaker and Python, as users quote them in public issues.
//! A cause is a guess: it is shown together with the reason and the log, never instead of them.

use mlops_core::error::hinted;
use serde::Serialize;

mod server;

/// The program that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A job of a pipeline.
    Job,
    /// The server of an endpoint.
    Server,
}

/// What probably made a container fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Its kind.
    pub kind: CauseKind,
    /// What happened.
    pub what: String,
    /// How to fix it.
    pub fix: String,
}

impl Cause {
    /// Adds the cause and its fix to the error of the failure.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let error = hinted(error, format!("likely cause: {}", self.what));
        hinted(error, self.fix.clone())
    }
}

/// The kind of a cause. The names in JSON are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// The program imports a module that the image lacks.
    ImportError,
    /// The server listens on another port.
    WrongPort,
    /// The server has no `/ping`, or it reports an error.
    Ping,
    /// The process used too much memory.
    OutOfMemory,
    /// The server did not become healthy in time.
    Timeout,
    /// The model's file is missing or cannot be unpacked.
    MissingModel,
    /// The program reads a file that does not exist.
    MissingFile,
    /// The role or the file's mode does not permit it.
    Permission,
    /// The container has no executable `serve` or `train`, or is built for another CPU.
    CannotStart,
    /// The image does not exist, or the role may not pull it.
    Image,
    /// No instance of this type is available.
    Capacity,
    /// The account's quota is exhausted.
    Quota,
    /// The program raised an exception.
    Exception,
}

/// A row of the table: the texts that identify a cause.
struct Known {
    kind: CauseKind,
    /// Each of these texts identifies the cause.
    signs: &'static [&'static str],
    what: &'static str,
    fix: &'static str,
}

/// Texts in the service's failure reason.
const REASONS: &[Known] = &[
    Known {
        kind: CauseKind::MissingModel,
        signs: &[
            "Failed to download model data",
            "Could not find model data",
            "Failed to extract model data archive",
        ],
        what: "the model's artifact cannot be downloaded and unpacked",
        fix: "check that the artifact exists, is a gzipped tar, and can be read by the endpoint's role",
    },
    Known {
        kind: CauseKind::Image,
        signs: &[
            "Please make sure all images included in the model",
            "Requested image not found",
            "Cannot find the requested image",
        ],
        what: "the image does not exist, or the role may not pull it",
        fix: "list the images with `mlops image list`; push the image again if it was deleted",
    },
    Known {
        kind: CauseKind::CannotStart,
        signs: &["CannotStartContainerError"],
        what: "the container has no executable program for its command, or is built for another CPU",
        fix: "check that image/program/serve is executable, and build the image for linux/amd64",
    },
    Known {
        kind: CauseKind::Quota,
        signs: &["ResourceLimitExceeded", "account-level service limit"],
        what: "the account's quota for this instance type is exhausted",
        fix: "request a higher quota (`mlops doctor` shows it), or choose another instance type",
    },
    Known {
        kind: CauseKind::Capacity,
        signs: &[
            "InsufficientCapacity",
            "InsufficientInstanceCapacity",
            "Unable to provision requested ML compute capacity",
            "CapacityError",
        ],
        what: "no instance of this type is available at the moment",
        fix: "try again later, or choose another instance type",
    },
    Known {
        kind: CauseKind::OutOfMemory,
        signs: &[
            "exited with 137",
            "exit code: 137",
            "Exit Code: 137",
            "OutOfMemory",
        ],
        what: "the process was killed (exit code 137), usually because the memory was exhausted",
        fix: "choose an instance type with more memory, or load less at once",
    },
];

/// Texts in lines of the log, of any program. More specific causes are first.
const LINES: &[Known] = &[
    Known {
        kind: CauseKind::OutOfMemory,
        signs: &[
            "MemoryError",
            "OOMKilled",
            "out of memory",
            "Out of memory",
            "std::bad_alloc",
            "Cannot allocate memory",
            "was sent SIGKILL",
        ],
        what: "the memory was exhausted: `{line}`",
        fix: "choose an instance type with more memory, or load less at once",
    },
    Known {
        kind: CauseKind::CannotStart,
        signs: &["Exec format error", "exec format error"],
        what: "the program cannot be executed: `{line}`",
        fix: "build the image for linux/amd64, and start scripts with a `#!` line",
    },
    Known {
        kind: CauseKind::Permission,
        signs: &["PermissionError", "Permission denied"],
        what: "the program may not use a file: `{line}`",
        fix: "write only below /opt/ml and /tmp, and set the executable bit of programs (`chmod +x`)",
    },
    Known {
        kind: CauseKind::Permission,
        signs: &[
            "AccessDenied",
            "is not authorized to perform",
            "An error occurred (403)",
        ],
        what: "the container's role lacks a permission: `{line}`",
        fix: "add the permission to the role, or do not call this service from the container",
    },
];

/// Returns the likely cause of a failure, from the service's reason and the last lines of the log.
pub fn find(program: Program, reason: Option<&str>, lines: &[String]) -> Option<Cause> {
    let reason = reason.unwrap_or_default();
    let found = in_reason(reason)
        .or_else(|| lines.iter().rev().find_map(|line| in_line(line)))
        .or_else(|| match program {
            Program::Server => server::find(reason, lines),
            Program::Job => None,
        });
    found.map(|mut cause| {
        // A new model is served only after its promotion.
        if matches!(program, Program::Server) {
            cause.fix = cause.fix.replace("train again", "train and promote again");
        }
        cause
    })
}

fn in_reason(reason: &str) -> Option<Cause> {
    let known = |known: &&Known| known.signs.iter().any(|sign| reason.contains(sign));
    REASONS.iter().find(known).map(|known| known.cause(""))
}

/// The cause that a line names. The last one decides: an earlier error may have been handled.
fn in_line(line: &str) -> Option<Cause> {
    let known = |known: &&Known| known.signs.iter().any(|sign| line.contains(sign));
    // The kernel's or a shell's own line.
    if line.trim() == "Killed" {
        return LINES.first().map(|memory| memory.cause(line));
    }
    import_error(line)
        .or_else(|| missing_file(line))
        .or_else(|| LINES.iter().find(known).map(|known| known.cause(line)))
}

impl Known {
    fn cause(&self, line: &str) -> Cause {
        Cause {
            kind: self.kind,
            what: self.what.replace("{line}", &shortened(line)),
            fix: self.fix.to_owned(),
        }
    }
}

/// `ModuleNotFoundError: No module named 'pandas'`, and shared libraries that Python cannot load.
fn import_error(line: &str) -> Option<Cause> {
    if !line.contains("ModuleNotFoundError:") && !line.contains("ImportError:") {
        return None;
    }
    let module = line.split("No module named ").nth(1);
    let module = module.map(|rest| rest.trim_matches(['\'', '"', ' ', '.']));
    // `pandas.core` belongs to the package `pandas`.
    let package = module.and_then(|module| module.split('.').next());
    let (what, fix) = match package {
        Some(package) => (
            format!("the program imports `{package}`, which the image does not contain"),
            "add its package to image/requirements.txt, push the image, and train again".to_owned(),
        ),
        None if line.contains("cannot open shared object file") => (
            format!("a system library is missing in the image: `{}`", shortened(line)),
            "install the library in image/Dockerfile, push the image, and train again".to_owned(),
        ),
        None => (
            format!("an import fails: `{}`", shortened(line)),
            "pin versions that fit together in image/requirements.txt, push the image, and train again"
                .to_owned(),
        ),
    };
    Some(Cause {
        kind: CauseKind::ImportError,
        what,
        fix,
    })
}

/// A `FileNotFoundError`; in the model's directory, the artifact lacks the file.
fn missing_file(line: &str) -> Option<Cause> {
    if !line.contains("FileNotFoundError") && !line.contains("No such file or directory") {
        return None;
    }
    // The directory is /opt/ml/model, or below the local cloud's own directory.
    let is_model = line.contains("/ml/model");
    Some(Cause {
        kind: if is_model {
            CauseKind::MissingModel
        } else {
            CauseKind::MissingFile
        },
        what: format!("a file is missing: `{}`", shortened(line)),
        fix: if is_model {
            "check that `train` writes this file to /opt/ml/model, and `serve` reads the same name"
        } else {
            "check that the image or the step's inputs contain this file"
        }
        .to_owned(),
    })
}

/// The end of a line, because an exception's message follows its position.
fn shortened(line: &str) -> String {
    const LONGEST: usize = 160;
    let line = line.trim();
    let count = line.chars().count();
    if count <= LONGEST {
        return line.to_owned();
    }
    let end: String = line.chars().skip(count - LONGEST).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(reason: &str, log: &str) -> Option<Cause> {
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        find(Program::Server, Some(reason), &lines)
    }

    fn kind(reason: &str, log: &str) -> Option<CauseKind> {
        cause(reason, log).map(|cause| cause.kind)
    }

    #[test]
    fn an_import_names_the_package() {
        let log = "Traceback (most recent call last):\n  File \"serve\", line 1\n\
                   ModuleNotFoundError: No module named 'sklearn.ensemble'";
        let found = cause("", log).unwrap();
        assert_eq!(found.kind, CauseKind::ImportError);
        assert!(found.what.contains("`sklearn`"), "{found:?}");
        let library = "ImportError: libGL.so.1: cannot open shared object file: No such file";
        assert!(cause("", library).unwrap().fix.contains("Dockerfile"));
    }

    #[test]
    fn memory_is_recognized_in_the_reason_and_in_the_log() {
        for (reason, log) in [
            (
                "… did not pass the ping health check. (the server exited with 137)",
                "",
            ),
            (
                "",
                "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 9 GiB",
            ),
            (
                "",
                "[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?",
            ),
            ("", "Killed"),
            (
                "",
                "terminate called after throwing an instance of 'std::bad_alloc'",
            ),
        ] {
            let found = kind(reason, log);
            assert_eq!(found, Some(CauseKind::OutOfMemory), "{reason} {log}");
        }
        assert_eq!(kind("", "Killed 3 zombies"), None);
    }

    #[test]
    fn a_missing_file_of_the_model_is_told_from_others() {
        let model =
            "FileNotFoundError: [Errno 2] No such file or directory: '/opt/ml/model/model.joblib'";
        assert_eq!(kind("", model), Some(CauseKind::MissingModel));
        let other = "FileNotFoundError: [Errno 2] No such file or directory: 'labels.txt'";
        assert_eq!(kind("", other), Some(CauseKind::MissingFile));
        let artifact =
            "Failed to extract model data archive for container \"container_1\" from URL";
        assert_eq!(kind(artifact, ""), Some(CauseKind::MissingModel));
    }

    #[test]
    fn permissions_images_and_quotas_are_recognized() {
        for (reason, log, wanted) in [
            (
                "",
                "PermissionError: [Errno 13] Permission denied: '/opt/x'",
                CauseKind::Permission,
            ),
            (
                "",
                "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling",
                CauseKind::Permission,
            ),
            (
                "CannotStartContainerError. Please ensure …",
                "",
                CauseKind::CannotStart,
            ),
            (
                "Please make sure all images included in the model …",
                "",
                CauseKind::Image,
            ),
            (
                "The account-level service limit 'ml.m5.large …' is 0",
                "",
                CauseKind::Quota,
            ),
            (
                "Unable to provision requested ML compute capacity",
                "",
                CauseKind::Capacity,
            ),
        ] {
            assert_eq!(kind(reason, log), Some(wanted), "{reason} {log}");
        }
    }

    #[test]
    fn an_error_that_was_handled_is_not_the_cause() {
        let log = "ls: cannot access 'x': No such file or directory\n\
                   ImportError: optional\n\
                   torch.OutOfMemoryError: CUDA out of memory";
        assert_eq!(kind("", log), Some(CauseKind::OutOfMemory));
        let log = "MemoryError\nretrying\nModuleNotFoundError: No module named 'a'\nbye";
        assert_eq!(kind("", log), Some(CauseKind::ImportError));
    }

    #[test]
    fn a_server_is_mended_by_a_promotion() {
        let lines = ["ModuleNotFoundError: No module named 'a'".to_owned()];
        let fix = |program| find(program, None, &lines).unwrap().fix;
        assert!(fix(Program::Server).contains("promote"));
        assert!(!fix(Program::Job).contains("promote"));
    }

    #[test]
    fn an_unknown_failure_has_no_cause() {
        assert_eq!(kind("the alarm flights-5xx is in ALARM", "ready\nok"), None);
        let lines = ["GET /ping HTTP/1.1\" 404".to_owned()];
        assert_eq!(find(Program::Job, None, &lines), None, "a job has no /ping");
    }
}

use std::collections::BTreeSet;

use super::examples::{EXAMPLES, Example};
use super::*;

/// Failures that no row explains: reason and log.
const UNKNOWN: &[(&str, &str)] = &[
    (
        "AlgorithmError: See job logs for more information, exit code: 1",
        "loading\nthe reactor is offline",
    ),
    (
        "AlgorithmError: the column `distance` is missing, exit code: 1",
        "line 18\nline 19",
    ),
    ("AlgorithmError: Exit Code: 1", ""),
    (
        "AlgorithmError: , exit code: 13",
        "Segments: 139\nexit code of the child: 1370",
    ),
    ("Step failure: One or multiple steps failed.", ""),
    (
        "COMMAND_EXECUTION_ERROR Message: Error while executing command: aws cloudformation package. Reason: exit status 255",
        "[Container] 2026/11/30 Phase complete: BUILD State: FAILED",
    ),
    (
        "The following resource(s) failed to create: [Model]. Rollback requested by user.",
        "",
    ),
    (
        "",
        "WARNING: memory usage is high\nINFO quota of rows: 100\nimage 3 of 7",
    ),
    ("", "epoch 1: loss nan\nepoch 2: loss nan\nstopping early"),
    ("ClientError: something new happened", "Error: E4711"),
    (
        "UnknownError: the moon is full",
        "fatal: the moon is full\nKilled 3 zombies",
    ),
    (
        "",
        "Traceback (most recent call last):\n  File \"/opt/program/train\", line 3, in <module>",
    ),
    (
        "",
        "the user was not authorized; the permission is denied by policy 7",
    ),
];

fn cause(reason: &str, log: &str) -> Option<Cause> {
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    find(Place::Server, Some(reason), &lines)
}

fn kind(reason: &str, log: &str) -> Option<&'static str> {
    cause(reason, log).map(|cause| cause.kind)
}

/// The row that an example is found by in a place.
fn found(example: &Example, place: Place) -> Option<&'static Known> {
    row(place, example.source, example.text).map(|(row, _)| row)
}

#[test]
fn every_row_is_found_by_its_text_in_its_places_only() {
    let mut missing: Vec<&Known> = rows().collect();
    for example in EXAMPLES {
        let Some(first) = found(example, example.place) else {
            panic!("{}: `{}` is not found", example.kind, example.text);
        };
        assert_eq!(first.kind, example.kind, "{}", example.text);
        assert!(!first.signs.of(example.source).is_empty());
        for place in Place::ALL {
            let is_found = found(example, place).is_some_and(|row| std::ptr::eq(row, first));
            assert_eq!(
                is_found,
                first.places.contains(&place),
                "{}: {place:?}: {}",
                example.kind,
                example.text
            );
        }
        missing.retain(|row| !std::ptr::eq(*row, first));
    }
    assert!(missing.is_empty(), "rows without an example: {missing:#?}");
}

/// What a user gets for each example, not only which row it is.
#[test]
fn every_example_is_explained_without_placeholders() {
    for example in EXAMPLES {
        let lines = [example.text.to_owned()];
        let found = match example.source {
            Source::Reason => find(example.place, Some(example.text), &[]),
            Source::Line => find(example.place, None, &lines),
        };
        let found = found.unwrap_or_else(|| panic!("{}", example.text));
        assert_eq!(found.kind, example.kind, "{found:?}");
        for text in [&found.what, &found.fix] {
            assert!(!text.contains("{line}"), "{found:?}");
        }
        let row = row(example.place, example.source, example.text).unwrap();
        for (name, _) in row.1 {
            assert!(!found.what.contains(&format!("{{{name}}}")), "{found:?}");
        }
    }
}

#[test]
fn there_are_at_least_55_kinds_and_each_is_kebab_case() {
    let kinds: BTreeSet<&str> = rows().map(|row| row.kind).collect();
    assert!(kinds.len() >= 55, "{}", kinds.len());
    for kind in kinds {
        let is_kebab = kind
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()));
        assert!(is_kebab, "{kind}");
    }
}

#[test]
fn names_in_a_text_come_from_each_of_its_signs() {
    for row in rows() {
        let used: Vec<&str> = [row.what, row.fix]
            .iter()
            .flat_map(|text| text.split('{').skip(1))
            .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
            .filter(|name| *name != "line")
            .collect();
        for name in used {
            for sign in row.signs.all() {
                assert!(
                    sign.contains(&format!("{{{name}}}")),
                    "{}: {sign}",
                    row.kind
                );
            }
        }
    }
}

#[test]
fn unknown_failures_have_no_cause() {
    assert!(UNKNOWN.len() >= 10);
    for (reason, log) in UNKNOWN {
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        for place in Place::ALL {
            let found = find(place, Some(reason), &lines);
            assert_eq!(found, None, "{place:?}: {reason}\n{log}");
        }
    }
    assert_eq!(kind("the alarm flights-5xx is in ALARM", "ready\nok"), None);
    let lines = ["GET /ping HTTP/1.1\" 404".to_owned()];
    assert_eq!(find(Place::Job, None, &lines), None, "a job has no /ping");
}

#[test]
fn an_import_names_the_package_and_the_line() {
    let log = "Traceback (most recent call last):\n  File \"/opt/program/serve\", line 4, in <module>\n    \
               import sklearn.ensemble\nModuleNotFoundError: No module named 'sklearn.ensemble'";
    let found = cause("", log).unwrap();
    assert_eq!(found.kind, "import-error");
    assert_eq!(
        found.what,
        "the program imports `sklearn`, which the image does not contain (serve line 4)"
    );
    assert_eq!(found.location.map(|it| it.line), Some(4));
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
        assert_eq!(kind(reason, log), Some("out-of-memory"), "{reason} {log}");
    }
    assert_eq!(kind("", "Killed 3 zombies"), None);
}

#[test]
fn a_missing_file_of_the_model_is_told_from_others() {
    let model =
        "FileNotFoundError: [Errno 2] No such file or directory: '/opt/ml/model/model.joblib'";
    assert_eq!(kind("", model), Some("missing-model"));
    let other = "FileNotFoundError: [Errno 2] No such file or directory: 'labels.txt'";
    assert_eq!(kind("", other), Some("missing-file"));
}

#[test]
fn an_error_that_was_handled_is_not_the_cause() {
    let log = "ls: cannot access 'x': No such file or directory\n\
               ImportError: optional\n\
               torch.OutOfMemoryError: CUDA out of memory";
    assert_eq!(kind("", log), Some("out-of-memory"));
    let log = "MemoryError\nretrying\nModuleNotFoundError: No module named 'a'\nbye";
    assert_eq!(kind("", log), Some("import-error"));
}

/// Many lines before the end, a known text was handled.
#[test]
fn an_error_far_from_the_end_is_not_the_cause() {
    let mut lines = vec!["cat: labels.txt: No such file or directory".to_owned()];
    let of = |lines: &[String]| find(Place::Job, None, lines).map(|cause| cause.kind);
    lines.extend((1..NEAR).map(|epoch| format!("epoch {epoch}")));
    assert_eq!(of(&lines), Some("missing-file"));
    lines.push("the reactor is offline".to_owned());
    assert_eq!(of(&lines), None);
}

/// What precedes the exception that ended a program is not its cause, even if it is a known text.
#[test]
fn the_exception_that_ended_a_program_decides() {
    let job = |log: &str| {
        let lines: Vec<String> = log.lines().map(str::to_owned).collect();
        find(Place::Job, Some("AlgorithmError: , exit code: 1"), &lines).unwrap()
    };
    let handled = "PermissionError: [Errno 13] Permission denied: '/x'\nusing a copy\n";
    let raised = "Traceback (most recent call last):\n  File \"/opt/program/train\", line 12, in main\n    \
                  raise ValueError(\"no rows\")\nValueError: no rows";
    let found = job(&format!("{handled}{raised}"));
    assert_eq!(
        (found.kind, found.what.as_str()),
        ("exception", "train line 12: ValueError: no rows")
    );
    let later = job(&format!("{raised}\nKilled"));
    assert_eq!(later.kind, "out-of-memory");
    let known = raised.replace("no rows", "could not convert string to float: 'JFK'");
    let found = job(&known);
    assert_eq!(found.kind, "text-for-number");
    assert!(found.what.ends_with("(train line 12)"), "{found:?}");
}

#[test]
fn the_reason_of_a_job_has_what_its_program_said() {
    let toolkit = "AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage \"raise EnvironmentError(msg)\n \
                   OSError: Can't load config for 'x'\"\nCommand \"/opt/conda/bin/python3.6 train.py\", exit code: 1";
    let found = find(Place::Job, Some(toolkit), &[]).unwrap();
    assert_eq!(
        (found.kind, found.what.as_str()),
        (
            "exception",
            "the program raised `OSError: Can't load config for 'x'`"
        )
    );
    let framework = "ClientError: AlgorithmError: framework error: \nTraceback (most recent call last):\n  File \
                     \"/usr/local/lib/python3.8/site-packages/sagemaker_containers/_trainer.py\", line 84, in train\n    \
                     entrypoint()\n  File \"/opt/ml/code/train.py\", line 7, in main\n    import pandas\n\
                     ModuleNotFoundError: No module named 'pandas', exit code: 1";
    let found = find(Place::Job, Some(framework), &[]).unwrap();
    assert_eq!(found.kind, "import-error");
    assert!(found.what.ends_with("(train.py line 7)"), "{found:?}");
    // The service's own words are none of a program.
    let service = "ClientError: ValueError: x";
    assert_eq!(find(Place::Job, Some(service), &[]), None);
}

#[test]
fn a_missing_permission_is_found_in_every_place() {
    let text = "User: arn:aws:sts::111122223333:assumed-role/flights-training/SageMaker is not authorized to \
                perform: sagemaker:AddTags on resource: arn:aws:sagemaker:us-east-1:111122223333:training-job/x \
                because no identity-based policy allows the sagemaker:AddTags action";
    for place in Place::ALL {
        let reason = find(place, Some(text), &[]).unwrap();
        assert_eq!(reason.kind, "permission");
        assert!(
            reason
                .what
                .contains("flights-training lacks sagemaker:AddTags")
        );
        let line = find(
            place,
            None,
            &[format!("botocore.exceptions.ClientError: {text}")],
        );
        assert_eq!(line.unwrap().permission, reason.permission);
    }
}

#[test]
fn a_server_is_fixed_by_a_promotion() {
    let lines = ["ModuleNotFoundError: No module named 'a'".to_owned()];
    let fix = |place| find(place, None, &lines).unwrap().fix;
    assert!(fix(Place::Server).contains("promote"));
    assert!(!fix(Place::Job).contains("promote"));
}

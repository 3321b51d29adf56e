use super::interrupt::{Interrupt, check_volume};
use super::*;
use crate::cloud::caller::Caller;
use crate::s3::{buckets, objects};
use crate::test_cloud::TestCloud;

#[test]
fn a_reason_keeps_the_exit_code_and_fits() {
    assert_eq!(
        failure_reason(Some("no rows"), 1),
        "AlgorithmError: no rows, exit code: 1"
    );
    let long = failure_reason(Some(&"ü".repeat(3000)), 137);
    assert_eq!(long.chars().count(), REASON);
    assert!(long.ends_with(", exit code: 137"));
}

#[test]
fn the_failure_file_is_read_up_to_its_limit_and_never_through_a_link() {
    let at = tempfile::tempdir().unwrap();
    let ml = Directory::open(at.path(), "/opt/ml").unwrap();
    let read = || first_characters(&ml, "output/failure");
    assert_eq!(read().unwrap(), None);
    std::fs::create_dir(at.path().join("output")).unwrap();
    let file = at.path().join("output/failure");
    std::fs::write(&file, "x".repeat(5000)).unwrap();
    assert_eq!(read().unwrap().unwrap().len(), 1024);
    std::fs::rename(&file, at.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("../elsewhere", &file).unwrap();
    let error = read().unwrap_err().to_string();
    assert!(
        error.contains("/opt/ml/output/failure is a symbolic link"),
        "{error}"
    );
}

#[test]
fn only_internal_failures_are_internal_errors() {
    let mine = reason_of(&ApiError::internal("disk full"));
    assert_eq!(mine, "InternalServerError: disk full");
    let theirs = reason_of(&ApiError::validation("no such image"));
    assert_eq!(theirs, "ClientError: no such image");
}

/// What the role of a job may do.
const ACTIONS: [&str; 2] = ["s3:PutObject", "logs:*"];

fn job(cloud: &Cloud, name: &str) -> Run {
    let describe = json!({
        "TrainingJobName": name,
        "TrainingJobStatus": "InProgress",
        "CreationTime": 1.0,
        "RoleArn": crate::iam::trusting(cloud, "job", "sagemaker.amazonaws.com", &ACTIONS),
        "OutputDataConfig": {"S3OutputPath": "s3://none/models"},
    });
    register(cloud, JobKind::Training, name, describe, None).unwrap()
}

#[test]
fn a_job_that_cannot_be_registered_leaves_nothing() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    let kind = JobKind::Training;
    let role = crate::iam::trusting(&cloud, "job", "sagemaker.amazonaws.com", &ACTIONS);
    let create = |tags: &Value| {
        let describe = json!({"TrainingJobName": "j", "TrainingJobStatus": "InProgress",
                              "RoleArn": role});
        let tags = crate::api::parse(tags.clone()).unwrap();
        register(&cloud, kind, "j", describe, Some(&tags)).err()
    };
    let left = || {
        let files = std::fs::read_dir(jobs(&cloud))
            .into_iter()
            .flatten()
            .count();
        let running = in_progress(&cloud).contains_key(&(kind, "j".to_owned()));
        (describe(&cloud, kind, "j").is_ok(), running, files)
    };
    let wrong = json!([{"Key": "k".repeat(129), "Value": "v"}]);
    assert_eq!(create(&wrong).unwrap().code, "ValidationException");
    assert_eq!(left(), (false, false, 0));
    // Neither the directory nor, on a full disk, the record.
    std::fs::remove_dir(jobs(&cloud)).unwrap();
    std::fs::write(jobs(&cloud), "").unwrap();
    assert!(create(&json!([])).is_some());
    assert_eq!(left(), (false, false, 0));
    std::fs::remove_file(jobs(&cloud)).unwrap();
    cloud.store().refuse_writes(true);
    assert!(create(&json!([])).unwrap().is_unavailable());
    assert_eq!(left(), (false, false, 0));
    cloud.store().refuse_writes(false);
    assert!(create(&json!([])).is_none());
    assert_eq!(create(&json!([])).unwrap().code, "ResourceInUse");
    assert_eq!(left(), (true, true, 1));
}

fn status(cloud: &Cloud, name: &str) -> (String, String) {
    let job = describe(cloud, JobKind::Training, name).unwrap();
    let text = |member: &str| job[member].as_str().unwrap_or_default().to_owned();
    (text("TrainingJobStatus"), text("FailureReason"))
}

// Issue 8, 2.3
#[tokio::test]
async fn the_end_of_a_job_is_recorded_once_the_disk_has_space_again() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    let run = job(&cloud, "large");
    cloud.store().refuse_writes(true);
    let end = Err(ApiError::from(std::io::Error::from(
        std::io::ErrorKind::StorageFull,
    )));
    let finish = run.finish(&end, |_, _| {});
    let watch = async {
        let problems = || cloud.health().problems(cloud.store(), cloud.directory());
        while !problems()
            .iter()
            .any(|problem| problem.what == "training job large")
        {
            clock::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(status(&cloud, "large").0, "InProgress");
        assert!(
            !run.directory.exists(),
            "its files take the space that is missing"
        );
        cloud.store().refuse_writes(false);
    };
    tokio::join!(finish, watch);
    let (status, reason) = status(&cloud, "large");
    assert_eq!(status, "Failed");
    assert!(reason.starts_with("InternalServerError: "), "{reason}");
    let problems = cloud.health().problems(cloud.store(), cloud.directory());
    assert_eq!(problems, []);
}

// Issue 8, 2.2
#[test]
fn files_of_jobs_are_removed_at_the_start_whatever_their_modes() {
    use std::os::unix::fs::PermissionsExt;

    crate::beneath::tests::as_ordinary_user(|at| {
        let cloud = TestCloud::in_directory(at);
        let run = job(&cloud, "closed");
        run.ml.write(Path::new("model/a/b"), b"x").unwrap();
        for path in ["model/a/b", "model/a", "model", ""] {
            let path = run.directory.join("ml").join(path);
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
        }
        std::fs::set_permissions(&run.directory, PermissionsExt::from_mode(0o555)).unwrap();
        assert!(std::fs::remove_dir_all(jobs(&cloud)).is_err(), "no test");
        recover(&cloud).unwrap();
        assert!(!jobs(&cloud).exists());
        let (status, reason) = status(&cloud, "closed");
        assert_eq!((status.as_str(), reason.as_str()), ("Failed", SERVER_ENDED));
    });
}

// Issue 8, 1.1
#[test]
fn a_new_job_of_the_same_name_has_a_separate_directory() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    let first = job(&cloud, "same");
    JobKind::Training.records(&cloud).remove("same").unwrap();
    let second = job(&cloud, "same");
    first.ml.write(Path::new("model/x"), b"1").unwrap();
    second.ml.write(Path::new("model/x"), b"2").unwrap();
    beneath::discard(at.path(), &first.directory);
    assert!(second.ml.file(Path::new("model/x")).unwrap().is_some());
}

#[tokio::test]
async fn a_job_whose_task_panics_fails() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    let run = job(&cloud, "broken");
    let directory = run.directory.clone();
    launch(run, async { panic!("boom") }, |_, _| {});
    cloud.idle().await;
    let (status, reason) = status(&cloud, "broken");
    assert_eq!(status, "Failed");
    assert!(reason.starts_with("InternalServerError: "), "{reason}");
    assert!(reason.contains("boom"), "{reason}");
    assert!(!directory.exists());
    assert!(in_progress(&cloud).is_empty());
}

/// A training job on a bucket, with files of these sizes that take no space.
fn sparse(cloud: &Cloud, name: &str, request: &Value, files: &[(&str, u64)]) -> Run {
    if !buckets::exists(cloud, "jobs").unwrap() {
        buckets::create(cloud, "jobs").unwrap();
    }
    let mut run = job(cloud, name);
    run.request = request.clone();
    for (path, size) in files {
        let file = run.ml.create_file(Path::new(path)).unwrap();
        file.set_len(*size).unwrap();
    }
    run
}

fn uploaded(cloud: &Cloud) -> Vec<String> {
    let found = objects::list(cloud, &Caller::Root, "jobs", "").unwrap();
    found.into_iter().map(|object| object.key).collect()
}

fn training(volume: u64, compression: &str) -> Value {
    json!({
        "OutputDataConfig": {"S3OutputPath": "s3://jobs/m", "CompressionType": compression},
        "ResourceConfig": {"VolumeSizeInGB": volume},
    })
}

#[test]
fn a_job_that_leaves_more_than_its_volume_holds_fails_before_any_upload() {
    const GIB: u64 = 1 << 30;

    let at = TestCloud::new();
    let cloud = at.cloud();
    let never = Interrupt::never();
    let refused = |error: ApiError, sizes: &[String]| {
        let reason = reason_of(&error);
        let words = "ClientError: Artifact upload failed:Insufficient disk space";
        assert!(reason.starts_with(words), "{reason}");
        for size in sizes {
            assert!(reason.contains(size), "{size}: {reason}");
        }
        assert_eq!(uploaded(&cloud), [""; 0]);
    };
    for compression in ["GZIP", "NONE"] {
        let files = [
            ("model/a", 1),
            ("model/b/c", 400 * GIB),
            ("output/data/x", 7),
        ];
        let run = sparse(&cloud, compression, &training(30, compression), &files);
        let error = training::outputs(&run, &never).unwrap_err();
        refused(
            error,
            &[
                format!("/opt/ml/model holds {} bytes", 400 * GIB + 1),
                format!("{} in total", 400 * GIB + 8),
                format!("VolumeSizeInGB is 30, which is {} bytes", 30 * GIB),
            ],
        );
    }
    // No size was given.
    let run = sparse(
        &cloud,
        "none",
        &training(0, "GZIP"),
        &[("model/a", 31 * GIB)],
    );
    refused(training::outputs(&run, &never).unwrap_err(), &[]);
    // Several outputs are summed; an output inside another one counts once.
    let output = |name: &str| {
        let path = format!("/opt/ml/processing/{name}");
        json!({"OutputName": name, "S3Output": {"S3Uri": "s3://jobs/p", "LocalPath": path}})
    };
    let request = |outputs: &[Value], volume: u64| {
        json!({
            "ProcessingOutputConfig": {"Outputs": outputs},
            "ProcessingResources": {"ClusterConfig": {"VolumeSizeInGB": volume}},
        })
    };
    let files = [("processing/a/x", GIB), ("processing/b/y", 1)];
    let run = sparse(
        &cloud,
        "sum",
        &request(&[output("a"), output("b")], 1),
        &files,
    );
    let error = processing::outputs(&run, &never).unwrap_err();
    refused(error, &[format!("{} in total", GIB + 1)]);
    let files = [("processing/a/a/x", GIB), ("processing/a/y", 1)];
    let outputs = [output("a/a"), output("a"), output("a")];
    let run = sparse(&cloud, "nested", &request(&outputs, 1), &files);
    let error = processing::outputs(&run, &never).unwrap_err();
    refused(error, &[format!("{} in total", GIB + 1)]);
    // Exactly the volume's size is allowed.
    let model = run.ml.subdirectory(Path::new("processing/a/a")).unwrap();
    check_volume(&model, Some(1), &never).unwrap();
}

#[tokio::test]
async fn a_stop_ends_the_upload_of_a_job() {
    const TIB: u64 = 1 << 40;

    let at = TestCloud::new();
    let cloud = at.cloud();
    for (name, compression, wish, end) in [
        ("a", "GZIP", GRACE, End::Stopped),
        ("b", "NONE", GRACE, End::Stopped),
        (
            "c",
            "GZIP",
            SHORT_GRACE,
            End::Failed(SERVER_ENDED.to_owned()),
        ),
    ] {
        let files = [("model/a", 8 * TIB)];
        let run = sparse(&cloud, name, &training(16384, compression), &files);
        let interrupt = run.interrupt(Some(&End::Completed));
        let begun = run.transfer(interrupt, training::outputs);
        let key = (run.kind, name.to_owned());
        let stop = async {
            if wish == GRACE {
                stop(&cloud, JobKind::Training, name).unwrap();
            } else {
                in_progress(&cloud)[&key].send_replace(Some(wish));
            }
        };
        let (completed, ()) = tokio::join!(begun, stop);
        assert!(!completed.unwrap());
        assert_eq!(run.stopped(), end);
        assert_eq!(uploaded(&cloud), [""; 0]);
    }
}

#[test]
fn stopping_a_program_does_not_end_the_upload_of_its_output() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    let run = job(&cloud, "saved");
    let ends = [End::Stopped, End::MaxRuntimeExceeded, End::Completed];
    // The first stop request interrupts an upload in progress.
    let begun: Vec<_> = ends.iter().map(|end| run.interrupt(Some(end))).collect();
    stop(&cloud, JobKind::Training, "saved").unwrap();
    assert!(begun.iter().all(super::interrupt::Interrupt::is_wanted));
    for end in &ends {
        let interrupt = run.interrupt(Some(end));
        assert!(!interrupt.is_wanted());
        // Repeated requests, such as an SDK's retries, have no effect.
        stop(&cloud, JobKind::Training, "saved").unwrap();
        assert!(!interrupt.is_wanted());
    }
    // The end of the server ends every upload.
    in_progress(&cloud)[&(JobKind::Training, "saved".to_owned())].send_replace(Some(SHORT_GRACE));
    assert!(run.interrupt(Some(&End::Stopped)).is_wanted());
}

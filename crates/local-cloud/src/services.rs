//! The list of services. cloud/service.rs describes what a service is.

use super::cloud::service::Service;
use super::{
    application_autoscaling, cloudformation, cloudwatch, codebuild, codecommit, codeconnections,
    codepipeline, ec2, ecr, events, iam, kms, lambda, logs, s3, sagemaker, scheduler, sns, sqs,
    ssm, sts,
};

/// All services, in the order in which they recover when the server starts. CloudFormation is after most of them,
/// because its rollbacks start immediately and change what the others have recovered; then CodePipeline, because its
/// executions that waited start actions of all others. EventBridge is last, because its deliveries need their targets.
pub(crate) const SERVICES: &[&Service] = &[
    &application_autoscaling::SERVICE,
    &cloudwatch::SERVICE,
    &codebuild::SERVICE,
    &codecommit::SERVICE,
    &codeconnections::SERVICE,
    &ec2::SERVICE,
    &ecr::SERVICE,
    &iam::SERVICE,
    &kms::SERVICE,
    &logs::SERVICE,
    &s3::SERVICE,
    &sqs::SERVICE,
    &ssm::SERVICE,
    &sts::SERVICE,
    &sagemaker::SERVICE,
    &sagemaker::RUNTIME,
    &lambda::SERVICE,
    &sns::SERVICE,
    &scheduler::SERVICE,
    &cloudformation::SERVICE,
    &codepipeline::SERVICE,
    &events::SERVICE,
];

#[cfg(test)]
mod absence;
#[cfg(test)]
mod smallest;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use serde_json::json;

    use super::*;
    use crate::cloud::service::Services;
    use crate::test_cloud::TestCloud;

    const ALL: Services = Services::new(SERVICES);

    #[test]
    fn names_and_operations_are_unique() {
        let mut names = BTreeSet::new();
        for service in ALL.iter() {
            assert!(names.insert(service.name), "two services {}", service.name);
            let mut operations = BTreeSet::new();
            for name in service.operation_names() {
                assert!(operations.insert(name), "twice: {}:{name}", service.name);
            }
            assert!(!operations.is_empty(), "{}", service.name);
        }
    }

    fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// A string literal at the start of `text`, and the text after it.
    fn literal(text: &str) -> Option<(&str, &str)> {
        text.trim_start().strip_prefix('"')?.split_once('"')
    }

    /// Pairs of adjacent string literals where the first is a service and the second looks like an
    /// operation: arguments of `Cloud::call`, and rows of tables.
    fn calls(text: &str) -> Vec<(&str, &str)> {
        let starts = text.match_indices('"').map(|(at, _)| &text[at..]);
        let pairs = starts.filter_map(|start| {
            let (service, rest) = literal(start)?;
            ALL.named(service).ok()?;
            let (operation, _) = literal(rest.trim_start().strip_prefix(',')?)?;
            let is_name = operation.starts_with(|c: char| c.is_ascii_uppercase())
                && operation.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let is_sdk_id = ALL
                .named(service)
                .is_ok_and(|found| found.sdk_id == operation);
            (is_name && !is_sdk_id).then_some((service, operation))
        });
        pairs.collect()
    }

    /// A delivery that begins before its target has recovered would fail for good.
    #[test]
    fn deliveries_begin_after_their_targets_have_recovered() {
        assert_eq!(SERVICES.last().map(|it| it.name), Some("events"));
    }

    #[tokio::test]
    async fn the_smallest_service_is_one_file_and_one_line() {
        let cloud = TestCloud::with_services(&[&smallest::SERVICE]);
        let cloud = cloud.cloud();
        let parameter = json!({"Name": "a", "Value": "b"});
        let put = cloud.call("smallest", "PutParameter", parameter.clone());
        put.await.unwrap();
        let found = cloud.call("smallest", "GetParameter", json!({"Name": "a"}));
        assert_eq!(found.await.unwrap(), parameter);
        for (service, operation, refused) in [
            ("smallest", "Delete", "smallest:Delete"),
            ("kms", "ListKeys", "the service kms"),
        ] {
            let error = cloud.call(service, operation, json!({})).await.unwrap_err();
            assert!(error.message.ends_with(refused), "{error}");
        }
    }

    /// Issue 9, 2: a handler's input is a type, so what an operation reads is declared in one place.
    #[test]
    fn issue_9_2_no_handler_takes_raw_json() {
        let handler = regex::Regex::new(
            r"async fn (\w+)\(\s*_?cloud: &Cloud,\s*(?:mut )?\w+: (?:serde_json::)?(?:Value\b|Map<)",
        )
        .unwrap();
        let mut files = Vec::new();
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut files,
        );
        let mut found = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for name in handler.captures_iter(&text) {
                found.push(format!("{}: {}", file.display(), &name[1]));
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
        let raw = ["async fn create(", "cloud: &Cloud, mut input: Value)"].concat();
        assert!(handler.is_match(&raw));
    }

    #[test]
    fn every_call_names_an_operation() {
        let mut files = Vec::new();
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut files,
        );
        let mut seen = 0;
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for (service, operation) in calls(&text) {
                seen += 1;
                let known = ALL.named(service).unwrap().operation(operation);
                assert!(known.is_some(), "{}: {service}:{operation}", file.display());
            }
        }
        assert!(seen > 10, "only {seen} calls found");
    }
}

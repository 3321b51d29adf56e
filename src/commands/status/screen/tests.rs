use aws_sdk_sagemaker::types::{EndpointStatus, ModelApprovalStatus, PipelineExecutionStatus};

use super::super::delivery::{Delivered, Waiting};
use super::super::report::{Data, Run, Stack};
use super::*;
use crate::aws::billed::{Billed, BilledKind};
use crate::aws::delivery::pipelines::{Pipeline, PipelineKind};
use crate::aws::hosting::Endpoint;
use crate::aws::sagemaker::models::ModelVersion;
use crate::aws::state::{DeliveryState, RunState};
use crate::infra::{PARTS, Part};

fn report() -> StatusReport {
    StatusReport {
        project: "flights".to_owned(),
        account: "000000000000".to_owned(),
        region: "us-east-1".to_owned(),
        stacks: PARTS
            .map(|part| Stack {
                part,
                status: Some("CREATE_COMPLETE".to_owned()),
            })
            .into(),
        image: Some(NewestImage {
            tags: vec!["a1".repeat(20), "develop".to_owned()],
            digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
        }),
        data: Some(Data {
            dataset: "flights".to_owned(),
            version: Some("v".to_owned()),
        }),
        notebook: None,
        run: None,
        runs: (1..=3)
            .map(|number| Run {
                id: format!("run{number}"),
                status: RunState::new(PipelineExecutionStatus::Succeeded.into(), false),
                gate: None,
            })
            .collect(),
        delivery: Vec::new(),
        models: (1..=9)
            .rev()
            .map(|version| ModelVersion {
                version: Version(version),
                arn: format!("arn/{version}"),
                status: ModelApprovalStatus::Approved.into(),
            })
            .collect(),
        endpoint: Some(Endpoint {
            name: "flights".to_owned(),
            status: EndpointStatus::InService.into(),
            configuration: None,
            failure: Some("x".repeat(500)),
            model_package: Some("arn/9".to_owned()),
        }),
        live: Some(Version(9)),
        release: None,
        last_release: None,
        withdrawn: crate::releases::candidate::Withdrawn::default(),
        monitor: None,
        waiting: (1..=4)
            .map(|number| Waiting {
                what: format!("version {number}"),
                waits_for: "an approver",
                command: format!("mlops promote {number}"),
                run: None,
            })
            .collect(),
        billed: (1..=12)
            .map(|number| Billed {
                kind: BilledKind::InterfaceEndpoint,
                name: format!("service{number}"),
                count: 2,
                unit: "zone".to_owned(),
            })
            .collect(),
        next: "n".to_owned(),
    }
}

#[test]
fn stacks_share_a_line_and_long_lists_are_counted() {
    let mut report = report();
    let endpoint = report
        .stacks
        .iter_mut()
        .find(|it| it.part == Part::Endpoint);
    endpoint.unwrap().status = None;
    let text = report.to_string();
    let text = console::strip_ansi_codes(&text).into_owned();
    for line in [
        "stacks     CREATE_COMPLETE: data, network, registry, code, governance,\n           workbench, delivery, monitoring, retraining, validation\n",
        "stacks     not deployed: endpoint\n",
        "last runs  run1 Succeeded\n           run2 Succeeded\n",
        "waiting    version 1 waits for an approver: mlops promote 1\n",
        "by hour    interface endpoint service1 (2 x zone)\n",
        "           and 10 more\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn it_is_one_screen() {
    let text = report().to_string();
    assert!(text.lines().count() <= 24, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}

/// A failed execution comes first, and is what to look at next.
#[test]
fn executions_of_pipelines_share_a_line() {
    let delivered = |name: &str, id: &str, status: &str| {
        let (kind, tag) = name.split_once('-').unwrap();
        Delivered {
            pipeline: Pipeline {
                name: format!("flights-{name}"),
                kind: if kind == "ml" {
                    PipelineKind::Ml
                } else {
                    PipelineKind::Image
                },
                tag: Some(tag.to_owned()),
            },
            run: Some(format!("{id}-8b1d-4c3e-9f00-0123456789ab")),
            status: Some(RunState::Delivery(DeliveryState::named(status))),
            started: None,
        }
    };
    let mut report = report();
    assert!(!report.to_string().contains("\ndelivery  "));
    report.delivery = vec![
        delivered("image-develop", "00000001", "Succeeded"),
        delivered("ml-develop", "00000002", "Failed"),
    ];
    let text = report.to_string();
    let text = console::strip_ansi_codes(&text).into_owned();
    let line = "delivery   ml-develop 00000002 Failed; image-develop 00000001 Succeeded\n";
    assert!(text.contains(line), "{text}");
    assert_eq!(report.next_step(), "runs why 00000002");
}

#[test]
fn an_image_is_its_digest_branch_and_commit() {
    let text = report().to_string();
    let short = "sha256:000000000000, develop, commit a1a1a1a1a1\n";
    assert!(text.contains(short), "{text}");
}

#[test]
fn a_monitoring_run_is_shown_as_a_time() {
    assert_eq!(shown_time("2026-01-02T03-04-05Z"), "2026-01-02 03:04Z");
    assert_eq!(shown_time("first"), "first");
}

#[test]
fn the_next_step_follows_the_story() {
    let mut report = report();
    assert_eq!(report.next_step(), "monitor run");
    report.live = Some(Version(7));
    assert_eq!(report.next_step(), "promote 9");
    report.models.clear();
    report.live = None;
    assert_eq!(report.next_step(), "train");
    report.data.as_mut().unwrap().version = None;
    assert_eq!(report.next_step(), "data push DIR flights");
    report.image = None;
    assert_eq!(report.next_step(), "image push");
    report.stacks[1].status = None;
    assert_eq!(report.next_step(), "init");
}

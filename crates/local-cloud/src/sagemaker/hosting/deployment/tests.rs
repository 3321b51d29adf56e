//! Deployments that end before any process starts. Those with processes are in
//! `tests/conformance/test_endpoint_deployments.py`.

use super::*;
use crate::test_cloud::TestCloud;

fn deploy(endpoint: &str) -> Deploy {
    Deploy {
        endpoint: endpoint.to_owned(),
        config: "none".to_owned(),
        policy: Policy::default(),
        given: None,
        retained: Retained::default(),
        is_silent: false,
    }
}

fn record(cloud: &Cloud, name: &str, status: EndpointStatus) {
    let record =
        json!({"EndpointName": name, "EndpointStatus": status, "EndpointConfigName": "old"});
    ENDPOINTS.create(cloud, name, record, None).unwrap();
}

#[tokio::test]
async fn a_new_endpoint_without_a_configuration_fails() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    record(&cloud, "new", EndpointStatus::Creating);
    start(&cloud, deploy("new"));
    cloud.idle().await;
    let found = ENDPOINTS.get(&cloud, "new").unwrap();
    assert_eq!(found["EndpointStatus"], "Failed");
    let reason = found["FailureReason"].as_str().unwrap();
    assert!(
        reason.contains("Could not find endpoint configuration"),
        "{reason}"
    );
}

#[tokio::test]
async fn an_endpoint_that_was_in_service_can_be_updated_again() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    record(&cloud, "old", EndpointStatus::Updating);
    specs(&cloud).put("old", &FleetSpec::default()).unwrap();
    start(&cloud, deploy("old"));
    cloud.idle().await;
    let found = ENDPOINTS.get(&cloud, "old").unwrap();
    assert_eq!(found["EndpointStatus"], "OutOfService");
    assert_eq!(found["EndpointConfigName"], "old");
}

#[tokio::test]
async fn a_fleet_in_service_survives_a_failed_deployment() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    record(&cloud, "e", EndpointStatus::Updating);
    let spec = FleetSpec {
        config: "old".to_owned(),
        ..FleetSpec::default()
    };
    let fleet = Arc::new(Fleet::new(&cloud, "e", spec).unwrap());
    fleet::add(&cloud, &fleet);
    fleet::serve(&cloud, &fleet);
    start(&cloud, deploy("e"));
    cloud.idle().await;
    let found = ENDPOINTS.get(&cloud, "e").unwrap();
    assert_eq!(found["EndpointStatus"], "InService");
    assert_eq!(found["EndpointConfigName"], "old");
    assert!(found["FailureReason"].is_string());
    assert!(traffic::of(&cloud, "e").is_some());
}

/// The endpoint is in service as soon as the new configuration is written, so the next update may begin before the
/// old fleet has ended.
#[tokio::test]
async fn a_deployment_ends_the_fleets_that_it_replaces_only() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    record(&cloud, "e", EndpointStatus::Updating);
    let fleet = |config: &str| {
        let spec = FleetSpec {
            config: config.to_owned(),
            ..FleetSpec::default()
        };
        let fleet = Arc::new(Fleet::new(&cloud, "e", spec).unwrap());
        fleet::add(&cloud, &fleet);
        fleet
    };
    let old = fleet("old");
    fleet::serve(&cloud, &old);
    let mut deployment = Deployment {
        cloud: cloud.clone(),
        deploy: deploy("e"),
        before: fleet::running(&cloud, "e"),
        old: Some(old),
        new: fleet("new"),
        counts: Vec::new(),
        active: Vec::new(),
        deadline: Timestamp::MAX,
        work: cloud.clock().begin("a deployment"),
    };
    let _next = fleet("next");
    deployment.forward().await.unwrap();
    let running = fleet::running(&cloud, "e");
    let running: Vec<String> = running.iter().map(|fleet| fleet.spec().config).collect();
    assert_eq!(running, ["new", "next"]);
}

/// Whatever status the server dies in, the next one serves the recorded configuration.
#[test]
fn a_crash_leaves_the_recorded_configuration() {
    let at = TestCloud::new();
    let cloud = at.cloud();
    let spec = FleetSpec {
        config: "old".to_owned(),
        ..FleetSpec::default()
    };
    for status in [
        EndpointStatus::Updating,
        EndpointStatus::RollingBack,
        EndpointStatus::UpdateRollbackFailed,
    ] {
        record(&cloud, status.name(), status);
        specs(&cloud).put(status.name(), &spec).unwrap();
    }
    record(&cloud, "new", EndpointStatus::Creating);
    record(&cloud, "going", EndpointStatus::Deleting);
    let at = at.crash();
    let cloud = at.cloud();
    for name in ["Updating", "RollingBack", "UpdateRollbackFailed"] {
        let found = ENDPOINTS.get(&cloud, name).unwrap();
        assert_eq!(found["EndpointStatus"], "InService", "{name}");
        assert_eq!(found["EndpointConfigName"], "old");
        let reason = found["FailureReason"].as_str().unwrap();
        assert!(reason.contains("ended during the deployment"), "{reason}");
        assert!(traffic::of(&cloud, name).is_some());
    }
    let found = ENDPOINTS.get(&cloud, "new").unwrap();
    assert_eq!(found["EndpointStatus"], "Failed");
    assert!(ENDPOINTS.get(&cloud, "going").is_err());
}

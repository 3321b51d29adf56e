//! The processes of an endpoint: started together, swapped together, ended together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::capture::{self, Capture};
use super::configs::CONFIGS;
use super::models::{self, Container, MODELS};
use super::server::{Instance, Server};
use crate::api::ApiResult;
use crate::{Cloud, clock, ecr, sts};

/// Time within which `/ping` must respond, unless the variant sets another (developer guide).
const HEALTH_TIMEOUT: u64 = 240;

/// Everything needed to start a fleet. It is stored with the endpoint, so that deleting a model or
/// configuration does not affect it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) config: String,
    variants: Vec<VariantPlan>,
    capture: Option<Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct VariantPlan {
    name: String,
    container: Container,
    /// The ARN of the model's role.
    #[serde(default)]
    role: String,
    resolved_image: String,
    count: u32,
    weight: f64,
    health_timeout: u64,
}

impl Plan {
    /// The plan of an endpoint configuration, with models and packages looked up.
    pub(super) async fn of(cloud: &Cloud, config: &str) -> ApiResult<Self> {
        let config = CONFIGS.get(cloud, config)?;
        let mut variants = Vec::new();
        for variant in config["ProductionVariants"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let text = |member: &str| variant[member].as_str().unwrap_or_default();
            let model = MODELS.get(cloud, text("ModelName"))?;
            let container = models::container(cloud, &model).await?;
            let image = ecr::images::resolve(cloud, &container.image)?;
            let registry = container.image.split('/').next().unwrap_or_default();
            variants.push(VariantPlan {
                name: text("VariantName").to_owned(),
                resolved_image: format!("{registry}/{}@{}", image.repository, image.digest),
                container,
                role: model["ExecutionRoleArn"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                count: variant["InitialInstanceCount"]
                    .as_u64()
                    .and_then(|count| u32::try_from(count).ok())
                    .unwrap_or(1),
                weight: variant["InitialVariantWeight"].as_f64().unwrap_or(1.0),
                health_timeout: variant["ContainerStartupHealthCheckTimeoutInSeconds"]
                    .as_u64()
                    .unwrap_or(HEALTH_TIMEOUT),
            });
        }
        Ok(Self {
            config: config["EndpointConfigName"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            variants,
            capture: config.get("DataCaptureConfig").cloned(),
        })
    }

    /// `ProductionVariants` of `DescribeEndpoint`.
    pub(super) fn summaries(&self) -> Value {
        let now = clock::epoch();
        self.variants
            .iter()
            .map(|variant| {
                json!({
                    "VariantName": variant.name,
                    "DeployedImages": [{
                        "SpecifiedImage": variant.container.image,
                        "ResolvedImage": variant.resolved_image,
                        "ResolutionTime": now,
                    }],
                    "CurrentWeight": variant.weight,
                    "DesiredWeight": variant.weight,
                    "CurrentInstanceCount": variant.count,
                    "DesiredInstanceCount": variant.count,
                })
            })
            .collect()
    }

    /// `DataCaptureConfig` of `DescribeEndpoint`.
    pub(super) fn capture_summary(&self) -> Option<Value> {
        self.capture.as_ref().map(capture::Settings::summary)
    }
}

/// The running processes of an endpoint.
#[derive(Debug)]
pub(super) struct Fleet {
    variants: Vec<(String, Vec<Server>)>,
    pub(super) capture: Option<Capture>,
    turn: AtomicUsize,
}

impl Fleet {
    /// Starts every instance without waiting for it.
    pub(super) fn start(cloud: &Cloud, endpoint: &str, plan: &Plan) -> ApiResult<Self> {
        let sessions = plan.variants.iter().map(|variant| {
            let session =
                sts::for_service(cloud, &variant.role, "SageMaker", "sagemaker.amazonaws.com");
            session.map(Arc::new)
        });
        let sessions = sessions.collect::<ApiResult<Vec<_>>>()?;
        let capture = plan.capture.as_ref();
        let capture = capture.filter(|config| config["EnableCapture"] == true);
        let capture = match (capture, sessions.first()) {
            (Some(config), Some(session)) => {
                Some(Capture::start(cloud, session, endpoint, config)?)
            }
            _ => None,
        };
        let variants = plan.variants.iter().zip(sessions);
        Ok(Self {
            capture,
            variants: variants
                .map(|(variant, session)| {
                    let instance = Instance {
                        endpoint: endpoint.to_owned(),
                        variant: variant.name.clone(),
                        container: variant.container.clone(),
                        session,
                        health_timeout: Duration::from_secs(variant.health_timeout),
                    };
                    let servers = (0..variant.count)
                        .map(|_| Server::start(cloud, instance.clone()))
                        .collect();
                    (variant.name.clone(), servers)
                })
                .collect(),
            turn: AtomicUsize::new(0),
        })
    }

    /// Waits until every instance is healthy; the error is the reason of the first one that is not.
    pub(super) async fn healthy(&self) -> Result<(), String> {
        for (_, servers) in &self.variants {
            for server in servers {
                // Each server ends its own wait; this limit only prevents hanging.
                server.ready(Duration::from_hours(2)).await?;
            }
        }
        Ok(())
    }

    /// The next instance of a variant, round-robin.
    pub(super) fn next(&self, variant: &str) -> Option<&Server> {
        let (_, servers) = self.variants.iter().find(|(name, _)| name == variant)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        servers.get(turn % servers.len().max(1))
    }

    /// Writes the captured data and ends the processes.
    pub(super) async fn stop(&self) {
        let servers = self.variants.iter().flat_map(|(_, servers)| servers);
        futures::future::join_all(servers.map(Server::stop)).await;
        if let Some(capture) = &self.capture {
            capture.finish().await;
        }
    }
}

/// The fleets in service, by endpoint.
#[derive(Debug, Default)]
struct Fleets(Mutex<HashMap<String, Arc<Fleet>>>);

fn fleets(cloud: &Cloud) -> MutexGuard<'_, HashMap<String, Arc<Fleet>>> {
    let fleets = &cloud.state::<Fleets>().0;
    fleets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The fleet that serves an endpoint.
pub(super) fn serving(cloud: &Cloud, endpoint: &str) -> Option<Arc<Fleet>> {
    fleets(cloud).get(endpoint).cloned()
}

/// Moves an endpoint's traffic to a fleet; returns the previous fleet.
pub(super) fn switch(cloud: &Cloud, endpoint: &str, fleet: Option<Fleet>) -> Option<Arc<Fleet>> {
    match fleet {
        Some(fleet) => fleets(cloud).insert(endpoint.to_owned(), Arc::new(fleet)),
        None => fleets(cloud).remove(endpoint),
    }
}

/// Ends every process before the server ends.
pub(in super::super) async fn shut_down(cloud: &Cloud) {
    let all = std::mem::take(&mut *fleets(cloud));
    futures::future::join_all(all.values().map(|fleet| fleet.stop())).await;
}

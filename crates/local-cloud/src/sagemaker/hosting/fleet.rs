//! The processes of an endpoint that have one configuration. An update has two fleets for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::capture::Capture;
use super::server::{self, Server};
use super::spec::FleetSpec;
use crate::api::ApiResult;
use crate::sts::{self, ServiceSession};
use crate::{Cloud, clock};

/// Maximum time until every instance is healthy. Each instance ends its own wait; this limit only prevents
/// hanging.
const LONGEST_START: Duration = Duration::from_hours(2);

/// Time between two checks for requests in progress.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Maximum time to wait for requests in progress: each ends by itself earlier.
const LONGEST_DRAIN: Duration = Duration::from_secs(70);

/// A fleet.
#[derive(Debug)]
pub(super) struct Fleet {
    cloud: Cloud,
    endpoint: String,
    /// The sessions of the models' roles, by variant.
    sessions: Vec<Arc<ServiceSession>>,
    capture: Option<Arc<Capture>>,
    parts: Mutex<Parts>,
}

/// What changes while a fleet runs.
#[derive(Debug)]
struct Parts {
    spec: FleetSpec,
    /// The instances, by variant.
    servers: Vec<Vec<Arc<Server>>>,
}

impl Fleet {
    /// A fleet without instances.
    pub(super) fn new(cloud: &Cloud, endpoint: &str, spec: FleetSpec) -> ApiResult<Self> {
        let session = |role: &str| {
            sts::for_service(cloud, role, "SageMaker", "sagemaker.amazonaws.com").map(Arc::new)
        };
        let sessions = spec.variants.iter().map(|variant| session(&variant.role));
        let sessions = sessions.collect::<ApiResult<Vec<_>>>()?;
        let capture = spec.capture.as_ref();
        let capture = capture.filter(|config| config["EnableCapture"] == true);
        let capture = match (capture, sessions.first()) {
            (Some(config), Some(session)) => {
                let capture = Capture::start(cloud, session, endpoint, config)?;
                Some(Arc::new(capture))
            }
            _ => None,
        };
        Ok(Self {
            cloud: cloud.clone(),
            endpoint: endpoint.to_owned(),
            capture,
            parts: Mutex::new(Parts {
                servers: sessions.iter().map(|_| Vec::new()).collect(),
                spec,
            }),
            sessions,
        })
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the fleet consists of when it is complete.
    pub(super) fn spec(&self) -> FleetSpec {
        self.parts().spec.clone()
    }

    /// Replaces weights and numbers of instances.
    pub(super) fn set_spec(&self, spec: FleetSpec) {
        self.parts().spec = spec;
    }

    /// The session of the first model's role: SageMaker watches alarms with it.
    pub(super) fn session(&self) -> Option<&Arc<ServiceSession>> {
        self.sessions.first()
    }

    /// The capture of the fleet's requests.
    pub(super) fn capture(&self) -> Option<&Arc<Capture>> {
        self.capture.as_ref()
    }

    /// The instances, by variant.
    pub(super) fn servers(&self) -> Vec<Vec<Arc<Server>>> {
        self.parts().servers.clone()
    }

    /// Starts instances until each variant has this many, without waiting for them.
    pub(super) fn launch(&self, counts: &[u32]) {
        let Parts { spec, servers } = &mut *self.parts();
        let variants = spec.variants.iter().zip(&self.sessions);
        for ((servers, (variant, session)), count) in servers.iter_mut().zip(variants).zip(counts) {
            while servers.len() < *count as usize {
                let instance = server::Instance {
                    endpoint: self.endpoint.clone(),
                    variant: variant.name.clone(),
                    container: variant.container.clone(),
                    session: session.clone(),
                    health_timeout: Duration::from_secs(variant.health_timeout),
                };
                servers.push(Arc::new(Server::start(&self.cloud, instance)));
            }
        }
    }

    /// Waits until every instance is healthy; the error is the reason of the first one that is not.
    pub(super) async fn healthy(&self) -> Result<(), String> {
        for server in self.servers().iter().flatten() {
            server.ready(LONGEST_START).await?;
        }
        Ok(())
    }

    /// Removes the instances beyond these numbers from the fleet. No new traffic must be routed to them.
    pub(super) fn release(&self, counts: &[u32]) -> Vec<Arc<Server>> {
        let mut released = Vec::new();
        for (servers, count) in self.parts().servers.iter_mut().zip(counts) {
            let keep = servers.len().min(*count as usize);
            released.extend(servers.drain(keep..));
        }
        released
    }

    /// Ends all instances after their requests in progress, and writes the captured data.
    pub(super) async fn end(&self) {
        let none = vec![0; self.sessions.len()];
        end_all(self.release(&none)).await;
        if let Some(capture) = &self.capture {
            capture.finish().await;
        }
    }
}

/// Ends instances that a fleet has released, each after its requests in progress.
pub(super) async fn end_all(servers: Vec<Arc<Server>>) {
    let ends = servers.into_iter().map(|server| async move {
        let started = Instant::now();
        // Each request in progress holds the routes with which it was sent, which keep its instance alive.
        while Arc::strong_count(&server) > 1 && started.elapsed() < LONGEST_DRAIN {
            clock::sleep(DRAIN_POLL).await;
        }
        server.stop().await;
    });
    futures::future::join_all(ends).await;
}

/// The fleets that run.
#[derive(Debug, Default)]
struct Fleets(Mutex<HashMap<String, OfEndpoint>>);

/// The fleets of an endpoint.
#[derive(Debug, Default)]
struct OfEndpoint {
    /// The one with the endpoint's configuration.
    serving: Option<Arc<Fleet>>,
    /// All of them. During an update and shortly after it, there are two.
    running: Vec<Arc<Fleet>>,
}

fn fleets(cloud: &Cloud) -> MutexGuard<'_, HashMap<String, OfEndpoint>> {
    let fleets = &cloud.state::<Fleets>().0;
    fleets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a fleet to those of its endpoint.
pub(super) fn add(cloud: &Cloud, fleet: &Arc<Fleet>) {
    let mut fleets = fleets(cloud);
    let of_endpoint = fleets.entry(fleet.endpoint.clone()).or_default();
    of_endpoint.running.push(fleet.clone());
}

/// Makes a fleet the one with the endpoint's configuration.
pub(super) fn serve(cloud: &Cloud, fleet: &Arc<Fleet>) {
    let mut fleets = fleets(cloud);
    let of_endpoint = fleets.entry(fleet.endpoint.clone()).or_default();
    of_endpoint.serving = Some(fleet.clone());
}

/// The fleet with the configuration of an endpoint.
pub(super) fn serving(cloud: &Cloud, endpoint: &str) -> Option<Arc<Fleet>> {
    fleets(cloud).get(endpoint)?.serving.clone()
}

/// The fleets of an endpoint that run.
pub(super) fn running(cloud: &Cloud, endpoint: &str) -> Vec<Arc<Fleet>> {
    let fleets = fleets(cloud);
    let of_endpoint = fleets.get(endpoint);
    of_endpoint.map_or_else(Vec::new, |of_endpoint| of_endpoint.running.clone())
}

/// Ends these fleets of an endpoint. No traffic must be routed to them.
pub(super) async fn end(cloud: &Cloud, endpoint: &str, ended: &[Arc<Fleet>]) {
    futures::future::join_all(ended.iter().map(|fleet| fleet.end())).await;
    if let Some(of_endpoint) = fleets(cloud).get_mut(endpoint) {
        let has_ended = |fleet: &Arc<Fleet>| ended.iter().any(|other| Arc::ptr_eq(other, fleet));
        of_endpoint.running.retain(|fleet| !has_ended(fleet));
    }
}

/// Ends all fleets of an endpoint but the one with its configuration. No traffic must be routed to them.
pub(super) async fn end_others(cloud: &Cloud, endpoint: &str) {
    let others: Vec<Arc<Fleet>> = {
        let fleets = fleets(cloud);
        let Some(OfEndpoint { serving, running }) = fleets.get(endpoint) else {
            return;
        };
        let is_other = |fleet: &&Arc<Fleet>| {
            let serving = serving.as_ref();
            serving.is_none_or(|serving| !Arc::ptr_eq(serving, fleet))
        };
        running.iter().filter(is_other).cloned().collect()
    };
    end(cloud, endpoint, &others).await;
}

/// Ends all fleets of an endpoint. No traffic must be routed to them.
pub(super) async fn end_endpoint(cloud: &Cloud, endpoint: &str) {
    let all = fleets(cloud).remove(endpoint).unwrap_or_default().running;
    futures::future::join_all(all.iter().map(|fleet| fleet.end())).await;
}

/// Ends every process before the server ends, without waiting for requests in progress.
pub(super) async fn end_everything(cloud: &Cloud) {
    let endpoints = std::mem::take(&mut *fleets(cloud)).into_values();
    let fleets: Vec<Arc<Fleet>> = endpoints.flat_map(|it| it.running).collect();
    let ends = fleets.iter().map(|fleet| async move {
        let servers = fleet.servers();
        futures::future::join_all(servers.iter().flatten().map(|server| server.stop())).await;
        if let Some(capture) = fleet.capture() {
            capture.finish().await;
        }
    });
    futures::future::join_all(ends).await;
}

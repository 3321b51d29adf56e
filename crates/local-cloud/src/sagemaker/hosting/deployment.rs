//! Carries out deployments: the creation of an endpoint, and its updates.
//!
//! ```text
//! DeploymentConfig ── policy (checked) ── plan (steps) ── Deployment: one step after another
//!                                                           │   fleets: launch, retire
//!                                                           │   traffic: route
//!                                                           │   alarms: bake, on the cloud's clock
//!                                                           └── record: every step, before it begins
//! ```
//!
//! The step `Commit` writes the new configuration and the new fleet in one transaction. A server that dies
//! before it leaves the old configuration: the next one starts the old fleet, and the endpoint is `InService`
//! with a `FailureReason`. So the endpoint never serves a mixture after a crash, and is never lost.
//!
//! An alarm that is in `ALARM` during a bake, or until the old fleet ends, rolls the deployment back; an alarm
//! that was in `ALARM` before the update does so at the first bake (unverified against AWS
//! [endpoint-alarm-before]: SageMaker's guide says that an alarm which the old fleet trips ends the
//! deployment, but not whether it must trip after the start).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::lineage;
use super::super::states::EndpointStatus;
use super::capacity::remaining;
use super::fleet::{self, Fleet};
use super::record::{ENDPOINTS, in_service, merge, settle, specs};
use super::spec::{FleetSpec, Retained};
use super::traffic::{self, Traffic};
use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::clock::Work;

pub(super) mod alarms;
mod plan;
mod policy;
mod progress;

use plan::{Plan, Step, Wait};
pub(super) use policy::{DeploymentConfig, Policy};
use progress::Stage;

/// What a request deploys.
#[derive(Debug)]
pub(super) struct Deploy {
    pub(super) endpoint: String,
    pub(super) config: String,
    pub(super) policy: Policy,
    /// The `DeploymentConfig` of the request.
    pub(super) given: Option<Value>,
    pub(super) retained: Retained,
    /// True if the deployment finally returns to the old configuration without a reason: an injected fault.
    pub(super) is_silent: bool,
}

/// Why a deployment does not end with the new configuration.
#[derive(Debug)]
enum Stop {
    Failed(String),
    /// For no reason that a client can see.
    Silent,
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Failed(error.message)
    }
}

/// Deploys in the background. A deployment that fails or panics leaves an existing endpoint in service with
/// its old configuration; a new endpoint is `Failed`.
pub(super) fn start(cloud: &Cloud, deploy: Deploy) {
    let title = format!("deployment of endpoint {}", deploy.endpoint);
    // From now on the cloud's time waits for the deployment, except while it bakes.
    let work = cloud.clock().begin(title.clone());
    let (inner, broken, whose) = (cloud.clone(), cloud.clone(), deploy.endpoint.clone());
    cloud.spawn(
        title,
        async move { run(&inner, deploy, work).await },
        move |error| async move {
            let reason = format!("InternalServerError: {}", error.message);
            restore(&broken, &whose, Some(reason)).await;
        },
    );
}

async fn run(cloud: &Cloud, deploy: Deploy, work: Work) {
    let name = deploy.endpoint.clone();
    let started = Deployment::start(cloud, deploy, work).await;
    let result = match started {
        Ok(mut deployment) => match deployment.forward().await {
            Ok(()) => return,
            Err(stop) => deployment.back(stop).await,
        },
        Err(error) => Ok(Some(error.message)),
    };
    match result {
        Ok(reason) => restore(cloud, &name, reason).await,
        Err(reason) => {
            let change = json!({
                "EndpointStatus": EndpointStatus::UpdateRollbackFailed,
                "FailureReason": reason,
            });
            end(cloud, &name, change, None).await;
        }
    }
}

/// Ends a deployment that did not succeed: the old fleet serves alone, or the endpoint is `Failed`.
async fn restore(cloud: &Cloud, name: &str, reason: Option<String>) {
    let Some(old) = fleet::serving(cloud, name) else {
        traffic::end(cloud, name).await;
        // An endpoint that has been in service can be updated again.
        let status = match specs(cloud).get(name) {
            Ok(None) => EndpointStatus::Failed,
            _ => EndpointStatus::OutOfService,
        };
        let change = json!({"EndpointStatus": status, "FailureReason": reason});
        end(cloud, name, change, None).await;
        return;
    };
    traffic::route_all(cloud, name, &old);
    fleet::end_others(cloud, name).await;
    let spec = old.spec();
    let mut change = in_service(&spec, None);
    change["FailureReason"] = json!(reason);
    end(cloud, name, change, Some(&spec)).await;
}

/// Writes the end of a deployment. False if there is no record: the state directory was removed.
async fn end(cloud: &Cloud, name: &str, change: Value, spec: Option<&FleetSpec>) -> bool {
    let what = format!("endpoint {name}");
    let write = || settle(cloud, name, change.clone(), spec);
    let written = cloud.persist(&what, write).await;
    if written.is_err() {
        traffic::end(cloud, name).await;
    }
    written.is_ok()
}

/// A deployment in progress.
struct Deployment {
    cloud: Cloud,
    deploy: Deploy,
    /// The fleet in service; none while the endpoint is created.
    old: Option<Arc<Fleet>>,
    /// The fleets that ran when the deployment began: those that it replaces.
    before: Vec<Arc<Fleet>>,
    new: Arc<Fleet>,
    /// The numbers of instances of the complete new fleet.
    counts: Vec<u32>,
    /// How many of them receive traffic.
    active: Vec<u32>,
    /// When the deployment times out.
    deadline: Timestamp,
    work: Work,
}

impl Deployment {
    async fn start(cloud: &Cloud, deploy: Deploy, work: Work) -> ApiResult<Self> {
        let old = fleet::serving(cloud, &deploy.endpoint);
        let mut spec = FleetSpec::of(cloud, &deploy.config).await?;
        if let Some(old) = &old {
            spec.retain(&old.spec(), deploy.retained);
        }
        let counts = spec.counts();
        let new = Arc::new(Fleet::new(cloud, &deploy.endpoint, spec)?);
        let before = fleet::running(cloud, &deploy.endpoint);
        fleet::add(cloud, &new);
        let limit = deploy.policy.timeout.map(i64::from);
        let limit = limit.map(jiff::SignedDuration::from_secs);
        let deadline = limit.and_then(|limit| cloud.clock().now().checked_add(limit).ok());
        Ok(Self {
            active: vec![0; counts.len()],
            deadline: deadline.unwrap_or(Timestamp::MAX),
            cloud: cloud.clone(),
            deploy,
            old,
            before,
            new,
            counts,
            work,
        })
    }

    /// Carries out the plan.
    async fn forward(&mut self) -> Result<(), Stop> {
        let plan = match &self.old {
            None => Plan::first(&self.counts),
            Some(_) => self.deploy.policy.plan(&self.counts),
        };
        let mut is_committed = false;
        for step in plan.steps {
            match step {
                Step::Launch(counts) => {
                    self.note(&Stage::Launching {
                        started: &counts,
                        active: &self.active,
                    })
                    .await;
                    self.new.launch(&counts);
                    self.new.healthy().await.map_err(Stop::Failed)?;
                    self.check_deadline()?;
                }
                Step::Route(active) => {
                    self.note(&Stage::Activating(&active)).await;
                    self.route(active);
                }
                Step::Bake { seconds, wait } => self.bake(seconds, wait).await?,
                Step::Commit => {
                    self.commit().await?;
                    is_committed = true;
                }
                // The endpoint is in service: the next deployment may have added its fleet.
                Step::Retire(_) if is_committed => {
                    fleet::end(&self.cloud, &self.deploy.endpoint, &self.before).await;
                }
                Step::Retire(active) => self.retire(&active).await,
            }
        }
        Ok(())
    }

    /// Writes a stage of the deployment to the endpoint's record.
    async fn note(&self, stage: &Stage<'_>) {
        let pending = progress::pending(&self.cloud, &self.new.spec(), &self.counts, stage);
        let old = self.old.as_ref().map(|old| {
            let servers = old.servers();
            let counts: Vec<usize> = servers.iter().map(Vec::len).collect();
            progress::current(&old.spec(), &counts)
        });
        let name = &self.deploy.endpoint;
        let write = || {
            ENDPOINTS.change(&self.cloud, name, |record| {
                merge(&mut record["PendingDeploymentSummary"], pending.clone());
                if let Some(old) = &old {
                    record["ProductionVariants"] = old.clone();
                }
                Ok(())
            })
        };
        // Without a record, the next step of the deployment fails.
        let _ = self.cloud.persist(&format!("endpoint {name}"), write).await;
    }

    /// Routes the share of these instances to the new fleet.
    fn route(&mut self, active: Vec<u32>) {
        let name = &self.deploy.endpoint;
        let traffic = Traffic::split(name, self.old.as_deref(), &self.new, &active);
        traffic::route(&self.cloud, name, Some(traffic));
        self.active = active;
    }

    /// Waits; stops the deployment if an alarm is in `ALARM` during the wait.
    async fn bake(&mut self, seconds: u32, wait: Wait) -> Result<(), Stop> {
        self.note(&Stage::Baking {
            seconds,
            wait,
            active: &self.active,
        })
        .await;
        let clock = self.cloud.clock().clone();
        let length = jiff::SignedDuration::from_secs(i64::from(seconds));
        let end = clock.now().checked_add(length).unwrap_or(Timestamp::MAX);
        loop {
            let seen = clock.announced(alarms::CHANGES);
            self.check_alarms().await?;
            self.check_deadline()?;
            if clock.now() >= end {
                return Ok(());
            }
            let due = end.min(self.deadline);
            self.work
                .sleep_until_announced(due, alarms::CHANGES, seen)
                .await;
        }
    }

    async fn check_alarms(&self) -> Result<(), Stop> {
        let names = &self.deploy.policy.alarms;
        let tripped = match self.new.session() {
            Some(session) if !names.is_empty() => {
                alarms::tripped(&self.cloud, &session.caller(), names).await?
            }
            _ => Vec::new(),
        };
        if tripped.is_empty() {
            return Ok(());
        }
        // Unverified against AWS [endpoint-rollback-reason]: the words of the reason.
        Err(Stop::Failed(format!(
            "The deployment of endpoint configuration {} was rolled back because of alarms in ALARM state: {}.",
            self.deploy.config,
            tripped.join(", ")
        )))
    }

    fn check_deadline(&self) -> Result<(), Stop> {
        if self.cloud.clock().now() < self.deadline {
            return Ok(());
        }
        Err(Stop::Failed(format!(
            "The deployment of endpoint configuration {} exceeded MaximumExecutionTimeoutInSeconds ({}).",
            self.deploy.config,
            self.deploy.policy.timeout.unwrap_or_default()
        )))
    }

    /// Ends the instances of the old fleet that the active instances have replaced.
    async fn retire(&self, active: &[u32]) {
        let Some(old) = &self.old else { return };
        let released = old.release(&self.left_of_old(&old.spec(), active));
        fleet::end_all(released).await;
    }

    /// How many instances of each variant of the old fleet still serve while these of the new one do.
    fn left_of_old(&self, old: &FleetSpec, active: &[u32]) -> Vec<u32> {
        let new = self.new.spec();
        let sum = |counts: &[u32]| counts.iter().sum();
        let left = old.variants.iter().map(|variant| {
            let same = new.variants.iter().position(|new| new.name == variant.name);
            let (active, count) = match same {
                Some(index) => (active[index], self.counts[index]),
                None => (sum(active), sum(&self.counts)),
            };
            remaining(variant.count, active, count)
        });
        left.collect()
    }

    /// Makes the new configuration that of the endpoint.
    async fn commit(&mut self) -> Result<(), Stop> {
        if self.deploy.is_silent {
            return Err(Stop::Silent);
        }
        let (cloud, name) = (&self.cloud, &self.deploy.endpoint);
        let spec = self.new.spec();
        let change = in_service(&spec, self.deploy.given.as_ref());
        fleet::serve(cloud, &self.new);
        if !end(cloud, name, change, Some(&spec)).await {
            return Ok(());
        }
        if let Ok(record) = ENDPOINTS.get(cloud, name) {
            // An error in the lineage does not undo the deployment.
            let _ = lineage::endpoint_deployed(cloud, &record).await;
        }
        Ok(())
    }

    /// Rolls back: the old fleet gets its instances and all traffic back. Returns the reason of the rollback.
    ///
    /// # Errors
    /// Why the old fleet could not be restored. Both fleets continue to serve.
    async fn back(&mut self, stop: Stop) -> Result<Option<String>, String> {
        let reason = match stop {
            Stop::Failed(reason) => Some(reason),
            Stop::Silent => None,
        };
        let Some(old) = self.old.clone() else {
            return Ok(reason);
        };
        if reason.is_some() && self.active.iter().any(|active| *active > 0) {
            let name = &self.deploy.endpoint;
            let write = || {
                ENDPOINTS.change(&self.cloud, name, |record| {
                    record["EndpointStatus"] = EndpointStatus::RollingBack.into();
                    Ok(())
                })
            };
            let _ = self.cloud.persist(&format!("endpoint {name}"), write).await;
        }
        for active in self.deploy.policy.retreat(&self.active, &self.counts) {
            old.launch(&self.left_of_old(&old.spec(), &active));
            if let Err(why) = old.healthy().await {
                let first = reason.unwrap_or_default();
                return Err(format!(
                    "{first} The rollback failed, and both configurations serve: {why}"
                ));
            }
            self.route(active.clone());
            fleet::end_all(self.new.release(&active)).await;
        }
        Ok(reason)
    }
}

#[cfg(test)]
mod tests;

//! Deploys a release.
//!
//! ```text
//! prepare change set (the lock) ── write manifest N+1 ── approve ── execute ── wait ── prove
//!        │ lost: nothing changed     │ taken: nothing changed                       │
//!        └───────────────────────────┴── discard the change set                     ├── live ── stage, lineage
//!                                                                                   └── failed, rolled back
//! ```
//!
//! Before anything is written, `race` checks that no other client changed what the request was made from.
//!
//! A client that is killed leaves the newest manifest without an outcome. The same request then adopts that
//! manifest with its exact bytes, so that its change set is the same too, and continues where it stopped.

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::{Hint, cause, hinted, message};

use super::manifest::{Manifest, Sealed};
use super::proof::{self, Live, Mismatch};
use super::race::Seen;
use super::sample::{Sample, SampleAnswer};
use super::store::{Event, History, Outcome, Release, Store};
use super::{failure, restore};
use crate::aws::hosting::Endpoint;
use crate::aws::sagemaker::models::{self, ModelVersion};
use crate::aws::{Clients, endpoint_failure, hosting, release};
use crate::config::Project;
use crate::context::Context;
use crate::infra::{self, Part, Platform};

mod claim;
mod complete;

pub use claim::claim;

/// A release to deploy.
#[derive(Debug)]
pub struct Request<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its stacks.
    pub platform: &'a Platform,
    /// The releases so far.
    pub history: &'a History,
    /// The manifest, with the next number.
    pub manifest: Manifest,
    /// Whether to approve the version.
    pub approve: bool,
    /// The versions in the registry.
    pub versions: &'a [ModelVersion],
    /// The endpoint before the deployment.
    pub endpoint: Option<&'a Endpoint>,
    /// The request that the endpoint must answer.
    pub sample: Option<&'a Sample>,
    /// The release that this one rolls back.
    pub rolls_back: Option<&'a Release>,
}

/// A release that is live.
#[derive(Debug)]
pub struct Deployed {
    /// Its manifest.
    pub sealed: Sealed,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The answer to the sample.
    pub sample: Option<SampleAnswer>,
    /// Whether the stack was changed.
    pub changed: bool,
}

/// What every step needs.
struct Deployment<'a> {
    ctx: &'a Context,
    clients: &'a Clients,
    request: &'a Request<'a>,
    store: Store,
    sealed: Sealed,
    /// Whether the manifest is still to be written; otherwise it is one that another client left.
    is_new: bool,
    /// Whether the release was proven before.
    is_proven: bool,
    /// When the deployment began.
    start: failure::Start,
}

/// Deploys a release and proves it.
pub async fn deploy(ctx: &Context, clients: &Clients, request: &Request<'_>) -> Result<Deployed> {
    let adopted = request
        .history
        .pending()
        .filter(|pending| pending.sealed.manifest.is_same_request(&request.manifest));
    let sealed = match adopted {
        Some(adopted) => {
            ctx.progress.say(format!(
                "release {} was started before; completing it",
                adopted.number()
            ));
            adopted.sealed.clone()
        }
        None => request.manifest.clone().seal()?,
    };
    let is_new = adopted.is_none();
    let deployment = Deployment::new(ctx, clients, request, sealed, is_new).await;
    let before = Seen::of(request.history, request.endpoint);
    // Boxed, because the future would otherwise exceed 16 KiB.
    let before = Box::pin(deployment.follow_up(&before)).await?;
    let result = Box::pin(deployment.execute(&before)).await;
    let changed = match result {
        Ok(changed) => changed,
        Err(error) if cause::<infra::StackFailed>(&error).is_some() => {
            return Err(deployment.not_deployed(error).await);
        }
        Err(error) => return Err(error),
    };
    let (endpoint, sample) = deployment.prove().await?;
    deployment.complete(&endpoint).await?;
    Ok(Deployed {
        sealed: deployment.sealed,
        endpoint,
        sample,
        changed,
    })
}

/// Returns the live release if it is what the manifest describes, and the stack agrees.
pub async fn already<'a>(
    clients: &Clients,
    project: &Project,
    serving: Option<&'a Release>,
    manifest: &Manifest,
) -> Result<Option<&'a Release>> {
    let Some(release) = serving.filter(|live| live.sealed.manifest.serves_the_same(manifest))
    else {
        return Ok(None);
    };
    let stack = Part::Endpoint.stack(&project.file.name);
    let deployed = infra::settled_outputs(clients, &stack).await?;
    let checksum = deployed.and_then(|outputs| outputs.get("ReleaseChecksum").cloned());
    Ok((checksum.as_deref() == Some(release.sealed.sha256.as_str())).then_some(release))
}

/// Proves a release that is live already, without deploying anything.
pub async fn prove(
    ctx: &Context,
    clients: &Clients,
    request: &Request<'_>,
    release: &Release,
) -> Result<Deployed> {
    let sealed = release.sealed.clone();
    let mut deployment = Deployment::new(ctx, clients, request, sealed, false).await;
    deployment.is_proven = release.outcome() == Some(Outcome::Live);
    if matches!(release.outcome(), None | Some(Outcome::Abandoned)) {
        deployment.start = failure::Start::at(release.sealed.manifest.created);
    }
    let (endpoint, sample) = deployment.prove().await?;
    deployment.complete(&endpoint).await?;
    Ok(Deployed {
        sealed: deployment.sealed,
        endpoint,
        sample,
        changed: false,
    })
}

impl<'a> Deployment<'a> {
    async fn new(
        ctx: &'a Context,
        clients: &'a Clients,
        request: &'a Request<'a>,
        sealed: Sealed,
        is_new: bool,
    ) -> Self {
        Self {
            ctx,
            clients,
            request,
            store: Store::new(&request.platform.artifact_bucket, &sealed.manifest.endpoint),
            start: failure::Start::now(clients, &sealed).await,
            sealed,
            is_new,
            is_proven: false,
        }
    }

    /// Deploys the stack. Reserves it before anything else is written, so that a client that loses a race
    /// changes nothing. Returns whether the stack was changed.
    async fn execute(&self, before: &Seen) -> Result<bool> {
        let Self { ctx, clients, .. } = self;
        let spec = infra::endpoint_stack(
            self.request.project,
            self.request.platform,
            &self.sealed.parameters(),
        );
        let status = ctx.command("status");
        let _note = ctx.on_interrupt(format!(
            "a deployment of {} that has started continues; check it with `{status}`",
            spec.name
        ));
        let prepared = infra::prepare(clients, ctx.waiter, &ctx.progress, &spec).await?;
        let seen = match self.reserve(before, &spec.name).await {
            Ok(seen) => seen,
            Err(error) => {
                if let Some(prepared) = &prepared {
                    let discarded = infra::discard(clients, ctx.waiter, prepared).await;
                    if let Err(left) = discarded {
                        ctx.progress
                            .say(format!("the change set was not deleted: {left:#}"));
                    }
                }
                return Err(error);
            }
        };
        if self.is_new
            && let Some(left) = seen.left()
        {
            self.close(left, seen.endpoint.as_ref()).await?;
        }
        let Some(prepared) = prepared else {
            infra::unchanged(clients, &ctx.progress, &spec).await?;
            return Ok(false);
        };
        let own = prepared.clone();
        let outcome = infra::execute(clients, ctx.waiter, &ctx.progress, prepared)
            .await
            .hint(format!("check what the endpoint serves with `{status}`"))?;
        if outcome.is_some() || self.is_deployed(&spec.name).await? {
            return Ok(true);
        }
        // The other deployment may be of this version, and rely on its approval.
        let package = &self.sealed.manifest.model.package_arn;
        if self.request.approve && !self.is_needed(&own, package).await? {
            let why = "another promotion started first";
            models::withdraw_approval(clients, package, why).await?;
        }
        let why = "another deployment started first";
        self.failed(Outcome::Abandoned, why).await;
        Err(infra::lost(clients, &spec.name))
    }

    /// Returns whether another client deploys or has deployed this release: the deploy pipeline completes a claim
    /// whose client seems to be gone. Waits for the end.
    async fn is_deployed(&self, stack: &str) -> Result<bool> {
        const CHECKSUM: &str = "ReleaseChecksum";

        let own = Some(&self.sealed.sha256);
        if infra::parameter(self.clients, stack, CHECKSUM)
            .await?
            .as_ref()
            != own
        {
            return Ok(false);
        }
        infra::idle(self.clients, self.ctx.waiter, stack).await?;
        let outputs = infra::settled_outputs(self.clients, stack).await?;
        let deployed = outputs.and_then(|outputs| outputs.get(CHECKSUM).cloned());
        Ok(deployed.as_ref() == own)
    }

    /// Reads the newest release and the endpoint again. Fails if another client changed what the request was
    /// made from.
    async fn seen(&self, before: &Seen) -> Result<Seen> {
        let now = Seen::now(self.clients, &self.store, &self.sealed.manifest.endpoint).await?;
        let adopted = (!self.is_new).then_some(&self.sealed);
        if now.still_is(before, adopted) {
            return Ok(now);
        }
        let stack = Part::Endpoint.stack(&self.request.project.file.name);
        Err(infra::lost(self.clients, &stack))
    }

    /// Writes the manifest and approves the version. Returns what the release follows.
    async fn reserve(&self, before: &Seen, stack: &str) -> Result<Seen> {
        let seen = self.seen(before).await?;
        if self.is_new && !self.store.write(self.clients, &self.sealed).await? {
            return Err(infra::lost(self.clients, stack));
        }
        if !self.request.approve {
            return Ok(seen);
        }
        let package = &self.sealed.manifest.model.package_arn;
        let approved = models::approve(self.clients, package, "approved by `mlops promote`").await;
        if let Err(error) = approved {
            self.failed(Outcome::Abandoned, &message(&error)).await;
            return Err(error);
        }
        Ok(seen)
    }

    /// Returns true if a model package is live, or another deployment of it is prepared or in progress.
    async fn is_needed(&self, own: &infra::Prepared, package: &str) -> Result<bool> {
        if infra::is_deployed(self.clients, own, "ModelPackageArn", package).await? {
            return Ok(true);
        }
        let endpoint = hosting::endpoint(self.clients, &self.sealed.manifest.endpoint).await?;
        Ok(endpoint.is_some_and(|endpoint| endpoint.serves(package)))
    }

    /// Waits for the endpoint and proves that it serves the release.
    async fn prove(&self) -> Result<(Endpoint, Option<SampleAnswer>)> {
        let Self { ctx, clients, .. } = self;
        let name = &self.sealed.manifest.endpoint;
        release::settled(clients, ctx.waiter, name, |status| {
            ctx.progress.say(format!("endpoint {name}: {status}"));
        })
        .await?;
        let live = proof::live(clients, name)
            .await?
            .with_context(|| format!("the endpoint {name} was deleted"))?;
        let found = proof::compare(&self.sealed, &live);
        if !found.is_empty() {
            return Err(self.refuted(&live, &found).await);
        }
        let answered = match self.request.sample {
            Some(sample) => Some(sample.send(clients, name).await.hint(format!(
                "release {} is deployed; the response to the sample decides whether it works",
                self.sealed.manifest.release
            ))?),
            None => None,
        };
        match answered.transpose() {
            Ok(sample) => Ok((live.endpoint, sample)),
            Err(problem) => {
                let why = format!("the response to the sample is not acceptable: {problem}");
                self.failed(Outcome::Failed, &why).await;
                Err(self.not_proven(&why))
            }
        }
    }

    /// Brings the stack back to the release that the endpoint serves, if a client was killed before it could:
    /// a deployment that fails would otherwise return to what the stack has. Returns what was seen last.
    async fn follow_up(&self, before: &Seen) -> Result<Seen> {
        let Request {
            project, history, ..
        } = self.request;
        let seen = self.seen(before).await?;
        let Some(endpoint) = &seen.endpoint else {
            return Ok(seen);
        };
        let Some(served) = proof::serving(history, endpoint) else {
            return Ok(seen);
        };
        let differs = restore::disagreement(self.clients, project, endpoint).await?;
        let own = (!self.is_new).then_some(self.sealed.manifest.release);
        let failed = differs
            .and_then(|number| history.release(number))
            .filter(|failed| restore::is_rolled_back(failed, own));
        let Some(failed) = failed else {
            return Ok(seen);
        };
        let why = format!(
            "the endpoint returned to release {} while no client was waiting",
            served.number()
        );
        let event = self.event(Outcome::RolledBack, Some(why)).await?;
        self.store.add(self.clients, &failed.sealed, &event).await?;
        self.restore(served, failed.number()).await?;
        Seen::now(self.clients, &self.store, &endpoint.name).await
    }

    /// Records what became of the release that another client left.
    async fn close(&self, left: &Release, endpoint: Option<&Endpoint>) -> Result<()> {
        let request = self.request;
        let (manifest, parameters) = (&left.sealed.manifest, left.sealed.parameters());
        let spec = infra::endpoint_stack(request.project, request.platform, &parameters);
        let outcome = restore::fate(self.clients, &spec, endpoint, &left.sealed).await?;
        let own = self.sealed.manifest.release;
        let reason = match outcome {
            Outcome::Live => None,
            Outcome::Failed => Some("CloudFormation rolled its deployment back".to_owned()),
            Outcome::RolledBack | Outcome::Abandoned => {
                Some(format!("release {own} was deployed instead"))
            }
        };
        // A rollback also decides about the release before it.
        let back = manifest.restores.and(manifest.previous);
        if outcome == Outcome::Live
            && let Some(back) = back.and_then(|back| request.history.release(back))
        {
            let why = format!("rolled back by release {}", manifest.release);
            let event = self.event(Outcome::RolledBack, Some(why)).await?;
            self.store.add(self.clients, &back.sealed, &event).await?;
        }
        let event = self.event(outcome, reason).await?;
        self.store.add(self.clients, &left.sealed, &event).await
    }

    /// Records why CloudFormation did not deploy the release, and returns the error.
    async fn not_deployed(&self, error: anyhow::Error) -> anyhow::Error {
        let reason = message(&error);
        let alarms =
            failure::alarms(self.ctx, self.clients, &self.sealed, &self.start, &reason).await;
        if let Some(alarms) = alarms {
            self.failed(Outcome::RolledBack, &alarms).await;
            let error = hinted(error, alarms.clone());
            return self.explained(error, &alarms).await;
        }
        self.failed(Outcome::Failed, &reason).await;
        self.explained(error, &reason).await
    }

    /// Prints the last log lines of the container that failed, and adds its likely cause to the error.
    async fn explained(&self, error: anyhow::Error, reason: &str) -> anyhow::Error {
        let name = &self.sealed.manifest.endpoint;
        let since = Some(self.start.time);
        match endpoint_failure::explain(self.clients, name, Some(reason), since).await {
            Ok(found) => {
                for line in found.report() {
                    self.ctx.progress.say(line);
                }
                found.explain(error, &self.ctx.command("endpoint logs"))
            }
            Err(problem) => {
                self.ctx.progress.say(format!(
                    "the log of the endpoint cannot be read: {problem:#}"
                ));
                error
            }
        }
    }

    /// Records why the endpoint does not serve the release, and returns the error.
    async fn refuted(&self, live: &Live, found: &[Mismatch]) -> anyhow::Error {
        let endpoint = &live.endpoint;
        let configuration = endpoint.configuration.as_deref().unwrap_or("none");
        if endpoint.status.is_in_service() && !proof::is_of(configuration, &self.sealed) {
            return self.rolled_back(endpoint, configuration).await;
        }
        if !endpoint.status.is_in_service() {
            let reason = endpoint.failure.as_deref().unwrap_or("no reason given");
            let why = format!(
                "the endpoint {} is {}: {reason}",
                endpoint.name, endpoint.status
            );
            self.failed(Outcome::Failed, &why).await;
            return self.explained(anyhow!(why), reason).await;
        }
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        let why = format!("what is live is not the release: {}", all.join("; "));
        self.failed(Outcome::Failed, &why).await;
        self.not_proven(&why)
    }

    /// Records a silent rollback, brings the stack back to the release that is live, and returns the error.
    async fn rolled_back(&self, endpoint: &Endpoint, configuration: &str) -> anyhow::Error {
        let own = self.sealed.manifest.release;
        // The client of a newer release records what became of this one.
        match self.store.numbers(self.clients).await {
            Ok(numbers) => {
                if let Some(newer) = numbers.first().filter(|newest| **newest > own) {
                    return hinted(
                        anyhow!(
                            "release {newer} was started before release {own} was proven; the endpoint {} \
                             has the configuration {configuration}",
                            endpoint.name
                        ),
                        format!("check what is live with `{}`", self.ctx.command("status")),
                    );
                }
            }
            Err(error) => return error,
        }
        let why = endpoint.failure.as_deref().unwrap_or_default();
        let alarms = failure::alarms(self.ctx, self.clients, &self.sealed, &self.start, why).await;
        let reason = alarms
            .or_else(|| endpoint.failure.clone())
            .unwrap_or_else(|| "no reason given".to_owned());
        self.failed(Outcome::RolledBack, &reason).await;
        let error = anyhow!(
            "the endpoint {} was rolled back: it is in service with the configuration {configuration}, not \
             with {} ({reason})",
            endpoint.name,
            self.sealed.configuration()
        );
        let error = hinted(error, log_hint(endpoint));
        let Some(served) = proof::serving(self.request.history, endpoint) else {
            return error;
        };
        let number = served.number();
        match self.restore(served, own).await {
            Ok(()) => hinted(
                error,
                format!("release {number} is live; the stack was brought back to it"),
            ),
            Err(problem) => hinted(
                error,
                format!(
                    "release {number} is live, but the stack could not be brought back to it: {problem:#}"
                ),
            ),
        }
    }

    /// Deploys the release that the endpoint serves again.
    async fn restore(&self, served: &Release, failed: u32) -> Result<()> {
        let Request {
            project, platform, ..
        } = self.request;
        let sealed = &served.sealed;
        let endpoint =
            restore::restore(self.ctx, self.clients, project, platform, sealed, failed).await?;
        let why = format!("restored after release {failed} was rolled back");
        let mut event = self.event(Outcome::Live, Some(why)).await?;
        event.configuration = endpoint.configuration;
        self.store.add(self.clients, sealed, &event).await
    }

    fn not_proven(&self, why: &str) -> anyhow::Error {
        let number = self.sealed.manifest.release;
        let error = anyhow!("release {number} is deployed, but not proven: {why}");
        if self.request.history.live().is_none() {
            return hinted(error, self.ctx.command("releases show"));
        }
        hinted(
            error,
            format!(
                "return to the release before it with `{}`",
                self.ctx.command("rollback")
            ),
        )
    }

    /// Records what became of the release. The error that led here is more important than one of this. A release
    /// that was proven stays live, whatever its repetition finds: the sample is a local file.
    async fn failed(&self, outcome: Outcome, reason: &str) {
        if self.is_proven && outcome == Outcome::Failed {
            return;
        }
        let recorded = async {
            let event = self.event(outcome, Some(reason.to_owned())).await?;
            self.store.add(self.clients, &self.sealed, &event).await
        };
        if let Err(error) = recorded.await {
            self.ctx.progress.say(format!(
                "the outcome of release {} was not recorded: {error:#}",
                self.sealed.manifest.release
            ));
        }
    }

    async fn event(&self, outcome: Outcome, reason: Option<String>) -> Result<Event> {
        Ok(Event {
            outcome,
            at: self.ctx.now(),
            by: self.clients.caller().await?.to_owned(),
            reason,
            configuration: None,
        })
    }
}

/// Where the endpoint's containers log.
fn log_hint(endpoint: &Endpoint) -> String {
    let group = endpoint_failure::log_group(&endpoint.name);
    format!("see the log group {group}")
}

//! `mlops doctor`: what keeps `mlops` from working here, and how to fix it.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use futures::future::{BoxFuture, FutureExt, join_all};
use mlops_core::error::{Exit, Hint, hints, message};
use serde::Serialize;

use crate::aws::access;
use crate::aws::{Clients, cloudformation};
use crate::config::{FILE, Project};
use crate::context::Context;
use crate::infra::Part;
use crate::output::Report;

mod account;
mod limits;
mod machine;
mod policy;
mod report;
mod stacks;

pub use policy::Policy;
pub use report::{Check, DoctorReport, Outcome};

/// Check credentials, account, quotas and this machine
///
/// Each check is ok, a warning, failed or not checked, with what to do about it. Needs no project,
/// credentials or network. Exits with 3 if a check failed, and with 4 if credentials, account or
/// region are wrong.
///
/// Example: mlops doctor --iam data push
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Detect drift now instead of showing the last result; takes a minute on AWS
    #[arg(long)]
    drift: bool,
    /// Print an IAM policy with the permissions of a command, or of all commands, and check nothing
    #[arg(long, value_name = "COMMAND", num_args = 0.., conflicts_with = "drift")]
    iam: Option<Vec<String>>,
}

/// The result of `mlops doctor`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Diagnosis {
    /// The checks.
    Checks(DoctorReport),
    /// `--iam`: a policy document.
    Policy(Policy),
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checks(report) => report.fmt(f),
            Self::Policy(policy) => policy.fmt(f),
        }
    }
}

impl Report for Diagnosis {
    fn exit(&self) -> Exit {
        match self {
            Self::Checks(report) => report.exit(),
            Self::Policy(_) => Exit::Done,
        }
    }
}

/// Time limit of a check.
const LIMIT: Duration = Duration::from_secs(15);

/// Time limit of drift detection.
const DRIFT_LIMIT: Duration = Duration::from_mins(5);

/// Runs a check for a limited time.
fn bounded<'a>(
    name: &'static str,
    limit: Duration,
    check: impl Future<Output = Check> + Send + 'a,
) -> BoxFuture<'a, Check> {
    async move {
        let done = tokio::time::timeout(limit, check).await;
        done.unwrap_or_else(|_| {
            Check::not_checked(name, format!("no result within {} s", limit.as_secs()))
        })
    }
    .boxed()
}

/// Runs the command.
pub async fn run(ctx: &Context, args: &DoctorArgs) -> Result<Diagnosis> {
    match &args.iam {
        Some(command) => Ok(Diagnosis::Policy(policy::of(ctx, &command.join(" "))?)),
        None => Ok(Diagnosis::Checks(checks(ctx, args).await)),
    }
}

/// Runs every check, concurrently.
async fn checks(ctx: &Context, args: &DoctorArgs) -> DoctorReport {
    let found = ctx.config.find_project();
    let project = found.as_ref().ok().and_then(Option::as_ref);
    let config = &ctx.config;
    let machine = async {
        let mut checks = join_all([
            bounded("git", LIMIT, machine::git(config)),
            bounded("python", LIMIT, machine::python(config)),
            bounded(
                "container engines",
                LIMIT,
                machine::engines(config, project),
            ),
        ])
        .await;
        checks.push(machine::disk(machine::CACHE, &config.cache));
        checks.push(machine::disk("disk: project", &config.local_state()));
        checks
    };
    let account = async {
        let mut checks = vec![of_project(&found)];
        // Without the project, the region would be another one.
        if found.is_ok() {
            checks.extend(of_account(ctx, project, args).await);
        }
        // Last, because a check of the account starts it.
        checks.push(bounded("local cloud", LIMIT, machine::local_cloud(ctx)).await);
        checks
    };
    let (mut checks, machine) = futures::join!(account, machine);
    checks.extend(machine);
    DoctorReport::new(checks)
}

/// Whether mlops.toml can be read.
fn of_project(found: &Result<Option<Project>>) -> Check {
    const NAME: &str = "project";

    match found {
        Ok(Some(project)) => Check::ok(NAME, format!("{}, {}", project.file.name, FILE)),
        Ok(None) => Check::not_checked(NAME, format!("no {FILE} here or above")),
        Err(error) => with_hint(Check::fail(NAME, message(error)), error),
    }
}

/// Uses an error's hint as the fix.
fn with_hint(check: Check, error: &anyhow::Error) -> Check {
    match hints(error).into_iter().next() {
        Some(hint) => check.fix(hint),
        None => check,
    }
}

/// The checks that need AWS, or the local cloud.
async fn of_account(ctx: &Context, project: Option<&Project>, args: &DoctorArgs) -> Vec<Check> {
    let connected = tokio::time::timeout(LIMIT, ctx.aws()).await;
    let connected = connected
        .unwrap_or_else(|_| Err(anyhow::anyhow!("no result within {} s", LIMIT.as_secs())))
        .hint("check --region, AWS_REGION and the AWS configuration");
    let clients = match connected {
        Ok(clients) => clients,
        Err(error) => {
            let check = Check::fail("credentials", message(&error)).of_access();
            return vec![with_hint(check, &error)];
        }
    };
    let identified = tokio::time::timeout(LIMIT, access::identify(clients)).await;
    let Ok(identified) = identified else {
        let reason = format!("no answer from AWS within {} s", LIMIT.as_secs());
        let fix = "check the network, HTTPS_PROXY and --endpoint-url";
        return vec![Check::fail("credentials", reason).fix(fix)];
    };
    let mut checks = vec![account::caller(&ctx.config, &identified)];
    checks.push(account::region(project, clients.region()));
    checks.push(account::clock(ctx.now(), identified.date));
    let Ok(caller) = &identified.caller else {
        for name in [
            "account",
            "stacks",
            "drift",
            "CodeCommit",
            "Model Monitor",
            "quotas",
        ] {
            checks.push(Check::not_checked(name, "needs credentials"));
        }
        return checks;
    };
    checks.insert(1, account::account(project, caller));
    let is_right = project.is_none_or(|project| project.file.account == caller.account);
    let project = project.filter(|_| is_right);
    let (stacks, quotas) = futures::join!(
        of_stacks(ctx, clients, project, args),
        of_quotas(ctx, clients, project)
    );
    checks.extend(stacks);
    checks.extend(quotas);
    checks
}

async fn of_stacks(
    ctx: &Context,
    clients: &Clients,
    project: Option<&Project>,
    args: &DoctorArgs,
) -> Vec<Check> {
    let mut work = Vec::new();
    if let Some(project) = project {
        let limit = if args.drift { DRIFT_LIMIT } else { LIMIT };
        work.push(bounded(
            "stacks",
            LIMIT,
            stacks::states(ctx, clients, project),
        ));
        let drift = stacks::drift(ctx, clients, project, args.drift);
        work.push(bounded("drift", limit, drift));
    }
    work.push(bounded("CodeCommit", LIMIT, account::codecommit(clients)));
    work.push(bounded(
        "Model Monitor",
        LIMIT,
        account::model_monitor(clients),
    ));
    join_all(work).await
}

async fn of_quotas(ctx: &Context, clients: &Clients, project: Option<&Project>) -> Vec<Check> {
    if ctx.config.local {
        return vec![Check::not_checked("quotas", "a local cloud has none")];
    }
    let work = async {
        let has_network = match project {
            None => false,
            Some(project) => {
                let name = Part::Network.stack(&project.file.name);
                let stack = cloudformation::stack(clients, &name).await;
                stack.is_ok_and(|stack| stack.is_some())
            }
        };
        limits::all(clients, project, has_network).await
    };
    tokio::time::timeout(LIMIT, work).await.unwrap_or_else(|_| {
        let reason = format!("no result within {} s", LIMIT.as_secs());
        vec![Check::not_checked("quotas", reason)]
    })
}

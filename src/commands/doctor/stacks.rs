//! Checks of the project's stacks: their states and their drift.

use jiff::Timestamp;
use mlops_core::text::time;
use mlops_core::wait::Waiter;

use super::account::undone;
use super::report::Check;
use crate::aws::drift::{self, Detected};
use crate::aws::state::StackStatusExt;
use crate::aws::{Clients, cloudformation};
use crate::config::Project;
use crate::context::Context;
use crate::infra;

/// The stacks of the project: what they are, and their names.
fn stack_names(project: &Project) -> Vec<(String, String)> {
    let name = &project.file.name;
    let parts = infra::PARTS.map(|part| (part.as_str().to_owned(), part.stack(name)));
    let branches = infra::branch_names(project).into_iter();
    let branches = branches.map(|(stack, branch)| (format!("delivery of {branch}"), stack));
    parts.into_iter().chain(branches).collect()
}

/// The states of the project's stacks.
pub(super) async fn states(ctx: &Context, clients: &Clients, project: &Project) -> Check {
    const NAME: &str = "stacks";

    let (mut deployed, mut busy, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    for (part, name) in stack_names(project) {
        match cloudformation::stack(clients, &name).await {
            Err(error) => return undone(NAME, &error),
            Ok(None) => {}
            Ok(Some(stack)) if stack.status.is_settled() => deployed.push(part),
            Ok(Some(stack)) if stack.status.is_in_progress() => {
                busy.push(format!("{part} is {}", stack.status.as_str()));
            }
            Ok(Some(stack)) => {
                let reason = stack.reason.map(|reason| format!(" ({reason})"));
                broken.push(format!(
                    "{part} is {}{}",
                    stack.status.as_str(),
                    reason.unwrap_or_default()
                ));
            }
        }
    }
    if !broken.is_empty() {
        return Check::fail(NAME, broken.join("; ")).fix(format!(
            "run `{}` again; it continues or says what to do",
            ctx.command("init")
        ));
    }
    if !busy.is_empty() {
        return Check::warn(NAME, busy.join("; ")).fix(format!(
            "wait, then look again with `{}`",
            ctx.command("status")
        ));
    }
    if deployed.is_empty() {
        return Check::not_checked(NAME, "nothing is deployed")
            .fix(format!("run `{}`", ctx.command("init")));
    }
    Check::ok(NAME, deployed.join(", "))
}

/// The drift of the project's stacks: detected now, or as CloudFormation remembers it.
pub(super) async fn drift(ctx: &Context, clients: &Clients, project: &Project, now: bool) -> Check {
    const NAME: &str = "drift";

    let looks = stack_names(project)
        .into_iter()
        .map(|(part, name)| async move { (part, look(clients, &name, now, &ctx.waiter).await) });
    let (mut drifted, mut in_sync, mut never) = (Vec::new(), Vec::new(), 0);
    for (part, result) in futures::future::join_all(looks).await {
        match result {
            Err(error) => return undone(NAME, &error),
            Ok(None) => {}
            Ok(Some(Seen::Never)) => never += 1,
            Ok(Some(Seen::InSync(at))) => in_sync.push((part, at)),
            Ok(Some(Seen::Drifted(what))) => drifted.push(format!("{part}: {what}")),
        }
    }
    let detect = format!("run `{}` to detect it now", ctx.command("doctor --drift"));
    if !drifted.is_empty() {
        let fix = "undo the change by hand; `mlops plan` does not show it";
        let fix = if now { fix.to_owned() } else { detect };
        return Check::fail(NAME, drifted.join("; ")).fix(fix);
    }
    if never > 0 {
        return Check::not_checked(NAME, "never detected").fix(detect);
    }
    let oldest = in_sync.iter().filter_map(|(_, at)| *at).min();
    match (in_sync.is_empty(), oldest) {
        (true, _) => Check::not_checked(NAME, "nothing is deployed"),
        (false, Some(oldest)) if !now => {
            Check::ok(NAME, format!("none when last detected, {}", time(oldest)))
        }
        _ => Check::ok(NAME, "none"),
    }
}

/// What is known about a stack.
enum Seen {
    Never,
    InSync(Option<Timestamp>),
    Drifted(String),
}

async fn look(
    clients: &Clients,
    stack: &str,
    now: bool,
    waiter: &Waiter,
) -> anyhow::Result<Option<Seen>> {
    let Some(last) = drift::last(clients, stack).await? else {
        return Ok(None);
    };
    if !now {
        return Ok(Some(match last {
            Detected::Never => Seen::Never,
            Detected::InSync(at) => Seen::InSync(at),
            Detected::Drifted(at) => Seen::Drifted(match at {
                Some(at) => format!("drifted at {}", time(at)),
                None => "drifted".to_owned(),
            }),
        }));
    }
    let found = drift::detect(clients, stack, waiter).await?;
    if found.is_empty() {
        return Ok(Some(Seen::InSync(None)));
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    Ok(Some(Seen::Drifted(found.join(", "))))
}

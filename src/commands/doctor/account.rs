//! Checks of the account: credentials, account and region, the clock, and services that AWS does not
//! offer to every account.

use anyhow::Error;
use jiff::Timestamp;
use mlops_core::error::message;
use mlops_core::text::duration;

use super::report::{Check, Outcome};
use crate::aws::access::{Caller, Identified, Reason, Refused};
use crate::aws::error::kind_of;
use crate::aws::{Clients, ErrorKind, availability};
use crate::config::{Config, LOCAL_ACCOUNT, Project, shell};

/// AWS refuses requests whose time differs by more than five minutes.
const MAX_SKEW: i64 = 300;

/// A difference that a healthy clock does not have.
const HIGH_SKEW: i64 = 60;

/// Returns the checks of an answer about the caller.
pub(super) fn caller(config: &Config, identified: &Identified) -> Check {
    const NAME: &str = "credentials";

    match &identified.caller {
        Ok(caller) => Check::ok(NAME, &caller.arn),
        Err(Refused { reason, message }) => {
            let check = match reason {
                Reason::Unreachable => Check::fail(NAME, format!("no answer: {message}")),
                Reason::SignIn => Check::fail(
                    NAME,
                    format!("the sign-in to IAM Identity Center has expired: {message}"),
                ),
                Reason::Missing => Check::fail(NAME, "no credentials are configured"),
                _ => Check::fail(NAME, message),
            };
            let check = match credentials_fix(config, *reason) {
                Some(fix) => check.fix(fix),
                None => check,
            };
            if *reason == Reason::Unreachable {
                // Says nothing about the credentials.
                check
            } else {
                check.of_access()
            }
        }
    }
}

fn credentials_fix(config: &Config, reason: Reason) -> Option<String> {
    let profile = match &config.profile {
        Some(profile) => format!(" --profile {}", shell::word(profile)),
        None => String::new(),
    };
    Some(match reason {
        Reason::SignIn => format!("run `aws sso login{profile}`"),
        Reason::Expired => format!(
            "run `aws sso login{profile}`, or set new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and \
             AWS_SESSION_TOKEN"
        ),
        Reason::Missing => format!(
            "run `aws configure sso{profile}` or `aws configure{profile}`, pass --profile, or use \
             --local"
        ),
        Reason::Rejected => "check --profile, AWS_PROFILE and the access key".to_owned(),
        Reason::Unreachable => {
            "check the network, HTTPS_PROXY, AWS_CA_BUNDLE and --endpoint-url".to_owned()
        }
        Reason::Other => return None,
    })
}

/// Compares the account with mlops.toml.
pub(super) fn account(project: Option<&Project>, caller: &Caller) -> Check {
    const NAME: &str = "account";

    match project {
        None => Check::ok(NAME, format!("{}; no mlops.toml here", caller.account)),
        Some(project) if project.file.account == caller.account => {
            Check::ok(NAME, format!("{}, as in mlops.toml", caller.account))
        }
        Some(project) => {
            let finding = format!(
                "the credentials belong to {}, but mlops.toml to {}",
                caller.account, project.file.account
            );
            let fix = if project.file.account == LOCAL_ACCOUNT {
                "pass --local: the project was created on a local cloud"
            } else {
                "pass another --profile, or correct `account` in mlops.toml"
            };
            Check::fail(NAME, finding).fix(fix).of_access()
        }
    }
}

/// Compares the region with mlops.toml.
pub(super) fn region(project: Option<&Project>, region: &str) -> Check {
    const NAME: &str = "region";

    match project {
        None => Check::ok(NAME, region),
        Some(project) if project.file.region == region => {
            Check::ok(NAME, format!("{region}, as in mlops.toml"))
        }
        Some(project) => Check::fail(
            NAME,
            format!("{region}, but mlops.toml has {}", project.file.region),
        )
        .fix("drop --region and AWS_REGION, or correct `region` in mlops.toml")
        .of_access(),
    }
}

/// Compares this machine's clock with AWS's.
pub(super) fn clock(now: Timestamp, date: Option<Timestamp>) -> Check {
    const NAME: &str = "clock";

    let Some(date) = date else {
        return Check::not_checked(NAME, "no response with a date");
    };
    let ahead = now.as_second() - date.as_second();
    let direction = if ahead > 0 { "ahead of" } else { "behind" };
    let finding = format!("{} {direction} AWS", duration(ahead.abs()));
    let fix = "synchronize this machine's clock (NTP)";
    match ahead.abs() {
        0..=HIGH_SKEW => Check::ok(NAME, "agrees with AWS"),
        skew if skew <= MAX_SKEW => Check::warn(NAME, finding).fix(fix),
        _ => Check::fail(
            NAME,
            format!("{finding}, which refuses more than 5 minutes"),
        )
        .fix(fix),
    }
}

/// Returns a check that a failed request leaves undone.
pub(super) fn undone(name: &'static str, error: &Error) -> Check {
    let reason = match kind_of(error) {
        Some(ErrorKind::NotImplemented) => "the local cloud does not have it".to_owned(),
        _ => message(error),
    };
    Check::not_checked(name, reason)
}

/// CodeCommit, where `init` creates the repositories.
pub(super) async fn codecommit(clients: &Clients) -> Check {
    const NAME: &str = "CodeCommit";

    match availability::has_repositories(clients).await {
        Ok(true) => Check::ok(NAME, "in use: the region has repositories"),
        Ok(false) => Check::not_checked(
            NAME,
            "unknown: the region has no repository, and only creating one shows whether the \
             account may",
        ),
        Err(error) => refused(NAME, &error),
    }
}

/// Model Monitor, which no command needs.
pub(super) async fn model_monitor(clients: &Clients) -> Check {
    const NAME: &str = "Model Monitor";

    let mut check = match availability::has_monitoring_schedules(clients).await {
        Ok(true) => Check::ok(NAME, "in use: the region has monitoring schedules"),
        Ok(false) => Check::not_checked(
            NAME,
            "unknown: the region has no monitoring schedule; AWS admits no new customers since \
             2026-07-30",
        ),
        Err(error) => refused(NAME, &error),
    };
    if check.outcome != Outcome::Ok {
        check.finding.push_str("; `mlops monitor` works without it");
        check.fix = None;
    }
    check
}

/// A service that answered with an error.
fn refused(name: &'static str, error: &Error) -> Check {
    match kind_of(error) {
        Some(ErrorKind::NotImplemented) | None => undone(name, error),
        Some(_) => Check::warn(name, format!("refused: {}", message(error)))
            .fix("ask the account's owner for access to this service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_differ_by_a_minute_and_must_not_by_more_than_five() {
        let date: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let at = |seconds: i64| {
            let now = Timestamp::from_second(date.as_second() + seconds).unwrap();
            clock(now, Some(date))
        };
        assert_eq!(at(-60).outcome, Outcome::Ok);
        assert_eq!(at(61).outcome, Outcome::Warn);
        assert_eq!(at(61).finding, "1 min 1 s ahead of AWS");
        assert_eq!(at(-300).outcome, Outcome::Warn);
        let late = at(-301);
        assert_eq!(late.outcome, Outcome::Fail);
        assert!(late.finding.starts_with("5 min 1 s behind AWS"), "{late:?}");
        assert_eq!(clock(date, None).outcome, Outcome::NotChecked);
    }
}

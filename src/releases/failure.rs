//! Why a release did not stay: the alarm that went off, or the endpoint's own reason.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::manifest::Sealed;
use crate::aws::{Clients, cloudwatch};
use crate::context::Context;

/// The start of a deployment: by the client's clock, and for each alarm that existed, the time of its last change by
/// CloudWatch's. The two clocks may differ, so a later transition is recognized by the alarm's own times.
pub(super) struct Start {
    /// By the client's clock.
    pub(super) time: Timestamp,
    alarms: BTreeMap<String, Timestamp>,
}

impl Start {
    /// A deployment that another client began: every change of an alarm since then counts.
    pub(super) fn at(time: Timestamp) -> Self {
        Self {
            time,
            alarms: BTreeMap::new(),
        }
    }

    /// Reads the alarms of a release before its deployment. Without permission for that, only the client's clock
    /// counts.
    pub(super) async fn now(clients: &Clients, sealed: &Sealed) -> Self {
        let time = Timestamp::now();
        let found = cloudwatch::alarms(clients, &names(sealed)).await;
        let found = found.unwrap_or_default().into_iter();
        let alarms = found.filter_map(|alarm| Some((alarm.name, alarm.since?)));
        Self {
            time,
            alarms: alarms.collect(),
        }
    }
}

fn names(sealed: &Sealed) -> Vec<String> {
    let manifest = &sealed.manifest;
    manifest.settings.alarm_names(&manifest.endpoint)
}

/// Returns the alarms of a release that went off since its deployment began, or that the reason of the failure
/// names: `alarm NAME: REASON; …`. If the caller cannot read alarms, prints that, and returns `None`.
pub(super) async fn alarms(
    ctx: &Context,
    clients: &Clients,
    sealed: &Sealed,
    start: &Start,
    failure: &str,
) -> Option<String> {
    let since = |name: &str| start.alarms.get(name).copied().unwrap_or(start.time);
    let found = match cloudwatch::triggered(clients, &names(sealed), since, failure).await {
        Ok(found) => found,
        Err(error) => {
            ctx.progress.say(format!(
                "whether an alarm went off is unknown, because the alarms cannot be read: {error:#}"
            ));
            return None;
        }
    };
    let all: Vec<String> = found
        .iter()
        .map(|alarm| format!("alarm {}: {}", alarm.name, alarm.reason))
        .collect();
    (!all.is_empty()).then(|| all.join("; "))
}

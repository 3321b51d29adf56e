//! Why a release did not stay: the alarm that went off, or the endpoint's own reason.

use jiff::Timestamp;

use super::manifest::Sealed;
use crate::aws::{Clients, cloudwatch};
use crate::context::Context;

/// Returns the alarms of a release that went off since its deployment began, or that the reason of the failure
/// names: `alarm NAME: REASON; …`. A caller who cannot read alarms is told so, and learns about the failure
/// itself.
pub(super) async fn alarms(
    ctx: &Context,
    clients: &Clients,
    sealed: &Sealed,
    since: Timestamp,
    failure: &str,
) -> Option<String> {
    let names = sealed
        .manifest
        .settings
        .alarm_names(&sealed.manifest.endpoint);
    let found = match cloudwatch::triggered(clients, &names, since, failure).await {
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

//! Why a release did not stay: the alarm that went off, or the endpoint's own reason.

use jiff::Timestamp;

use super::manifest::Sealed;
use crate::aws::{Clients, cloudwatch};

/// Returns the alarms of a release that went off since its deployment began: `alarm NAME: REASON; …`. A caller
/// without the permission to read alarms still learns about the failure itself.
pub(super) async fn alarms(clients: &Clients, sealed: &Sealed, since: Timestamp) -> Option<String> {
    let names = sealed
        .manifest
        .settings
        .alarm_names(&sealed.manifest.endpoint);
    let found = match cloudwatch::triggered(clients, &names, since).await {
        Ok(found) => found,
        Err(error) => return Some(format!("the alarms cannot be read: {error:#}")),
    };
    let all: Vec<String> = found
        .iter()
        .map(|alarm| format!("alarm {}: {}", alarm.name, alarm.reason))
        .collect();
    (!all.is_empty()).then(|| all.join("; "))
}

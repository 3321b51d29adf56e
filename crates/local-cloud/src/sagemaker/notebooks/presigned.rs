//! Presigned URLs, which open JupyterLab.
//!
//! JupyterLab listens on its own port of loopback, so that it is another origin than this server, which
//! refuses what pages of that origin send.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::machines::{self, Slot};
use super::{NOTEBOOKS, require_status};
use crate::api::{ApiError, ApiResult};
use crate::runtime::Jupyter;
use crate::sagemaker::states::NotebookStatus;
use crate::{Cloud, clock, faults};

/// The time in which a URL can be opened (service model). Unverified against AWS
/// [notebook-url-reuse]: that it can be opened more than once.
const LIFETIME: Duration = Duration::from_mins(5);

/// The duration of a session, in seconds, unless the request has another (service model).
const SESSION: u64 = 43200;

/// The server stays for this long after the last use of a JupyterLab, even if nobody sends requests to
/// the server itself.
const QUIET: Duration = Duration::from_mins(15);

/// Time between two checks whether a JupyterLab is in use.
const INTERVAL: Duration = Duration::from_secs(20);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateUrl {
    notebook_instance_name: String,
    session_expiration_duration_in_seconds: Option<u64>,
}

pub(super) async fn create(cloud: &Cloud, input: CreateUrl) -> ApiResult<Value> {
    let record = NOTEBOOKS.get(cloud, &input.notebook_instance_name)?;
    let allowed = &[NotebookStatus::InService];
    require_status(&record, allowed, "CreatePresignedNotebookInstanceUrl")?;
    // An installation continues when the client stops waiting: the next request finds it.
    let (inner, busy) = (cloud.clone(), cloud.busy());
    let work = tokio::spawn(async move {
        let _busy = busy;
        let (slot, jupyter) = machines::jupyter(&inner, &record).await?;
        Ok::<_, ApiError>((Arc::downgrade(&slot), jupyter))
    });
    let (slot, jupyter) = work.await.map_err(ApiError::internal)??;
    stay_while_in_use(cloud, slot, &jupyter);
    let lifetime = faults::limit(cloud, "presigned-url", LIFETIME);
    let session = input.session_expiration_duration_in_seconds;
    let session = Duration::from_secs(session.unwrap_or(SESSION));
    let session = faults::limit(cloud, "notebook-session", session);
    let url = jupyter.url(session, lifetime);
    Ok(json!({ "AuthorizedUrl": url }))
}

/// Keeps the server from becoming idle while somebody uses JupyterLab, whose programs would end with it.
fn stay_while_in_use(cloud: &Cloud, slot: Weak<Slot>, jupyter: &Arc<Jupyter>) {
    if !jupyter.is_first_watch() {
        return;
    }
    let (cloud, jupyter) = (cloud.clone(), Arc::downgrade(jupyter));
    tokio::spawn(async move {
        let mut busy = None;
        while let (Some(slot), Some(jupyter)) = (slot.upgrade(), jupyter.upgrade()) {
            if jupyter.is_in_use(QUIET).await {
                busy.get_or_insert_with(|| cloud.busy());
            } else {
                busy = None;
            }
            tokio::select! {
                () = slot.machine.gone() => return,
                () = clock::sleep(INTERVAL) => {}
            }
        }
    });
}

//! What follows a change of branches, by the API or by `git push`: its events, and new revisions of pull requests.

use super::pulls::stored;
use super::{announce, find};
use crate::Cloud;
use crate::cloud::caller::Caller;

/// Announces a change, and counts the revisions of pull requests. An error is only written to the server's log,
/// because git has accepted the change; the next look at a pull request counts its revision.
pub(super) async fn after(cloud: &Cloud, name: &str, caller: &Caller) {
    announce::after(cloud, name, caller).await;
    let counted = async {
        let (record, repository) = find(cloud, name)?;
        stored::pushed(cloud, &record.id, &repository, caller).await
    };
    if let Err(error) = counted.await {
        crate::log::write_line(&format!(
            "cannot count the revisions of the pull requests of {name}: {error}"
        ));
    }
}

//! hosting

use crate::local::api::operations;

operations! { "sagemaker": }

/// Work that was under way when the server died is failed.
pub(super) fn recover(_cloud: &crate::local::Cloud) -> anyhow::Result<()> {
    Ok(())
}

/// Ends the processes of this family.
pub(super) async fn shut_down(_cloud: &crate::local::Cloud) {}

//! cloudformation

use super::api::operations;

operations! { "cloudformation": }

/// The resource types that stacks can hold.
pub(crate) fn resource_types() -> Vec<&'static str> {
    Vec::new()
}

/// Work that was under way when the server died is failed.
pub(crate) fn recover(_cloud: &super::Cloud) -> anyhow::Result<()> {
    Ok(())
}

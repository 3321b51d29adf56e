//! Code for what a table cannot express.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::target::{Created, Target};
use crate::api::ApiResult;

/// The steps on a resource. Each carries out the table, unless a type overrides or extends it.
#[async_trait]
pub(crate) trait Hooks: Send + Sync {
    /// Creates the resource.
    async fn create(&self, target: &Target<'_>) -> ApiResult<Created> {
        target.create().await
    }

    /// Waits until the resource is ready, and writes its settings. Fails if it cannot become ready.
    async fn settle(&self, target: &Target<'_>) -> ApiResult<()> {
        target.settle().await
    }

    /// Changes the resource and waits until it is ready. Returns the attributes that changed.
    async fn update(&self, target: &Target<'_>) -> ApiResult<Map<String, Value>> {
        target.update().await
    }

    /// Deletes the resource and waits until it is gone. Fails with a "not found" error if it is gone
    /// already.
    async fn delete(&self, target: &Target<'_>) -> ApiResult<()> {
        target.delete().await
    }

    /// True if [`Hooks::live`] reads properties without the table.
    fn reads_live(&self) -> bool {
        false
    }

    /// True for a property that [`Hooks::live`] reads without the table.
    fn reads_property(&self, _: &str) -> bool {
        true
    }

    /// The live values of the properties that the template sets; `None` if the resource does not exist.
    async fn live(&self, target: &Target<'_>) -> ApiResult<Option<Map<String, Value>>> {
        target.live().await
    }

    /// The ids of the existing resources that a create call with these properties would create or
    /// conflict with.
    async fn find(&self, target: &Target<'_>) -> ApiResult<Vec<String>> {
        target.find().await
    }
}

/// A type that needs no hooks.
pub(super) struct TableOnly;

impl Hooks for TableOnly {}

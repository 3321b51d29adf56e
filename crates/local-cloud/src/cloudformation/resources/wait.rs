//! `AWS::CloudFormation::WaitConditionHandle`: a resource of `CloudFormation` itself.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Handler, Job, Made, Type};
use crate::api::ApiResult;

/// The types of this file.
pub(super) const TYPES: &[Type] = &[Type {
    name: "AWS::CloudFormation::WaitConditionHandle",
    properties: &[],
    naming: None,
    attributes: &["Id"],
    handler: &WaitConditionHandle,
}];

struct WaitConditionHandle;

#[async_trait]
impl Handler for WaitConditionHandle {
    async fn create(&self, job: &Job<'_>) -> ApiResult<Made> {
        // Nothing listens there: a WaitCondition, which would wait for it, is not a type of ours.
        let physical = format!(
            "{}/cloudformation-waitcondition/{}",
            job.cloud.endpoint(),
            uuid::Uuid::new_v4()
        );
        Ok(Made {
            attributes: Map::from_iter([("Id".to_owned(), Value::from(physical.as_str()))]),
            physical,
        })
    }

    async fn update(
        &self,
        _job: &Job<'_>,
        _physical: &str,
        _old: &Map<String, Value>,
    ) -> ApiResult<Map<String, Value>> {
        Ok(Map::new())
    }

    async fn delete(&self, _job: &Job<'_>, _physical: &str) -> ApiResult<()> {
        Ok(())
    }
}

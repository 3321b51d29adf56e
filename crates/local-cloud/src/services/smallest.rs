//! The smallest complete service: a file like this one and a line in the list.

use serde::{Deserialize, Serialize};

use crate::Cloud;
use crate::api::{ApiError, ApiResult};
use crate::cloud::service::{Service, operations};

operations! { "GetParameter" => get, "PutParameter" => put }

/// The service.
pub(crate) const SERVICE: Service = Service::json("smallest", "SSM", "AmazonSSM", &[OPERATIONS]);

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    name: String,
    value: String,
}

async fn put(cloud: &Cloud, input: Parameter) -> ApiResult<()> {
    let parameters = cloud.store().collection("smallest", "parameter");
    parameters.put(&input.name, &input)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Name {
    name: String,
}

async fn get(cloud: &Cloud, input: Name) -> ApiResult<Parameter> {
    let parameters = cloud.store().collection("smallest", "parameter");
    let found = parameters.get(&input.name)?;
    found.ok_or_else(|| ApiError::new("ParameterNotFound", input.name))
}

//! STS: who is calling.

use serde::Serialize;
use serde_json::Value;

use super::Cloud;
use super::api::{ApiResult, operations};
use super::cloud::ACCOUNT;

operations! { "sts":
    "GetCallerIdentity" => get_caller_identity,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CallerIdentity {
    user_id: &'static str,
    account: &'static str,
    arn: String,
}

async fn get_caller_identity(_cloud: &Cloud, _input: Value) -> ApiResult<CallerIdentity> {
    Ok(CallerIdentity {
        user_id: "AIDALOCALCLOUD000000",
        account: ACCOUNT,
        arn: format!("arn:aws:iam::{ACCOUNT}:user/local"),
    })
}

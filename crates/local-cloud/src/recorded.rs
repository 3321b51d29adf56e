//! Counts the operations that clients called since the server started. The tests of `mlops doctor
//! --iam` compare its table with this record.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::cloud::Cloud;
use super::cloud::caller::Caller;
use super::cloud::service::Service;

/// Path at which a server reports the record.
pub(crate) const PATH: &str = "/_mlops/operations";

/// The number of calls of each operation of each service. Bounded by the operations that exist.
type Calls = BTreeMap<(&'static str, String), u64>;

/// The record of a server: the calls of the account's own credentials, which `mlops` uses, and
/// those of sessions of roles.
#[derive(Debug, Default)]
pub(crate) struct Recorded(Mutex<[Calls; 2]>);

/// Records a call by the current caller, if the operation exists.
pub(crate) fn record_call(cloud: &Cloud, service: &'static Service, operation: &str) {
    if service.operation(operation).is_some() {
        record(cloud, service.name, operation);
    }
}

/// Records a call of an operation that exists, by the current caller.
pub(crate) fn record(cloud: &Cloud, service: &'static str, operation: &str) {
    record_for(cloud, &Caller::current(), service, operation);
}

/// Records a call of an operation that exists; or, for a request to ECR's registry or to a git
/// repository, the action that it represents.
pub(crate) fn record_for(cloud: &Cloud, caller: &Caller, service: &'static str, operation: &str) {
    let recorded = &cloud.state::<Recorded>().0;
    let mut calls = recorded.lock().unwrap_or_else(PoisonError::into_inner);
    let calls = &mut calls[usize::from(caller.session().is_some())];
    match calls.get_mut(&(service, operation.to_owned())) {
        Some(count) => *count += 1,
        None => {
            calls.insert((service, operation.to_owned()), 1);
        }
    }
}

/// The record as JSON.
pub(crate) fn as_json(cloud: &Cloud) -> Value {
    let recorded = &cloud.state::<Recorded>().0;
    let calls = recorded.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |calls: &Calls| -> Value {
        let shown = calls.iter().map(|((service, operation), count)| {
            json!({"service": service, "operation": operation, "count": count})
        });
        shown.collect()
    };
    json!({"account": of(&calls[0]), "sessions": of(&calls[1])})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::SERVICES;
    use crate::test_cloud::TestCloud;

    #[tokio::test]
    async fn calls_are_counted_only_if_the_operation_exists() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let sts = SERVICES.iter().find(|it| it.name == "sts").unwrap();
        for operation in ["GetCallerIdentity", "GetCallerIdentity", "NoSuchOperation"] {
            let call = async { record_call(&cloud, sts, operation) };
            Caller::Root.scope(call).await;
        }
        record_for(&cloud, &Caller::Root, "ecr", "PutImage");
        assert_eq!(
            as_json(&cloud),
            json!({
                "account": [
                    {"service": "ecr", "operation": "PutImage", "count": 1},
                    {"service": "sts", "operation": "GetCallerIdentity", "count": 2},
                ],
                "sessions": [],
            })
        );
    }
}

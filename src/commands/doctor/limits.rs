//! The quotas that `init`, `train` and `promote` need, and what is left of them.

use super::account::undone;
use super::report::Check;
use crate::aws::Clients;
use crate::aws::quotas::{self, Counted};
use crate::config::{NetworkAccess, Project};

/// A quota that a resource of the plan counts against.
struct Needed {
    /// The name of the check.
    name: &'static str,
    service: &'static str,
    /// The quota's code.
    code: &'static str,
    /// Its name, as Service Quotas answers it: a code that AWS uses otherwise is not compared.
    quota: &'static str,
    /// The existing resources that count; `None` if they are not counted here.
    counted: Option<Counted>,
}

/// The instance type whose quotas have known codes.
const KNOWN_TYPE: &str = "ml.m5.large";

/// Each code with its name. Unverified against AWS [quota-codes]: the codes are those that others
/// have published; the name in the response decides.
const NEEDED: [Needed; 6] = [
    Needed {
        name: "VPC quota",
        service: "vpc",
        code: "L-F678F1CE",
        quota: "VPCs per Region",
        counted: Some(Counted::Vpcs),
    },
    Needed {
        name: "gateway quota",
        service: "vpc",
        code: "L-A4707A72",
        quota: "Internet gateways per Region",
        counted: Some(Counted::InternetGateways),
    },
    Needed {
        name: "elastic IP quota",
        service: "ec2",
        code: "L-0263D0A3",
        quota: "EC2-VPC Elastic IPs",
        counted: Some(Counted::Addresses),
    },
    Needed {
        name: "training quota",
        service: "sagemaker",
        code: "L-611FA074",
        quota: "ml.m5.large for training job usage",
        counted: None,
    },
    Needed {
        name: "processing quota",
        service: "sagemaker",
        code: "L-8541302D",
        quota: "ml.m5.large for processing job usage",
        counted: None,
    },
    Needed {
        name: "endpoint quota",
        service: "sagemaker",
        code: "L-614B09FD",
        quota: "ml.m5.large for endpoint usage",
        counted: None,
    },
];

/// The page where a quota is shown and raised.
fn page(region: &str, service: &str) -> String {
    format!("https://{region}.console.aws.amazon.com/servicequotas/home/services/{service}/quotas")
}

/// Checks every quota. `has_network` is true if the network stack is deployed, so that its VPC,
/// gateway and address already count.
pub(super) async fn all(
    clients: &Clients,
    project: Option<&Project>,
    has_network: bool,
) -> Vec<Check> {
    let checks = NEEDED.iter().map(|needed| async move {
        let instances = project.map_or(1, |project| project.file.deploy.instance_count);
        let instance_type = project.map(|project| project.file.deploy.instance_type.as_str());
        if needed.name == "endpoint quota" && instance_type.is_some_and(|it| it != KNOWN_TYPE) {
            let instance_type = instance_type.unwrap_or_default();
            return look_there(
                needed.name,
                &format!("`{instance_type} for endpoint usage` has no known code"),
                clients,
            );
        }
        let wanted = match needed.counted {
            Some(_) if has_network => 0,
            // Only the NAT gateway needs them.
            Some(Counted::InternetGateways | Counted::Addresses) if without_nat(project) => 0,
            None if needed.name == "endpoint quota" => instances,
            Some(_) | None => 1,
        };
        one(clients, needed, wanted).await
    });
    let mut checks = futures::future::join_all(checks).await;
    checks.push(look_there(
        "notebook quota",
        "`ml.t3.medium for notebook instance usage` has no known code",
        clients,
    ));
    checks
}

/// Returns whether the project reaches other networks through interface endpoints only.
fn without_nat(project: Option<&Project>) -> bool {
    project.is_some_and(|project| project.file.architecture.network == NetworkAccess::Endpoints)
}

/// A quota of SageMaker that only the console shows.
fn look_there(name: &'static str, reason: &str, clients: &Clients) -> Check {
    let page = page(clients.region(), "sagemaker");
    Check::not_checked(name, reason).fix(format!("see {page}"))
}

async fn one(clients: &Clients, needed: &Needed, wanted: u32) -> Check {
    let page = page(clients.region(), needed.service);
    let quota = match quotas::quota(clients, needed.service, needed.code).await {
        Ok(quota) => quota,
        Err(error) => return undone(needed.name, &error).fix(format!("see {page}")),
    };
    if !quota.name.eq_ignore_ascii_case(needed.quota) {
        let reason = format!("{} is `{}` now", needed.code, quota.name);
        return Check::not_checked(needed.name, reason).fix(format!("see {page}"));
    }
    let used = match needed.counted {
        None => None,
        Some(counted) => match quotas::in_use(clients, counted).await {
            Ok(used) => u32::try_from(used).ok(),
            Err(error) => return undone(needed.name, &error).fix(format!("see {page}")),
        },
    };
    judged(needed, quota.value, used, wanted, &page)
}

fn judged(needed: &Needed, value: f64, used: Option<u32>, wanted: u32, page: &str) -> Check {
    let finding = match used {
        Some(used) => format!("{used} of {value} in use"),
        // Running jobs and endpoints are not counted.
        None => format!("{value} {}", needed.quota),
    };
    if f64::from(used.unwrap_or(0)) + f64::from(wanted) > value {
        return Check::fail(needed.name, format!("{finding}; {wanted} more needed"))
            .fix(format!("raise `{}` at {page}", needed.quota));
    }
    Check::ok(needed.name, finding)
}

#[cfg(test)]
mod tests {
    use super::super::report::Outcome;
    use super::*;

    #[test]
    fn a_quota_fails_if_what_is_needed_does_not_fit() {
        let of = |value, used, wanted| judged(&NEEDED[0], value, used, wanted, "PAGE");
        assert_eq!(of(5.0, Some(4), 1).outcome, Outcome::Ok);
        assert_eq!(of(5.0, Some(4), 1).finding, "4 of 5 in use");
        let full = of(5.0, Some(5), 1);
        assert_eq!(full.outcome, Outcome::Fail);
        assert_eq!(full.finding, "5 of 5 in use; 1 more needed");
        assert_eq!(full.fix.unwrap(), "raise `VPCs per Region` at PAGE");
        // A deployed network already counts.
        assert_eq!(of(5.0, Some(5), 0).outcome, Outcome::Ok);
        assert_eq!(of(0.0, None, 1).outcome, Outcome::Fail);
    }
}

//! Faults that a person injects to see how clients and stacks handle them (`mlops local inject`).
//!
//! Each remaining occurrence of a fault is a file in the state directory, so the program adds and lists them
//! whether or not a server runs, and a server that takes one removes its file. A server keeps the list in
//! memory until the directory changes (`pending`).

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use mlops_core::error::Failure;
use serde::{Deserialize, Serialize};

use super::api::{ApiError, ApiResult};
use super::cloud::service::{Protocol, Service};
use super::services::SERVICES;

mod files;
mod pending;

use files::{DIRECTORY, files, read};
pub(crate) use pending::Injected;

/// The most occurrences of one fault: each is a file.
const MOST: usize = 1000;

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// A request is throttled.
    Throttle {
        /// `SERVICE:OPERATION`; every operation if absent.
        operation: Option<String>,
    },
    /// A request is refused because its credentials have expired.
    ExpiredToken {
        /// `SERVICE:OPERATION`; every operation if absent.
        operation: Option<String>,
    },
    /// A step on a resource of a stack fails.
    ResourceFailure {
        /// The resource type.
        #[serde(rename = "type")]
        kind: String,
        /// The logical id; every resource of the type if absent.
        logical_id: Option<String>,
        /// The step.
        step: Step,
    },
    /// The next update of an endpoint ends with the old configuration and without a reason.
    SilentRollback {
        /// The endpoint; every endpoint if absent.
        endpoint: Option<String>,
    },
    /// The next container of an endpoint exits when it starts.
    ContainerCrash {
        /// The endpoint; every endpoint if absent.
        endpoint: Option<String>,
    },
    /// The next container of an endpoint responds to `/ping` only after its time limit.
    SlowStart {
        /// The endpoint; every endpoint if absent.
        endpoint: Option<String>,
    },
    /// The container of an endpoint responds to the next invocation with status 500.
    #[serde(rename = "http-500")]
    Http500 {
        /// The endpoint; every endpoint if absent.
        endpoint: Option<String>,
    },
}

/// The kind of a fault of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndpointFault {
    /// [`Fault::SilentRollback`]
    SilentRollback,
    /// [`Fault::ContainerCrash`]
    ContainerCrash,
    /// [`Fault::SlowStart`]
    SlowStart,
    /// [`Fault::Http500`]
    Http500,
}

/// A step on a resource of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Its creation.
    Create,
    /// A change in place.
    Update,
    /// Its deletion.
    Delete,
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InjectedFault {
    /// Its id.
    pub id: String,
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// How many more times it happens.
    pub remaining: usize,
}

impl Fault {
    /// Fails for an operation or a resource type that the local cloud does not have.
    fn check(&self) -> Result<()> {
        match self {
            Self::Throttle { operation } | Self::ExpiredToken { operation } => {
                let Some(operation) = operation else {
                    return Ok(());
                };
                let known = operation.split_once(':').is_some_and(|(service, name)| {
                    let mut services = SERVICES.iter().filter(|known| known.name == service);
                    services.any(|service| service.operation_names().contains(&name))
                });
                if known {
                    return Ok(());
                }
                let message = format!("the local cloud does not have the operation `{operation}`");
                Err(Failure::usage(message))
            }
            Self::ResourceFailure { kind, .. } => {
                if super::resource_types().contains(&kind.as_str()) {
                    return Ok(());
                }
                let message = format!("the local cloud does not have the resource type `{kind}`");
                Err(Failure::usage(message))
            }
            // The endpoint may be created later.
            Self::SilentRollback { .. }
            | Self::ContainerCrash { .. }
            | Self::SlowStart { .. }
            | Self::Http500 { .. } => Ok(()),
        }
    }

    fn is_of(&self, service: &str, name: &str) -> bool {
        match self {
            Self::Throttle { operation } | Self::ExpiredToken { operation } => {
                let wanted = operation.as_deref().map(|wanted| wanted.split_once(':'));
                wanted.is_none_or(|wanted| wanted == Some((service, name)))
            }
            _ => false,
        }
    }

    fn is_of_endpoint(&self, fault: EndpointFault, name: &str) -> bool {
        let (kind, endpoint) = match self {
            Self::SilentRollback { endpoint } => (EndpointFault::SilentRollback, endpoint),
            Self::ContainerCrash { endpoint } => (EndpointFault::ContainerCrash, endpoint),
            Self::SlowStart { endpoint } => (EndpointFault::SlowStart, endpoint),
            Self::Http500 { endpoint } => (EndpointFault::Http500, endpoint),
            _ => return false,
        };
        kind == fault && endpoint.as_deref().is_none_or(|wanted| wanted == name)
    }

    /// The error of a request, in the words and with the status of the service's protocol.
    fn error(&self, service: &Service) -> ApiError {
        let is_throttle = matches!(self, Self::Throttle { .. });
        let (code, status) = match (service.protocol, is_throttle) {
            (Protocol::Json { .. }, true) => ("ThrottlingException", 400),
            (Protocol::Query { .. }, true) => ("Throttling", 400),
            (Protocol::Ec2Query { .. }, true) => ("RequestLimitExceeded", 503),
            (Protocol::Rest(_), true) => ("TooManyRequestsException", 429),
            (Protocol::Streaming(_), true) => ("SlowDown", 503),
            (Protocol::Json { .. }, false) => ("ExpiredTokenException", 400),
            (Protocol::Rest(_), false) => ("ExpiredTokenException", 403),
            (Protocol::Streaming(_), false) => ("ExpiredToken", 400),
            (Protocol::Query { .. } | Protocol::Ec2Query { .. }, false) => ("ExpiredToken", 403),
        };
        let message = match (service.protocol, is_throttle) {
            (Protocol::Streaming(_), true) => "Please reduce your request rate.",
            (_, true) => "Rate exceeded",
            (Protocol::Streaming(_), false) => "The provided token has expired.",
            (_, false) => "The security token included in the request is expired",
        };
        ApiError::new(code, message).status(status)
    }
}

/// Injects a fault that happens `count` times.
pub(crate) fn inject(state: &Path, fault: Fault, count: usize) -> Result<InjectedFault> {
    fault.check()?;
    if !(1..=MOST).contains(&count) {
        let message = format!("the count must be between 1 and {MOST}, not {count}");
        return Err(Failure::usage(message));
    }
    let directory = state.join(DIRECTORY);
    let doing = || format!("cannot write {}", directory.display());
    std::fs::create_dir_all(&directory).with_context(doing)?;
    let random = uuid::Uuid::new_v4().simple().to_string();
    let now = jiff::Timestamp::now().as_millisecond();
    let id = format!("{now:013}{}", &random[..8]);
    let text = serde_json::to_vec(&fault)?;
    for number in 0..count {
        let mut file = tempfile::NamedTempFile::new_in(&directory).with_context(doing)?;
        file.write_all(&text).with_context(doing)?;
        let path = directory.join(format!("{id}-{number:04}"));
        file.persist(path).with_context(doing)?;
    }
    Ok(InjectedFault {
        id,
        fault,
        remaining: count,
    })
}

/// The faults that have not happened as often as they should.
pub(super) fn injected(state: &Path) -> Result<Vec<InjectedFault>> {
    let mut found: Vec<InjectedFault> = Vec::new();
    for (id, path) in files(state).context("cannot read the injected faults")? {
        match found.last_mut() {
            Some(last) if last.id == id => last.remaining += 1,
            _ => found.extend(read(&path).map(|fault| InjectedFault {
                id,
                fault,
                remaining: 1,
            })),
        }
    }
    Ok(found)
}

/// Removes all faults; returns those that were left.
pub(super) fn clear(state: &Path) -> Result<Vec<InjectedFault>> {
    let found = injected(state)?;
    match std::fs::remove_dir_all(state.join(DIRECTORY)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context("cannot remove the injected faults")
        }
        _ => Ok(found),
    }
}

/// True if a fault was injected for an endpoint; it has happened then.
pub(crate) fn endpoint(faults: Injected<'_>, fault: EndpointFault, name: &str) -> ApiResult<bool> {
    let taken = pending::take(faults, |injected| injected.is_of_endpoint(fault, name))?;
    Ok(taken.is_some())
}

/// Fails a client's request if a fault was injected for its operation.
pub(crate) fn request(faults: Injected<'_>, service: &Service, operation: &str) -> ApiResult<()> {
    let fault = pending::take(faults, |fault| fault.is_of(service.name, operation))?;
    fault.map_or(Ok(()), |fault| Err(fault.error(service)))
}

/// Fails a step on a resource of a stack if a fault was injected for it.
pub(crate) fn resource(
    faults: Injected<'_>,
    kind: &str,
    logical: &str,
    step: Step,
) -> ApiResult<()> {
    let fault = pending::take(faults, |fault| match fault {
        Fault::ResourceFailure {
            kind: wanted,
            logical_id,
            step: at,
        } => {
            let is_resource = logical_id.as_deref().is_none_or(|wanted| wanted == logical);
            wanted == kind && is_resource && *at == step
        }
        _ => false,
    })?;
    fault.map_or(Ok(()), |_| {
        Err(ApiError::internal(
            "this failure was injected by `mlops local inject resource-failure`",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_cloud::TestCloud;

    fn throttle(operation: Option<&str>) -> Fault {
        let operation = operation.map(str::to_owned);
        Fault::Throttle { operation }
    }

    #[test]
    fn a_fault_happens_as_often_as_it_was_injected() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let state = cloud.directory();
        let kms = cloud.services().named("kms").unwrap();
        assert!(request(cloud.injected(), kms, "ListKeys").is_ok());
        inject(state, throttle(Some("kms:ListKeys")), 2).unwrap();
        assert!(request(cloud.injected(), kms, "CreateKey").is_ok());
        for left in [1, 0] {
            let error = request(cloud.injected(), kms, "ListKeys").unwrap_err();
            assert_eq!(error.code, "ThrottlingException");
            let remaining: usize = injected(state)
                .unwrap()
                .iter()
                .map(|one| one.remaining)
                .sum();
            assert_eq!(remaining, left);
        }
        assert!(request(cloud.injected(), kms, "ListKeys").is_ok());
    }

    #[test]
    fn a_fault_of_an_endpoint_is_taken_by_its_endpoint() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let named = |name: &str| Fault::Http500 {
            endpoint: Some(name.to_owned()),
        };
        inject(cloud.directory(), named("a"), 2).unwrap();
        inject(cloud.directory(), Fault::SlowStart { endpoint: None }, 1).unwrap();
        let taken = |fault, name| endpoint(cloud.injected(), fault, name).unwrap();
        assert!(!taken(EndpointFault::Http500, "b"));
        assert!(!taken(EndpointFault::ContainerCrash, "a"));
        assert!(taken(EndpointFault::SlowStart, "b"));
        let times = (0..5).filter(|_| taken(EndpointFault::Http500, "a"));
        assert_eq!(times.count(), 2);
        let json = serde_json::to_value(named("a")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"fault": "http-500", "endpoint": "a"})
        );
    }

    #[test]
    fn errors_are_those_of_the_protocol() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let expired = Fault::ExpiredToken { operation: None };
        for (service, throttled, token) in [
            (
                "kms",
                "ThrottlingException 400",
                "ExpiredTokenException 400",
            ),
            ("cloudformation", "Throttling 400", "ExpiredToken 403"),
            ("ec2", "RequestLimitExceeded 503", "ExpiredToken 403"),
            (
                "lambda",
                "TooManyRequestsException 429",
                "ExpiredTokenException 403",
            ),
            ("s3", "SlowDown 503", "ExpiredToken 400"),
        ] {
            let service = cloud.services().named(service).unwrap();
            for (fault, wanted) in [(throttle(None), throttled), (expired.clone(), token)] {
                let error = fault.error(service);
                assert_eq!(format!("{} {}", error.code, error.status), wanted);
            }
        }
    }

    #[test]
    fn faults_are_listed_in_order_and_removed() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let state = cloud.directory();
        assert_eq!(injected(state).unwrap(), []);
        assert_eq!(clear(state).unwrap(), []);
        let failure = Fault::ResourceFailure {
            kind: "AWS::KMS::Key".to_owned(),
            logical_id: Some("Key".to_owned()),
            step: Step::Create,
        };
        inject(state, failure.clone(), 3).unwrap();
        assert!(resource(cloud.injected(), "AWS::KMS::Key", "Other", Step::Create).is_ok());
        assert!(resource(cloud.injected(), "AWS::KMS::Key", "Key", Step::Delete).is_ok());
        assert!(resource(cloud.injected(), "AWS::KMS::Key", "Key", Step::Create).is_err());
        let listed = injected(state).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!((&listed[0].fault, listed[0].remaining), (&failure, 2));
        assert_eq!(clear(state).unwrap(), listed);
        assert!(resource(cloud.injected(), "AWS::KMS::Key", "Key", Step::Create).is_ok());
    }

    #[test]
    fn unknown_operations_types_and_counts_are_refused() {
        let test = TestCloud::new();
        let cloud = test.cloud();
        let state = cloud.directory();
        let kind = Fault::ResourceFailure {
            kind: "AWS::KMS::Kay".to_owned(),
            logical_id: None,
            step: Step::Create,
        };
        for (fault, count) in [
            (throttle(Some("kms:ListKays")), 1),
            (throttle(Some("kms")), 1),
            (kind, 1),
            (throttle(None), 0),
            (throttle(None), MOST + 1),
        ] {
            assert!(inject(state, fault.clone(), count).is_err(), "{fault:?}");
        }
        assert_eq!(injected(state).unwrap(), []);
    }
}

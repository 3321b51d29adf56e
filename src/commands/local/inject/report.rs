//! What `mlops local inject` reports.

use std::collections::BTreeMap;
use std::fmt;

use mlops_local_cloud::{self as local, Fault, InjectedFault};
use mlops_oci::Digest;
use serde::Serialize;

/// What `inject` did.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Injected {
    /// Findings of a scan were loaded.
    Scan(InjectedScan),
    /// A fault was injected.
    Fault(InjectedFault),
    /// The faults that will still happen.
    Faults {
        /// In the order in which they were injected.
        faults: Vec<InjectedFault>,
    },
    /// Faults were removed.
    Cleared {
        /// Those that would still have happened.
        cleared: Vec<InjectedFault>,
    },
}

/// The data that was loaded.
#[derive(Debug, Serialize)]
pub struct InjectedScan {
    pub(super) repository: String,
    /// The image; null for every image without findings of its own.
    pub(super) digest: Option<Digest>,
    /// The number of findings by severity.
    pub(super) findings: BTreeMap<String, u64>,
}

impl fmt::Display for InjectedScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self
            .findings
            .iter()
            .map(|(severity, count)| format!("{count} {severity}"))
            .collect();
        let found = if counts.is_empty() {
            "no findings".to_owned()
        } else {
            counts.join(", ")
        };
        match self.digest {
            Some(digest) => write!(
                f,
                "{}@{digest} now counts as scanned: {found}",
                self.repository
            ),
            None => write!(
                f,
                "every image of {} without findings of its own now counts as scanned: {found}",
                self.repository
            ),
        }
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scan(scan) => scan.fmt(f),
            Self::Fault(fault) => f.write_str(&shown(fault)),
            Self::Faults { faults } if faults.is_empty() => f.write_str("No faults are injected."),
            Self::Faults { faults } => {
                let lines: Vec<String> = faults.iter().map(shown).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Cleared { cleared } if cleared.is_empty() => {
                f.write_str("No faults were injected.")
            }
            Self::Cleared { cleared } => {
                let lines: Vec<String> = cleared.iter().map(shown).collect();
                write!(f, "Removed:\n{}", lines.join("\n"))
            }
        }
    }
}

fn shown(injected: &InjectedFault) -> String {
    let any = |operation: &Option<String>| match operation {
        Some(operation) => operation.clone(),
        None => "any operation".to_owned(),
    };
    let at = |endpoint: &Option<String>| match endpoint {
        Some(endpoint) => endpoint.clone(),
        None => "any endpoint".to_owned(),
    };
    let what = match &injected.fault {
        Fault::Throttle { operation } => format!("throttle {}", any(operation)),
        Fault::ExpiredToken { operation } => format!("expired token in {}", any(operation)),
        Fault::ResourceFailure {
            kind,
            logical_id,
            step,
        } => {
            let step = match step {
                local::Step::Create => "create",
                local::Step::Update => "update",
                local::Step::Delete => "delete",
            };
            let of = logical_id.as_ref().map(|id| format!(" {id}"));
            format!("fail to {step} {kind}{}", of.unwrap_or_default())
        }
        Fault::SilentRollback { endpoint } => format!("silent rollback of {}", at(endpoint)),
        Fault::ContainerCrash { endpoint } => format!("container crash of {}", at(endpoint)),
        Fault::SlowStart { endpoint } => format!("slow start of {}", at(endpoint)),
        Fault::Http500 { endpoint } => format!("HTTP 500 from {}", at(endpoint)),
    };
    match injected.remaining {
        1 => format!("{what}, once"),
        count => format!("{what}, {count} times"),
    }
}

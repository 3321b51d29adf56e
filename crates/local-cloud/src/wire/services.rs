//! The services of AWS: identifies the service that a request is for, even if the local cloud does
//! not have it.
//!
//! services.tsv is generated from the service models of botocore by tools/services.py.

use std::sync::LazyLock;

use http::request::Parts;

use super::Dialect;
use crate::cloud::service::Services;

/// A service of AWS.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AwsService {
    /// The name in credential scopes; `-` if requests are not signed with version 4.
    signing: &'static str,
    protocols: Vec<&'static str>,
    id: &'static str,
    /// The full name, if it does not contain the id.
    full: &'static str,
    /// The prefix of `X-Amz-Target`, which is also the service name in rpc-v2-cbor paths.
    target: &'static str,
    /// The API version in query requests.
    version: &'static str,
    /// Prefixes of the paths of a REST API.
    paths: Vec<&'static str>,
}

static ALL: LazyLock<Vec<AwsService>> = LazyLock::new(|| {
    include_str!("services.tsv")
        .lines()
        .filter_map(AwsService::read)
        .collect()
});

impl AwsService {
    fn read(line: &'static str) -> Option<Self> {
        let cells: Vec<&str> = line.split('\t').collect();
        let [signing, protocols, id, full, target, version, paths] = cells[..] else {
            return None;
        };
        Some(Self {
            signing,
            protocols: protocols.split(',').collect(),
            id,
            full,
            target,
            version,
            paths: paths.split_whitespace().collect(),
        })
    }

    fn is_one_of(&self, services: Services) -> bool {
        services.iter().any(|service| service.sdk_id == self.id)
    }

    /// True if the service supports one of these protocols (named as in botocore).
    pub(super) fn speaks(&self, protocols: &[&str]) -> bool {
        self.protocols
            .iter()
            .any(|protocol| protocols.contains(protocol))
    }

    /// Length of the longest known prefix of `path`.
    pub(super) fn matches(&self, path: &str) -> usize {
        let lengths = self.paths.iter().filter(|known| path.starts_with(**known));
        lengths.map(|known| known.len()).max().unwrap_or(0)
    }

    fn name(&self) -> String {
        if self.full.is_empty() {
            self.id.to_owned()
        } else {
            format!("{} ({})", self.id, self.full)
        }
    }
}

/// Services with this signing name that support one of `protocols`.
pub(super) fn signed(signing: &str, protocols: &[&str]) -> Vec<&'static AwsService> {
    ALL.iter()
        .filter(|known| known.signing == signing && known.speaks(protocols))
        .collect()
}

/// REST services with this signing name that match the path, as far as paths tell.
pub(super) fn rest(signing: Option<&str>, path: &str) -> Vec<&'static AwsService> {
    let mut found: Vec<&AwsService> = ALL
        .iter()
        .filter(|known| signing.is_none_or(|signing| known.signing == signing))
        .filter(|known| known.speaks(&["rest-json", "rest-xml"]))
        .collect();
    let longest = found.iter().map(|known| known.matches(path)).max();
    if let Some(longest @ 1..) = longest {
        found.retain(|known| known.matches(path) == longest);
    } else if signing.is_none() {
        // Without a signature, only the path identifies a service.
        found.clear();
    }
    found
}

/// The name of the service that a request is for, if it is none of `services`. `signing` is the
/// service in the credential scope, `version` that of a form.
pub(crate) fn absent(
    parts: &Parts,
    dialect: Dialect,
    signing: Option<&str>,
    version: Option<&str>,
    services: Services,
) -> Option<String> {
    let path = parts.uri.path();
    let (mut found, mut unknown) = match dialect {
        Dialect::Registry | Dialect::Git => return None,
        Dialect::Json(_) | Dialect::Cbor => {
            let target = target(parts, dialect)?;
            let found = ALL.iter().filter(|known| known.target == target).collect();
            (found, Some(target))
        }
        Dialect::Query(_) => {
            let mut found = signing.map_or_else(Vec::new, |name| signed(name, &["query", "ec2"]));
            if found.is_empty() {
                // A version 2 signature is in the form and does not name the service.
                found.extend(ALL.iter().filter(|known| {
                    known.signing == "-" && version.is_some_and(|version| known.version == version)
                }));
            }
            (found, signing)
        }
        Dialect::RestJson | Dialect::RestXml | Dialect::S3 => (rest(signing, path), signing),
    };
    // Several services may match so far.
    narrow(&mut found, |known| Some(known.signing) == signing);
    narrow(&mut found, |known| Some(known.version) == version);
    if found.iter().any(|known| known.is_one_of(services)) {
        return None;
    }
    if found.is_empty()
        && let Some(signing) = signing
    {
        // If the service exists but does not support the protocol, the service itself refuses the
        // request.
        unknown = unknown.filter(|_| services.signed(signing).next().is_none());
    }
    let mut names: Vec<String> = found.iter().map(|known| known.name()).collect();
    names.dedup();
    match names.pop() {
        None => unknown.map(str::to_owned),
        Some(last) if names.is_empty() => Some(last),
        Some(last) => Some(format!("{} or {last}", names.join(", "))),
    }
}

/// The target prefix of a JSON or CBOR request.
fn target(parts: &Parts, dialect: Dialect) -> Option<&str> {
    if dialect == Dialect::Cbor {
        let service = parts.uri.path().strip_prefix("/service/")?;
        return service.split('/').next();
    }
    let target = parts.headers.get("x-amz-target")?.to_str().ok()?;
    Some(target.rsplit_once('.').map_or(target, |(prefix, _)| prefix))
}

fn narrow(found: &mut Vec<&AwsService>, fits: impl Fn(&AwsService) -> bool) {
    if found.iter().any(|known| fits(known)) {
        found.retain(|known| fits(known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::service::Protocol;

    const ALL_OURS: Services = Services::new(crate::services::SERVICES);

    fn parts(path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method("POST").uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn named(path: &str, headers: &[(&str, &str)], signing: &str, version: &str) -> Option<String> {
        let parts = parts(path, headers);
        let signing = (!signing.is_empty()).then_some(signing);
        let version = (!version.is_empty()).then_some(version);
        let dialect = Dialect::of(&parts, signing, ALL_OURS);
        absent(&parts, dialect, signing, version, ALL_OURS)
    }

    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

    #[test]
    fn issue_8_3_7_an_absent_service_has_its_own_name() {
        let target = |target: &'static str, signing: &str| {
            named("/", &[("x-amz-target", target)], signing, "").unwrap_or_default()
        };
        assert_eq!(
            target("DynamoDB_20120810.ListTables", "dynamodb"),
            "DynamoDB"
        );
        assert_eq!(
            target("AWSStepFunctions.ListActivities", "states"),
            "SFN (AWS Step Functions)"
        );
        assert_eq!(
            target(
                "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.ListTrails",
                "cloudtrail"
            ),
            "CloudTrail"
        );
        assert_eq!(target("Nobody_2020.Do", "nobody"), "Nobody_2020");
        let cbor = [("smithy-protocol", "rpc-v2-cbor")];
        let path = "/service/CloudWatchOmniFrontend/operation/List";
        let omni = named(path, &cbor, "cloudwatch", "").unwrap();
        assert_eq!(omni, "CloudWatchOmni (CloudWatch Omni)");
        assert_eq!(
            named("/", &[FORM], "elasticache", "2015-02-02").unwrap(),
            "ElastiCache"
        );
        // Two services share a signing name.
        let balancing = |version| named("/", &[FORM], "elasticloadbalancing", version).unwrap();
        assert_ne!(balancing("2012-06-01"), balancing("2015-12-01"));
        assert!(
            named("/", &[FORM], "rds", "2014-10-31")
                .unwrap()
                .contains(", Neptune or RDS")
        );
        assert_eq!(named("/", &[FORM], "", "2009-04-15").unwrap(), "SimpleDB");
        assert!(
            named("/", &[FORM], "IngestionService", "2010-06-01")
                .unwrap()
                .contains("Import/Export")
        );
        let search = named("/2013-01-01/search", &[FORM], "cloudsearch", "").unwrap();
        assert_eq!(search, "CloudSearch Domain");
        let rest = |path, signing| named(path, &[], signing, "").unwrap_or_default();
        assert_eq!(rest("/pipes", "pipes"), "Pipes");
        assert_eq!(rest("/v2/apis", "apigateway"), "ApiGatewayV2");
        assert_eq!(rest("/restapis", "apigateway"), "API Gateway");
        assert!(rest("/meetings/x", "chime").contains("Chime SDK Meetings"));
        assert_eq!(rest("/BatchPutMetrics", "sagemaker"), "SageMaker Metrics");
        assert_eq!(rest("/v20180820/jobs", "s3"), "S3 Control");
        assert_eq!(rest("/x", "nobody"), "nobody");
    }

    #[test]
    fn available_services_are_not_reported_as_absent() {
        for service in ALL_OURS.iter() {
            let name = service.signing_name;
            assert_eq!(named("/", &[FORM], name, ""), None, "{name}");
            if let Protocol::Json { target_prefix } = service.protocol {
                let target = format!("{target_prefix}.Do");
                assert_eq!(named("/", &[("x-amz-target", &target)], name, ""), None);
            }
            assert!(
                ALL.iter()
                    .any(|known| known.signing == name && known.id == service.sdk_id)
            );
        }
        for (path, signing) in [
            ("/bucket/key", "s3"),
            ("/v2/key", "s3"),
            ("/endpoints/e/invocations", "sagemaker"),
            ("/2015-03-31/functions", "lambda"),
            ("/2017-03-31/tags/x", "lambda"),
        ] {
            assert_eq!(named(path, &[], signing, ""), None, "{path}");
        }
    }

    #[test]
    fn the_table_is_complete() {
        let lines = include_str!("services.tsv").lines().count();
        assert_eq!(ALL.len() + 1, lines, "the first line is a comment");
    }
}

//! Validation of a bucket's notification configuration. Only those to EventBridge are delivered
//! (`announce`); the others are stored.

use std::collections::BTreeSet;

use s3s::dto::{FilterRuleName, NotificationConfiguration, NotificationConfigurationFilter};

use crate::api::{ApiError, ApiResult};

/// The event types of S3 (API reference, `Event`).
const EVENTS: [&str; 31] = [
    "s3:ReducedRedundancyLostObject",
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Post",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ObjectAcl:Put",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Put",
    "s3:ObjectTagging:Delete",
    "s3:ObjectAnnotation:*",
    "s3:ObjectAnnotation:Put",
    "s3:ObjectAnnotation:Delete",
    "s3:ObjectRetention:Put",
];

fn argument(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidArgument", message)
}

/// The key filter of a configuration: prefix and suffix.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct KeyFilter {
    prefix: String,
    suffix: String,
}

impl KeyFilter {
    fn of(filter: Option<&NotificationConfigurationFilter>) -> ApiResult<Self> {
        let rules = filter
            .and_then(|filter| filter.key.as_ref())
            .and_then(|key| key.filter_rules.as_deref())
            .unwrap_or_default();
        let (mut prefix, mut suffix) = (None, None);
        for rule in rules {
            let name = rule.name.as_ref().map_or("", FilterRuleName::as_str);
            let place = match name.to_ascii_lowercase().as_str() {
                "prefix" => &mut prefix,
                "suffix" => &mut suffix,
                _ => {
                    return Err(argument("filter rule name must be either prefix or suffix"));
                }
            };
            let value = rule.value.clone().unwrap_or_default();
            if value.len() > 1024 {
                return Err(argument(
                    "Size of filter rule value cannot exceed 1024 bytes in UTF-8",
                ));
            }
            if place.replace(value).is_some() {
                return Err(argument(format!(
                    "Cannot specify more than one {} rule in a filter.",
                    name.to_ascii_lowercase()
                )));
            }
        }
        Ok(Self {
            prefix: prefix.unwrap_or_default(),
            suffix: suffix.unwrap_or_default(),
        })
    }

    /// True if a key can match both filters.
    fn overlaps(&self, other: &Self) -> bool {
        let either = |a: &str, b: &str, ends: fn(&str, &str) -> bool| ends(a, b) || ends(b, a);
        either(&self.prefix, &other.prefix, |a, b| a.starts_with(b))
            && either(&self.suffix, &other.suffix, |a, b| a.ends_with(b))
    }
}

/// True if two event types have an event in common.
fn overlap(one: &str, other: &str) -> bool {
    let covers = |wide: &str, narrow: &str| {
        wide.strip_suffix('*')
            .is_some_and(|stem| narrow.starts_with(stem))
    };
    one == other || covers(one, other) || covers(other, one)
}

/// A configuration, for any type of destination.
struct Entry<'a> {
    service: &'static str,
    arn: &'a str,
    id: &'a mut Option<String>,
    events: Vec<&'a str>,
    filter: Option<&'a NotificationConfigurationFilter>,
}

/// Converts the names of filter rules to lower case, as in the API model.
fn lower_names(filter: Option<&mut NotificationConfigurationFilter>) {
    let rules = filter
        .and_then(|filter| filter.key.as_mut())
        .and_then(|key| key.filter_rules.as_mut());
    for rule in rules.into_iter().flatten() {
        rule.name = rule
            .name
            .take()
            .map(|name| FilterRuleName::from(name.as_str().to_ascii_lowercase()));
    }
}

/// Fails if S3 would refuse the configuration, and assigns ids to entries without one.
pub(super) fn check(configuration: &mut NotificationConfiguration) -> ApiResult<()> {
    let mut entries = Vec::new();
    macro_rules! collect {
        ($list:ident, $arn:ident, $service:literal) => {
            for entry in configuration.$list.iter_mut().flatten() {
                lower_names(entry.filter.as_mut());
                entries.push(Entry {
                    service: $service,
                    arn: &entry.$arn,
                    id: &mut entry.id,
                    events: entry.events.iter().map(AsRef::as_ref).collect(),
                    filter: entry.filter.as_ref(),
                });
            }
        };
    }
    collect!(
        lambda_function_configurations,
        lambda_function_arn,
        "lambda"
    );
    collect!(queue_configurations, queue_arn, "sqs");
    collect!(topic_configurations, topic_arn, "sns");

    let mut ids = BTreeSet::new();
    let mut seen: Vec<(Vec<&str>, KeyFilter)> = Vec::new();
    for entry in entries {
        let fields: Vec<&str> = entry.arn.splitn(6, ':').collect();
        let formed = matches!(fields[..], ["arn", partition, service, region, _, resource]
            if partition.starts_with("aws") && service == entry.service && !region.is_empty()
                && !resource.is_empty());
        if !formed {
            return Err(argument("The ARN could not be parsed"));
        }
        if entry.events.is_empty() {
            return Err(ApiError::new(
                "MalformedXML",
                "The XML you provided was not well-formed or did not validate against our \
                 published schema",
            ));
        }
        if entry.events.iter().any(|event| !EVENTS.contains(event)) {
            return Err(argument("The event is not supported for notifications"));
        }
        let keys = KeyFilter::of(entry.filter)?;
        let overlap = seen.iter().any(|(events, others)| {
            keys.overlaps(others)
                && events
                    .iter()
                    .any(|event| entry.events.iter().any(|other| overlap(event, other)))
        });
        if overlap {
            return Err(argument(
                "Configuration is ambiguously defined. Cannot have overlapping suffixes in two \
                 rules if the prefixes are overlapping for the same event type.",
            ));
        }
        seen.push((entry.events, keys));
        let id = entry
            .id
            .get_or_insert_with(|| uuid::Uuid::new_v4().to_string());
        if id.chars().count() > 255 {
            return Err(argument("ID length should not exceed allowed limit of 255"));
        }
        if !ids.insert(id.clone()) {
            return Err(argument(
                "Same ID used for multiple configurations. IDs must be unique",
            ));
        }
    }
    Ok(())
}

//! Validation of a bucket's lifecycle rules.

use std::collections::BTreeSet;

use s3s::dto::{
    BucketLifecycleConfiguration, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
    Transition, TransitionStorageClass,
};

use super::{tags, wire};
use crate::api::{ApiError, ApiResult};

/// Maximum number of rules of one bucket.
const MAX_RULES: usize = 1000;

/// Maximum length of a rule's id, in characters.
const MAX_ID: usize = 255;

/// Storage classes that a transition can name.
const CLASSES: [&str; 6] = [
    "GLACIER",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];

const DAY: i64 = 24 * 60 * 60;

fn malformed() -> ApiError {
    ApiError::new(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}

fn argument(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidArgument", message)
}

fn request(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidRequest", message)
}

/// Fails if S3 would refuse the rules.
pub(super) fn check(configuration: &BucketLifecycleConfiguration) -> ApiResult<()> {
    let rules = &configuration.rules;
    if rules.is_empty() || rules.len() > MAX_RULES {
        return Err(malformed());
    }
    let mut ids = BTreeSet::new();
    for rule in rules {
        if let Some(id) = &rule.id {
            if id.chars().count() > MAX_ID {
                return Err(argument("ID length should not exceed allowed limit of 255"));
            }
            if !id.is_empty() && !ids.insert(id) {
                return Err(argument(
                    "Rule ID must be unique. Found same ID for more than one rule",
                ));
            }
        }
        check_rule(rule)?;
    }
    Ok(())
}

fn check_rule(rule: &LifecycleRule) -> ApiResult<()> {
    if !matches!(rule.status.as_str(), "Enabled" | "Disabled") {
        return Err(malformed());
    }
    let tagged = match (&rule.filter, &rule.prefix) {
        (Some(filter), None) => check_filter(filter)?,
        (None, Some(_)) => false,
        _ => return Err(malformed()),
    };
    let transitions = rule.transitions.as_deref().unwrap_or_default();
    let noncurrent = rule
        .noncurrent_version_transitions
        .as_deref()
        .unwrap_or_default();
    if rule.expiration.is_none()
        && transitions.is_empty()
        && noncurrent.is_empty()
        && rule.noncurrent_version_expiration.is_none()
        && rule.abort_incomplete_multipart_upload.is_none()
    {
        return Err(request(
            "At least one action needs to be specified in a rule",
        ));
    }
    if let Some(expiration) = &rule.expiration {
        check_expiration(expiration, tagged)?;
    }
    check_transitions(transitions, rule.expiration.as_ref())?;
    if let Some(expiration) = &rule.noncurrent_version_expiration {
        positive(
            expiration.noncurrent_days.unwrap_or(0),
            "'NoncurrentDays' for NoncurrentVersionExpiration",
        )?;
        check_newer(expiration.newer_noncurrent_versions)?;
    }
    for transition in noncurrent {
        check_class(
            transition
                .storage_class
                .as_ref()
                .map(TransitionStorageClass::as_str),
        )?;
        if transition.noncurrent_days.is_none_or(|days| days < 0) {
            return Err(argument(
                "'NoncurrentDays' in NoncurrentVersionTransition action must be nonnegative",
            ));
        }
        check_newer(transition.newer_noncurrent_versions)?;
    }
    if let Some(abort) = &rule.abort_incomplete_multipart_upload {
        if tagged {
            return Err(request(
                "AbortIncompleteMultipartUpload cannot be specified with Tags.",
            ));
        }
        positive(
            abort.days_after_initiation.unwrap_or(0),
            "'DaysAfterInitiation' for AbortIncompleteMultipartUpload",
        )?;
    }
    Ok(())
}

fn positive(number: i32, what: &str) -> ApiResult<()> {
    if number > 0 {
        return Ok(());
    }
    Err(argument(format!(
        "{what} action must be a positive integer"
    )))
}

fn check_newer(versions: Option<i32>) -> ApiResult<()> {
    if versions.is_none_or(|count| (1..=100).contains(&count)) {
        return Ok(());
    }
    Err(argument(
        "'NewerNoncurrentVersions' must be an integer between 1 and 100",
    ))
}

/// Checks a filter and returns true if it filters by tags.
fn check_filter(filter: &LifecycleRuleFilter) -> ApiResult<bool> {
    let members = [
        filter.and.is_some(),
        filter.prefix.is_some(),
        filter.tag.is_some(),
        filter.object_size_greater_than.is_some(),
        filter.object_size_less_than.is_some(),
    ];
    if members.into_iter().filter(|member| *member).count() > 1 {
        return Err(malformed());
    }
    let tags = match &filter.and {
        Some(and) => {
            let tags = and.tags.clone().unwrap_or_default();
            let count = usize::from(and.prefix.is_some())
                + usize::from(and.object_size_greater_than.is_some())
                + usize::from(and.object_size_less_than.is_some())
                + tags.len();
            if count < 2 {
                return Err(malformed());
            }
            if let (Some(more), Some(less)) =
                (and.object_size_greater_than, and.object_size_less_than)
                && more >= less
            {
                return Err(request(
                    "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.",
                ));
            }
            tags
        }
        None => filter.tag.clone().into_iter().collect(),
    };
    tags::check_set(&tags)?;
    Ok(!tags.is_empty())
}

fn check_expiration(expiration: &LifecycleExpiration, tagged: bool) -> ApiResult<()> {
    let marker = expiration.expired_object_delete_marker;
    match (expiration.days, &expiration.date, marker) {
        (Some(days), None, None) => positive(days, "'Days' for Expiration"),
        (None, Some(date), None) => check_date(wire::seconds(date)),
        (None, None, Some(_)) if tagged => Err(request(
            "ExpiredObjectDeleteMarker cannot be specified with Tags.",
        )),
        (None, None, Some(_)) => Ok(()),
        _ => Err(malformed()),
    }
}

fn check_date(seconds: i64) -> ApiResult<()> {
    if seconds % DAY == 0 {
        return Ok(());
    }
    Err(argument("'Date' must be at midnight GMT"))
}

fn check_class(class: Option<&str>) -> ApiResult<&str> {
    class
        .filter(|class| CLASSES.contains(class))
        .ok_or_else(malformed)
}

fn check_transitions(
    transitions: &[Transition],
    expiration: Option<&LifecycleExpiration>,
) -> ApiResult<()> {
    let mut classes = BTreeSet::new();
    for transition in transitions {
        let class = check_class(
            transition
                .storage_class
                .as_ref()
                .map(TransitionStorageClass::as_str),
        )?;
        if !classes.insert(class.to_owned()) {
            return Err(request(
                "'StorageClass' must be different for 'Transition' actions in same 'Rule'",
            ));
        }
        match (transition.days, &transition.date) {
            (Some(days), None) => {
                if days < 0 {
                    return Err(argument("'Days' for Transition action must be nonnegative"));
                }
                if matches!(class, "STANDARD_IA" | "ONEZONE_IA") && days < 30 {
                    return Err(argument(format!(
                        "'Days' in Transition action must be greater than or equal to 30 for \
                         storageClass '{class}'"
                    )));
                }
            }
            (None, Some(date)) => check_date(wire::seconds(date))?,
            _ => return Err(malformed()),
        }
        let Some(expiration) = expiration else {
            continue;
        };
        let mixed = transition.days.is_some() && expiration.date.is_some()
            || transition.date.is_some() && expiration.days.is_some();
        if mixed {
            return Err(request(
                "Found mixed 'Date' and 'Days' based Expiration and Transition actions in \
                 lifecycle rule",
            ));
        }
        let early = match (expiration.days, transition.days) {
            (Some(expires), Some(moves)) => expires <= moves,
            _ => match (&expiration.date, &transition.date) {
                (Some(expires), Some(moves)) => wire::seconds(expires) <= wire::seconds(moves),
                _ => false,
            },
        };
        if early {
            return Err(argument(
                "The Expiration action must be later than the Transition action",
            ));
        }
    }
    Ok(())
}

//! Creates, overwrites and deletes parameters.

use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Parameter, ParameterVersion, Tier, Type, names, not_found, parameters, tags};
use crate::api::tags::Tags;
use crate::api::{ApiError, ApiResult};
use crate::cloud::ACCOUNT;
use crate::{Cloud, clock};

/// Number of versions that Parameter Store keeps.
const MAX_VERSIONS: usize = 100;

/// Longest value of a standard parameter, in characters.
const STANDARD_VALUE: usize = 4096;

/// Longest value of an advanced parameter, in characters.
const ADVANCED_VALUE: usize = 8192;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Put {
    name: String,
    value: String,
    #[serde(rename = "Type")]
    kind: Option<Type>,
    description: Option<String>,
    key_id: Option<String>,
    #[serde(default)]
    overwrite: bool,
    allowed_pattern: Option<String>,
    #[serde(default)]
    tags: Tags,
    tier: Option<Tier>,
    data_type: Option<String>,
}

/// `PutParameter`
pub(super) async fn put(cloud: &Cloud, input: Put) -> ApiResult<Value> {
    let name = names::of(cloud, input.name.trim())?;
    names::check(&name)?;
    if input.value.is_empty() {
        return Err(ApiError::validation(
            "1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must \
             have length greater than or equal to 1.",
        ));
    }
    if input.overwrite && !input.tags.is_empty() {
        return Err(ApiError::validation(
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, \
             please remove overwrite flag. To update tags for an existing parameter, please use \
             AddTagsToResource or RemoveTagsFromResource.",
        ));
    }
    match input.data_type.as_deref() {
        None | Some("" | "text") => {}
        Some(other) => {
            return Err(ApiError::not_implemented(format_args!(
                "DataType {other} of ssm:PutParameter"
            )));
        }
    }
    let records = parameters(cloud);
    cloud.store().transaction(|transaction| {
        let old = records.get_in(transaction, &name)?;
        if old.is_some() && !input.overwrite {
            return Err(ApiError::new(
                "ParameterAlreadyExists",
                "The parameter already exists. To overwrite this value, set the overwrite option in the \
                 request to true.",
            ));
        }
        let version = next(&name, &input, old.as_ref())?;
        let answer = json!({"Version": version.version, "Tier": version.tier});
        let mut parameter = old.unwrap_or_else(|| Parameter {
            name: name.clone(),
            versions: Vec::new(),
            tags: Vec::new(),
        });
        tags::set(&mut parameter, &input.tags)?;
        parameter.versions.push(version);
        drop_oldest(&mut parameter)?;
        records.put_in(transaction, &name, &parameter)?;
        Ok(answer)
    })
}

/// The version that a request adds.
fn next(name: &str, input: &Put, old: Option<&Parameter>) -> ApiResult<ParameterVersion> {
    let latest = old.map(Parameter::latest).transpose()?;
    let kind = input.kind.or(latest.map(|latest| latest.kind));
    let Some(kind) = kind else {
        return Err(ApiError::validation(
            "A parameter type is required when you create a parameter.",
        ));
    };
    if kind == Type::SecureString {
        return Err(ApiError::not_implemented(
            "parameters of type SecureString: its KMS does not encrypt",
        ));
    }
    if input.key_id.is_some() {
        return Err(ApiError::validation(
            "KeyId is required for SecureString type parameter only.",
        ));
    }
    if latest.is_some_and(|latest| latest.kind != kind) && name.starts_with('/') {
        return Err(ApiError::new(
            "HierarchyTypeMismatchException",
            "Parameter Store doesn't support changing a parameter type in a hierarchy. For example, you \
             can't change a parameter from a String type to a SecureString type. You must create a new, \
             unique parameter.",
        ));
    }
    let pattern = input
        .allowed_pattern
        .as_ref()
        .filter(|text| !text.is_empty());
    if let Some(pattern) = pattern {
        check_pattern(pattern, &input.value)?;
    }
    Ok(ParameterVersion {
        version: latest.map_or(0, |latest| latest.version) + 1,
        value: input.value.clone(),
        kind,
        description: input.description.clone(),
        allowed_pattern: pattern.cloned(),
        tier: tier(input.tier, latest.map(|latest| latest.tier), &input.value)?,
        data_type: "text".to_owned(),
        last_modified_date: clock::epoch(),
        last_modified_user: format!("arn:aws:iam::{ACCOUNT}:root"),
        labels: Vec::new(),
    })
}

/// Checks a value against the request's `AllowedPattern` (Java syntax).
fn check_pattern(pattern: &str, value: &str) -> ApiResult<()> {
    let whole = match Regex::new(&format!("^(?:{pattern})$")) {
        Ok(whole) => whole,
        // Java supports look-around and backreferences; `regex` supports neither.
        Err(_)
            if ["(?=", "(?!", "(?<", "(?>", "\\1"]
                .iter()
                .any(|part| pattern.contains(part)) =>
        {
            return Err(ApiError::not_implemented(format_args!(
                "AllowedPattern {pattern} of ssm:PutParameter: look-around and backreferences are not \
                 supported"
            )));
        }
        Err(error) => {
            return Err(ApiError::new(
                "InvalidAllowedPatternException",
                format!("The request does not meet the regular expression requirement: {error}"),
            ));
        }
    };
    if whole.is_match(value) {
        return Ok(());
    }
    Err(ApiError::new(
        "ParameterPatternMismatchException",
        format!("Parameter value, cannot be validated against allowedPattern: {pattern}"),
    ))
}

/// The tier of a new version; fails if its value is too long for the tier.
fn tier(given: Option<Tier>, old: Option<Tier>, value: &str) -> ApiResult<Tier> {
    let length = value.chars().count();
    let was_advanced = old == Some(Tier::Advanced);
    let tier = match given {
        None if was_advanced => Tier::Advanced,
        Some(Tier::Standard) if was_advanced => {
            return Err(ApiError::validation(
                "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from \
                 the advanced-parameter tier to the standard-parameter tier. If necessary, you can delete \
                 the advanced parameter and recreate it as a standard parameter.",
            ));
        }
        Some(Tier::Intelligent) if was_advanced || length > STANDARD_VALUE => Tier::Advanced,
        Some(Tier::Advanced) => Tier::Advanced,
        _ => Tier::Standard,
    };
    match tier {
        Tier::Advanced if length > ADVANCED_VALUE => Err(ApiError::validation(format!(
            "Advanced tier parameters support a maximum parameter value of {ADVANCED_VALUE} characters."
        ))),
        Tier::Standard if length > STANDARD_VALUE => Err(ApiError::validation(format!(
            "Standard tier parameters support a maximum parameter value of {STANDARD_VALUE} characters. To \
             create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. \
             For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"
        ))),
        tier => Ok(tier),
    }
}

/// Removes the oldest version if there are too many; fails if it has a label.
fn drop_oldest(parameter: &mut Parameter) -> ApiResult<()> {
    if parameter.versions.len() <= MAX_VERSIONS {
        return Ok(());
    }
    let oldest = parameter.versions.remove(0);
    if oldest.labels.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(
        "ParameterMaxVersionLimitExceeded",
        format!(
            "You attempted to create a new version of {} by calling the PutParameter API with the overwrite \
             flag. Version {}, the oldest version, can't be deleted because it has a label associated with \
             it. Move the label to another version of the parameter, and try again.",
            parameter.name, oldest.version
        ),
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Name {
    name: String,
}

/// `DeleteParameter`
pub(super) async fn delete(cloud: &Cloud, input: Name) -> ApiResult<Value> {
    let name = names::of(cloud, &input.name)?;
    if parameters(cloud).remove(&name)? {
        Ok(json!({}))
    } else {
        Err(not_found(&input.name))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Names {
    names: Vec<String>,
}

/// `DeleteParameters`
pub(super) async fn delete_many(cloud: &Cloud, input: Names) -> ApiResult<Value> {
    let (mut deleted, mut invalid) = (Vec::new(), Vec::new());
    for given in input.names {
        let name = names::of(cloud, &given)?;
        if parameters(cloud).remove(&name)? {
            deleted.push(given);
        } else {
            invalid.push(given);
        }
    }
    Ok(json!({"DeletedParameters": deleted, "InvalidParameters": invalid}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_limit_values_and_cannot_be_downgraded() {
        let long = "x".repeat(4097);
        let (standard, advanced) = (Some(Tier::Standard), Some(Tier::Advanced));
        assert_eq!(tier(None, None, "x"), Ok(Tier::Standard));
        assert_eq!(tier(None, advanced, "x"), Ok(Tier::Advanced));
        assert_eq!(tier(advanced, standard, &long), Ok(Tier::Advanced));
        let chosen = |value: &str| tier(Some(Tier::Intelligent), None, value);
        assert_eq!(chosen("x"), Ok(Tier::Standard));
        assert_eq!(chosen(&long), Ok(Tier::Advanced));
        for (given, old, value, part) in [
            (None, None, long.as_str(), "Standard tier"),
            (advanced, None, &"x".repeat(8193), "Advanced tier"),
            (standard, advanced, "x", "can't downgrade"),
        ] {
            let error = tier(given, old, value).unwrap_err();
            assert!(error.message.contains(part), "{error}");
        }
    }

    #[test]
    fn patterns_match_the_complete_value() {
        assert_eq!(check_pattern(r"\d+", "123"), Ok(()));
        for (pattern, code) in [
            (r"\d+", "ParameterPatternMismatchException"),
            ("(", "InvalidAllowedPatternException"),
            ("(?=a).*", "NotImplemented"),
        ] {
            assert_eq!(check_pattern(pattern, "a1").unwrap_err().code, code);
        }
    }
}

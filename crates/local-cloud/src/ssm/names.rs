//! Names of parameters, their ARNs, and selectors (`NAME:VERSION`, `NAME:LABEL`).

use crate::Cloud;
use crate::api::{ApiError, ApiResult};

/// Longest name (API reference: `PutParameter`).
const MAX_NAME: usize = 1011;

/// Deepest hierarchy (API reference: `PutParameter`).
const MAX_LEVELS: usize = 15;

/// The ARN of a parameter: the slash before the resource is the name's own, if it has one.
pub(super) fn arn(cloud: &Cloud, name: &str) -> String {
    let slash = if name.starts_with('/') { "" } else { "/" };
    cloud.arn("ssm", format_args!("parameter{slash}{name}"))
}

/// The name of a parameter in a request, given by name or by ARN.
pub(super) fn of(cloud: &Cloud, given: &str) -> ApiResult<String> {
    if !given.starts_with("arn:") {
        return Ok(given.to_owned());
    }
    let Some(path) = given.strip_prefix(&cloud.arn("ssm", "parameter")) else {
        return Err(ApiError::not_implemented(format_args!(
            "parameters of other accounts and Regions ({given})"
        )));
    };
    // In an ARN, a name without a hierarchy is spelled like a top-level name.
    let plain = path.strip_prefix('/').unwrap_or(path);
    let is_plain = super::parameters(cloud).get(plain)?.is_some();
    Ok(if is_plain { plain } else { path }.to_owned())
}

/// Splits `NAME:SELECTOR`; an ARN may have a selector, too.
pub(super) fn split(given: &str) -> (&str, Option<&str>) {
    // The five colons of an ARN are part of the name.
    let start = given.starts_with("arn:").then(|| given.find('/'));
    let start = start.flatten().unwrap_or(0);
    match given[start..].split_once(':') {
        Some((name, selector)) => (&given[..start + name.len()], Some(selector)),
        None => (given, None),
    }
}

/// Refuses a name that no parameter can have.
pub(super) fn check(name: &str) -> ApiResult<()> {
    let is_path = name.matches('/').count() > 1;
    let lower = name.to_ascii_lowercase();
    let first = lower.trim_start_matches('/');
    if first.starts_with("aws") && is_path && lower.starts_with('/') {
        return Err(ApiError::new(
            "AccessDeniedException",
            format!("No access to reserved parameter name: {name}."),
        ));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/".contains(c);
    let reserved = first.starts_with("aws") || first.starts_with("ssm");
    if reserved || !name.chars().all(allowed) || name.contains("//") || name.ends_with('/') {
        return Err(ApiError::validation(if is_path {
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it \
             can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of \
             letters, numbers and the following 3 symbols .-_"
        } else if reserved {
            "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive)."
        } else {
            "Parameter name: only a mix of letters, numbers and the following 3 symbols .-_ are allowed."
        }));
    }
    if name.contains('/') && !name.starts_with('/') {
        return Err(ApiError::validation(
            "Parameter name must be a fully qualified name.",
        ));
    }
    if name.len() > MAX_NAME {
        return Err(ApiError::validation(format!(
            "Parameter name must not be longer than {MAX_NAME} characters."
        )));
    }
    if name.matches('/').count() > MAX_LEVELS {
        return Err(ApiError::new(
            "HierarchyLevelLimitExceededException",
            format!("A hierarchy can have a maximum of {MAX_LEVELS} levels."),
        ));
    }
    Ok(())
}

/// Refuses a path that `GetParametersByPath` and the filter `Path` cannot search.
pub(super) fn check_path(path: &str) -> ApiResult<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_/".contains(c);
    let first = path.trim_start_matches('/').to_ascii_lowercase();
    let sound = path.starts_with('/')
        && path.chars().all(allowed)
        && !path.contains("//")
        && !first.starts_with("ssm");
    if sound {
        return Ok(());
    }
    Err(ApiError::validation(
        "The parameter doesn't meet the parameter name requirements. The parameter name must begin with \
         a forward slash \"/\". It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). It must \
         use only letters, numbers, or the following symbols: . (period), - (hyphen), _ (underscore). \
         Special characters are not allowed. All sub-paths, if specified, must use the forward slash \
         symbol \"/\". Valid example: /get/parameters2-/by1./path0_.",
    ))
}

/// True if the parameter is in the hierarchy below `path`: directly, or anywhere with `recursive`. A
/// name without slashes is at the top.
pub(super) fn is_below(name: &str, path: &str, recursive: bool) -> bool {
    let name = name.strip_prefix('/').unwrap_or(name);
    let path = path.trim_matches('/');
    let rest = if path.is_empty() {
        Some(name)
    } else {
        name.strip_prefix(path)
            .and_then(|rest| rest.strip_prefix('/'))
    };
    rest.is_some_and(|rest| recursive || !rest.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in ["a", "/a", "/a/b.c-d_e/9", "some-aws", &"a".repeat(MAX_NAME)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let deep = |levels: usize| "/x".repeat(levels);
        assert_eq!(check(&deep(15)), Ok(()));
        for (name, code, part) in [
            ("aws-x", "ValidationException", "can't be prefixed"),
            ("/SSM/x", "ValidationException", "can't be prefixed"),
            ("/aws/x", "AccessDeniedException", "reserved"),
            ("a/b", "ValidationException", "fully qualified"),
            ("a b", "ValidationException", "only a mix"),
            ("/a/", "ValidationException", "sub-paths"),
            ("/a//b", "ValidationException", "sub-paths"),
            (
                &deep(16),
                "HierarchyLevelLimitExceededException",
                "15 levels",
            ),
            (&"a".repeat(1012), "ValidationException", "longer than 1011"),
        ] {
            let error = check(name).unwrap_err();
            assert_eq!(error.code, code, "{name}");
            assert!(error.message.contains(part), "{name}: {error}");
        }
    }

    #[test]
    fn selectors_follow_the_name_or_the_arn() {
        assert_eq!(split("/a/b"), ("/a/b", None));
        assert_eq!(split("a:3"), ("a", Some("3")));
        let arn = "arn:aws:ssm:us-east-1:000000000000:parameter/a/b";
        assert_eq!(split(arn), (arn, None));
        assert_eq!(split(&format!("{arn}:prod")), (arn, Some("prod")));
    }

    #[test]
    fn a_hierarchy_contains_the_parameters_below_its_path() {
        for (name, path, recursive, below) in [
            ("/a/b", "/a", false, true),
            ("/a/b", "/a/", false, true),
            ("/a/b/c", "/a", false, false),
            ("/a/b/c", "/a", true, true),
            ("/ab", "/a", true, false),
            ("/a", "/a", true, false),
            ("a", "/", false, true),
            ("/a/b", "/", false, false),
            ("/a/b", "/", true, true),
        ] {
            assert_eq!(is_below(name, path, recursive), below, "{name} {path}");
        }
        assert!(check_path("/a/b/").is_ok());
        assert!(check_path("a").is_err() && check_path("/a b").is_err());
    }
}

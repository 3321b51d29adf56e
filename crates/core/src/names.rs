//! Names that are validated when parsed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An invalid name, and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidName {
    kind: &'static str,
    value: String,
    rule: &'static str,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a {}: {}",
            crate::quote::short(&self.value),
            self.kind,
            self.rule
        )
    }
}

impl std::error::Error for InvalidName {}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(value: &str) -> Result<Self, InvalidName> {
                let check: fn(&str) -> bool = $check;
                if check(value) {
                    Ok(Self(value.to_owned()))
                } else {
                    Err(InvalidName { kind: $kind, value: value.to_owned(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(value: String) -> Result<Self, InvalidName> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A project's name: the prefix of every stack, bucket, role and repository that it owns. At
    /// most 32 characters, so that bucket names (at most 63) have room for account, region and
    /// purpose.
    ProjectName,
    "project name",
    "lower-case letters, digits and single hyphens, starting with a letter, 2 to 32 characters",
    |value| {
        (2..=32).contains(&value.len())
            && value.starts_with(|c: char| c.is_ascii_lowercase())
            && !value.ends_with('-')
            && !value.contains("--")
            && value
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
);

name!(
    /// A data set's name: the prefix of its keys in the data bucket.
    DatasetName,
    "data set name",
    "letters, digits, `-`, `_` and `.`, starting with a letter or digit, 1 to 63 characters",
    |value| {
        (1..=63).contains(&value.len())
            && value.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !value.contains("..")
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    }
);

name!(
    /// A git branch, by the rules of `git check-ref-format --branch`.
    BranchName,
    "branch name",
    "a git branch name without spaces, `..`, `~`, `^`, `:`, `?`, `*`, `[`, `\\` or a leading `-`",
    |value| {
        !value.is_empty()
            && value.len() <= 255
            && !value.starts_with(['-', '/', '.'])
            && !value.ends_with(['/', '.'])
            && !value.contains("..")
            && !value.contains("//")
            && !value.contains("@{")
            && !value.contains("/.")
            && value.strip_suffix(".lock").is_none()
            && !value
                .chars()
                .any(|c| c.is_control() || " ~^:?*[\\".contains(c))
    }
);

name!(
    /// A container image tag, by the OCI distribution specification.
    ImageTag,
    "image tag",
    "letters, digits, `_`, `.` and `-`, not starting with `.` or `-`, 1 to 128 characters",
    |value| {
        (1..=128).contains(&value.len())
            && !value.starts_with(['.', '-'])
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    }
);

impl BranchName {
    /// Returns the image tag that pushes from the branch move: the name with `/` replaced by `-`. Tags do not allow
    /// every character of branch names.
    pub fn tag(&self) -> String {
        self.as_str().replace('/', "-")
    }

    /// Returns the end of the name of the branch's stack: every character that names of stacks do not allow is `-`.
    pub fn stack_suffix(&self) -> String {
        let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        self.as_str().chars().map(allowed).collect()
    }
}

/// A version of a model package group: 1, 2, 3, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub i32);

impl FromStr for Version {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, InvalidName> {
        match value.strip_prefix('v').unwrap_or(value).parse() {
            Ok(number) if number > 0 => Ok(Self(number)),
            _ => Err(InvalidName {
                kind: "model version",
                value: value.to_owned(),
                rule: "a whole number above 0, as shown by `mlops models list`",
            }),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

name!(
    /// A version of Python as written in wheel tags: `3.12`.
    PythonVersion,
    "Python version",
    "3.MINOR, such as 3.12",
    |value| value
        .strip_prefix("3.")
        .is_some_and(|minor| matches!(minor.len(), 1 | 2)
            && minor.bytes().all(|byte| byte.is_ascii_digit())
            && !(minor.len() == 2 && minor.starts_with('0')))
);

/// The platform of an image; SageMaker's instances support no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Platform {
    /// `linux/amd64`
    #[default]
    Amd64,
    /// `linux/arm64`: Graviton instances
    Arm64,
}

impl Platform {
    /// The name in OCI and Docker.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "linux/amd64",
            Self::Arm64 => "linux/arm64",
        }
    }

    /// The architecture alone: `amd64` or `arm64`.
    pub fn architecture(self) -> &'static str {
        self.as_str().trim_start_matches("linux/")
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Platform {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, InvalidName> {
        [Self::Amd64, Self::Arm64]
            .into_iter()
            .find(|platform| platform.as_str() == value)
            .ok_or_else(|| InvalidName {
                kind: "platform",
                value: value.to_owned(),
                rule: "linux/amd64 or linux/arm64",
            })
    }
}

impl TryFrom<String> for Platform {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, InvalidName> {
        value.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> String {
        platform.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names() {
        for good in ["flights", "churn-2", "ab"] {
            assert!(good.parse::<ProjectName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "Flights",
            "a--b",
            "2x",
            "a-",
            "../x",
            &"x".repeat(33),
        ] {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn dataset_names_cannot_leave_their_prefix() {
        for bad in ["../x", "a/b", "a..b", ".hidden", ""] {
            assert!(bad.parse::<DatasetName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn branch_names() {
        for good in ["develop", "feature/x-1"] {
            assert!(good.parse::<BranchName>().is_ok(), "{good}");
        }
        for bad in ["-x", "a..b", "a b", "x.lock", "a//b", "a~1", "@{u}"] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions() {
        assert_eq!("3".parse::<Version>().unwrap(), Version(3));
        assert_eq!("v3".parse::<Version>().unwrap(), Version(3));
        assert!("0".parse::<Version>().is_err());
        assert!("x".parse::<Version>().is_err());
    }
}

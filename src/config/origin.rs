//! Where a setting comes from: a flag, a variable, `mlops.toml`, or its default.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use toml::de::{DeTable, DeValue};

use super::FILE;

/// The origin of a value. In JSON, `source` is the kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Origin {
    /// A flag of the command line.
    Flag {
        /// The flag, such as `--region`.
        name: &'static str,
    },
    /// An environment variable.
    Environment {
        /// The variable.
        name: &'static str,
    },
    /// `mlops.toml`.
    File {
        /// The line of the value, from 1.
        line: usize,
    },
    /// The AWS configuration.
    AwsConfig {
        /// The setting and its profile.
        setting: String,
    },
    /// Nothing sets it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag { name } | Self::Environment { name } => f.write_str(name),
            Self::File { line } => write!(f, "{FILE}:{line}"),
            Self::AwsConfig { setting } => f.write_str(setting),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The origin of each setting outside of `mlops.toml`, by its name in the JSON of `config show`.
pub type Origins = BTreeMap<&'static str, Origin>;

/// Returns a variable that is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the only reader of the environment"
)]
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Chooses the values of settings, and records where each comes from.
#[derive(Debug, Default)]
pub(super) struct Chooser {
    origins: Origins,
}

impl Chooser {
    /// Chooses the flag's value, or the first variable's.
    pub(super) fn text(
        &mut self,
        setting: &'static str,
        flag: (&'static str, Option<&String>),
        variables: &[&'static str],
    ) -> Option<String> {
        let value = self.flag(setting, (flag.0, flag.1.cloned()));
        value.or_else(|| {
            let found = variables
                .iter()
                .find_map(|name| Some((*name, variable(name)?)));
            let (name, value) = found?;
            self.record(setting, Origin::Environment { name });
            Some(value)
        })
    }

    /// Chooses the path that a variable names.
    pub(super) fn path(&mut self, setting: &'static str, name: &'static str) -> Option<PathBuf> {
        self.text(setting, ("", None), &[name]).map(PathBuf::from)
    }

    /// Chooses the flag's value, or nothing.
    pub(super) fn flag<T>(
        &mut self,
        setting: &'static str,
        (name, value): (&'static str, Option<T>),
    ) -> Option<T> {
        let origin = if value.is_some() {
            Origin::Flag { name }
        } else {
            Origin::Default
        };
        self.record(setting, origin);
        value
    }

    /// Records the origin of a value that was chosen elsewhere.
    pub(super) fn record(&mut self, setting: &'static str, origin: Origin) {
        self.origins.insert(setting, origin);
    }

    /// All origins.
    pub(super) fn into_origins(self) -> Origins {
        self.origins
    }
}

/// Returns the line of each value in a TOML text, by its path (`deploy.instance_type`). The short
/// form `local = true` has the path `local.enabled`.
pub(super) fn lines(text: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    if let Ok(table) = DeTable::parse(text) {
        collect(text, "", table.get_ref(), &mut found);
    }
    if let Some(line) = found.remove("local") {
        found.insert("local.enabled".to_owned(), line);
    }
    found
}

fn collect(text: &str, prefix: &str, table: &DeTable<'_>, found: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        if let DeValue::Table(inner) = value.get_ref() {
            collect(text, &format!("{path}."), inner, found);
        } else {
            let before = &text.as_bytes()[..key.span().start.min(text.len())];
            found.insert(path, 1 + memchr::memchr_iter(b'\n', before).count());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_value_has_its_line() {
        let text = "# a comment\nname = \"a\"\nlocal = true\n\n[deploy]\ninstance_count = 2\n\
                    image.base = \"\"\"\nx\n\"\"\"\nb = { c = 1 }\n";
        let found = lines(text);
        for (path, line) in [
            ("name", 2),
            ("local.enabled", 3),
            ("deploy.instance_count", 6),
            ("deploy.image.base", 7),
            ("deploy.b.c", 10),
        ] {
            assert_eq!(found.get(path), Some(&line), "{path}: {found:?}");
        }
        assert_eq!(found.len(), 5, "{found:?}");
        assert_eq!(lines("[local]\nenabled = true\n")["local.enabled"], 2);
        assert!(lines("not TOML").is_empty());
    }

    #[test]
    fn an_origin_is_one_word_for_people_and_a_kind_for_scripts() {
        for (origin, shown, json) in [
            (
                Origin::Flag { name: "--region" },
                "--region",
                r#"{"source":"flag","name":"--region"}"#,
            ),
            (
                Origin::File { line: 7 },
                "mlops.toml:7",
                r#"{"source":"file","line":7}"#,
            ),
            (Origin::Default, "default", r#"{"source":"default"}"#),
        ] {
            assert_eq!(origin.to_string(), shown);
            assert_eq!(serde_json::to_string(&origin).unwrap(), json);
        }
    }
}

//! The comparison of two versions for people.

use std::fmt;

use mlops_core::text::{clean, table, time};
use serde_json::Value;

use super::{Comparison, Side};
use crate::aws::sagemaker::models;

/// The word for a fact that the registry does not have.
const UNKNOWN: &str = "unknown";

impl Side {
    /// The facts to compare, in the order of the table.
    fn facts(&self) -> [(&'static str, Option<String>); 8] {
        let live = if self.live {
            mlops_core::text::LIVE
        } else {
            ""
        };
        // Without the repository, which is the same, and with the digest's first characters.
        let short = |image: &String| match image.split_once('@') {
            Some((_, digest)) => digest.chars().take("sha256:".len() + 12).collect(),
            None => image.clone(),
        };
        [
            ("status", Some(format!("{}{live}", self.status))),
            ("created", self.created.map(time)),
            ("branch", self.branch.clone()),
            (
                "commit",
                self.commit.as_ref().map(|commit| short_commit(commit)),
            ),
            ("image", self.image.as_ref().map(short)),
            ("data", self.data_version.clone()),
            ("run", self.run.clone()),
            ("artifact", self.artifact.clone()),
        ]
    }
}

/// The first characters of a commit, with the mark of uncommitted files.
fn short_commit(commit: &str) -> String {
    let (hash, dirty) = match commit.strip_suffix(models::DIRTY) {
        Some(hash) => (hash, models::DIRTY),
        None => (commit, ""),
    };
    hash.chars().take(12).collect::<String>() + dirty
}

/// A value, or the word for a missing one.
fn known<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), T::to_string)
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (a, b) = (
            format!("VERSION {}", self.a.version),
            format!("VERSION {}", self.b.version),
        );
        let facts = self.a.facts().into_iter().zip(self.b.facts());
        let rows = facts
            .map(|((name, a), (_, b))| vec![name.to_owned(), known(a.as_ref()), known(b.as_ref())]);
        f.write_str(&table(&["FACT", &a, &b], rows))?;
        writeln!(f)?;
        if self.metrics.is_empty() {
            writeln!(f, "metrics: {UNKNOWN} for both versions")?;
        } else {
            let number = |value: Option<&Value>| match value.and_then(Value::as_f64) {
                Some(number) => models::significant(number),
                None => known(value),
            };
            let rows = self.metrics.iter().map(|pair| {
                let difference = pair.difference.map(|difference| match difference {
                    0.0 => "0".to_owned(),
                    number if number > 0.0 => format!("+{}", models::significant(number)),
                    number => models::significant(number),
                });
                vec![
                    pair.metric.clone(),
                    number(pair.a.as_ref()),
                    number(pair.b.as_ref()),
                    known(difference.as_ref()),
                ]
            });
            f.write_str(&table(&["METRIC", &a, &b, "DIFFERENCE"], rows))?;
        }
        let differing = self.parameters.iter().filter(|pair| pair.a != pair.b);
        let rows: Vec<_> = differing
            .map(|pair| {
                vec![
                    pair.name.clone(),
                    known(pair.a.as_ref()),
                    known(pair.b.as_ref()),
                ]
            })
            .collect();
        writeln!(f)?;
        if self.parameters.is_empty() {
            writeln!(f, "parameters: {UNKNOWN}, or none")?;
        } else if rows.is_empty() {
            writeln!(f, "parameters: all {} are the same", self.parameters.len())?;
        } else {
            f.write_str(&table(&["PARAMETER", &a, &b], rows))?;
        }
        writeln!(f)?;
        match self.definition.same {
            None => writeln!(f, "pipeline definition: {UNKNOWN} for at least one of them"),
            Some(true) => writeln!(f, "pipeline definition: the same"),
            Some(false) => {
                writeln!(f, "pipeline definition:")?;
                self.definition
                    .diff
                    .iter()
                    .try_for_each(|line| writeln!(f, "{}", colored(line)))
            }
        }
    }
}

/// A line of a diff in the usual colors.
fn colored(line: &str) -> String {
    let line = clean(line);
    let styled = console::style(&line);
    match line.chars().next() {
        _ if line.starts_with("---") || line.starts_with("+++") => styled.bold().to_string(),
        Some('+') => styled.green().to_string(),
        Some('-') => styled.red().to_string(),
        Some('@') => styled.cyan().to_string(),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_shortened_with_its_mark() {
        assert_eq!(
            short_commit("0123456789abcdef0123-dirty"),
            "0123456789ab-dirty"
        );
        assert_eq!(short_commit("0123"), "0123");
    }
}

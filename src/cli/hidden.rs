//! Keeps hidden commands and options out of parser messages; by default, clap lists and suggests
//! them.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error};

/// Removes hidden names and aliases from the names that an error lists or suggests.
pub(super) fn left_out(mut error: Error, root: &Command) -> Error {
    if let Some(ContextValue::String(path)) = error.get(ContextKind::InvalidSubcommand)
        && error.get(ContextKind::ValidSubcommand).is_some()
    {
        let visible = visible(root, path);
        error.insert(ContextKind::ValidSubcommand, ContextValue::Strings(visible));
    }
    let hidden = hidden(root);
    let is_hidden = |text: &str| {
        let mut words = text.split(|sign: char| !sign.is_alphanumeric() && sign != '-');
        words.any(|word| hidden.iter().any(|name| name == word))
    };
    for kind in [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::Suggested,
    ] {
        let left = match error.get(kind) {
            Some(ContextValue::String(name)) if is_hidden(name) => None,
            Some(ContextValue::Strings(names)) => {
                let names: Vec<String> = names
                    .iter()
                    .filter(|name| !is_hidden(name))
                    .cloned()
                    .collect();
                (!names.is_empty()).then_some(ContextValue::Strings(names))
            }
            Some(ContextValue::StyledStrs(tips)) => {
                let tips: Vec<_> = tips
                    .iter()
                    .filter(|tip| !is_hidden(&tip.to_string()))
                    .cloned()
                    .collect();
                (!tips.is_empty()).then_some(ContextValue::StyledStrs(tips))
            }
            _ => continue,
        };
        match left {
            Some(left) => error.insert(kind, left),
            None => error.remove(kind),
        };
    }
    error
}

/// Returns the subcommand names in help order; `path` starts with the program.
fn visible(root: &Command, path: &str) -> Vec<String> {
    let mut command = root;
    for name in path.split(' ').skip(1) {
        match command.find_subcommand(name) {
            Some(found) => command = found,
            None => break,
        }
    }
    command
        .get_subcommands()
        .filter(|found| !found.is_hide_set())
        .map(|found| found.get_name().to_owned())
        .collect()
}

/// Returns the names of hidden commands, and hidden options as typed on the command line.
fn hidden(command: &Command) -> Vec<String> {
    let options = command
        .get_arguments()
        .filter(|argument| argument.is_hide_set())
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)));
    let mut found: Vec<String> = options.collect();
    for child in command.get_subcommands() {
        if child.is_hide_set() {
            found.push(child.get_name().to_owned());
            found.extend(child.get_all_aliases().map(str::to_owned));
        }
        found.extend(hidden(child));
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;

    #[test]
    fn hidden_names_are_neither_listed_nor_suggested() {
        let hidden = super::hidden(&crate::cli::command());
        assert!(
            hidden.contains(&"analyze".to_owned()) && hidden.contains(&"--parse-only".to_owned())
        );
        let lines = [
            "mlops",
            "mlops -o json",
            "mlops --local -o json",
            "mlops data -o json",
            "mlops local -o json",
            "mlops help -o json",
            "mlops analyse",
            "mlops analyz",
            "mlops job-proces",
            "mlops markdown-hel",
            "mlops local git-credentia",
            "mlops local any-por",
            "mlops validate --flor data",
            "mlops validate --floo",
            "mlops local start --any-por",
            "mlops --floo validate",
            "mlops -o xml",
            "mlops --color x",
        ];
        for line in lines {
            let message = Cli::read(line.split(' ')).unwrap_err().to_string();
            for name in &hidden {
                let quoted = [format!("'{name}'"), format!("{name},"), format!("{name}]")];
                assert!(
                    !quoted.iter().any(|name| message.contains(name)),
                    "{line}: {message}"
                );
            }
        }
        // Visible names are still listed and suggested.
        let message = Cli::read(["mlops", "-o", "json"]).unwrap_err().to_string();
        assert!(message.contains("init, config, plan"), "{message}");
        assert!(!message.contains("settings"), "{message}");
        let message = Cli::read(["mlops", "promot"]).unwrap_err().to_string();
        assert!(message.contains("'promote'"), "{message}");
        let message = Cli::read(["mlops", "train", "--working-tre"])
            .unwrap_err()
            .to_string();
        assert!(message.contains("'--working-tree'"), "{message}");
    }
}

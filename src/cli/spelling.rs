//! Aliases of commands: common alternatives, in the singular and the plural.

use std::ffi::OsString;

use clap::Command;

/// Aliases by command path, without `mlops`. Every `list` command also has the alias `ls`.
const ALIASES: &[(&str, &[&str])] = &[
    ("config", &["configuration", "settings"]),
    ("data", &["dataset", "datasets"]),
    ("data versions", &["version", "list", "ls"]),
    ("image", &["images"]),
    ("image rm", &["remove", "delete"]),
    ("models", &["model"]),
    ("monitor", &["monitors", "monitoring"]),
    ("runs", &["run"]),
    ("runs logs", &["log"]),
    ("models show", &["describe", "get"]),
    ("runs show", &["describe", "get"]),
    ("image show", &["describe", "get"]),
    ("completions", &["completion"]),
];

/// Shortcuts: one word for a command and its subcommand.
const SHORTCUTS: &[(&str, [&str; 2])] = &[("logs", ["runs", "logs"]), ("log", ["runs", "logs"])];

/// Expands a shortcut in a command line, also after `help`.
pub(super) fn written_out(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let mut at = 1;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()) {
        if let Some((_, whole)) = SHORTCUTS.iter().find(|(shortcut, _)| *shortcut == word) {
            drop(words.splice(at..=at, whole.map(OsString::from)));
            break;
        }
        at += match word {
            "help" => 1,
            "--profile" | "--region" | "--endpoint-url" | "--output" | "-o" | "--color"
            | "--poll-interval" | "--timeout" => 2,
            flag if flag.starts_with('-') => 1,
            _ => break,
        };
    }
    words
}

/// Adds the aliases to the command tree.
pub(super) fn apply(command: Command) -> Command {
    walk(command, "")
}

fn walk(mut command: Command, path: &str) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|found| found.get_name().to_owned())
        .collect();
    for name in names {
        let path = format!("{path} {name}").trim_start().to_owned();
        command = command.mut_subcommand(&name, |mut found| {
            if name == "list" {
                found = found.alias("ls");
            }
            if let Some((_, aliases)) = ALIASES.iter().find(|(known, _)| *known == path) {
                found = found.aliases(*aliases);
            }
            walk(found, &path)
        });
    }
    command
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;

    /// Issue 8, 5.7.
    #[test]
    fn common_alternatives_are_parsed() {
        for line in [
            "mlops run list",
            "mlops runs ls",
            "mlops run ls -o json",
            "mlops model list",
            "mlops models ls",
            "mlops images list",
            "mlops image ls",
            "mlops data list",
            "mlops data ls flights",
            "mlops datasets list",
            "mlops logs",
            "mlops logs fb9lk2vgt5sk Train",
            "mlops --local --profile logs logs",
            "mlops run log fb9lk2vgt5sk",
            "mlops version",
            "mlops completion bash",
        ] {
            let parsed = Cli::read(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        for line in [
            "mlops help",
            "mlops help logs",
            "mlops help runs logs",
            "mlops runs help logs",
        ] {
            let shown = Cli::read(line.split(' ')).unwrap_err();
            assert_eq!(shown.kind(), clap::error::ErrorKind::DisplayHelp, "{line}");
        }
    }
}

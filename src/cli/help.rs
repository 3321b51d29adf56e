//! Help: commands in the order in which they are used, two or three examples each, and global
//! options in their own section.

use std::fmt::Write as _;

use clap::Command;

use super::examples;

/// Command groups in `mlops --help`. Every visible command belongs to one of them.
pub(super) const GROUPS: &[(&str, &[&str])] = &[
    (
        "Start",
        &[
            "demo", "init", "plan", "status", "doctor", "config", "destroy",
        ],
    ),
    ("Data and images", &["data", "validate", "image"]),
    (
        "Training",
        &["notebook", "train", "runs", "approve", "reject", "models"],
    ),
    (
        "Production",
        &[
            "promote", "rollback", "releases", "invoke", "endpoint", "monitor", "retrain",
            "lineage",
        ],
    ),
    ("This machine", &["local", "completions", "help", "version"]),
];

/// Column at which help text wraps.
const WIDTH: usize = 80;

/// Column at which command descriptions start.
const COLUMN: usize = 15;

/// Attaches the help texts to the command tree.
pub(super) fn apply(command: Command) -> Command {
    let command = with_examples(command, &mut Vec::new());
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{}\n{{options}}{{after-help}}",
        groups(&command),
        heading(&command, "Global options")
    );
    command.help_template(template)
}

fn heading(command: &Command, text: &str) -> String {
    let style = command.get_styles().get_header();
    format!("{style}{text}:{style:#}")
}

/// Renders the list of commands.
fn groups(command: &Command) -> String {
    let mut text = String::new();
    let name_style = *command.get_styles().get_literal();
    for (title, names) in GROUPS {
        let _ = writeln!(text, "{}", heading(command, title));
        for name in *names {
            let about = match command.find_subcommand(name) {
                Some(found) => found.get_about().map(ToString::to_string),
                // clap adds this command only when it builds the tree.
                None if *name == "help" => Some("Print the help of a command".to_owned()),
                None => continue,
            };
            let about = wrapped(&about.unwrap_or_default());
            let _ = writeln!(
                text,
                "  {name_style}{name:<width$}{name_style:#}{about}",
                width = COLUMN - 2
            );
        }
        text.push('\n');
    }
    text
}

/// Formats a description; continuation lines start at [`COLUMN`].
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && COLUMN + line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(&format!("\n{:COLUMN$}", ""))
}

/// Moves the `Example:` lines of a description below the options, together with those of
/// [`examples`].
fn with_examples(mut command: Command, path: &mut Vec<String>) -> Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|found| found.get_name().to_owned())
        .collect();
    for name in names {
        path.push(name.clone());
        command = command.mut_subcommand(&name, |found| with_examples(found, path));
        path.pop();
    }
    let mut all: Vec<String> = Vec::new();
    if let Some(long) = command.get_long_about().map(ToString::to_string) {
        let (found, rest): (Vec<&str>, Vec<&str>) = long
            .split("\n\n")
            .partition(|paragraph| paragraph.starts_with(MARK));
        all.extend(
            found
                .iter()
                .map(|line| line[MARK.len()..].trim().to_owned()),
        );
        command = command.long_about(rest.join("\n\n"));
    }
    for more in examples::of(&path.join(" ")) {
        if !all.iter().any(|known| known == more) {
            all.push((*more).to_owned());
        }
    }
    if all.is_empty() {
        return command;
    }
    let text = format!("{}\n  {}", heading(&command, "Examples"), all.join("\n  "));
    command.after_help(text)
}

const MARK: &str = "Example: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let command = super::super::command();
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        grouped.retain(|name| *name != "help");
        grouped.sort_unstable();
        let mut visible: Vec<&str> = command
            .get_subcommands()
            .filter(|found| !found.is_hide_set())
            .map(Command::get_name)
            .collect();
        visible.sort_unstable();
        assert_eq!(grouped, visible);
    }

    /// Returns the commands without subcommands, with their paths.
    fn leaves(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
        for child in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            let path = format!("{path} {}", child.get_name());
            if child.has_subcommands() {
                leaves(child, &path, found);
            } else {
                found.push((path, child.clone()));
            }
        }
    }

    #[test]
    fn the_permissions_of_every_command_are_known() {
        let mut found = Vec::new();
        leaves(&super::super::command(), "", &mut found);
        let mut commands: Vec<&str> = found.iter().map(|(path, _)| path.trim()).collect();
        commands.sort_unstable();
        let listed = crate::permissions::commands();
        let mut listed: Vec<&str> = listed
            .keys()
            .map(|name| name.split(" --").next().unwrap_or_default())
            .collect();
        listed.dedup();
        assert_eq!(listed, commands, "src/permissions/commands.txt");
    }

    /// The words of a command line; single quotes keep spaces.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        for (number, part) in line.split('\'').enumerate() {
            let is_quoted = number % 2 == 1;
            for (index, word) in part.split(' ').enumerate() {
                let last = words.last_mut().unwrap();
                match index {
                    0 => last.push_str(word),
                    _ if is_quoted => *last = format!("{last} {word}"),
                    _ => words.push(word.to_owned()),
                }
            }
        }
        words
    }

    #[test]
    fn every_command_has_two_or_three_examples_that_parse() {
        let mut found = Vec::new();
        leaves(&super::super::command(), "mlops", &mut found);
        for (path, command) in found {
            let text = command.get_after_help().map(ToString::to_string);
            let text = console::strip_ansi_codes(&text.unwrap_or_default()).into_owned();
            let examples: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
            assert!((2..=3).contains(&examples.len()), "{path}: {examples:?}");
            for example in examples {
                let end = [" > ", " | ", " && "]
                    .iter()
                    .filter_map(|end| example.find(end))
                    .min();
                let example = &example[..end.unwrap_or(example.len())];
                assert!(example.len() <= WIDTH - 2, "too long: {example}");
                let inner = example
                    .strip_prefix("eval \"$(")
                    .map(|rest| rest.trim_end_matches(")\""));
                let inner = inner.or(example
                    .strip_prefix("source <(")
                    .map(|rest| rest.trim_end_matches(')')));
                let example = inner.unwrap_or(example);
                let parsed = super::super::command().try_get_matches_from(words(example));
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
        }
    }
}

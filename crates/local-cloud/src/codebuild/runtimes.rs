//! `runtime-versions`: a build uses the runtimes of this machine, so a version that it does not have fails the build.

use std::time::Duration;

/// Time for a runtime to print its version; some start a virtual machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Runtimes of CodeBuild, the program of each, and the arguments that print its version.
const RUNTIMES: [(&str, &str, &[&str]); 7] = [
    ("python", "python3", &["--version"]),
    ("nodejs", "node", &["--version"]),
    ("golang", "go", &["version"]),
    ("java", "java", &["-version"]),
    ("ruby", "ruby", &["--version"]),
    ("php", "php", &["--version"]),
    ("dotnet", "dotnet", &["--version"]),
];

/// Prints the version of the first of these programs that exists. Its arguments are the programs, as one, and their
/// arguments.
const SCRIPT: &str = "for program in $1; do \
    if command -v \"$program\" >/dev/null; then shift; exec \"$program\" \"$@\"; fi; \
    done; exit 127";

/// The command that prints the version of a runtime.
///
/// # Errors
/// The message of the phase context `YAML_FILE_ERROR` for an unknown runtime.
pub(super) fn command(runtime: &str, wanted: &str) -> Result<Vec<String>, String> {
    let known = RUNTIMES.iter().find(|(name, ..)| *name == runtime);
    let Some((_, program, arguments)) = known else {
        return Err(format!(
            "Unknown runtime named '{runtime}'. This machine can have: {}",
            names()
        ));
    };
    // A machine can have several versions of Python, but only one has the plain name.
    let is_version = wanted
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let programs = if *program == "python3" && wanted.starts_with("3.") && is_version {
        format!("python{wanted} {program}")
    } else {
        (*program).to_owned()
    };
    let mut command = ["/bin/sh", "-c", SCRIPT, "sh", &programs]
        .map(str::to_owned)
        .to_vec();
    command.extend(arguments.iter().map(|&argument| argument.to_owned()));
    Ok(command)
}

/// The version of a runtime in what its program printed.
///
/// # Errors
/// The message of the phase context `YAML_FILE_ERROR` if the machine has no such version.
pub(super) fn selected(runtime: &str, wanted: &str, printed: &str) -> Result<String, String> {
    let Some(found) = number(printed) else {
        return Err(format!(
            "Unknown runtime version named '{wanted}' of {runtime}. This machine has no {runtime}"
        ));
    };
    if matches(wanted, &found) {
        return Ok(found);
    }
    Err(format!(
        "Unknown runtime version named '{wanted}' of {runtime}. This machine has the following versions: {found}"
    ))
}

fn names() -> String {
    RUNTIMES.map(|(name, ..)| name).join(", ")
}

/// The first version number of a text.
fn number(text: &str) -> Option<String> {
    let pattern = regex::Regex::new(r"\d+(\.\d+)+|\b\d+\b").ok()?;
    pattern.find(text).map(|found| found.as_str().to_owned())
}

/// True if a version (`3.11`, `3.x`, `latest`, `corretto17`) names this one (`3.11.2`).
fn matches(wanted: &str, found: &str) -> bool {
    if wanted == "latest" {
        return true;
    }
    let digits = wanted.trim_start_matches(|sign: char| !sign.is_ascii_digit());
    let wanted = digits.trim_end_matches(".x");
    let mut have = found.split('.');
    !wanted.is_empty() && wanted.split('.').all(|part| have.next() == Some(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_by_their_parts() {
        for wanted in ["3.11", "3.x", "3", "3.11.2", "latest"] {
            assert!(matches(wanted, "3.11.2"), "{wanted}");
        }
        for wanted in ["3.1", "2.x", "3.11.2.1", "", "x", "3.12"] {
            assert!(!matches(wanted, "3.11.2"), "{wanted}");
        }
        assert!(matches("corretto17", "17.0.9"));
    }

    #[test]
    fn versions_are_read_from_what_programs_print() {
        for (text, expected) in [
            ("Python 3.11.2\n", "3.11.2"),
            ("v18.19.0\n", "18.19.0"),
            ("go version go1.22.1 linux/amd64", "1.22.1"),
            ("openjdk version \"17.0.9\" 2023-10-17", "17.0.9"),
        ] {
            assert_eq!(number(text).as_deref(), Some(expected));
        }
        assert_eq!(number("no version"), None);
    }

    #[test]
    fn a_missing_version_is_named() {
        let at = tempfile::tempdir().unwrap();
        let program = |name: &str, text: &str| {
            let program = at.path().join(name);
            std::fs::write(&program, text).unwrap();
            let mut mode = program.metadata().unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
            std::fs::set_permissions(&program, mode).unwrap();
        };
        program("python3", "#!/bin/sh\necho Python 3.9.1\n");
        program("python3.10", "#!/bin/sh\necho Python 3.10.4 $*\n");
        let check = |runtime: &str, wanted: &str| {
            let command = command(runtime, wanted)?;
            let output = std::process::Command::new(&command[0])
                .args(&command[1..])
                .env("PATH", at.path())
                .output()
                .unwrap();
            selected(runtime, wanted, &String::from_utf8_lossy(&output.stdout))
        };
        assert_eq!(check("python", "3.x").unwrap(), "3.9.1");
        assert_eq!(check("python", "3.9").unwrap(), "3.9.1");
        assert_eq!(check("python", "3.10").unwrap(), "3.10.4");
        let error = check("python", "3.12").unwrap_err();
        assert!(
            error.contains("'3.12' of python") && error.contains("3.9.1"),
            "{error}"
        );
        let error = check("ruby", "latest").unwrap_err();
        assert!(error.contains("no ruby"), "{error}");
        let error = check("docker", "20").unwrap_err();
        assert!(error.contains("'docker'"), "{error}");
    }
}

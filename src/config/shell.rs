//! Quotes words and formats assignments for shells.

/// The shells that `mlops local env` supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Shell {
    /// sh, bash, zsh, dash and ksh
    #[default]
    Sh,
    /// fish
    Fish,
    /// PowerShell
    Powershell,
}

impl Shell {
    /// Returns the line that sets an exported variable.
    pub fn export(self, name: &str, value: &str) -> String {
        match self {
            Self::Sh => format!("export {name}={}", single(value, "'\\''")),
            Self::Fish => {
                let value = value.replace('\\', "\\\\");
                format!("set -gx {name} {}", single(&value, "\\'"))
            }
            Self::Powershell => format!("$env:{name} = {}", single(value, "''")),
        }
    }

    /// Returns the line that unsets a variable.
    pub fn unset(self, name: &str) -> String {
        match self {
            Self::Sh => format!("unset {name}"),
            // Erasing an unset variable is not an error.
            Self::Fish => format!("set -e {name}; or true"),
            Self::Powershell => {
                format!("Remove-Item Env:{name} -ErrorAction SilentlyContinue")
            }
        }
    }
}

/// Quotes a word for a POSIX shell if needed.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    single(text, "'\\''")
}

/// Quotes in single quotes; `quote` is the shell's escape for a single quote.
fn single(text: &str, quote: &str) -> String {
    format!("'{}'", text.replace('\'', quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_their_shell() {
        let value = r"it's \ $x";
        assert_eq!(Shell::Sh.export("A", value), r"export A='it'\''s \ $x'");
        assert_eq!(Shell::Fish.export("A", value), r"set -gx A 'it\'s \\ $x'");
        assert_eq!(
            Shell::Powershell.export("A", value),
            r"$env:A = 'it''s \ $x'"
        );
        assert_eq!(word("/usr/bin/mlops"), "/usr/bin/mlops");
        assert_eq!(word("/my programs/mlops"), "'/my programs/mlops'");
        assert_eq!(word(""), "''");
    }
}

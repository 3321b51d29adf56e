//! Parses Spark's log for progress and errors.

use std::collections::VecDeque;

/// Number of last lines of Spark's log to search for the reason of a failure.
const TAIL: usize = 200;
/// The prefix of the program's own errors.
const OURS: &str = "mlops: error: ";

/// Parses Spark's progress bar: the number of finished tasks and of all tasks.
pub(super) fn stage(line: &str) -> Option<(u64, u64)> {
    let counts = line.trim().strip_prefix("[Stage ")?;
    let (done, rest) = counts.split_once('(')?.1.split_once(" + ")?;
    let all = rest.split_once("/ ")?.1.split(']').next()?;
    Some((done.trim().parse().ok()?, all.trim().parse().ok()?))
}

/// The last lines of Spark's log.
#[derive(Debug, Default)]
pub(super) struct Log {
    open: Vec<u8>,
    lines: VecDeque<String>,
}

impl Log {
    /// Appends bytes, and reports each complete line.
    pub(super) fn take(&mut self, bytes: &[u8], mut say: impl FnMut(&str)) {
        for byte in bytes {
            if !matches!(byte, b'\n' | b'\r') {
                self.open.push(*byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.open).trim().to_owned();
            self.open.clear();
            if line.is_empty() {
                continue;
            }
            say(&line);
            self.lines.push_back(line);
            if self.lines.len() > TAIL {
                self.lines.pop_front();
            }
        }
    }

    /// Returns the error that the program ended with.
    pub(super) fn error(&self) -> Option<String> {
        let mut lines = self.lines.iter();
        lines.find_map(|line| Some(line.strip_prefix(OURS)?.to_owned()))
    }

    /// Returns the likely reason of a failure: the first line about an error, or the last line.
    pub(super) fn guess(&self) -> Option<String> {
        let looks = |line: &&String| line.contains("Exception") || line.contains("Error");
        let found = self.lines.iter().find(looks);
        found.or(self.lines.back()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_sparks_bar() {
        let bar = "[Stage 4:=====>            (3 + 2) / 10]";
        assert_eq!(stage(bar), Some((3, 10)));
        assert_eq!(
            stage(&format!("{bar}[Stage 5:>   (0 + 0) / 2]")),
            Some((3, 10))
        );
        assert_eq!(stage("26/11/22 WARN Utils: (1 + 1) / 2"), None);
    }

    #[test]
    fn the_reason_is_the_programs_error_or_a_likely_line() {
        let log = |text: &str| {
            let (mut log, mut said) = (Log::default(), 0);
            // A line may arrive in parts.
            for piece in text.as_bytes().chunks(3) {
                log.take(piece, |_| said += 1);
            }
            assert_eq!(said, text.split_terminator(['\r', '\n']).count());
            log
        };
        assert_eq!(
            log("one row\nmlops: error: a.csv, line 3: bad\n").error(),
            Some("a.csv, line 3: bad".to_owned())
        );
        let class = log("java.lang.UnsupportedClassVersionError: Main\n\tat x\nend\n");
        assert_eq!(class.error(), None);
        assert_eq!(
            class.guess().as_deref(),
            Some("java.lang.UnsupportedClassVersionError: Main")
        );
        let other = log("first\rno such option\n");
        assert_eq!(other.guess().as_deref(), Some("no such option"));
        assert_eq!(log("").guess(), None);
    }
}

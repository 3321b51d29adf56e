//! What Spark says while it works.

use std::collections::VecDeque;

/// So many of the last lines of Spark's log are looked at for the reason of a failure.
const TAIL: usize = 200;
/// What the program puts before its own errors.
const OURS: &str = "mlops: error: ";

/// How many tasks of how many are done, when the line is Spark's progress bar.
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
    /// Takes some bytes; each line that they end is said.
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

    /// Whether the program ended by an error of its own.
    pub(super) fn is_ours(&self) -> bool {
        self.lines.iter().any(|line| line.starts_with(OURS))
    }

    /// Why Spark failed: what the program said, or else what looks most like a reason.
    pub(super) fn reason(&self) -> Option<String> {
        let ours = self.lines.iter().find_map(|line| line.strip_prefix(OURS));
        let looks = |line: &&String| line.contains("Exception") || line.contains("Error");
        let found = ours.or_else(|| self.lines.iter().find(looks).map(String::as_str));
        Some(found.or(self.lines.back().map(String::as_str))?.to_owned())
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
    fn the_reason_is_what_the_program_said_or_what_looks_like_one() {
        let reason = |text: &str| {
            let mut log = Log::default();
            let mut said = 0;
            // A line may come in pieces.
            for piece in text.as_bytes().chunks(3) {
                log.take(piece, |_| said += 1);
            }
            assert_eq!(said, text.lines().count());
            log.reason()
        };
        assert_eq!(
            reason("WARN x\nmlops: error: a.csv, line 3: bad\njava.lang.Exception: later\n"),
            Some("a.csv, line 3: bad".to_owned())
        );
        assert_eq!(
            reason("java.lang.UnsupportedClassVersionError: Main\n\tat x\nend\n").unwrap(),
            "java.lang.UnsupportedClassVersionError: Main"
        );
        assert_eq!(
            reason("no such option\n"),
            Some("no such option".to_owned())
        );
        assert_eq!(reason(""), None);
    }
}

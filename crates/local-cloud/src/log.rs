//! The log of the server: standard error, which is a file for a background server.

use std::io::Write;

/// Writes one line. Errors are ignored, because there is no other place to report them.
pub(crate) fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

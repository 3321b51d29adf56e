//! The server's log: its standard error, which a server in the background has in a file.

use std::io::Write;

/// Writes one line. Errors are ignored: without stderr there is no way to report them.
pub(crate) fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

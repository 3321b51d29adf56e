//! The server's log: its standard error, which a server in the background has in a file.

use std::io::Write;

/// Writes one line; a closed stderr leaves nobody to tell.
pub(crate) fn write_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

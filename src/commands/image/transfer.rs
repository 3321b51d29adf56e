//! Displays the progress of a push.

use mlops_oci::push::Observer;

use crate::progress::Transfer;

impl Observer for Transfer {
    fn expect(&self, bytes: u64) {
        self.expect(bytes);
    }

    fn begin(&self, blob: &str, size: u64) {
        self.begin(&short(blob), size);
    }

    fn position(&self, blob: &str, bytes: u64) {
        self.position(&short(blob), bytes);
    }

    fn end(&self, blob: &str, size: u64) {
        self.end(&short(blob), size);
    }
}

/// The part of a digest to display.
fn short(digest: &str) -> String {
    digest.chars().take("sha256:".len() + 12).collect()
}

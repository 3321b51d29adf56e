//! Ends blocking work early: a build was stopped, or has run for too long.

use std::io::Read;

use tokio::sync::watch;

use crate::api::{ApiError, ApiResult};

/// Ends a transfer early; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Interrupt(watch::Sender<bool>);

impl Interrupt {
    pub(super) fn set(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is set.
    pub(super) async fn is_set(&self) {
        // The sender is alive.
        let _ = self.0.subscribe().wait_for(|is_set| *is_set).await;
    }

    pub(super) fn check(&self) -> ApiResult<()> {
        if *self.0.borrow() {
            return Err(ApiError::internal("the build was stopped"));
        }
        Ok(())
    }
}

/// Reads at most a number of bytes, in all, and nothing after the interrupt.
pub(super) struct Limited<'a, R> {
    from: R,
    left: u64,
    interrupt: &'a Interrupt,
}

impl<'a, R> Limited<'a, R> {
    pub(super) fn new(from: R, left: u64, interrupt: &'a Interrupt) -> Self {
        Self {
            from,
            left,
            interrupt,
        }
    }

    /// The number of bytes that may still be read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn into_inner(self) -> R {
        self.from
    }
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let failed = |error: ApiError| std::io::Error::other(error.message);
        self.interrupt.check().map_err(failed)?;
        let read = self.from.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| std::io::Error::other("it became larger while it was read"))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_reader_ends_with_its_limit_and_with_the_interrupt() {
        let interrupt = Interrupt::default();
        let mut text = String::new();
        let mut reader = Limited::new(&b"abc"[..], 3, &interrupt);
        reader.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), reader.left()), ("abc", 0));
        let mut reader = Limited::new(&b"abcd"[..], 3, &interrupt);
        assert!(reader.read_to_string(&mut text).is_err());
        interrupt.set();
        let mut reader = Limited::new(&b"abc"[..], 3, &interrupt);
        assert!(reader.read(&mut [0]).is_err());
    }
}

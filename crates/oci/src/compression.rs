//! The formats of compressed layers.

/// A format of compressed layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Supported by every registry and every runtime.
    #[default]
    Gzip,
    /// Smaller and faster; needs Docker 23 or containerd 1.5, or newer, to run.
    Zstd,
}

//! The formats of compressed layers.

/// A format of compressed layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// What every registry and every runtime takes.
    #[default]
    Gzip,
    /// Smaller and faster; needs Docker 23 or containerd 1.5 to run.
    Zstd,
}

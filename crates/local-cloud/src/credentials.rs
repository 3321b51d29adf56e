//! The credentials that a server accepts.

/// The credentials that a server accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// Any credentials.
    Any,
    /// Only these (`--require-credentials`); signatures are verified.
    Required {
        /// The access key id.
        access_key: String,
        /// The secret access key.
        secret_key: String,
    },
}

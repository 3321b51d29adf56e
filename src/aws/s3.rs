//! S3: addresses, and the verbs that are paged.

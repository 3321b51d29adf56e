//! One thin module per subcommand: `Args`, `run(&Context, &Args) -> Result<Report>`, the report.

pub mod analyze;
pub mod completions;
pub mod config;
pub mod data;
#[cfg(feature = "local")]
pub mod demo;
pub mod destroy;
pub mod doctor;
pub mod endpoint;
pub mod image;
pub mod init;
pub mod invoke;
pub mod lineage;
#[cfg(feature = "local")]
pub mod local;
pub mod models;
pub mod monitor;
pub mod notebook;
pub mod plan;
pub mod promote;
pub mod runs;
pub mod status;
pub mod train;
pub mod validate;
pub mod version;

//! The real `mlops` in a sandbox, against the local cloud that it carries.
#![expect(clippy::unwrap_used, reason = "tests")]

mod analyzer;
mod checks;
mod cli;
mod data;
mod data_resume;
mod data_versions;
mod faulty_registry;
mod gate;
mod generated;
mod image;
mod image_build;
mod image_look;
mod image_push;
mod image_source;
mod image_use;
mod init;
mod job_process;
mod local;
mod monitor;
mod promote;
mod recovery;
mod requests;
mod rooms;
mod runs;
mod sandbox;
mod shells;
mod story;
mod validate;
mod validate_bad_input;
mod validate_inputs;
mod validate_lambda;
mod validate_processing;

//! What runs the jobs: the image's program as a process of this machine.

use std::process::ExitCode;

/// The hidden job process: enters the job's mount namespace and becomes the program.
pub fn exec(_arguments: &[String]) -> ExitCode {
    ExitCode::FAILURE
}

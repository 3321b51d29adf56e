//! Parses the command line, runs the command, prints errors and hints, and sets the exit code.

use std::process::ExitCode;

use mlops::cli::{self, Cli};
use mlops::config;
use mlops::context::Interrupts;
use mlops::output;
use mlops::progress::write_stderr;
use mlops_core::error::Exit;

fn main() -> ExitCode {
    if mlops::lambda_runtime::is_bootstrap() {
        return mlops::lambda_runtime::run();
    }
    match cli::respond_to_completion() {
        Ok(false) => {}
        Ok(true) if mlops::output::flush().is_ok() => return Exit::Done.into(),
        // The shell does not display it.
        Ok(true) | Err(_) => return Exit::Failed.into(),
    }
    let format = config::error_format(std::env::args_os());
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refusal) => return output::print_refusal(&refusal, format).into(),
    };
    // The job process changes its own namespaces, which requires a process with a single thread.
    if let Some(code) = cli.run_single_threaded() {
        return code;
    }
    let interrupts = Interrupts::default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Decoders of the local cloud recurse up to the depths in crates/local-cloud/src/limits.rs,
        // which needs more than the default stack of 2 MiB in an unoptimized build.
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            write_stderr(&format!("error: cannot start: {error}"));
            return Exit::Failed.into();
        }
    };
    let result = runtime.block_on(async {
        tokio::select! {
            result = cli::run(cli, interrupts.clone()) => Ok(result),
            notes = cli::interrupted(&interrupts) => Err(notes),
        }
    });
    // Work on blocking threads may remove its files; a prompt that waits for a key must not keep
    // the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_millis(300));
    match result {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(error)) => output::print(&error, format).into(),
        Err(notes) => output::print_interrupted(&notes, format).into(),
    }
}

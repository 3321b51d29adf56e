//! Runs a builder or an installer and forwards its output line by line.

use std::collections::VecDeque;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

/// Number of last output lines that an error contains.
const TAIL: usize = 15;

/// Runs a command to its end. Passes each line of its output to `heard`.
///
/// # Errors
/// The command cannot be started or fails; the error contains the last lines of its output.
pub(super) async fn run(
    command: &mut Command,
    what: &str,
    heard: &mut (dyn FnMut(&str) + Send),
) -> Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            let program = command.as_std().get_program();
            format!("cannot {what}: cannot start `{}`", program.display())
        })?;
    let (sender, mut lines) = mpsc::channel(64);
    if let Some(output) = child.stdout.take() {
        tokio::spawn(read(output, sender.clone()));
    }
    if let Some(errors) = child.stderr.take() {
        tokio::spawn(read(errors, sender.clone()));
    }
    drop(sender);
    let mut tail = VecDeque::new();
    while let Some(line) = lines.recv().await {
        heard(&line);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    let status = child.wait().await?;
    if status.success() {
        return Ok(());
    }
    let tail: Vec<String> = tail.into();
    bail!("cannot {what} ({status}):\n{}", tail.join("\n"))
}

/// Sends the lines of a stream until it ends or the receiver is dropped.
async fn read(stream: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        // Only the last state of a progress bar is forwarded.
        let text = text.trim_end().rsplit('\r').next().unwrap_or_default();
        if !text.trim().is_empty() && lines.send(text.to_owned()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn both_streams_are_read_and_a_failure_repeats_the_last_lines() {
        let mut heard = Vec::new();
        run(
            &mut shell("echo one; printf 'a\\rb\\n' >&2; printf last"),
            "try",
            &mut |line| heard.push(line.to_owned()),
        )
        .await
        .unwrap();
        heard.sort();
        assert_eq!(heard, ["b", "last", "one"]);
        let error = run(
            &mut shell("for i in $(seq 40); do echo line $i; done; exit 3"),
            "try",
            &mut |_| {},
        )
        .await
        .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("cannot try (exit status: 3)"), "{text}");
        assert!(text.ends_with("line 40"), "{text}");
        assert!(!text.contains("line 25\n"), "{text}");
    }
}

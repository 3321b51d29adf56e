//! Runs `record_preprocessor_script` and `post_analytics_processor_script`: Python scripts in one
//! child process (script.py) that streams all records.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};
use mlops_validation::Source;
use mlops_validation::capture::Window;
use serde::Deserialize;

use super::job::Sides;
use super::lines::{Lines, cut, read};

/// The interpreter of the scripts, on PATH.
const PYTHON: &str = "python3";

/// The driver of a script.
const DRIVER: &str = include_str!("script.py");

/// SageMaker's name for this error.
const FAILED: &str = "Exception while invoking preprocessor script";

/// Streams every captured event of the window through the script's `preprocess_handler` as JSON Lines.
///
/// # Errors
/// The script or Python is missing.
pub(super) fn preprocess(
    script: &Path,
    columns: &[String],
    files: Vec<PathBuf>,
    window: Window,
    sides: Sides,
) -> Result<Source> {
    let mut child = start("preprocess", script)?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("cannot communicate with {PYTHON}");
    };
    let columns = serde_json::to_string(columns)?;
    let feeder = std::thread::Builder::new()
        .name("preprocess".to_owned())
        .spawn(move || {
            writeln!(stdin, "{columns}")?;
            feed(stdin, &files, window, sides)
        })
        .context("cannot start a thread")?;
    let name = script.display().to_string();
    let records = Records {
        child,
        output: BufReader::with_capacity(256 << 10, stdout),
        feeder: Some(feeder),
        line: Vec::new(),
        read: 0,
        done: false,
    };
    Ok(Source::stream(name, move || Ok(records)))
}

/// Runs the script's `postprocess_handler`.
///
/// # Errors
/// The script or Python is missing, or the handler fails.
pub(super) fn postprocess(script: &Path) -> Result<()> {
    let mut child = start("postprocess", script)?;
    drop(child.stdin.take());
    let mut said = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut said)?;
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    bail!(
        "Exception while invoking postprocessor script {}: {}",
        script.display(),
        said.strip_prefix('E')
            .and_then(|text| serde_json::from_str::<String>(text).ok())
            .unwrap_or_else(|| status.to_string())
    )
}

fn start(kind: &str, script: &Path) -> Result<Child> {
    if !script.is_file() {
        bail!("no script {}", script.display());
    }
    Command::new(PYTHON)
        .args(["-c", DRIVER, kind])
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!(
                "cannot start {PYTHON} for the script {}: the image must have Python",
                script.display()
            )
        })
}

/// The time of an event.
#[derive(Deserialize)]
struct Timed {
    #[serde(default, rename = "eventMetadata")]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(rename = "inferenceTime")]
    time: Option<jiff::Timestamp>,
}

/// Sends the events of the window to the script.
fn feed(mut stdin: ChildStdin, files: &[PathBuf], window: Window, sides: Sides) -> io::Result<()> {
    for file in files {
        feed_file(&mut stdin, file, window, sides).map_err(|error| match error.kind() {
            // The script has ended: report its own error, not the broken pipe.
            io::ErrorKind::BrokenPipe => error,
            _ => io::Error::other(format!("{}: {error}", file.display())),
        })?;
    }
    Ok(())
}

fn feed_file(stdin: &mut ChildStdin, file: &Path, window: Window, sides: Sides) -> io::Result<()> {
    let mut number = 0_u64;
    let mut lines = Lines::new(read(file)?, |line: &mut Vec<u8>| {
        number += 1;
        if line.trim_ascii().is_empty() {
            line.clear();
            return Ok(());
        }
        let broken = |why: String| io::Error::other(format!("line {number}: {why}"));
        let event: Timed = serde_json::from_slice(line)
            .map_err(|error| broken(format!("not a captured invocation: {error}")))?;
        if window != Window::default() {
            let time = event.metadata.time;
            let time = time.ok_or_else(|| broken("inferenceTime is missing".to_owned()))?;
            if !window.contains(time) {
                line.clear();
                return Ok(());
            }
        }
        cut(line, sides)?;
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        Ok(())
    });
    io::copy(&mut lines, stdin)?;
    Ok(())
}

/// Reads the script's records as they arrive.
struct Records {
    child: Child,
    output: BufReader<ChildStdout>,
    feeder: Option<JoinHandle<io::Result<()>>>,
    line: Vec<u8>,
    read: usize,
    /// True once the script has received every event.
    done: bool,
}

impl Records {
    /// Checks after the last record that both script and feeder succeeded.
    fn end(&mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        let fed = match self.feeder.take().map(JoinHandle::join) {
            None => return Ok(()),
            Some(Ok(fed)) => fed,
            Some(Err(_)) => return Err(io::Error::other("the reader of the events ended")),
        };
        match fed {
            // The script ended first: report its error, not the broken pipe.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ if status.success() && self.done => Ok(()),
            _ if status.success() => Err(io::Error::other(format!(
                "{FAILED}: the script ended before the last event"
            ))),
            _ => Err(io::Error::other(format!("{FAILED}: {status}"))),
        }
    }
}

impl Read for Records {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.line.len() {
            self.line.clear();
            self.read = 1;
            if self.output.read_until(b'\n', &mut self.line)? == 0 {
                self.read = 0;
                return self.end().map(|()| 0);
            }
            if self.line == b"D\n" {
                self.done = true;
                self.line.clear();
                self.read = 0;
                return self.end().map(|()| 0);
            }
            if self.line.first() != Some(&b'R') {
                let said = self.line.get(1..).unwrap_or_default();
                let text = serde_json::from_slice::<String>(said)
                    .unwrap_or_else(|_| String::from_utf8_lossy(said).into_owned());
                return Err(io::Error::other(format!("{FAILED}: {text}")));
            }
        }
        let rest = &self.line[self.read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.read += length;
        Ok(length)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // If reading ended early, stop the script; the broken pipe then ends the feeder.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: usize, hour: u32, input: &str, output: &str) -> String {
        serde_json::json!({
            "captureData": {
                "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": input, "encoding": "CSV"},
                "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": output, "encoding": "CSV"},
            },
            "eventMetadata": {"eventId": id.to_string(), "inferenceTime": format!("2026-02-14T{hour:02}:30:00Z")},
            "eventVersion": "0",
        })
        .to_string()
    }

    /// Runs a script on two events, one of them in the window of the second hour.
    fn run(script: &str, columns: &[&str], window: Window) -> io::Result<String> {
        let directory = tempfile::tempdir()?;
        let (file, code) = (
            directory.path().join("a.jsonl"),
            directory.path().join("s.py"),
        );
        let lines = [event(1, 1, "10,x", "0.5"), event(2, 2, "20,y", "1.5")];
        std::fs::write(&file, lines.join("\n"))?;
        std::fs::write(&code, script)?;
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let source = preprocess(&code, &columns, vec![file], window, Sides::Both)
            .map_err(io::Error::other)?;
        let mut text = String::new();
        (source.open)()?.into_reader().read_to_string(&mut text)?;
        Ok(text)
    }

    /// The example of the developer guide.
    const GUIDE: &str = r#"
def preprocess_handler(inference_record):
    data = inference_record.endpoint_output.data + "," + inference_record.endpoint_input.data
    print("to the log, not into the records")
    return {str(i).zfill(20): d for i, d in enumerate(data.split(","))}
"#;

    const MANY: &str = r#"
def preprocess_handler(record, logger):
    logger.info("seen %s", record)
    if record["eventMetadata"]["eventId"] == "1":
        return []
    assert record.event_metadata.custom_attribute is None
    return [{"b": float("nan"), "a": 1}, {"a": 2, "b": None}, [3, "z"]]
"#;

    #[test]
    fn records_match_the_handlers_response() {
        assert_eq!(
            run(GUIDE, &["y", "a", "b"], Window::default()).unwrap(),
            "{\"y\": \"0.5\", \"a\": \"10\", \"b\": \"x\"}\n{\"y\": \"1.5\", \"a\": \"20\", \"b\": \"y\"}\n"
        );
        assert_eq!(
            run(MANY, &["a", "b"], Window::default()).unwrap(),
            "{\"b\": null, \"a\": 1}\n{\"a\": 2, \"b\": null}\n{\"a\": 3, \"b\": \"z\"}\n"
        );
    }

    #[test]
    fn only_events_of_the_window_reach_the_script() {
        const NAME: &str =
            "def preprocess_handler(r):\n    return {'id': r.event_metadata.event_id}\n";
        let window = Window {
            since: Some("2026-02-14T02:00:00Z".parse().unwrap()),
            until: None,
        };
        assert_eq!(run(NAME, &[], window).unwrap(), "{\"id\": \"2\"}\n");
    }

    #[test]
    fn a_failing_script_names_the_event() {
        for (script, message) in [
            (
                "def preprocess_handler(r):\n    return {'a': int(r.endpoint_input.data)}\n",
                "event 1 (eventId 1): ValueError: invalid literal",
            ),
            (
                "def preprocess_handler(r):\n    return None\n",
                "returns []",
            ),
            (
                "def preprocess_handler(r):\n    return {'a': [1]}\n",
                "records must be flat",
            ),
            ("import nowhere\n", "No module named 'nowhere'"),
            ("x = 1\n", "no function preprocess_handler"),
            ("import os; os._exit(7)\n", "exit status: 7"),
            (
                "import sys\ndef preprocess_handler(r):\n    sys.exit(0)\n",
                "ended before the last event",
            ),
            (
                "import os\ndef preprocess_handler(r):\n    os._exit(0)\n",
                "ended before the last event",
            ),
        ] {
            let error = run(script, &[], Window::default()).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
            assert!(error.contains(FAILED), "{error}");
        }
    }

    #[test]
    fn a_failing_postprocessor_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("s.py");
        let done = directory.path().join("done");
        let text = format!("def postprocess_handler():\n    open({done:?}, 'w').close()\n");
        std::fs::write(&script, text).unwrap();
        postprocess(&script).unwrap();
        assert!(done.exists());
        std::fs::write(
            &script,
            "def postprocess_handler():\n    raise OSError('full')\n",
        )
        .unwrap();
        let error = postprocess(&script).unwrap_err();
        assert!(error.to_string().ends_with("OSError: full"), "{error}");
        assert!(postprocess(&directory.path().join("none.py")).is_err());
    }
}

//! Exports an image from the store of Docker or podman as an archive.

use std::io::{self, Read};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Error, Result, anyhow};
use mlops_core::error::{Failure, Hint};
use tempfile::{NamedTempFile, TempPath};

/// Maximum bytes of an engine's error output to keep.
const WORDS: u64 = 4 << 10;

/// Exports the image `name` from the first of `engines` that has it into a temporary file.
///
/// # Errors
///
/// No engine is installed, or none has the image; contains each engine's own words.
pub(super) fn save(name: &str, engines: &[&str]) -> Result<TempPath> {
    if !is_name(name) {
        return Err(Failure::usage(format!(
            "`{name}` is neither a file, nor a directory, nor an image's name"
        )));
    }
    let mut refusals = Vec::new();
    for engine in engines {
        match save_from(name, engine)? {
            Saved::Image(path) => return Ok(path),
            Saved::NotInstalled => {}
            Saved::Refused(words) => refusals.push(format!("{engine}: {words}")),
        }
    }
    if refusals.is_empty() {
        let engines = engines.join(" or ");
        return Err(anyhow!(
            "`{name}` is not a file or directory, and {engines} is not installed to search for an image of that name"
        ))
        .hint("pass an OCI layout, a file from `docker save`, or a name in Docker's or podman's store");
    }
    Err(anyhow!(
        "no image `{name}`: it is not a file or directory, and {}",
        refusals.join("; ")
    ))
    .hint("list the images in the store with `docker images` or `podman images`")
}

enum Saved {
    Image(TempPath),
    NotInstalled,
    /// The engine's own words.
    Refused(String),
}

fn save_from(name: &str, engine: &str) -> Result<Saved> {
    let mut command = Command::new(engine);
    command.arg("save");
    if engine == "podman" {
        command.args(["--format", "docker-archive"]);
    }
    let spawned = command
        .arg(name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::NotInstalled),
        Err(error) => return Err(Error::new(error).context(format!("cannot run {engine}"))),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut stdout, stderr) = (
        stdout.context("the engine has no output")?,
        stderr.context("the engine has no output")?,
    );
    let words = std::thread::spawn(move || listen(stderr));
    let mut scratch = NamedTempFile::new().context("cannot create a temporary file")?;
    if let Err(error) = io::copy(&mut stdout, scratch.as_file_mut()) {
        // The engine would wait for a reader forever.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error)
            .with_context(|| {
                format!("cannot write the output of `{engine} save` to a temporary file")
            })
            .hint("needs free space for the whole image; set TMPDIR to use another directory");
    }
    drop(stdout);
    let status = child.wait()?;
    let words = words.join().unwrap_or_default();
    if status.success() {
        return Ok(Saved::Image(scratch.into_temp_path()));
    }
    Ok(Saved::Refused(if words.is_empty() {
        status.to_string()
    } else {
        words
    }))
}

/// Returns the beginning of an engine's error output, on one line.
fn listen(mut stderr: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = (&mut stderr).take(WORDS).read_to_end(&mut bytes);
    let _ = io::copy(&mut stderr, &mut io::sink());
    let text = String::from_utf8_lossy(&bytes);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns whether a text can be an image's name: letters, digits and `._-/:@`, and not an option.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte))
}

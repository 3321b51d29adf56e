//! The function's code: an executable, zipped as `bootstrap`.

use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{DateTime, ZipWriter};

use super::Clients;
use super::s3::{self, S3Uri};

pub mod binary;

use binary::Architecture;

/// An executable that Lambda can run.
#[derive(Debug)]
pub struct Code {
    bytes: Vec<u8>,
    /// Its architecture.
    pub architecture: Architecture,
    /// The executable's SHA-256, in hexadecimal.
    pub checksum: String,
}

/// The key of an executable's zip in the artifact bucket, from its SHA-256 in hexadecimal.
pub fn key(checksum: &str) -> String {
    format!("code/{checksum}.zip")
}

impl Code {
    /// Reads an executable (without `file`, this one) and checks that Lambda can run it.
    pub fn read(file: Option<&Path>) -> Result<Self> {
        let name = file.map_or("this executable".to_owned(), |file| {
            file.display().to_string()
        });
        let path = match file {
            Some(file) => file.to_owned(),
            // This path works even if the file was replaced since the start.
            None if cfg!(target_os = "linux") => "/proc/self/exe".into(),
            None => std::env::current_exe().context("cannot find this executable")?,
        };
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let architecture = binary::check(&name, &bytes)?;
        let hash = hex::encode(Sha256::digest(&bytes));
        Ok(Self {
            bytes,
            architecture,
            checksum: hash,
        })
    }

    /// Uploads the zip to the bucket unless it exists.
    pub async fn upload(self, clients: &Clients, bucket: &str) -> Result<()> {
        let object = S3Uri::new(bucket, key(&self.checksum));
        if s3::exists(&clients.s3, &object).await? {
            return Ok(());
        }
        let zip = tokio::task::spawn_blocking(move || zipped(&self.bytes)).await??;
        s3::put(&clients.s3, &object, "application/zip", zip).await
    }
}

/// Returns the zip of a function: one executable file, `bootstrap`. Identical input gives identical
/// bytes.
fn zipped(executable: &[u8]) -> Result<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .unix_permissions(0o755)
        .last_modified_time(DateTime::default())
        // Fast decompression matters most: the zip is unpacked far more often than it is uploaded.
        .compression_level(Some(1));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("bootstrap", options)?;
    zip.write_all(executable)?;
    let zip = zip.finish().map_err(|error| anyhow!(error))?;
    Ok(zip.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_zip_is_one_executable_and_reproducible() {
        let zip = zipped(b"program").unwrap();
        assert_eq!(zip, zipped(b"program").unwrap());
        let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
        assert_eq!(archive.len(), 1);
        let mut entry = archive.by_index(0).unwrap();
        assert_eq!(entry.name().unwrap(), "bootstrap");
        assert_eq!(entry.unix_mode().unwrap() & 0o777, 0o755);
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "program");
    }
}

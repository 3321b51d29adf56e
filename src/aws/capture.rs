//! Reads objects as streams: data sets for validation, and captured traffic.

use std::io::{self, Read};

use anyhow::{Context as _, Result};
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Buf as _, Bytes};
use tokio::runtime::Handle;

use super::s3::S3Uri;
use super::{AwsResultExt, Clients};

/// Lists the object with that key, and every object below it as a directory, by key. Skips the
/// empty objects that consoles create for directories.
pub async fn objects(clients: &Clients, address: &S3Uri) -> Result<Vec<S3Uri>> {
    let sized = sized(clients, address).await?;
    Ok(sized.into_iter().map(|(object, _)| object).collect())
}

/// Lists the same objects, each with its size in bytes.
pub async fn sized(clients: &Clients, address: &S3Uri) -> Result<Vec<(S3Uri, u64)>> {
    let mut pages = clients
        .s3
        .list_objects_v2()
        .bucket(&address.bucket)
        .prefix(&address.key)
        .into_paginator()
        .send();
    let mut found = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.aws(format!("cannot list {address}"))?;
        for object in page.contents() {
            let Some(key) = object.key() else {
                continue;
            };
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let size = size.unwrap_or_default();
            if key.ends_with('/') && size == 0 {
                continue;
            }
            let rest = &key[address.key.len().min(key.len())..];
            let inside = address.key.is_empty()
                || address.key.ends_with('/')
                || rest.is_empty()
                || rest.starts_with('/');
            if inside {
                let size = object.size().and_then(|size| u64::try_from(size).ok());
                found.push((S3Uri::new(&address.bucket, key), size.unwrap_or_default()));
            }
        }
    }
    Ok(found)
}

/// Counts the captured invocations below an address: captured files have one per line.
pub async fn lines(clients: &Clients, address: &S3Uri) -> Result<usize> {
    let mut count = 0;
    for object in objects(clients, address).await? {
        let body = clients
            .s3
            .get_object()
            .bucket(&object.bucket)
            .key(&object.key)
            .send()
            .await
            .aws(format!("cannot read {object}"))?
            .body
            .collect()
            .await
            .with_context(|| format!("cannot read {object}"))?;
        count += String::from_utf8_lossy(&body.into_bytes()).lines().count();
    }
    Ok(count)
}

/// Returns a function that opens the object, or one version of it, for reading. Call it, and use
/// the reader, only on a thread that may block (`spawn_blocking`).
pub fn opener(
    clients: &Clients,
    address: &S3Uri,
    version_id: Option<&str>,
) -> Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send> {
    let (s3, address) = (clients.s3.clone(), address.clone());
    let version_id = version_id.map(str::to_owned);
    let handle = Handle::current();
    Box::new(move || {
        let object = handle.block_on(async {
            s3.get_object()
                .bucket(&address.bucket)
                .key(&address.key)
                .set_version_id(version_id)
                .send()
                .await
                .aws("cannot read it")
        });
        // Not `into()`, because the boxed error must keep its hint and exit code.
        let object = object.map_err(|error| {
            io::Error::other(error.reallocate_into_boxed_dyn_error_without_backtrace())
        })?;
        Ok(Box::new(ObjectReader {
            handle,
            stream: object.body,
            chunk: Bytes::new(),
        }) as Box<dyn Read + Send>)
    })
}

/// An object's bytes as they arrive.
struct ObjectReader {
    handle: Handle,
    stream: ByteStream,
    chunk: Bytes,
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.handle.block_on(self.stream.next()) {
                Some(chunk) => self.chunk = chunk.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

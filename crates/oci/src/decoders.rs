//! Entry points for the fuzz targets (`fuzz/`).

use std::path::Path;

use crate::archive::Archive;

/// Indexes an archive and reads its files with one of `names`.
pub fn read(path: &Path, names: &[&str]) -> Vec<Vec<u8>> {
    let Ok(archive) = Archive::open(path) else {
        return Vec::new();
    };
    names
        .iter()
        .filter_map(|name| archive.read(name, 1 << 20).ok())
        .collect()
}

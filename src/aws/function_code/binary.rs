//! Requirements for a Lambda executable: an ELF file for an architecture that Lambda supports,
//! without symbols of a glibc newer than that of Amazon Linux 2023.

use anyhow::{Result, anyhow};
use mlops_core::error::{Exit, Failure, Hint};
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, elf};

/// The glibc of `provided.al2023` (Amazon Linux 2023).
pub const GLIBC: (u32, u32) = (2, 34);

/// Maximum unpacked size of a function's files (Lambda quotas).
pub const MAX_UNZIPPED: u64 = 262_144_000;

const HINT: &str = "build one with `cargo zigbuild --release --target \
                    x86_64-unknown-linux-gnu.2.34` (cargo-zigbuild; zig is PyPI's ziglang), and \
                    pass it with --function-binary FILE";

/// An architecture of Lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// AMD and Intel.
    X86_64,
    /// Graviton.
    Arm64,
}

impl Architecture {
    /// The architecture's name in Lambda's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

/// A glibc symbol version that a program needs.
pub type Version = (u32, u32);

/// The properties of an executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The architecture.
    pub architecture: Architecture,
    /// The newest glibc symbol version; `None` for a static program.
    pub glibc: Option<Version>,
}

/// Reads the properties of an executable.
///
/// # Errors
/// The file is not a 64-bit Linux executable, or its architecture is not supported by Lambda.
pub fn needs(name: &str, bytes: &[u8]) -> Result<Needs> {
    let refused = |what: &str| {
        Err(Failure::new(
            Exit::Failed,
            format!("{name} is {what}, but Lambda runs 64-bit Linux executables"),
        ))
        .hint(HINT)
    };
    let magic = bytes.get(..4).unwrap_or_default();
    match magic {
        b"\x7fELF" => {}
        [0xcf, 0xfa, 0xed, 0xfe] | [0xca, 0xfe, 0xba, 0xbe] => {
            return refused("a macOS executable");
        }
        [b'M', b'Z', ..] => return refused("a Windows executable"),
        [b'#', b'!', ..] => return refused("a script"),
        _ => return refused("not an executable"),
    }
    let Ok(header) = FileHeader64::<Endianness>::parse(bytes) else {
        return refused("a 32-bit or damaged executable");
    };
    let broken = |error: object::Error| anyhow!("{name}: invalid executable: {error}");
    let endian = header.endian().map_err(broken)?;
    let architecture = match header.e_machine(endian) {
        elf::EM_X86_64 => Architecture::X86_64,
        elf::EM_AARCH64 => Architecture::Arm64,
        other => return refused(&format!("an executable for ELF machine {other:?}")),
    };
    let sections = header.sections(endian, bytes).map_err(broken)?;
    let mut glibc = None;
    for section in sections.iter() {
        let Some((mut needed, link)) = section.gnu_verneed(endian, bytes).map_err(broken)? else {
            continue;
        };
        let strings = sections.strings(endian, bytes, link).map_err(broken)?;
        while let Some((_, mut versions)) = needed.next().map_err(broken)? {
            while let Some(version) = versions.next().map_err(broken)? {
                let text = version.name(endian, strings).map_err(broken)?;
                glibc = glibc.max(parse(text));
            }
        }
    }
    Ok(Needs {
        architecture,
        glibc,
    })
}

/// Parses `GLIBC_2.34` into numbers; returns `None` for `GLIBC_PRIVATE` and versions of other
/// libraries.
fn parse(text: &[u8]) -> Option<Version> {
    let version = std::str::from_utf8(text).ok()?.strip_prefix("GLIBC_")?;
    let mut parts = version.split('.');
    let mut next = || parts.next()?.parse().ok();
    Some((next()?, next()?))
}

/// Rejects executables that Lambda cannot run.
///
/// # Errors
/// Those of [`needs`]; a glibc newer than Lambda's; a file that is too large.
pub fn check(name: &str, bytes: &[u8]) -> Result<Architecture> {
    let needs = needs(name, bytes)?;
    if let Some((major, minor)) = needs.glibc.filter(|glibc| *glibc > GLIBC) {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{name} needs GLIBC_{major}.{minor}, but Lambda's provided.al2023 has {}.{}",
                GLIBC.0, GLIBC.1
            ),
        ))
        .hint(HINT);
    }
    if bytes.len() as u64 > MAX_UNZIPPED {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{name} has {} MiB, but the code of a Lambda function is limited to {} MiB",
                bytes.len() >> 20,
                MAX_UNZIPPED >> 20
            ),
        ))
        .hint("use a release build, or remove the debug information with `strip`");
    }
    Ok(needs.architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse(b"GLIBC_2.34"), Some((2, 34)));
        assert_eq!(parse(b"GLIBC_2.2.5"), Some((2, 2)));
        assert!(parse(b"GLIBC_2.4") < parse(b"GLIBC_2.34"));
        assert_eq!(parse(b"GLIBC_PRIVATE"), None);
        assert_eq!(parse(b"GCC_3.0"), None);
    }

    #[test]
    fn other_files_than_linux_executables_are_rejected_by_name() {
        for (bytes, word) in [
            (&b"\xcf\xfa\xed\xfe...."[..], "macOS"),
            (b"MZ......", "Windows"),
            (b"#!/bin/sh\n", "script"),
            (b"", "not an executable"),
            (b"\x7fELF\x01\x01\x01", "32-bit"),
        ] {
            let error = check("x", bytes).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

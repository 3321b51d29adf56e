//! Layers compressed by all cores, read once and hashed on the way.
//!
//! The input is cut into blocks that are compressed by themselves and written in order: one gzip
//! member or one zstd frame each. So the output depends on the input alone (and on the version of
//! the compressor), not on the number of cores. RFC 1952 (2.2) and RFC 8878 (3) allow both, and
//! eStargz and zstd:chunked images are made so, which every runtime reads.
//!
//! While one batch of blocks is compressed, the batch before it is hashed and written and the one
//! after it is read and hashed. Three batches are all the memory that is used.
//!

use std::io::{Read, Write};

use anyhow::{Context as _, Result, anyhow};
use libdeflater::{CompressionLvl, Compressor};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::Hint;

/// A format of compressed layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// What every registry and every runtime takes
    #[default]
    Gzip,
    /// Smaller and faster; needs Docker 23, containerd 1.5 or newer to run
    Zstd,
}

/// What is compressed by itself, in bytes.
const BLOCK: usize = 512 << 10;
/// Blocks that are under way at once.
const BATCH: usize = 8;

const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// What went through a compressor.
#[derive(Debug)]
pub(super) struct Compressed {
    /// `sha256:…` of what was read.
    pub(super) diff_id: String,
    /// `sha256:…` of what was written.
    pub(super) digest: String,
    /// Bytes written.
    pub(super) size: u64,
}

/// Compresses all of `input` into `output`. `progress` hears of bytes that are done.
pub(super) fn compress(
    input: &mut (dyn Read + Send),
    output: &mut (dyn Write + Send),
    compression: Compression,
    progress: &dyn Fn(u64),
) -> Result<Compressed> {
    let mut source = Source {
        input,
        hasher: Sha256::new(),
    };
    let mut target = Target {
        output,
        hasher: Sha256::new(),
        size: 0,
    };
    let (mut now, mut next, mut last) = (Batch::default(), Batch::default(), Batch::default());
    source.fill(&mut now)?;
    if now.used == 0 {
        now.empty_block();
    }
    while now.used > 0 || last.used > 0 {
        let (packed, (written, read)) = rayon::join(
            || now.pack(compression),
            || rayon::join(|| target.write(&last), || source.fill(&mut next)),
        );
        packed?;
        written?;
        read?;
        progress(now.length());
        std::mem::swap(&mut last, &mut now);
        std::mem::swap(&mut now, &mut next);
    }
    Ok(Compressed {
        diff_id: text(source.hasher),
        digest: text(target.hasher),
        size: target.size,
    })
}

fn text(hasher: Sha256) -> String {
    format!("sha256:{}", hex::encode(hasher.finalize()))
}

#[derive(Default)]
struct Block {
    input: Vec<u8>,
    output: Vec<u8>,
}

/// Blocks of which the first `used` are filled.
#[derive(Default)]
struct Batch {
    blocks: Vec<Block>,
    used: usize,
}

impl Batch {
    fn empty_block(&mut self) {
        if self.blocks.is_empty() {
            self.blocks.push(Block::default());
        }
        self.blocks[0].input.clear();
        self.used = 1;
    }

    fn length(&self) -> u64 {
        self.blocks[..self.used]
            .iter()
            .map(|block| block.input.len() as u64)
            .sum()
    }

    fn pack(&mut self, compression: Compression) -> Result<()> {
        let blocks = &mut self.blocks[..self.used];
        match compression {
            Compression::Gzip => blocks
                .par_iter_mut()
                .try_for_each_init(Gzip::default, |gzip, block| gzip.pack(block)),
            Compression::Zstd => blocks.par_iter_mut().try_for_each_init(
                || zstd::bulk::Compressor::new(ZSTD_LEVEL),
                |zstd, block| {
                    let zstd = zstd.as_mut().map_err(|error| anyhow!("zstd: {error}"))?;
                    let bound = zstd::zstd_safe::compress_bound(block.input.len());
                    block.output.clear();
                    block.output.reserve(bound);
                    zstd.compress_to_buffer(&block.input, &mut block.output)
                        .context("zstd cannot compress a block")?;
                    Ok(())
                },
            ),
        }
    }
}

/// What reads and hashes.
struct Source<'a> {
    input: &'a mut (dyn Read + Send),
    hasher: Sha256,
}

impl Source<'_> {
    /// Fills a batch with what comes next; at the end of the input it stays empty.
    fn fill(&mut self, batch: &mut Batch) -> Result<()> {
        batch.used = 0;
        while batch.used < BATCH {
            if batch.blocks.len() == batch.used {
                batch.blocks.push(Block::default());
            }
            let block = &mut batch.blocks[batch.used];
            block.input.clear();
            (&mut *self.input)
                .take(BLOCK as u64)
                .read_to_end(&mut block.input)
                .context("cannot read the layer")?;
            if block.input.is_empty() {
                break;
            }
            self.hasher.update(&block.input);
            batch.used += 1;
        }
        Ok(())
    }
}

/// What hashes and writes.
struct Target<'a> {
    output: &'a mut (dyn Write + Send),
    hasher: Sha256,
    size: u64,
}

impl Target<'_> {
    fn write(&mut self, batch: &Batch) -> Result<()> {
        for block in &batch.blocks[..batch.used] {
            self.output
                .write_all(&block.output)
                .context("cannot write the compressed layer to the temporary directory")
                .hint("it needs as much space as the image; TMPDIR names another directory")?;
            self.hasher.update(&block.output);
            self.size += block.output.len() as u64;
        }
        Ok(())
    }
}

/// The compressors of one thread, made when they are needed.
#[derive(Default)]
struct Gzip {
    levels: [Option<Compressor>; 3],
    sample: Vec<u8>,
    tried: Vec<u8>,
}

/// The pieces of a block that are tried, and the length of each in bytes.
const PIECES: usize = 4;
const PIECE: usize = 4 << 10;

impl Gzip {
    fn pack(&mut self, block: &mut Block) -> Result<()> {
        let level = if self.is_compressible(&block.input)? {
            GZIP_LEVEL
        } else {
            0
        };
        self.run(level, &block.input, &mut block.output)
    }

    /// Whether compression would save more than a hundredth: the fastest level tells by pieces from
    /// all over the block.
    fn is_compressible(&mut self, input: &[u8]) -> Result<bool> {
        if input.len() < 2 * PIECES * PIECE {
            return Ok(true);
        }
        let mut sample = std::mem::take(&mut self.sample);
        sample.clear();
        for piece in 0..PIECES {
            let start = piece * (input.len() - PIECE) / (PIECES - 1);
            sample.extend_from_slice(&input[start..start + PIECE]);
        }
        let mut tried = std::mem::take(&mut self.tried);
        let run = self.run(1, &sample, &mut tried);
        let worth = tried.len() < sample.len() - sample.len() / 100;
        (self.sample, self.tried) = (sample, tried);
        run.map(|()| worth)
    }

    fn run(&mut self, level: i32, input: &[u8], output: &mut Vec<u8>) -> Result<()> {
        let slot = usize::from(level > 0) + usize::from(level > 1);
        let compressor = self.levels[slot]
            .get_or_insert_with(|| Compressor::new(CompressionLvl::new(level).unwrap_or_default()));
        let bound = compressor.gzip_compress_bound(input.len());
        output.resize(bound, 0);
        let length = compressor
            .gzip_compress(input, output)
            .map_err(|error| anyhow!("a block cannot be compressed: {error}"))?;
        output.truncate(length);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::image::digest_of;

    fn packed(input: &[u8], compression: Compression) -> (Vec<u8>, Compressed) {
        let mut output = Vec::new();
        let done = compress(&mut &input[..], &mut output, compression, &|_| {}).unwrap();
        (output, done)
    }

    fn unpacked(bytes: &[u8], compression: Compression) -> Vec<u8> {
        let mut found = Vec::new();
        match compression {
            Compression::Gzip => flate2::read::MultiGzDecoder::new(bytes)
                .read_to_end(&mut found)
                .unwrap(),
            Compression::Zstd => zstd::Decoder::new(bytes)
                .unwrap()
                .read_to_end(&mut found)
                .unwrap(),
        };
        found
    }

    /// Text, then noise, then text: more than a batch, and no multiple of a block.
    fn mixed() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..BATCH * BLOCK / 16)
            .flat_map(|line| format!("line {line:10}\n").into_bytes())
            .collect();
        let noise = BLOCK..4 * BLOCK;
        let mut hash = Sha256::digest(b"noise");
        for chunk in bytes[noise].chunks_mut(32) {
            hash = Sha256::digest(hash);
            chunk.copy_from_slice(&hash[..chunk.len()]);
        }
        bytes.extend_from_slice(b"the end");
        bytes
    }

    #[test]
    fn what_is_compressed_is_read_back() {
        let whole = mixed();
        for compression in [Compression::Gzip, Compression::Zstd] {
            for length in [0, 1, 1000, BLOCK, whole.len()] {
                let input = &whole[..length];
                let (output, done) = packed(input, compression);
                assert!(unpacked(&output, compression) == input, "{length}");
                assert_eq!(done.diff_id, digest_of(input));
                assert_eq!(done.digest, digest_of(&output));
                assert_eq!(done.size, output.len() as u64);
            }
        }
    }

    #[test]
    fn the_output_does_not_depend_on_the_threads_or_reads() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let end = buffer.len().min(70_001);
                self.0.read(&mut buffer[..end])
            }
        }
        let whole = mixed();
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let three = rayon::ThreadPoolBuilder::new()
            .num_threads(3)
            .build()
            .unwrap();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let run = || {
                let mut output = Vec::new();
                let told = &|_| {};
                compress(&mut Slow(&whole), &mut output, compression, told).unwrap();
                output
            };
            let single = one.install(run);
            assert!(single == three.install(run));
            assert!(single == packed(&whole, compression).0);
        }
    }

    #[test]
    fn noise_is_stored_and_text_is_not() {
        let whole = mixed();
        let noise = &whole[BLOCK..2 * BLOCK];
        let (stored, _) = packed(noise, Compression::Gzip);
        assert!(
            stored.len() > BLOCK && stored.len() < BLOCK + BLOCK / 1000,
            "{}",
            stored.len()
        );
        let (text, _) = packed(&whole[4 * BLOCK..], Compression::Gzip);
        assert!(text.len() < 2 * BLOCK, "{}", text.len());
    }

    #[test]
    fn errors_of_either_side_are_told() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("it is gone"))
            }
        }
        let told = Cell::new(0);
        let count = |bytes| told.set(told.get() + bytes);
        let mut begun = (&[7; BLOCK][..]).chain(Broken);
        let error = compress(&mut begun, &mut Vec::new(), Compression::Gzip, &count).unwrap_err();
        assert_eq!(format!("{error:#}"), "cannot read the layer: it is gone");
        let mut full = &mut [0; 10][..];
        let error = compress(&mut &[7; 100][..], &mut full, Compression::Gzip, &count).unwrap_err();
        assert!(
            format!("{error:#}").contains("temporary directory"),
            "{error:#}"
        );
        let mut output = Vec::new();
        compress(&mut &mixed()[..], &mut output, Compression::Gzip, &count).unwrap();
        assert_eq!(told.get() % mixed().len() as u64, 100);
    }
}

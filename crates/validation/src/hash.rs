//! Hashes that are the same on every machine and in every version, so that profiles can be merged.

use twox_hash::XxHash3_64;

/// Hashes a text: XXH3, 64 bits, seed 0.
pub(super) fn of_text(text: &[u8]) -> u64 {
    XxHash3_64::oneshot(text)
}

/// Hashes the 64 bits of a number: the finalizer of `MurmurHash3`, which is a bijection.
pub(super) fn of_number(bits: u64) -> u64 {
    // Zero would map to zero, which marks an empty slot of the exact counter.
    let mut h = bits ^ 0x9e37_79b9_7f4a_7c15;
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

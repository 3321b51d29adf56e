//! Random numbers that are the same on every machine and in every version.

/// The generator splitmix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// Creates the generator of one stream of a seed. Work in parallel uses a stream per part, so that the
    /// result does not depend on the order of threads.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(mix(seed) ^ stream))
    }

    /// Returns the next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number below `limit`, which must not be 0. The bias is below `limit` / 2^64.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// Returns a number between 0 and 1, both exclusive, in steps of 2^-53.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit into a double")]
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }
}

/// The finalizer of splitmix64: a hash of 64 bits.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of Vigna's splitmix64.c for the state 1234567.
    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = Random(1_234_567);
        let found: Vec<u64> = (0..3).map(|_| random.bits()).collect();
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn numbers_are_even_and_streams_differ() {
        let mut random = Random::new(0, 0);
        let mut counts = [0_u32; 5];
        let mut sum = 0.0;
        for _ in 0..10_000 {
            counts[usize::try_from(random.below(5)).unwrap()] += 1;
            sum += random.unit();
        }
        assert!(
            counts.iter().all(|count| (1800..2200).contains(count)),
            "{counts:?}"
        );
        assert!((sum / 10_000.0 - 0.5).abs() < 0.02, "{sum}");
        assert_ne!(Random::new(0, 1).bits(), Random::new(0, 2).bits());
        assert_ne!(Random::new(1, 0).bits(), Random::new(0, 1).bits());
    }
}

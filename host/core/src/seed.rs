//! Chance as a value: a seed per cycle, a stream per purpose.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// 128 bits of chance, fresh for every cycle and recorded when the cycle is committed. All ids and all numbers that an engine draws
/// follow from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Seed(#[schemars(with = "String", regex(pattern = "^[0-9a-f]{32}$"))] pub [u8; 16]);

/// What a random stream is for. A stream of one purpose does not depend on how much of another was drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Launch and instance ids.
    Ids = 0,
    /// What the engine draws.
    Engine = 1,
    /// What the libraries beneath an engine draw, which it may know nothing of.
    Wasi = 2,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Seed {
    /// The stream for a purpose, from its beginning.
    pub fn stream(self, purpose: Stream) -> Random {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&self.0);
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(purpose as u64);
        Random(rng)
    }
}

impl Random {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

impl Serialize for Seed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16)
            .map(|bits| Self(bits.to_be_bytes()))
            .map_err(|_| serde::de::Error::custom("a seed is 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_each_stream_its_own() {
        let seed = Seed([3; 16]);
        let draw = |stream| seed.stream(stream).next_u64();
        assert_eq!(draw(Stream::Ids), draw(Stream::Ids));
        assert_ne!(draw(Stream::Ids), draw(Stream::Engine));
    }

    #[test]
    fn a_seed_survives_json() {
        let seed = Seed([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        let json = serde_json::to_string(&seed).expect("a seed serialises");
        assert_eq!(serde_json::from_str::<Seed>(&json).expect("and comes back"), seed);
    }
}

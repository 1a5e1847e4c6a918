//! Chance is drawn from the seed of the decision, in a stream of its own: what WASI is asked for changes nothing of what `random()` of the
//! contract gives. In a call that belongs to no decision it is the same numbers every time.

use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::{AT_ONCE, Answer, Ended};
use crate::host_impl::Call;

impl Call {
    fn draw(&mut self) -> u64 {
        match &mut self.cycle {
            Some(cycle) => cycle.wasi_random(),
            None => self.wasi().random.next_u64(),
        }
    }

    /// Some bytes, paid for before they are made. What is left of the last number is thrown away.
    fn draw_bytes(&mut self, count: u64) -> Answer<Vec<u8>> {
        if count > AT_ONCE {
            return Err(Ended::TooMuch { asked: count }.into());
        }
        self.crossed(count)?;
        let mut bytes = Vec::with_capacity(count as usize + 8);
        while (bytes.len() as u64) < count {
            bytes.extend(self.draw().to_le_bytes());
        }
        bytes.truncate(count as usize);
        Ok(bytes)
    }
}

impl random::Host for Call {
    fn get_random_bytes(&mut self, count: u64) -> Answer<Vec<u8>> {
        self.draw_bytes(count)
    }

    fn get_random_u64(&mut self) -> Answer<u64> {
        self.crossed(0)?;
        Ok(self.draw())
    }
}

impl insecure::Host for Call {
    fn get_insecure_random_bytes(&mut self, count: u64) -> Answer<Vec<u8>> {
        self.draw_bytes(count)
    }

    fn get_insecure_random_u64(&mut self) -> Answer<u64> {
        self.crossed(0)?;
        Ok(self.draw())
    }
}

impl insecure_seed::Host for Call {
    fn insecure_seed(&mut self) -> Answer<(u64, u64)> {
        self.crossed(0)?;
        Ok((self.draw(), self.draw()))
    }
}

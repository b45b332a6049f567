//! Breadth-first search over all states, so that the trace to a loss is a shortest one.

use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use crate::protocol::{Loss, Model, Steps};
use crate::state::State;
use crate::story;

const BLOCK: usize = 1 << 16;

/// Multiply and rotate: enough for keys that nobody chooses to collide, and exact states are compared anyway.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.write_u64(u64::from_le_bytes(padded));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_usize(&mut self, _: usize) {}

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

/// Every state found, each with the one it was first reached from.
struct Found {
    states: Vec<Vec<(State, u32)>>,
    /// Number of a state plus one; 0 is free. The length is a power of two.
    table: Vec<u32>,
    count: usize,
}

impl Found {
    fn new() -> Self {
        Self { states: Vec::new(), table: vec![0; 1 << 16], count: 0 }
    }

    fn get(&self, at: usize) -> &(State, u32) {
        &self.states[at / BLOCK][at % BLOCK]
    }

    fn place(&self, state: &State) -> usize {
        let mut hasher = Mix::default();
        state.hash(&mut hasher);
        let mask = self.table.len() - 1;
        let mut at = hasher.finish() as usize & mask;
        while self.table[at] != 0 && self.get(self.table[at] as usize - 1).0 != *state {
            at = (at + 1) & mask;
        }
        at
    }

    fn insert(&mut self, state: &State, parent: usize) -> bool {
        if self.count * 4 > self.table.len() * 3 {
            self.table = vec![0; self.table.len() * 2];
            for number in 0..self.count {
                let at = self.place(&self.get(number).0);
                self.table[at] = number as u32 + 1;
            }
        }
        let at = self.place(state);
        if self.table[at] != 0 {
            return false;
        }
        if self.count.is_multiple_of(BLOCK) {
            self.states.push(Vec::with_capacity(BLOCK));
        }
        self.states[self.count / BLOCK].push((*state, parent as u32));
        self.count += 1;
        self.table[at] = self.count as u32;
        true
    }
}

/// A loss, and how it comes about.
pub struct Trace {
    pub loss: Loss,
    pub lines: Vec<String>,
}

/// What a search found.
pub struct Outcome {
    pub states: usize,
    /// Actions from the beginning to the farthest state.
    pub depth: usize,
    pub took: Duration,
    /// Where writers and pruners stood in some state: bits by [`WriterAt`] and [`PrunerAt`].
    ///
    /// [`WriterAt`]: crate::state::WriterAt
    /// [`PrunerAt`]: crate::state::PrunerAt
    pub reached: [u32; 2],
    pub trace: Option<Trace>,
}

/// Visits every state that can be reached, or stops at the first that loses something.
///
/// # Panics
/// When there are more than `most` states: the world is too large for the memory.
pub fn search(model: &Model, most: usize) -> Outcome {
    let began = Instant::now();
    let mut found = Found::new();
    let mut state = model.start();
    model.canonical(&mut state);
    found.insert(&state, 0);
    let (mut at, mut depth, mut layer_ends) = (0, 0, 1);
    let (mut steps, mut reached) = (Steps::new(), [0; 2]);
    while at < found.count {
        if at == layer_ends {
            (depth, layer_ends) = (depth + 1, found.count);
        }
        let state = found.get(at).0;
        state.writers.iter().for_each(|writer| reached[0] |= 1 << writer.at as u32);
        state.pruners.iter().for_each(|pruner| reached[1] |= 1 << pruner.at as u32);
        model.steps(&state, &mut steps);
        for (_, mut after) in steps.drain(..) {
            model.canonical(&mut after);
            if found.insert(&after, at)
                && let Some(loss) = model.loss(&after)
            {
                let trace = Some(Trace { loss, lines: story::tell(model, &path(&found, found.count - 1)) });
                return Outcome { states: found.count, depth, took: began.elapsed(), reached, trace };
            }
        }
        assert!(found.count <= most, "more than {most} states at depth {depth}, {} of them visited", at);
        at += 1;
    }
    Outcome { states: found.count, depth, took: began.elapsed(), reached, trace: None }
}

fn path(found: &Found, last: usize) -> Vec<State> {
    let mut path = vec![found.get(last).0];
    let mut at = last;
    while at != 0 {
        at = found.get(at).1 as usize;
        path.push(found.get(at).0);
    }
    path.reverse();
    path
}

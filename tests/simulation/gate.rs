//! One operation at a time, in an order that a seed decides; time passes between any two of them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use bk::clock::Clock;
use bk::format::node::Timestamp;
use bk::store::{Area, Listed, ObjectName, Store, StoreError, Upload};

use super::support::MemoryStore;
use super::world::World;

/// Numbers that a seed decides (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The times of the world, in seconds since it began.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    true_seconds: i64,
    storage_jump: i64,
}

#[derive(Default)]
struct State {
    pending: Vec<(usize, u64)>,
    granted: Option<u64>,
    tickets: u64,
    /// Actors that have not ended.
    live: Vec<bool>,
    /// Actors that are not chosen for so many steps.
    frozen: Vec<u64>,
    times: Times,
    steps: u64,
}

/// Who may do the next operation.
#[derive(Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// When the world began.
pub const BEGINNING: i64 = 1_800_000_000;

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits for the turn of `actor`, does the operation, and lets the next one go.
    fn turn<T>(&self, actor: usize, work: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        if state.live.is_empty() {
            drop(state);
            return work();
        }
        state.tickets += 1;
        let ticket = state.tickets;
        state.pending.push((actor, ticket));
        self.changed.notify_all();
        while state.granted != Some(ticket) {
            state = self.changed.wait(state).unwrap();
        }
        drop(state);
        let done = work();
        let mut state = self.state();
        state.granted = None;
        self.changed.notify_all();
        done
    }

    pub fn ended(&self, actor: usize) {
        self.state().live[actor] = false;
        self.changed.notify_all();
    }

    pub fn seconds(&self) -> (i64, i64) {
        let times = self.state().times;
        (times.true_seconds, times.true_seconds + times.storage_jump)
    }

    /// From now on nobody does anything out of turn.
    pub fn close(&self, actors: usize) {
        let mut state = self.state();
        state.live = vec![true; actors];
        state.frozen = vec![0; actors];
    }

    /// Lets the actors work until all have ended; gives the number of operations.
    pub fn run(&self, random: &mut Random, store: &MemoryStore, jumps: bool) -> u64 {
        loop {
            let mut state = self.state();
            let actors = state.live.len();
            // Every actor that lives has something to do, and nobody is doing it.
            while state.granted.is_some()
                || (0..actors).any(|actor| state.live[actor] && state.pending.iter().all(|(of, _)| *of != actor))
            {
                state = self.changed.wait(state).unwrap();
            }
            if state.pending.is_empty() {
                return state.steps;
            }
            state.steps += 1;
            if random.chance(4) {
                let passes = [1, 60, 9 * 60, 11 * 60, 3600, 13 * 3600, 25 * 3600, 3 * 86_400, 16 * 86_400];
                state.times.true_seconds += passes[random.below(passes.len() as u64) as usize];
            }
            if jumps && random.below(400) == 0 {
                state.times.storage_jump += random.below(40 * 3600) as i64 - 20 * 3600;
            }
            if random.chance(3) {
                let actor = random.below(actors as u64) as usize;
                state.frozen[actor] = random.below(120);
            }
            for frozen in &mut state.frozen {
                *frozen = frozen.saturating_sub(1);
            }
            let awake: Vec<usize> =
                (0..state.pending.len()).filter(|at| state.frozen[state.pending[*at].0] == 0).collect();
            let at = match awake.as_slice() {
                [] => random.below(state.pending.len() as u64) as usize,
                awake => awake[random.below(awake.len() as u64) as usize],
            };
            let (_, ticket) = state.pending.swap_remove(at);
            let seconds = BEGINNING + state.times.true_seconds + state.times.storage_jump;
            store.set_time(Timestamp { seconds, nanos: 0 });
            state.granted = Some(ticket);
            self.changed.notify_all();
        }
    }
}

/// The clocks of one actor.
pub struct ActorClock {
    pub gate: Arc<Gate>,
    /// The wall clock goes wrong by so much.
    pub skew: i64,
    /// Boot time stands still: a clock that stops while the machine sleeps.
    pub stopped: bool,
}

impl Clock for ActorClock {
    fn wall(&self) -> Timestamp {
        Timestamp { seconds: BEGINNING + self.gate.seconds().0 + self.skew, nanos: 0 }
    }

    fn boottime(&self) -> Duration {
        let seconds = if self.stopped { 0 } else { self.gate.seconds().0 };
        Duration::from_secs(1_000_000 + seconds as u64)
    }
}

/// What is taken away from the protocol, to see that it is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    None,
    /// Prunes delete at once.
    InstantDelete,
    /// Writers have a clock that stops, so that their last look at the marks may be as old as it likes.
    NoBound,
    /// Writers see no marks when they look before the commit.
    NoLook,
    /// A sweep sees the snapshots as they were when the first mark was put.
    NoReread,
}

/// A store as one actor sees it.
#[derive(Clone)]
pub struct ActorStore {
    pub world: Arc<World>,
    pub gate: Arc<Gate>,
    pub actor: usize,
    pub is_writer: bool,
}

impl ActorStore {
    fn turn<T>(&self, what: &str, work: impl FnOnce(&MemoryStore) -> T) -> T {
        self.gate.turn(self.actor, || {
            let done = work(&self.world.store);
            let seconds = self.gate.seconds().0;
            self.world.tell(|| format!("{seconds:>9} s, actor {}: {what}", self.actor));
            done
        })
    }
}

impl Store for ActorStore {
    fn location(&self) -> String {
        "world".into()
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        self.turn("reads", |store| store.get(name))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.turn("reads a part", |store| store.get_range(name, offset, length, into))
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.turn(&format!("puts {name}"), |store| {
            let done = store.put_new(name, bytes);
            self.world.put(name);
            done
        })
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(ActorUpload { store: self.clone(), inner: self.world.store.begin()? }))
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        self.turn(&format!("lists {}", area.folder()), |store| {
            let mut listed = store.list(area)?;
            if self.world.weakness == Weakness::NoLook && self.is_writer && area == Area::Marks {
                listed.clear();
            }
            if self.world.weakness == Weakness::NoReread && !self.is_writer && area == Area::Snapshots {
                let marks = store.list(Area::Marks)?;
                if let Some(first) = marks.iter().map(|mark| mark.time).min() {
                    listed.retain(|snapshot| snapshot.time <= first);
                }
            }
            Ok(listed)
        })
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        self.world.store.stat(name)
    }

    fn time(&self) -> Result<Timestamp, StoreError> {
        self.turn("asks for the time", |store| store.time())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.turn(&format!("deletes {name}"), |store| {
            let done = store.delete(name);
            self.world.deleted(name);
            done
        })
    }
}

struct ActorUpload {
    store: ActorStore,
    inner: Box<dyn Upload>,
}

impl Upload for ActorUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.write(bytes)
    }

    fn read_back(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inner.read_back(offset, length, into)
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        let Self { store, inner } = *self;
        store.turn(&format!("puts {name}"), |_| {
            let done = inner.finish(name);
            store.world.put(name);
            done
        })
    }
}

//! A store that does what the inner one does, counts its operations, and goes wrong at the one it is told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use bk::format::node::Timestamp;
use bk::store::{Area, Listed, ObjectName, Store, StoreError, Upload};

/// What was asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    Put,
    Begin,
    Write,
    Finish,
    Get,
    GetRange,
    List,
    Stat,
    Time,
    Delete,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing happens but an error.
    FailBefore(io::ErrorKind),
    /// It happens, and the answer is lost.
    FailAfter(io::ErrorKind),
    /// Half of the bytes are kept and the answer is good. Where there are no bytes, as [`Fault::FailBefore`].
    Torn,
    /// One bit is kept wrong and the answer is good.
    Corrupt,
    /// A list is the one that was given this many lists of the same area before (the first one at most).
    StaleList(usize),
    /// A list lacks every second name.
    PartialList,
    /// The process died before it.
    Abort,
    /// The process died after it, before it saw the answer.
    AbortAfter,
    /// It takes so long.
    Slow(Duration),
    /// There is no room for what would be written; reads and deletes are done.
    NoRoom,
}

type Hook = Box<dyn FnMut(u64, Op, Option<Area>, &dyn Store) + Send>;

#[derive(Default)]
struct State {
    next: u64,
    plan: BTreeMap<u64, Fault>,
    log: Vec<(Op, Option<Area>)>,
    struck: u64,
    dead: bool,
    lists: BTreeMap<Area, Vec<Vec<Listed>>>,
    hook: Option<Hook>,
}

/// Wraps a store. Clones share the count and the plan.
#[derive(Clone)]
pub struct FaultStore<S> {
    inner: S,
    state: Arc<Mutex<State>>,
}

impl<S: Store + Clone> FaultStore<S> {
    /// One that only counts.
    pub fn new(inner: S) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// One that goes wrong at operation number `at`.
    pub fn with_fault(inner: S, at: u64, fault: Fault) -> Self {
        let store = Self::new(inner);
        store.state().plan.insert(at, fault);
        store
    }

    /// Goes wrong at operation number `at` too.
    pub fn and_fault(self, at: u64, fault: Fault) -> Self {
        self.state().plan.insert(at, fault);
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Calls `hook` with the inner store before every operation from now on.
    pub fn before_each(&self, hook: impl FnMut(u64, Op, Option<Area>, &dyn Store) + Send + 'static) {
        self.state().hook = Some(Box::new(hook));
    }

    /// What was asked so far, in order.
    pub fn log(&self) -> Vec<(Op, Option<Area>)> {
        self.state().log.clone()
    }

    /// How many operations there were.
    pub fn count(&self) -> u64 {
        self.state().next
    }

    /// Whether anything went wrong yet.
    pub fn has_struck(&self) -> bool {
        self.state().struck > 0
    }
}

fn error(location: String, op: Op, kind: io::ErrorKind) -> StoreError {
    StoreError::from_io("use", &format!("({op:?})"), &location, io::Error::new(kind, "injected"))
}

const fn tears(op: Op) -> bool {
    matches!(op, Op::Put | Op::Write | Op::Finish)
}

impl State {
    fn enter(&mut self, op: Op, area: Option<Area>, location: &str) -> Result<Option<Fault>, StoreError> {
        let number = self.next;
        self.next += 1;
        self.log.push((op, area));
        if self.dead {
            return Err(error(location.into(), op, io::ErrorKind::BrokenPipe));
        }
        let Some(fault) = self.plan.get(&number).cloned() else { return Ok(None) };
        self.struck += 1;
        match &fault {
            Fault::FailBefore(kind) => Err(error(location.into(), op, *kind)),
            Fault::NoRoom if tears(op) => Err(error(location.into(), op, io::ErrorKind::StorageFull)),
            Fault::Torn if !tears(op) => Err(error(location.into(), op, io::ErrorKind::TimedOut)),
            Fault::Abort | Fault::AbortAfter => {
                self.dead = true;
                match fault {
                    Fault::Abort => Err(error(location.into(), op, io::ErrorKind::BrokenPipe)),
                    fault => Ok(Some(fault)),
                }
            }
            _ => Ok(Some(fault)),
        }
    }
}

fn wait(fault: Option<&Fault>) {
    if let Some(Fault::Slow(time)) = fault {
        std::thread::sleep(*time);
    }
}

fn after<T>(fault: Option<&Fault>, location: String, op: Op, done: Result<T, StoreError>) -> Result<T, StoreError> {
    match fault {
        Some(Fault::FailAfter(kind)) => done.and_then(|_| Err(error(location, op, *kind))),
        Some(Fault::AbortAfter) => done.and_then(|_| Err(error(location, op, io::ErrorKind::BrokenPipe))),
        _ => done,
    }
}

/// What of `bytes` is kept.
fn kept(fault: Option<&Fault>, bytes: &[u8]) -> Vec<u8> {
    let mut kept = bytes.to_vec();
    match fault {
        Some(Fault::Torn) => kept.truncate(bytes.len() / 2),
        Some(Fault::Corrupt) => {
            let at = bytes.len() / 2;
            if let Some(byte) = kept.get_mut(at) {
                *byte ^= 1;
            }
        }
        _ => {}
    }
    kept
}

impl<S: Store + Clone + 'static> FaultStore<S> {
    fn enter(&self, op: Op, area: Option<Area>) -> Result<Option<Fault>, StoreError> {
        let (number, hook) = {
            let mut state = self.state();
            (state.next, state.hook.take())
        };
        if let Some(mut hook) = hook {
            hook(number, op, area, &self.inner);
            self.state().hook.get_or_insert(hook);
        }
        let fault = self.state().enter(op, area, &self.inner.location())?;
        wait(fault.as_ref());
        Ok(fault)
    }

    fn answer<T>(&self, fault: Option<&Fault>, op: Op, done: Result<T, StoreError>) -> Result<T, StoreError> {
        after(fault, self.inner.location(), op, done)
    }
}

impl<S: Store + Clone + 'static> Store for FaultStore<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        let fault = self.enter(Op::Get, Some(name.area()))?;
        self.answer(fault.as_ref(), Op::Get, self.inner.get(name))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let fault = self.enter(Op::GetRange, Some(name.area()))?;
        self.answer(fault.as_ref(), Op::GetRange, self.inner.get_range(name, offset, length, into))
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        let fault = self.enter(Op::Put, Some(name.area()))?;
        self.answer(fault.as_ref(), Op::Put, self.inner.put_new(name, &kept(fault.as_ref(), bytes)))
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        let fault = self.enter(Op::Begin, None)?;
        let inner = self.answer(fault.as_ref(), Op::Begin, self.inner.begin())?;
        Ok(Box::new(FaultUpload { store: self.clone(), inner, bytes: Vec::new() }))
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        let fault = self.enter(Op::List, Some(area))?;
        let mut listed = self.answer(fault.as_ref(), Op::List, self.inner.list(area))?;
        let mut state = self.state();
        let before = state.lists.entry(area).or_default();
        before.push(listed.clone());
        match fault {
            Some(Fault::StaleList(age)) => Ok(before[(before.len() - 1).saturating_sub(age)].clone()),
            Some(Fault::PartialList) => {
                let mut at = 0;
                listed.retain(|_| {
                    at += 1;
                    at % 2 == 0
                });
                Ok(listed)
            }
            _ => Ok(listed),
        }
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        let fault = self.enter(Op::Stat, Some(name.area()))?;
        self.answer(fault.as_ref(), Op::Stat, self.inner.stat(name))
    }

    fn time(&self) -> Result<Timestamp, StoreError> {
        let fault = self.enter(Op::Time, None)?;
        self.answer(fault.as_ref(), Op::Time, self.inner.time())
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        let fault = self.enter(Op::Delete, Some(name.area()))?;
        self.answer(fault.as_ref(), Op::Delete, self.inner.delete(name))
    }
}

struct FaultUpload<S> {
    store: FaultStore<S>,
    inner: Box<dyn Upload>,
    bytes: Vec<u8>,
}

impl<S: Store + Clone + 'static> Upload for FaultUpload<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let fault = self.store.enter(Op::Write, None)?;
        let kept = kept(fault.as_ref(), bytes);
        let done = self.inner.write(&kept);
        self.bytes.extend_from_slice(&kept);
        self.store.answer(fault.as_ref(), Op::Write, done)
    }

    fn read_back(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inner.read_back(offset, length, into)
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        let fault = self.store.enter(Op::Finish, Some(name.area()))?;
        let done = match &fault {
            Some(Fault::Torn | Fault::Corrupt) => {
                drop(self.inner);
                self.store.inner.put_new(name, &kept(fault.as_ref(), &self.bytes)).map(|()| None)
            }
            _ => self.inner.finish(name),
        };
        self.store.answer(fault.as_ref(), Op::Finish, done)
    }
}

//! The real code of backup, forget and prune on a store in memory, with a scheduler that lets one operation at a time
//! go on, in an order that a seed decides, and lets minutes or weeks pass between any two of them. Actors freeze, wall
//! clocks go wrong, the clock of the store jumps. Nothing that a reported snapshot needs may ever be missing.
//!
//! The same harness has to find the loss when the protocol is weakened. What needs a rarer meeting (a mark taken back, a
//! name used twice) is found by the exhaustive search in `prune_model`. `BK_TORTURE=1` runs 100,000 seeds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod gate;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bk::clock::Clock;
use bk::format::node::{Content, Metadata, Node, NodeKind, Part, Timestamp};
use bk::format::pack::PackKind;
use bk::format::snapshot::{Outcome, Root, Snapshot, Statistics};
use bk::format::tree::{TreeWriter, encode_node};
use bk::id::{BlobId, RunId, SnapshotId};
use bk::operation::forget::forget;
use bk::operation::prune::{self, Others, PruneOptions, Waste};
use bk::progress::Silent;
use bk::repository::{Commit, Index, Purpose, Repository, RepositoryError, Snapshots, Writer};
use gate::{ActorClock, ActorStore, BEGINNING, Gate, Random, Weakness};
use support::tree::noise;
use support::{Bench, MemoryStore};
use world::World;

/// Contents that files can have: few, so that everybody relies on what others stored and forgot.
const CONTENTS: u64 = 6;

static RUNNING: AtomicBool = AtomicBool::new(false);
/// Operations of all lives.
static OPERATIONS: AtomicU64 = AtomicU64::new(0);

fn node(name: &[u8], kind: NodeKind) -> Node {
    Node { name: name.to_vec(), metadata: Metadata { mode: 0o644, ..Metadata::default() }, links: None, kind }
}

/// A backup of some of the contents: all that `bk backup` does with a repository, without reading files.
fn back_up(
    repository: &Repository,
    clock: &dyn Clock,
    chosen: &[u64],
    run: RunId,
) -> Result<(SnapshotId, HashSet<BlobId>), RepositoryError> {
    let index = Index::load(repository, Purpose::Write, clock)?;
    let writer = Writer::new(repository, &index, run, clock, 1)?;
    let start = clock.wall();
    let mut blobs = HashSet::new();
    let identifier = repository.keys().identifier();
    let root = writer.while_sealing(1, || {
        let mut data = writer.segment_builder(PackKind::Data);
        let mut trees = writer.segment_builder(PackKind::Tree);
        let mut tree = TreeWriter::new(identifier);
        let mut store_tree = |blob: Vec<u8>| -> Result<BlobId, RepositoryError> {
            let id = identifier.tree(&blob);
            blobs.insert(id);
            if writer.claim(&id) {
                trees.add(id, &blob)?;
            }
            Ok(id)
        };
        let mut data_ids = Vec::new();
        for number in chosen {
            let bytes = noise(*number, 200);
            let id = identifier.data(&bytes);
            data_ids.push(id);
            if writer.claim(&id) {
                data.add(id, &bytes)?;
            }
            let content = Content { level: 0, parts: vec![Part { id, length: bytes.len() as u64 }] };
            let size = bytes.len() as u64;
            let kind = NodeKind::File { size, content, holes: Vec::new(), class: 0, rows: Vec::new() };
            let name = format!("file-{number}").into_bytes();
            tree.push(&name, &encode_node(&node(&name, kind)), &mut store_tree)?;
        }
        let tree = tree.finish(&mut store_tree)?;
        blobs.extend(data_ids);
        data.flush()?;
        trees.flush()?;
        Ok(tree)
    })?;
    let root = Root {
        path: b"/x".to_vec(),
        restore_name: b"x".to_vec(),
        node: node(b"x", NodeKind::Directory { tree: root }),
    };
    let snapshot = Snapshot {
        start,
        end: clock.wall(),
        host: "host".into(),
        profile: Some("profile".into()),
        tags: Vec::new(),
        roots: vec![root],
        statistics: Statistics::default(),
        outcome: Outcome::Complete,
        problems: Vec::new(),
        problem_count: 0,
        hooks: Vec::new(),
        parent: None,
        definition: String::new(),
        configuration: String::new(),
        program: "simulation".into(),
        user: "user".into(),
        class_rule: 1,
        run,
        description: None,
        anomalies: Vec::new(),
        previous: None,
        imported: None,
    };
    let info = Commit { repository, index: &index, clock }.put(&writer, &snapshot)?;
    Ok((info.id, blobs))
}

/// What an actor does, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Pruner,
    Forgetter,
}

struct Actor {
    role: Role,
    repository: Repository,
    clock: ActorClock,
    random: Random,
    world: Arc<World>,
}

impl Actor {
    fn work(&mut self) {
        let times = if self.role == Role::Writer { 5 } else { 4 };
        for _ in 0..times {
            match self.role {
                Role::Writer => self.write(),
                Role::Pruner => self.prune(),
                Role::Forgetter => self.forget(),
            }
        }
    }

    fn write(&mut self) {
        let mut chosen: Vec<u64> = (0..CONTENTS).filter(|_| self.random.chance(50)).collect();
        if chosen.is_empty() {
            chosen.push(self.random.below(CONTENTS));
        }
        let run = RunId(noise(self.random.below(u64::MAX), 16).try_into().unwrap());
        // What a backup does when packs were deleted meanwhile.
        for _ in 0..3 {
            match back_up(&self.repository, &self.clock, &chosen, run) {
                Ok((id, blobs)) => return self.world.reported(id, blobs),
                Err(RepositoryError::Lost { .. }) => {}
                // Any error is an answer; what it must not do is lie.
                Err(_) => return,
            }
        }
    }

    fn prune(&mut self) {
        let others = match self.world.weakness {
            Weakness::InstantDelete => Others::None,
            _ => Others::MayWork,
        };
        let max_unused = if self.random.chance(70) { Waste::Bytes(0) } else { Waste::Unlimited };
        let options = PruneOptions {
            max_unused,
            max_repack_bytes: None,
            others,
            ignore_damaged: Vec::new(),
            despite_anomalies: false,
            threads: 1,
            interrupted: &RUNNING,
        };
        if let Ok(plan) = prune::plan(&self.repository, &options, &self.clock, &Silent) {
            let _ = prune::apply(&self.repository, plan, &options, &self.clock, &Silent);
        }
    }

    fn forget(&mut self) {
        let Ok(snapshots) = Snapshots::load(&self.repository) else { return };
        let kept = self.world.kept();
        let known: Vec<_> = snapshots.all.iter().filter(|info| kept.contains(&info.id)).collect();
        if known.is_empty() {
            return;
        }
        let info = known[self.random.below(known.len() as u64) as usize];
        self.world.forgets(info.id);
        let _ = forget(&self.repository, &[info], "host", &self.clock);
    }
}

/// One life of a repository; gives what was lost.
fn live(bench: &Bench, base: &MemoryStore, seed: u64, weakness: Weakness) -> Option<(String, Vec<String>)> {
    let mut random = Random(seed);
    let store = base.fork();
    let plain = bench.open(store.clone()).unwrap();
    let world = Arc::new(World::new(store.clone(), plain, weakness));
    let gate = Arc::new(Gate::default());
    let mut roles = vec![Role::Writer, Role::Writer, Role::Pruner, Role::Forgetter];
    if random.chance(70) {
        roles.push(Role::Pruner);
    }
    let jumps = weakness == Weakness::None && random.chance(30);
    let mut actors: Vec<Actor> = roles
        .iter()
        .enumerate()
        .map(|(actor, role)| {
            let is_writer = *role == Role::Writer;
            let store = ActorStore { world: Arc::clone(&world), gate: Arc::clone(&gate), actor, is_writer };
            // Not when the clock of the store jumps: two of the three may not lie at once.
            let skew = if jumps { 0 } else { random.below(40 * 3600) as i64 - 20 * 3600 };
            let stopped = weakness == Weakness::NoBound && is_writer;
            let clock = ActorClock { gate: Arc::clone(&gate), skew, stopped };
            let repository = bench.open(store).unwrap();
            Actor { role: *role, repository, clock, random: Random(random.below(u64::MAX)), world: Arc::clone(&world) }
        })
        .collect();
    gate.close(roles.len());
    store.set_time(Timestamp { seconds: BEGINNING, nanos: 0 });
    std::thread::scope(|scope| {
        for (number, actor) in actors.iter_mut().enumerate() {
            let gate = Arc::clone(&gate);
            scope.spawn(move || {
                actor.work();
                gate.ended(number);
            });
        }
        OPERATIONS.fetch_add(gate.run(&mut random, &store, jumps), Ordering::Relaxed);
    });
    let loss = world.loss();
    if loss.is_none() && weakness == Weakness::None {
        all_is_there(bench, &store, &world, seed);
    }
    loss
}

/// In the end every kept snapshot can be read to the last byte, and a prune in peace succeeds.
fn all_is_there(bench: &Bench, store: &MemoryStore, world: &World, seed: u64) {
    let repository = bench.open(store.clone()).unwrap();
    let snapshots = Snapshots::load(&repository).unwrap();
    let index = Index::load(&repository, Purpose::Read, &bench.clock).unwrap();
    for id in world.kept() {
        let info = snapshots.all.iter().find(|info| info.id == id);
        let info = info.unwrap_or_else(|| panic!("seed {seed}: snapshot {id} is not listed"));
        support::walk(&repository, &index, info).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    let options = bench.prune_options();
    prune::plan(&repository, &options, &bench.clock, &Silent).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

/// An empty repository that every life begins with.
fn empty() -> (Bench, MemoryStore) {
    let (bench, store) = (Bench::new(), MemoryStore::new());
    store.set_time(Timestamp { seconds: BEGINNING, nanos: 0 });
    bench.create(store.clone()).unwrap();
    (bench, store)
}

fn seeds(everyday: u64) -> u64 {
    if std::env::var_os("BK_TORTURE").is_some() { 100_000 } else { everyday }
}

/// Lives every seed below `count`, on two threads; gives the first loss.
fn first_loss(count: u64, weakness: Weakness) -> Option<(u64, String, Vec<String>)> {
    let (bench, base) = empty();
    let next = AtomicU64::new(0);
    let lost = std::sync::Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count || lost.lock().unwrap().is_some() {
                        return;
                    }
                    if let Some((loss, told)) = live(&bench, &base, seed, weakness) {
                        *lost.lock().unwrap() = Some((seed, loss, told));
                    }
                }
            });
        }
    });
    lost.into_inner().unwrap()
}

#[test]
fn nothing_that_a_reported_snapshot_needs_is_ever_missing() {
    let count = seeds(1500);
    if let Some((seed, loss, told)) = first_loss(count, Weakness::None) {
        panic!("seed {seed}: {loss}\n{}", told.join("\n"));
    }
    println!("{count} seeds, {} operations", OPERATIONS.load(Ordering::Relaxed));
}

/// How soon the harness finds what each weakness loses.
fn is_caught(weakness: Weakness) {
    let (seed, loss, told) = first_loss(4000, weakness).unwrap_or_else(|| panic!("{weakness:?} was not caught"));
    println!("{weakness:?}: seed {seed}, after {} operations: {loss}", told.len());
}

#[test]
fn deleting_at_once_beside_writers_is_caught() {
    is_caught(Weakness::InstantDelete);
}

#[test]
fn a_commit_long_after_the_last_look_is_caught() {
    is_caught(Weakness::NoBound);
}

#[test]
fn a_commit_without_a_look_at_the_marks_is_caught() {
    is_caught(Weakness::NoLook);
}

#[test]
fn a_sweep_that_does_not_read_the_snapshots_again_is_caught() {
    is_caught(Weakness::NoReread);
}

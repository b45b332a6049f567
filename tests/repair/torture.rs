//! Random damage to random repositories. `BK_TORTURE=1` plays 1,000, otherwise 40; `BK_SEED` plays one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bk::format::Kind;
use bk::format::fact::{self, Fact, FactKind};
use bk::format::index_file::PackName;
use bk::id::{ObjectId, PackId, SnapshotId};
use bk::operation::repair::quarantine;
use bk::repository::{Repository, Snapshots};
use bk::store::{Area, ObjectName, Store};

use super::support::tree::noise;
use super::support::{Bench, MemoryStore};
use super::{check_all, contents, repair, restorable, sibling};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Files in a few folders; some contents come more than once, some files have several chunks.
fn change_source(bench: &Bench, random: &mut Random) {
    for _ in 0..=random.below(8) {
        let folder = bench.source.join(*random.of(&["", "a", "a/b", "c", "c/d/e"]));
        std::fs::create_dir_all(&folder).unwrap();
        let length = *random.of(&[0, 10, 3000, 40_000, 200_000, 1_300_000]);
        let path = folder.join(format!("file-{}", random.below(6)));
        let _ = std::fs::remove_file(&path);
        match random.below(8) {
            0 => std::os::unix::fs::symlink("elsewhere", &path).unwrap(),
            _ => std::fs::write(&path, noise(random.below(9) as u64, length)).unwrap(),
        }
    }
}

fn stranger() -> MemoryStore {
    let bench = Bench::new();
    std::fs::write(bench.source.join("x"), "strange").unwrap();
    let store = MemoryStore::new();
    bench.commit(&bench.create(store.clone()).unwrap());
    store
}

/// Damages one object; says how.
fn damage(store: &MemoryStore, strange: &MemoryStore, random: &mut Random) -> String {
    let area = *random.of(&[Area::Packs, Area::Packs, Area::Index, Area::Snapshots, Area::Facts]);
    let names = store.names(area);
    if names.is_empty() {
        return format!("nothing is in {}", area.folder());
    }
    let name = *random.of(&names);
    let length = store.stat(&name).unwrap().unwrap() as usize;
    let what = random.below(8);
    let at = random.below(length.max(1));
    match what {
        0 | 1 => {
            let bit = random.below(8);
            store.change(&name, |bytes| bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit));
        }
        2 => store.change(&name, |bytes| bytes.truncate(at)),
        3 => store.delete(&name).unwrap(),
        4 => {
            let count = random.below(length.max(1)) + 1;
            store.change(&name, |bytes| bytes.iter_mut().skip(at).take(count).for_each(|byte| *byte = 0));
        }
        5 => {
            let other = *random.of(&names);
            let [one, two] = [&name, &other].map(|name| store.get(name).unwrap());
            store.change(&name, |bytes| *bytes = two);
            store.change(&other, |bytes| *bytes = one);
        }
        6 => {
            let (hash, bytes) = (*blake3::hash(&at.to_le_bytes()).as_bytes(), store.get(&name).unwrap());
            let copy = match area {
                Area::Packs => ObjectName::Pack(PackName { id: PackId(hash), nonce: [1; 8] }),
                area => ObjectName::Plain(area, ObjectId(hash)),
            };
            let _ = store.put_new(&copy, &bytes);
        }
        _ => {
            if let Some(name) = strange.names(area).first() {
                let _ = store.put_new(name, &strange.get(name).unwrap());
            }
        }
    }
    format!("damage {what} at {at} of {length} to {name}")
}

type Recorded = BTreeMap<SnapshotId, BTreeMap<PathBuf, Vec<u8>>>;

fn repository(bench: &Bench, store: &MemoryStore, random: &mut Random) -> (Repository, Recorded) {
    let repository = bench.create(store.clone()).unwrap();
    let mut recorded = Recorded::new();
    for _ in 0..=random.below(4) {
        change_source(bench, random);
        let committed = bench.commit(&repository);
        recorded.insert(committed.id, contents(&committed.copy));
        if random.below(3) == 0 {
            let pin = Fact {
                kind: FactKind::Pinned,
                time: Default::default(),
                host: "host".into(),
                snapshot: Some(committed.id),
                pack: None,
                detail: None,
            };
            repository.write_object(Kind::Facts, &fact::encode(&[pin])).unwrap();
        }
    }
    (repository, recorded)
}

fn play(seed: u64, strange: &MemoryStore) -> u64 {
    let mut random = Random(seed);
    let bench = Bench::new();
    let store = MemoryStore::new();
    let (repository, recorded) = repository(&bench, &store, &mut random);
    let others = if random.below(2) == 0 { vec![sibling(&bench, &repository).1] } else { Vec::new() };
    let done: Vec<_> = (0..=random.below(4)).map(|_| damage(&store, strange, &mut random)).collect();
    let what = format!("seed {seed}, {} siblings, {done:#?}", others.len());
    let before: BTreeMap<_, _> =
        recorded.iter().map(|(id, all)| (*id, restorable(&bench, &repository, *id, all))).collect();
    let repaired = repair(&bench, &repository, &others).unwrap_or_else(|error| panic!("{what}: {error}"));
    for (id, could) in &before {
        let replaced = repaired.snapshots.replaced.iter().find(|(old, _)| old == id);
        let now = replaced.map_or(Some(*id), |(_, new)| *new);
        let can = now.map(|now| restorable(&bench, &repository, now, &recorded[id])).unwrap_or_default();
        assert!(can.is_superset(could), "{what}: of {id} {:?} was restorable", could.difference(&can));
    }
    let report = check_all(&repository);
    assert!(report.findings.is_empty() && report.affected.is_empty(), "{what}: {:?}", report.findings);
    if !others.is_empty() {
        let lost: Vec<_> = repaired.packs.affected.iter().chain(&[]).collect();
        assert!(lost.is_empty(), "{what}: a sibling has it all: {lost:?}");
    }
    let held = quarantine::list(&repository).unwrap();
    let objects = held.len() as u64;
    for one in held {
        let name = ObjectName::Quarantined(one.name);
        let bytes = store.get(&name).unwrap();
        quarantine::put_back(&repository, &one).unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
        assert!(store.get(&one.original).unwrap() == bytes, "{what}: {name}");
    }
    // And nobody is harmed by what was put back: the same repair ends well once more.
    repair(&bench, &repository, &others).unwrap_or_else(|error| panic!("{what}: again: {error}"));
    let report = check_all(&repository);
    assert!(report.findings.is_empty(), "{what}: again: {:?}", report.findings);
    assert!(Snapshots::load(&repository).unwrap().damaged.is_empty());
    objects
}

#[test]
fn whatever_is_damaged_all_that_could_be_restored_still_can_and_nothing_damaged_is_left() {
    let strange = stranger();
    if let Ok(seed) = std::env::var("BK_SEED") {
        play(seed.parse().unwrap(), &strange);
        return;
    }
    let count = if std::env::var_os("BK_TORTURE").is_some() { 1000 } else { 40 };
    let objects: u64 = (0..count).map(|seed| play(seed, &strange)).sum();
    println!("{count} repositories, {objects} objects taken out and put back");
    assert!(objects > count / 2);
}

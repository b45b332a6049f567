//! What every store promises. Each claim uses names of its own, so that one store can be asked for all of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use bk::clock::SystemClock;
use bk::format::index_file::PackName;
use bk::id::{ObjectId, PackId};
use bk::store::probe::{measure, probe};
use bk::store::{Area, ObjectName, Store, StoreError};

/// Whether a store can tell that a name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// It can.
    Exclusive,
    /// Equal bytes are taken a second time.
    Repeatable,
}

/// Names as the repository makes them: of the hash of the bytes.
fn name(area: Area, bytes: &[u8]) -> ObjectName {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let hash = *blake3::hash(bytes).as_bytes();
    match area {
        Area::Config => ObjectName::Config(7, ObjectId(hash)),
        Area::Packs => {
            let nonce = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            ObjectName::Pack(PackName { id: PackId(hash), nonce })
        }
        area => ObjectName::Plain(area, ObjectId(hash)),
    }
}

/// Bytes that no other call gives.
pub fn fresh(length: usize) -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = vec![0; length.max(8)];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn put(store: &dyn Store, area: Area, length: usize) -> (ObjectName, Vec<u8>) {
    let bytes = fresh(length);
    let name = name(area, &bytes);
    store.put_new(&name, &bytes).unwrap();
    (name, bytes)
}

fn upload(store: &dyn Store, bytes: &[u8], piece: usize) -> ObjectName {
    let name = name(Area::Packs, bytes);
    let mut upload = store.begin().unwrap();
    for piece in bytes.chunks(piece) {
        upload.write(piece).unwrap();
    }
    upload.finish(&name).unwrap();
    name
}

fn names(store: &dyn Store, area: Area) -> BTreeSet<ObjectName> {
    store.list(area).unwrap().into_iter().map(|listed| listed.name).collect()
}

pub fn range(store: &dyn Store, name: &ObjectName, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
    let mut into = b"what was there before".to_vec();
    store.get_range(name, offset, length, &mut into).map(|()| into)
}

/// All claims.
pub fn every_claim_holds(store: &dyn Store, exclusive: Names) {
    what_was_put_is_read_and_listed_at_once(store);
    ranges_are_exact(store);
    what_is_not_there_is_missing(store);
    what_ends_too_soon_is_short(store);
    an_object_is_never_replaced(store, exclusive);
    deleting_leaves_nothing_and_may_be_repeated(store);
    a_large_object_is_seen_whole_and_not_before_its_end(store);
    an_upload_that_is_dropped_leaves_nothing(store);
    many_threads_use_it_at_once(store);
    its_time_is_that_of_its_lists(store);
    cleaning_takes_nothing_that_is_used(store);
    what_is_moved_is_whole_under_its_new_name_alone(store);
    trying_it_out_finds_nothing_wrong_and_leaves_nothing(store);
}

fn what_was_put_is_read_and_listed_at_once(store: &dyn Store) {
    for area in Area::ALL {
        for length in [8, 1000, 300_000] {
            let before = store.time().unwrap();
            let (name, bytes) = put(store, area, length);
            assert_eq!(store.get(&name).unwrap(), bytes);
            assert_eq!(store.stat(&name).unwrap(), Some(bytes.len() as u64));
            let listed = store.list(area).unwrap();
            let own: Vec<_> = listed.iter().filter(|listed| listed.name == name).collect();
            assert_eq!(own.len(), 1, "{name} is listed once");
            assert_eq!(own[0].size, bytes.len() as u64);
            let age = own[0].time.seconds - before.seconds;
            assert!((-2..60).contains(&age), "{name} is listed with its time, not {age} seconds off");
            assert!(listed.iter().all(|listed| listed.name.area() == area), "an area lists its own");
        }
    }
}

fn ranges_are_exact(store: &dyn Store) {
    let (name, bytes) = put(store, Area::Packs, 100_000);
    for (offset, length) in [(0, 1), (0, 100_000), (1, 99_999), (99_999, 1), (4096, 8192), (50_000, 0)] {
        let expected = &bytes[offset..offset + length];
        assert!(range(store, &name, offset as u64, length as u64).unwrap() == expected, "{length} from {offset}");
    }
}

fn what_is_not_there_is_missing(store: &dyn Store) {
    for area in Area::ALL {
        let absent = name(area, &fresh(8));
        let error = store.get(&absent).unwrap_err();
        assert!(error.is_missing(), "{error}");
        assert!(error.to_string().contains(&absent.to_string()) && error.to_string().contains(&store.location()));
        let error = range(store, &absent, 0, 10).unwrap_err();
        assert!(error.is_missing(), "{error}");
        assert_eq!(store.stat(&absent).unwrap(), None);
        assert!(!names(store, area).contains(&absent));
    }
}

fn what_ends_too_soon_is_short(store: &dyn Store) {
    let (name, _) = put(store, Area::Packs, 1000);
    for (offset, length) in [(0, 1001), (999, 2), (1000, 1), (5000, 10)] {
        let error = range(store, &name, offset, length).unwrap_err();
        assert!(matches!(error, StoreError::Short { end, .. } if end == offset + length), "{offset} {length}: {error}");
    }
}

fn an_object_is_never_replaced(store: &dyn Store, exclusive: Names) {
    let (small, bytes) = put(store, Area::Snapshots, 1000);
    let again = store.put_new(&small, &bytes);
    let large = fresh(200_000);
    let pack = upload(store, &large, 200_000);
    let mut second = store.begin().unwrap();
    second.write(&large).unwrap();
    let both = [again, second.finish(&pack).map(drop)];
    for result in both {
        match exclusive {
            Names::Exclusive => assert!(matches!(result, Err(StoreError::Exists { .. })), "{result:?}"),
            Names::Repeatable => result.unwrap(),
        }
    }
    assert_eq!(store.get(&small).unwrap(), bytes);
    assert!(store.get(&pack).unwrap() == large);
    assert_eq!(store.list(Area::Packs).unwrap().iter().filter(|listed| listed.name == pack).count(), 1);
}

fn deleting_leaves_nothing_and_may_be_repeated(store: &dyn Store) {
    for area in [Area::Packs, Area::Marks, Area::Snapshots] {
        let (gone, _) = put(store, area, 1000);
        let (stays, _) = put(store, area, 1000);
        store.delete(&gone).unwrap();
        store.delete(&gone).unwrap();
        assert!(store.get(&gone).unwrap_err().is_missing());
        assert_eq!(store.stat(&gone).unwrap(), None);
        let names = names(store, area);
        assert!(!names.contains(&gone) && names.contains(&stays));
    }
    store.delete(&name(Area::Marks, &fresh(8))).unwrap();
}

fn a_large_object_is_seen_whole_and_not_before_its_end(store: &dyn Store) {
    for length in [1_usize, 40 << 20] {
        let bytes = fresh(length);
        let pack = name(Area::Packs, &bytes);
        let before = names(store, Area::Packs);
        let mut upload = store.begin().unwrap();
        for piece in bytes.chunks(5 << 20) {
            upload.write(piece).unwrap();
        }
        let mut back = b"old".to_vec();
        let (from, count) = (bytes.len() / 3, bytes.len() / 2);
        upload.read_back(from as u64, count as u64, &mut back).unwrap();
        assert!(back == bytes[from..from + count], "what was written is read back");
        assert_eq!(names(store, Area::Packs), before, "nobody sees it yet");
        upload.finish(&pack).unwrap();
        assert_eq!(store.stat(&pack).unwrap(), Some(bytes.len() as u64));
        assert!(store.get(&pack).unwrap() == bytes);
        assert!(range(store, &pack, from as u64, count as u64).unwrap() == bytes[from..from + count]);
        store.delete(&pack).unwrap();
    }
}

fn an_upload_that_is_dropped_leaves_nothing(store: &dyn Store) {
    let before: Vec<_> = Area::ALL.map(|area| names(store, area)).into();
    let mut upload = store.begin().unwrap();
    upload.write(&fresh(1 << 20)).unwrap();
    drop(upload);
    drop(store.begin().unwrap());
    let after: Vec<_> = Area::ALL.map(|area| names(store, area)).into();
    assert_eq!(before, after);
}

fn many_threads_use_it_at_once(store: &dyn Store) {
    let put: BTreeSet<ObjectName> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                scope.spawn(move || {
                    let mut names = Vec::new();
                    for turn in 0..6 {
                        let bytes = fresh(10_000 * (turn + 1));
                        let pack = upload(store, &bytes, 7000);
                        assert!(store.get(&pack).unwrap() == bytes, "thread {thread}");
                        assert!(range(store, &pack, 5000, 5000).unwrap() == bytes[5000..10_000]);
                        assert!(store.list(Area::Packs).unwrap().iter().any(|listed| listed.name == pack));
                        names.push(pack);
                    }
                    names
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(put.len(), 48);
    assert!(names(store, Area::Packs).is_superset(&put));
}

fn its_time_is_that_of_its_lists(store: &dyn Store) {
    let before = store.time().unwrap();
    let (own, _) = put(store, Area::Marks, 100);
    let after = store.time().unwrap();
    let listed = store.list(Area::Marks).unwrap();
    let time = listed.iter().find(|listed| listed.name == own).unwrap().time;
    // Some stores keep whole seconds only, and some lists more than others.
    assert!(before.seconds - 1 <= time.seconds && time.seconds <= after.seconds + 1, "{before:?} {time:?} {after:?}");
    for area in Area::ALL {
        assert!(store.list(area).unwrap().iter().all(|listed| listed.name.to_string().starts_with(area.folder())));
    }
}

fn cleaning_takes_nothing_that_is_used(store: &dyn Store) {
    let (own, bytes) = put(store, Area::Index, 100);
    let large = fresh(100_000);
    let mut upload = store.begin().unwrap();
    upload.write(&large).unwrap();
    store.clean().unwrap();
    let pack = name(Area::Packs, &large);
    upload.finish(&pack).unwrap();
    assert!(store.get(&pack).unwrap() == large && store.get(&own).unwrap() == bytes);
}

fn what_is_moved_is_whole_under_its_new_name_alone(store: &dyn Store) {
    assert!(store.list(Area::Quarantine).unwrap().is_empty(), "there is no such folder yet");
    for area in Area::ALL {
        let (own, bytes) = put(store, area, 3000);
        let held = own.quarantined(1_800_000_000).unwrap();
        let there = ObjectName::Quarantined(held);
        store.put_new(&held.note(), b"why").unwrap();
        store.move_new(&own, &there).unwrap();
        assert_eq!(store.stat(&own).unwrap(), None, "{own}");
        assert!(!names(store, area).contains(&own) && store.get(&there).unwrap() == bytes);
        assert_eq!(names(store, Area::Quarantine), BTreeSet::from([there, held.note()]));
        assert!(matches!(store.move_new(&own, &there), Err(StoreError::Missing { .. })));
        store.move_new(&there, &own).unwrap();
        assert!(store.get(&own).unwrap() == bytes && names(store, area).contains(&own));
        store.delete(&held.note()).unwrap();
        assert!(store.list(Area::Quarantine).unwrap().is_empty());
        if area == Area::Config {
            store.delete(&own).unwrap();
        }
    }
}

fn trying_it_out_finds_nothing_wrong_and_leaves_nothing(store: &dyn Store) {
    let before: Vec<_> = Area::ALL.map(|area| names(store, area)).into();
    let report = probe(store, &SystemClock);
    assert!(report.is_sound() && report.steps.len() == 6, "{:?}", report.steps);
    assert!(report.clock.is_some() && report.answer_time.is_some());
    measure(store).unwrap();
    assert!(store.list(Area::Temporary).unwrap().is_empty());
    let after: Vec<_> = Area::ALL.map(|area| names(store, area)).into();
    assert_eq!(before, after);
}

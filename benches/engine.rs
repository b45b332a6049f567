//! What the parts of the engine do in a second, each alone and on one thread.
//!
//! `cargo bench --bench engine` runs all, `cargo bench --bench engine -- chunk seal` those whose name holds one of the
//! words. Each is run for some rounds; the median is printed, with the slowest and the fastest round. A plain loop
//! instead of a framework: the numbers are read by people who compare two commits on one machine.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say so and stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bk::chunk::{Chunker, Class};
use bk::clock::{Stopwatch, SystemClock, Timestamp};
use bk::compress::{Decoder, Encoder, Encoding};
use bk::crypto::{KeyFile, Keys, PREFIX_LEN, Sealer, Secret};
use bk::format::index_file::{IndexFile, IndexedPack, PackName};
use bk::format::key_slot::Credential;
use bk::format::node::{Content, Metadata, Node, NodeKind, Part};
use bk::format::pack::{PackKind, Segment};
use bk::format::{Header, Kind, tree};
use bk::id::{BlobId, PackId, RunId};
use bk::repository::{Index, Purpose, Repository, Writer, note};
use bk::source::folder::SourceFolder;
use bk::source::metadata::{Names, stat_at};
use bk::source::sqlite::{CopyOptions, copy};
use bk::store::LocalStore;

const MIB: usize = 1 << 20;

/// What one round did.
enum Work {
    Bytes(usize),
    Operations(usize),
}

struct Bench {
    words: Vec<String>,
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word))
    }

    /// Runs `round` once to warm up, then for a second and at least five times.
    fn run(&self, name: &str, work: Work, mut round: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        round();
        let whole = Stopwatch::start();
        let mut times = Vec::new();
        while times.len() < 5 || whole.elapsed() < Duration::from_secs(1) {
            let watch = Stopwatch::start();
            round();
            times.push(watch.elapsed().as_secs_f64());
        }
        times.sort_unstable_by(f64::total_cmp);
        let speed = |seconds: f64| match work {
            Work::Bytes(bytes) => format!("{:.0} MB/s", bytes as f64 / seconds / 1e6),
            Work::Operations(count) => format!("{} /s", thousands(count as f64 / seconds)),
        };
        let (median, slowest, fastest) = (times[times.len() / 2], times[times.len() - 1], times[0]);
        println!(
            "{name:32} {:>16}   {:>16} … {:<16} {} rounds",
            speed(median),
            speed(slowest),
            speed(fastest),
            times.len()
        );
    }
}

/// `12_345_678` in groups of three.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// Bytes without a pattern, the same in each run.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Lines as a dump of a database has them: zstd makes about a quarter of them.
fn text(length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 100);
    let mut row = 0_u64;
    while text.len() < length {
        let hash = blake3::hash(&row.to_le_bytes());
        let line = format!(
            "INSERT INTO visits VALUES ({row}, 'page-{}', '2026-03-{:02}', '{}');\n",
            hash.as_bytes()[0],
            row % 28 + 1,
            &hash.to_hex()[..12]
        );
        text.extend_from_slice(line.as_bytes());
        row += 1;
    }
    text.truncate(length);
    text
}

fn main() {
    // cargo passes `--bench`.
    let words = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let bench = Bench { words };
    chunk(&bench);
    hash(&bench);
    compress(&bench);
    seal(&bench);
    pack(&bench);
    index(&bench);
    trees(&bench);
    walk(&bench);
    progress(&bench);
    sqlite(&bench);
}

fn chunk(bench: &Bench) {
    let chunker = Chunker::new(&Secret::new([7; 32]));
    let data = noise(64 * MIB, 1);
    for (name, class) in [("chunk coarse", Class::Coarse), ("chunk fine", Class::Fine)] {
        bench.run(name, Work::Bytes(data.len()), || {
            let mut rest = data.as_slice();
            while !rest.is_empty() {
                let window = &rest[..rest.len().min(class.max_len())];
                rest = &rest[chunker.cut(class, window)..];
            }
        });
    }
}

fn hash(bench: &Bench) {
    let keys = Keys::generate().unwrap();
    let data = noise(64 * MIB, 2);
    for (name, length) in [("hash 1 MiB", MIB), ("hash 64 KiB", 64 << 10), ("hash 1 KiB", 1 << 10)] {
        bench.run(name, Work::Bytes(data.len()), || {
            for blob in data.chunks(length) {
                black_box(keys.identifier().data(blob));
            }
        });
    }
}

fn compress(bench: &Bench) {
    let mut encoder = Encoder::new().unwrap();
    let mut decoder = Decoder::new().unwrap();
    let mut out = Vec::new();
    for (name, data) in [("compress text", text(8 * MIB)), ("compress noise", noise(64 * MIB, 3))] {
        bench.run(name, Work::Bytes(data.len()), || {
            for segment in data.chunks(MIB) {
                black_box(encoder.encode(segment, PREFIX_LEN, &mut out).unwrap());
            }
        });
    }
    let data = text(MIB);
    encoder.encode(&data, 0, &mut out).unwrap();
    let mut back = Vec::new();
    bench.run("decompress text", Work::Bytes(data.len()), || decoder.decode(&out, data.len(), &mut back).unwrap());
}

fn seal(bench: &Bench) {
    let sealer = Sealer::new(Secret::new([1; 32]), [2; 32], b"header", &[3; 16]);
    for (size, name) in [(MIB, "1 MiB"), (4 << 10, "4 KiB")] {
        let data = noise(size + PREFIX_LEN, 4);
        let mut buffer = Vec::new();
        let rounds = 16 * MIB / size;
        bench.run(&format!("seal {name}"), Work::Bytes(size * rounds), || {
            for _ in 0..rounds {
                buffer.clear();
                buffer.extend_from_slice(&data);
                sealer.seal(1, &[BlobId([5; 32])], false, &mut buffer).unwrap();
            }
        });
        buffer.clear();
        buffer.extend_from_slice(&data);
        sealer.seal(1, &[BlobId([5; 32])], false, &mut buffer).unwrap();
        let mut copy = Vec::new();
        bench.run(&format!("unseal {name}"), Work::Bytes(size * rounds), || {
            for _ in 0..rounds {
                copy.clear();
                copy.extend_from_slice(&buffer);
                black_box(sealer.unseal(1, &mut copy).unwrap());
            }
        });
    }
}

/// A repository in a folder of its own, which goes with the first value.
fn repository() -> (tempfile::TempDir, Repository) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(LocalStore::create(&folder.path().join("repository")).unwrap());
    let credential = Credential::KeyFile(KeyFile::generate().unwrap());
    let note = note("bench", Timestamp::default(), "bench");
    let repository = Repository::create(store, Keys::generate().unwrap(), &credential, &note).unwrap();
    (folder, repository)
}

/// Claim, compress, seal, pack, sync and index, with one thread for each part.
fn pack(bench: &Bench) {
    let clock = SystemClock;
    for (name, length) in [("pack 1 MiB chunks", MIB), ("pack 16 KiB chunks", 16 << 10)] {
        if !bench.wants(name) {
            continue;
        }
        let (_folder, repository) = repository();
        let index = Index::of_packs([]);
        let data = noise(64 * MIB, 5);
        let mut round = 0_u64;
        bench.run(name, Work::Bytes(data.len()), || {
            let writer = Writer::new(&repository, &index, RunId([0; 16]), &clock, 1).unwrap();
            std::thread::scope(|scope| {
                let sealing = scope.spawn(|| writer.seal_segments());
                let finishing = scope.spawn(|| writer.finish_packs());
                let mut builder = writer.segment_builder(PackKind::Data);
                for (at, chunk) in data.chunks(length).enumerate() {
                    let id = blake3::hash(&[round, at as u64].map(u64::to_le_bytes).concat());
                    let id = BlobId(*id.as_bytes());
                    assert!(writer.claim(&id));
                    builder.add(id, chunk).unwrap();
                }
                builder.flush().unwrap();
                drop(builder);
                writer.close_queue(1);
                sealing.join().unwrap();
                writer.close_packs(1);
                finishing.join().unwrap();
            });
            writer.finish().unwrap();
            round += 1;
        });
    }
}

const INDEXED_BLOBS: u64 = 1_000_000;
const BLOBS_IN_SEGMENT: u64 = 8;
const SEGMENTS_IN_PACK: u64 = 64;

fn blob_id(number: u64) -> BlobId {
    BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// Packs that together hold a million blobs of 64 KiB.
fn packs() -> Vec<IndexedPack> {
    let numbers: Vec<u64> = (0..INDEXED_BLOBS).collect();
    let segment = |(number, blobs): (usize, &[u64])| Segment {
        number: number as u32,
        encoding: Encoding::Raw,
        stored_len: blobs.len() as u32 * (64 << 10) + 32,
        blobs: blobs.iter().map(|blob| (blob_id(*blob), 64 << 10)).collect(),
    };
    let blobs_in_pack = (BLOBS_IN_SEGMENT * SEGMENTS_IN_PACK) as usize;
    let pack = |blobs: &[u64]| {
        let id = PackId(blob_id(blobs[0]).0);
        let segments: Vec<Segment> = blobs.chunks(BLOBS_IN_SEGMENT as usize).enumerate().map(segment).collect();
        let stored: u64 = segments.iter().map(|segment| u64::from(segment.stored_len)).sum();
        let header = Header::new(Kind::DataPack, 0, [0; 32], None);
        IndexedPack { name: PackName { id, nonce: [0; 8] }, size: stored + 4096, header, segments }
    };
    numbers.chunks(blobs_in_pack).map(pack).collect()
}

fn index(bench: &Bench) {
    if !["index look-up", "index miss", "index build", "index open"].iter().any(|name| bench.wants(name)) {
        return;
    }
    let packs = packs();
    bench.run("index build 1M", Work::Operations(INDEXED_BLOBS as usize), || {
        black_box(Index::of_packs(packs.iter().cloned()));
    });
    let (_folder, repository) = repository();
    for packs in packs.chunks(256) {
        let file = IndexFile { run: RunId([0; 16]), time: Timestamp::default(), packs: packs.to_vec() };
        repository.write_object(Kind::Index, &file.encode()).unwrap();
    }
    bench.run("index open 1M", Work::Operations(INDEXED_BLOBS as usize), || {
        black_box(Index::load(&repository, Purpose::Read, &SystemClock).unwrap());
    });
    let index = Index::of_packs(packs);
    // A stride that meets all and lies next to none of those before.
    let known: Vec<BlobId> = (0..100_000).map(|at| blob_id(at * 7919 % INDEXED_BLOBS)).collect();
    let strange: Vec<BlobId> = (0..100_000).map(|at| blob_id(at + INDEXED_BLOBS)).collect();
    bench.run("index look-up 1M", Work::Operations(known.len()), || {
        assert!(known.iter().all(|id| index.rely_on(id)));
    });
    bench.run("index miss 1M", Work::Operations(strange.len()), || {
        assert!(!strange.iter().any(|id| index.knows(id)));
    });
}

fn node(number: usize) -> Node {
    let part = Part { id: blob_id(number as u64), length: 10_000 };
    let metadata = Metadata {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: Some("ann".into()),
        group: Some("users".into()),
        mtime: Timestamp { seconds: 1_700_000_000 + number as i64, nanos: 123_456_789 },
        ctime: Timestamp { seconds: 1_700_000_000 + number as i64, nanos: 123_456_789 },
        ..Metadata::default()
    };
    let content = Content { level: 0, parts: vec![part] };
    let kind = NodeKind::File { size: 10_000, content, holes: Vec::new(), class: 1, rows: Vec::new() };
    Node { name: format!("photo-{number:08}.jpg").into_bytes(), metadata, links: None, kind }
}

fn trees(bench: &Bench) {
    const NODES: usize = 1000;
    let keys = Keys::generate().unwrap();
    let nodes: Vec<Node> = (0..NODES).map(node).collect();
    let mut blobs = Vec::new();
    bench.run("tree encode", Work::Operations(NODES), || {
        blobs.clear();
        let mut writer = tree::TreeWriter::new(keys.identifier());
        let mut store = |blob: Vec<u8>| {
            let id = keys.identifier().tree(&blob);
            blobs.push(blob);
            Ok::<_, std::convert::Infallible>(id)
        };
        for node in &nodes {
            writer.push(&node.name, &tree::encode_node(node), &mut store).unwrap();
        }
        writer.finish(&mut store).unwrap();
    });
    bench.run("tree decode", Work::Operations(NODES), || {
        for blob in &blobs {
            black_box(tree::decode(blob).unwrap());
        }
    });
}

/// Lists and looks at every entry, as a backup of unchanged files does.
fn walk(bench: &Bench) {
    const FOLDERS: usize = 100;
    const FILES: usize = 100;
    if !bench.wants("walk") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    for folder in 0..FOLDERS {
        let folder = root.path().join(format!("folder-{folder}"));
        std::fs::create_dir(&folder).unwrap();
        for file in 0..FILES {
            std::fs::write(folder.join(format!("file-{file}")), b"x").unwrap();
        }
    }
    let names = Names::of_this_machine();
    bench.run("walk", Work::Operations(FOLDERS * FILES + FOLDERS), || {
        let top = SourceFolder::open(root.path()).unwrap();
        assert_eq!(walk_folder(&top, &names), FOLDERS * FILES + FOLDERS);
    });
}

fn walk_folder(folder: &SourceFolder, owners: &Names) -> usize {
    use std::os::fd::AsFd as _;
    let names = folder.names().unwrap();
    let mut count = names.len();
    for name in (0..names.len()).filter_map(|at| names.get(at)) {
        let stat = stat_at(folder.as_fd(), name).unwrap();
        black_box(owners.metadata(&stat, Vec::new()));
        if name.to_bytes().starts_with(b"folder") {
            count += walk_folder(&folder.enter(name).unwrap(), owners);
        }
    }
    count
}

/// What telling the progress costs those who work.
fn progress(bench: &Bench) {
    const CALLS: usize = 1_000_000;
    let screen = bk::ui::Screen::new(false, bk::ui::screen::Verbosity::Normal);
    let told = screen.progress("bench");
    bench.run("progress advance", Work::Operations(CALLS), || (0..CALLS).for_each(|_| told.advance(1, 4096)));
    bench.run("progress current", Work::Operations(CALLS), || {
        (0..CALLS).for_each(|_| told.current(black_box(b"/srv/wiki/data/pages/start.txt")));
    });
    bench.run("progress advance 4 threads", Work::Operations(4 * CALLS), || {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..CALLS).for_each(|_| told.advance(1, 4096)));
            }
        });
    });
    told.finish();
}

/// A live database of about 100 MB is copied and its rows counted.
fn sqlite(bench: &Bench) {
    if !bench.wants("sqlite copy") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    let made = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500000)
        INSERT INTO t SELECT i, printf('%0200d', i) FROM n; CREATE INDEX i ON t(text);
        PRAGMA wal_checkpoint(FULL)";
    database.execute_batch(made).unwrap();
    let length = std::fs::metadata(&path).unwrap().len() as usize;
    bench.run("sqlite copy", Work::Bytes(length), || {
        black_box(copy(&path, folder.path(), &CopyOptions::default()).unwrap());
    });
}

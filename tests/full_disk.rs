//! A repository on a file system that is full, or turns read-only: a clear error, no snapshot, nothing half done.
//!
//! Needs root for mounting; skipped, and said so, without.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bk::crypto::KeyFile;
use bk::format::key_slot::Credential;
use bk::repository::{Repository, Snapshots};
use bk::store::{Area, LocalStore, Store};
use support::program::{Program, text};
use support::small_tree;
use support::tree::{compare_trees, noise};

const PACK: u64 = 32 << 20;

/// A file system in memory, gone when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, with the reason printed, where mounting is not allowed.
    fn new(folder: &Path, size: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can mount");
            return None;
        }
        std::fs::create_dir_all(folder).unwrap();
        let option = format!("size={size},mode=0700");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &option, "bk-test"]).arg(folder).output();
        match done {
            Ok(output) if output.status.success() => Some(Self(folder.to_owned())),
            Ok(output) => {
                println!("skipped: mounting failed: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: there is no mount program: {error}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let output = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn used(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.0).unwrap();
        (space.f_blocks - space.f_bfree) * space.f_frsize
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn open(program: &Program) -> (Repository, LocalStore) {
    let key = std::fs::read_to_string(program.data.join("key")).unwrap();
    let store = LocalStore::open(&program.repository()).unwrap();
    let credential = Credential::KeyFile(KeyFile::parse(&key).unwrap());
    (Repository::open(Arc::new(store.clone()), &credential).unwrap(), store)
}

/// Every object has the hash in its name, and nothing else lies about.
fn assert_nothing_half_done(program: &Program, snapshots: usize) {
    let (repository, store) = open(program);
    for area in Area::ALL {
        for listed in store.list(area).unwrap() {
            let bytes = store.get(&listed.name).unwrap();
            assert_eq!(blake3::hash(&bytes).as_bytes(), listed.name.hash(), "{}", listed.name);
        }
    }
    let left: Vec<_> = std::fs::read_dir(program.repository().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?} was left");
    assert_eq!(Snapshots::load(&repository).unwrap().all.len(), snapshots);
}

fn restores(program: &Program, id: &str, source: &Path) {
    let target = tempfile::tempdir().unwrap();
    program.succeed(&["restore", id, "--to", target.path().to_str().unwrap()]);
    let below = std::fs::read_dir(target.path()).unwrap().next().unwrap().unwrap().path();
    let differences = compare_trees(source, &below.join(source.strip_prefix("/").unwrap()));
    assert!(differences.is_empty(), "{differences:#?}");
}

/// The run fails as a run on a full disk should.
fn fails_naming(program: &Program, arguments: &[&str], words: &str, what: &str) {
    let output = program.run(arguments);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    let location = program.repository();
    assert!(said.contains(words) && said.contains(location.to_str().unwrap()), "{what}: {said}");
}

#[test]
fn a_full_disk_ends_the_run_with_its_name_and_the_next_run_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(&folder.path().join("disk"), 64 << 20) else { return };
    let program = Program::new(&mounted.0.join("data"));
    let source = folder.path().join("source");
    small_tree(&source);
    let backup = ["backup", source.to_str().unwrap()];
    let mut id = program.summary(&backup)["snapshot_id"].as_str().unwrap().to_owned();
    let rooms = [0, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 2 << 20, 3 << 20];
    for (round, room) in rooms.into_iter().enumerate() {
        let small = source.join("small");
        std::fs::remove_dir_all(&small).ok();
        let before = folder.path().join(format!("before-{round}"));
        support::tree::copy_tree(&source, &before);
        for number in 0..4 {
            std::fs::write(source.join(format!("new-{number}")), noise(1 + round as u64 * 10 + number, 1 << 20))
                .unwrap();
        }
        mounted.remount(&format!("size={}", mounted.used() + room));
        let what = format!("{room} bytes of room");
        fails_naming(&program, &backup, "no room is left", &what);
        assert_nothing_half_done(&program, round + 1);
        let target = tempfile::tempdir().unwrap();
        program.succeed(&["restore", &id, "--to", target.path().to_str().unwrap()]);
        let below = std::fs::read_dir(target.path()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(compare_trees(&before, &below.join(source.strip_prefix("/").unwrap())), [""; 0], "{what}");

        mounted.remount(&format!("size={}", 64 << 20));
        id = program.summary(&backup)["snapshot_id"].as_str().unwrap().to_owned();
        restores(&program, &id, &source);
        assert_nothing_half_done(&program, round + 2);
    }
}

#[test]
fn what_fitted_on_a_full_disk_is_used_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(&folder.path().join("disk"), 120 << 20) else { return };
    let program = Program::new(&mounted.0.join("data"));
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let total = 16 * (10 << 20);
    for number in 0..16 {
        std::fs::write(source.join(number.to_string()), noise(number, 10 << 20)).unwrap();
    }
    let backup = ["backup", source.to_str().unwrap()];
    fails_naming(&program, &backup, "no room is left", "160 MiB into 120");
    assert_nothing_half_done(&program, 0);
    let stored = mounted.used();
    assert!(stored > PACK, "{stored} bytes are kept");
    mounted.remount(&format!("size={}", 400 << 20));
    let summary = program.summary(&backup);
    let added = summary["data_added_packed"].as_u64().unwrap();
    let twice = (stored + added).saturating_sub(total);
    println!("{stored} bytes kept, {added} added by the next run, {twice} stored twice");
    assert!(twice < PACK, "{twice} bytes were stored twice");
    restores(&program, summary["snapshot_id"].as_str().unwrap(), &source);
}

#[test]
fn a_disk_without_room_for_a_repository_says_so_and_can_be_used_later() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(&folder.path().join("disk"), 4 << 10) else { return };
    let program = Program::new(&mounted.0.join("data"));
    let source = folder.path().join("source");
    small_tree(&source);
    let backup = ["backup", source.to_str().unwrap()];
    let output = program.run(&backup);
    assert!(!output.status.success());
    mounted.remount(&format!("size={}", 64 << 20));
    let id = program.summary(&backup)["snapshot_id"].as_str().unwrap().to_owned();
    restores(&program, &id, &source);
}

#[test]
fn a_read_only_disk_takes_no_backups_and_still_restores() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(&folder.path().join("disk"), 64 << 20) else { return };
    let program = Program::new(&mounted.0.join("data"));
    let source = folder.path().join("source");
    small_tree(&source);
    let backup = ["backup", source.to_str().unwrap()];
    let id = program.summary(&backup)["snapshot_id"].as_str().unwrap().to_owned();
    let before = folder.path().join("before");
    support::tree::copy_tree(&source, &before);
    std::fs::write(source.join("new"), noise(5, 100_000)).unwrap();
    mounted.remount("ro");
    fails_naming(&program, &backup, "Read-only file system", "read-only");
    let output = program.run(&["doctor"]);
    let said = text(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("PROBLEM store: writing does not work: ") && said.contains("Read-only file system"),
        "{said}"
    );
    assert!(!said.contains("read back") && said.contains("1 snapshot, the newest of"), "{said}");
    let target = tempfile::tempdir().unwrap();
    program.succeed(&["restore", &id, "--to", target.path().to_str().unwrap()]);
    let below = std::fs::read_dir(target.path()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(compare_trees(&before, &below.join(source.strip_prefix("/").unwrap())), [""; 0]);
    mounted.remount("rw");
    assert_nothing_half_done(&program, 1);
    let id = program.summary(&backup)["snapshot_id"].as_str().unwrap().to_owned();
    restores(&program, &id, &source);
}

//! btrfs itself, on a loop device.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use super::Machine;
use super::servers::done;
use super::snapshots::Stand;
use super::sqlite::{made, rows};
use super::trees::{Mounted, is_root, meanwhile, skipped};
use super::writer::{accounts_after, moves_after, transaction};

/// A file system with the subvolumes `shop` and `photos`; `None` where none can be mounted.
fn mounted(machine: &Machine) -> Option<Mounted> {
    if !is_root() {
        skipped("btrfs", "only root can mount");
        return None;
    }
    let mounted = match Mounted::looped(&machine.bench, &["mkfs.btrfs", "-q"], 160 << 20) {
        Ok(mounted) => mounted,
        Err(why) => {
            assert!(why.contains("mount:"), "{why}; `tests/run` installs what the tests need");
            skipped("btrfs", why);
            return None;
        }
    };
    for name in ["shop", "photos"] {
        done(Command::new("btrfs").args(["subvolume", "create"]).arg(mounted.point().join(name)));
    }
    Some(mounted)
}

/// The snapshots that are there.
fn snapshots(point: &Path) -> Vec<String> {
    let list = done(Command::new("btrfs").args([OsStr::new("subvolume"), OsStr::new("list"), point.as_os_str()]));
    list.lines().filter(|line| line.contains("snapshot")).map(str::to_owned).collect()
}

#[test]
fn a_snapshot_is_read_and_deleted() {
    let machine = Machine::new("");
    let Some(mounted) = mounted(&machine) else { return };
    let there = || snapshots(mounted.point());
    let folders = ["shop/data", "photos/data"].map(|name| mounted.point().join(name)).to_vec();
    let stand = Stand { machine: &machine, filesystem: "btrfs", folders, settings: "", there: &there };
    stand.stands();
    // Nothing else was taken from the file system.
    assert_eq!(std::fs::read_dir(mounted.point()).unwrap().count(), 2);
    // A subvolume in a data folder is in no snapshot of it; one beside it does not matter.
    for name in ["shop/beside", "shop/data/inner volume"] {
        done(Command::new("btrfs").args(["subvolume", "create"]).arg(mounted.point().join(name)));
    }
    let inner = stand.folders[0].join("inner volume");
    stand.names(&inner);
    done(Command::new("btrfs").args(["subvolume", "delete"]).arg(&inner));
    // A snapshot cannot be made on another file system.
    Stand { settings: "folder = \"/tmp\"", folders: stand.folders.clone(), ..stand }.fails("cannot make the snapshot");
    // Nor of a folder to which no way leads through its subvolume.
    let data = mounted.point().join("shop/data");
    let bound = Mounted::new(machine.bench.path("bound"), &[OsStr::new("--bind"), data.as_os_str()]).unwrap();
    std::fs::create_dir(data.join("inner")).unwrap();
    Stand { folders: vec![bound.point().join("inner")], settings: "", ..stand }.fails("name it by the way through");
    let outside = Stand { folders: vec![machine.bench.path("files")], ..stand };
    outside.fails("is not on btrfs");
}

#[test]
fn a_database_in_a_snapshot_is_whole_and_of_its_moment() {
    let machine = Machine::new("");
    let Some(mounted) = mounted(&machine) else { return };
    let folder = mounted.point().join("shop/data");
    std::fs::create_dir(&folder).unwrap();
    let database = made(&folder);
    // All of it stays in the log, so that a copy without the log would lose it.
    database.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
    for number in 0..100 {
        database.execute_batch(&transaction(number)).unwrap();
    }
    let quiesce = "[profile.shop.quiesce]\nhow = \"stop\"\nunits = [\"app\"]\n";
    let text = format!(
        "[profile.shop]\nroot = \"{}\"\n[profile.shop.snapshot]\nfilesystem = \"btrfs\"\n{quiesce}",
        folder.display()
    );
    machine.bench.file("bk.toml", text);
    // The quiet ends when the snapshot is there: what was committed later is not in it.
    let seen = machine.bench.path("seen");
    machine.stopper("service", "", &format!("touch {}", seen.display()));
    let (database, mut number, mut at_the_snapshot) = (Mutex::new(database), 100, None);
    let write = || {
        if at_the_snapshot.is_none() && seen.exists() {
            at_the_snapshot = Some(number);
        }
        database.lock().unwrap().execute_batch(&transaction(number)).unwrap();
        number += 1;
        std::thread::sleep(std::time::Duration::from_micros(300));
    };
    meanwhile(write, || machine.backs_up());
    let at_the_snapshot = at_the_snapshot.expect("it was written to until after the snapshot");
    let copy = machine.restored("shop").join(folder.strip_prefix("/").unwrap()).join("shop.db");
    let moves: u64 = rows(&copy, "SELECT n FROM counter").parse().unwrap();
    assert!(100 < moves && moves <= at_the_snapshot, "{moves}, but {at_the_snapshot} of {number} were before");
    assert_eq!(rows(&copy, "SELECT * FROM moves ORDER BY id"), moves_after(moves, '|'));
    assert_eq!(rows(&copy, "SELECT * FROM accounts ORDER BY id"), accounts_after(moves, '|'));
    assert_eq!(snapshots(mounted.point()), Vec::<String>::new());
}

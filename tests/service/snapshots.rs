//! Snapshots of file systems, read in place of what goes on changing, and gone again however the run ends. These are
//! the claims for any of them, and ZFS and LVM with stand-ins for their programs over file systems that are mounted;
//! btrfs is real, in a file of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use super::quiesce::{DUMPED, finished};
use super::trees::{self, Mounted, is_root, same, skipped};
use super::{MARK, Machine, processes, signal};

/// A profile whose folders lie on a file system that makes snapshots.
pub(super) struct Stand<'a> {
    pub(super) machine: &'a Machine,
    /// The hook.
    pub(super) filesystem: &'static str,
    pub(super) folders: Vec<PathBuf>,
    /// Lines of `[profile.shop.snapshot.settings]`.
    pub(super) settings: &'static str,
    /// The snapshots that are there.
    pub(super) there: &'a dyn Fn() -> Vec<String>,
}

const QUIET: &str = "[profile.shop.quiesce]\nhow = \"stop\"\nunits = [\"app\"]\n";

impl Stand<'_> {
    fn configure(&self, more: &str) {
        let folders: Vec<String> = self.folders.iter().map(|folder| format!("\"{}\"", folder.display())).collect();
        let text = format!(
            "[profile.shop]\npaths = [{}]\n[profile.shop.snapshot]\nfilesystem = \"{}\"\n[profile.shop.snapshot.settings]\n{}\n{more}",
            folders.join(", "),
            self.filesystem,
            self.settings
        );
        self.machine.bench.file("bk.toml", text);
    }

    /// What the service does once it goes on: it writes over the note in each folder.
    fn goes_on(&self, more: &str) {
        let write: String =
            self.folders.iter().map(|folder| format!("echo later >{}/note\n", folder.display())).collect();
        self.machine.stopper("service", "", &format!("{write}{more}"));
    }

    /// The same claims for each file system.
    pub(super) fn stands(&self) {
        for folder in &self.folders {
            std::fs::create_dir_all(folder.join("below")).unwrap();
            std::fs::write(folder.join("note"), "first\n").unwrap();
            std::fs::write(folder.join("below/noise"), trees::noise(1, 300_000)).unwrap();
        }
        self.is_read_in_place_of_what_goes_on();
        self.is_gone_after_a_failure();
        self.is_gone_after_the_next_run_when_bk_was_killed();
    }

    /// The service goes on, and writes, as soon as there is a snapshot: what is restored is what was before.
    fn is_read_in_place_of_what_goes_on(&self) {
        let (machine, bench) = (self.machine, &self.machine.bench);
        let before: Vec<PathBuf> = (0..self.folders.len()).map(|at| bench.path(&format!("before-{at}"))).collect();
        for (folder, copy) in self.folders.iter().zip(&before) {
            super::servers::done(Command::new("cp").arg("-a").arg(folder).arg(copy));
        }
        let seen = bench.path("seen");
        self.goes_on(&format!("touch {}", seen.display()));
        self.configure(QUIET);
        machine.backs_up();
        assert!(seen.exists());
        let to = bench.path("again");
        machine.run(&["restore", "shop", "--to", to.to_str().unwrap()]).exits(0);
        for (folder, copy) in self.folders.iter().zip(&before) {
            assert_eq!(std::fs::read_to_string(folder.join("note")).unwrap(), "later\n");
            same(bench, copy, &to.join("shop").join(folder.strip_prefix("/").unwrap()));
        }
        assert_eq!(((self.there)(), machine.journal()), (vec![], 0));
        machine.logged();
    }

    fn is_gone_after_a_failure(&self) {
        let machine = self.machine;
        machine.dumper("exit 9");
        self.configure(&format!("{QUIET}{DUMPED}"));
        machine.run(&["backup", "shop"]).exits(4).says("INCOMPLETE");
        assert_eq!(machine.logged(), ["service begin", "dump", "service end service ran"]);
        assert_eq!(((self.there)(), machine.journal()), (vec![], 0));
    }

    fn is_gone_after_the_next_run_when_bk_was_killed(&self) {
        let machine = self.machine;
        let stuck = machine.bench.file("stuck", "");
        self.goes_on(&format!("[ ! -e {} ] || sleep 300", stuck.display()));
        self.configure(QUIET);
        let mark = format!("{}-{}", self.filesystem, std::process::id());
        let child = machine.start_until("service end service ran", &mark);
        assert!(!(self.there)().is_empty(), "there is a snapshot while it is read");
        signal(child.id() as i32, Signal::KILL);
        for (id, _) in processes(&format!("{MARK}={mark}")) {
            signal(id, Signal::KILL);
        }
        assert!(!finished(child).status.success());
        std::fs::remove_file(stuck).unwrap();
        assert!(!(self.there)().is_empty() && machine.journal() == 2, "nobody ended anything");
        let other = machine.bench.folder("other");
        let said = machine.run(&["backup", other.to_str().unwrap()]).exits(0);
        said.says(&format!("an earlier run for shop ended before `{}`", self.filesystem));
        assert_eq!(((self.there)(), machine.journal()), (vec![], 0));
        machine.logged();
    }

    /// What lies below a data folder and in no snapshot of it is named by the backup, and by the doctor.
    #[track_caller]
    pub(super) fn names(&self, left_out: &Path) {
        self.goes_on("");
        self.configure(QUIET);
        let words = format!("of their own: {}", left_out.display());
        self.machine.backs_up().says(&words);
        assert!(self.machine.run(&["doctor"]).text().replace("\n           ", " ").contains(&words));
        self.machine.logged();
    }

    /// A run that has no snapshot is incomplete, and leaves none.
    #[track_caller]
    pub(super) fn fails(&self, words: &str) {
        self.goes_on("");
        self.configure(QUIET);
        self.machine.run(&["backup", "shop"]).exits(4).says("did not stand still").says(words).says("INCOMPLETE");
        assert_eq!(((self.there)(), self.machine.journal()), (vec![], 0));
        assert_eq!(self.machine.logged(), ["service begin", "service end service ran"]);
    }

    /// A snapshot that cannot be dropped is told, and dropped by the next run.
    pub(super) fn is_dropped_later(&self, mend: impl FnOnce()) {
        self.goes_on("");
        self.configure(QUIET);
        self.machine.run(&["backup", "shop"]).exits(4).says("still there");
        assert_eq!(((self.there)().len(), self.machine.journal()), (self.folders.len(), 1));
        mend();
        let other = self.machine.bench.folder("other");
        self.machine.run(&["backup", other.to_str().unwrap()]).exits(0).says("an earlier run for shop");
        assert_eq!(((self.there)(), self.machine.journal()), (vec![], 0));
        self.machine.logged();
    }
}

#[test]
fn a_snapshot_of_zfs_is_read_and_destroyed() {
    if !is_root() {
        return skipped("ZFS", "only root can mount");
    }
    let mut machine = Machine::new("");
    let state = machine.stand_in(&["zfs"], include_str!("programs/zfs"));
    let tank = machine.bench.folder("tank");
    let mounts = ["shop", "photos"].map(|name| Mounted::tmpfs(tank.join(name)));
    let mounts = match mounts {
        [Ok(shop), Ok(photos)] => [shop, photos],
        [first, second] => return skipped("ZFS", first.err().or(second.err()).unwrap()),
    };
    let points = mounts.each_ref().map(|mount| mount.point().to_owned());
    let list = format!("tank\t/nowhere\ntank/shop\t{}\ntank/photos\t{}\n", points[0].display(), points[1].display());
    std::fs::write(state.join("datasets"), list).unwrap();
    let there = || {
        let names = |point: &PathBuf| std::fs::read_dir(point.join(".zfs/snapshot")).into_iter().flatten().flatten();
        points.iter().flat_map(names).map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    let folders = points.iter().map(|point| point.join("data")).collect();
    let stand = Stand { machine: &machine, filesystem: "zfs", folders, settings: "", there: &there };
    stand.stands();
    let made = machine.called("snapshot tank/");
    assert!(made.iter().all(|call| call.matches("@bk-").count() == 2), "all at one moment: {made:?}");
    let inner = Mounted::tmpfs(stand.folders[0].join("inner")).unwrap();
    stand.names(inner.point());
    drop(inner);
    let fails = state.join("fails");
    std::fs::write(&fails, "snapshot").unwrap();
    stand.fails("cannot make the snapshots");
    std::fs::write(&fails, "destroy").unwrap();
    stand.is_dropped_later(|| std::fs::remove_file(&fails).unwrap());
    // What is on no dataset is not taken for one that is.
    let outside = Stand { folders: vec![machine.bench.path("files")], ..stand };
    outside.fails("is not on ZFS");
}

/// Takes away what stand-ins for LVM may have left.
struct Volumes {
    state: PathBuf,
    group: String,
}

impl Volumes {
    /// The snapshots, and what is mounted of them.
    fn there(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.state.join("volumes")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut found: Vec<String> = names.filter(|name| name != "shop").collect();
        for name in self.mounted() {
            assert!(found.contains(&name), "{name} is mounted, but no volume");
        }
        found.sort();
        found
    }

    /// Folders below /run that the hook made for these volumes.
    fn mounted(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.state.join("images")).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| Path::new("/run").join(name).exists()).collect()
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        for name in self.mounted() {
            let _ = Command::new("umount").arg(Path::new("/run").join(&name)).output();
            let _ = std::fs::remove_dir(Path::new("/run").join(name));
        }
        for entry in std::fs::read_dir(self.state.join("volumes")).into_iter().flatten().flatten() {
            let device = std::fs::read_to_string(entry.path()).unwrap_or_default();
            if entry.file_name() != "shop" {
                let _ = Command::new("losetup").arg("--detach").arg(device.trim()).output();
            }
        }
        let _ = std::fs::remove_dir_all(Path::new("/dev").join(&self.group));
    }
}

#[test]
fn a_snapshot_of_lvm_is_mounted_read_and_removed() {
    if !is_root() {
        return skipped("LVM", "only root can mount");
    }
    let mut machine = Machine::new("");
    let state = machine.stand_in(&["lvs", "lvcreate", "lvremove"], include_str!("programs/lvm"));
    let mounted = match Mounted::looped(&machine.bench, &["mkfs.ext4", "-q"], 24 << 20) {
        Ok(mounted) => mounted,
        Err(why) => return skipped("LVM", why),
    };
    let mut find = Command::new("findmnt");
    find.args(["--noheadings", "--output", "SOURCE", "--mountpoint"]).arg(mounted.point());
    let device = super::servers::done(&mut find);
    let group = format!("bk-test-{}", std::process::id());
    for (name, text) in [("volumes/shop", device.trim()), ("group", &group), ("free", "1073741824")] {
        machine.bench.file(&format!("state/{name}"), text);
    }
    machine.bench.folder("state/images");
    let volumes = Volumes { state: state.clone(), group };
    let there = || volumes.there();
    let folders = ["data", "photos"].map(|name| mounted.point().join(name)).to_vec();
    let stand = Stand { machine: &machine, filesystem: "lvm", folders, settings: "size = \"100M\"", there: &there };
    stand.stands();
    let made = machine.called("--snapshot");
    assert!(made.iter().all(|call| call.contains("--size 100M") && call.contains("--permission r")), "{made:?}");
    let inner = Mounted::tmpfs(stand.folders[0].join("inner")).unwrap();
    stand.names(inner.point());
    drop(inner);
    // The default is more than what is free here.
    Stand { settings: "", folders: stand.folders.clone(), ..stand }.fails("cannot make a snapshot of");
    let fails = state.join("fails");
    std::fs::write(&fails, "lvremove").unwrap();
    let one = Stand { folders: vec![stand.folders[0].clone()], ..stand };
    one.is_dropped_later(|| std::fs::remove_file(&fails).unwrap());
    let outside = Stand { folders: vec![machine.bench.path("files")], ..one };
    outside.fails("is not on a logical volume");
    assert_eq!(volumes.mounted(), Vec::<String>::new());
}

//! What is pruned, as its user meets it: in two steps, beside others, interrupted, and on a full disk.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::keep::{CONFIG, says};
use super::past::DAY;
use super::{Bench, text};

/// Noise that no other seed gives.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A repository in which `nights` backups of a folder that changes by so many bytes were made, and are all forgotten but
/// the newest three; stored two days ago.
fn forgotten(config: &str, nights: u64, bytes: usize) -> Bench {
    forgotten_in(Bench::new(), config, nights, bytes)
}

fn forgotten_in(bench: Bench, config: &str, nights: u64, bytes: usize) -> Bench {
    bench.configure(config);
    bench.with(0, &["init"]);
    let past = bench.past("ssd");
    for night in 0..nights {
        for part in 0..4 {
            std::fs::write(bench.path(&format!("source/{part}")), noise(night * 4 + part, bytes / 4)).unwrap();
        }
        bench.with(0, &["-r", "ssd", "backup", "wiki"]);
        past.redate((nights - night) * DAY, |_| {});
    }
    bench.with(0, &["-r", "ssd", "forget", "--keep-last", "3"]);
    past.age(Duration::from_secs(2 * DAY));
    bench
}

#[test]
fn a_dry_prune_changes_nothing_and_says_what_is_then_done_in_two_steps() {
    let bench = forgotten(CONFIG, 6, 600_000);
    let past = bench.past("ssd");
    let prune = |arguments: &[&str]| bench.lines(0, &[&["-r", "ssd", "prune"], arguments].concat()).pop().unwrap();
    let same = |planned: &Value, done: &Value| {
        for (amount, name) in [("deleted", "deleted"), ("marked", "marked")] {
            for what in ["packs", "bytes"] {
                assert_eq!(planned[amount][what], done[format!("{name}_{what}")], "{planned} {done}");
            }
        }
        assert_eq!(planned["copied_bytes"] == 0, done["copied_bytes"] == 0, "{planned} {done}");
        assert_eq!(planned["kept_unused_bytes"], done["kept_unused_bytes"]);
    };
    let before = bench.files("ssd");
    let planned = prune(&["-n"]);
    let (text, _) = bench.with(0, &["-r", "ssd", "prune", "--dry-run"]);
    assert_eq!(bench.files("ssd"), before);
    assert!(text.contains("mark     ") && text.contains("to be deleted in a day or later"), "{text}");
    let marked = prune(&[]);
    same(&planned, &marked);
    assert!(marked["marked_packs"].as_u64() > Some(0) && marked["deleted_packs"] == 0, "{marked}");
    // On the same day nothing more happens; a day later it is deleted.
    past.age(Duration::from_secs(23 * 3600));
    assert_eq!(prune(&[])["deleted_packs"], 0);
    let (text, _) = bench.with(0, &["-r", "ssd", "prune", "--dry-run"]);
    assert!(text.contains("wait     ") && text.contains("deleted after 20"), "{text}");
    past.age(Duration::from_secs(2 * 3600));
    let planned = prune(&["-n"]);
    let deleted = prune(&[]);
    same(&planned, &deleted);
    assert_eq!(deleted["deleted_packs"], marked["marked_packs"]);
    assert!(planned["freed_bytes"].as_u64() > Some(3 * 600_000), "{planned}");
    bench.with(0, &["-r", "ssd", "check", "--read-data"]);
    let nothing = prune(&["-n"]);
    assert_eq!((&nothing["freed_bytes"], &nothing["marked"]["packs"]), (&0.into(), &0.into()));
}

#[test]
fn with_the_word_that_nobody_else_writes_space_is_free_at_once() {
    let bench = forgotten(CONFIG, 6, 600_000);
    let size = |bench: &Bench| bench.files("ssd").iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    let before = size(&bench);
    let arguments = ["-r", "ssd", "prune", "--instant-delete", "--no-other-writer"];
    let planned = bench.lines(0, &[&arguments[..], &["-n"]].concat()).pop().unwrap();
    assert_eq!(size(&bench), before);
    let done = bench.lines(0, &arguments).pop().unwrap();
    assert_eq!(planned["deleted"]["bytes"], done["deleted_bytes"]);
    assert!(before - size(&bench) > 3 * 600_000, "{before} {}", size(&bench));
    bench.with(0, &["-r", "ssd", "check", "--read-data"]);
}

#[test]
fn a_prune_that_is_interrupted_is_130_and_the_next_one_goes_on() {
    let bench = Bench::configured(CONFIG);
    let past = bench.past("ssd");
    // A file that is being written is enough: looking must be faster than pruning.
    let is_writing = || std::fs::read_dir(bench.path("ssd/tmp")).unwrap().next().is_some();
    let mut interrupted = 0;
    for round in 0..4 {
        // Half of what is in each pack is needed, and has to be copied.
        for part in 0..64 {
            let seed = if part % 2 == 0 { part } else { 1000 * (round + 1) + part };
            std::fs::write(bench.path(&format!("source/{part}")), noise(seed, 1 << 20)).unwrap();
        }
        // It may well be unlike the one before.
        let backup = bench.run(&["-c", "bk.toml", "-r", "ssd", "backup", "wiki"]);
        assert!([Some(0), Some(9)].contains(&backup.status.code()), "{}", text(&backup.stderr));
        past.redate((9 - round) * DAY, |snapshot| snapshot.anomalies.clear());
        for id in past.ids().iter().rev().skip(1) {
            bench.with(0, &["-r", "ssd", "forget", id]);
        }
        past.age(Duration::from_secs(2 * DAY));
        let mut prune = bench.bk(&["-c", "bk.toml", "-r", "ssd", "prune", "--max-unused", "0"]);
        let mut child = prune.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !is_writing() && child.try_wait().unwrap().is_none() {}
        let pid = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let code = child.wait().unwrap().code();
        assert!([Some(0), Some(130)].contains(&code), "{code:?}");
        interrupted += u32::from(code == Some(130));
        bench.with(0, &["-r", "ssd", "check", "--read-data"]);
    }
    assert!(interrupted > 0, "no prune was caught in the middle");
    let arguments = ["-r", "ssd", "prune", "--max-unused", "0"];
    bench.with(0, &arguments);
    past.age(Duration::from_secs(2 * DAY));
    bench.with(0, &arguments);
    past.age(Duration::from_secs(15 * DAY));
    bench.with(0, &arguments);
    past.age(Duration::from_secs(2 * DAY));
    bench.with(0, &arguments);
    let size: usize = bench.files("ssd").iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(size < 66 << 20, "{size} bytes for 64 MiB");
    bench.with(0, &["-r", "ssd", "check", "--read-data"]);
}

#[test]
fn two_prunes_two_backups_and_a_restore_at_once_do_each_other_no_harm() {
    let bench = Bench::configured(&CONFIG.replace("HERE/source/sub", "HERE/second"));
    let past = bench.past("ssd");
    std::fs::create_dir(bench.path("second")).unwrap();
    let write = |round: u64| {
        for (number, folder) in (1..).zip(["source", "second"]) {
            for part in 0..4 {
                // One changes each time, one now and then, one comes back, one never.
                let seed = [round * 10, round / 3, round % 2, 7][part as usize] * 100 + number * 10 + part;
                std::fs::write(bench.path(&format!("{folder}/{part}")), noise(seed, 200_000)).unwrap();
            }
        }
    };
    write(0);
    let ssd = |arguments: &[&str]| bench.with(0, &[&["-r", "ssd"], arguments].concat());
    ssd(&["backup", "wiki"]);
    ssd(&["backup", "mail"]);
    let mut deleted = 0;
    for round in 1..=20 {
        write(round);
        past.age(Duration::from_secs(2 * DAY));
        let newest = past.ids().pop().unwrap();
        let out = format!("out-{round}");
        let all = [
            &["backup", "wiki"][..],
            &["prune", "--max-unused", "0", "--despite-anomalies"],
            &["restore", &newest, "--to", &out, "--verify"],
            &["backup", "mail"],
            &["prune", "--max-unused", "0", "--despite-anomalies"],
        ];
        let start = |arguments: &[&str]| {
            let mut command = bench.bk(&[&["-c", "bk.toml", "-r", "ssd", "--json"], arguments].concat());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let children: Vec<_> = all.iter().map(|arguments| start(arguments)).collect();
        for (child, arguments) in children.into_iter().zip(all) {
            let output = child.wait_with_output().unwrap();
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(output.status.success(), "round {round}: bk {arguments:?}: {}\n{said}", output.status);
            let summary = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            deleted += summary.filter_map(|line| line["deleted_packs"].as_u64()).sum::<u64>();
        }
        ssd(&["forget", "--keep-last", "3", "--despite-anomalies"]);
        ssd(&["check", "--read-data"]);
    }
    assert!(deleted > 20, "{deleted} packs were deleted");
    let old = std::fs::read(bench.path("source/0")).unwrap();
    ssd(&["restore", "wiki", "--to", "last", "--verify"]);
    let below = bench.path("last/wiki").join(bench.path("source/0").strip_prefix("/").unwrap());
    assert_eq!(std::fs::read(below).unwrap(), old);
}

/// A file system in memory, gone when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// `None`, with the reason printed, where mounting is not allowed.
    fn new(folder: PathBuf) -> Option<Self> {
        std::fs::create_dir(&folder).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m,mode=0700", "bk-test"]).arg(&folder).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(folder)),
            Ok(output) => {
                println!("skipped: mounting failed: {}", text(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: there is no mount program: {error}");
                None
            }
        }
    }

    fn used(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.0).unwrap();
        (space.f_blocks - space.f_bfree) * space.f_frsize
    }

    /// Leaves no room at all.
    fn fill(&self) {
        let size = format!("remount,size={}", self.used());
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_a_prune_frees_what_was_marked_and_at_once_with_ones_word() {
    for arguments in [&["prune"][..], &["prune", "--instant-delete", "--no-other-writer"]] {
        let folder = tempfile::tempdir().unwrap();
        let Some(disk) = Mounted::new(folder.path().join("disk")) else { return };
        let at = CONFIG.replace("HERE/ssd", disk.0.join("ssd").to_str().unwrap());
        let bench = Bench::new();
        std::os::unix::fs::symlink(disk.0.join("ssd"), bench.path("ssd")).unwrap();
        let bench = forgotten_in(bench, &at, 6, 2 << 20);
        let past = bench.past("ssd");
        if arguments.len() == 1 {
            bench.with(0, &["-r", "ssd", "prune"]);
            past.age(Duration::from_secs(25 * 3600));
        }
        disk.fill();
        let (_, err) = bench.with(1, &["-r", "ssd", "backup", "mail"]);
        says(&err, &["no room is left"]);
        // What is written down about a snapshot needs a little of it too.
        let (_, err) = bench.with(1, &["-r", "ssd", "pin", "wiki"]);
        says(&err, &["no room is left"]);
        let before = disk.used();
        let output = bench.bk(&[&["-c", "bk.toml", "-r", "ssd"], arguments].concat()).output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        println!("{said}");
        assert!([Some(0), Some(3)].contains(&output.status.code()), "{said}");
        assert!(disk.used() + (4 << 20) < before, "{} of {before} bytes are still used: {said}", disk.used());
        bench.with(0, &["-r", "ssd", "backup", "mail"]);
        bench.with(0, &["-r", "ssd", "prune"]);
        bench.with(0, &["-r", "ssd", "check", "--read-data"]);
    }
}

#[test]
fn what_min_free_keeps_is_there_for_forgetting_and_pruning() {
    let bench = forgotten(CONFIG, 6, 600_000);
    let past = bench.past("ssd");
    bench.with(0, &["-r", "ssd", "pin", "wiki~1"]);
    bench.configure(&CONFIG.replace("keep = { last = 4 }", "keep = { last = 4 }\nmin-free = \"900TiB\""));
    std::fs::write(bench.path("source/new"), noise(900, 600_000)).unwrap();
    let (_, err) = bench.with(1, &["-r", "ssd", "backup", "wiki"]);
    says(&err, &["less than the min-free"]);
    let [oldest, ..] = &past.ids()[..] else { panic!("nothing is there") };
    bench.with(0, &["-r", "ssd", "forget", oldest]);
    let marked = bench.lines(0, &["-r", "ssd", "prune", "--max-unused", "unlimited"]).pop().unwrap();
    assert!(marked["marked_packs"].as_u64() > Some(0), "{marked}");
    past.age(Duration::from_secs(25 * 3600));
    let deleted = bench.lines(0, &["-r", "ssd", "prune", "--max-unused", "unlimited"]).pop().unwrap();
    assert_eq!(deleted["deleted_packs"], marked["marked_packs"]);
}

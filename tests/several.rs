//! Several repositories and one reading: every one of them gets the same snapshot, the source is read once, and one
//! that is slow or away neither fails the others nor stays behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/several.rs"]
mod bench;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bench::{Bench, bytes, files};
use rustix::fs::inotify;

/// Names of packs without the part that is new each time.
fn pack_ids(repository: &Path) -> Vec<String> {
    let of = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().split('.').next().unwrap().to_owned();
    let mut ids: Vec<_> = files(&repository.join("packs")).into_keys().map(of).collect();
    ids.sort();
    ids
}

/// Times are trusted once they are two seconds old.
fn grow_old() {
    std::thread::sleep(std::time::Duration::from_millis(2100));
}

/// How often each file in a folder is opened while `work` runs.
fn opened_while(folder: &Path, work: impl FnOnce()) -> BTreeMap<String, usize> {
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, folder, inotify::WatchFlags::OPEN).unwrap();
    work();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 64 << 10];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut counts = BTreeMap::new();
    while let Ok(event) = reader.next() {
        if let Some(name) = event.file_name() {
            *counts.entry(name.to_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn every_repository_gets_the_snapshot_and_the_source_is_read_once() {
    let bench = Bench::new(true);
    bench.expect(0, &["init"]);
    grow_old();
    let mut said = Vec::new();
    let opened = opened_while(&bench.path("source/sub"), || said = bench.json(0, &["backup", "wiki"]));
    assert_eq!(opened.len(), 20, "{opened:?}");
    assert!(opened.values().all(|times| *times == 1), "{opened:?}");
    let siblings: Vec<_> = said.iter().filter(|line| line["message_type"] == "sibling").collect();
    assert_eq!(siblings.len(), 2, "{said:?}");
    let ids = bench.ids("ssd");
    assert_eq!(ids.len(), 1);
    for sibling in siblings {
        assert_eq!((&sibling["outcome"], &sibling["snapshot_id"]), (&"complete".into(), &ids[0].clone().into()));
    }
    for repository in ["usb", "far"] {
        assert_eq!(bench.ids(repository), ids);
        bench.restores(repository);
        bench.expect(0, &["--repo", repository, "check", "--read-data"]);
    }
    // Sealed once: the very same packs lie in each of them.
    let packs = pack_ids(&bench.path("ssd"));
    assert_eq!(packs, pack_ids(&bench.path("usb")));
    assert_eq!(packs, pack_ids(&bench.server.as_ref().unwrap().object("host1")));
    // And nothing is read, and hardly anything put, when nothing has changed.
    let opened = opened_while(&bench.path("source/sub"), || said = bench.json(0, &["backup", "wiki"]));
    assert!(opened.is_empty(), "{opened:?}");
    let sent: u64 = said.iter().filter_map(|line| line["data_added_packed"].as_u64()).sum();
    assert!(sent < 20_000, "{said:?}");
}

#[test]
fn one_that_is_away_is_said_to_be_behind_and_brought_up_to_date_by_the_next_run() {
    let bench = Bench::new(true);
    bench.expect(0, &["init"]);
    bench.expect(0, &["backup", "wiki"]);
    std::fs::rename(bench.path("usb"), bench.path("usb-away")).unwrap();
    for number in 0..3 {
        std::fs::write(bench.path(&format!("source/sub/new{number}")), bytes(100 + number, 700_000)).unwrap();
        std::fs::remove_file(bench.path(&format!("source/sub/{number}"))).unwrap();
        let said = bench.expect(7, &["backup", "wiki"]);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("usb IS BEHIND: there is no repository at"), "{said}");
        assert!(said.contains("the next run brings it up to date, or `bk copy --to usb`"), "{said}");
        assert!(said.contains("is complete in ssd") && said.contains("is in far too"), "{said}");
    }
    std::fs::rename(bench.path("usb-away"), bench.path("usb")).unwrap();
    grow_old();
    // One in which all times can be trusted.
    bench.expect(0, &["--repo", "ssd", "backup", "wiki"]);
    std::fs::write(bench.path("source/last"), bytes(999, 100_000)).unwrap();
    let mut said = String::new();
    let opened = opened_while(&bench.path("source/sub"), || said = bench.expect(0, &["backup", "wiki"]));
    assert!(said.contains("usb got 4 earlier snapshots that it lacked"), "{said}");
    assert!(opened.is_empty(), "what the others have is not read again: {opened:?}");
    assert_eq!(bench.ids("usb"), bench.ids("ssd"));
    assert_eq!(bench.ids("far"), bench.ids("ssd"));
    for repository in ["ssd", "usb", "far"] {
        bench.restores(repository);
        bench.expect(0, &["--repo", repository, "check", "--read-data"]);
    }
}

#[test]
fn a_copy_brings_them_up_to_date_without_the_source_and_again_does_nothing() {
    let bench = Bench::new(true);
    bench.expect(0, &["init"]);
    bench.expect(0, &["--repo", "ssd", "backup", "wiki"]);
    std::fs::write(bench.path("source/more"), bytes(55, 2_000_000)).unwrap();
    bench.expect(0, &["--repo", "ssd", "backup", "wiki"]);
    let kept = files(&bench.path("source"));
    std::fs::rename(bench.path("source"), bench.path("source-away")).unwrap();
    let planned = bench.expect(0, &["copy", "--dry-run"]);
    assert_eq!(planned.matches("would copy").count(), 4, "{planned}");
    assert!(bench.ids("far").is_empty());
    let said = bench.expect(0, &["copy"]);
    assert!(said.contains("usb got 2 snapshots from ssd") && said.contains("far got 2 snapshots from ssd"), "{said}");
    let again = bench.expect(0, &["copy"]);
    assert!(!again.contains(" got ") && again.contains("usb has all that it should have of ssd"), "{again}");
    std::fs::rename(bench.path("source-away"), bench.path("source")).unwrap();
    assert_eq!(files(&bench.path("source")), kept);
    for repository in ["usb", "far"] {
        assert_eq!(bench.ids(repository), bench.ids("ssd"));
        bench.restores(repository);
        bench.expect(0, &["--repo", repository, "check", "--read-data"]);
    }
}

#[test]
fn what_was_forgotten_somewhere_or_would_be_at_once_is_not_brought_back() {
    let bench = Bench::new(false);
    bench.expect(0, &["init"]);
    for number in 0..4 {
        std::fs::write(bench.path("source/changing"), bytes(number, 50_000)).unwrap();
        bench.expect(0, &["backup", "wiki"]);
    }
    let all = bench.ids("ssd");
    bench.expect(0, &["--repo", "usb", "forget", &all[1][..12]]);
    bench.expect(0, &["copy"]);
    assert!(!bench.ids("usb").contains(&all[1]), "a snapshot that was forgotten came back");
    let refused = bench.expect(2, &["copy", &all[1][..12], "--from", "ssd", "--to", "usb"]);
    assert!(refused.contains("was forgotten in usb"), "{refused}");
    // A third repository keeps two: the floor keeps three, and no more come.
    bench.configure("[repository.third]\nlocation = \"HERE/third\"\nkeep = { last = 1 }\n");
    bench.expect(0, &["init"]);
    bench.expect(0, &["copy", "--to", "third", "--from", "ssd"]);
    assert_eq!(bench.ids("third"), all[1..]);
    bench.expect(0, &["copy", &all[0][..12], "--to", "third"]);
    assert_eq!(bench.ids("third"), all);
}

#[test]
fn what_is_named_and_nowhere_is_refused() {
    let bench = Bench::new(false);
    bench.expect(0, &["init"]);
    bench.expect(0, &["--repo", "ssd", "backup", "wiki"]);
    let said = bench.expect(2, &["copy", "wikki"]);
    assert!(said.contains("there is no snapshot of wikki") && said.contains("with snapshots: wiki"), "{said}");
    assert!(bench.expect(2, &["copy", "12345678"]).contains("there is no snapshot 12345678"));
    assert!(bench.expect(2, &["copy", "./wiki"]).contains("is a path"));
    assert!(bench.ids("usb").is_empty());
    bench.expect(0, &["copy", "wiki"]);
    assert_eq!(bench.ids("usb").len(), 1);
}

#[test]
fn a_pin_and_an_acceptance_hold_for_the_copy() {
    let bench = Bench::new(false);
    bench.expect(0, &["init"]);
    bench.expect(0, &["--repo", "ssd", "backup", "wiki"]);
    let id = bench.ids("ssd").remove(0);
    bench.expect(0, &["--repo", "ssd", "pin", &id[..12]]);
    bench.expect(0, &["copy"]);
    let pins = bench.expect(0, &["--repo", "usb", "pin"]);
    assert!(pins.contains(&id[..8]), "{pins}");
}

#[test]
fn when_the_nearest_fails_on_the_way_the_others_still_get_their_snapshot() {
    let bench = Bench::new(true);
    bench.expect(0, &["init"]);
    bench.expect(0, &["backup", "wiki"]);
    // Wants more room than there is.
    bench.configure("[repository.ssd2]\nlocation = \"HERE/ssd2\"\n");
    let text = std::fs::read_to_string(bench.path("bk.toml")).unwrap();
    let full = text.replace("/ssd\"\n", "/ssd\"\nmin-free = \"9000TiB\"\n");
    assert_ne!(full, text);
    std::fs::write(bench.path("bk.toml"), full.split("[repository.ssd2]").next().unwrap()).unwrap();
    std::fs::write(bench.path("source/more"), bytes(7, 3_000_000)).unwrap();
    let said = bench.expect(7, &["backup", "wiki"]);
    assert!(said.contains("ssd IS BEHIND"), "{said}");
    assert!(said.contains("is complete in usb") && said.contains("is in far too"), "{said}");
    assert_eq!(bench.ids("ssd").len(), 1);
    for repository in ["usb", "far"] {
        assert_eq!(bench.ids(repository).len(), 2);
        bench.restores(repository);
    }
}

#[test]
fn a_repository_of_another_family_is_backed_up_on_its_own() {
    let bench = Bench::new(false);
    bench.expect(0, &["init"]);
    bench.configure("[repository.strange]\nlocation = \"HERE/strange\"\n");
    // The same key file opens it, but its keys are its own.
    let alone = "[family]\nkey-file = \"HERE/key\"\n[repository.strange]\nlocation = \"HERE/strange\"\n";
    std::fs::write(bench.path("alone.toml"), alone.replace("HERE", bench.folder.path().to_str().unwrap())).unwrap();
    bench.expect(0, &["--config", bench.path("alone.toml").to_str().unwrap(), "init"]);
    let said = bench.expect(0, &["backup", "wiki"]);
    assert!(said.contains("is complete in ssd") && said.contains("is in usb too"), "{said}");
    assert!(said.contains("is complete in strange"), "{said}");
    bench.restores("strange");
    let said = bench.expect(1, &["copy", "--from", "ssd", "--to", "strange"]);
    assert!(said.contains("is no sibling of"), "{said}");
}

#[test]
fn damaged_packs_are_not_handed_on_and_what_can_be_read_of_them_is() {
    let bench = Bench::new(false);
    bench.expect(0, &["init"]);
    bench.expect(0, &["--repo", "ssd", "backup", "wiki"]);
    // One byte in the largest pack: what lies in other segments can be read.
    let packs = files(&bench.path("ssd/packs"));
    let (name, mut contents) = packs.into_iter().max_by_key(|(_, contents)| contents.len()).unwrap();
    let at = contents.len() / 2;
    contents[at] ^= 1;
    let path = bench.path("ssd/packs").join(name);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, contents).unwrap();
    let said = bench.expect(5, &["copy", "--to", "usb"]);
    assert!(said.contains("is damaged in") && said.contains("the segment at byte"), "{said}");
    assert!(bench.ids("usb").is_empty(), "a snapshot that lacks something must not be put");
    // The next backup to both reads the source for the one that has nothing.
    bench.expect(0, &["--repo", "usb", "backup", "wiki"]);
    bench.restores("usb");
    bench.expect(0, &["--repo", "usb", "check", "--read-data"]);
}

#[test]
fn a_bare_machine_opens_the_bucket_with_what_the_recovery_kit_says() {
    let bench = Bench::new(true);
    bench.expect(0, &["init"]);
    bench.expect(0, &["backup", "wiki"]);
    let page = bench.expect(0, &["key", "recovery-kit"]);
    let start = |line: &&str| line.trim_start().starts_with("bk-key-1-");
    let key: Vec<&str> = page.lines().skip_while(|line| !start(line)).take(3).collect();
    std::fs::write(bench.path("recovery.key"), key.join("\n")).unwrap();
    let bare = bench.path("bare");
    std::fs::create_dir(&bare).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_bk")).parent().unwrap();
    let said = |line: &&str| line.starts_with("export ") || line.starts_with("bk --repo s3://");
    let script: Vec<&str> = page.lines().map(str::trim).filter(said).collect();
    assert_eq!(script.len(), 5, "{page}");
    let script = script
        .join("\n")
        .replace("KEY_ID=...", &format!("KEY_ID={}", bench::s3_server::KEY_ID))
        .replace("ACCESS_KEY=...", &format!("ACCESS_KEY={}", bench::s3_server::SECRET))
        .replace("/tmp/restore", bench.path("back").to_str().unwrap());
    let mut shell = std::process::Command::new("sh");
    shell.args(["-euc", &script]).env_clear().current_dir(bench.folder.path());
    shell.env("PATH", format!("{}:/usr/bin:/bin", program.display())).env("HOME", &bare).env("BK_DATA_DIR", &bare);
    let output = shell.env("BK_CONFIG", "/dev/null").output().unwrap();
    assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
    let restored = bench.path("back/wiki").join(bench.path("source").strip_prefix("/").unwrap());
    assert_eq!(files(&restored), files(&bench.path("source")));
}

//! A repair as its user meets it: the plan, the question, the outcome, and what to run next.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::keep::CONFIG;
use super::{Bench, text, words};

/// All of this was said.
fn says(said: &str, expected: &[&str]) {
    for part in expected {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

/// A repository with a snapshot, in two places.
fn two() -> Bench {
    let bench = Bench::new();
    bench.configure(&CONFIG.replace("to = [\"ssd\"]", "to = [\"ssd\", \"usb\"]"));
    bench.with(0, &["init"]);
    bench.with(0, &["backup", "wiki"]);
    bench
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_healthy_repository_has_nothing_to_repair_and_stays_byte_for_byte() {
    let bench = two();
    let before = bench.files("ssd");
    for form in ["index", "packs", "snapshots"] {
        for more in [&[][..], &["--yes"], &["--dry-run"], &["--json"]] {
            let (out, _) = bench.with(0, &[&["-r", "ssd", "repair", form], more].concat());
            assert!(out.contains("nothing to repair") || out.contains("\"changed\":false"), "{out}");
        }
    }
    let (out, _) = bench.with(0, &["-r", "ssd", "repair", "quarantine"]);
    says(&out, &["nothing to show"]);
    assert_eq!(bench.files("ssd"), before);
}

#[test]
fn without_a_terminal_the_plan_is_shown_and_nothing_is_done_unless_one_said_yes() {
    let bench = two();
    let index = files(&bench.path("ssd/index"))[0].clone();
    flip(&index, 60);
    let before = bench.files("ssd");
    let (out, err) = bench.with(2, &["-r", "ssd", "repair", "index"]);
    says(&out, &["damaged: index/", "do not match its name", "moved to quarantine", "2 packs"]);
    says(&err, &["nothing was changed", "no terminal", "--yes"]);
    let (out, _) = bench.with(5, &["-r", "ssd", "repair", "index", "--dry-run"]);
    says(&out, &["damaged: index/"]);
    let planned = bench.lines(5, &["-r", "ssd", "repair", "index", "-n"]).pop().unwrap();
    assert_eq!((&planned["message_type"], &planned["packs"]), (&"plan".into(), &2.into()), "{planned}");
    for refused in ["packs", "snapshots"] {
        let (_, err) = bench.with(5, &["-r", "ssd", "repair", refused, "--yes"]);
        says(&err, &["nothing is repaired", "bk repair index"]);
    }
    assert_eq!(bench.files("ssd"), before);
    let (out, _) = bench.with(0, &["-r", "ssd", "repair", "index", "--yes"]);
    says(&out, &["1 index object put and read back", "1 object is in quarantine", "next: `bk check --read-data`"]);
    bench.with(0, &["-r", "ssd", "check", "--read-data"]);
    let (out, _) = bench.with(0, &["-r", "ssd", "repair", "quarantine"]);
    says(&out, &["index/", "taken out 20", "why: its bytes do not match its name"]);
}

#[test]
fn a_damaged_pack_comes_from_the_sibling_and_goes_to_quarantine_from_which_it_comes_back() {
    let bench = two();
    let pack = files(&bench.path("ssd/packs"))[0].clone();
    flip(&pack, 100);
    let damaged = std::fs::read(&pack).unwrap();
    let (out, _) = bench.with(5, &["-r", "ssd", "repair", "packs", "-n"]);
    says(&out, &["damaged: packs/", "the whole pack comes from usb"]);
    let (out, _) = bench.with(0, &["-r", "ssd", "repair", "packs", "--yes"]);
    says(&out, &["1 of them as they are in a sibling", "all is there again"]);
    assert!(!pack.exists());
    bench.with(0, &["-r", "ssd", "check", "--read-data"]);
    let name = pack.file_name().unwrap().to_str().unwrap();
    bench.with(2, &["-r", "ssd", "repair", "quarantine", "--put-back", name]);
    let (out, _) = bench.with(0, &["-r", "ssd", "repair", "quarantine", "--put-back", name, "--yes"]);
    says(&out, &["is in its place again"]);
    assert_eq!(std::fs::read(&pack).unwrap(), damaged);
    bench.with(0, &["-r", "ssd", "repair", "packs", "--yes", "--from", "usb", &name[..12]]);
    // Kept until it is old, and until one has said yes.
    let (out, _) = bench.with(0, &["-r", "ssd", "repair", "quarantine", "--remove-older", "30d"]);
    says(&out, &["nothing to delete"]);
    bench.with(2, &["-r", "ssd", "repair", "quarantine", "--remove-older", "0d"]);
    let (out, _) = bench.with(0, &["-r", "ssd", "repair", "quarantine", "--remove-older", "0d", "--yes"]);
    says(&out, &["1 object deleted for good"]);
    assert!(files(&bench.path("ssd/quarantine")).is_empty());
    bench.with(0, &["-r", "ssd", "check", "--read-data"]);
}

#[test]
fn what_nobody_has_is_named_and_the_next_backup_stores_it_anew() {
    let bench = two();
    std::fs::remove_dir_all(bench.path("usb")).unwrap();
    let is_data = |path: &PathBuf| std::fs::read(path).unwrap()[4] == 3;
    let pack = files(&bench.path("ssd/packs")).into_iter().find(is_data).unwrap();
    std::fs::write(&pack, "").unwrap();
    let (out, err) = bench.with(5, &["-r", "ssd", "repair", "packs", "--yes"]);
    says(&err, &["usb is not looked into"]);
    let out = words(&out);
    says(&out, &["LOST: nobody has them", "nothing was left", "its content is lost", "next: `bk backup` stores anew"]);
    assert!(out.contains("source/file"), "{out}");
    // Until then it is known to be lost: nothing more can be done with packs.
    let (out, _) = bench.with(5, &["-r", "ssd", "repair", "packs"]);
    says(&words(&out), &["no pack can be repaired", "nothing was changed"]);
    let (out, _) = bench.with(5, &["-r", "ssd", "repair", "snapshots", "-n"]);
    says(&out, &["stands for", "marked incomplete"]);
    bench.with(0, &["-r", "ssd", "backup", "wiki"]);
    bench.with(0, &["-r", "ssd", "check", "--read-data"]);
    bench.with(0, &["-r", "ssd", "repair", "snapshots"]);
}

#[test]
fn a_snapshot_that_lost_a_file_for_good_is_replaced_and_says_for_which_it_stands() {
    let bench = two();
    std::fs::remove_dir_all(bench.path("usb")).unwrap();
    std::fs::remove_dir_all(bench.path("source/sub")).unwrap();
    std::fs::write(bench.path("source/file"), "other content now").unwrap();
    let backup = bench.run(&["-c", "bk.toml", "-r", "ssd", "backup", "wiki"]);
    assert!([Some(0), Some(9)].contains(&backup.status.code()), "{}", text(&backup.stderr));
    let mut packs = files(&bench.path("ssd/packs"));
    packs.sort_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
    // The data of the first backup.
    let is_data = |path: &PathBuf| std::fs::read(path).unwrap()[4] == 3;
    let pack = packs.into_iter().find(is_data).unwrap();
    std::fs::remove_file(pack).unwrap();
    let (out, _) = bench.with(5, &["-r", "ssd", "repair", "snapshots", "--yes"]);
    says(&out, &["stands for", "in quarantine", "next: `bk backup`"]);
    bench.with(0, &["-r", "ssd", "check", "--read-data"]);
    let (out, _) = bench.with(0, &["-r", "ssd", "repair", "snapshots"]);
    says(&out, &["nothing to repair"]);
}

#[test]
fn a_wrong_key_a_wrong_name_and_several_repositories_are_refused() {
    let bench = two();
    let (_, err) = bench.with(2, &["repair", "index"]);
    says(&err, &["several repositories", "--repo"]);
    let (_, err) = bench.with(2, &["-r", "ssd", "repair", "packs", "zz"]);
    says(&err, &["is not an identifier"]);
    let (_, err) = bench.with(2, &["-r", "ssd", "repair", "packs", "0123456789abcdef"]);
    says(&err, &["no pack of", "0123456789abcdef"]);
    let (_, err) = bench.with(2, &["-r", "ssd", "repair", "quarantine", "--put-back", "nothing"]);
    says(&err, &["nothing called `nothing` in quarantine"]);
    let (_, err) = bench.with(2, &["-r", "ssd", "repair", "packs", "--from", "nowhere"]);
    says(&err, &["nowhere"]);
    let key = bench.path("wrong-key");
    std::fs::write(&key, format!("bk-key-1-{}\n", "ab".repeat(32))).unwrap();
    let (_, err) = bench.with(12, &["-r", "ssd", "--key-file", key.to_str().unwrap(), "repair", "index"]);
    says(&err, &["wrong password or key"]);
}

/// A pair of terminals, without a crate: `script` gives one, where there is one.
#[test]
fn at_a_terminal_it_asks_and_anything_but_yes_changes_nothing() {
    let bench = two();
    flip(&files(&bench.path("ssd/index"))[0], 60);
    let before = bench.files("ssd");
    let answer = |answer: &str| {
        let command = format!("{} -c bk.toml -r ssd repair index", env!("CARGO_BIN_EXE_bk"));
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(bench.folder.path());
        script.env("HOME", bench.folder.path()).env("BK_DATA_DIR", bench.path("data"));
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = script.spawn().ok()?;
        std::io::Write::write_all(child.stdin.as_mut()?, format!("{answer}\n").as_bytes()).ok()?;
        let output = child.wait_with_output().ok()?;
        Some((output.status.code(), text(&output.stdout)))
    };
    let Some((code, said)) = answer("no") else {
        println!("skipped: there is no `script` program");
        return;
    };
    assert_eq!(code, Some(2), "{said}");
    says(&said, &["Type `yes` to go on", "not confirmed"]);
    assert_eq!(bench.files("ssd"), before);
    let (code, said) = answer("yes").unwrap();
    assert_eq!(code, Some(0), "{said}");
    bench.with(0, &["-r", "ssd", "check", "--read-data"]);
}

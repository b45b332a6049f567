//! `bk verify` of files: what comes back is compared, what does not is named, and nothing is left over.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use bk::format::node::NodeKind;

use super::keep::says;
use super::{Bench, text};

pub(super) const ONE: &str = r#"
[defaults]
scratch = "HERE/scratch"
[family]
key-file = "HERE/key"
[repository.ssd]
location = "HERE/ssd"
[profile.wiki]
paths = ["HERE/source"]
"#;

/// Bytes that do not compress.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Bench {
    /// One repository with a snapshot of the profile `wiki`.
    pub(super) fn verifiable(more: &str) -> Self {
        let bench = Self::configured(&format!("{ONE}{more}"));
        std::fs::write(bench.path("source/large"), noise(1, 300_000)).unwrap();
        bench.with(0, &["backup", "wiki"]);
        bench
    }

    /// Verifies; gives all that was said. Nothing is left in the scratch folder.
    #[track_caller]
    pub(super) fn verify(&self, code: i32, arguments: &[&str]) -> String {
        let (out, err) = self.with(code, &[&["verify"], arguments].concat());
        let left: Vec<_> = std::fs::read_dir(self.path("scratch")).into_iter().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        out + &err
    }

    #[track_caller]
    fn verify_says(&self, code: i32, arguments: &[&str], words: &[&str]) {
        let said = self.verify(code, arguments);
        for words in words {
            assert!(said.contains(words), "`{words}` is not in:\n{said}");
        }
    }

    /// What a listing says of the newest snapshot's verification.
    pub(super) fn proved(&self) -> serde_json::Value {
        self.lines(0, &["snapshots"])[0].as_array().unwrap().last().unwrap()["verification"].clone()
    }

    /// The packs, smallest first.
    fn packs(&self) -> Vec<PathBuf> {
        let mut packs: Vec<PathBuf> = self.files("ssd").into_iter().map(|(path, _)| path).collect();
        packs.retain(|path| path.starts_with(self.path("ssd/packs")));
        packs.sort_by_key(|path| path.metadata().unwrap().len());
        packs
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_sample_or_all_files_are_restored_compared_and_noted() {
    let bench = Bench::verifiable("");
    assert!(bench.proved().is_null());
    let whole = "all 3 files (300.8 KiB) restored and compared; 3 files also with this machine's own";
    bench.verify_says(0, &["wiki"], &[whole, "wiki restores; verified in"]);
    assert_eq!((&bench.proved()["files"], &bench.proved()["full"]), (&"all".into(), &true.into()));
    let (out, _) = bench.with(0, &["snapshots"]);
    assert!(out.contains(", verified just now"), "{out}");
    let id = bench.past("ssd").ids().pop().unwrap();
    let (out, _) = bench.with(0, &["snapshots", &id]);
    assert!(out.contains("verified") && out.contains("all files (300.8 KiB); took "), "{out}");
    let (out, _) = bench.with(0, &["status"]);
    assert!(out.contains("VERIFIED") && out.contains("just now, took "), "{out}");
    bench.verify_says(0, &["wiki", "--files", "all"], &[whole]);
    bench.verify_says(0, &["wiki", "--files", "1"], &["a sample of 1 file", "wiki restores"]);
    assert_eq!(bench.proved()["files"], "sample");
    let json = bench.lines(0, &["verify", "wiki"]).pop().unwrap();
    assert_eq!((&json["verified"], &json["files_read"], &json["code"]), (&true.into(), &3.into(), &0.into()));
    bench.verify_says(0, &["wiki", "--files", "none"], &["there was nothing to verify"]);
    // What was changed since is not what it was: this is no fault of the backup.
    std::fs::write(bench.path("source/file"), "changed").unwrap();
    std::fs::remove_file(bench.path("source/sub/other")).unwrap();
    for files in ["all", "2GiB"] {
        bench.verify_says(0, &["wiki", "--files", files], &["all 3 files", "; 1 file also with this machine's own"]);
    }
}

#[test]
fn what_is_meant_may_be_an_id_or_an_older_one_and_what_is_not_there_is_named() {
    let bench = Bench::verifiable("[profile.bare]\npaths = [\"HERE/nothing\"]\n");
    bench.with(0, &["backup", "wiki"]);
    let ids = bench.past("ssd").ids();
    for (word, id) in [("wiki", &ids[1]), ("wiki~1", &ids[0]), (&ids[0][..8], &ids[0]), ("latest", &ids[1])] {
        bench.verify_says(0, &[word], &[&format!("snapshot {} of wiki", &id[..8])]);
    }
    let (_, err) = bench.with(1, &["verify", "wikki"]);
    says(&err, &["there is no snapshot of profile `wikki`", "profiles with snapshots: wiki"]);
    let (_, err) = bench.with(2, &["verify", "wiki", "--files", "half"]);
    assert!(err.contains("`half` is no part of the files"), "{err}");
    // One that has no snapshot keeps none of the others from being verified, and gives the exit code.
    let (out, err) = bench.with(1, &["verify"]);
    assert!(out.contains("wiki restores; verified in") && err.contains("profile `bare`"), "{out}{err}");
    std::fs::rename(bench.path("key"), bench.path("key-of-mine")).unwrap();
    Command::new("sh").arg("-c").arg("head -c 40 key-of-mine >key").current_dir(bench.path("")).status().unwrap();
    let output = bench.run(&["-c", "bk.toml", "verify", "wiki"]);
    assert!(!output.status.success() && text(&output.stderr).contains("hint: "), "{}", text(&output.stderr));
}

#[test]
fn an_incomplete_snapshot_is_called_so() {
    let bench = Bench::verifiable("");
    let id = bench.past("ssd").put(60, |snapshot| {
        snapshot.outcome = bk::format::snapshot::Outcome::Incomplete;
        snapshot.problem_count = 2;
    });
    bench.verify_says(0, &[&id.to_string()], &["this snapshot is incomplete: 2 problems when it was made"]);
}

#[test]
fn a_file_of_this_machine_that_rotted_is_told_from_one_that_was_changed() {
    let bench = Bench::configured(&format!("{ONE}[profile.rot]\npaths = [\"HERE/one\", \"HERE/two\"]\n"));
    for (name, seed) in [("one", 1), ("two", 2)] {
        std::fs::write(bench.path(name), noise(seed, 70_000)).unwrap();
    }
    bench.with(0, &["backup", "rot"]);
    // Times and size of each file, and what was in the other.
    bench.past("ssd").put(0, |snapshot| {
        let [one, two] = &mut snapshot.roots[..] else { panic!() };
        std::mem::swap(&mut one.node.kind, &mut two.node.kind);
        snapshot.start.seconds += 1;
    });
    for files in ["all", "2GiB"] {
        let said = bench.verify(6, &["rot", "--files", files]);
        let differs = "it differs from the file on this machine at byte 0, although size and times are the same";
        assert!(said.contains(&format!("2 files DO NOT RESTORE: {differs}")), "{said}");
        assert!(["one", "two"].iter().all(|name| said.contains(bench.path(name).to_str().unwrap())), "{said}");
        assert!(said.contains("rot DOES NOT RESTORE as it should") && said.contains("next: "), "{said}");
    }
    assert!(bench.proved().is_null());
}

#[test]
fn damage_to_the_repository_names_the_files_or_folders_that_it_hits() {
    let bench = Bench::verifiable("");
    let packs = bench.packs();
    let damaged = |path: &PathBuf, check: &dyn Fn()| {
        let whole = std::fs::read(path).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        for damage in [Some(&bytes[..]), Some(&whole[..middle]), Some(b""), None] {
            match damage {
                Some(bytes) => std::fs::write(path, bytes).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
            check();
            assert!(bench.proved().is_null());
        }
        std::fs::write(path, whole).unwrap();
    };
    let large = bench.path("source/large");
    damaged(packs.last().unwrap(), &|| {
        for files in ["all", "2GiB"] {
            let said = bench.verify(6, &["wiki", "--files", files]);
            assert!(said.contains("NOT RESTORE: ") && said.contains(large.to_str().unwrap()), "{said}");
        }
    });
    damaged(&packs[0], &|| {
        let said = bench.verify(6, &["wiki"]);
        assert!(said.contains("a folder of it cannot be read") && said.contains("hint: "), "{said}");
    });
    bench.verify(0, &["wiki"]);
}

#[test]
fn a_repository_that_may_only_be_read_is_verified_and_what_cannot_be_noted_is_said() {
    if !is_root() {
        return eprintln!("skipped: only root can mount");
    }
    let bench = Bench::verifiable("");
    let inner = bench.bk(&["-c", "bk.toml", "verify", "wiki"]);
    let mut command = Command::new("unshare");
    let script = "mount --bind ssd ssd && mount -o remount,bind,ro ssd && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.current_dir(bench.path("")).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    if said.contains("ermission") && !said.contains("wiki restores") {
        return eprintln!("skipped: {said}");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("wiki restores; verified in") && said.contains("cannot be noted in ssd"), "{said}");
    assert!(bench.proved().is_null());
}

#[test]
fn files_that_are_hard_to_restore_are_no_false_alarm() {
    let odd = |bench: &Bench| {
        let script = "cd source && ln large again && ln -s large link && ln -s nowhere dangling && mkfifo pipe
            truncate -s 9M sparse && printf x | dd of=sparse bs=1 seek=5000000 conv=notrunc status=none
            cp large setuid && chmod 6755 setuid && cp large closed && chmod 0 closed && touch empty
            cp large 'a name
with \\ odd' && printf x >\"$(printf 'no\\377utf8')\" && mkdir -p deep/er && cp large deep/er/x && chmod 555 deep/er
            cp large attributes && { setfattr -n user.note -v mine attributes || true; }
            cp large acl && { setfacl -m u:1:r acl || true; } && touch -d 1950-01-01 empty";
        let made = Command::new("sh").args(["-ec", script]).current_dir(bench.path("")).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        // Needs a file system that knows it.
        let _ = std::fs::write(bench.path("source/fixed"), "fixed");
        let _ = Command::new("chattr").arg("+i").arg(bench.path("source/fixed")).output();
    };
    let bench = Bench::configured(ONE);
    std::fs::write(bench.path("source/large"), noise(1, 300_000)).unwrap();
    odd(&bench);
    let files = "all 14 files (";
    let all = |bench: &Bench, run: &dyn Fn(i32, &[&str]) -> String| {
        run(0, &["backup", "wiki"]);
        for files_of in ["all", "2GiB"] {
            let said = run(0, &["verify", "wiki", "--files", files_of]);
            assert!(said.contains(files) && said.contains("wiki restores; verified in"), "{said}");
            assert!(said.contains("; 14 files also with this machine's own") && !said.contains("warning"), "{said}");
        }
        // Parts of large files too.
        assert!(run(0, &["verify", "wiki", "--files", "2MiB"]).contains("a part of 1 large one"));
        let left: Vec<_> = std::fs::read_dir(bench.path("scratch")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    };
    all(&bench, &|code, arguments| {
        let (out, err) = bench.with(code, arguments);
        out + &err
    });
    let _ = Command::new("chattr").arg("-i").arg(bench.path("source/fixed")).output();
    if !is_root() {
        return;
    }
    // The same as somebody who is not root, and may not read what he has closed even for himself.
    let bench = Bench::configured(ONE);
    std::fs::write(bench.path("source/large"), noise(1, 300_000)).unwrap();
    odd(&bench);
    let _ = Command::new("chattr").arg("-i").arg(bench.path("source/fixed")).output();
    bench.with(0, &["backup", "wiki"]);
    assert!(
        Command::new("chown")
            .args(["-R", "--no-dereference", "65534:65534", "."])
            .current_dir(bench.path(""))
            .status()
            .unwrap()
            .success()
    );
    std::fs::set_permissions(bench.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    let inner = bench.bk(&["-c", "bk.toml", "verify", "wiki"]);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(inner.get_program());
    command.args(inner.get_args()).env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.current_dir(bench.path("")).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(files) && said.contains("wiki restores; verified in"), "{said}");
    assert_eq!(std::fs::metadata(bench.path("source/large")).unwrap().uid(), 65_534);
    assert_eq!(std::fs::read_dir(bench.path("scratch")).unwrap().count(), 0);
}

#[test]
fn a_sample_that_has_no_room_is_streamed_and_that_is_said() {
    if !is_root() {
        return eprintln!("skipped: only root can mount");
    }
    let bench = Bench::verifiable("");
    let inner = bench.bk(&["-c", "bk.toml", "verify", "wiki"]);
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o size=64k none scratch && \"$@\" && ls -A scratch";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.current_dir(bench.path("")).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    if said.contains("mount: ") || said.contains("unshare: ") {
        return eprintln!("skipped: {said}");
    }
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("has no room for a sample of 300.8 KiB, so it is only read and compared"), "{said}");
    assert!(said.contains("wiki restores; verified in") && !text(&output.stdout).contains("bk-drill"), "{said}");
}

#[test]
fn a_file_of_a_snapshot_that_is_none_any_more_is_no_reason_to_fail() {
    let bench = Bench::verifiable("");
    std::fs::remove_file(bench.path("source/large")).unwrap();
    std::fs::create_dir(bench.path("source/large")).unwrap();
    std::fs::remove_file(bench.path("source/file")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", bench.path("source/file")).unwrap();
    bench.verify_says(0, &["wiki"], &["all 3 files", "; 1 file also"]);
    let past = bench.past("ssd");
    let snapshots = past.snapshots();
    assert!(matches!(snapshots.all[0].snapshot.roots[0].node.kind, NodeKind::Directory { .. }));
}

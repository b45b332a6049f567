//! Repositories in restic's format: what the configuration may say of them, and what each command does with them.

use super::{Bench, text};

const PASSWORD: &str = "canary-Zq7-password";

const BOTH: &str = "[repository.ssd]\nlocation = \"HERE/ssd\"\n\
    [repository.escape]\nlocation = \"HERE/escape\"\nformat = \"restic\"\npassword-file = \"HERE/restic-password\"\n\
    keep = { last = 2 }\n[family]\npassword-file = \"HERE/password\"\n\
    [profile.docs]\nroot = \"HERE/source\"\nto = [\"escape\", \"ssd\"]\n";

impl Bench {
    fn with_escape() -> Self {
        let bench = Self::new();
        bench.tree(&[("password", "ours"), ("restic-password", PASSWORD)]);
        bench.configure(BOTH);
        let (out, _) = bench.configured_to(0, &["init"]);
        assert!(out.contains("ssd: made") && out.contains("escape: made"), "{out}");
        bench
    }

    fn configured_to(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let (out, err) = self.expect(code, &[&["-c", "bk.toml"], arguments].concat());
        assert!(!out.contains(PASSWORD) && !err.contains(PASSWORD), "the password is shown:\n{out}{err}");
        (out, err)
    }

    fn snapshots_of(&self, repository: &str) -> Vec<serde_json::Value> {
        let (out, _) = self.configured_to(0, &["--repo", repository, "--json", "snapshots"]);
        let all: serde_json::Value = serde_json::from_str(&out).unwrap();
        all.as_array().unwrap().clone()
    }
}

#[test]
fn a_backup_goes_to_the_others_first_and_is_exported_then() {
    let bench = Bench::with_escape();
    let (out, _) = bench.configured_to(0, &["backup", "docs"]);
    let (ours, theirs) = (out.find("is complete in ssd").unwrap(), out.find("in escape, which grew by").unwrap());
    assert!(ours < theirs, "{out}");
    let (out, _) = bench.configured_to(0, &["backup", "docs", "--skip-if-unchanged"]);
    assert!(!out.contains("in escape"), "nothing is exported twice: {out}");
    assert_eq!((bench.snapshots_of("ssd").len(), bench.snapshots_of("escape").len()), (1, 1));
    bench.configured_to(0, &["--repo", "escape", "restore", "latest", "--to", "out"]);
    let restored = bench.path("out/docs").join(bench.path("source/file").strip_prefix("/").unwrap());
    assert_eq!(std::fs::read(restored).unwrap(), std::fs::read(bench.path("source/file")).unwrap());
    let (out, _) = bench.configured_to(0, &["check", "--read-data"]);
    assert!(out.contains("escape is whole"), "{out}");
    let (out, _) = bench.configured_to(0, &["--json", "status"]);
    assert!(out.contains("\"escape\"") && !out.contains("behind"), "{out}");
}

#[test]
fn a_night_exports_forgets_by_the_rules_of_the_repository_and_prunes_it() {
    let bench = Bench::with_escape();
    for night in 0..4 {
        std::fs::write(bench.path("source/file"), format!("night {night}\n").repeat(500)).unwrap();
        bench.configured_to(0, &["run", "docs"]);
    }
    // The newest 3 complete ones always stay.
    assert_eq!((bench.snapshots_of("ssd").len(), bench.snapshots_of("escape").len()), (4, 3));
    let newest = |repository: &str| bench.snapshots_of(repository).last().unwrap()["time"].clone();
    assert_eq!(newest("ssd"), newest("escape"));
    bench.configured_to(0, &["--repo", "escape", "check", "--read-data"]);
    let (out, _) = bench.configured_to(0, &["export", "escape"]);
    assert!(out.contains("escape has all that it should have"), "what was forgotten does not come back: {out}");
    let oldest = bench.snapshots_of("ssd")[0]["id"].as_str().unwrap()[..8].to_owned();
    bench.configured_to(0, &["pin", &oldest]);
    bench.configured_to(0, &["export", "escape"]);
    assert_eq!(bench.snapshots_of("escape").len(), 4, "pinned in ssd");
    bench.configured_to(0, &["forget"]);
    assert_eq!(bench.snapshots_of("escape").len(), 4, "what is pinned in ssd stays in escape");
}

#[test]
fn a_repository_that_cannot_be_exported_to_is_behind_and_loses_no_backup() {
    let bench = Bench::with_escape();
    std::fs::rename(bench.path("escape"), bench.path("away")).unwrap();
    let (out, err) = bench.configured_to(7, &["backup", "docs"]);
    assert!(out.contains("is complete in ssd"), "{out}");
    assert!(err.contains("escape IS BEHIND") && err.contains("bk export escape"), "{err}");
    let (out, _) = bench.configured_to(8, &["status", "--offline"]);
    assert!(out.contains("NO COMPLETE BACKUP"), "it never had one: {out}");
    std::fs::rename(bench.path("away"), bench.path("escape")).unwrap();
    std::fs::write(bench.path("restic-password"), "wrong").unwrap();
    let (_, err) = bench.configured_to(7, &["backup", "docs"]);
    assert!(err.contains("escape IS BEHIND: wrong password"), "{err}");
    bench.tree(&[("restic-password", PASSWORD)]);
    bench.configured_to(0, &["backup", "docs"]);
    assert_eq!((bench.snapshots_of("ssd").len(), bench.snapshots_of("escape").len()), (3, 3), "caught up");
}

#[test]
fn what_only_repositories_of_bk_have_refuses_one_of_restic_and_passes_it_over_among_all() {
    let bench = Bench::with_escape();
    bench.configured_to(0, &["backup", "docs"]);
    for arguments in [
        &["pin", "latest"][..],
        &["accept", "latest"],
        &["key", "list"],
        &["repair", "index"],
        &["verify", "latest"],
        &["backup", "./source"],
        &["check", "--no-key"],
        &["export", "ssd"],
    ] {
        let (_, err) = bench.configured_to(2, &[&["--repo", "escape"], arguments].concat());
        assert!(err.contains("restic's format") && err.contains("hint:"), "{arguments:?}: {err}");
    }
    for (arguments, word) in [
        (&["copy", "--to", "escape"][..], "bk export"),
        (&["copy", "--from", "escape"], "bk import"),
        (&["export", "ssd"], "restic:"),
    ] {
        let (_, err) = bench.configured_to(2, arguments);
        assert!(err.contains(word), "{arguments:?}: {err}");
    }
    for arguments in [&["pin", "latest"][..], &["key", "list"], &["check", "--no-key"], &["doctor"]] {
        bench.configured_to(0, arguments);
    }
}

#[test]
fn reading_takes_a_repository_of_bk_while_one_can_be_read() {
    let bench = Bench::with_escape();
    bench.configured_to(0, &["backup", "docs"]);
    let (_, err) = bench.configured_to(0, &["ls", "latest"]);
    assert!(err.contains("reading from ssd"), "{err}");
    std::fs::rename(bench.path("ssd"), bench.path("lost")).unwrap();
    let (out, err) = bench.configured_to(0, &["ls", "latest"]);
    assert!(err.contains("reading from escape") && out.contains("source/file"), "{out}{err}");
}

#[test]
fn an_export_makes_the_repository_says_what_it_would_do_and_is_not_done_twice() {
    let bench = Bench::new();
    bench.tree(&[("restic-password", PASSWORD)]);
    bench.expect(0, &["backup", "./source"]);
    let place = "restic:./there";
    let (_, err) = bench.expect(2, &["export", place]);
    assert!(err.contains("no new password") && err.contains("--restic-password-file"), "{err}");
    let flag = ["--restic-password-file", "restic-password"];
    let (out, err) = bench.expect(0, &[&["export", place, "-n"], &flag[..]].concat());
    assert!(out.contains("1 snapshot would be exported") && err.contains("would be made"), "{out}{err}");
    assert!(!bench.path("there").exists());
    let (out, _) = bench.expect(0, &[&["export", place], &flag[..]].concat());
    assert!(out.contains("got 1 snapshot"), "{out}");
    let (out, _) = bench.expect(0, &[&["--json", "export", place], &flag[..]].concat());
    let summary: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((summary["snapshots"].as_array().unwrap().len(), &summary["there"]), (0, &1.into()));
    let (_, err) = bench.expect(2, &[&["export", "./there"], &flag[..]].concat());
    assert!(err.contains("`restic:` before the location"), "{err}");
    // Of the environment as restic reads it, and of the flag of commands that only read.
    for (name, value) in [
        ("RESTIC_PASSWORD", PASSWORD),
        ("RESTIC_PASSWORD_FILE", "restic-password"),
        ("RESTIC_PASSWORD_COMMAND", "cat restic-password"),
    ] {
        let output = bench.bk(&["--repo", place, "snapshots"]).env(name, value).output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    }
    bench.expect(0, &["--repo", place, "--password-file", "restic-password", "snapshots"]);
    let output = bench.bk(&["--repo", place, "snapshots"]).env("RESTIC_PASSWORD", "wrong").output().unwrap();
    assert_eq!(output.status.code(), Some(12), "{}", text(&output.stderr));
    bench
        .expect(10, &[&["--repo", "restic:./none", "--password-file"], &["restic-password", "snapshots"][..]].concat());
}

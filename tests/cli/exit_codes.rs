//! Every way of ending has its own exit code, names the object and the next step, and is never a false success.

use super::{Bench, text};

fn damage(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_backup_a_restore_and_a_check_without_trouble_are_0() {
    let bench = Bench::new();
    let (out, _) = bench.expect(0, &["backup", "./source"]);
    assert!(out.contains("is complete"), "{out}");
    bench.expect(0, &["check", "--read-data"]);
    bench.expect(0, &["restore", "latest", "--to", "out", "--verify"]);
    let restored = bench.path("out/source").join(bench.path("source/file").strip_prefix("/").unwrap());
    assert_eq!(std::fs::read(restored).unwrap(), std::fs::read(bench.path("source/file")).unwrap());
}

#[test]
fn what_cannot_be_tried_is_1() {
    let bench = Bench::new();
    let (_, err) = bench.expect(1, &["backup", "./missing"]);
    assert!(err.contains("missing") && err.contains("hint:"), "{err}");
    bench.expect(0, &["backup", "./source"]);
    std::fs::write(bench.path("blocked"), "a file").unwrap();
    bench.expect(1, &["restore", "latest", "--to", "blocked/below"]);
    bench.expect(1, &["restore", "nobody", "--to", "out"]);
    bench.expect(1, &["restore", "ffffffff", "--to", "out"]);
    assert!(!bench.path("out/source").exists());
}

#[test]
fn mistakes_on_the_command_line_and_in_the_configuration_are_2() {
    let bench = Bench::new();
    std::fs::write(bench.path("bad.toml"), "[profile.x]\npathz = ['/x']\n").unwrap();
    for (arguments, named) in [
        (&["backup"][..], "nothing to back up"),
        (&["backup", "wiki"], "wiki"),
        (&["backup", "source"], "./source"),
        (&["backup", "--stdin"], "--name"),
        (&["bakcup"], "backup"),
        (&["restore", "latest"], "--to"),
        (&["restore", "latest", "--in-place"], "--yes"),
        (&["restore", "./x", "--to", "out"], "snapshot"),
        (&["--config", "bad.toml", "backup", "./source"], "paths"),
        (&["--config", "none.toml", "backup", "./source"], "none.toml"),
        (&["--repo", "s3://bucket/x", "snapshots"], "s3://"),
        (&["--repo", "nowhere", "snapshots"], "nowhere"),
    ] {
        let (_, err) = bench.expect(2, arguments);
        assert!(err.contains(named), "{arguments:?} does not name `{named}`:\n{err}");
    }
    assert!(!bench.path("data").exists(), "a mistake made a repository");
}

#[test]
fn a_missing_root_beside_others_is_3_and_is_named() {
    let bench = Bench::new();
    let (out, err) = bench.expect(3, &["backup", "./source", "./missing"]);
    assert!(out.contains("INCOMPLETE") && err.contains("missing"), "{out}{err}");
    let (out, _) = bench.expect(3, &["--json", "backup", "./source", "./missing"]);
    let summary: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["outcome"], &summary["problem_count"]), (&"incomplete".into(), &1.into()));
}

#[test]
fn no_file_where_there_were_some_is_3() {
    let bench = Bench::new();
    bench.expect(0, &["backup", "./source"]);
    std::fs::remove_dir_all(bench.path("source")).unwrap();
    std::fs::create_dir(bench.path("source")).unwrap();
    let (_, err) = bench.expect(3, &["backup", "./source"]);
    assert!(err.contains("not one file"), "{err}");
}

#[test]
fn a_program_that_fails_is_4_and_leaves_no_snapshot() {
    let bench = Bench::new();
    let dump = |code: i32, script: &str| {
        bench.expect(code, &["backup", "--name", "db.sql", "--command", "--", "sh", "-c", script])
    };
    let (_, err) = dump(4, "echo half; echo it broke >&2; exit 3");
    assert!(err.contains("it broke") && err.contains("no snapshot"), "{err}");
    dump(4, "echo half; kill -9 $$");
    assert!(bench.objects("snapshots").is_empty());
    dump(0, "echo whole");
    assert_eq!(bench.objects("snapshots").len(), 1);
    let (_, err) = bench.expect(4, &["backup", "--name", "x", "--command", "--", "no-such-program"]);
    assert!(err.contains("no-such-program"), "{err}");
}

#[test]
fn damage_is_5_in_check_and_in_restore_and_other_files_come_back() {
    let bench = Bench::new();
    std::fs::write(
        bench.path("source/noise"),
        (0..3_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<_>>(),
    )
    .unwrap();
    bench.expect(0, &["backup", "./source"]);
    let largest = bench.objects("packs").into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    damage(&largest);
    let (out, err) = bench.expect(5, &["check", "--read-data"]);
    assert!(format!("{out}{err}").contains("noise"), "the file that is affected is not named:\n{out}{err}");
    let (_, err) = bench.expect(5, &["restore", "latest", "--to", "out"]);
    assert!(err.contains("noise"), "{err}");
    let below = bench.path("out/source").join(bench.path("source").strip_prefix("/").unwrap());
    assert!(below.join("sub/other").exists() && !below.join("noise").exists());
}

#[test]
fn a_missing_repository_is_10_and_a_wrong_key_12() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("empty")).unwrap();
    bench.expect(10, &["--repo", "./empty", "snapshots"]);
    bench.expect(10, &["snapshots"]);
    bench.expect(0, &["backup", "./source"]);
    std::fs::write(bench.path("other.key"), format!("bk-key-1-{}\n", "00".repeat(32))).unwrap();
    bench.expect(12, &["--key-file", "other.key", "snapshots"]);
    bench.expect(12, &["--key-file", "absent.key", "snapshots"]);
    let output = bench.bk(&["snapshots"]).env("BK_PASSWORD", "wrong").output().unwrap();
    assert_eq!(output.status.code(), Some(12), "{}", text(&output.stderr));
}

#[test]
fn a_closed_pipe_is_not_a_panic() {
    let bench = Bench::new();
    bench.expect(0, &["backup", "./source"]);
    let script = format!("{} snapshots | true; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_bk"));
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .env("BK_DATA_DIR", bench.path("data"))
        .output()
        .unwrap();
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
}

#[test]
fn the_readme_explains_every_code_there_is() {
    use bk::ui::Exit;
    let readme = include_str!("../../README.md");
    let table = &readme[readme.find("## How a run ends").unwrap()..];
    let rows =
        table.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let codes: Vec<String> = rows.map(|row| row.split('|').nth(1).unwrap().trim().to_owned()).collect();
    assert_eq!(codes, Exit::ALL.map(|exit| exit.code().to_string()));
}

//! What happens every night, at the machine's own time: `bk run`, what it leaves for `bk status` and monitoring, who is
//! told, one run at a time, `bk daemon`, and a signal in every phase.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "../support/several.rs"]
mod several;

mod checks;
mod daemon;
mod locks;
mod numbers;
mod signals;
mod status;
mod told;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use several::Bench;

/// Two profiles in two folders, `wiki` and `shop`, the second of which fails while there is a file `broken`; everybody
/// who is told anything writes it down in `told`.
const TWO: &str = "[defaults]\nto = [\"ssd\", \"usb\"]\n[profile.shop]\nroot = \"HERE/shop\"\n\
    [[profile.shop.before]]\nrun = [\"test\", \"!\", \"-e\", \"HERE/broken\"]\n";
const TOLD: &str = "[notify.own]\nkind = \"program\"\n\
    command = [\"sh\", \"-c\", \"cat >>HERE/told; echo >>HERE/told\"]\n\
    on = [\"failed\", \"damage\", \"incomplete\", \"anomaly\", \"overdue\", \"behind\", \"recovered\", \"complete\"]\n";

/// A machine with both profiles and its repositories.
fn two(more: &str) -> Bench {
    let bench = Bench::of_files(false, 3000);
    std::fs::create_dir(bench.path("shop")).unwrap();
    std::fs::write(bench.path("shop/orders"), several::bytes(7, 5000)).unwrap();
    bench.configure(&format!("{TWO}{TOLD}{more}"));
    bench.expect(0, &["init"]);
    bench
}

/// What has been told since this was asked last.
fn told(bench: &Bench) -> Vec<Value> {
    let path = bench.path("told");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Events with the profile or repository that they are about, of all that was told.
fn events(told: &[Value]) -> Vec<String> {
    let entries = told.iter().flat_map(|notice| notice["entries"].as_array().unwrap());
    let name = |entry: &Value| entry["profile"].as_str().or(entry["repository"].as_str()).unwrap_or("-").to_owned();
    entries.map(|entry| format!("{} {}", entry["event"].as_str().unwrap(), name(entry))).collect()
}

/// A hook of one's own.
fn hook(bench: &Bench, name: &str, script: &str) {
    let folder = bench.path("hooks");
    std::fs::create_dir_all(&folder).unwrap();
    executable(&folder.join(name), script);
}

fn executable(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn one_profile_that_fails_does_not_stop_the_others_and_the_worst_gives_the_exit_code() {
    let bench = two("");
    std::fs::write(bench.path("broken"), "").unwrap();
    let lines = bench.json(4, &["run"]);
    let run = lines.iter().find(|line| line["message_type"] == "run").unwrap();
    let of = |name: &str| run["profiles"].as_array().unwrap().iter().find(|one| one["profile"] == name).unwrap();
    assert_eq!((of("wiki")["code"].as_u64(), of("shop")["code"].as_u64()), (Some(0), Some(4)));
    assert!(of("shop")["message"].as_str().unwrap().contains("exit code 1"), "{run}");
    for repository in ["ssd", "usb"] {
        assert_eq!(bench.ids(repository).len(), 1, "wiki alone");
    }
    assert_eq!(run["pruned"].as_array().unwrap().len(), 2);
    std::fs::remove_file(bench.path("broken")).unwrap();
    bench.expect(0, &["run"]);
    assert_eq!(bench.ids("usb").len(), 3, "without schedules all of them are due");
    bench.expect(0, &["run", "shop"]);
    assert_eq!(bench.ids("usb").len(), 4);
}

#[test]
fn what_is_due_is_run_once_and_what_is_not_is_named_with_its_time() {
    let bench = two("[schedule]\nrun = \"30 2 * * *\"\n");
    let shown = bench.expect(0, &["run", "--dry-run"]);
    assert!(shown.starts_with("due: shop\ndue: wiki\nnext: shop at "), "{shown}");
    assert!(bench.ids("ssd").is_empty());
    bench.expect(0, &["run"]);
    let shown = bench.expect(0, &["run"]);
    assert!(shown.starts_with("nothing is due\nnext: shop at ") && shown.contains(" 02:30:00"), "{shown}");
    assert_eq!(bench.ids("ssd").len(), 2);
    bench.expect(0, &["run", "--all"]);
    assert_eq!(bench.ids("ssd").len(), 4);
    bench.configure(
        &format!("{TWO}schedule = \"never\"\n[schedule]\nrun = \"30 2 * * *\"\n")
            .replace("[[profile.shop.before]]\nrun = [\"test\", \"!\", \"-e\", \"HERE/broken\"]\n", ""),
    );
    let shown = bench.expect(0, &["run", "--dry-run"]);
    assert!(!shown.contains("shop"), "by hand only: {shown}");
}

#[test]
fn without_a_configuration_there_is_nothing_to_run_and_that_is_said() {
    let bench = two("");
    std::fs::write(bench.path("bk.toml"), "").unwrap();
    let said = bench.expect(2, &["run"]);
    assert!(said.contains("there is no profile to run") && said.contains("bk profile new"), "{said}");
}

#[test]
fn old_snapshots_are_forgotten_only_where_the_backup_worked() {
    let bench = two("");
    bench.configure(&format!(
        "{TWO}[profile.wiki.keep]\nssd = {{ last = 1 }}\nusb = {{ last = 1 }}\n[profile.shop.keep]\nssd = {{ last = 1 }}\n"
    ));
    for _ in 0..5 {
        bench.expect(0, &["run"]);
    }
    // The newest 3 complete ones always stay; in usb nothing of shop is older than 30 days.
    assert_eq!((bench.ids("ssd").len(), bench.ids("usb").len()), (6, 8));
    bench.expect(0, &["backup", "shop"]);
    std::fs::write(bench.path("broken"), "").unwrap();
    bench.expect(4, &["run", "shop"]);
    assert_eq!(bench.ids("ssd").len(), 7, "nothing was forgotten: the run failed");
    bench.expect(0, &["run", "wiki", "--keep-all"]);
    assert_eq!(bench.ids("ssd").len(), 8, "nothing was to be forgotten");
}

#[test]
fn phases_are_told_with_v_and_files_with_vv() {
    let bench = two("");
    let said = bench.expect(0, &["backup", "wiki"]);
    assert!(!said.contains("backup: ") && !said.contains("new /"), "{said}");
    std::fs::write(bench.path("source/text"), "changed").unwrap();
    let said = bench.expect(0, &["-v", "backup", "wiki"]);
    assert!(said.contains("backup: backing up") && !said.contains("source/text"), "{said}");
    std::fs::write(bench.path("source/text"), "changed again").unwrap();
    std::fs::write(bench.path("source/young"), "x").unwrap();
    let said = bench.expect(0, &["-vv", "backup", "wiki"]);
    let [changed, new] = ["changed", "new"].map(|what| {
        format!("{what} {}\n", bench.path(if what == "new" { "source/young" } else { "source/text" }).display())
    });
    assert!(said.contains(&changed) && said.contains(&new), "{said}");
    assert!(!said.contains("sub/3"), "what is as it was is not told: {said}");
}

#[test]
fn the_journal_is_told_how_much_each_line_matters() {
    use std::os::unix::fs::MetadataExt as _;
    let bench = two("");
    let log = bench.path("log");
    let file = std::fs::File::create(&log).unwrap();
    let stream = format!("{}:{}", file.metadata().unwrap().dev(), file.metadata().unwrap().ino());
    let mut command = bench.bk(&["run", "nothing"]);
    command.env("JOURNAL_STREAM", &stream).stderr(file.try_clone().unwrap()).status().unwrap();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.lines().all(|line| line.starts_with("<3>")) && said.contains("<3>  hint: "), "{said}");
    bench.bk(&["run", "wiki"]).env("JOURNAL_STREAM", &stream).stderr(file).status().unwrap();
    assert!(std::fs::read_to_string(&log).unwrap().contains("<6>wiki:\n"));
    // Whoever inherits the variable but not the stream is no journal.
    let other = std::fs::File::create(bench.path("other")).unwrap();
    bench.bk(&["run", "nothing"]).env("JOURNAL_STREAM", &stream).stderr(other).status().unwrap();
    assert!(std::fs::read_to_string(bench.path("other")).unwrap().starts_with("error: "));
}

#[test]
fn a_run_gives_way_to_whatever_else_the_machine_does() {
    let bench = two("");
    let look = "nice >HERE/nice; cat /proc/self/oom_score_adj >HERE/oom; ionice >HERE/io";
    let before = format!("[[profile.wiki.before]]\nrun = [\"sh\", \"-c\", \"{look}\"]\n");
    bench.configure(&format!("{TWO}{before}[schedule]\nnice = 7\nio = \"idle\"\n"));
    let seen = |name: &str| std::fs::read_to_string(bench.path(name)).unwrap().trim().to_owned();
    bench.expect(0, &["backup", "wiki"]);
    assert_ne!(seen("io"), "idle", "by hand somebody waits for it");
    bench.expect(0, &["run", "wiki"]);
    // Programs that it starts inherit all three.
    assert_eq!((seen("nice"), seen("oom"), seen("io")), ("7".into(), "500".into(), "idle".into()));
}

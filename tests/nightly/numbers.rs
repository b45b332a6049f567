//! The numbers for monitoring: written by every operation, and understood by the real promtool.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::two;

const METRICS: &str = "[metrics]\ntextfile = \"HERE/bk.prom\"\n";

/// The value of a metric with these labels.
fn value(text: &str, start: &str) -> Option<f64> {
    text.lines()
        .find(|line| line.starts_with(start))
        .and_then(|line| line.rsplit(' ').next())
        .map(|n| n.parse().unwrap())
}

fn promtool(arguments: &[&str], stdin: &str) -> String {
    let mut command = Command::new("promtool");
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus");
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn every_operation_writes_its_numbers() {
    let bench = two(METRICS);
    let text = || std::fs::read_to_string(bench.path("bk.prom")).unwrap();
    let did = |operation: &str, profile: &str| {
        let labels = format!("{{operation=\"{operation}\",profile=\"{profile}\",repository=\"ssd\"}}");
        value(&text(), &format!("bk_last_exit_code{labels}"))
    };
    bench.expect(0, &["backup", "wiki"]);
    assert_eq!(did("backup", "wiki"), Some(0.0));
    let files = value(&text(), "bk_files{operation=\"backup\",profile=\"wiki\",repository=\"usb\"}");
    assert_eq!(files, Some(21.0));
    let missing = value(&text(), "bk_status{profile=\"shop\",repository=\"ssd\",status=\"never\"}");
    assert_eq!(missing, Some(1.0));
    assert_eq!((did("check", ""), did("prune", ""), did("forget", "")), (None, None, None));
    bench.expect(0, &["check"]);
    assert_eq!(did("check", ""), Some(0.0));
    bench.expect(0, &["prune"]);
    assert_eq!(did("prune", ""), Some(0.0));
    bench.expect(0, &["forget"]);
    assert_eq!(did("forget", ""), Some(0.0));
    bench.expect(0, &["restore", "wiki", "--to", bench.path("back").to_str().unwrap()]);
    assert_eq!(did("restore", "wiki"), Some(0.0));
    bench.expect(0, &["copy", "--to", "ssd"]);
    assert_eq!(did("copy", ""), Some(0.0));
    std::fs::write(bench.path("broken"), "").unwrap();
    bench.expect(4, &["run"]);
    assert_eq!(did("backup", "shop"), Some(4.0));
    let well = value(&text(), "bk_last_success_timestamp_seconds{operation=\"backup\",profile=\"shop\"");
    assert_eq!(well, None);
    assert!(value(&text(), "bk_repository_bytes{repository=\"ssd\"}").unwrap() > 30_000.0);
    // The linter wants counters to end with _total, and finds none here.
    promtool(&["check", "metrics"], &text());
    let printed = bench.expect(0, &["status", "--prometheus"]);
    promtool(&["check", "metrics"], &printed);
    assert_eq!(value(&printed, "bk_snapshots{profile=\"wiki\",repository=\"usb\"}"), Some(2.0));
}

#[test]
fn the_alerts_are_right_for_prometheus_and_ring_when_they_should() {
    let bench = two("");
    let rules = bench.expect(0, &["config", "alerts"]);
    std::fs::write(bench.path("bk.yml"), &rules).unwrap();
    promtool(&["check", "rules", bench.path("bk.yml").to_str().unwrap()], "");
    // Each series, and the alert that it must ring after two hours, which no other one does.
    let labels = "instance=\"nas\",profile=\"wiki\",repository=\"b2\"";
    let status = |word: &str| format!("bk_status{{{labels},status=\"{word}\"}}");
    let cases = [
        (status("overdue"), "1x200", "BackupOverdue"),
        (status("failed"), "1x200", "BackupFailed"),
        (status("incomplete"), "1x200", "BackupIncomplete"),
        (status("anomaly"), "1x200", "BackupAnomaly"),
        (status("broken"), "1x200", "BackupBroken"),
        (format!("bk_last_exit_code{{operation=\"check\",{labels}}}"), "5x200", "RepositoryDamaged"),
        (format!("bk_complete_snapshot_timestamp_seconds{{{labels}}}"), "-100000x200", "BackupTooOld"),
        ("bk_metrics_timestamp_seconds{instance=\"nas\"}".to_owned(), "-200000x200", "BackupMetricsOld"),
        (format!("bk_last_success_timestamp_seconds{{operation=\"check\",{labels}}}"), "-900000x200", "CheckOverdue"),
    ];
    // What an alert says would be compared as well, so it is asked what rings.
    let rings = |alert: &str| format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})");
    let mut asked = "rule_files:\n  - bk.yml\nevaluation_interval: 1m\ntests:\n".to_owned();
    for (series, values, alert) in &cases {
        asked += &format!(
            "  - interval: 1m\n    input_series:\n      - series: '{series}'\n        values: '{values}'\n      \
             - series: 'bk_max_age_seconds{{instance=\"nas\",profile=\"wiki\"}}'\n        values: '93600x200'\n    \
             promql_expr_test:\n      - expr: '{}'\n        eval_time: 2h\n        exp_samples:\n          \
             - value: 1\n      - expr: 'count(ALERTS{{alertstate=\"firing\"}})'\n        eval_time: 2h\n        \
             exp_samples:\n          - value: 1\n",
            rings(alert)
        );
    }
    std::fs::write(bench.path("test.yml"), asked).unwrap();
    promtool(&["test", "rules", bench.path("test.yml").to_str().unwrap()], "");
}

#[test]
fn the_dashboard_asks_only_for_numbers_that_there_are() {
    let bench = two("");
    let dashboard: serde_json::Value = serde_json::from_str(&bench.expect(0, &["config", "dashboard"])).unwrap();
    let known: Vec<&str> = bk::metrics::names().iter().map(|(name, _)| *name).collect();
    let text = dashboard.to_string() + &bench.expect(0, &["config", "alerts"]);
    let mut asked = 0;
    for part in text.split(|one: char| !(one.is_ascii_lowercase() || one == '_')).filter(|part| part.starts_with("bk_"))
    {
        assert!(known.contains(&part), "{part}");
        asked += 1;
    }
    assert!(asked > 15, "{asked}");
}

#[test]
fn numbers_that_cannot_be_written_are_a_warning() {
    let bench = two("[metrics]\ntextfile = \"HERE/nowhere/bk.prom\"\n");
    let said = bench.expect(0, &["backup", "wiki"]);
    assert!(said.contains("warning: the metrics cannot be written to ") && said.contains("nowhere/bk.prom"), "{said}");
}

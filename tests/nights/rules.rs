//! The alerts that `bk config alerts` gives, over the numbers of the whole story, with Prometheus' own tool.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::model::{Model, PROFILES, REPOSITORIES};
use super::numbers::{Numbers, parse};
use super::time::{DAY, NANO};

/// How often numbers are taken, in seconds.
const STEP: i64 = 1800;

/// Alert, profile, repository.
type Alert = (&'static str, &'static str, &'static str);

/// What monitoring sees.
#[derive(Default)]
pub struct Watch {
    /// The file, from when on; `None` while the machine is off.
    seen: Vec<(i64, Option<Numbers>)>,
    /// How each place stood when the file was written.
    verdicts: BTreeMap<(&'static str, &'static str), &'static str>,
    expected: Vec<(i64, BTreeSet<Alert>)>,
    /// When each repository was last found whole.
    pub whole: BTreeMap<&'static str, i64>,
}

impl Watch {
    /// The file was written.
    pub fn written(&mut self, at: i64, text: &str, model: &Model) {
        self.seen.push((at, Some(parse(text))));
        self.verdicts = model.places.iter().map(|(name, place)| (*name, place.verdict(at, false))).collect();
    }

    /// The machine is off from now on.
    pub fn off(&mut self, at: i64) {
        self.seen.push((at, None));
    }

    /// Notes which alerts a person expects now.
    pub fn expect(&mut self, now: i64, model: &Model) {
        let mut alerts = BTreeSet::new();
        for profile in PROFILES {
            for (repository, _) in REPOSITORIES {
                let newest = model.place(profile, repository).newest_complete().unwrap().start / NANO;
                let alert = match self.verdicts[&(profile, repository)] {
                    "overdue" => Some("BackupOverdue"),
                    "failed" => Some("BackupFailed"),
                    "incomplete" => Some("BackupIncomplete"),
                    "anomaly" => Some("BackupAnomaly"),
                    _ => None,
                };
                alerts.extend(alert.map(|alert| (alert, profile, repository)));
                if now - newest > 27 * 3600 {
                    alerts.insert(("BackupTooOld", profile, repository));
                }
            }
        }
        for (repository, _) in REPOSITORIES {
            if self.whole.get(repository).is_some_and(|whole| now - whole > 9 * DAY + 5400) {
                alerts.insert(("CheckOverdue", "", repository));
            }
        }
        self.expected.push((now, alerts));
    }

    /// The values of a series from `begin` on, one a step, as promtool wants them.
    fn values(&self, name: &str, begin: i64, end: i64) -> String {
        let shift = if name.split('{').next().unwrap().ends_with("_timestamp_seconds") { begin as f64 } else { 0.0 };
        let mut text = String::new();
        let mut at = begin;
        let mut steps = 0;
        let mut value: Option<f64> = None;
        let mut put = |value: Option<f64>, steps: i64| match value {
            _ if steps == 0 => {}
            Some(value) => drop(write!(text, "{}+0x{} ", value - shift, steps - 1)),
            None => drop(write!(text, "_x{steps} ")),
        };
        while at <= end {
            let seen = self.seen.iter().rev().find(|(from, _)| from + 120 <= at).and_then(|(_, seen)| seen.as_ref());
            let now = seen.and_then(|seen| seen.get(name)).copied();
            if now != value {
                put(value, steps);
                (value, steps) = (now, 0);
            }
            steps += 1;
            at += STEP;
        }
        put(value, steps);
        text
    }

    /// Lets promtool compare.
    pub fn compare(&self, folder: &Path, rules: &str) {
        std::fs::write(folder.join("rules.yml"), rules).unwrap();
        let (Some((first, _)), Some((end, _))) = (self.seen.first(), self.expected.last()) else { return };
        let begin = first - first.rem_euclid(STEP);
        let names: BTreeSet<&String> =
            self.seen.iter().filter_map(|(_, seen)| seen.as_ref()).flat_map(|seen| seen.keys()).collect();
        let wanted =
            ["bk_status", "bk_complete_snapshot", "bk_max_age", "bk_last_exit_code", "bk_last_success", "bk_metrics"];
        let mut test = format!(
            "rule_files: [rules.yml]\nevaluation_interval: {STEP}s\ntests:\n  - interval: {STEP}s\n    input_series:\n"
        );
        for name in names.into_iter().filter(|name| wanted.iter().any(|wanted| name.starts_with(wanted))) {
            let labelled = match name.split_once('{') {
                Some((name, labels)) => format!("{name}{{instance=\"nas\",{labels}"),
                None => format!("{name}{{instance=\"nas\"}}"),
            };
            let _ = writeln!(
                test,
                "      - series: '{labelled}'\n        values: '{}'",
                self.values(name, begin, *end).trim()
            );
        }
        let _ = writeln!(test, "    promql_expr_test:");
        for (now, alerts) in &self.expected {
            let expression = "count by (alertname, profile, repository) (ALERTS{alertstate=\"firing\"})";
            let _ = writeln!(
                test,
                "      - expr: '{expression}'\n        eval_time: {}s\n        exp_samples:",
                now - begin
            );
            for (alert, profile, repository) in alerts {
                let profile = if profile.is_empty() { String::new() } else { format!("profile=\"{profile}\",") };
                let labels = format!("{{alertname=\"{alert}\",{profile}repository=\"{repository}\"}}");
                let _ = writeln!(test, "          - labels: '{labels}'\n            value: 1");
            }
        }
        std::fs::write(folder.join("test.yml"), test).unwrap();
        promtool(folder, &["check", "rules", "rules.yml"], "");
        promtool(folder, &["test", "rules", "test.yml"], "");
    }
}

/// Runs it and expects that all is well.
pub fn promtool(folder: &Path, arguments: &[&str], input: &str) {
    use std::io::Write as _;
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("promtool, of Debian's package prometheus");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "promtool {arguments:?}\n{out}{error}");
}

//! What monitoring reads: the text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), and the rules and the dashboard that go with it.
//! bk-metrics(7) has them all.

mod error;
mod file;
mod serve;

use std::fmt::Write as _;

pub use error::MetricsError;
pub use file::write_textfile;
pub use serve::{Board, Served, serve};

use crate::state::Done;
use crate::status::{Status, Verdict};

/// Alert rules for Prometheus, as YAML.
pub const RULES: &str = include_str!("rules.yml");
/// A dashboard for Grafana, as JSON.
pub const DASHBOARD: &str = include_str!("dashboard.json");

/// Everything that the numbers are taken from.
pub struct Measured<'a> {
    /// How things stand.
    pub status: &'a Status,
    /// What was done last, of each operation, profile and repository.
    pub newest: &'a [Done],
    /// The same, of what ended well.
    pub newest_well: &'a [Done],
}

/// A number about what was done last.
struct OfOperation {
    name: &'static str,
    help: &'static str,
    value: fn(&Done) -> Option<f64>,
}

/// Bytes and counts as Prometheus has them.
const fn float(number: Option<u64>) -> Option<f64> {
    match number {
        Some(number) => Some(number as f64),
        None => None,
    }
}

macro_rules! figure {
    ($name:literal, $field:ident, $help:literal) => {
        OfOperation { name: $name, help: $help, value: |done| float(done.figures.$field) }
    };
}

const OF_OPERATIONS: &[OfOperation] = &[
    OfOperation {
        name: "bk_last_run_timestamp_seconds",
        help: "When the operation last began.",
        value: |done| Some(done.began as f64),
    },
    OfOperation {
        name: "bk_last_duration_seconds",
        help: "How long the operation last took.",
        value: |done| Some(done.seconds),
    },
    OfOperation {
        name: "bk_last_exit_code",
        help: "How the operation last ended; 0 is complete, see bk(1).",
        value: |done| Some(f64::from(done.exit)),
    },
    figure!("bk_files", files, "Files in the last snapshot."),
    figure!("bk_source_bytes", total_bytes, "Bytes in the last snapshot, before deduplication."),
    figure!("bk_new_bytes", new_bytes, "Bytes of the last snapshot that no earlier one had."),
    figure!("bk_stored_bytes", stored_bytes, "Bytes by which the repository grew in the last run."),
    figure!("bk_problems", problems, "Entries that the last snapshot lacks, or findings of the last check."),
    figure!("bk_kept_snapshots", kept_snapshots, "Snapshots that stayed when it was last forgotten."),
    figure!("bk_forgotten_snapshots", forgotten_snapshots, "Snapshots that were last forgotten."),
    figure!("bk_deleted_bytes", deleted_bytes, "Bytes that the last prune deleted."),
    figure!("bk_read_bytes", read_bytes, "Bytes that the last check read."),
    figure!("bk_never_read_packs", never_read_packs, "Packs that no check has read yet."),
    figure!(
        "bk_unread_since_timestamp_seconds",
        unread_since,
        "Since when every pack was stored or read from end to end, by the last check."
    ),
];

/// The names of all metrics, for documents.
#[must_use]
pub fn names() -> Vec<(&'static str, &'static str)> {
    let of_operations = OF_OPERATIONS.iter().map(|one| (one.name, one.help));
    of_operations.chain(OTHERS.iter().copied()).collect()
}

const LAST_SUCCESS: (&str, &str) =
    ("bk_last_success_timestamp_seconds", "When the operation last began of those that ended well.");
const COMPLETE: (&str, &str) = (
    "bk_complete_snapshot_timestamp_seconds",
    "When the newest complete snapshot was begun; absent when there is none.",
);
const SNAPSHOTS: (&str, &str) = ("bk_snapshots", "Snapshots of the profile in the repository, when it was asked.");
const VERDICT: (&str, &str) = ("bk_status", "1 for the word that says how the profile stands in the repository.");
const MAX_AGE: (&str, &str) = ("bk_max_age_seconds", "How old the newest complete snapshot may be.");
const NEXT: (&str, &str) = ("bk_next_run_timestamp_seconds", "When the profile runs next.");
const REPOSITORY: (&str, &str) = ("bk_repository_bytes", "Bytes of the packs in the repository, when last counted.");
const WRITTEN: (&str, &str) = ("bk_metrics_timestamp_seconds", "When these numbers were taken.");
const INFO: (&str, &str) = ("bk_info", "The version of bk.");
const OTHERS: &[(&str, &str)] = &[LAST_SUCCESS, COMPLETE, SNAPSHOTS, VERDICT, MAX_AGE, NEXT, REPOSITORY, WRITTEN, INFO];

/// Lines of one metric under its help.
struct Page(String);

impl Page {
    fn metric<'a>(
        &mut self,
        (name, help): (&str, &str),
        values: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, f64)>,
    ) {
        let mut any = false;
        for (labels, value) in values {
            if !std::mem::replace(&mut any, true) {
                let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
            }
            let labels: Vec<String> =
                labels.into_iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

/// A label's value: backslashes, quotes and line ends are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(done: &Done) -> Vec<(&str, &str)> {
    let profile = done.profile.as_deref().unwrap_or_default();
    vec![("operation", done.verb.word()), ("profile", profile), ("repository", &done.repository)]
}

/// All numbers as text.
#[must_use]
pub fn render(measured: &Measured<'_>) -> String {
    let Measured { status, newest, newest_well } = *measured;
    let mut page = Page(String::new());
    page.metric(INFO, [(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)]);
    page.metric(WRITTEN, [(Vec::new(), status.at.seconds as f64)]);
    for one in OF_OPERATIONS {
        let values = newest.iter().filter_map(|done| Some((labels(done), (one.value)(done)?)));
        page.metric((one.name, one.help), values);
    }
    page.metric(LAST_SUCCESS, newest_well.iter().map(|done| (labels(done), done.began as f64)));
    let each = || {
        status.profiles.iter().flat_map(|profile| {
            let name = profile.name.as_deref().unwrap_or_default();
            let labels = move |repository| vec![("profile", name), ("repository", repository)];
            profile.destinations.iter().map(move |one| (labels(one.repository.as_str()), one))
        })
    };
    page.metric(
        COMPLETE,
        each().filter_map(|(labels, one)| Some((labels, one.complete.as_ref()?.start.seconds as f64))),
    );
    page.metric(SNAPSHOTS, each().filter_map(|(labels, one)| Some((labels, float(one.snapshots)?))));
    let verdicts = each().flat_map(|(labels, one)| {
        Verdict::ALL.into_iter().map(move |verdict| {
            let labels = labels.iter().copied().chain([("status", verdict.word())]).collect();
            (labels, f64::from(u8::from(verdict == one.verdict)))
        })
    });
    page.metric(VERDICT, verdicts);
    let of_profiles = |value: fn(&crate::status::ProfileStatus) -> Option<f64>| {
        let named = move |profile| Some((vec![("profile", profile_name(profile))], value(profile)?));
        status.profiles.iter().filter_map(named)
    };
    page.metric(MAX_AGE, of_profiles(|profile| profile.max_age.map(|age| age.as_secs_f64())));
    page.metric(NEXT, of_profiles(|profile| profile.next.map(|next| next.seconds as f64)));
    let bytes = |one: &crate::status::RepositoryStatus| float(one.bytes);
    let repositories = status.repositories.iter();
    page.metric(
        REPOSITORY,
        repositories.filter_map(|one| Some((vec![("repository", one.name.as_str())], bytes(one)?))),
    );
    page.0
}

fn profile_name(profile: &crate::status::ProfileStatus) -> &str {
    profile.name.as_deref().unwrap_or_default()
}

//! `bk check`

use clap::Args;
use serde_json::json;

use super::Session;
use super::opening::Copies;
use super::record::{Record, Watch};
use super::run::Teller;
use super::session::Target;
use super::workers::workers;
use crate::operation::check::{
    AffectedSnapshot, CheckOptions, CheckReport, Depth, Finding, ReadData, Severity, Subset, check, check_names,
    will_read,
};
use crate::repository::{Repository, RepositoryError};
use crate::size::ByteSize;
use crate::state::{Figures, Verb};
use crate::ui::text::{count, path_text, time_text};
use crate::ui::{Exit, Failure};

/// Findings that people are shown; `--json` lists all.
const SHOWN_FINDINGS: usize = 50;
/// Affected snapshots that people are shown.
const SHOWN_SNAPSHOTS: usize = 20;
/// Affected paths of a snapshot that people are shown.
const SHOWN_PATHS: usize = 10;
/// Affected paths of a snapshot that programs are shown.
const LISTED_PATHS: usize = 1000;

/// Is the repository whole?
///
/// Reads and opens everything outside packs, walks every tree of every snapshot, and looks up whatever they reach in
/// the index and in the list of packs. The contents of packs are read only when asked for.
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:
  bk check                             structure: what is missing, what cannot be opened
  bk check --read-data                 every byte as well
  bk check --read-data-subset 3/7      the third of seven parts: on seven days everything is read once
  bk check --no-key --repo /mnt/disk   on a machine that must not hold the key")]
pub struct CheckArgs {
    /// Read every pack as well, and open everything in it
    #[arg(long)]
    read_data: bool,
    /// Read a part of the packs: 10% or 5GiB of them at random, or the third of seven parts as 3/7
    #[arg(long, value_name = "PART", conflicts_with = "read_data")]
    read_data_subset: Option<Subset>,
    /// Compare the bytes of every object with its name, which needs no key
    #[arg(long)]
    no_key: bool,
    /// Tell the channels of [notify.NAME] what was found
    #[arg(long)]
    notify: bool,
}

impl CheckArgs {
    /// Checks every repository that is meant.
    ///
    /// # Errors
    /// When none is. A repository that cannot be checked does not keep the others from it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let mut exit = Exit::Complete;
        let targets = session.targets(&[])?;
        let record = Record::begin(session, "check");
        let mut found = Vec::new();
        for target in targets {
            let watch = Watch::start(session);
            let progress = session.screen.progress("check");
            let checked = self.check(session, &target, &*progress);
            progress.finish();
            let why = checked.as_ref().err().map(Failure::in_one_line);
            let figures = checked.as_ref().map(|(report, _)| figures(report)).unwrap_or_default();
            let ended = match checked {
                Ok((report, failure)) => {
                    show(session, &target, &report);
                    let found = exit_of(&report);
                    match failure {
                        Some(failure) => {
                            session.screen.failure(&failure);
                            found.worst(if failure.exit == Exit::WrongKey { failure.exit } else { found })
                        }
                        None => found,
                    }
                }
                Err(failure) if failure.exit == Exit::Interrupted => {
                    record.end(failure.exit);
                    return Err(failure);
                }
                Err(failure) => {
                    session.screen.failure(&failure);
                    failure.exit
                }
            };
            record.keep_of_repository(Verb::Check, &target, watch, ended, figures);
            found.push((target.name, ended, why));
            exit = exit.worst(ended);
        }
        if self.notify {
            Teller::new(session, &record).tell_check(&found);
        }
        record.end(exit);
        Ok(exit)
    }

    /// As a timer calls it.
    pub(super) fn of_timer() -> Self {
        Self { notify: true, ..Self::default() }
    }

    fn read(&self) -> ReadData {
        match self.read_data_subset {
            Some(subset) => ReadData::Subset(subset),
            None if self.read_data || self.no_key => ReadData::All,
            None => ReadData::Nothing,
        }
    }

    /// The report; besides, why the repository could not be opened when damage is the reason.
    fn check(
        &self,
        session: &Session,
        target: &Target,
        progress: &dyn crate::progress::Progress,
    ) -> Result<(CheckReport, Option<Failure>), Failure> {
        // What lies there is looked at, not what is remembered of it.
        let store = session.open_store(target, Copies::None)?;
        if store.is_far() && self.read() != ReadData::Nothing {
            let (packs, bytes) = will_read(&*store, self.read())?;
            let (size, packs) = (ByteSize(bytes), count(packs, "pack", "packs"));
            session.screen.note(&format!("about {size} will be fetched from {}, in {packs}", target.name));
        }
        let options = CheckOptions {
            read: self.read(),
            threads: workers(8),
            shown_paths: if session.screen.json { LISTED_PATHS } else { SHOWN_PATHS },
            interrupted: session.interrupted(),
        };
        if self.no_key {
            return Ok((check_names(&*store, &options, progress)?, None));
        }
        let credential = session.credential(target)?;
        let error = match Repository::open(std::sync::Arc::clone(&store), &credential) {
            Ok(repository) => return Ok((check(&repository, &options, progress)?, None)),
            Err(error) => error,
        };
        let mut report = check_names(&*store, &CheckOptions { read: ReadData::Nothing, ..options }, progress)?;
        if matches!(error, RepositoryError::WrongKey { .. }) {
            report.findings.retain(|finding| finding.object.starts_with("keys"));
        }
        if report.is_damaged() { Ok((report, Some(error.into()))) } else { Err(error.into()) }
    }
}

fn figures(report: &CheckReport) -> Figures {
    let problems = (report.findings.len() + report.affected.len()) as u64;
    Figures { problems: Some(problems), read_bytes: Some(report.read_bytes), ..Figures::default() }
}

fn exit_of(report: &CheckReport) -> Exit {
    match (report.is_damaged(), report.is_partial()) {
        (true, _) => Exit::Damage,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Complete,
    }
}

fn show(session: &Session, target: &Target, report: &CheckReport) {
    if session.screen.json { show_json(session, target, report) } else { show_text(session, report) }
}

fn show_text(session: &Session, report: &CheckReport) {
    let screen = &session.screen;
    let many = |count: u64, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    for finding in report.findings.iter().take(SHOWN_FINDINGS) {
        screen.line(&format!("{} {}", screen.paint(word(finding.severity), "31"), finding.object));
        screen.line(&format!("  {}", finding.reason));
        if !finding.snapshots.is_empty() {
            let snapshots: Vec<_> = finding.snapshots.iter().take(SHOWN_SNAPSHOTS).map(|id| id.short()).collect();
            screen.line(&format!(
                "  touches {} in {}: {}{}",
                many(finding.entries, "entry", "entries"),
                many(finding.snapshots.len() as u64, "snapshot", "snapshots"),
                snapshots.join(" "),
                if finding.snapshots.len() > SHOWN_SNAPSHOTS { " …" } else { "" },
            ));
        }
        screen.line(&format!("  next: {}", finding.hint));
    }
    more(session, report.findings.len(), SHOWN_FINDINGS, "damaged objects");
    for snapshot in report.affected.iter().take(SHOWN_SNAPSHOTS) {
        let profile = snapshot.profile.as_ref().map_or_else(String::new, |profile| format!(" {profile}"));
        screen.line(&format!(
            "snapshot {} ({} {}{profile}): {} cannot be restored whole",
            snapshot.id.short(),
            time_text(snapshot.start),
            path_text(snapshot.host.as_bytes()),
            many(snapshot.entries, "entry", "entries"),
        ));
        for path in snapshot.paths.iter().take(SHOWN_PATHS) {
            let below = if path.ends_with(b"/") { " and everything below" } else { "" };
            screen.line(&format!("  {}{below}", path_text(path)));
        }
        if snapshot.entries > SHOWN_PATHS as u64 {
            screen.line(&format!("  and {} more", snapshot.entries - SHOWN_PATHS as u64));
        }
    }
    more(session, report.affected.len(), SHOWN_SNAPSHOTS, "affected snapshots");
    for note in &report.notes {
        screen.note(&format!("note: {note}"));
    }
    screen.note(&checked(report));
    if let Some(left_out) = left_out(report.depth) {
        screen.note(left_out);
    }
    let verdict = match (report.is_damaged(), report.is_partial()) {
        (true, _) => "is DAMAGED: see above",
        (false, true) => "could not be checked in full: see above",
        (false, false) if report.depth == Depth::Names => "holds nothing whose bytes have changed",
        (false, false) if report.depth == Depth::AllContents => "is whole",
        (false, false) => "is whole as far as was checked: not every pack was read",
    };
    screen.line(&format!("{} {verdict}", report.location));
}

fn more(session: &Session, count: usize, shown: usize, what: &str) {
    if count > shown {
        session.screen.line(&format!("and {} more {what}; --json lists all", count - shown));
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Damage => "damaged:",
        Severity::Unread => "not read:",
    }
}

fn checked(report: &CheckReport) -> String {
    let counts = &report.counts;
    let read = match report.depth {
        Depth::Structure => "by size".to_owned(),
        _ => format!("{} of them read", counts.read_packs),
    };
    let walked = match report.depth {
        Depth::Names => String::new(),
        _ => format!(", {} trees with {} entries", counts.trees, counts.entries),
    };
    format!(
        "checked: {} configurations, {} key slots, {} snapshots, {} index objects, {} facts, {} marks{walked}, {} packs ({read}); {} read",
        counts.configs,
        counts.keys,
        counts.snapshots,
        counts.indexes,
        counts.facts,
        counts.marks,
        counts.packs,
        ByteSize(report.read_bytes),
    )
}

/// What this check cannot have found.
const fn left_out(depth: Depth) -> Option<&'static str> {
    match depth {
        Depth::Names => {
            Some("not checked: whether anything is missing, and whether objects are yours; that needs the key")
        }
        Depth::Structure => Some("not checked: the contents of packs were not read; use --read-data"),
        Depth::SomeContents => Some("not checked: only a part of the packs was read; --read-data reads all"),
        Depth::AllContents => None,
    }
}

fn show_json(session: &Session, target: &Target, report: &CheckReport) {
    for finding in &report.findings {
        session.screen.json_line(&finding_json(target, finding));
    }
    for snapshot in &report.affected {
        session.screen.json_line(&snapshot_json(target, snapshot));
    }
    let counts = &report.counts;
    session.screen.json_line(&json!({
        "message_type": "summary",
        "repository": target.name,
        "location": report.location,
        "damaged": report.is_damaged(),
        "num_errors": report.findings.len(),
        "affected_snapshots": report.affected.len(),
        "depth": match report.depth {
            Depth::Names => "names",
            Depth::Structure => "structure",
            Depth::SomeContents => "some-contents",
            Depth::AllContents => "all-contents",
        },
        "notes": report.notes,
        "configs": counts.configs,
        "keys": counts.keys,
        "snapshots": counts.snapshots,
        "index_objects": counts.indexes,
        "facts": counts.facts,
        "marks": counts.marks,
        "trees": counts.trees,
        "entries": counts.entries,
        "packs": counts.packs,
        "packs_read": counts.read_packs,
        "bytes_read": report.read_bytes,
    }));
}

fn finding_json(target: &Target, finding: &Finding) -> serde_json::Value {
    json!({
        "message_type": "error",
        "repository": target.name,
        "object": finding.object,
        "kind": match finding.severity { Severity::Damage => "damaged", Severity::Unread => "unread" },
        "message": finding.reason,
        "snapshots": finding.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "affected_entries": finding.entries,
        "hint": finding.hint,
    })
}

fn snapshot_json(target: &Target, snapshot: &AffectedSnapshot) -> serde_json::Value {
    json!({
        "message_type": "error",
        "repository": target.name,
        "kind": "affected",
        "snapshot_id": snapshot.id.to_string(),
        "time": rfc3339(snapshot.start),
        "host": snapshot.host,
        "profile": snapshot.profile,
        "affected_entries": snapshot.entries,
        "paths": snapshot.paths.iter().map(|path| String::from_utf8_lossy(path)).collect::<Vec<_>>(),
    })
}

/// A time for programs.
pub(super) fn rfc3339(time: crate::format::node::Timestamp) -> String {
    let instant = jiff::Timestamp::new(time.seconds, i32::try_from(time.nanos).unwrap_or(0));
    instant.map_or_else(|_| time.seconds.to_string(), |instant| instant.to_string())
}

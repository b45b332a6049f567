//! `bk stats`: how much room a repository or a snapshot takes.

use clap::Args;
use serde_json::{Value, json};

use super::Session;
use super::look::{Looking, progress};
use super::opening::Copies;
use super::select::FilterArgs;
use crate::operation::stats::{self, Amount, RepositoryStats, SnapshotStats};
use crate::repository::SnapshotInfo;
use crate::size::ByteSize;
use crate::store::{Area, ResticArea};
use crate::ui::{Align, Exit, Failure, Table, json as shown, text};

/// Show how much a repository holds, or what one snapshot adds to it
///
/// Reads the folders of every snapshot, though not the files in them.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Only this snapshot: an id, `latest`, or a profile for its newest one
    pub snapshot: Option<String>,
    /// Which snapshots are meant.
    #[command(flatten)]
    pub filter: FilterArgs,
}

impl StatsArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let filter = &self.filter;
        if self.snapshot.is_none() && (filter.host.is_some() || filter.at.is_some() || !filter.tag.is_empty()) {
            return Err(Failure::usage(
                "--host, --tag and --at choose a snapshot, and none was asked for",
                "add `latest` or a profile, as in `bk stats latest --host alpha`",
            ));
        }
        let looking = Looking::open(session)?;
        if looking.opened.repository.is_foreign() {
            return self.foreign(session, &looking);
        }
        let (screen, all) = (&session.screen, &looking.snapshots.all);
        let progress = progress(session, "stats");
        let (table, value, missing) = match &self.snapshot {
            None => {
                let repository = &looking.opened.repository;
                let stats = stats::repository(repository, &looking.index, all, session.interrupted(), &*progress)?;
                (repository_table(&stats), repository_value(&stats, all), stats.missing)
            }
            Some(word) => {
                let info = looking.snapshot(word, filter)?;
                let mut reader = looking.reader()?;
                let stats = stats::snapshot(&mut reader, &looking.index, info, all, session.interrupted(), &*progress)?;
                (snapshot_table(info, &stats), snapshot_value(info, &stats), stats.missing)
            }
        };
        if screen.json {
            screen.json_line(&value);
        } else {
            table.lines().iter().for_each(|line| screen.line(line));
        }
        if missing > 0 {
            let blobs = text::count(missing, "blob that a snapshot needs is", "blobs that snapshots need are");
            screen.warning(&format!("{blobs} missing or damaged; run `bk check`"));
        }
        let whole = missing == 0 && looking.snapshots.damaged.is_empty();
        Ok(if whole { Exit::Complete } else { Exit::Damage })
    }
}

impl StatsArgs {
    /// Of a repository in restic's format: how much of what lies there. Blobs are counted in those of bk only.
    fn foreign(&self, session: &Session, looking: &Looking) -> Result<Exit, Failure> {
        let name = &looking.opened.name;
        if self.snapshot.is_some() {
            return Err(Failure::usage(
                format!("{name} is in restic's format, in which single snapshots are not counted"),
                "see `bk stats` without a snapshot, or `restic stats`",
            ));
        }
        let store = session.open_store(&session.target(name)?, Copies::None)?;
        let all = &looking.snapshots.all;
        let restore_bytes = all.iter().map(|info| info.snapshot.statistics.total_bytes).sum::<u64>();
        let ours = all.iter().filter(|info| info.snapshot.program.starts_with("bk ")).count() as u64;
        let mut table = Table::untitled(&[Align::Left, Align::Left]);
        table.row(["snapshots".to_owned(), format!("{}, {ours} of them of bk", text::number(all.len() as u64))]);
        table.row(["restore size".to_owned(), format!("{}, all snapshots added up", size(restore_bytes))]);
        let (mut stored, mut total) = (serde_json::Map::new(), 0);
        for area in ResticArea::ALL {
            let listed = store.list(Area::Restic(area))?;
            let bytes = listed.iter().map(|one| one.size).sum::<u64>();
            let amount = Amount { count: listed.len() as u64, bytes };
            table.row([format!("in {}", area.folder()), many(amount, "object", "objects")]);
            stored.insert(area.folder().to_owned(), json!({"objects": amount.count, "bytes": bytes}));
            total += bytes;
        }
        table.row(["stored".to_owned(), size(total)]);
        if session.screen.json {
            session.screen.json_line(&json!({
                "message_type": "stats", "repository": name, "format": "restic", "snapshots": all.len(),
                "restore_bytes": restore_bytes, "stored": stored, "stored_bytes": total,
            }));
        } else {
            table.lines().iter().for_each(|line| session.screen.line(line));
        }
        Ok(if looking.snapshots.damaged.is_empty() { Exit::Complete } else { Exit::Damage })
    }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

fn many(amount: Amount, one: &str, several: &str) -> String {
    format!("{} in {}", size(amount.bytes), text::count(amount.count, one, several))
}

fn factor(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} : 1"))
}

fn share(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{}, {percent:.1} % of what is stored", size(part))
}

fn repository_table(stats: &RepositoryStats) -> Table {
    let mut table = Table::untitled(&[Align::Left, Align::Left]);
    let mut row = |key: &str, value: String| table.row([key.to_owned(), value]);
    let mut snapshots = text::number(stats.snapshots.count);
    if stats.incomplete_snapshots > 0 {
        snapshots.push_str(&format!(", {} incomplete", text::number(stats.incomplete_snapshots)));
    }
    if let (Some(oldest), Some(newest)) = (stats.oldest, stats.newest) {
        snapshots.push_str(&format!(", {} to {}", text::time_text(oldest), text::time_text(newest)));
    }
    row("snapshots", snapshots);
    row("restore size", format!("{}, all snapshots added up", size(stats.snapshots.bytes)));
    row("needed", many(stats.used, "blob", "blobs"));
    row("held", many(stats.blobs, "blob", "blobs"));
    if stats.duplicates.count > 0 {
        row("further copies", many(stats.duplicates, "blob", "blobs"));
    }
    row("data packs", many(stats.data_packs, "pack", "packs"));
    row("tree packs", many(stats.tree_packs, "pack", "packs"));
    if stats.unindexed_packs.count > 0 {
        row(
            "not indexed",
            format!("{}, of a run that goes on or was stopped", many(stats.unindexed_packs, "pack", "packs")),
        );
    }
    row("stored", format!("{}, everything", size(stats.stored_bytes())));
    row("unused", format!("about {}", share(stats.unused_bytes, stats.stored_bytes())));
    row("deduplication", factor(stats.deduplication_ratio()));
    row("compression", factor(stats.compression_ratio()));
    table
}

fn amount(amount: Amount) -> Value {
    json!({"count": amount.count, "bytes": amount.bytes})
}

fn repository_value(stats: &RepositoryStats, all: &[SnapshotInfo]) -> Value {
    let stored = stats.stored.iter().map(|(area, of)| (area.folder().to_owned(), amount(*of)));
    let snapshot = |info: &SnapshotInfo| {
        json!({
            "id": info.id.to_string(),
            "time": text::rfc3339(info.snapshot.start),
            "restore_bytes": info.snapshot.statistics.total_bytes,
            "stored_bytes": info.snapshot.statistics.stored_bytes,
        })
    };
    json!({
        "snapshot_count": stats.snapshots.count,
        "incomplete_snapshot_count": stats.incomplete_snapshots,
        "oldest": stats.oldest.map(text::rfc3339),
        "newest": stats.newest.map(text::rfc3339),
        "restore_bytes": stats.snapshots.bytes,
        "stored_bytes": stats.stored_bytes(),
        "stored": Value::Object(stored.collect()),
        "data_packs": amount(stats.data_packs),
        "tree_packs": amount(stats.tree_packs),
        "unindexed_packs": amount(stats.unindexed_packs),
        "blobs": amount(stats.blobs),
        "duplicate_blobs": amount(stats.duplicates),
        "used_blobs": amount(stats.used),
        "missing_blobs": stats.missing,
        "unused_bytes": stats.unused_bytes,
        "unused_packs": amount(stats.unused_packs),
        "compression_ratio": stats.compression_ratio(),
        "deduplication_ratio": stats.deduplication_ratio(),
        "snapshots": all.iter().map(snapshot).collect::<Vec<_>>(),
    })
}

fn snapshot_table(info: &SnapshotInfo, stats: &SnapshotStats) -> Table {
    let mut table = Table::untitled(&[Align::Left, Align::Left]);
    let mut row = |key: &str, value: String| table.row([key.to_owned(), value]);
    row("snapshot", format!("{} of {}", info.id.short(), text::time_text(info.snapshot.start)));
    let entries = [
        text::count(stats.files, "file", "files"),
        text::count(stats.directories, "folder", "folders"),
        text::count(stats.others, "other", "others"),
    ];
    row("entries", entries.join(", "));
    row("restore size", format!("{}, hard links once, holes left out", size(stats.restore_bytes)));
    row("file sizes", size(stats.apparent_bytes));
    row("needed", format!("{} before compression", many(stats.used, "blob", "blobs")));
    row("only here", format!("{}, about what forgetting it would free", many(stats.exclusive, "blob", "blobs")));
    table
}

fn snapshot_value(info: &SnapshotInfo, stats: &SnapshotStats) -> Value {
    let mut object = shown::snapshot(info);
    let fields = [
        ("files", stats.files.into()),
        ("directories", stats.directories.into()),
        ("others", stats.others.into()),
        ("restore_bytes", stats.restore_bytes.into()),
        ("apparent_bytes", stats.apparent_bytes.into()),
        ("used_blobs", amount(stats.used)),
        ("exclusive_blobs", amount(stats.exclusive)),
        ("missing_blobs", stats.missing.into()),
    ];
    object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::bench::{Bench, RUNNING, file, folder};
    use crate::progress::Silent;

    #[test]
    fn what_people_and_programs_read_is_the_same() {
        let bench = Bench::new();
        let all = [bench.snapshot_with(vec![("/", folder("d", vec![file("f", &[7; 4000])]))], |snapshot| {
            snapshot.statistics.total_bytes = 4000;
        })];
        let stats = stats::repository(&bench.repository, &bench.index(), &all, &RUNNING, &Silent).unwrap();
        let lines = repository_table(&stats).lines();
        assert!(lines.contains(&"restore size   3.9 KiB, all snapshots added up".to_owned()), "{lines:#?}");
        // Forty times the same piece, and a tree.
        assert_eq!(lines.iter().find(|line| line.starts_with("needed")).unwrap().split(" in ").nth(1), Some("2 blobs"));
        let value = repository_value(&stats, &all);
        assert_eq!((&value["restore_bytes"], &value["used_blobs"]["count"]), (&json!(4000), &json!(2)));
        assert_eq!(value["snapshots"][0]["id"], all[0].id.to_string());
        assert_eq!(value["stored"]["snapshots"]["count"], 1);
    }

    #[test]
    fn ratios_of_an_empty_repository_are_not_numbers() {
        let stats = RepositoryStats::default();
        assert_eq!((factor(stats.deduplication_ratio()), factor(Some(2.0))), ("-".to_owned(), "2.00 : 1".to_owned()));
        assert_eq!(repository_value(&stats, &[])["compression_ratio"], Value::Null);
    }
}

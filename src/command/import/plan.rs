//! What an import will do with each snapshot of the source, and how that is shown.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::profiles::{Assigned, Assignment};
use crate::id::SnapshotId;
use crate::operation::copy::kept;
use crate::operation::forget::ForgetOptions;
use crate::operation::import::{Presence, Wanted};
use crate::repository::{SnapshotInfo, Snapshots};
use crate::ui::text::{count, line_text, paths_text, rfc3339, time_text};
use crate::ui::{Align, Screen, Table};

/// What becomes of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is brought.
    Bring,
    /// It is brought again: what was lost then can be read now.
    Again,
    /// It is there.
    Here,
    /// It is there, but something of it is lost still.
    Lossy,
    /// It was there and was forgotten.
    Forgotten,
    /// The rules of the target would let go of it.
    LeftOut,
}

impl Fate {
    /// In a word, for programs.
    const fn code(self) -> &'static str {
        match self {
            Self::Bring => "import",
            Self::Again => "import-again",
            Self::Here => "here",
            Self::Lossy => "here-incomplete",
            Self::Forgotten => "forgotten",
            Self::LeftOut => "left-out",
        }
    }

    /// For people.
    const fn words(self) -> &'static str {
        match self {
            Self::Bring => "import",
            Self::Again => "import again, whole now",
            Self::Here => "here already",
            Self::Lossy => "here, with losses",
            Self::Forgotten => "forgotten here",
            Self::LeftOut => "left out by keep",
        }
    }

    pub(super) const fn is_brought(self) -> bool {
        matches!(self, Self::Bring | Self::Again)
    }
}

/// A snapshot of the source.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) info: SnapshotInfo,
    pub(super) assigned: Assigned,
    pub(super) fate: Fate,
    /// What it is in the target.
    pub(super) target: Option<SnapshotId>,
}

/// How a choice is made among the snapshots that are not there.
pub(super) enum Choice<'a> {
    /// Those that the rules of the target keep.
    ByRules(&'a ForgetOptions<'a>),
    /// All of them.
    All,
    /// All of them, and those that were forgotten: they were named.
    Named,
}

/// Decides for each snapshot, the oldest first. `is_mended` looks whether one with losses can be read whole now.
///
/// # Errors
/// Those of `is_mended`.
pub(super) fn plan<E>(
    found: Vec<(SnapshotInfo, Presence)>,
    assignment: &Assignment,
    choice: &Choice<'_>,
    [source, target]: [&Snapshots; 2],
    is_mended: &mut dyn FnMut(&SnapshotInfo, &SnapshotId) -> Result<bool, E>,
) -> Result<Vec<Row>, E> {
    let mut rows = Vec::with_capacity(found.len());
    for (info, presence) in found {
        let (fate, target) = match presence {
            Presence::Missing => (Fate::Bring, None),
            Presence::Here(id) => (Fate::Here, Some(id)),
            Presence::Lossy(id) if is_mended(&info, &id)? => (Fate::Again, Some(id)),
            Presence::Lossy(id) => (Fate::Lossy, Some(id)),
            Presence::Forgotten if matches!(choice, Choice::Named) => (Fate::Bring, None),
            Presence::Forgotten => (Fate::Forgotten, None),
        };
        rows.push(Row { assigned: assignment.of(&info.snapshot), info, fate, target });
    }
    if let Choice::ByRules(options) = choice {
        let lacking: Vec<_> = rows.iter().filter(|row| row.fate == Fate::Bring).map(Row::as_of_target).collect();
        let kept: HashSet<_> = kept(&lacking, &source.facts, target, options).iter().map(|info| info.id).collect();
        let left_out = |row: &&mut Row| row.fate == Fate::Bring && !kept.contains(&row.info.id);
        rows.iter_mut().filter(left_out).for_each(|row| row.fate = Fate::LeftOut);
    }
    Ok(rows)
}

impl Row {
    /// The profile, where there is one.
    fn profile(&self) -> Option<String> {
        match &self.assigned {
            Assigned::Profile(profile) => Some(profile.clone()),
            Assigned::None | Assigned::Ambiguous(_) => None,
        }
    }

    /// As it will be in the target.
    fn as_of_target(&self) -> SnapshotInfo {
        let mut info = self.info.clone();
        info.snapshot.profile = self.profile();
        info
    }

    /// What is asked of the operation.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { info: self.info.clone(), profile: self.profile() }
    }

    fn cells(&self) -> [String; 6] {
        let snapshot = &self.info.snapshot;
        let profile = match &self.assigned {
            Assigned::Profile(profile) => line_text(profile),
            Assigned::None => "-".to_owned(),
            Assigned::Ambiguous(_) => "?".to_owned(),
        };
        let paths = paths_text(snapshot.roots.iter().map(|root| root.path.as_slice()), 2);
        [
            self.info.id.short(),
            time_text(snapshot.start),
            line_text(&snapshot.host),
            paths,
            profile,
            self.fate.words().to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let snapshot = &self.info.snapshot;
        let paths: Vec<_> = snapshot.roots.iter().map(|root| String::from_utf8_lossy(&root.path)).collect();
        json!({
            "id": self.info.id.to_string(), "time": rfc3339(snapshot.start), "host": snapshot.host,
            "paths": paths, "tags": snapshot.tags, "profile": self.profile(), "action": self.fate.code(),
            "snapshot_id": self.target.map(|id| id.to_string()),
        })
    }
}

/// Shows the plan: in a dry run every snapshot, else those of which there is something to say.
pub(super) fn tell(screen: &Screen, [from, to]: [&str; 2], rows: &[Row], dry_run: bool) {
    if screen.json {
        let snapshots: Vec<_> = rows.iter().map(Row::json).collect();
        screen.json_line(&json!({
            "message_type": "plan", "from": from, "to": to, "dry_run": dry_run, "snapshots": snapshots,
        }));
        return;
    }
    let titles = ["ID", "TIME", "HOST", "PATHS", "PROFILE", ""].map(|title| (title, Align::Left));
    let mut table = Table::new(&titles);
    let shown = rows.iter().filter(|row| dry_run || row.fate.is_brought());
    shown.for_each(|row| table.row(row.cells()));
    if !table.is_empty() {
        table.lines().iter().for_each(|line| screen.line(line));
    }
    let mut ambiguous: Vec<_> = rows
        .iter()
        .filter_map(|row| match &row.assigned {
            Assigned::Ambiguous(names) if row.fate.is_brought() => Some(names.join(" and ")),
            _ => None,
        })
        .collect();
    ambiguous.sort();
    ambiguous.dedup();
    for names in ambiguous {
        screen
            .warning(&format!("the profiles {names} have the same paths; snapshots of them get none without --assign"));
    }
    let rest = [Fate::Here, Fate::Lossy, Fate::Forgotten, Fate::LeftOut].map(|fate| {
        let many = rows.iter().filter(|row| row.fate == fate).count() as u64;
        (many > 0).then(|| format!("{}: {}", fate.words(), count(many, "snapshot", "snapshots")))
    });
    let rest: Vec<_> = rest.into_iter().flatten().collect();
    if !rest.is_empty() {
        screen.line(&rest.join("; "));
    }
    if rows.iter().any(|row| row.fate == Fate::LeftOut) {
        screen.note("what `keep` would let go of comes with --all, or when it is named");
    }
}

//! What a repository in restic's format holds of ours, what it lacks, and what its rules let go of.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::clock::Clock as _;
use crate::command::restic::{ResticPasswordArgs, open_restic};
use crate::command::session::Target;
use crate::command::workers::workers;
use crate::command::{Opened, Session};
use crate::format::node::{Metadata, Node, NodeKind};
use crate::format::snapshot::{Outcome, Root, Snapshot, Statistics};
use crate::id::{IdPrefix, RunId, SnapshotId};
use crate::interop::restic::{Access, ExportStats, Exported, Restic, ResticError};
use crate::operation::copy::missing;
use crate::operation::forget::{ForgetOptions, Group, Policy};
use crate::repository::{Index, SnapshotInfo, Snapshots};
use crate::store::ResticArea;
use crate::ui::Failure;

/// A repository in restic's format that snapshots of ours are exported to, open.
pub(in crate::command) struct Escape {
    /// Its name in the configuration, or its location.
    pub name: String,
    /// The snapshots of ours that are there, by the ids that they have with us; pins and the like are those that the
    /// repository of ours knows.
    pub held: Snapshots,
    /// The ids that each of them has there: two runs at the same time may have exported it twice.
    there: BTreeMap<SnapshotId, Vec<[u8; 32]>>,
    restic: Restic,
}

/// What was exported.
#[derive(Debug, Default)]
pub(in crate::command) struct Filled {
    /// The snapshots, in the order in which they were put.
    pub snapshots: Vec<SnapshotId>,
    /// Entries of them that are no folders.
    pub entries: u64,
    /// Bytes of their files.
    pub total_bytes: u64,
    /// Bytes by which the repository grew.
    pub stored_bytes: u64,
    /// Why single snapshots were not: something of each cannot be read.
    pub unreadable: Vec<Failure>,
}

impl Escape {
    /// Opens the repository. `own` is what a repository of ours knows of its snapshots.
    ///
    /// # Errors
    /// As [`open_restic`].
    pub fn open(
        session: &Session,
        target: &Target,
        access: Access,
        given: &ResticPasswordArgs,
        own: &Snapshots,
    ) -> Result<Self, Failure> {
        Self::of(session, &target.name, open_restic(session, target, access, given)?, own)
    }

    /// Of one that is open.
    ///
    /// # Errors
    /// When its snapshots cannot be listed.
    pub fn of(session: &Session, name: &str, restic: Restic, own: &Snapshots) -> Result<Self, Failure> {
        let exported = restic.exported(&|text| session.screen.warning(text))?;
        let (held, there) = held(&exported, own);
        Ok(Self { name: name.to_owned(), held, there, restic })
    }

    /// The repository itself.
    pub const fn restic(&mut self) -> &mut Restic {
        &mut self.restic
    }

    /// Whether a snapshot of ours is there.
    pub fn has(&self, id: &SnapshotId) -> bool {
        self.there.contains_key(id)
    }

    /// The id of ours of a snapshot that is named by its id there.
    pub fn of_ours(&self, id: &IdPrefix) -> Vec<SnapshotId> {
        let is_meant = |ids: &Vec<[u8; 32]>| ids.iter().any(|there| id.matches(there));
        self.there.iter().filter(|(_, ids)| is_meant(ids)).map(|(id, _)| *id).collect()
    }

    /// Exports snapshots, one after the other; `tell` hears of each.
    ///
    /// # Errors
    /// As they come; `done` says what was exported before, and the next run goes on there.
    pub fn fill(
        &mut self,
        session: &Session,
        from: &Opened,
        wanted: &[SnapshotInfo],
        done: &mut Filled,
        tell: &mut dyn FnMut(&SnapshotInfo, &ExportStats),
    ) -> Result<(), Failure> {
        if wanted.is_empty() {
            return Ok(());
        }
        let index: Index = session.index(from)?;
        for info in wanted {
            if session.is_interrupted() {
                return Err(ResticError::Interrupted.into());
            }
            let progress = session.screen.progress("export");
            let (repository, parent) = (&from.repository, self.before(info));
            let stop = session.interrupted();
            let exported = self.restic.export(repository, &index, info, parent, workers(8), &*progress, stop);
            progress.finish();
            let stats = match exported {
                // The others may be whole.
                Err(error @ ResticError::Unreadable { .. }) => {
                    done.unreadable.push(error.into());
                    continue;
                }
                exported => exported?,
            };
            self.there.entry(info.id).or_default().push(stats.id);
            self.held.all.push(SnapshotInfo { stored: None, ..info.clone() });
            done.snapshots.push(info.id);
            done.entries += stats.entries;
            done.total_bytes += stats.total_bytes;
            done.stored_bytes += stats.stored_bytes;
            tell(info, &stats);
        }
        Ok(())
    }

    /// The id there of what is most like a snapshot: the one before it of the same group, else one after it.
    fn before(&self, info: &SnapshotInfo) -> Option<[u8; 32]> {
        let group = Group::of(&info.snapshot);
        let of_group = self.held.all.iter().filter(|held| Group::of(&held.snapshot) == group);
        let nearest = of_group.min_by_key(|held| {
            let seconds = info.snapshot.start.seconds - held.snapshot.start.seconds;
            (seconds < 0, seconds.abs())
        });
        self.there.get(&nearest?.id)?.first().copied()
    }

    /// Lets go of snapshots. Only those that were exported can be named.
    ///
    /// # Errors
    /// As they come; some may be gone then.
    pub fn forget(&mut self, gone: &[SnapshotId]) -> Result<(), Failure> {
        let ids: Vec<[u8; 32]> = gone.iter().filter_map(|id| self.there.get(id)).flatten().copied().collect();
        if !ids.is_empty() {
            self.restic.forget(&ids)?;
        }
        Ok(())
    }
}

/// The snapshots of `own` that are not among those `held` in the repository `name`, and that it would not let go of at its
/// next forget: oldest first, so that each stores only what is new in it. `is_meant` says of which groups.
pub(in crate::command) fn lacking(
    session: &Session,
    name: &str,
    held: &Snapshots,
    own: &Snapshots,
    is_meant: &dyn Fn(&Group) -> bool,
) -> Vec<SnapshotInfo> {
    let policy = |group: &Group| {
        let profile = group.profile.as_deref();
        is_meant(group)
            .then(|| Policy { keep: session.config.keep(profile, name), max_age: session.config.max_age(profile) })
    };
    let (zone, now) = (TimeZone::system(), session.clock.wall());
    let options = ForgetOptions { policy: &policy, zone: &zone, now, even_if_overdue: true, despite_anomalies: true };
    let mut lacking = missing(own, held, &options);
    lacking.reverse();
    lacking
}

/// What the nearest repository of ours that can be opened knows: pins and the like hold for what was exported, too. Nothing
/// when there is none.
///
/// # Errors
/// When there are some, and none can be opened.
pub(in crate::command) fn own_snapshots(session: &Session) -> Result<Snapshots, Failure> {
    let mut own = session.own_everywhere()?;
    own.sort_by_key(Target::distance);
    let mut first: Option<Failure> = None;
    for target in own {
        let loaded = session.open(&target).and_then(|opened| Ok(Snapshots::load(&opened.repository)?));
        match loaded {
            Ok(snapshots) => return Ok(snapshots),
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    match first {
        None => Ok(Snapshots::default()),
        Some(mut failure) => {
            failure.causes.push("what is pinned cannot be known without it, so that nothing is forgotten".to_owned());
            Err(failure)
        }
    }
}

/// The snapshots of ours among those of a repository in restic's format. One that a repository of ours still has is told
/// as it is there; of others their own words count.
fn held(exported: &[Exported], own: &Snapshots) -> (Snapshots, BTreeMap<SnapshotId, Vec<[u8; 32]>>) {
    let mut held = Snapshots { facts: own.facts.clone(), ..Snapshots::default() };
    let mut there: BTreeMap<SnapshotId, Vec<[u8; 32]>> = BTreeMap::new();
    for one in exported {
        let Some(id) = one.original else { continue };
        let known = there.entry(id).or_default();
        known.push(one.id);
        if known.len() > 1 {
            continue;
        }
        let snapshot = match own.all.iter().find(|info| info.id == id) {
            Some(info) => info.snapshot.clone(),
            None => in_its_own_words(one),
        };
        held.all.push(SnapshotInfo { id, name: ResticArea::Snapshots.object(one.id), snapshot, stored: None });
    }
    held.all.sort_by_key(|info| (info.snapshot.start, info.snapshot.end, info.id));
    (held, there)
}

/// What a snapshot says of itself there, as far as rules look at it.
fn in_its_own_words(one: &Exported) -> Snapshot {
    // Rules look at paths alone, to tell groups apart.
    let kind = NodeKind::Symlink { target: Vec::new() };
    let node = Node { name: Vec::new(), metadata: Metadata::default(), links: None, kind };
    let root = |path: &String| Root { path: path.as_bytes().to_vec(), restore_name: Vec::new(), node: node.clone() };
    Snapshot {
        start: one.time,
        end: one.time,
        host: one.host.clone(),
        profile: one.profile.clone(),
        tags: one.tags.clone(),
        roots: one.paths.iter().map(root).collect(),
        statistics: Statistics::default(),
        outcome: if one.is_incomplete { Outcome::Incomplete } else { Outcome::Complete },
        problems: Vec::new(),
        problem_count: 0,
        hooks: Vec::new(),
        parent: None,
        definition: String::new(),
        configuration: String::new(),
        program: String::new(),
        user: String::new(),
        class_rule: 0,
        run: RunId([0; 16]),
        description: None,
        anomalies: Vec::new(),
        previous: None,
        imported: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::Timestamp;

    fn exported(id: u8, original: Option<u8>, seconds: i64) -> Exported {
        Exported {
            id: [id; 32],
            time: Timestamp { seconds, nanos: 0 },
            host: "alpha".into(),
            profile: Some("wiki".into()),
            tags: vec!["web".into()],
            paths: vec!["/srv/wiki".into()],
            original: original.map(|original| SnapshotId([original; 32])),
            is_incomplete: id == 3,
        }
    }

    #[test]
    fn what_restic_made_is_none_of_ours_and_what_was_exported_twice_counts_once() {
        let all =
            [exported(1, Some(10), 50), exported(2, None, 60), exported(3, Some(30), 40), exported(4, Some(10), 50)];
        let (held, there) = held(&all, &Snapshots::default());
        let ids: Vec<_> = held.all.iter().map(|info| info.id.0[0]).collect();
        assert_eq!(ids, [30, 10], "oldest first");
        assert_eq!(there[&SnapshotId([10; 32])], [[1; 32], [4; 32]]);
        assert_eq!(held.all[0].snapshot.outcome, Outcome::Incomplete);
        let group = Group { host: "alpha".into(), profile: Some("wiki".into()), paths: Vec::new() };
        assert_eq!(Group::of(&held.all[1].snapshot), group);
    }

    #[test]
    fn what_a_repository_of_ours_has_is_told_as_it_is_there() {
        let (mut own, _) = held(&[exported(1, Some(10), 50)], &Snapshots::default());
        own.all[0].snapshot.host = "as it is with us".into();
        own.facts.damaged.push(("facts/1".into(), "flipped".into()));
        let (held, _) = held(&[exported(7, Some(10), 50), exported(8, Some(20), 60)], &own);
        let hosts: Vec<_> = held.all.iter().map(|info| info.snapshot.host.as_str()).collect();
        assert_eq!(hosts, ["as it is with us", "alpha"]);
        assert_eq!(held.facts.damaged.len(), 1, "nothing is forgotten while pins may be lost");
    }
}

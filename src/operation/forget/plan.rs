//! Which snapshots the rules let go of, group by group, and why each of the others stays.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::format::node::Timestamp;
use crate::format::snapshot::{Outcome, Snapshot};
use crate::id::SnapshotId;
use crate::repository::{SnapshotInfo, Snapshots};
use crate::retention::{Candidate, DEFAULT_FLOOR, Held, Keep, Rules, Verdict, decide};

/// Snapshots that are measured against each other: of one host and one profile, or one set of paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The machine.
    pub host: String,
    /// The profile; without one the paths count.
    pub profile: Option<String>,
    /// The paths, when there is no profile.
    pub paths: Vec<Vec<u8>>,
}

impl Group {
    /// The group of a snapshot.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut paths: Vec<_> = match snapshot.profile {
            Some(_) => Vec::new(),
            None => snapshot.roots.iter().map(|root| root.path.clone()).collect(),
        };
        paths.sort();
        Self { host: snapshot.host.clone(), profile: snapshot.profile.clone(), paths }
    }
}

/// What holds for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which snapshots are kept.
    pub keep: Keep,
    /// The newest complete snapshot is overdue when it is older.
    pub max_age: Option<Duration>,
}

/// How to decide.
pub struct ForgetOptions<'a> {
    /// What holds for each group; `None` leaves it alone.
    pub policy: &'a dyn Fn(&Group) -> Option<Policy>,
    /// Where days begin.
    pub zone: &'a TimeZone,
    /// Now, by the clock of this machine.
    pub now: Timestamp,
    /// Forget although the newest complete snapshot is overdue.
    pub even_if_overdue: bool,
    /// Forget although a backup was unlike those before it and nobody has accepted that.
    pub despite_anomalies: bool,
}

/// Why nothing of a group is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The rules themselves say so.
    Rules(Held),
    /// A backup was unlike those before it.
    Anomaly {
        /// Which.
        snapshot: SnapshotId,
        /// In what.
        what: String,
    },
    /// Pins may be among what cannot be read.
    DamagedFacts {
        /// The object.
        name: String,
    },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(held) => held.fmt(f),
            Self::Anomaly { snapshot, what } => {
                write!(f, "the backup {} was unlike those before it: {what}", snapshot.short())
            }
            Self::DamagedFacts { name } => write!(f, "{name} is damaged, and may say which snapshots are pinned"),
        }
    }
}

impl Hold {
    /// The next step for the user.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Rules(held) => held.hint().to_owned(),
            Self::Anomaly { snapshot, .. } => {
                format!("look at it with `bk snapshots {0}`; if it was right, `bk accept {0}`", snapshot.short())
            }
            Self::DamagedFacts { .. } => {
                "put it back from a copy; or take its file out, look at `bk pin`, and pin again what has to stay"
                    .to_owned()
            }
        }
    }

    /// A word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Rules(held) => held.code(),
            Self::Anomaly { .. } => "anomaly",
            Self::DamagedFacts { .. } => "damaged-facts",
        }
    }
}

/// What becomes of one group.
#[derive(Debug, Clone)]
pub struct GroupPlan<'a> {
    /// Whose snapshots.
    pub group: Group,
    /// What holds for it.
    pub policy: Policy,
    /// Set when nothing is forgotten.
    pub hold: Option<Hold>,
    /// Every snapshot with why it stays, oldest first; the verdict of a held group is what the rules alone would say.
    pub snapshots: Vec<(&'a SnapshotInfo, Verdict)>,
}

impl<'a> GroupPlan<'a> {
    /// What is forgotten.
    pub fn forgotten(&self) -> impl Iterator<Item = &'a SnapshotInfo> + '_ {
        let none = self.hold.is_some();
        self.snapshots.iter().filter(move |(_, verdict)| !none && !verdict.is_kept()).map(|(info, _)| *info)
    }
}

/// The candidate that a snapshot is.
pub(super) fn candidate<'a>(snapshots: &Snapshots, info: &'a SnapshotInfo) -> Candidate<'a> {
    Candidate {
        id: info.id,
        start: info.snapshot.start,
        complete: info.snapshot.outcome == Outcome::Complete,
        tags: &info.snapshot.tags,
        pin: snapshots.facts.pin(&info.id),
        verified: snapshots.facts.verified(&info.id).is_some(),
        stored: info.stored,
        previous: info.snapshot.previous,
    }
}

/// Decides about all snapshots, in groups; changes nothing.
#[must_use]
pub fn plan<'a>(snapshots: &'a Snapshots, options: &ForgetOptions<'_>) -> Vec<GroupPlan<'a>> {
    let mut groups: BTreeMap<Group, Vec<&'a SnapshotInfo>> = BTreeMap::new();
    for info in &snapshots.all {
        groups.entry(Group::of(&info.snapshot)).or_default().push(info);
    }
    let mut plans = Vec::new();
    for (group, members) in groups {
        let Some(policy) = (options.policy)(&group) else { continue };
        let candidates: Vec<_> = members.iter().map(|info| candidate(snapshots, info)).collect();
        let rules = Rules {
            keep: &policy.keep,
            floor: DEFAULT_FLOOR,
            max_age: policy.max_age,
            even_if_overdue: options.even_if_overdue,
            zone: options.zone,
            now: options.now,
        };
        let decision = decide(&candidates, &rules);
        let strange = members.iter().rev().find(|info| snapshots.needs_acceptance(info));
        let anomaly = strange
            .filter(|_| !options.despite_anomalies)
            .map(|info| Hold::Anomaly { snapshot: info.id, what: info.snapshot.anomalies.join("; ") });
        let damaged = snapshots.facts.damaged.first().map(|(name, _)| Hold::DamagedFacts { name: name.clone() });
        let hold = damaged.or(anomaly).or_else(|| decision.held.map(Hold::Rules));
        let snapshots = members.into_iter().zip(decision.verdicts).collect();
        plans.push(GroupPlan { group, policy, hold, snapshots });
    }
    plans
}

/// The tags that rules want to keep and no snapshot has: probably misspelt.
#[must_use]
pub fn unknown_tags<'a>(keep: &'a Keep, snapshots: &Snapshots) -> Vec<&'a str> {
    let has = |tag: &str| snapshots.all.iter().any(|info| info.snapshot.tags.iter().any(|of| of == tag));
    keep.tags.iter().map(String::as_str).filter(|tag| !has(tag)).collect()
}

//! Snapshots that are forgotten because somebody named them.

use super::{ForgetArgs, Found, Place};
use crate::command::Session;
use crate::command::prune::Rest;
use crate::command::session::Target;
use crate::command::snapshots::subject;
use crate::format::snapshot::Outcome;
use crate::id::IdPrefix;
use crate::operation::forget::{Group, Hold};
use crate::repository::{SnapshotInfo, Snapshots};
use crate::retention::Pin;
use crate::ui::text::{line_text, time_text};
use crate::ui::{Exit, Failure};

impl ForgetArgs {
    pub(super) fn by_name(
        &self,
        session: &Session,
        target: &Target,
        ids: &[IdPrefix],
        found: &mut Found,
    ) -> Result<Exit, Failure> {
        if self.simulate.is_some() || self.keep.keep()?.is_some() {
            return Err(Failure::usage("rules have no say in what is forgotten by name", "leave out either"));
        }
        let mut place = Place::open(session, target, self.purpose())?;
        let snapshots = place.snapshots()?;
        if let Some((name, _)) = snapshots.facts.damaged.first() {
            let hold = Hold::DamagedFacts { name: name.clone() };
            return Err(Failure::new(Exit::Damage, hold.to_string(), hold.hint()));
        }
        let mut named: Vec<&SnapshotInfo> = Vec::new();
        for id in ids {
            let meant = place.meant(id);
            if !snapshots.all.iter().any(|info| meant.matches(&info.id.0)) {
                session.screen.note(&format!("{} does not have {id}", place.name()));
                continue;
            }
            let info = snapshots.by_id(&meant)?;
            found.ids.push(id.clone());
            if named.iter().all(|other| other.id != info.id) {
                named.push(info);
            }
        }
        for info in &named {
            self.refuse(&snapshots, &named, info)?;
        }
        if !self.dry_run {
            place.forget(session, &named)?;
        }
        for info in &named {
            let verb = if self.dry_run { "would forget" } else { "forgot" };
            if session.screen.json {
                session.screen.json_line(&serde_json::json!({
                    "message_type": "forgotten", "repository": place.name(), "id": info.id.to_string(),
                    "dry_run": self.dry_run,
                }));
            } else {
                let subject = subject(&info.snapshot);
                let time = time_text(info.snapshot.start);
                session.screen.line(&format!("{verb} {} of {time}, {subject}", info.id.short()));
            }
        }
        if self.prune {
            let rest = Rest { dry_run: self.dry_run, despite_anomalies: self.despite_anomalies, ..Rest::default() };
            return Ok(place.prune(session, target, &rest)?.exit);
        }
        Ok(Exit::Complete)
    }

    fn refuse(&self, snapshots: &Snapshots, named: &[&SnapshotInfo], info: &SnapshotInfo) -> Result<(), Failure> {
        let id = info.id.short();
        if snapshots.facts.pin(&info.id) != Pin::None {
            return Err(Failure::usage(format!("snapshot {id} is pinned"), format!("first `bk pin --remove {id}`")));
        }
        let group = Group::of(&info.snapshot);
        let stays = |other: &&SnapshotInfo| {
            other.snapshot.outcome == Outcome::Complete
                && Group::of(&other.snapshot) == group
                && named.iter().all(|one| one.id != other.id)
        };
        if info.snapshot.outcome == Outcome::Complete
            && !self.even_the_last
            && !snapshots.all.iter().any(|one| stays(&one))
        {
            return Err(Failure::usage(
                format!("snapshot {id} is the last complete one of its profile on {}", line_text(&group.host)),
                "add --even-the-last if nothing of it is needed any more",
            ));
        }
        Ok(())
    }
}

//! The present state of something as a snapshot, before it is replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use super::everywhere::Done;
use super::{BackupArgs, Job};
use crate::command::Session;
use crate::command::record::Record;
use crate::job::Surroundings;
use crate::profile::Profile;
use crate::ui::Failure;

/// The tag of such a snapshot.
pub(in crate::command) const BEFORE_ROLLBACK: &str = "before-rollback";

/// How long another run of the profile is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(3600);

/// Backs a profile up as it is now; gives the exit code of that run and the id of the snapshot. What an earlier run left
/// standing still stays so.
///
/// # Errors
/// When there is no snapshot.
pub(in crate::command) fn present_state(
    session: &Session,
    surroundings: &Surroundings,
    profile: &Profile,
    name: Option<String>,
) -> Result<Done, Failure> {
    let arguments = BackupArgs { tag: vec![BEFORE_ROLLBACK.to_owned()], ..BackupArgs::of_run(LOCK_WAIT) };
    let job = Job { profile: profile.clone(), name };
    let outcome = arguments.run_job(session, surroundings, &job, &mut BTreeSet::new());
    let record = Record::begin(session, "backup");
    outcome.done().filter(|done| session.is_known_name(&done.repository)).for_each(|done| record.keep(&done));
    record.end(outcome.exit());
    let snapshot = outcome.destinations.into_iter().find_map(|destination| destination.snapshot);
    outcome.result.map(|exit| (exit, snapshot))
}

//! Forgetting as a part of `bk run`: one profile of this machine in one repository, by the configured rules.

use jiff::tz::TimeZone;

use super::{Place, check_configured_tags, exit_of};
use crate::clock::Clock as _;
use crate::command::Session;
use crate::command::session::host_name;
use crate::operation::forget::{ForgetOptions, Group, GroupPlan, Policy, plan};
use crate::state::Figures;
use crate::ui::{Exit, Failure};

/// What forgetting came to.
pub(in crate::command) struct Forgotten {
    /// The exit code that it gives.
    pub exit: Exit,
    /// What was counted.
    pub figures: Figures,
    /// Why nothing was forgotten, and the next step.
    pub held: Option<(String, String)>,
}

/// Lets go of the snapshots of `profile` that no rule keeps.
///
/// # Errors
/// As they come; nothing is forgotten then.
pub(in crate::command) fn forget_profile(
    session: &Session,
    place: &mut Place,
    profile: &str,
) -> Result<Forgotten, Failure> {
    let (snapshots, name) = (place.snapshots()?, place.name().to_owned());
    check_configured_tags(session, Some(profile), &snapshots, &name)?;
    let host = host_name();
    let policy = |group: &Group| {
        (group.host == host && group.profile.as_deref() == Some(profile)).then(|| Policy {
            keep: session.config.keep(Some(profile), &name),
            max_age: session.config.max_age(Some(profile)),
        })
    };
    let zone = TimeZone::system();
    let now = session.clock.wall();
    let options = ForgetOptions { policy: &policy, zone: &zone, now, even_if_overdue: false, despite_anomalies: false };
    let plans = plan(&snapshots, &options);
    let gone: Vec<_> = plans.iter().flat_map(GroupPlan::forgotten).collect();
    place.forget(session, &gone)?;
    let all: usize = plans.iter().map(|plan| plan.snapshots.len()).sum();
    let damaged = if snapshots.damaged.is_empty() { Exit::Complete } else { Exit::Damage };
    let held = plans.iter().find_map(|plan| plan.hold.as_ref());
    Ok(Forgotten {
        exit: plans.iter().map(exit_of).fold(damaged, Exit::worst),
        figures: Figures {
            kept_snapshots: Some((all - gone.len()) as u64),
            forgotten_snapshots: Some(gone.len() as u64),
            ..Figures::default()
        },
        held: held.map(|hold| (hold.to_string(), hold.hint().to_owned())),
    })
}

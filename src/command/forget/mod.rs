//! `bk forget`: letting go of snapshots by rules, or by name.

mod by_name;
mod nightly;
mod place;
mod show;

use std::collections::BTreeSet;

use clap::Args;
use jiff::tz::TimeZone;

pub(super) use nightly::forget_profile;
pub(super) use place::{Place, Purpose};

use super::Session;
use super::keep_args::KeepArgs;
use super::prune::Rest;
use super::record::{Record, Watch};
use super::session::{Target, host_name};
use crate::clock::Clock as _;
use crate::id::IdPrefix;
use crate::operation::forget::{ForgetOptions, Group, GroupPlan, Hold, Policy, plan, simulate, unknown_tags};
use crate::repository::Snapshots;
use crate::retention::{Held, Span};
use crate::state::{Figures, Verb};
use crate::ui::text::line_text;
use crate::ui::{Exit, Failure};

/// Let go of old snapshots, and say of each why it stays or goes
///
/// Without a profile: of everything that this machine backed up. What is kept is said by `keep` in the configuration;
/// 30 days, in a bucket 90, and never fewer than the newest 3 complete snapshots when it says nothing. What only
/// forgotten snapshots needed is taken away by `bk prune`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk forget --dry-run                    what would stay and go, and why
  bk forget plex --keep-within 7d        other rules, this once
  bk forget --simulate 400d              what the rules leave in 400 days
  bk forget 1a2b3c4d                     this snapshot
  bk forget --prune                      and take away what is not needed any more")]
pub struct ForgetArgs {
    /// Profiles, or ids of snapshots
    #[arg(value_name = "PROFILE|SNAPSHOT")]
    what: Vec<String>,
    /// Only say what would be done, and why each snapshot stays
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Show what the rules leave after so long, if backups go on as they do
    #[arg(long, value_name = "SPAN", conflicts_with = "dry_run")]
    simulate: Option<Span>,
    /// Afterwards do what `bk prune` does
    #[arg(long, conflicts_with = "simulate")]
    prune: bool,
    /// Snapshots of the machine HOST instead of those of this one
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Snapshots of all machines
    #[arg(long, conflicts_with = "host")]
    all_hosts: bool,
    /// Even when the newest complete snapshot is older than `max-age`
    #[arg(long)]
    even_if_overdue: bool,
    /// Even when a backup was unlike those before it
    #[arg(long)]
    despite_anomalies: bool,
    /// With an id: even the last complete snapshot of its profile
    #[arg(long)]
    even_the_last: bool,
    #[command(flatten)]
    keep: KeepArgs,
}

/// What of all that was named has been found, in any repository.
#[derive(Default)]
struct Found {
    ids: Vec<IdPrefix>,
    profiles: BTreeSet<String>,
    /// Profiles that have snapshots.
    known: BTreeSet<String>,
    /// Whether anything was.
    any: bool,
}

impl ForgetArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When the command line is wrong. A repository in which nothing can be forgotten does not keep the others from it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let (ids, profiles): (Vec<_>, Vec<_>) = self.what.iter().partition(|word| IdPrefix::looks_like(word));
        if !ids.is_empty() && !profiles.is_empty() {
            return Err(Failure::usage(
                "profiles and snapshots cannot be forgotten in one command",
                "name one or the other",
            ));
        }
        if let Some(profile) = profiles.iter().find(|word| word.contains('/')) {
            return Err(Failure::usage(
                format!("`{profile}` is a path, where a profile or an id is expected"),
                "forget snapshots of paths by their ids: see `bk snapshots`",
            ));
        }
        let ids = ids.iter().map(|id| IdPrefix::new(id)).collect::<Result<Vec<_>, _>>();
        let ids = ids.map_err(|error| Failure::of(Exit::Usage, &error, "see `bk snapshots`"))?;
        self.keep.keep()?;
        let targets = session.targets(&[])?;
        let several = targets.len() > 1;
        let mut exit = Exit::Complete;
        let mut found = Found::default();
        let record = (!self.dry_run && self.simulate.is_none()).then(|| Record::begin(session, "forget"));
        for target in targets {
            let watch = Watch::start(session);
            if several && !session.screen.json {
                session.screen.line(&format!("{} ({})", target.name, target.location));
            }
            let done = if ids.is_empty() {
                self.by_rules(session, &target, &mut found)
            } else {
                self.by_name(session, &target, &ids, &mut found)
            };
            let ended = done.as_ref().map_or_else(|failure| failure.exit, |exit| *exit);
            if let Some(record) = &record {
                record.keep_of_repository(Verb::Forget, &target, watch, ended, Figures::default());
                record.end(ended.worst(exit));
            }
            exit = exit.worst(match done {
                Ok(done) => done,
                Err(failure) if failure.exit == Exit::Interrupted || !several => return Err(failure),
                Err(failure) => {
                    session.screen.failure(&failure);
                    failure.exit
                }
            });
        }
        // What cannot be reached may hold what was named.
        if exit != Exit::Failed && exit != Exit::NoRepository {
            self.refuse_unknown(&ids, &found)?;
        }
        Ok(exit)
    }

    /// What was named and is in none of the repositories.
    fn refuse_unknown(&self, ids: &[IdPrefix], found: &Found) -> Result<(), Failure> {
        if let Some(id) = ids.iter().find(|id| !found.ids.contains(*id)) {
            return Err(Failure::usage(format!("there is no snapshot {id}"), "see `bk snapshots`"));
        }
        let machine = match &self.host {
            Some(host) => line_text(host),
            None if self.all_hosts => "any machine".to_owned(),
            None => "this machine".to_owned(),
        };
        let known = if found.known.is_empty() {
            "none".to_owned()
        } else {
            found.known.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        let profiles = self.what.iter().filter(|_| ids.is_empty());
        if let Some(profile) = profiles.into_iter().find(|profile| !found.profiles.contains(*profile)) {
            return Err(Failure::usage(
                format!("there is no snapshot of {profile} that {machine} made"),
                format!("profiles with snapshots: {known}; --all-hosts takes those of all machines"),
            ));
        }
        if self.host.is_some() && !found.any {
            return Err(Failure::usage(
                format!("there is no snapshot that {machine} made"),
                "see the hosts in `bk snapshots`; --all-hosts takes those of all machines",
            ));
        }
        Ok(())
    }

    const fn purpose(&self) -> Purpose {
        if self.dry_run || self.simulate.is_some() { Purpose::Look } else { Purpose::Forget }
    }

    /// Whether a group is meant.
    fn is_meant(&self, group: &Group) -> bool {
        let host = self.host.clone().unwrap_or_else(host_name);
        let profiles =
            self.what.is_empty() || group.profile.as_ref().is_some_and(|profile| self.what.contains(profile));
        profiles && (self.all_hosts || group.host == host)
    }

    fn by_rules(&self, session: &Session, target: &Target, found: &mut Found) -> Result<Exit, Failure> {
        let mut place = Place::open(session, target, self.purpose())?;
        let snapshots = place.snapshots()?;
        let name = place.name().to_owned();
        found.known.extend(snapshots.all.iter().filter_map(|info| info.snapshot.profile.clone()));
        let mut exit = Exit::Complete;
        for (name, reason) in &snapshots.damaged {
            session
                .screen
                .warning(&format!("{name} cannot be read; nobody can say whether it is still needed: {reason}"));
            exit = Exit::Damage;
        }
        let given = self.keep.keep()?;
        self.check_tags(session, &given, &snapshots, &name)?;
        let policy = |group: &Group| {
            self.is_meant(group).then(|| Policy {
                keep: given.clone().unwrap_or_else(|| session.config.keep(group.profile.as_deref(), &name)),
                max_age: session.config.max_age(group.profile.as_deref()),
            })
        };
        let zone = TimeZone::system();
        let options = ForgetOptions {
            policy: &policy,
            zone: &zone,
            now: session.clock.wall(),
            even_if_overdue: self.even_if_overdue,
            despite_anomalies: self.despite_anomalies,
        };
        let plans = plan(&snapshots, &options);
        found.any |= !plans.is_empty();
        found.profiles.extend(plans.iter().filter_map(|plan| plan.group.profile.clone()));
        if plans.is_empty() {
            let what = if self.what.is_empty() { "this machine".to_owned() } else { self.what.join(", ") };
            let what = self.host.as_ref().map_or(what, |host| line_text(host));
            session.screen.note(&format!("{name} has no snapshot of {what}"));
            return Ok(exit);
        }
        if let Some(span) = self.simulate {
            let seconds = i64::try_from(span.nominal_seconds()).unwrap_or(i64::MAX);
            for plan in &plans {
                let simulated = simulate(&snapshots, plan, &zone, session.clock.wall(), seconds);
                show::simulated(&session.screen, &name, plan, &simulated, span);
            }
            return Ok(exit);
        }
        for plan in &plans {
            exit = exit.worst(exit_of(plan));
        }
        if !self.dry_run {
            let all: Vec<_> = plans.iter().flat_map(GroupPlan::forgotten).collect();
            place.forget(session, &all)?;
        }
        show::plans(&session.screen, &name, &plans, self.dry_run);
        if self.prune {
            let rest = Rest { dry_run: self.dry_run, despite_anomalies: self.despite_anomalies, ..Rest::default() };
            exit = exit.worst(place.prune(session, target, &rest)?.exit);
        }
        Ok(exit)
    }

    /// A tag that no snapshot has is probably misspelt, and everything that was to be kept by it would go.
    fn check_tags(
        &self,
        session: &Session,
        given: &Option<crate::retention::Keep>,
        snapshots: &Snapshots,
        name: &str,
    ) -> Result<(), Failure> {
        if let Some(keep) = given
            && let Some(tag) = unknown_tags(keep, snapshots).first()
        {
            return Err(Failure::usage(
                format!("no snapshot has the tag `{tag}`"),
                "see the tags in `bk snapshots`; nothing was forgotten",
            ));
        }
        let groups = snapshots.all.iter().map(|info| Group::of(&info.snapshot)).filter(|group| self.is_meant(group));
        let mut profiles: Vec<_> = groups.map(|group| group.profile).collect();
        profiles.sort();
        profiles.dedup();
        profiles.iter().try_for_each(|profile| check_configured_tags(session, profile.as_deref(), snapshots, name))
    }
}

/// The same of the tags in the configuration: an error when they are all that keeps something.
fn check_configured_tags(
    session: &Session,
    profile: Option<&str>,
    snapshots: &Snapshots,
    name: &str,
) -> Result<(), Failure> {
    let keep = session.config.keep(profile, name);
    for tag in unknown_tags(&keep, snapshots) {
        let alone = crate::retention::Keep { tags: keep.tags.clone(), ..Default::default() } == keep;
        let message = format!("`keep` wants snapshots tagged `{tag}`, and there is none in {name}");
        if alone {
            return Err(Failure::usage(message, "check the tag in the configuration; nothing was forgotten"));
        }
        session.screen.warning(&message);
    }
    Ok(())
}

/// The exit code that a held group gives.
fn exit_of(plan: &GroupPlan<'_>) -> Exit {
    match &plan.hold {
        Some(Hold::DamagedFacts { .. }) => Exit::Damage,
        Some(Hold::Anomaly { .. }) => Exit::Anomaly,
        Some(Hold::Rules(Held::Overdue { .. })) => Exit::Overdue,
        _ => Exit::Complete,
    }
}

//! `bk run`: what a night consists of.

mod due;
mod give_way;
mod night;
mod report;
mod tell;

use std::time::Duration;

use clap::Args;

pub(super) use due::{due, next_due};
pub(super) use tell::{Teller, look};

use super::Session;
use super::backup::{BackupArgs, Job, job_of_profile, recover};
use super::lock::lock_wait;
use super::record::Record;
use crate::clock::Stopwatch;
use crate::ui::{Exit, Failure};
use night::Night;

/// Do what is due: back up, forget, prune, and tell
///
/// Each profile is backed up to all its repositories; where that worked, what no rule keeps is forgotten, and at the
/// end what no snapshot needs is pruned. One profile that fails does not stop the others. Without a name: every profile
/// that is due by its schedule, and also one whose time was missed; without schedules all of them. The exit code is the
/// worst of all. Channels of [notify.NAME] are told.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk run                  what is due; the timer of `bk systemd install` does this
  bk run --dry-run        say what is due, and what comes next
  bk run --all            every profile, due or not
  bk run plex gitea       these two")]
pub struct RunArgs {
    /// Profiles to be run, due or not
    #[arg(value_name = "PROFILE")]
    profiles: Vec<String>,
    /// Every profile, due or not
    #[arg(long, conflicts_with = "profiles")]
    all: bool,
    /// Only say what would be run
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Forget and prune nothing
    #[arg(long)]
    keep_all: bool,
    /// How long to wait for another process that backs up the same profile
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lock_wait)]
    lock_wait: Duration,
}

impl RunArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When nothing could be begun; what fails on the way is told and gives the exit code.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let jobs = self.jobs(session)?;
        if self.dry_run {
            due::show(session, &jobs)?;
            return Ok(Exit::Complete);
        }
        if jobs.is_empty() {
            due::show(session, &jobs)?;
            // Nothing to do is a time, too, at which to say what is overdue.
            look(session, None);
            return Ok(Exit::Complete);
        }
        run_jobs(session, &jobs, self.lock_wait, self.keep_all)
    }

    fn jobs(&self, session: &Session) -> Result<Vec<Job>, Failure> {
        if session.config.profiles.is_empty() && self.profiles.is_empty() {
            return Err(Failure::usage(
                "there is no profile to run",
                "write one into the configuration: `bk config example`, or begin with `bk profile new NAME`",
            ));
        }
        let names = match (&self.profiles[..], self.all) {
            ([], true) => session.config.profiles.keys().cloned().collect(),
            ([], false) => due(session)?,
            (named, _) => named.to_vec(),
        };
        names.iter().map(|name| job_of_profile(session, name)).collect()
    }
}

/// Runs these jobs as a night does.
///
/// # Errors
/// When nothing could be begun.
pub(super) fn run_jobs(session: &Session, jobs: &[Job], lock_wait: Duration, keep_all: bool) -> Result<Exit, Failure> {
    let surroundings = super::service::surroundings(session)?;
    // Before the record begins: what fails here is no run that died.
    recover(session, &surroundings)?;
    give_way::give_way(session);
    let watch = Stopwatch::start();
    let record = Record::begin(session, "run");
    let _alive = record.stay_alive();
    let teller = Teller::new(session, &record);
    teller.bury();
    teller.starts();
    let args = BackupArgs::of_run(lock_wait);
    let mut night = Night::new(session, &record, &surroundings, &args, keep_all);
    for job in jobs {
        due::begin(&record, session, job.profile_name());
        night.profile(job);
        if session.is_interrupted() {
            break;
        }
    }
    night.prune();
    let seconds = watch.elapsed().as_secs_f64();
    let report = night.report(seconds);
    report.show(session);
    teller.tell(&report);
    record.forget_old();
    record.end(report.exit());
    Ok(report.exit())
}

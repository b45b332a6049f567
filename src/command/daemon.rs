//! `bk daemon`: one process that does what is due when it is due, for containers and machines without systemd.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;

use super::Session;
use super::backup::job_of_profile;
use super::check::CheckArgs;
use super::record::Record;
use super::run::{due, look, next_due, run_jobs};
use super::session::data_folder;
use super::status::{Ask, conclusion, exit_of, gather, metrics_text};
use super::verify::VerifyArgs;
use crate::clock::{Clock as _, Stopwatch, Timestamp};
use crate::metrics::{Board, Served, serve};
use crate::state::State;
use crate::ui::text::{count, time_text};
use crate::ui::{Exit, Failure};

/// How often signals are looked for.
const BEAT: Duration = Duration::from_millis(200);
/// How often is looked whether something is due: the clock may have been set, or the machine have slept.
const LOOK: Duration = Duration::from_secs(20);
/// How often is looked what is overdue.
const OVERDUE: Duration = Duration::from_secs(3600);
/// Under which name it is remembered when the check was last due.
const CHECK: &str = "check";

/// Stay, and do what is due when it is due
///
/// Runs what `bk run`, `bk check` and `bk verify` would be called for by timers, one after the other, and what was
/// missed while it was not there. SIGHUP reads the configuration again; SIGTERM and Ctrl-C end it, and what runs then
/// is stopped in order. With `listen` in [metrics] it serves /metrics and /health.
#[derive(Debug, Args)]
pub struct DaemonArgs {}

/// What goes on.
struct Daemon {
    session: Session,
    reload: Arc<AtomicBool>,
    board: Board,
    overdue_looked: Option<Stopwatch>,
    worst: Exit,
}

impl DaemonArgs {
    /// Stays until it is told to end.
    ///
    /// # Errors
    /// When there is nothing to do ever, or nothing can be served.
    pub fn run(self, session: Session) -> Result<Exit, Failure> {
        let planned = session.config.profiles.values().any(|profile| session.config.schedule_of(profile).is_some());
        if !planned {
            return Err(Failure::usage(
                "there is nothing to wait for: no profile has a schedule",
                "say when: `[schedule]` with `run = \"30 2 * * *\"`",
            ));
        }
        let reload = session.reload_on_hangup()?;
        let mut daemon =
            Daemon { session, reload, board: Board::default(), overdue_looked: None, worst: Exit::Complete };
        if let Some(address) = daemon.session.config.metrics.listen {
            let address = serve(address, daemon.board.clone())?;
            daemon.session.screen.note(&format!("serving http://{address}/metrics and /health"));
        }
        daemon.announce();
        while !daemon.session.is_interrupted() {
            daemon.look();
            daemon.rest();
        }
        daemon.session.screen.note("ended");
        Ok(Exit::Complete)
    }
}

impl Daemon {
    /// Says what comes next.
    fn announce(&self) {
        let (config, now) = (&self.session.config, self.session.clock.wall());
        let profiles = count(config.profiles.len() as u64, "profile", "profiles");
        let next = config
            .profiles
            .values()
            .filter_map(|profile| Some((next_due(&self.session, profile, now)?, profile.name.as_str())));
        let next = next.min().map_or_else(String::new, |(time, name)| format!("; next {name} at {}", time_text(time)));
        self.session.screen.note(&format!("waiting, with {profiles}{next}"));
    }

    /// Does what is due.
    fn look(&mut self) {
        if self.reload.swap(false, Ordering::Relaxed) {
            self.read_again();
        }
        match due(&self.session) {
            Ok(names) if !names.is_empty() => {
                self.delay();
                self.do_one(|session| {
                    let jobs = names.iter().map(|name| job_of_profile(session, name)).collect::<Result<Vec<_>, _>>()?;
                    run_jobs(session, &jobs, Duration::from_secs(3600), false)
                });
                self.announce();
            }
            Ok(_) => {}
            Err(failure) => self.session.screen.failure(&failure),
        }
        if !self.session.is_interrupted() && self.check_is_due() {
            self.do_one(|session| CheckArgs::of_timer().run(session));
            if !self.session.is_interrupted() && !self.session.config.profiles.is_empty() {
                self.do_one(|session| VerifyArgs::of_timer().run(session));
            }
        }
        if self.overdue_looked.is_none_or(|watch| watch.elapsed() >= OVERDUE) {
            self.overdue_looked = Some(Stopwatch::start());
            look(&self.session, None);
        }
        self.refresh();
    }

    fn do_one(&mut self, work: impl FnOnce(&Session) -> Result<Exit, Failure>) {
        match work(&self.session) {
            Ok(exit) => self.worst = exit,
            Err(failure) => {
                self.worst = failure.exit;
                self.session.screen.failure(&failure);
            }
        }
    }

    fn check_is_due(&self) -> bool {
        let config = &self.session.config;
        let Some(schedule) = &config.schedule.check else { return false };
        let now = self.session.clock.wall();
        let known = data_folder().and_then(|folder| Ok(State::look(&folder)?));
        let Ok(Some(state)) = known else { return false };
        let Ok(last) = state.last_due(CHECK) else { return false };
        let latest = schedule.latest_until(now, &config.zone());
        let is_due = latest.is_some_and(|latest: Timestamp| last.is_some_and(|last| last < latest.seconds));
        if is_due || last.is_none() {
            // One that has never been is not due before its first time.
            let record = Record::begin(&self.session, "look");
            record.with(|state, _| state.set_due(CHECK, now.seconds));
            record.end(Exit::Complete);
        }
        is_due
    }

    /// Many machines do not knock at a server in the same second.
    fn delay(&self) {
        let jitter = self.session.config.schedule.jitter.as_secs_f64();
        let share = crate::crypto::random::<4>().map_or(0, u32::from_le_bytes);
        let wait = Duration::from_secs_f64(jitter * f64::from(share) / f64::from(u32::MAX));
        let watch = Stopwatch::start();
        while watch.elapsed() < wait && !self.session.is_interrupted() {
            std::thread::sleep(BEAT.min(wait));
        }
    }

    fn rest(&self) {
        let watch = Stopwatch::start();
        while watch.elapsed() < LOOK && !self.session.is_interrupted() && !self.reload.load(Ordering::Relaxed) {
            std::thread::sleep(BEAT);
        }
    }

    /// Reads the configuration again; one that is wrong changes nothing.
    fn read_again(&mut self) {
        match self.session.load_config() {
            Ok(config) => {
                self.session.config = config;
                self.session.screen.note("the configuration was read again");
                self.announce();
            }
            Err(failure) => {
                self.session.screen.failure(&failure);
                self.session.screen.warning("the configuration stays as it was");
            }
        }
    }

    /// What is served is how things stand now.
    fn refresh(&self) {
        let served = || {
            let state = State::look(&data_folder()?)?;
            let status = gather(&self.session, state.as_ref(), Ask::Memory)?;
            let is_well = exit_of(&status) == Exit::Complete;
            Ok::<_, Failure>(Served {
                metrics: metrics_text(&status, state.as_ref())?,
                is_well,
                health: conclusion(&status),
            })
        };
        match served() {
            Ok(served) => self.board.set(served),
            Err(failure) => self.session.screen.warning(&failure.in_one_line()),
        }
    }
}

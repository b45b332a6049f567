//! `bk verify`: does this snapshot restore, its databases included?

mod databases;
mod due;
mod files;
mod show;

pub(super) use show::proved_text;

use clap::{Args, ValueEnum};

use super::record::{Record, Watch};
use super::run::Teller;
use super::select::{FilterArgs, Selector};
use super::session::{Target, host_name};
use super::{Opened, Session};
use crate::clock::Clock as _;
use crate::drill::{Drilled, Outcome};
use crate::format::fact::{Fact, FactKind};
use crate::operation::verify::VerifyStats;
use crate::profile::{Depth, Verify};
use crate::repository::{Files, Index, SnapshotInfo, Snapshots, Verification, add_facts};
use crate::state::{Figures, Verb};
use crate::ui::text::line_text;
use crate::ui::{Exit, Failure};

/// Does it restore?
///
/// Takes the newest complete snapshot of a profile, loads its databases into servers that live for this only, restores a
/// sample of its files, and compares all of it: with the snapshot, with the rows counted when it was backed up, and with
/// the machine's own files where nobody has changed them since. Nothing that runs is touched. What was proved is noted
/// in the repository.
///
/// Where a database cannot be tried, because a program is missing here, it says so and ends with 8; it never passes.
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:
  bk verify plex                       databases, and a sample of the files
  bk verify gitea --only databases     the drill: is its database one again, with every row?
  bk verify photos --files all         every file, streamed: needs no room
  bk verify plex --files 20GiB         a larger sample
  bk verify 42482671                   this snapshot
  bk verify --due                      whatever is due by `every`; for a timer")]
pub struct VerifyArgs {
    /// Profiles, or snapshots: ids, `latest`, `plex~1`; every configured profile when none is named
    #[arg(value_name = "PROFILE|SNAPSHOT")]
    what: Vec<String>,
    /// Only profiles whose last verification is longer ago than `every` of `verify` says
    #[arg(long)]
    due: bool,
    /// Only this
    #[arg(long, value_enum, value_name = "PART")]
    only: Option<Part>,
    /// How much of the files: a size such as 2GiB, `all`, or `none`
    #[arg(long, value_name = "SIZE")]
    files: Option<Depth>,
    /// Tell the channels of [notify.NAME] what was found
    #[arg(long)]
    notify: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The drill
    Databases,
    /// No database is loaded
    Files,
}

/// A repository that is open for all that is verified in it.
struct Place {
    target: Target,
    opened: Opened,
    snapshots: Snapshots,
    index: Index,
}

/// What one snapshot came to.
#[derive(Default)]
struct Verified {
    /// Each database by its name in the snapshot, with how long it took, in seconds.
    databases: Vec<(String, Drilled, f64)>,
    files: VerifyStats,
    /// Databases that were left out by the command line.
    left_out: u64,
    /// How much of the files was looked at.
    depth: Files,
    seconds: f64,
}

impl Verified {
    fn exit(&self) -> Exit {
        let failed = !self.files.problems.is_empty()
            || self.databases.iter().any(|(_, drilled, _)| matches!(drilled.outcome, Outcome::Failed(_)));
        match (failed, self.not_run()) {
            (true, _) => Exit::Verification,
            (false, 0) => Exit::Complete,
            (false, _) => Exit::Overdue,
        }
    }

    fn not_run(&self) -> u64 {
        let not_run = |drilled: &Drilled| matches!(drilled.outcome, Outcome::NotRun { .. });
        self.databases.iter().filter(|(_, drilled, _)| not_run(drilled)).count() as u64
    }

    /// What it proved; nothing when something failed, or when there was nothing to look at.
    fn proved(&self) -> Option<Verification> {
        let not_run = self.not_run() + self.left_out;
        let is_whole = |drilled: &Drilled| drilled.outcome == Outcome::Passed;
        let databases = self.databases.iter().filter(|(_, drilled, _)| is_whole(drilled)).count() as u64;
        if self.exit() == Exit::Verification || (databases == 0 && self.depth == Files::None) {
            return None;
        }
        Some(Verification {
            files: self.depth,
            file_count: self.files.files + self.files.parts,
            bytes: self.files.bytes,
            compared_files: self.files.compared_files,
            databases,
            not_run,
            seconds: self.seconds,
            ..Verification::default()
        })
    }
}

/// What a profile or snapshot came to, for those who are told.
pub(super) struct Told {
    /// As it is called.
    pub name: String,
    pub repository: String,
    pub exit: Exit,
    /// In one line.
    pub why: Option<String>,
}

impl VerifyArgs {
    /// As a timer calls it.
    pub(super) fn of_timer() -> Self {
        Self { due: true, notify: true, ..Self::default() }
    }

    /// Verifies all that is meant.
    ///
    /// # Errors
    /// When nothing could be tried. What cannot be verified does not keep the others from it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let words = self.words(session)?;
        let record = Record::begin(session, "verify");
        let mut places: Vec<Place> = Vec::new();
        let (mut exit, mut told) = (Exit::Complete, Vec::new());
        for word in words {
            let (name, repository) = (word.clone(), String::new());
            let one = self.one(session, &record, &mut places, &word).unwrap_or_else(|failure| {
                session.screen.failure(&failure);
                let why = Some(failure.in_one_line());
                Some(Told { name, repository, exit: failure.exit, why })
            });
            let Some(one) = one else { continue };
            exit = exit.worst(one.exit);
            told.push(one);
            if session.is_interrupted() {
                break;
            }
        }
        if self.notify && exit != Exit::Interrupted {
            Teller::new(session, &record).tell_verification(&told);
        }
        record.end(exit);
        Ok(exit)
    }

    /// What is to be verified, as the user would name it.
    fn words(&self, session: &Session) -> Result<Vec<String>, Failure> {
        if !self.what.is_empty() {
            return Ok(self.what.clone());
        }
        let profiles: Vec<String> = session.config.profiles.keys().cloned().collect();
        match (profiles.is_empty(), self.due) {
            (false, _) => Ok(profiles),
            (true, true) => Err(Failure::usage(
                "no profile is configured, so none can be due",
                "name what to verify, such as `bk verify latest`, or configure profiles",
            )),
            (true, false) => Ok(vec!["latest".to_owned()]),
        }
    }

    /// Verifies what `word` means; `None` when it is not due.
    fn one(
        &self,
        session: &Session,
        record: &Record<'_>,
        places: &mut Vec<Place>,
        word: &str,
    ) -> Result<Option<Told>, Failure> {
        let rules = self.rules(session, word);
        if self.due && due::is_never(&rules) {
            session.screen.note(&format!("{}: verified only by hand", line_text(word)));
            return Ok(None);
        }
        let at = place(session, places, word)?;
        let Some(place) = places.get(at) else { return Ok(None) };
        if self.due
            && let Some(until) =
                due::not_before(&rules, &place.snapshots, (word, self.host(session, place, word)), session.clock.wall())
        {
            session.screen.note(&format!("{}: {until}", line_text(word)));
            return Ok(None);
        }
        let filter = FilterArgs { host: self.host(session, place, word), ..self.filter.clone() };
        let info = Selector::parse(word)?.find(&place.snapshots, &filter)?;
        let rules = match &info.snapshot.profile {
            Some(profile) if profile != word => self.rules(session, profile),
            _ => rules,
        };
        show::begin(session, place, info);
        let watch = Watch::start(session);
        let verified = self.verify(session, place, info, rules);
        let ended = verified.as_ref().map_or_else(|failure| failure.exit, Verified::exit);
        let why = match &verified {
            Ok(verified) => show::reason(verified),
            Err(failure) => Some(failure.in_one_line()),
        };
        if ended == Exit::Interrupted {
            return verified.map(|_| None);
        }
        let is_in_part = verified.as_ref().is_ok_and(|one| one.proved().is_none_or(|proved| !proved.is_full()));
        let stays = ended == Exit::Complete && is_in_part && failed_before(record, place, info);
        if stays {
            session.screen.note(&format!(
                "the last verification failed, and still counts: this was a part of it only; `bk verify {}` does all",
                line_text(word)
            ));
        }
        if session.is_known(&place.target) && !stays {
            let figures = verified.as_ref().map(figures).unwrap_or_default();
            let profile = info.snapshot.profile.as_deref();
            let mut done = watch.done(Verb::Verify, profile, &place.target.name, ended, figures, why.clone());
            done.snapshot = Some(info.id.to_string());
            record.keep(&done);
        }
        match verified {
            Ok(verified) => {
                note(session, place, info, &verified);
                show::end(session, place, info, &verified);
            }
            Err(failure) => session.screen.failure(&failure),
        }
        let name = info.snapshot.profile.clone().unwrap_or_else(|| word.to_owned());
        Ok(Some(Told { name, repository: place.target.name.clone(), exit: ended, why }))
    }

    /// Whose snapshots are meant: of a profile of this machine its own, where there are any. Another machine may have a
    /// profile of that name in the same repository, and proves nothing for this one.
    fn host(&self, session: &Session, place: &Place, word: &str) -> Option<String> {
        let profile = word.split_once('~').map_or(word, |(profile, _)| profile);
        let own = host_name();
        let is_own =
            |info: &SnapshotInfo| info.snapshot.profile.as_deref() == Some(profile) && info.snapshot.host == own;
        let has_own = session.config.profiles.contains_key(profile) && place.snapshots.all.iter().any(is_own);
        self.filter.host.clone().or_else(|| has_own.then_some(own))
    }

    /// What holds for a profile, and what the command line says otherwise.
    fn rules(&self, session: &Session, profile: &str) -> Verify {
        let rules = session.config.verify(profile);
        let files = self.files.unwrap_or(rules.files);
        match self.only {
            None => Verify { files, ..rules },
            Some(Part::Databases) => Verify { files: self.files.unwrap_or(Depth::Nothing), databases: true, ..rules },
            Some(Part::Files) => Verify { files, databases: false, ..rules },
        }
    }

    fn verify(
        &self,
        session: &Session,
        place: &Place,
        info: &SnapshotInfo,
        rules: Verify,
    ) -> Result<Verified, Failure> {
        let watch = Watch::start(session);
        let mut verified = Verified::default();
        let survey = files::survey(session, place, info, rules)?;
        if rules.databases {
            verified.databases = databases::drill_all(session, place, info, &survey)?;
        } else if self.only == Some(Part::Files) {
            verified.left_out = databases::names(&info.snapshot, &survey).len() as u64;
        }
        (verified.depth, verified.files) = files::verify(session, place, info, rules, survey)?;
        verified.seconds = watch.seconds();
        Ok(verified)
    }
}

/// Whether the last verification of the profile there found something that does not restore.
fn failed_before(record: &Record<'_>, place: &Place, info: &SnapshotInfo) -> bool {
    let newest = record.with(|state, _| state.newest()).unwrap_or_default();
    let is_same = |done: &&crate::state::Done| {
        done.verb == Verb::Verify && done.repository == place.target.name && done.profile == info.snapshot.profile
    };
    newest.iter().rev().find(is_same).is_some_and(|done| done.exit == Exit::Verification.code())
}

/// The number of the open repository that is nearest for what `word` means.
fn place(session: &Session, places: &mut Vec<Place>, word: &str) -> Result<usize, Failure> {
    let to = session.config.profiles.get(word).map(|profile| profile.to.clone()).unwrap_or_default();
    let mut targets = session.own_targets(&to)?;
    targets.sort_by_key(Target::distance);
    let known = targets.iter().find_map(|target| places.iter().position(|place| place.target.name == target.name));
    if let Some(known) = known {
        return Ok(known);
    }
    let (opened, snapshots) = session.open_nearest(targets.clone())?;
    let index = session.index(&opened)?;
    let target = targets.into_iter().find(|target| target.name == opened.name);
    let target = target.ok_or_else(|| Failure::usage("no repository is configured", "name one with --repo"))?;
    places.push(Place { target, opened, snapshots, index });
    Ok(places.len() - 1)
}

/// Notes in the repository what was proved, so that every machine and retention know it.
fn note(session: &Session, place: &Place, info: &SnapshotInfo, verified: &Verified) {
    let Some(proved) = verified.proved() else { return };
    let kind = if proved.files == Files::None { FactKind::Drilled } else { FactKind::Verified };
    let fact = Fact {
        kind,
        time: session.clock.wall(),
        host: host_name(),
        snapshot: Some(info.id),
        pack: None,
        detail: Some(proved.detail()),
    };
    let noted = place.opened.repository.check_writable().and_then(|()| add_facts(&place.opened.repository, &[fact]));
    if let Err(error) = noted {
        session.screen.warning(&format!(
            "what was proved cannot be noted in {}, so that only this machine remembers it: {error}",
            place.target.name
        ));
    }
}

fn figures(verified: &Verified) -> Figures {
    Figures {
        files: Some(verified.files.files + verified.files.parts),
        total_bytes: Some(verified.files.bytes),
        problems: Some(verified.files.problems.len() as u64 + failed_databases(verified)),
        ..Figures::default()
    }
}

fn failed_databases(verified: &Verified) -> u64 {
    verified.databases.iter().filter(|(_, one, _)| matches!(one.outcome, Outcome::Failed(_))).count() as u64
}

//! Who hears of what: from what a run or a look came to, what is said of it, and what was said before.
//!
//! A recovery is told because something else was told before; what cannot be delivered is kept and sent again with the
//! next notice. Nothing here makes a run fail.

use super::report::{Report, Step};
use crate::clock::{Clock as _, Timestamp};
use crate::command::Session;
use crate::command::record::Record;
use crate::command::session::host_name;
use crate::command::status::{Ask, gather, table_text};
use crate::command::verify::Told;
use crate::notify::{Entry, Event, Notice, Sender};
use crate::schedule::Schedule;
use crate::status::{Status, Verdict};
use crate::ui::text::{coarse, time_text};
use crate::ui::{Exit, Failure};

/// What could not be delivered for so long is news no more.
const NEWS_SECONDS: i64 = 7 * 86_400;
/// A run that ended so short a time ago is the one whose unit failed.
const TOLD_SECONDS: i64 = 120;
/// How often it is said again that something is overdue: about once a day. Less than a day, because a run that ends
/// a little sooner than that of the night before has to say it, too.
const AGAIN_SECONDS: i64 = 20 * 3600;

/// Tells the channels of the configuration.
pub(in crate::command) struct Teller<'a> {
    session: &'a Session,
    record: &'a Record<'a>,
    sender: Sender,
}

/// One thing that can be well or not, and what is to be said of it now.
struct Case {
    subject: String,
    profile: Option<String>,
    repository: Option<String>,
    /// What is wrong, in a line, and the next step; `None` when it is well.
    wrong: Option<(Event, String, Option<String>)>,
}

impl<'a> Teller<'a> {
    /// One for the channels of the session.
    pub fn new(session: &'a Session, record: &'a Record<'a>) -> Self {
        Self { session, record, sender: Sender::default() }
    }

    /// Checks that measure runs hear that one begins.
    pub fn starts(&self) {
        for (_, error) in self.sender.start_all(&self.session.config.channels) {
            self.session.screen.warning(&error.to_string());
        }
    }

    /// Tells of runs that began and never ended.
    pub fn bury(&self) -> bool {
        let dead = self.record.died("run");
        let entries: Vec<Entry> = dead.iter().map(|run| self.obituary(run.began)).collect();
        for entry in &entries {
            self.session.screen.warning(&entry.text);
        }
        let any = !entries.is_empty();
        if any {
            self.record.with(|state, _| state.set_told("run", Some(Event::Failed.word()), self.now().seconds));
            self.send(&Notice { exit: Some(Exit::Failed.code()), ..self.notice(entries) });
        }
        any
    }

    fn obituary(&self, began: i64) -> Entry {
        let began = time_text(Timestamp { seconds: began, nanos: 0 });
        Entry {
            event: Event::Failed,
            profile: None,
            repository: None,
            text: format!(
                "the run that began at {began} did not come to its end: it was killed, or the machine went down"
            ),
            hint: Some("`journalctl -u bk` may say why; what it had stored is used by the next run".to_owned()),
        }
    }

    /// Tells that a unit of systemd failed, unless a run has just ended that told so itself.
    fn unit_failed(&self, unit: &str) {
        let last = ["run", "check", "verify"].map(|kind| self.record.with(|state, _| state.last_run(kind)).flatten());
        let now = self.now().seconds;
        let ended = |run: &crate::state::Run| run.ended.is_some_and(|ended| now - ended < TOLD_SECONDS);
        if last.iter().flatten().any(ended) {
            return;
        }
        let entry = Entry {
            event: Event::Failed,
            profile: None,
            repository: None,
            text: format!("{unit} failed before it could do anything"),
            hint: Some(format!("`journalctl -u {unit}` says why")),
        };
        self.record.with(|state, _| state.set_told("run", Some(Event::Failed.word()), now));
        self.send(&Notice { exit: Some(Exit::Failed.code()), ..self.notice(vec![entry]) });
    }

    /// Tells what a night came to.
    pub fn tell(&self, report: &Report) {
        let cases = report.steps.iter().flat_map(of_step).chain(of_pruning(report)).collect();
        let mut entries = self.entries(cases);
        let complete = |step: &&Step| step.exit() == Exit::Complete;
        entries.extend(report.steps.iter().filter(complete).map(|step| Entry {
            event: Event::Complete,
            profile: Some(step.profile().to_owned()),
            repository: None,
            text: "complete".to_owned(),
            hint: None,
        }));
        if report.exit() == Exit::Complete && self.record.with(|state, _| state.told("run")).flatten().is_some() {
            self.record.with(|state, _| state.set_told("run", None, self.now().seconds));
        }
        let notice = Notice {
            exit: Some(report.exit().code()),
            seconds: Some(report.seconds),
            new_bytes: Some(report.new_bytes()),
            ..self.notice(entries)
        };
        self.send(&notice);
        self.overdue_and_digest();
    }

    /// Tells what a check came to.
    pub fn tell_check(&self, found: &[(String, Exit, Option<String>)]) {
        let cases = found.iter().map(|(repository, exit, message)| {
            let hint = Some(format!("`bk check --repo {repository}` says which snapshots it touches and what to do"));
            let wrong = match exit {
                Exit::Complete | Exit::Interrupted => None,
                Exit::Damage => Some((Event::Damage, format!("{repository} is damaged"), hint)),
                Exit::Overdue => {
                    let text = message.clone().unwrap_or_else(|| format!("the check of {repository} is not complete"));
                    Some((Event::Overdue, text, Some("`bk check --due` without a budget reads what is due".to_owned())))
                }
                _ => {
                    let why = message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                    Some((Event::Failed, format!("{repository} could not be checked{why}"), hint))
                }
            };
            Case { subject: format!("check/{repository}"), profile: None, repository: Some(repository.clone()), wrong }
        });
        let entries = self.entries(cases.collect());
        self.send(&self.notice(entries));
        self.overdue_and_digest();
    }

    /// Tells what a verification came to.
    pub fn tell_verification(&self, found: &[Told]) {
        let cases = found.iter().map(|one| {
            let name = &one.name;
            let hint = Some(format!("`bk verify {name}` shows what is wrong, and what to do"));
            let why = one.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let wrong = match one.exit {
                Exit::Complete | Exit::Interrupted => None,
                Exit::Verification | Exit::Damage => {
                    Some((Event::Damage, format!("its backup in {} does not restore{why}", one.repository), hint))
                }
                _ => Some((Event::Failed, format!("its backup could not be verified{why}"), hint)),
            };
            let repository = Some(one.repository.clone()).filter(|name| !name.is_empty());
            Case { subject: format!("verify/{name}"), profile: Some(name.clone()), repository, wrong }
        });
        let entries = self.entries(cases.collect());
        self.send(&self.notice(entries));
        self.overdue_and_digest();
    }

    /// Tells what is overdue, and sends digests whose time has come.
    fn overdue_and_digest(&self) {
        if self.session.config.channels.is_empty() {
            return;
        }
        let state = self.record.state();
        let Ok(status) = gather(self.session, state, Ask::Memory) else { return };
        self.overdue(&status);
        self.digest(&status);
    }

    fn overdue(&self, status: &Status) {
        let now = self.now().seconds;
        let mut cases = Vec::new();
        for profile in &status.profiles {
            for one in &profile.destinations {
                let subject = format!("overdue/{}/{}", profile.title(), one.repository);
                let age = one.complete.as_ref().map(|seen| coarse(now - seen.start.seconds));
                let is_over = one.verdict == Verdict::Overdue;
                let text = match age {
                    Some(age) => format!("the newest complete backup in {} is {age} old", one.repository),
                    None => format!("there is no complete backup in {}", one.repository),
                };
                let hint = Some(format!("`bk status {}` shows its last runs", profile.title()));
                let told = self.record.with(|state, _| state.told(&subject)).flatten();
                if is_over && told.is_some_and(|(_, at)| now - at < AGAIN_SECONDS) {
                    continue;
                }
                let wrong = is_over.then_some((Event::Overdue, text, hint));
                cases.push(Case {
                    subject,
                    profile: profile.name.clone(),
                    repository: Some(one.repository.clone()),
                    wrong,
                });
            }
        }
        let entries = self.entries(cases);
        self.send(&self.notice(entries));
    }

    fn digest(&self, status: &Status) {
        let (now, zone) = (self.now(), self.session.config.zone());
        for channel in self.session.config.channels.values() {
            let Some(schedule) = channel.digest.as_deref().and_then(|line| Schedule::parse(line).ok()) else {
                continue;
            };
            let job = format!("digest/{}", channel.name);
            let last = self.record.with(|state, _| state.last_due(&job)).flatten();
            let latest = schedule.latest_until(now, &zone).map(|latest| latest.seconds);
            if last.is_some() && latest.is_none_or(|latest| last >= Some(latest)) {
                continue;
            }
            self.record.with(|state, _| state.set_due(&job, now.seconds));
            if last.is_none() {
                // It is known from now on; the first comes at its time.
                continue;
            }
            let table = table_text(status);
            let (text, last_line) = (table.join("\n"), table.last().cloned().unwrap_or_default());
            let entry = Entry { event: Event::Digest, profile: None, repository: None, text: last_line, hint: None };
            let notice = Notice { table: Some(text), ..self.notice(vec![entry]) };
            if let Err(error) = self.sender.deliver(channel, &notice) {
                self.undelivered(&channel.name, &notice, &error);
            }
        }
    }

    /// What is said of each case: what is wrong, and what was and is not any more.
    fn entries(&self, cases: Vec<Case>) -> Vec<Entry> {
        let now = self.now().seconds;
        let said = cases.into_iter().filter_map(|case| {
            let before = self.record.with(|state, _| state.told(&case.subject)).flatten();
            let Case { subject, profile, repository, wrong } = case;
            let entry = |event, text, hint| Entry { event, profile, repository, text, hint };
            match (wrong, before) {
                (Some((event, text, hint)), _) => {
                    self.record.with(|state, _| state.set_told(&subject, Some(event.word()), now));
                    Some(entry(event, text, hint))
                }
                (None, Some((before, at))) => {
                    self.record.with(|state, _| state.set_told(&subject, None, now));
                    let text = format!("well again; was {before} {} ago", coarse(now - at));
                    Some(entry(Event::Recovered, text, None))
                }
                (None, None) => None,
            }
        });
        said.collect()
    }

    fn now(&self) -> Timestamp {
        self.session.clock.wall()
    }

    fn notice(&self, entries: Vec<Entry>) -> Notice {
        Notice { host: host_name(), at: self.now(), entries, exit: None, seconds: None, new_bytes: None, table: None }
    }

    /// Sends a notice to whoever wants to hear of it, after what is still to be delivered.
    fn send(&self, notice: &Notice) {
        if notice.entries.is_empty() {
            return;
        }
        self.send_again();
        for undelivered in self.sender.deliver_all(&self.session.config.channels, notice) {
            self.undelivered(&undelivered.channel, &undelivered.notice, &undelivered.error);
        }
    }

    fn undelivered(&self, channel: &str, notice: &Notice, error: &crate::notify::NotifyError) {
        self.session.screen.warning(&format!("{error}; it is sent again with the next notice"));
        if let Ok(text) = serde_json::to_string(notice) {
            self.record.with(|state, _| state.keep_waiting(channel, &text, self.now().seconds));
        }
    }

    /// Sends what could not be delivered before.
    fn send_again(&self) {
        let waiting = self.record.with(|state, _| state.waiting()).unwrap_or_default();
        let now = self.now().seconds;
        let mut deaf = std::collections::BTreeSet::new();
        for one in waiting {
            let channel = self.session.config.channels.get(&one.channel);
            let notice = serde_json::from_str::<Notice>(&one.notice).ok();
            let (Some(channel), Some(notice), true) = (channel, notice, now - one.at < NEWS_SECONDS) else {
                self.record.with(|state, _| state.drop_waiting(one.id));
                continue;
            };
            // One try a channel: the others of it would fail the same way.
            if deaf.contains(&one.channel) {
                continue;
            }
            match self.sender.deliver(channel, &notice) {
                Ok(()) => drop(self.record.with(|state, _| state.drop_waiting(one.id))),
                Err(_) => drop(deaf.insert(one.channel)),
            }
        }
    }
}

/// A look without a run: of runs that died, of a unit of systemd that failed, of what is overdue, and digests.
pub(in crate::command) fn look(session: &Session, unit: Option<&str>) {
    let record = Record::begin(session, "look");
    let teller = Teller::new(session, &record);
    let died = teller.bury();
    // A unit that failed has mostly told itself why, before it ended.
    if let (Some(unit), false) = (unit, died) {
        teller.unit_failed(unit);
    }
    teller.overdue_and_digest();
    record.end(Exit::Complete);
}

/// What one profile came to.
fn of_step(step: &Step) -> Vec<Case> {
    let name = step.profile();
    let status = || Some(format!("`bk status {name}` shows what happened"));
    let wrong = match (&step.outcome.result, step.exit()) {
        (Err(failure), _) => Some((Event::Failed, failure.in_one_line(), failure.hint.clone())),
        (Ok(Exit::Hook), _) => {
            Some((Event::Incomplete, "a dump or a hook failed; files were backed up".into(), status()))
        }
        (Ok(Exit::Incomplete), _) => {
            let problems = step.outcome.destinations.iter().find_map(|one| one.figures.problems).unwrap_or(0);
            Some((Event::Incomplete, format!("{problems} entries are not in it as they are"), status()))
        }
        (Ok(_), Exit::Anomaly) => Some((
            Event::Anomaly,
            "unlike the backups before it: nothing old is forgotten until you have looked".to_owned(),
            Some(format!("`bk status {name}` says why; then `bk accept`")),
        )),
        (Ok(_), Exit::Complete | Exit::Behind) => None,
        (Ok(_), _) => {
            let failure = step.forgotten.iter().find_map(|(_, done)| done.as_ref().err());
            let why = failure.map_or_else(|| "nothing old is forgotten".to_owned(), Failure::in_one_line);
            Some((Event::Failed, format!("backed up, but {why}"), status()))
        }
    };
    let failed = wrong.as_ref().is_some_and(|(event, ..)| *event == Event::Failed);
    let profile = Some(name.to_owned());
    let own = Case { subject: format!("profile/{name}"), profile: profile.clone(), repository: None, wrong };
    // Where there is no backup at all, that each repository lacks it is no news.
    let behind = step.outcome.destinations.iter().filter(|_| !failed).map(|one| {
        let message = || one.message.clone().unwrap_or_else(|| "it lacks the newest snapshot".to_owned());
        let hint = format!("the next run brings it up to date, or `bk copy --to {}`", one.repository);
        Case {
            subject: format!("profile/{name}/{}", one.repository),
            profile: profile.clone(),
            repository: Some(one.repository.clone()),
            wrong: (one.exit == Exit::Behind).then(|| (Event::Behind, message(), Some(hint))),
        }
    });
    std::iter::once(own).chain(behind).collect()
}

/// What pruning came to. That it waits for `bk accept` is said of the profile.
fn of_pruning(report: &Report) -> impl Iterator<Item = Case> + '_ {
    report.pruned.iter().map(|one| {
        let event = match one.exit {
            Exit::Complete | Exit::Anomaly | Exit::Interrupted => None,
            Exit::Damage => Some(Event::Damage),
            _ => Some(Event::Failed),
        };
        let why = one.message.clone().unwrap_or_else(|| "it was not pruned to the end".to_owned());
        let hint = Some(format!("`bk check --repo {}`", one.repository));
        Case {
            subject: format!("repository/{}", one.repository),
            profile: None,
            repository: Some(one.repository.clone()),
            wrong: event.map(|event| (event, format!("{} was not pruned: {why}", one.repository), hint)),
        }
    })
}

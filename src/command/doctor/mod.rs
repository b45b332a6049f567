//! `bk doctor`: is everything in place for the next backup, and for a restore?

mod notify;
mod repository;
mod tried;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::service::Overheard;
use super::session::{Target, data_folder};
use super::{Session, service};
use crate::job::Plan;
use crate::job::examine::{self, Finding, Level};
use crate::profile::{Profile, RepositoryPassword, Service, State};
use crate::ui::screen::Verbosity;
use crate::ui::text::{count, line_text, wrapped};
use crate::ui::{Exit, Failure};

/// Check that everything is in place for backups and for a restore
///
/// Looks at data folders, databases, hooks and their logins, the secrets that a restore needs, what opens the
/// repositories, and room. It stops nothing and changes nothing. Each finding says what to do next.
///
/// What the stores of the repositories can do is tried out: a small object is written there, read back, listed, looked
/// at and deleted again. Where deleting is refused it stays, in nobody's way.
///
/// Without a name every configured profile is checked; where none is, every service whose data is found here. Exits
/// with 3 when there is a problem, with 0 when there are only notes and warnings.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Profiles to check
    #[arg(value_name = "PROFILE")]
    profiles: Vec<String>,

    /// Measure also how fast each repository takes and gives: 8 MiB go there and come back
    #[arg(long)]
    speed: bool,

    /// Send a test to everybody in [notify.NAME] too, and say what each answered
    #[arg(long)]
    notify: bool,
}

/// Findings about one thing.
struct Group {
    /// `profile`, `repository`, `machine` or `notify`.
    kind: &'static str,
    name: String,
    findings: Vec<Finding>,
    /// What the store of a repository can do, for programs.
    store: Option<Value>,
}

impl Group {
    fn new(kind: &'static str, name: &str, findings: Vec<Finding>) -> Self {
        Self { kind, name: name.to_owned(), findings, store: None }
    }
}

impl DoctorArgs {
    /// Looks at everything.
    ///
    /// # Errors
    /// When a profile is not known. What is wrong with the machine is no error of this command.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let overheard = Arc::new(Overheard::default());
        let surroundings = service::looking(session, overheard.clone())?;
        let profiles = self.profiles(session)?;
        let (mut groups, mut plans) = (Vec::new(), Vec::new());
        for profile in &profiles {
            if session.is_interrupted() {
                return Err(interrupted());
            }
            let plan = service::plan(profile, &surroundings)?;
            let mut findings = examine::examine(profile, &plan, &surroundings, &locations(session, profile));
            let hint = "a backup will say so too";
            let warned = |message: String| Finding::new(Level::Warning, "profile", message, hint);
            findings.extend(overheard.take().into_iter().map(warned));
            groups.push(Group::new("profile", &profile.name, findings));
            plans.push((profile.name.clone(), plan));
        }
        let targets = targets(session, &profiles)?;
        for target in &targets {
            if session.is_interrupted() {
                return Err(interrupted());
            }
            groups.push(repository::repository(session, target, &plans, self.speed));
        }
        let findings = machine(session, &targets, &plans)?;
        let findings = findings.into_iter().chain(examine::left_behind(&surroundings)).collect();
        groups.push(Group::new("machine", "this machine", findings));
        if self.notify {
            groups.extend(notify::told(session));
        }
        report(session, &groups);
        let problem = |group: &Group| group.findings.iter().any(|finding| finding.level == Level::Problem);
        Ok(if groups.iter().any(problem) { Exit::Incomplete } else { Exit::Complete })
    }

    fn profiles(&self, session: &Session) -> Result<Vec<Profile>, Failure> {
        let named = |name: &String| service::profile(session, name).ok_or_else(|| service::unknown(session, name));
        if !self.profiles.is_empty() {
            return self.profiles.iter().map(named).collect();
        }
        if !session.config.profiles.is_empty() {
            return Ok(session.config.profiles.values().cloned().collect());
        }
        let surroundings = service::looking(session, Arc::new(Overheard::default()))?;
        let kept = Service::all().iter().filter(|service| service.state != State::Stateless);
        let found: Vec<Profile> = kept
            .filter_map(|known| Some((known, service::profile(session, known.slug)?)))
            .filter(|(known, profile)| !service::found_here(known, profile, &surroundings).is_empty())
            .map(|(_, profile)| profile)
            .collect();
        session.screen.note(&if found.is_empty() {
            "no profile is configured, and no service that bk knows keeps its data where bk looks".to_owned()
        } else {
            let found = count(found.len() as u64, "service is", "services are");
            format!("no profile is configured; {found} found here and checked")
        });
        Ok(found)
    }
}

fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted", "run the command again")
}

/// Where the repositories of a profile are.
fn locations(session: &Session, profile: &Profile) -> Vec<String> {
    let configured = profile.to.iter().filter_map(|name| session.config.repositories.get(name));
    configured.map(|repository| repository.location.clone()).collect()
}

/// The repositories of the profiles, each once.
fn targets(session: &Session, profiles: &[Profile]) -> Result<Vec<Target>, Failure> {
    let mut targets: Vec<Target> = Vec::new();
    let none = [Vec::new()];
    let named: Vec<&Vec<String>> = profiles.iter().map(|profile| &profile.to).collect();
    let named = if named.is_empty() { none.iter().collect() } else { named };
    for names in named {
        for target in session.targets(names)? {
            if !targets.iter().any(|known| known.name == target.name) {
                targets.push(target);
            }
        }
    }
    Ok(targets)
}

/// What all profiles share.
fn machine(session: &Session, targets: &[Target], plans: &[(String, Plan)]) -> Result<Vec<Finding>, Failure> {
    let repositories: Vec<PathBuf> =
        targets.iter().filter_map(|target| target.location.local().map(std::path::Path::to_owned)).collect();
    let mut findings = Vec::new();
    let mut keys: Vec<(&str, PathBuf)> = Vec::new();
    for target in targets {
        match &target.password {
            Some(RepositoryPassword::File(path)) => keys.push(("password file", path.clone())),
            _ if target.is_restic() => {}
            _ => keys.extend(session.key_file(target)?.map(|path| ("key file", path))),
        }
    }
    keys.extend(session.config.family.password_file.clone().map(|path| ("password file", path)));
    keys.dedup();
    for (what, path) in &keys {
        let repositories = repositories.as_slice();
        findings.extend(examine::key(examine::Key { what, path, repositories, plans }));
    }
    let scratch = session.config.defaults.scratch.clone();
    let scratch = scratch.map_or_else(|| data_folder().map(|folder| folder.join("scratch")), Ok)?;
    findings.push(examine::scratch(&scratch, plans));
    Ok(findings)
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "WARNING",
        Level::Problem => "PROBLEM",
    }
}

fn report(session: &Session, groups: &[Group]) {
    let screen = &session.screen;
    let told = |level| groups.iter().flat_map(|group| &group.findings).filter(|finding| finding.level == level).count();
    let (problems, warnings, notes) = (told(Level::Problem), told(Level::Warning), told(Level::Note));
    if screen.json {
        screen.json_line(&json!({
            "message_type": "doctor",
            "problems": problems,
            "warnings": warnings,
            "notes": notes,
            "groups": groups.iter().map(group_json).collect::<Vec<_>>(),
        }));
        return;
    }
    let quiet = screen.verbosity == Verbosity::Quiet;
    for group in groups {
        let shown = group.findings.iter().filter(|finding| !quiet || finding.level >= Level::Warning);
        let lines: Vec<String> =
            shown.flat_map(|finding| finding_lines(finding, |level| paint(session, level))).collect();
        if lines.is_empty() {
            continue;
        }
        screen.line(&match group.kind {
            "machine" => line_text(&group.name),
            kind => format!("{kind} {}", line_text(&group.name)),
        });
        lines.iter().for_each(|line| screen.line(line));
    }
    let several = |many: usize, one: &str| count(many as u64, one, &format!("{one}s"));
    let first = if problems == 0 { "no problems".to_owned() } else { several(problems, "problem") };
    let last = format!("{first}, {}, {}", several(warnings, "warning"), several(notes, "note"));
    if quiet { screen.note(&last) } else { screen.line(&last) }
}

fn paint(session: &Session, level: Level) -> String {
    let colour = match level {
        Level::Ok => "32",
        Level::Note => "36",
        Level::Warning => "33",
        Level::Problem => "31",
    };
    let text = format!("{:7}", word(level));
    session.screen.paint(&text, colour)
}

/// One line a finding, and under it the next step.
fn finding_lines(finding: &Finding, paint: impl Fn(Level) -> String) -> Vec<String> {
    const WIDTH: usize = 100;
    let indented = |text: &str, first: &str, rest: &str| -> Vec<String> {
        let lines = wrapped(&line_text(text), WIDTH);
        lines.iter().enumerate().map(|(at, line)| format!("{}{line}", if at == 0 { first } else { rest })).collect()
    };
    let text = format!("{}: {}", finding.subject, finding.message);
    let mut lines = indented(&text, &format!("  {}  ", paint(finding.level)), "           ");
    if let Some(hint) = &finding.hint {
        lines.extend(indented(hint, "           -> ", "              "));
    }
    lines
}

fn group_json(group: &Group) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "level": word(finding.level).to_lowercase(),
            "subject": finding.subject,
            "message": finding.message,
            "hint": finding.hint,
        })
    };
    let findings: Vec<Value> = group.findings.iter().map(finding).collect();
    let mut all = json!({ "kind": group.kind, "name": group.name, "findings": findings });
    if let Some(store) = &group.store {
        all["store"] = store.clone();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_its_next_step_stands_under_it() {
        let finding = Finding::new(Level::Problem, "hook x", "a\nb", "do this");
        let lines = finding_lines(&finding, |level| format!("{:7}", word(level)));
        assert_eq!(lines, ["  PROBLEM  hook x: a\\nb", "           -> do this"]);
        let lines = finding_lines(&Finding::ok("room", "1 GiB free"), |level| format!("{:7}", word(level)));
        assert_eq!(lines, ["  ok       room: 1 GiB free"]);
    }

    #[test]
    fn programs_read_levels_in_lower_case() {
        let group = Group::new("profile", "x", vec![Finding::new(Level::Warning, "s", "m", "h")]);
        let expected = json!({ "level": "warning", "subject": "s", "message": "m", "hint": "h" });
        assert_eq!(group_json(&group)["findings"], json!([expected]));
    }
}

//! `bk pin`: snapshots that no rule lets go of.

use clap::Args;
use serde_json::json;

use super::select::{FilterArgs, Selector, parse_time};
use super::session::host_name;
use super::siblings::Siblings;
use super::snapshots::subject;
use super::{Opened, Session};
use crate::clock::Clock as _;
use crate::format::fact::{Fact, FactKind};
use crate::format::node::Timestamp;
use crate::id::SnapshotId;
use crate::repository::{Snapshots, add_facts, until_detail};
use crate::retention::{Pin, Span};
use crate::ui::text::{rfc3339, time_text};
use crate::ui::{Align, Exit, Failure, Table};

/// Keep a snapshot whatever the rules say, until you take the pin away or a date comes
///
/// Without a snapshot: list what is pinned. A pin holds in every repository that has the snapshot.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk pin latest                       before the big upgrade
  bk pin gitea --until 2027-01-31     or --until 90d
  bk pin --remove 1a2b3c4d")]
pub struct PinArgs {
    /// A profile (its newest), `latest`, or an id
    #[arg(value_name = "PROFILE|SNAPSHOT")]
    what: Option<String>,
    /// The pin ends by itself: a date, a time, or a span from now such as 90d
    #[arg(long, value_name = "TIME", requires = "what")]
    until: Option<String>,
    /// Take the pin away
    #[arg(long, requires = "what", conflicts_with = "until")]
    remove: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

impl PinArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When there is no such snapshot, or a repository cannot be written.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let Some(what) = &self.what else { return list(session) };
        let selector = Selector::parse(what)?;
        let until = self.until.as_deref().map(|text| until(session, text)).transpose()?;
        let (exit, noted) = noted(session, &selector, &self.filter, |snapshots, id, now| {
            let pinned = snapshots.facts.pin(&id) != Pin::None;
            if self.remove && !pinned {
                return None;
            }
            // The last word counts: it must not be dated before the one that it takes back.
            let last = snapshots.facts.pin_time(&id);
            let time =
                last.map_or(now, |last| now.max(Timestamp { seconds: last.seconds.saturating_add(1), nanos: 0 }));
            let kind = if self.remove { FactKind::Unpinned } else { FactKind::Pinned };
            Some((kind, time, until.map(until_detail)))
        })?;
        let (verb, end) = match (self.remove, until) {
            (true, _) => ("is not pinned any more", String::new()),
            (false, Some(until)) => ("is pinned", format!(" until {}", time_text(until))),
            (false, None) => ("is pinned", String::new()),
        };
        for (repository, id) in noted {
            if session.screen.json {
                session.screen.json_line(&json!({
                    "message_type": "pin", "id": id.to_string(), "pinned": !self.remove,
                    "until": until.map(rfc3339), "repository": repository,
                }));
            } else {
                session.screen.line(&format!("snapshot {} {verb}{end} in {repository}", id.short()));
            }
        }
        Ok(exit)
    }
}

fn until(session: &Session, text: &str) -> Result<Timestamp, Failure> {
    let now = session.clock.wall();
    let time = match text.parse::<Span>() {
        Ok(span) => {
            let seconds = i64::try_from(span.nominal_seconds()).unwrap_or(i64::MAX);
            Timestamp { seconds: now.seconds.saturating_add(seconds), nanos: 0 }
        }
        Err(_) => parse_time(text)?,
    };
    if time <= now {
        return Err(Failure::usage(
            format!("`{text}` is not in the future"),
            "give a later date, or leave out --until",
        ));
    }
    Ok(time)
}

/// Adds a fact about the snapshot that `selector` means to every repository that holds it. `latest` and profiles are
/// looked up in each of them: what was made at the same time has an id of its own in each. `what` says which fact; with
/// `None` there is nothing to be noted. Gives the repositories with the snapshot that was meant in them.
pub(super) fn noted(
    session: &Session,
    selector: &Selector,
    filter: &FilterArgs,
    what: impl Fn(&Snapshots, SnapshotId, Timestamp) -> Option<(FactKind, Timestamp, Option<String>)>,
) -> Result<(Exit, Vec<(String, SnapshotId)>), Failure> {
    let siblings = Siblings::open(session, session.own_targets(&[])?)?;
    let exit = siblings.tell_unreached(session);
    let mut all = Vec::new();
    let mut missed = None;
    for (_, opened) in &siblings.open {
        let snapshots = Snapshots::load(&opened.repository)?;
        match selector.find(&snapshots, filter).map(|info| info.id) {
            Ok(id) => {
                if let Some((kind, time, detail)) = what(&snapshots, id, session.clock.wall()) {
                    add(opened, Fact { kind, time, host: host_name(), snapshot: Some(id), pack: None, detail })?;
                }
                all.push((opened.name.clone(), id));
            }
            Err(failure) => {
                if siblings.open.len() > 1 {
                    session.screen.note(&format!("{} does not have it", opened.name));
                }
                missed = Some(failure);
            }
        }
    }
    match missed {
        Some(failure) if all.is_empty() => Err(failure),
        None if all.is_empty() => Err(Failure::new(
            exit.worst(Exit::Failed),
            "no repository could be opened",
            "see above; run the command again",
        )),
        _ => Ok((exit, all)),
    }
}

/// Every repository that can be opened, with its snapshots, for a list over all of them.
pub(super) fn everywhere(session: &Session) -> Result<(Exit, Vec<(String, Snapshots)>), Failure> {
    let siblings = Siblings::open(session, session.own_targets(&[])?)?;
    let exit = siblings.tell_unreached(session);
    let mut all = Vec::new();
    for (_, opened) in &siblings.open {
        all.push((opened.name.clone(), Snapshots::load(&opened.repository)?));
    }
    Ok((exit, all))
}

fn add(opened: &Opened, fact: Fact) -> Result<(), Failure> {
    opened.repository.check_writable()?;
    add_facts(&opened.repository, &[fact])?;
    Ok(())
}

fn list(session: &Session) -> Result<Exit, Failure> {
    let (exit, repositories) = everywhere(session)?;
    let titles = [
        ("ID", Align::Left),
        ("TIME", Align::Left),
        ("PROFILE OR PATHS", Align::Left),
        ("REPOSITORY", Align::Left),
        ("PINNED", Align::Left),
    ];
    let (mut table, mut all) = (Table::new(&titles), Vec::new());
    for (name, snapshots) in &repositories {
        for info in &snapshots.all {
            let until = match snapshots.facts.pin(&info.id) {
                Pin::None => continue,
                Pin::Forever => None,
                Pin::Until(until) => Some(until),
            };
            all.push(json!({
                "id": info.id.to_string(), "time": rfc3339(info.snapshot.start), "host": info.snapshot.host,
                "profile": info.snapshot.profile, "repository": name, "until": until.map(rfc3339),
            }));
            let pin =
                until.map_or_else(|| "until it is taken away".to_owned(), |time| format!("until {}", time_text(time)));
            table.row([info.id.short(), time_text(info.snapshot.start), subject(&info.snapshot), name.clone(), pin]);
        }
    }
    if session.screen.json {
        session.screen.json_line(&json!(all));
    } else if table.is_empty() {
        session.screen.note("nothing is pinned");
    } else {
        table.lines().iter().for_each(|line| session.screen.line(line));
    }
    Ok(exit)
}

//! `bk pin`: snapshots that no rule lets go of.

use clap::Args;
use serde_json::json;

use super::select::{FilterArgs, Selector, parse_time};
use super::session::host_name;
use super::siblings::Siblings;
use super::{Opened, Session};
use crate::clock::Clock as _;
use crate::format::fact::{Fact, FactKind};
use crate::format::node::Timestamp;
use crate::id::SnapshotId;
use crate::repository::{Snapshots, add_facts, until_detail};
use crate::retention::{Pin, Span};
use crate::ui::text::{line_text, paths_text, rfc3339, time_text};
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
        noted(session, &selector, &self.filter, |snapshots, id, now| {
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
        })
        .map(|(exit, id, repositories)| {
            let (verb, end) = match (self.remove, until) {
                (true, _) => ("is not pinned any more", String::new()),
                (false, Some(until)) => ("is pinned", format!(" until {}", time_text(until))),
                (false, None) => ("is pinned", String::new()),
            };
            if session.screen.json {
                session.screen.json_line(&json!({
                    "message_type": "pin", "id": id.to_string(), "pinned": !self.remove,
                    "until": until.map(rfc3339), "repositories": repositories,
                }));
            } else {
                session.screen.line(&format!("snapshot {} {verb}{end} in {}", id.short(), repositories.join(", ")));
            }
            exit
        })
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

/// Adds a fact about the snapshot that `selector` means to every repository that holds it: found in the first one that
/// can be opened, then by its id. `what` says which fact; with `None` there is nothing to be noted.
pub(super) fn noted(
    session: &Session,
    selector: &Selector,
    filter: &FilterArgs,
    what: impl Fn(&Snapshots, SnapshotId, Timestamp) -> Option<(FactKind, Timestamp, Option<String>)>,
) -> Result<(Exit, SnapshotId, Vec<String>), Failure> {
    let siblings = Siblings::open(session, session.targets(&[])?)?;
    let mut exit = siblings.tell_unreached(session);
    let mut id = None;
    let mut repositories = Vec::new();
    let mut failure = None;
    for (_, opened) in &siblings.open {
        let snapshots = Snapshots::load(&opened.repository)?;
        let found = match id {
            None => selector.find(&snapshots, filter).map(|info| Some(info.id)),
            Some(id) => Ok(snapshots.all.iter().find(|info| info.id == id).map(|info| info.id)),
        };
        match found {
            Ok(None) => session.screen.note(&format!("{} does not have it", opened.name)),
            Ok(Some(found)) => {
                id = Some(found);
                if let Some((kind, time, detail)) = what(&snapshots, found, session.clock.wall()) {
                    add(opened, Fact { kind, time, host: host_name(), snapshot: Some(found), pack: None, detail })?;
                }
                repositories.push(opened.name.clone());
            }
            Err(error) => failure = Some(error),
        }
    }
    match (id, failure) {
        (Some(id), _) => Ok((exit, id, repositories)),
        (None, Some(failure)) => Err(failure),
        (None, None) => {
            exit = exit.worst(Exit::Failed);
            Err(Failure::new(exit, "no repository could be opened", "see above; run the command again"))
        }
    }
}

fn add(opened: &Opened, fact: Fact) -> Result<(), Failure> {
    opened.repository.check_writable()?;
    add_facts(&opened.repository, &[fact])?;
    Ok(())
}

fn list(session: &Session) -> Result<Exit, Failure> {
    let (_, snapshots) = session.open_for_reading()?;
    let pinned: Vec<_> = snapshots.all.iter().filter(|info| snapshots.facts.pin(&info.id) != Pin::None).collect();
    let until = |id: &SnapshotId| match snapshots.facts.pin(id) {
        Pin::Until(until) => Some(until),
        _ => None,
    };
    if session.screen.json {
        let pinned = pinned.iter().map(|info| {
            json!({"id": info.id.to_string(), "time": rfc3339(info.snapshot.start), "host": info.snapshot.host,
                "profile": info.snapshot.profile, "until": until(&info.id).map(rfc3339)})
        });
        session.screen.json_line(&pinned.collect());
        return Ok(Exit::Complete);
    }
    if pinned.is_empty() {
        session.screen.note("nothing is pinned");
        return Ok(Exit::Complete);
    }
    let titles =
        [("ID", Align::Left), ("TIME", Align::Left), ("PROFILE OR PATHS", Align::Left), ("PINNED", Align::Left)];
    let mut table = Table::new(&titles);
    for info in pinned {
        let subject = match &info.snapshot.profile {
            Some(profile) => line_text(profile),
            None => paths_text(info.snapshot.roots.iter().map(|root| root.path.as_slice()), 2),
        };
        let pin = until(&info.id)
            .map_or_else(|| "until it is taken away".to_owned(), |time| format!("until {}", time_text(time)));
        table.row([info.id.short(), time_text(info.snapshot.start), subject, pin]);
    }
    table.lines().iter().for_each(|line| session.screen.line(line));
    Ok(Exit::Complete)
}

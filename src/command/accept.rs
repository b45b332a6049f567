//! `bk accept`: a backup that was unlike those before it was right all the same.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

use super::Session;
use super::pin::{everywhere, noted};
use super::record::Record;
use super::select::{FilterArgs, Selector};
use crate::format::fact::FactKind;
use crate::ui::text::{line_text, time_text};
use crate::ui::{Exit, Failure};

/// Accept a backup that was unlike those before it, so that old snapshots are forgotten and pruned again
///
/// When much of a profile suddenly changed, went or came, its backup is flagged and nothing old is forgotten or pruned:
/// it may be the work of somebody who encrypted or deleted your files. Look at what changed, then accept it.
/// Without a snapshot: list what waits to be accepted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk accept                     what is there to be looked at
  bk diff latest~1 latest       what changed
  bk accept 1a2b3c4d            it was right")]
pub struct AcceptArgs {
    /// A profile (its newest), `latest`, or an id
    #[arg(value_name = "PROFILE|SNAPSHOT")]
    what: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
}

impl AcceptArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When there is no such snapshot, or there was nothing unusual about it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let Some(what) = &self.what else { return list(session) };
        let selector = Selector::parse(what)?;
        let usual = std::cell::Cell::new(true);
        let profiles = std::cell::RefCell::new(BTreeSet::new());
        let (exit, noted) = noted(session, &selector, &self.filter, |snapshots, id, now| {
            let strange = snapshots.all.iter().find(|info| info.id == id && !info.snapshot.anomalies.is_empty());
            profiles.borrow_mut().extend(strange.map(|info| info.snapshot.profile.clone()));
            let strange = strange.is_some();
            usual.set(usual.get() && !strange);
            (strange && !snapshots.facts.is_acknowledged(&id)).then_some((FactKind::AnomalyAcknowledged, now, None))
        })?;
        if usual.get() {
            let ids: Vec<_> = noted.iter().map(|(_, id)| id.short()).collect();
            return Err(Failure::usage(
                format!("there was nothing unusual about snapshot {}", ids.join(", ")),
                "`bk accept` alone lists what waits to be accepted",
            ));
        }
        for (repository, id) in noted {
            if session.screen.json {
                let message = json!({"message_type": "accept", "id": id.to_string(), "repository": repository});
                session.screen.json_line(&message);
            } else {
                session.screen.line(&format!("snapshot {} is accepted in {repository}", id.short()));
            }
        }
        // What is told of this machine without asking a repository need not wait for the next run.
        for profile in profiles.into_inner() {
            Record::begin(session, &accept_run(profile.as_deref())).end(exit);
        }
        Ok(exit)
    }
}

/// Under which name it is remembered that a snapshot of a profile was accepted.
pub(super) fn accept_run(profile: Option<&str>) -> String {
    format!("accept/{}", profile.unwrap_or_default())
}

fn list(session: &Session) -> Result<Exit, Failure> {
    let (exit, repositories) = everywhere(session)?;
    let mut all = Vec::new();
    for (name, snapshots) in &repositories {
        for info in snapshots.all.iter().filter(|info| snapshots.needs_acceptance(info)) {
            all.push(json!({
                "id": info.id.to_string(), "host": info.snapshot.host, "profile": info.snapshot.profile,
                "repository": name, "anomalies": info.snapshot.anomalies,
            }));
            if session.screen.json {
                continue;
            }
            let subject = info.snapshot.profile.as_deref().unwrap_or(&info.snapshot.host);
            let (id, time) = (info.id.short(), time_text(info.snapshot.start));
            session.screen.line(&format!("{id} of {time}, {}, in {name}:", line_text(subject)));
            info.snapshot.anomalies.iter().for_each(|what| session.screen.line(&format!("  {}", line_text(what))));
            let look = match info.snapshot.parent {
                Some(before) => format!("what changed: `bk diff {} {id}`", before.short()),
                None => format!("what is in it: `bk ls {id}`"),
            };
            session.screen.line(&format!("  {look}; it was right: `bk accept {id}`"));
        }
    }
    if session.screen.json {
        session.screen.json_line(&json!(all));
    } else if all.is_empty() {
        session.screen.note("nothing waits to be accepted");
    }
    Ok(exit.worst(if all.is_empty() { Exit::Complete } else { Exit::Anomaly }))
}

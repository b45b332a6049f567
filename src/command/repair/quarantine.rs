//! `bk repair quarantine`

use clap::Args;
use serde_json::json;

use super::{Assent, Work};
use crate::clock::Clock as _;
use crate::format::node::Timestamp;
use crate::operation::repair::quarantine::{Held, find, list, put_back, remove};
use crate::size::ByteSize;
use crate::store::ObjectName;
use crate::ui::text::{count, line_text, rfc3339, time_text};
use crate::ui::{Exit, Failure};

/// Arguments of `bk repair quarantine`.
///
/// What is there takes room until it is deleted. No other command looks at it.
#[derive(Debug, Args)]
pub struct QuarantineArgs {
    /// Give an object its place in the repository back, damaged as it is
    #[arg(long, value_name = "NAME", conflicts_with = "remove_older")]
    put_back: Option<String>,
    /// Delete for good what was taken out longer ago, such as 30d
    #[arg(long, value_name = "TIME", value_parser = age)]
    remove_older: Option<std::time::Duration>,
    #[command(flatten)]
    assent: Assent,
}

fn age(text: &str) -> Result<std::time::Duration, String> {
    if matches!(text, "0" | "0s" | "0d") {
        return Ok(std::time::Duration::ZERO);
    }
    crate::profile::duration(text).ok_or_else(|| "write a time such as 30d or 12h".to_owned())
}

impl QuarantineArgs {
    pub(super) fn run(self, work: &Work<'_>) -> Result<Exit, Failure> {
        let repository = &work.opened.repository;
        let held = list(repository)?;
        if let Some(name) = &self.put_back {
            let one = find(&held, name)?;
            show(work, std::slice::from_ref(one), "put back");
            if work.assent(self.assent)?.is_some() {
                return Ok(Exit::Complete);
            }
            put_back(repository, one)?;
            work.session.screen.line(&format!("{} is in its place again; run `bk check`", one.original));
            return Ok(Exit::Complete);
        }
        let Some(age) = self.remove_older else {
            show(work, &held, "held");
            return Ok(Exit::Complete);
        };
        let before = work.session.clock.wall().seconds.saturating_sub(age.as_secs().cast_signed());
        let old: Vec<Held> = held.into_iter().filter(|one| one.name.seconds <= before).collect();
        show(work, &old, "delete");
        if old.is_empty() || work.assent(self.assent)?.is_some() {
            return Ok(Exit::Complete);
        }
        work.with_tools("repair", |tools| remove(repository, &old, tools))?;
        work.session.screen.line(&format!("{} deleted for good", count(old.len() as u64, "object", "objects")));
        Ok(Exit::Complete)
    }
}

fn show(work: &Work<'_>, all: &[Held], action: &str) {
    let screen = &work.session.screen;
    if screen.json {
        for one in all {
            screen.json_line(&json!({
                "message_type": "quarantined", "repository": work.opened.name, "action": action,
                "name": ObjectName::Quarantined(one.name).to_string(), "object": one.original.to_string(),
                "size": one.size, "time": rfc3339(time(one)), "reason": one.reason,
            }));
        }
        return;
    }
    if all.is_empty() {
        screen.line(&format!(
            "nothing to {}: the quarantine of {} holds nothing of the kind",
            match action {
                "held" => "show",
                action => action,
            },
            work.opened.name
        ));
        return;
    }
    for one in all {
        let head = if action == "held" { String::new() } else { format!("{action}: ") };
        screen.line(&format!("{head}{}", one.original));
        screen.line(&format!("  {}, taken out {}", ByteSize(one.size), time_text(time(one))));
        screen.line(&format!(
            "  why: {}",
            one.reason.as_deref().map_or_else(|| "its note cannot be read".to_owned(), line_text)
        ));
    }
    let bytes = all.iter().map(|one| one.size).sum();
    screen.note(&format!("{}, {}", count(all.len() as u64, "object", "objects"), ByteSize(bytes)));
}

const fn time(one: &Held) -> Timestamp {
    Timestamp { seconds: one.name.seconds, nanos: 0 }
}

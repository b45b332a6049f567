//! How things stand, as a table and as JSON.

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::command::Session;
use crate::size::ByteSize;
use crate::state::Done;
use crate::status::{Destination, ProfileStatus, RepositoryStatus, Status, Verdict};
use crate::ui::text::{coarse, count, line_text, rfc3339};
use crate::ui::{Align, Exit, Table};

/// Shows everything, the verdict last.
pub(super) fn show(session: &Session, status: &Status) {
    let screen = &session.screen;
    let rows = rows(status, |text, colour| screen.paint(text, colour));
    if rows.is_empty() {
        screen.line("nothing is configured, and nothing was backed up yet: begin with `bk backup ./folder`");
        return;
    }
    rows.iter().for_each(|line| screen.line(line));
    for repository in &status.repositories {
        if let Some((_, reason)) = &repository.unreachable {
            let name = &repository.name;
            screen.warning(&format!("{name} could not be asked, so this is what was remembered: {reason}"));
        }
        if repository.is_damaged(Exit::Damage.code()) {
            let name = &repository.name;
            screen
                .warning(&format!("{name} IS DAMAGED, says the last check: `bk check --repo {name}` says what to do"));
        }
    }
    screen.line(&conclusion(status));
}

/// The table and the verdict, as plain lines.
pub(in crate::command) fn lines(status: &Status) -> Vec<String> {
    let mut lines = rows(status, |text, _| text.to_owned());
    lines.push(conclusion(status));
    lines
}

/// The lines of the table; none when there is nothing.
fn rows(status: &Status, paint: impl Fn(&str, &str) -> String) -> Vec<String> {
    let titles = [
        ("PROFILE", Align::Left),
        ("REPOSITORY", Align::Left),
        ("LAST COMPLETE", Align::Left),
        ("SIZE", Align::Right),
        ("30 DAYS", Align::Right),
        ("CHECKED", Align::Left),
        ("VERIFIED", Align::Left),
        ("NEXT RUN", Align::Left),
        ("", Align::Left),
    ];
    let mut table = Table::new(&titles);
    for profile in &status.profiles {
        for (at, one) in profile.destinations.iter().enumerate() {
            let checked = status.repositories.iter().find(|known| known.name == one.repository);
            let checked = checked.map_or_else(|| "never".to_owned(), |known| check_text(status, known));
            let verified = match (&one.verified, &one.restored) {
                (Some(done), _) => verified_text(status, done),
                (None, Some(done)) => format!("restored {}", when(status, done)),
                (None, None) => "never".to_owned(),
            };
            let colour = match one.verdict {
                Verdict::Fine => "32",
                Verdict::Behind | Verdict::Incomplete => "33",
                _ => "31",
            };
            let first = at == 0;
            table.row([
                if first { line_text(profile.title()) } else { String::new() },
                line_text(&one.repository),
                one.complete.as_ref().map_or_else(|| "never".into(), |seen| ago(status, seen.start)),
                one.complete.as_ref().map_or_else(String::new, |seen| ByteSize(seen.total_bytes).to_string()),
                one.growth_bytes.map_or_else(String::new, |bytes| format!("+{}", ByteSize(bytes))),
                checked,
                verified,
                profile.next.filter(|_| first).map_or_else(String::new, |next| until(status, next)),
                paint(&verdict_text(profile, one, status), colour),
            ]);
        }
    }
    if table.is_empty() { Vec::new() } else { table.lines() }
}

/// One sentence.
pub(in crate::command) fn conclusion(status: &Status) -> String {
    let wrong: Vec<String> = status
        .profiles
        .iter()
        .filter(|profile| profile.verdict() != Verdict::Fine)
        .map(|profile| line_text(profile.title()))
        .collect();
    let all = count(status.profiles.len() as u64, "profile", "profiles");
    match (wrong.is_empty(), status.profiles.len()) {
        (true, 1) => "all is fine".to_owned(),
        (true, _) => format!("{all} are fine"),
        (false, 1) => "not fine: see above".to_owned(),
        (false, _) => format!("{} of {all} not fine: {}", wrong.len(), wrong.join(", ")),
    }
}

fn verdict_text(profile: &ProfileStatus, one: &Destination, status: &Status) -> String {
    let message = || one.last.as_ref().and_then(|done| done.message.as_deref()).map(line_text);
    let reason = |word: &str| message().map_or_else(|| word.to_owned(), |message| format!("{word}: {message}"));
    match one.verdict {
        Verdict::Fine if one.complete.is_none() => "fine: it keeps nothing".to_owned(),
        Verdict::Fine => "fine".to_owned(),
        Verdict::Behind => reason("BEHIND"),
        Verdict::Unreachable => "COULD NOT BE ASKED".to_owned(),
        Verdict::Incomplete => reason("INCOMPLETE"),
        Verdict::Anomaly => match &one.strange {
            Some(seen) => format!("ANOMALY: look, then `bk accept {}`", seen.id.get(..8).unwrap_or(&seen.id)),
            None => "ANOMALY".to_owned(),
        },
        Verdict::Failed => reason("FAILED"),
        Verdict::Broken => {
            let why = one.verified.as_ref().and_then(|done| done.message.as_deref()).map(line_text);
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            format!("DOES NOT RESTORE{why}; look with `bk verify {}`", line_text(profile.title()))
        }
        Verdict::Never => reason("NO COMPLETE BACKUP"),
        Verdict::Overdue => {
            let failed = one.last.as_ref().filter(|done| done.exit != 0).and_then(|done| done.message.as_deref());
            let limit = profile.max_age.map(|age| format!("may be {} old", coarse(age.as_secs().cast_signed())));
            let last_began = one.last.as_ref().map(|done| done.began);
            let idle = last_began.is_none_or(|began| status.at.seconds - began > 86_400 * 2);
            let why = failed.map(line_text).or(limit).unwrap_or_else(|| "a run was missed".to_owned());
            if idle && failed.is_none() {
                format!("OVERDUE: {why}, and no run was seen")
            } else {
                format!("OVERDUE: {why}")
            }
        }
    }
}

fn ago(status: &Status, time: Timestamp) -> String {
    past(status.at.seconds - time.seconds)
}

fn past(seconds: i64) -> String {
    if seconds < 60 { "just now".to_owned() } else { format!("{} ago", coarse(seconds)) }
}

fn when(status: &Status, done: &Done) -> String {
    format!("{}, took {}", past(status.at.seconds - done.began), coarse(done.seconds.round() as i64))
}

fn verified_text(status: &Status, done: &Done) -> String {
    match done.exit {
        0 => when(status, done),
        8 => format!("in part {}", when(status, done)),
        6 => format!("FAILED {}", past(status.at.seconds - done.began)),
        _ => format!("NOT DONE {}", past(status.at.seconds - done.began)),
    }
}

fn until(status: &Status, next: Timestamp) -> String {
    if next <= status.at { "now".to_owned() } else { format!("in {}", coarse(next.seconds - status.at.seconds)) }
}

/// Exit codes of a check that found all that it looked at whole.
const IS_WHOLE: [u8; 2] = [Exit::Complete.code(), Exit::Overdue.code()];

fn check_text(status: &Status, repository: &RepositoryStatus) -> String {
    match (&repository.checked, &repository.checked_whole) {
        (Some(done), _) if IS_WHOLE.contains(&done.exit) => past(status.at.seconds - done.began),
        (Some(_), Some(whole)) => format!("NOT WHOLE, whole {}", past(status.at.seconds - whole.began)),
        (Some(_), None) => "NOT WHOLE".to_owned(),
        (None, _) => "never".to_owned(),
    }
}

fn done_json(done: &Done) -> Value {
    json!({
        "operation": done.verb.word(), "profile": done.profile, "repository": done.repository,
        "time": rfc3339(Timestamp { seconds: done.began, nanos: 0 }), "seconds": done.seconds, "code": done.exit,
        "snapshot_id": done.snapshot, "figures": done.figures, "message": done.message,
    })
}

/// Past runs, as [`json`] has them.
pub(super) fn runs_json(runs: &[Done]) -> Value {
    Value::Array(runs.iter().map(done_json).collect())
}

/// One document with everything.
pub(super) fn json(status: &Status) -> Value {
    let destination = |one: &Destination| {
        json!({
            "repository": one.repository, "status": one.verdict.word(), "asked": one.asked,
            "complete_snapshot": one.complete.as_ref().map(|seen| json!({
                "id": seen.id, "time": rfc3339(seen.start), "total_bytes": seen.total_bytes,
            })),
            "snapshots": one.snapshots, "growth_bytes": one.growth_bytes,
            "last_run": one.last.as_ref().map(done_json), "last_verification": one.verified.as_ref().map(done_json),
            "last_restore": one.restored.as_ref().map(done_json),
        })
    };
    let profile = |profile: &ProfileStatus| {
        json!({
            "profile": profile.name, "status": profile.verdict().word(),
            "max_age_seconds": profile.max_age.map(|age| age.as_secs()), "next_run": profile.next.map(rfc3339),
            "repositories": profile.destinations.iter().map(destination).collect::<Vec<_>>(),
        })
    };
    let repository = |one: &RepositoryStatus| {
        json!({
            "repository": one.name, "unreachable": one.unreachable.as_ref().map(|(_, why)| why), "bytes": one.bytes,
            "last_check": one.checked.as_ref().map(done_json), "last_prune": one.pruned.as_ref().map(done_json),
            "last_whole_check": one.checked_whole.as_ref().map(done_json),
        })
    };
    json!({
        "message_type": "status", "time": rfc3339(status.at), "host": status.host,
        "profiles": status.profiles.iter().map(profile).collect::<Vec<_>>(),
        "repositories": status.repositories.iter().map(repository).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::state::{Figures, Verb};
    use crate::status::{Known, Limit, Seen};

    const README: &str = include_str!("../../../README.md");
    const HOUR: i64 = 3600;
    const NOW: Timestamp = Timestamp { seconds: 1000 * HOUR, nanos: 0 };

    fn done(verb: Verb, hours_ago: i64, exit: u8, message: Option<&str>) -> Done {
        Done {
            verb,
            profile: None,
            repository: String::new(),
            began: NOW.seconds - hours_ago * HOUR,
            seconds: 60.0,
            exit,
            snapshot: None,
            figures: Figures::default(),
            message: message.map(str::to_owned),
        }
    }

    fn destination(repository: &str, hours_ago: i64, total_bytes: u64, stored: u64) -> Destination {
        let start = Timestamp { seconds: NOW.seconds - hours_ago * HOUR, nanos: 0 };
        let seen = Seen { id: "0".repeat(64), start, total_bytes, strange: false, verified: None };
        let figures = Figures { stored_bytes: Some(stored), ..Figures::default() };
        let recent = vec![Done { figures, ..done(Verb::Backup, hours_ago, 0, None) }];
        let newest =
            if hours_ago > 30 { vec![done(Verb::Backup, 9, 7, Some("its server did not answer"))] } else { Vec::new() };
        let known = Known { snapshots: Some(vec![(true, seen)]), newest, recent, ..Known::default() };
        Destination::new(repository, known, Limit::Age(Duration::from_secs(36 * 3600)), NOW)
    }

    fn repository(name: &str, checked: Option<Done>) -> RepositoryStatus {
        RepositoryStatus {
            name: name.into(),
            unreachable: None,
            checked_whole: checked.clone(),
            checked,
            pruned: None,
            bytes: None,
        }
    }

    #[test]
    fn the_readme_shows_how_things_stand_as_they_are_shown() {
        let next = Some(Timestamp { seconds: NOW.seconds + 14 * HOUR, nanos: 0 });
        let profile = |name: &str, destinations| ProfileStatus {
            destinations,
            ..ProfileStatus::new(Some(name.into()), None, next)
        };
        let (mib, gib) = (1 << 20, 1_u64 << 30);
        let gitea = [destination("ssd", 9, gib * 12 / 10, 212 * mib), destination("b2", 9, gib * 12 / 10, 212 * mib)];
        let plex = [
            destination("ssd", 9, gib * 861 / 10, gib * 34 / 10),
            destination("b2", 33, gib * 861 / 10, gib * 34 / 10),
        ];
        let status = Status {
            at: NOW,
            host: "nas".into(),
            profiles: vec![profile("gitea", gitea.into()), profile("plex", plex.into())],
            repositories: vec![repository("ssd", Some(done(Verb::Check, 50, 0, None))), repository("b2", None)],
        };
        let start = README.find("$ bk status\n").unwrap() + "$ bk status\n".len();
        let shown: Vec<&str> = README[start..].lines().take_while(|line| *line != "```").collect();
        assert_eq!(lines(&status), shown, "\n{}", lines(&status).join("\n"));
    }
}

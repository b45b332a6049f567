//! Hooks: each is there, its tools too, and the login works.

use std::time::Duration;

use super::{Finding, Level};
use crate::hook::{Facts, Hook, HookError};
use crate::job::{Plan, Surroundings, probe};
use crate::profile::{HookUse, Profile, Role};

/// A server that does not answer in this time is a problem.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// So many of the last lines of a hook are told.
const LAST_LINES: usize = 3;

pub(super) fn hooks(profile: &Profile, plan: &Plan, surroundings: &Surroundings, findings: &mut Vec<Finding>) {
    for used in &plan.hooks {
        let subject = format!("hook {}", used.hook);
        let limited = HookUse { time_limit: used.time_limit.min(TIME_LIMIT), ..used.clone() };
        match probe(surroundings, &profile.name, &plan.roots, &limited) {
            Ok(Some(facts)) => of_facts(&subject, used, &facts, surroundings, findings),
            Ok(None) if used.optional || used.role != Role::Database => {
                findings.push(Finding::ok(subject, "has nothing to do here"));
            }
            Ok(None) => findings.push(Finding::new(
                Level::Problem,
                subject,
                "found nothing to dump",
                "say which database there is, or set `optional = true` when that is right",
            )),
            Err(error) => failed(&subject, &error, findings),
        }
    }
}

/// What a hook said that is in its way; its last words tell more than bk can.
fn failed(subject: &str, error: &HookError, findings: &mut Vec<Finding>) {
    let HookError::Command { source, problems, .. } = error else {
        findings.push(Finding::new(Level::Problem, subject, error.to_string(), error.hint()));
        return;
    };
    let words = source.stderr().unwrap_or_default();
    for problem in problems {
        let mut more: Vec<&str> = words.lines().map(str::trim).collect();
        more.retain(|line| !line.is_empty() && *line != problem.message);
        let last = more.get(more.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join(" ");
        let message = if last.is_empty() { problem.message.clone() } else { format!("{}: {last}", problem.message) };
        let hint = problem.hint.clone().unwrap_or_else(|| error.hint());
        findings.push(Finding::new(Level::Problem, subject, message, hint));
    }
    if problems.is_empty() {
        findings.push(Finding::new(Level::Problem, subject, error.in_one_line(), error.hint()));
    }
}

fn of_facts(subject: &str, used: &HookUse, facts: &Facts, surroundings: &Surroundings, findings: &mut Vec<Finding>) {
    for problem in &facts.problems {
        let hint = problem.hint.clone().unwrap_or_else(|| "see the manual of the hook".to_owned());
        findings.push(Finding::new(Level::Problem, subject, problem.message.clone(), hint));
    }
    for warning in &facts.warnings {
        let hint = "a backup will say so too; bk-hook(7) tells what the hook can be told";
        findings.push(Finding::new(Level::Warning, subject, warning.clone(), hint));
    }
    if facts.streams.is_empty() && used.role == Role::Database && !used.optional {
        let hint = "say which database there is, or set `optional = true` when that is right";
        findings.push(Finding::new(Level::Problem, subject, "the server has no database to dump", hint));
    } else if facts.problems.is_empty() {
        let own = Hook::find(&used.hook, &surroundings.hooks).ok().filter(|hook| hook.own_text().is_some());
        findings.push(Finding::ok(subject, ready(used, facts, own.as_ref())));
    }
}

/// What it would do.
fn ready(used: &HookUse, facts: &Facts, own: Option<&Hook>) -> String {
    let mut parts: Vec<String> = facts.server.iter().cloned().collect();
    let streams: Vec<&str> = facts.streams.iter().map(|(stream, _)| stream.as_str()).collect();
    if !streams.is_empty() {
        parts.push(format!("would dump {}", streams.join(", ")));
    }
    match used.role {
        Role::Quiesce => parts.push("would be told to stand still while it is read".to_owned()),
        Role::Snapshot => parts.push("would make a snapshot of the file system".to_owned()),
        Role::Other | Role::Database => {}
    }
    if parts.is_empty() {
        parts.push("is ready".to_owned());
    }
    parts.extend(own.map(|hook| format!("this machine's own, {}", hook.origin())));
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::tests::{plan, profile, told};
    use super::*;
    use crate::hook::Journal;

    struct Deaf;

    impl crate::job::Listener for Deaf {
        fn note(&self, _: &str) {}
        fn warning(&self, _: &str) {}
    }

    fn probed(script: &str, optional: bool) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let surroundings = Surroundings {
            hooks: folder.path().to_owned(),
            journal: Journal::new(folder.path().join("journal")),
            scratch: folder.path().to_owned(),
            home: None,
            cancel: std::sync::Arc::default(),
            listener: std::sync::Arc::new(Deaf),
        };
        let mut plan = plan(folder.path());
        plan.hooks.push(HookUse { optional, ..HookUse::of("mine", Role::Database) });
        let mut findings = Vec::new();
        hooks(&profile(&[]), &plan, &surroundings, &mut findings);
        findings
    }

    #[test]
    fn a_hook_that_can_dump_says_what_and_whose_it_is() {
        let found = probed(r#"echo '{"server":"Mine 3"}' >&3; echo '{"stream":"a.dump"}' >&3"#, false);
        assert!(found.len() == 1 && found[0].level == Level::Ok, "{found:?}");
        let message = &found[0].message;
        assert!(message.starts_with("Mine 3; would dump a.dump; this machine's own, /") && message.ends_with("/mine"));
    }

    #[test]
    fn what_a_hook_says_is_wrong_comes_with_its_last_words_and_its_hint() {
        let script = r#"echo "FATAL: no such role" >&2; echo '{"problem":"cannot log in","hint":"set user"}' >&3; echo cannot log in >&2; exit 1"#;
        let found = probed(script, false);
        assert_eq!(told(&found), [(Level::Problem, "cannot log in: FATAL: no such role")]);
        assert_eq!(found[0].hint.as_deref(), Some("set user"));
        let found = probed("echo broken >&2; exit 3", false);
        assert!(found[0].level == Level::Problem && found[0].message.contains("broken"), "{found:?}");
    }

    #[test]
    fn a_hook_with_nothing_to_do_is_well_only_when_it_is_optional() {
        assert_eq!(probed("exit 75", true)[0].level, Level::Ok);
        assert_eq!(probed("exit 75", false)[0].level, Level::Problem);
        assert_eq!(probed("exit 0", false)[0].level, Level::Problem);
        let warned = probed(r#"echo '{"warning":"MyISAM","stream":"x"}' >&3"#, false);
        assert_eq!(warned.iter().map(|one| one.level).collect::<Vec<_>>(), [Level::Warning, Level::Ok]);
    }
}

//! What a night came to: per profile and repository, and in one exit code.

use serde_json::{Value, json};

use crate::command::Session;
use crate::command::backup::{Destination, Outcome};
use crate::size::ByteSize;
use crate::state::Figures;
use crate::ui::text::{count, duration, line_text};
use crate::ui::{Align, Exit, Failure, Table};

/// One profile of the night.
pub(in crate::command) struct Step {
    /// Its backup.
    pub outcome: Outcome,
    /// What took much longer than usual.
    pub slow: Vec<String>,
    /// What came of forgetting, by repository.
    pub forgotten: Vec<(String, Result<Exit, Failure>)>,
}

/// One repository of the night.
pub(in crate::command) struct Pruned {
    pub repository: String,
    pub exit: Exit,
    pub figures: Figures,
    pub seconds: f64,
    pub message: Option<String>,
}

/// The night.
pub(in crate::command) struct Report {
    pub steps: Vec<Step>,
    pub pruned: Vec<Pruned>,
    pub seconds: f64,
    pub interrupted: bool,
}

impl Step {
    /// The repositories that have what this run saw.
    pub fn reached(&self) -> Vec<String> {
        let has = |one: &&Destination| one.snapshot.is_some() || one.exit == Exit::Complete;
        self.outcome.destinations.iter().filter(has).map(|one| one.repository.clone()).collect()
    }

    /// The worst of it.
    pub fn exit(&self) -> Exit {
        let forgotten = self.forgotten.iter().map(|(_, done)| match done {
            Ok(exit) => *exit,
            Err(failure) => failure.exit,
        });
        forgotten.fold(self.outcome.exit(), Exit::worst)
    }

    /// Its name.
    pub fn profile(&self) -> &str {
        self.outcome.profile.as_deref().unwrap_or_default()
    }
}

impl Report {
    /// The worst of all.
    pub fn exit(&self) -> Exit {
        let steps = self.steps.iter().map(Step::exit);
        let own = if self.interrupted { Exit::Interrupted } else { Exit::Complete };
        steps.chain(self.pruned.iter().map(|pruned| pruned.exit)).fold(own, Exit::worst)
    }

    /// Bytes that no snapshot had before, in all profiles.
    pub fn new_bytes(&self) -> u64 {
        let first = |step: &Step| step.outcome.destinations.iter().find_map(|one| one.figures.new_bytes);
        self.steps.iter().filter_map(first).sum()
    }

    /// Shows it.
    pub fn show(&self, session: &Session) {
        let screen = &session.screen;
        if screen.json {
            screen.json_line(&self.json());
            return;
        }
        let titles = [
            ("PROFILE", Align::Left),
            ("REPOSITORY", Align::Left),
            ("NEW", Align::Right),
            ("STORED", Align::Right),
            ("TOOK", Align::Right),
            ("OUTCOME", Align::Left),
        ];
        let mut table = Table::new(&titles);
        for step in &self.steps {
            let mut said: Option<&str> = None;
            for (at, one) in step.outcome.destinations.iter().enumerate() {
                let bytes = |bytes: Option<u64>| bytes.map_or_else(String::new, |bytes| ByteSize(bytes).to_string());
                let failed = step.outcome.result.is_err();
                let word = if failed { Exit::Failed.word() } else { one.exit.word() };
                // What went wrong for all of them is said once.
                let message = one.message.as_deref().filter(|message| said != Some(message));
                said = one.message.as_deref();
                let outcome = match message {
                    Some(message) => format!("{}: {}", word.to_uppercase(), line_text(message)),
                    None if one.exit == Exit::Complete => word.to_owned(),
                    None => word.to_uppercase(),
                };
                let colour = if one.exit == Exit::Complete { "32" } else { "31" };
                table.row([
                    if at == 0 { line_text(step.profile()) } else { String::new() },
                    line_text(&one.repository),
                    bytes(one.figures.new_bytes),
                    bytes(one.figures.stored_bytes),
                    duration(one.seconds),
                    screen.paint(&outcome, colour),
                ]);
            }
        }
        if !table.is_empty() {
            table.lines().iter().for_each(|line| screen.line(line));
        }
        for step in &self.steps {
            for slow in &step.slow {
                screen.line(&format!("slow: {} in {slow}", line_text(step.profile())));
            }
        }
        screen.line(&self.conclusion());
    }

    /// One sentence.
    pub fn conclusion(&self) -> String {
        let complete = self.steps.iter().filter(|step| step.outcome.exit() == Exit::Complete).count();
        let all = count(self.steps.len() as u64, "profile", "profiles");
        let took = duration(self.seconds);
        let stopped = if self.interrupted { "; the run was stopped" } else { "" };
        match complete == self.steps.len() {
            true => format!("{all} backed up in {took}{stopped}"),
            false => format!("{complete} of {all} complete in {took}{stopped}"),
        }
    }

    fn json(&self) -> Value {
        let destination = |one: &Destination| {
            json!({
                "repository": one.repository, "outcome": one.exit.word(), "code": one.exit.code(),
                "snapshot_id": one.snapshot, "seconds": one.seconds, "dumps_seconds": one.dumps_seconds,
                "figures": one.figures, "message": one.message,
            })
        };
        let forgotten = |(repository, done): &(String, Result<Exit, Failure>)| {
            let (exit, message) = match done {
                Ok(exit) => (*exit, None),
                Err(failure) => (failure.exit, Some(failure.in_one_line())),
            };
            json!({"repository": repository, "code": exit.code(), "message": message})
        };
        let step = |step: &Step| {
            json!({
                "profile": step.outcome.profile, "outcome": step.outcome.exit().word(), "code": step.exit().code(),
                "seconds": step.outcome.seconds, "slow": step.slow,
                "message": step.outcome.result.as_ref().err().map(Failure::in_one_line),
                "repositories": step.outcome.destinations.iter().map(destination).collect::<Vec<_>>(),
                "forgotten": step.forgotten.iter().map(forgotten).collect::<Vec<_>>(),
            })
        };
        let pruned = |one: &Pruned| {
            json!({
                "repository": one.repository, "outcome": one.exit.word(), "code": one.exit.code(),
                "seconds": one.seconds, "figures": one.figures, "message": one.message,
            })
        };
        json!({
            "message_type": "run", "code": self.exit().code(), "seconds": self.seconds,
            "interrupted": self.interrupted,
            "profiles": self.steps.iter().map(step).collect::<Vec<_>>(),
            "pruned": self.pruned.iter().map(pruned).collect::<Vec<_>>(),
        })
    }
}

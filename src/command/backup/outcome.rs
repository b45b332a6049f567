//! What a run came to, by repository.

use crate::clock::Timestamp;
use crate::command::session::Target;
use crate::format::snapshot::Outcome as Whole;
use crate::operation::backup::{BackupStats, SiblingStats};
use crate::state::{Done, Figures, Verb};
use crate::ui::text::seconds_between;
use crate::ui::{Exit, Failure};

/// What became of one repository.
#[derive(Debug, Clone)]
pub(in crate::command) struct Destination {
    /// Its name.
    pub repository: String,
    /// The exit code that it gives by itself.
    pub exit: Exit,
    /// The snapshot that it has now.
    pub snapshot: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// How long the dumps among it took.
    pub dumps_seconds: f64,
    /// What was counted.
    pub figures: Figures,
    /// Why it is not complete.
    pub message: Option<String>,
}

/// What became of one profile, or of paths.
#[derive(Debug)]
pub(in crate::command) struct Outcome {
    /// The profile; `None` when paths were backed up.
    pub profile: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// The exit code, or why there is no snapshot at all.
    pub result: Result<Exit, Failure>,
    /// Each repository that it should have reached.
    pub destinations: Vec<Destination>,
}

impl Destination {
    /// A repository that the source was read for.
    pub fn first(repository: &str, exit: Exit, stats: &BackupStats) -> Self {
        let counted = &stats.statistics;
        let problems = stats.problems.count();
        let message = match (stats.outcome, stats.anomalies.is_empty()) {
            (Whole::Incomplete, _) => {
                let first = stats.problems.first().into_iter().next();
                let kind = first.map_or_else(String::new, |problem| format!(", the first: {}", problem.message));
                Some(format!("{problems} problem{}{kind}", if problems == 1 { "" } else { "s" }))
            }
            (Whole::Complete, false) => Some(stats.anomalies.join("; ")),
            (Whole::Complete, true) => None,
        };
        Self {
            repository: repository.to_owned(),
            exit,
            snapshot: stats.snapshot.as_ref().map(|info| info.id.to_string()),
            seconds: seconds_between(stats.start, stats.end),
            dumps_seconds: stats.streams_seconds,
            figures: Figures {
                files: Some(counted.files),
                total_bytes: Some(counted.total_bytes),
                new_bytes: Some(counted.new_bytes),
                stored_bytes: Some(counted.stored_bytes),
                problems: Some(problems),
                ..Figures::default()
            },
            message,
        }
    }

    /// A repository that got what `first` got.
    pub fn sibling(first: &Self, stats: &SiblingStats) -> Self {
        let stored_bytes = Some(stats.stored_bytes + stats.caught_up.stored_bytes);
        Self {
            repository: stats.name.clone(),
            snapshot: stats.snapshot.map(|id| id.to_string()),
            seconds: stats.seconds,
            figures: Figures { stored_bytes, ..first.figures },
            ..first.clone()
        }
    }

    /// A repository in which there is nothing to keep.
    pub fn nothing(repository: &str) -> Self {
        Self {
            repository: repository.to_owned(),
            exit: Exit::Complete,
            snapshot: None,
            seconds: 0.0,
            dumps_seconds: 0.0,
            figures: Figures::default(),
            message: None,
        }
    }

    /// A repository that has no snapshot of this run.
    pub fn missed(repository: &str, exit: Exit, failure: &Failure) -> Self {
        Self { exit, message: Some(failure.in_one_line()), ..Self::nothing(repository) }
    }
}

impl Outcome {
    /// Puts down each repository that nothing is known of: what kept the run from it is why it has no snapshot. One
    /// that has none while another has is behind.
    pub fn settle(&mut self, targets: &[Target]) {
        if let Err(failure) = &self.result {
            for target in targets {
                if !self.destinations.iter().any(|known| known.repository == target.name) {
                    let missed = Destination::missed(&target.name, failure.exit, failure);
                    self.destinations.push(Destination { seconds: self.seconds, ..missed });
                }
            }
        }
        // A service that keeps nothing has been seen to in all of them.
        if self.destinations.is_empty() && matches!(self.result, Ok(Exit::Complete)) {
            self.destinations = targets.iter().map(|target| Destination::nothing(&target.name)).collect();
        }
        if self.destinations.iter().any(|destination| destination.snapshot.is_some()) {
            for missed in self.destinations.iter_mut().filter(|one| one.snapshot.is_none() && one.exit == Exit::Failed)
            {
                missed.exit = Exit::Behind;
            }
        }
    }

    /// The worst that it came to.
    pub fn exit(&self) -> Exit {
        self.result.as_ref().map_or_else(|failure| failure.exit, |exit| *exit)
    }

    /// As it is remembered.
    pub fn done(&self) -> impl Iterator<Item = Done> + '_ {
        self.destinations.iter().map(|destination| Done {
            verb: Verb::Backup,
            profile: self.profile.clone(),
            repository: destination.repository.clone(),
            began: self.began.seconds,
            seconds: destination.seconds,
            exit: destination.exit.code(),
            snapshot: destination.snapshot.clone(),
            figures: destination.figures,
            message: destination.message.clone(),
        })
    }
}

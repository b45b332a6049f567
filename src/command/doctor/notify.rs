//! Whether notices arrive: tried out, since nobody notices that nothing comes.

use super::{Finding, Group, Level};
use crate::clock::Clock as _;
use crate::command::Session;
use crate::command::session::host_name;
use crate::notify::{NotifyError, Sender};

/// Sends a test to every channel.
pub(super) fn told(session: &Session) -> Vec<Group> {
    let channels = &session.config.channels;
    if channels.is_empty() {
        let hint = "add a section [notify.NAME] to bk.toml; `bk config example` shows every kind";
        let finding = Finding::new(Level::Note, "notify", "nobody is told how backups went", hint);
        return vec![Group::new("machine", "notices", vec![finding])];
    }
    let answers = Sender::default().test_all(channels, &host_name(), session.clock.wall());
    answers.into_iter().map(|(name, answer)| Group::new("notify", &name, vec![finding(answer)])).collect()
}

fn finding(answer: Result<String, NotifyError>) -> Finding {
    match answer {
        Ok(answer) => Finding::ok("test", format!("sent: {answer}")),
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!("; {source}")).unwrap_or_default();
            let message = format!("{}{source}", error.without_channel());
            Finding::new(Level::Problem, "test", message, error.hint())
        }
    }
}

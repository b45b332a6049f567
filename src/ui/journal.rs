//! Standard error as the journal of systemd reads it: each line with how much it matters (sd-daemon(3)).

use std::os::unix::fs::MetadataExt as _;

/// How much a line matters, as syslog(3) counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matters {
    /// What was asked for is not done.
    Error = 3,
    /// It may be, but something should be looked at.
    Warning = 4,
    /// It is only said.
    Info = 6,
}

/// Whether standard error is connected to the journal, as `JOURNAL_STREAM` says (systemd.exec(5)): whoever redirects
/// it inherits the variable, but not the stream.
pub(super) fn is_journal() -> bool {
    let Some(said) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let file = std::fs::metadata("/proc/self/fd/2");
    file.is_ok_and(|file| said == format!("{}:{}", file.dev(), file.ino()))
}

/// `text` with its weight before each line.
pub(super) fn weighed(text: &str, matters: Matters) -> String {
    let lines = text.lines().map(|line| format!("<{}>{line}", matters as u8));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_its_weight() {
        assert_eq!(weighed("disk full\nhint: make room", Matters::Error), "<3>disk full\n<3>hint: make room");
        assert_eq!(weighed("done", Matters::Info), "<6>done");
    }
}

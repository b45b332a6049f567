//! `bk dump`: a file, or a tar of a folder, to the standard output.

use std::ffi::OsString;
use std::io::{BufWriter, ErrorKind, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;

use clap::Args;

use super::Session;
use super::look::{Looking, described, place, progress, read_ahead};
use super::select::FilterArgs;
use crate::format::node::NodeKind;
use crate::operation::dump::{self, DumpError};
use crate::operation::list::{Located, Place};
use crate::repository::ReadAhead;
use crate::ui::{Exit, Failure, json, text};

/// Bytes gathered before they are written.
const GATHERED: usize = 256 << 10;

/// Write a file, or a folder as a tar stream, to the standard output
///
/// `bk dump latest /srv/wiki/page.txt > page.txt`, or `bk dump wiki /srv/wiki | tar -x`. Entries of a tar stream begin
/// with the name of the folder; where PATH is above what was backed up, with their whole path.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Snapshot: an id, `latest`, or a profile for its newest one
    pub snapshot: String,
    /// File or folder in it, as it was on the machine
    pub path: OsString,
    /// Write a tar stream of a file too, with its owner, mode and times
    #[arg(long)]
    pub tar: bool,
    /// Which snapshots are meant.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// What is written.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    File(Box<Located>),
    Tar(Vec<Located>),
}

/// What to write for `place`; the error is an entry that has no content.
fn plan(place: Place, tar: bool) -> Result<Plan, Box<Located>> {
    let entry = match place {
        Place::Entry(entry) => entry,
        Place::Above(roots) => return Ok(Plan::Tar(roots)),
        Place::Missing { .. } => return Ok(Plan::Tar(Vec::new())),
    };
    match entry.node.kind {
        NodeKind::File { .. } if !tar => Ok(Plan::File(entry)),
        NodeKind::Directory { .. } => Ok(Plan::Tar(vec![named(*entry)])),
        _ if tar => Ok(Plan::Tar(vec![named(*entry)])),
        _ => Err(entry),
    }
}

/// Called by its last name in a tar stream.
fn named(mut entry: Located) -> Located {
    let last = entry.restore_path.rsplit(|byte| *byte == b'/').next();
    entry.restore_path = last.unwrap_or_default().to_vec();
    entry
}

/// Standard output. Whoever reads it may stop (`bk dump … | head`): that ends the program without noise.
struct Output(std::io::StdoutLock<'static>);

fn quiet<T>(result: std::io::Result<T>) -> std::io::Result<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(141),
        result => result,
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        quiet(self.0.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        quiet(self.0.flush())
    }
}

impl DumpArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When the snapshot cannot be read, the path is not in it, or the output cannot be written.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let looking = Looking::open(session)?;
        let info = looking.snapshot(&self.snapshot, &self.filter)?;
        let mut reader = looking.reader()?;
        let stdout = std::io::stdout();
        let is_terminal = stdout.is_terminal();
        let plan = plan(place(&mut reader, info, &self.path)?, self.tar).map_err(|entry| {
            let path = text::path_text(&entry.path);
            let hint = match &entry.node.kind {
                NodeKind::Symlink { target } => {
                    format!("it points to {}; --tar keeps the link", text::path_text(target))
                }
                _ => "--tar writes it as an entry of a tar stream".to_owned(),
            };
            let message = format!("{path} in {} has no content: it is a {}", described(info), json::kind(&entry.node));
            Failure::usage(message, hint)
        })?;
        if is_terminal && matches!(plan, Plan::Tar(_)) {
            return Err(Failure::usage(
                format!(
                    "{} is written as a tar stream, which no terminal can show",
                    text::path_text(self.path.as_bytes())
                ),
                "send it to a file with `> dump.tar`, or to `| tar -x`; `bk ls` lists what is in it",
            ));
        }
        let entries = match &plan {
            Plan::File(entry) => std::slice::from_ref(&**entry),
            Plan::Tar(entries) => entries,
        };
        let nodes = entries.iter().map(|entry| &entry.node);
        let scratch = super::service::scratch(session)?;
        let ahead = read_ahead(session, &looking.opened, &looking.index, nodes, &scratch)?;
        let mut reader = looking.reader()?.with_ahead(ahead.as_ref());
        let mut out = BufWriter::with_capacity(GATHERED, Output(stdout.lock()));
        let written = ReadAhead::while_working(ahead.as_ref(), || match plan {
            Plan::File(entry) => dump::file(&mut reader, &entry.node, &mut out, session.interrupted()),
            Plan::Tar(entries) => {
                let shown = progress(session, "dump");
                dump::archive(&mut reader, entries, &mut out, session.interrupted(), &*shown)
            }
        });
        let left_out = written.map_err(failure)?.left_out;
        if left_out > 0 {
            session.screen.note(&format!("{} left out", text::count(left_out, "socket was", "sockets were")));
        }
        Ok(Exit::Complete)
    }
}

fn failure(error: DumpError) -> Failure {
    match error {
        DumpError::Repository(error) => error.into(),
        DumpError::Output(_) => {
            Failure::of(Exit::Failed, &error, "check that there is room for it; what is written so far is not whole")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::bench::{Bench, file, folder, symlink};
    use crate::operation::list::locate;

    #[test]
    fn a_file_is_written_as_it_is_and_a_folder_as_tar_called_by_its_last_name() {
        let bench = Bench::new();
        let tree = folder("x", vec![file("f", b"1"), symlink("l", "f")]);
        let snapshot = bench.snapshot(vec![("/mnt", tree)]).snapshot;
        let plan =
            |path: &str, tar| plan(bench.read(|reader| locate(reader, &snapshot, path.as_bytes())).unwrap(), tar);
        let names = |planned: Result<Plan, _>| match planned {
            Ok(Plan::Tar(entries)) => entries.into_iter().map(|entry| entry.restore_path).collect(),
            other => panic!("{other:?}"),
        };
        let names = |planned| -> Vec<Vec<u8>> { names(planned) };
        assert!(matches!(plan("/mnt/x/f", false), Ok(Plan::File(_))));
        assert_eq!(names(plan("/mnt/x/f", true)), [b"f"]);
        assert_eq!(names(plan("/mnt/x", false)), [b"x"]);
        assert_eq!(names(plan("/mnt", false)), [b"mnt/x"]);
        assert!(plan("/mnt/x/l", false).is_err());
        assert_eq!(names(plan("/mnt/x/l", true)), [b"l"]);
    }
}

//! Running a hook.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use super::facts::MAX_LEN;
use super::{Facts, Hook, HookError, Script};
use crate::source::command::{CommandError, Input, Program, Running};

/// The exit code of a hook that has nothing to do.
const NOTHING_TO_DO: i32 = 75;

/// The shell that gives a hook its descriptors, and becomes it. `$1` is where facts go, `$2` the script or program, `$3`
/// the verb. Only a dump has an output: of other verbs nobody would read it, and they would wait for ever.
const LAUNCH_BUILT_IN: &str =
    "[ \"$3\" = dump ] || exec >/dev/null; exec 3>>\"$1\" 4<\"$2\" && shift 2 && exec /bin/sh /dev/fd/4 \"$@\"";
const LAUNCH_FILE: &str = "[ \"$3\" = dump ] || exec >/dev/null; exec 3>>\"$1\" && shift && exec \"$@\"";

/// A hook with everything it is told.
#[derive(Debug)]
pub struct Call {
    /// The hook.
    pub hook: Hook,
    /// What it is told, by name.
    pub variables: Vec<(OsString, OsString)>,
    /// How long each run may take.
    pub time_limit: Option<Duration>,
    /// Its private folder, which its caller removes.
    pub folder: PathBuf,
    /// Once this is set, a run of it is stopped.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// A hook that is running.
pub struct Started {
    hook: String,
    running: Running,
    facts: File,
    /// Where its facts begin in that file, in bytes.
    facts_start: u64,
    /// Kept open until the end: the hook reads it.
    _script: Option<File>,
}

/// A hook that ended well.
#[derive(Debug, Default)]
pub struct Finished {
    /// What it found out.
    pub facts: Facts,
    /// It said that there was nothing to do.
    pub skipped: bool,
}

impl Call {
    /// Runs the hook to its end; nothing of its output is kept but its facts.
    ///
    /// # Errors
    /// [`HookError`], unless it ended well or had nothing to do.
    pub fn run(
        &self,
        verb: &str,
        stream: Option<&str>,
        on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Finished, HookError> {
        let mut started = self.start(verb, stream, Input::Nothing, on_line)?;
        // What a hook says where nobody listens is not an error of the hook.
        let _ = io::copy(&mut started.running, &mut io::sink());
        started.finish()
    }

    /// As [`Self::run`], with the facts written to `journal` as they are said.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_into(
        &self,
        verb: &str,
        journal: File,
        on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Finished, HookError> {
        let mut started = self.launch(verb, None, Input::Nothing, journal, on_line)?;
        let _ = io::copy(&mut started.running, &mut io::sink());
        started.finish()
    }

    /// Starts the hook.
    ///
    /// # Errors
    /// [`HookError::Prepare`] and [`HookError::Command`]; nothing runs then.
    pub fn start(
        &self,
        verb: &str,
        stream: Option<&str>,
        input: Input,
        on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Started, HookError> {
        let facts = self.memory("facts")?;
        self.launch(verb, stream, input, facts, on_line)
    }

    fn launch(
        &self,
        verb: &str,
        stream: Option<&str>,
        input: Input,
        facts: File,
        on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Started, HookError> {
        let own = |file: &File| OsString::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        let mut argv: Vec<OsString> = vec!["/bin/sh".into(), "-c".into()];
        let script = match &self.hook.script {
            Script::BuiltIn(text) => {
                let mut script = self.memory("script")?;
                script
                    .write_all(text.as_bytes())
                    .map_err(|error| self.cannot("its script cannot be handed on", error))?;
                argv.extend([LAUNCH_BUILT_IN.into(), self.hook.name.clone().into(), own(&facts), own(&script)]);
                Some(script)
            }
            Script::File(path) => {
                argv.extend([LAUNCH_FILE.into(), self.hook.name.clone().into(), own(&facts), path.into()]);
                None
            }
        };
        argv.push(verb.into());
        argv.extend(stream.map(OsString::from));
        let label = match stream {
            Some(stream) => format!("hook {} {verb} {stream}", self.hook.name),
            None => format!("hook {} {verb}", self.hook.name),
        };
        let mut variables =
            vec![("BK_HOOK_PROTOCOL".into(), "1".into()), ("BK_SCRATCH".into(), self.folder.clone().into_os_string())];
        variables.extend(self.variables.iter().cloned());
        let program = Program {
            argv: &argv,
            time_limit: self.time_limit,
            label: Some(&label),
            variables: &variables,
            folder: Some(&self.folder),
            input,
            // What sets things going again is let alone.
            cancel: self.cancel.as_ref().filter(|_| verb != "end"),
        };
        let facts_start = facts.metadata().map_or(0, |metadata| metadata.len());
        let running = program.start(on_line).map_err(|source| self.failed(source, Vec::new()))?;
        Ok(Started { hook: self.hook.name.clone(), running, facts, facts_start, _script: script })
    }

    fn memory(&self, what: &str) -> Result<File, HookError> {
        memfd_create(format!("bk-{what}"), MemfdFlags::CLOEXEC)
            .map(File::from)
            .map_err(|error| self.cannot("there is no memory for it", error.into()))
    }

    fn cannot(&self, what: &str, source: io::Error) -> HookError {
        HookError::Prepare { hook: self.hook.name.clone(), what: what.to_owned(), source }
    }

    fn failed(&self, source: CommandError, problems: Vec<super::Problem>) -> HookError {
        HookError::Command { hook: self.hook.name.clone(), source, problems }
    }
}

impl Started {
    /// The program: its output is read from it.
    pub const fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`HookError::Command`], unless it ended well or had nothing to do.
    pub fn finish(mut self) -> Result<Finished, HookError> {
        let end = self.running.finish();
        let facts = read_facts(&mut self.facts, self.facts_start);
        match end {
            Ok(()) => Ok(Finished { facts, skipped: false }),
            Err(CommandError::Failed { code: NOTHING_TO_DO, .. }) => Ok(Finished { facts, skipped: true }),
            Err(source) => Err(HookError::Command { hook: self.hook, source, problems: facts.problems }),
        }
    }
}

/// What was said so far; what cannot be read was not said.
fn read_facts(file: &mut File, start: u64) -> Facts {
    let mut text = Vec::new();
    let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.take(MAX_LEN).read_to_end(&mut text));
    let mut facts = Facts::parse(&text);
    match read {
        Err(error) => facts.warnings.push(format!("what the hook found out cannot be read: {error}")),
        Ok(length) if length as u64 == MAX_LEN => facts.warnings.push("the hook said too much to be kept".to_owned()),
        Ok(_) => {}
    }
    facts
}

/// A private folder for the runs of one hook.
///
/// # Errors
/// As the system says.
pub fn private_folder(scratch: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("bk-hook-").tempdir_in(scratch)
}

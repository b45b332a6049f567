//! One run for one profile: before → quiesce → dumps → snapshot of the file system → files → let go → after.
//!
//! Whatever was stopped goes on again, however the run ends: by the guard that [`Quiesced`] is, by [`recover`] at the
//! next run when bk or the machine died.

mod around;
mod config_file;
mod container;
mod detect;
mod dumps;
pub mod examine;
mod load;
mod location;
mod moments;
mod prepare;
mod quiesce;
mod way_back;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use around::Around;
pub use detect::Detected;
use dumps::probe_with;
pub use dumps::{DUMPS, hook_of, is_of_server, probe};
pub(crate) use load::feed;
pub use load::{LoadError, Server, load};
pub use location::decoded;
pub use moments::{Moment, run_commands};
pub use prepare::{Plan, drop_nested, plan};
pub use quiesce::{Quiesced, recover};
pub use way_back::{Asked, NoWay, WayBack, used_for, way_back};

use crate::hook::{Call, Hook, HookError, Journal};
use crate::profile::HookUse;

/// Hears what happens, for people.
pub trait Listener: Send + Sync {
    /// Something ordinary.
    fn note(&self, message: &str);
    /// Something to be kept in sight.
    fn warning(&self, message: &str);
}

/// What runs of hooks need from the machine.
#[derive(Clone)]
pub struct Surroundings {
    /// Where a machine's own hooks lie.
    pub hooks: PathBuf,
    /// What is stopped right now.
    pub journal: Journal,
    /// Folder for private folders of hooks.
    pub scratch: PathBuf,
    /// Home folder, for `~/`.
    pub home: Option<PathBuf>,
    /// Once this is set, dumps and whatever else can be stopped are.
    pub cancel: Arc<AtomicBool>,
    /// Who hears of it.
    pub listener: Arc<dyn Listener>,
}

/// A hook made ready for one profile, with a private folder that goes when this goes.
pub(crate) struct Ready {
    pub(crate) call: Call,
    _folder: tempfile::TempDir,
}

impl Surroundings {
    /// Makes a hook ready.
    pub(crate) fn ready(&self, profile: &str, roots: &[PathBuf], used: &HookUse) -> Result<Ready, HookError> {
        let hook = Hook::find(&used.hook, &self.hooks)?;
        let folder = crate::hook::private_folder(&self.scratch).map_err(|source| HookError::Prepare {
            hook: used.hook.clone(),
            what: format!("its folder cannot be made in {}", self.scratch.display()),
            source,
        })?;
        let variables = variables(profile, roots, used);
        let call = Call {
            hook,
            variables,
            time_limit: Some(used.time_limit),
            folder: folder.path().to_owned(),
            cancel: Some(Arc::clone(&self.cancel)),
        };
        Ok(Ready { call, _folder: folder })
    }

    /// A function that hands on what a hook says.
    pub(crate) fn hear(&self, hook: &str) -> impl FnMut(&str) + Send + 'static {
        let (listener, hook) = (Arc::clone(&self.listener), hook.to_owned());
        move |line: &str| listener.note(&format!("{hook}: {}", line.trim_end()))
    }
}

/// What a hook is told: bk-hook(7), "ENVIRONMENT".
fn variables(profile: &str, roots: &[PathBuf], used: &HookUse) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    use std::ffi::OsString;
    let mut lines = OsString::new();
    for (at, root) in roots.iter().enumerate() {
        if at > 0 {
            lines.push("\n");
        }
        lines.push(root);
    }
    let mut variables: Vec<(OsString, OsString)> =
        vec![("BK_PROFILE".into(), profile.into()), ("BK_ROOTS".into(), lines)];
    for (key, values) in &used.settings {
        let name = format!("BK_SET_{}", key.to_uppercase().replace('-', "_"));
        variables.push((name.into(), values.join("\n").into()));
    }
    if let Some(container) = &used.container {
        variables.push(("BK_CONTAINER_RUNTIME".into(), container.runtime.clone().into()));
        variables.push(("BK_CONTAINER".into(), container.name.clone().into()));
        let optional = [("BK_CONTAINER_OWNER", &container.owner), ("BK_CONTAINER_USER", &container.exec_user)];
        let said = optional.into_iter().filter_map(|(name, value)| Some((name.into(), value.clone()?.into())));
        variables.extend(said);
    }
    variables
}

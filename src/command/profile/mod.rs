//! `bk profile`: what bk knows of services, and what the user says of them.

mod list;
mod new;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Session;
use crate::ui::{Exit, Failure};

/// Show what bk knows of services, and what it would back up here
///
/// A profile says what is backed up, what is left out, and which databases are dumped. Many services have a built-in
/// one, which works without a configuration; bk.toml can change any part of it. Nothing is written by these commands.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List every profile: your own, and the built-in ones
    List {
        /// Only those that are configured, or whose data was found on this machine
        #[arg(long)]
        here: bool,
    },
    /// Show what a profile would back up here, and why; how to restore it, and what goes wrong
    Show {
        /// Name of a profile
        name: String,
    },
    /// Print a section for bk.toml, to begin with
    ///
    /// With the name of a service that bk knows, the section uses the built-in profile. Lines that begin with `#` and no
    /// space are settings to switch on.
    New {
        /// Name of the profile
        name: String,
        /// Folder with the data
        #[arg(long, value_name = "PATH")]
        root: Option<PathBuf>,
    },
}

impl ProfileArgs {
    /// Does it.
    ///
    /// # Errors
    /// When there is no such profile.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self.what {
            What::List { here } => list::run(session, here),
            What::Show { name } => show::run(session, &name),
            What::New { name, root } => new::run(session, &name, root.as_deref()),
        }
    }
}

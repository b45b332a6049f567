//! Where snapshots are forgotten: in a repository of bk, or among those that were exported to one in restic's format.

use crate::command::export::{Escape, own_snapshots, prune_open};
use crate::command::prune::{Pruned, Rest, prune};
use crate::command::restic::ResticPasswordArgs;
use crate::command::session::{Target, host_name};
use crate::command::{Opened, Session};
use crate::id::IdPrefix;
use crate::interop::restic::Access;
use crate::operation::forget::forget;
use crate::repository::{SnapshotInfo, Snapshots};
use crate::ui::Failure;

/// A repository, open for forgetting.
pub(in crate::command) enum Place {
    /// One of bk.
    Own(Opened),
    /// One in restic's format; nobody else works with it meanwhile.
    Escape(Box<Escape>),
}

/// Whether anything is to be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::command) enum Purpose {
    /// It is.
    Forget,
    /// Only what would be is to be said.
    Look,
}

impl Place {
    /// Opens it.
    ///
    /// # Errors
    /// As they come; and when what is exported there may be pinned, and nobody can say so.
    pub fn open(session: &Session, target: &Target, purpose: Purpose) -> Result<Self, Failure> {
        if target.is_restic() {
            return Self::escape(session, target, purpose, &own_snapshots(session)?);
        }
        session.open(target).map(Self::Own)
    }

    /// Opens one in restic's format; `own` is what a repository of bk knows of its snapshots.
    ///
    /// # Errors
    /// As they come.
    pub fn escape(session: &Session, target: &Target, purpose: Purpose, own: &Snapshots) -> Result<Self, Failure> {
        let access = if purpose == Purpose::Forget { Access::Exclusive } else { Access::Read };
        let escape = Escape::open(session, target, access, &ResticPasswordArgs::default(), own)?;
        Ok(Self::Escape(Box::new(escape)))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Own(opened) => &opened.name,
            Self::Escape(escape) => &escape.name,
        }
    }

    /// Its snapshots; of one in restic's format those that were exported there, by the ids that they have with us.
    ///
    /// # Errors
    /// As they come.
    pub fn snapshots(&self) -> Result<Snapshots, Failure> {
        match self {
            Self::Own(opened) => Ok(Snapshots::load(&opened.repository)?),
            Self::Escape(escape) => Ok(escape.held.clone()),
        }
    }

    /// What a user means who may also name an exported snapshot by the id that it has there.
    pub fn meant(&self, id: &IdPrefix) -> IdPrefix {
        let Self::Escape(escape) = self else { return id.clone() };
        if escape.held.all.iter().any(|info| id.matches(&info.id.0)) {
            return id.clone();
        }
        match escape.of_ours(id).as_slice() {
            [one] => IdPrefix::new(&one.to_string()).unwrap_or_else(|_| id.clone()),
            _ => id.clone(),
        }
    }

    /// Lets go of snapshots.
    ///
    /// # Errors
    /// As they come.
    pub fn forget(&mut self, session: &Session, gone: &[&SnapshotInfo]) -> Result<(), Failure> {
        match self {
            Self::Own(opened) => {
                forget(&opened.repository, gone, &host_name(), &session.clock)?;
                Ok(())
            }
            Self::Escape(escape) => escape.forget(&gone.iter().map(|info| info.id).collect::<Vec<_>>()),
        }
    }

    /// Takes away what no snapshot needs.
    ///
    /// # Errors
    /// As they come.
    pub fn prune(&mut self, session: &Session, target: &Target, rest: &Rest) -> Result<Pruned, Failure> {
        match self {
            Self::Own(opened) => prune(session, opened, rest),
            Self::Escape(escape) => prune_open(session, target, escape.restic(), rest),
        }
    }
}

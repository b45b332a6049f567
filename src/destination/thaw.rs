//! Immutable and append-only entries: nothing about them changes until the flag is gone.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::existing::Kind;
use super::resolve::Resolve;
use crate::format::node::{FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NODUMP};

const FROZEN: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);
const KEPT: IFlags = FROZEN.union(IFlags::NODUMP);

/// Takes immutable and append-only off the open `fd`; says which of them it had.
pub(super) fn thaw(fd: BorrowedFd<'_>) -> Result<IFlags, Errno> {
    let flags = rustix::fs::ioctl_getflags(fd)?;
    let frozen = flags & FROZEN;
    if !frozen.is_empty() {
        rustix::fs::ioctl_setflags(fd, flags - FROZEN)?;
    }
    Ok(frozen)
}

/// Puts back what [`thaw`] took.
pub(super) fn freeze(fd: BorrowedFd<'_>, frozen: IFlags) -> Result<(), Errno> {
    rustix::fs::ioctl_setflags(fd, rustix::fs::ioctl_getflags(fd)? | frozen)
}

/// Does `call`; if it is not permitted because `name` in `folder` is frozen, thaws that and does it again.
///
/// A file with several names is frozen again afterwards: the others may be outside the target.
pub(super) fn thawed<T>(
    resolve: Resolve,
    folder: BorrowedFd<'_>,
    name: &[u8],
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let refused = match call() {
        Err(errno @ (Errno::PERM | Errno::ACCESS)) => errno,
        result => return result,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(fd) = resolve.open(folder, name, flags, Mode::empty()) else { return Err(refused) };
    let Ok(found) = rustix::fs::fstat(&fd) else { return Err(refused) };
    let kind = Kind::of_mode(found.st_mode);
    let has_flags = matches!(kind, Kind::Directory | Kind::File);
    match has_flags.then(|| thaw(fd.as_fd())) {
        Some(Ok(frozen)) if !frozen.is_empty() => {
            let result = call();
            if kind == Kind::File && found.st_nlink > 1 {
                let _ = freeze(fd.as_fd(), frozen);
            }
            result
        }
        _ => Err(refused),
    }
}

/// Makes the flags of the open `fd` those of the node: immutable, append-only, nodump; others stay.
pub(super) fn set(fd: BorrowedFd<'_>, wanted: u32) -> Result<(), Errno> {
    let mut flags = IFlags::empty();
    for (bit, flag) in
        [(FLAG_IMMUTABLE, IFlags::IMMUTABLE), (FLAG_APPEND, IFlags::APPEND), (FLAG_NODUMP, IFlags::NODUMP)]
    {
        flags.set(flag, wanted & bit != 0);
    }
    let now = match rustix::fs::ioctl_getflags(fd) {
        // This file system has no flags: fine as long as none are asked for.
        Err(Errno::NOTTY | Errno::NOTSUP | Errno::INVAL | Errno::BADF | Errno::NOSYS) if flags.is_empty() => {
            return Ok(());
        }
        now => now?,
    };
    if now & KEPT == flags {
        return Ok(());
    }
    rustix::fs::ioctl_setflags(fd, (now - KEPT) | flags)
}

//! Opening one name in a directory without ever following a link.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How a directory is opened.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// How something is held without being opened: links, devices, directories we may not read.
pub(super) const HOLD: OFlags = OFlags::PATH;

/// Whether the kernel keeps the walk below the directory, or we do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolve {
    /// `openat2` (Linux 5.6).
    Kernel,
    /// `openat(O_NOFOLLOW)`; as strong for a single name, which [`super::check_name`] makes sure of.
    Component,
}

impl Resolve {
    /// Tries `openat2` on `folder`. It is missing on old kernels, and forbidden (`EPERM`) by some containers' filters.
    pub(super) fn detect(folder: BorrowedFd<'_>) -> Self {
        match Self::Kernel.open(folder, b".", DIRECTORY | HOLD, Mode::empty()) {
            Ok(_) => Self::Kernel,
            Err(_) => Self::Component,
        }
    }

    /// Opens `name` in `folder`; a symbolic link there is an error, or is held itself with [`HOLD`].
    pub(super) fn open(self, folder: BorrowedFd<'_>, name: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match self {
            Self::Component => retry(|| rustix::fs::openat(folder, name, flags, mode)),
            Self::Kernel => {
                let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                retry(|| rustix::fs::openat2(folder, name, flags, mode, beneath))
            }
        }
    }
}

/// Repeats what a signal, or a concurrent rename during the walk, interrupted.
pub(super) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..1000 {
        match call() {
            Err(Errno::INTR | Errno::AGAIN) => {}
            result => return result,
        }
    }
    call()
}

/// The way to a held descriptor for calls that take only paths. Not a walk: `/proc` leads to the inode itself.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens the directory `name` although its permissions forbid it to us, its owner, by granting them.
pub(super) fn open_locked(resolve: Resolve, folder: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    match resolve.open(folder, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let held = resolve.open(folder, name, HOLD | OFlags::DIRECTORY, Mode::empty())?;
            rustix::fs::chmod(proc_path(held.as_fd()), Mode::RWXU)?;
            resolve.open(folder, name, DIRECTORY, Mode::empty())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::*;

    #[test]
    fn neither_way_follows_a_link() {
        let bench = Bench::new();
        std::os::unix::fs::symlink("/etc", bench.path("link")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root", bench.path("magic")).unwrap();
        let folder = std::fs::File::open(bench.path("")).unwrap();
        for way in [Resolve::Kernel, Resolve::Component] {
            for name in [&b"link"[..], b"magic"] {
                for flags in [DIRECTORY, OFlags::RDONLY, DIRECTORY | HOLD] {
                    assert!(way.open(folder.as_fd(), name, flags, Mode::empty()).is_err(), "{way:?} {flags:?}");
                }
                let held = way.open(folder.as_fd(), name, HOLD, Mode::empty()).unwrap();
                let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&held).unwrap().st_mode);
                assert_eq!(kind, rustix::fs::FileType::Symlink, "the link itself is held, not its target");
            }
        }
    }

    #[test]
    fn this_kernel_has_openat2() {
        let bench = Bench::new();
        let folder = std::fs::File::open(bench.path("")).unwrap();
        assert_eq!(Resolve::detect(folder.as_fd()), Resolve::Kernel);
    }
}

//! Owner, permissions, attributes and times, in the only order that keeps them all.
//!
//! *chown → chmod → attributes → times.* Changing the owner clears setuid, setgid and file capabilities, so it comes
//! first; every change before the times moves them, so they come last. (borg#920, burp#522, umoci#166 lost
//! capabilities to another order.) Flags such as immutable forbid all of it and follow when the entry has its name.

use std::fmt;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::owner::Owners;
use super::place::Place;
use super::resolve::proc_path;
use super::thaw;
use super::xattr::{self, Extras};
use crate::format::node::{FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NODUMP, Metadata, Timestamp};

/// Something about a restored entry that could not be made as it was. The entry itself is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct MetadataProblem {
    /// The entry, for people: control characters are escaped.
    pub path: String,
    /// What is missing.
    pub what: Aspect,
    /// What the system said.
    #[source]
    pub error: Errno,
}

/// The part of an entry that a [`MetadataProblem`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aspect {
    /// Owner and group.
    Owner {
        /// Wanted user.
        uid: u32,
        /// Wanted group.
        gid: u32,
    },
    /// Permission bits.
    Mode(u32),
    /// setuid and setgid, left off because the program would run as somebody else than recorded.
    SetId,
    /// This extended attribute.
    Xattr(String),
    /// This extended attribute, which the snapshot does not have, is still there.
    ExtraXattr(String),
    /// Time of the last change.
    Times,
    /// Immutable, append-only, nodump.
    Flags(u32),
    /// The device, pipe or socket itself: it was not made.
    Special,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner { uid, gid } => write!(f, "the owner is not {uid}:{gid}"),
            Self::Mode(mode) => write!(f, "the permissions are not {mode:04o}"),
            Self::SetId => f.write_str("setuid and setgid are left off, because the owner is not the recorded one"),
            Self::Xattr(name) => write!(f, "the extended attribute `{name}` is missing"),
            Self::ExtraXattr(name) => write!(f, "the extended attribute `{name}` should not be there"),
            Self::Times => f.write_str("the time of the last change is not the recorded one"),
            Self::Flags(flags) => {
                let names = [(FLAG_IMMUTABLE, " immutable"), (FLAG_APPEND, " append-only"), (FLAG_NODUMP, " nodump")];
                f.write_str("the flags are not exactly:")?;
                names.iter().filter(|(bit, _)| flags & bit != 0).try_for_each(|(_, name)| f.write_str(name))
            }
            Self::Special => f.write_str("the device, pipe or socket was not made"),
        }
    }
}

/// Collects problems of one entry; its path is put together only if there are any.
pub(super) struct Problems<'a> {
    pub(super) place: &'a Place,
    /// The entry in it, or nothing when it is the place itself.
    pub(super) name: Option<&'a [u8]>,
    pub(super) found: Vec<MetadataProblem>,
}

impl<'a> Problems<'a> {
    pub(super) const fn new(place: &'a Place, name: Option<&'a [u8]>) -> Self {
        Self { place, name, found: Vec::new() }
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> Aspect, result: Result<(), Errno>) {
        if let Err(error) = result {
            let path = self.name.map_or_else(|| self.place.shown(), |name| self.place.shown_below(name));
            self.found.push(MetadataProblem { path, what: what(), error });
        }
    }
}

/// The inode whose metadata is set: reached by descriptor, so that nobody can put another one in its place.
pub(super) struct Target<'a> {
    pub(super) fd: BorrowedFd<'a>,
    /// Set when `fd` only holds the inode (`O_PATH`), which many calls do not accept.
    pub(super) proc_path: Option<String>,
    /// A symbolic link: it has no permissions of its own.
    pub(super) link: bool,
}

impl<'a> Target<'a> {
    /// A file or directory that is open.
    pub(super) const fn open(fd: BorrowedFd<'a>) -> Self {
        Self { fd, proc_path: None, link: false }
    }

    /// Anything that is only held.
    pub(super) fn held(fd: BorrowedFd<'a>, link: bool) -> Self {
        Self { fd, proc_path: Some(proc_path(fd)), link }
    }

    fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self.proc_path {
            Some(_) => rustix::fs::chownat(self.fd, "", uid, gid, AtFlags::EMPTY_PATH),
            None => rustix::fs::fchown(self.fd, uid, gid),
        }
    }

    pub(super) fn set_mode(&self, mode: Mode) -> Result<(), Errno> {
        match &self.proc_path {
            Some(path) => rustix::fs::chmod(path, mode),
            None => rustix::fs::fchmod(self.fd, mode),
        }
    }

    fn set_mtime(&self, mtime: Timestamp) -> Result<(), Errno> {
        if mtime.nanos > 999_999_999 {
            return Err(Errno::INVAL); // larger values mean "now" or "do nothing" to the kernel
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
        };
        match &self.proc_path {
            None => rustix::fs::futimens(self.fd, &times),
            Some(path) => match rustix::fs::utimensat(self.fd, "", &times, AtFlags::EMPTY_PATH) {
                // Linux before 5.8.
                Err(Errno::INVAL) => rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
                result => result,
            },
        }
    }
}

/// Makes everything but the flags of `target` as `wanted` has it; what fails is noted and the rest is still done.
pub(super) fn apply(
    target: &Target<'_>,
    wanted: &Metadata,
    owners: &Owners,
    extras: Extras,
    problems: &mut Problems<'_>,
) {
    let (uid, gid) = owners.of(wanted);
    if owners.sets() {
        problems.note(|| Aspect::Owner { uid, gid }, own(target, uid, gid));
    }
    let privileged = !is_privileged(wanted) || is_owned(target, uid, gid);
    if !target.link {
        let mut mode = wanted.mode & 0o7777;
        if !privileged && mode & 0o6000 != 0 {
            mode &= 0o1777;
            problems.note(|| Aspect::SetId, Err(Errno::PERM));
        }
        problems.note(|| Aspect::Mode(mode), target.set_mode(Mode::from_raw_mode(mode)));
    }
    xattr::apply(target, wanted, privileged, extras, problems);
    problems.note(|| Aspect::Times, target.set_mtime(wanted.mtime));
}

/// Sets user and group, or at least the one of them we may.
fn own(target: &Target<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    target.set_owner(Some(uid), Some(gid)).inspect_err(|_| {
        let _ = target.set_owner(None, Some(gid));
        let _ = target.set_owner(Some(uid), None);
    })
}

/// Whether running it gives somebody's powers away.
fn is_privileged(wanted: &Metadata) -> bool {
    wanted.mode & 0o6000 != 0 || wanted.xattrs.iter().any(|xattr| xattr.name == xattr::CAPABILITY)
}

fn is_owned(target: &Target<'_>, uid: u32, gid: u32) -> bool {
    rustix::fs::fstat(target.fd).is_ok_and(|found| (found.st_uid, found.st_gid) == (uid, gid))
}

/// The very last step: flags, after which nothing about the entry can change.
pub(super) fn apply_flags(fd: BorrowedFd<'_>, wanted: &Metadata, problems: &mut Problems<'_>) {
    problems.note(|| Aspect::Flags(wanted.flags), thaw::set(fd, wanted.flags));
}

#[cfg(test)]
mod tests {
    use super::super::bench::{Bench, inline, is_root, metadata, unprivileged};
    use super::super::{Destination, OwnerPolicy, Special};
    use super::*;

    #[test]
    fn setuid_and_capabilities_are_left_off_when_the_owner_cannot_be_set() {
        if !unprivileged(
            "destination::metadata::tests::setuid_and_capabilities_are_left_off_when_the_owner_cannot_be_set",
        ) {
            return;
        }
        let bench = Bench::new();
        let mut wanted = metadata(0o6755);
        wanted.uid = 0;
        wanted.xattrs = vec![inline("user.note", b"x")];
        let problems = bench.folder().create_file(b"su").unwrap().finish(&wanted).unwrap();
        let what: Vec<_> = problems.iter().map(|problem| problem.what.clone()).collect();
        assert_eq!(what, [Aspect::Owner { uid: 0, gid: wanted.gid }, Aspect::SetId]);
        let found = bench.folder().existing(b"su").unwrap().unwrap();
        assert_eq!((found.mode, found.uid, found.mtime), (0o755, wanted.uid.max(found.uid), wanted.mtime));
        // One's own setuid program is fine.
        assert_eq!(bench.folder().create_file(b"own").unwrap().finish(&metadata(0o4755)).unwrap(), []);
        assert_eq!(bench.folder().existing(b"own").unwrap().unwrap().mode, 0o4755);
        // A device is a problem, not an error.
        let device = Special::CharDevice { major: 1, minor: 3 };
        let problems = bench.folder().special(b"null", device, &metadata(0o666)).unwrap();
        assert_eq!((problems.len(), &problems[0].what), (1, &Aspect::Special));
        assert!(bench.folder().names().unwrap().all(|name| name.unwrap() != b"null"));
    }

    #[test]
    fn keeping_the_owner_leaves_off_what_would_run_as_somebody_else() {
        if !is_root() {
            return;
        }
        let bench = Bench::new();
        let folder = Destination::open(&bench.path(""), OwnerPolicy::Keep).unwrap().root();
        let mut wanted = metadata(0o4755);
        wanted.uid = 1234;
        wanted.xattrs =
            vec![inline("security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])];
        let problems = folder.create_file(b"f").unwrap().finish(&wanted).unwrap();
        let what: Vec<_> = problems.into_iter().map(|problem| problem.what).collect();
        assert_eq!(what, [Aspect::SetId, Aspect::Xattr("security.capability".into())]);
        let found = folder.existing(b"f").unwrap().unwrap();
        assert_eq!((found.mode, found.uid), (0o755, 0));
    }

    #[test]
    fn times_keep_their_nanoseconds_and_may_be_before_1970() {
        let bench = Bench::new();
        let folder = bench.folder();
        let mut wanted = metadata(0o755);
        wanted.mtime = Timestamp { seconds: -86_401, nanos: 999_999_999 };
        folder.create_file(b"file").unwrap().finish(&wanted).unwrap();
        folder.symlink(b"link", b"nowhere", &wanted).unwrap();
        folder.special(b"pipe", Special::Fifo, &wanted).unwrap();
        assert_eq!(folder.make(b"folder", Default::default()).unwrap().0.finish(&wanted), []);
        for name in [&b"file"[..], b"link", b"pipe", b"folder"] {
            assert_eq!(folder.existing(name).unwrap().unwrap().mtime, wanted.mtime, "{name:?}");
        }
    }

    #[test]
    fn nanoseconds_that_mean_now_to_the_kernel_are_refused() {
        let bench = Bench::new();
        for nanos in [(1 << 30) - 1, (1 << 30) - 2, 1_000_000_000, u32::MAX] {
            let mut wanted = metadata(0o600);
            wanted.mtime.nanos = nanos;
            let problems = bench.folder().create_file(b"f").unwrap().finish(&wanted).unwrap();
            assert_eq!((problems.len(), &problems[0].what), (1, &Aspect::Times));
        }
    }

    #[test]
    fn immutable_comes_last_and_a_second_restore_gets_past_it() {
        if !is_root() {
            return;
        }
        let bench = Bench::new();
        let mut frozen = metadata(0o644);
        frozen.flags = FLAG_IMMUTABLE | FLAG_NODUMP;
        for round in 0..3 {
            let (folder, _) = bench.folder().make(b"d", Default::default()).unwrap();
            let writer = match round {
                2 => folder.open_existing(b"f").unwrap().unwrap(),
                _ => folder.create_file(b"f").unwrap(),
            };
            writer.write_at(0, b"content").unwrap();
            assert_eq!(writer.finish(&frozen).unwrap(), []);
            assert!(std::fs::write(bench.path("d/f"), b"").is_err());
            let mut append = metadata(0o755);
            append.flags = FLAG_APPEND;
            assert_eq!(folder.finish(&append), []);
            assert!(folder.existing(b"f").unwrap().unwrap().frozen);
        }
        // A name more for an immutable file; then everything is made changeable again.
        let (folder, existing) = bench.folder().make(b"d", Default::default()).unwrap();
        assert!(existing.unwrap().frozen);
        folder.hard_link(&folder, b"f", b"g").unwrap();
        assert!(folder.existing(b"g").unwrap().unwrap().frozen);
        let file = std::fs::File::open(bench.path("d/f")).unwrap();
        thaw::set(std::os::fd::AsFd::as_fd(&file), 0).unwrap();
        assert_eq!(
            folder.set_metadata(b"f", &frozen).unwrap_err().to_string(),
            format!("{} has other hard links, which would change with it", bench.path("d/f").display())
        );
        folder.remove(b"g").unwrap();
        assert_eq!(folder.set_metadata(b"f", &frozen).unwrap(), []);
        assert_eq!(folder.set_metadata(b"f", &metadata(0o644)).unwrap(), []);
        assert!(!folder.existing(b"f").unwrap().unwrap().frozen);
    }
}

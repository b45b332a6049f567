//! Extended attributes: POSIX ACLs and file capabilities among them.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, XattrFlags};
use rustix::io::Errno;

use super::metadata::{Aspect, Problems, Target};
use super::name::shown;
use crate::format::node::{Metadata, XattrValue};

/// The attribute that gives a program powers of root.
pub(super) const CAPABILITY: &[u8] = b"security.capability";
/// Most bytes of names an inode can have (`XATTR_LIST_MAX`).
const MAX_LIST_LEN: usize = 65536;

/// What becomes of attributes the snapshot does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extras {
    /// There can be none: the entry is new, in a folder that hands none down.
    Absent,
    /// They are removed.
    Removed,
}

/// Makes the attributes of `target` those of `wanted`; `privileged` tells whether capabilities may be among them.
pub(super) fn apply(
    target: &Target<'_>,
    wanted: &Metadata,
    privileged: bool,
    extras: Extras,
    problems: &mut Problems<'_>,
) {
    if extras == Extras::Removed {
        remove_extras(target, wanted, problems);
    }
    for xattr in &wanted.xattrs {
        let result = match &xattr.value {
            XattrValue::Stored(_) => Err(Errno::NODATA),
            XattrValue::Inline(_) if xattr.name == CAPABILITY && !privileged => Err(Errno::PERM),
            XattrValue::Inline(value) => set(target, &xattr.name, value),
        };
        problems.note(|| Aspect::Xattr(shown(&xattr.name)), result);
    }
}

/// Sets one attribute. Without root's powers `user.` attributes need write permission, even from the owner: it is
/// granted for the moment.
fn set(target: &Target<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    match target.set_xattr(name, value) {
        Err(Errno::ACCESS) if !target.link => {
            let mode = Mode::from_raw_mode(rustix::fs::fstat(target.fd)?.st_mode & 0o7777);
            target.set_mode(mode | Mode::WUSR)?;
            let result = target.set_xattr(name, value);
            target.set_mode(mode)?;
            result
        }
        result => result,
    }
}

fn remove_extras(target: &Target<'_>, wanted: &Metadata, problems: &mut Problems<'_>) {
    let mut buffer = [0; 1024];
    let mut large;
    let names = match target.list_xattrs(&mut buffer) {
        Ok(length) => buffer.get(..length),
        Err(Errno::RANGE) => {
            large = vec![0; MAX_LIST_LEN];
            match target.list_xattrs(&mut large) {
                Ok(length) => large.get(..length),
                Err(errno) => return problems.note(|| Aspect::ExtraXattr("*".into()), Err(errno)),
            }
        }
        Err(_) => return, // the file system has none
    };
    for name in names.unwrap_or_default().split(|byte| *byte == 0).filter(|name| is_ours(name)) {
        if wanted.xattrs.iter().any(|xattr| xattr.name == name) {
            continue;
        }
        match target.remove_xattr(name) {
            Ok(()) | Err(Errno::NODATA) => {}
            Err(errno) => problems.note(|| Aspect::ExtraXattr(shown(name)), Err(errno)),
        }
    }
}

/// Whether an attribute is a user's or administrator's, not the system's own book-keeping such as `security.selinux`.
fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name.starts_with(b"system.posix_acl_")
        || (name.starts_with(b"trusted.") && !name.starts_with(b"trusted.overlay."))
        || name == CAPABILITY
}

impl Target<'_> {
    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match &self.proc_path {
            Some(path) => rustix::fs::setxattr(path, name, value, XattrFlags::empty()),
            None => rustix::fs::fsetxattr(self.fd, name, value, XattrFlags::empty()),
        }
    }

    fn list_xattrs(&self, names: &mut [u8]) -> Result<usize, Errno> {
        match &self.proc_path {
            Some(path) => rustix::fs::listxattr(path, names),
            None => rustix::fs::flistxattr(self.fd, names),
        }
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<(), Errno> {
        match &self.proc_path {
            Some(path) => rustix::fs::removexattr(path, name),
            None => rustix::fs::fremovexattr(self.fd, name),
        }
    }
}

/// Whether new entries in the open `folder` inherit an ACL, which would then be one too many.
pub(super) fn hands_down(folder: BorrowedFd<'_>) -> bool {
    rustix::fs::fgetxattr_query(folder.as_fd(), b"system.posix_acl_default".as_slice()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::bench::{Bench, inline, is_root, metadata, unprivileged};
    use super::*;
    use crate::format::node::{Content, Xattr};

    /// `user::rw-, user:1234:r--, group::r--, mask::r--, other::---`, as the kernel stores it.
    const ACL: [u8; 44] = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xd2, 4, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0,
        4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];
    /// `cap_net_bind_service=ep`.
    const NET_BIND: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn output(program: &str, path: std::path::PathBuf) -> String {
        let ran = Command::new(program).arg("-n").arg(&path).output();
        let Ok(ran) = ran else { return String::new() };
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    #[test]
    fn capabilities_acls_and_setuid_survive_chown_and_chmod() {
        if !is_root() {
            return;
        }
        let bench = Bench::new();
        let mut wanted = metadata(0o6740);
        (wanted.uid, wanted.gid) = (1234, 1235);
        wanted.xattrs = vec![
            inline("security.capability", &NET_BIND),
            inline("system.posix_acl_access", &ACL),
            inline("user.note", b"kept"),
        ];
        let writer = bench.folder().create_file(b"f").unwrap();
        writer.write_at(0, b"#!").unwrap();
        assert_eq!(writer.finish(&wanted).unwrap(), []);
        let found = bench.folder().existing(b"f").unwrap().unwrap();
        assert_eq!(
            (found.mode, found.uid, found.gid),
            (0o6640, 1234, 1235),
            "the ACL's owner and mask bits are the mode's"
        );
        assert!(output("getfacl", bench.path("f")).contains("user:1234:r--"));
        let ran = Command::new("getcap").arg(bench.path("f")).output().unwrap();
        assert!(String::from_utf8_lossy(&ran.stdout).contains("cap_net_bind_service=ep"));
        // Again, over what is there: the same result.
        let writer = bench.folder().open_existing(b"f").unwrap().unwrap();
        assert_eq!(writer.finish(&wanted).unwrap(), []);
        let again = bench.folder().existing(b"f").unwrap().unwrap();
        assert_eq!((again.mode, again.uid, again.identity), (found.mode, found.uid, found.identity));
        let ran = Command::new("getcap").arg(bench.path("f")).output().unwrap();
        assert!(String::from_utf8_lossy(&ran.stdout).contains("cap_net_bind_service=ep"));
    }

    #[test]
    fn attributes_the_snapshot_does_not_have_are_removed_in_place() {
        let bench = Bench::new();
        let mut wanted = metadata(0o644);
        wanted.xattrs =
            vec![inline("user.old", b"1"), inline("user.kept", b"2"), inline("system.posix_acl_access", &ACL)];
        assert_eq!(bench.folder().create_file(b"f").unwrap().finish(&wanted).unwrap(), []);
        wanted.xattrs = vec![inline("user.kept", b"3")];
        let writer = bench.folder().open_existing(b"f").unwrap().unwrap();
        assert_eq!(writer.finish(&wanted).unwrap(), []);
        let mut names = vec![0; 1000];
        let length = rustix::fs::listxattr(bench.path("f"), &mut names[..]).unwrap();
        assert_eq!(&names[..length], b"user.kept\0");
        assert_eq!(bench.folder().existing(b"f").unwrap().unwrap().mode, 0o644);
    }

    #[test]
    fn an_acl_handed_down_by_the_folder_does_not_stay_on_what_is_restored() {
        let bench = Bench::new();
        let mut folder = metadata(0o755);
        folder.xattrs = vec![inline("system.posix_acl_default", &ACL)];
        assert_eq!(bench.folder().finish(&folder), []);
        let here = bench.folder();
        assert_eq!(here.create_file(b"f").unwrap().finish(&metadata(0o664)).unwrap(), []);
        let (below, _) = here.make(b"d", Default::default()).unwrap();
        assert_eq!(below.finish(&metadata(0o775)), []);
        for (name, mode) in [("f", 0o664), ("d", 0o775)] {
            let mut names = vec![0; 1000];
            assert_eq!(rustix::fs::listxattr(bench.path(name), &mut names[..]), Ok(0), "{name}");
            assert_eq!(here.existing(name.as_bytes()).unwrap().unwrap().mode, mode);
        }
    }

    #[test]
    fn a_value_that_was_not_loaded_is_a_problem() {
        let bench = Bench::new();
        let mut wanted = metadata(0o600);
        wanted.xattrs = vec![Xattr { name: b"user.big".to_vec(), value: XattrValue::Stored(Content::default()) }];
        let problems = bench.folder().create_file(b"f").unwrap().finish(&wanted).unwrap();
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].to_string().ends_with("/f: the extended attribute `user.big` is missing"),
            "{}",
            problems[0]
        );
    }

    #[test]
    fn a_user_attribute_gets_onto_ones_own_read_only_file() {
        if !unprivileged("destination::xattr::tests::a_user_attribute_gets_onto_ones_own_read_only_file") {
            return;
        }
        let bench = Bench::new();
        let mut wanted = metadata(0o4444);
        wanted.xattrs = vec![inline("user.note", b"x")];
        assert_eq!(bench.folder().create_file(b"f").unwrap().finish(&wanted).unwrap(), []);
        assert_eq!(bench.folder().existing(b"f").unwrap().unwrap().mode, 0o4444);
    }
}

//! What of this program's environment others may see.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// Beginnings of the names of variables that are never handed to a program.
const SECRET_VARIABLES: [&[u8]; 6] = [
    b"BK_PASSWORD",
    b"BK_KEY",
    b"AWS_SECRET_ACCESS_KEY",
    b"AWS_SESSION_TOKEN",
    b"RESTIC_PASSWORD",
    b"RESTIC_REST_PASSWORD",
];

/// Whether a variable could hold a secret of ours, so that no program that is started may get it.
#[must_use]
pub fn is_secret(variable: &OsStr) -> bool {
    SECRET_VARIABLES.iter().any(|beginning| variable.as_bytes().starts_with(beginning))
}

//! Verify: does this snapshot restore? Files are restored and compared with the snapshot, and with the machine's own
//! where nobody has changed them since.
//!
//! Either a sample is restored to a disk and read from it again, or everything is streamed into hashing, which takes no
//! room. Databases are not looked into here: that is what a drill is for.

mod original;
mod sample;
mod stream;
mod survey;

use std::sync::atomic::AtomicBool;

pub use sample::restore_sample;
pub use stream::{stream_all, stream_files, stream_part};
pub use survey::{Survey, Wanted, survey};

use crate::progress::Progress;
use crate::repository::{BlobReader, RepositoryError};

/// A file that does not come back as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyProblem {
    /// Where it was on the machine.
    pub path: Vec<u8>,
    /// What is wrong.
    pub message: String,
}

/// What was restored and compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyStats {
    /// Files that were read whole.
    pub files: u64,
    /// Large files of which only a part was read.
    pub parts: u64,
    /// Bytes read of both.
    pub bytes: u64,
    /// Files that were also compared with the machine's own, which nobody has changed since.
    pub compared_files: u64,
    /// What does not come back as it was.
    pub problems: Vec<VerifyProblem>,
    /// Files of this machine that could not be read to compare with.
    pub unread: Vec<VerifyProblem>,
}

impl VerifyStats {
    /// Adds what another part has shown.
    pub fn add(&mut self, other: Self) {
        self.files += other.files;
        self.parts += other.parts;
        self.bytes += other.bytes;
        self.compared_files += other.compared_files;
        self.problems.extend(other.problems);
        self.unread.extend(other.unread);
    }

    fn wrong(&mut self, path: &[u8], message: String) {
        self.problems.push(VerifyProblem { path: path.to_vec(), message });
    }

    fn compared(&mut self, path: &[u8], compared: original::Compared) {
        match compared {
            original::Compared::Same => self.compared_files += 1,
            original::Compared::Changed => {}
            original::Compared::Differs { at } => self.wrong(
                path,
                format!(
                    "it differs from the file on this machine at byte {at}, although size and times are the same: one of \
                     the two has changed by itself"
                ),
            ),
            original::Compared::Unreadable(error) => {
                self.unread.push(VerifyProblem { path: path.to_vec(), message: error.to_string() });
            }
        }
    }
}

/// What all parts of a verification need.
pub struct Verifier<'a, 'r> {
    /// Reads the repository.
    pub reader: &'a mut BlobReader<'r>,
    /// Whether the snapshot is of this machine, so that there may be something to compare with.
    pub is_own: bool,
    /// Who watches.
    pub progress: &'a dyn Progress,
    /// Set when the user wants it to end.
    pub interrupted: &'a AtomicBool,
}

/// Damage is what a verification looks for; anything else ends it.
fn damage_or(error: RepositoryError) -> Result<String, RepositoryError> {
    if error.is_damage() { Ok(error.to_string()) } else { Err(error) }
}

//! Where a restore writes: a real file system, below one folder, and never a byte outside it.
//!
//! Two parties may wish otherwise. The *repository* can be hostile: names such as `..` or `/etc`, links placed where
//! a later entry expects a directory. And *somebody on the machine* can plant or swap links in the target while the
//! restore runs. Both are answered the same way: nothing here ever joins paths. A [`Folder`] is an open directory;
//! everything is done relative to its descriptor, one checked name at a time, without following links
//! (`openat2(RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS)`, or `openat(O_NOFOLLOW)` on kernels before 5.6). Metadata
//! goes to the descriptor of what was made, not to its name. So paths longer than `PATH_MAX` need no care either.
//!
//! Entries appear under their name only when they are complete: they are made under an unpredictable temporary name
//! beside it and renamed. Big files of which little changed may be updated in place instead.
//!
//! What cannot be done for lack of power (another owner, a device) is not an error of the entry: it comes back as
//! [`MetadataProblem`]s beside the restored entry.

mod error;
mod existing;
mod folder;
mod metadata;
mod name;
mod owner;
mod place;
mod remove;
mod resolve;
mod root;
mod special;
mod temporary;
mod thaw;
mod writer;
mod xattr;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod hostile;

pub use error::DestinationError;
pub use existing::{Existing, Kind, Overwrite};
pub use folder::{Folder, Names};
pub use metadata::{Aspect, MetadataProblem};
pub use name::{MAX_NAME_LEN, NameError, check_name};
pub use owner::{OwnerPolicy, Owners};
pub use root::{Destination, FreeSpace};
pub use special::Special;
pub use writer::FileWriter;

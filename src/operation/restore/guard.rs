//! Directories and files that are finished by whoever touches them last: the owner, mode and times of a directory
//! can only be set when nothing is written into it any more.

use std::sync::Arc;

use super::{RestoreError, Run};
use crate::destination::{FileWriter, Folder};
use crate::format::node::Metadata;
use crate::operation::promise::Promise;

/// A directory that entries are being restored into.
pub(super) struct FolderGuard<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) folder: Folder,
    /// Set when all of it is done; absent for folders above a root.
    pub(super) metadata: Option<Metadata>,
    pub(super) above: Option<Arc<FolderGuard<'a>>>,
}

impl FolderGuard<'_> {
    fn finish(&mut self) {
        if let Some(metadata) = self.metadata.take() {
            self.run.stats.metadata_problems(self.folder.finish(&metadata));
        }
    }
}

impl Drop for FolderGuard<'_> {
    /// A loop, not a recursion: directories may be nested deeper than a stack.
    fn drop(&mut self) {
        self.finish();
        let mut above = self.above.take();
        while let Some(mut folder) = above.and_then(Arc::into_inner) {
            folder.finish();
            above = folder.above.take();
        }
    }
}

/// A file that several threads write into.
pub(super) struct FileGuard<'a> {
    pub(super) folder: Arc<FolderGuard<'a>>,
    pub(super) name: Vec<u8>,
    pub(super) metadata: Metadata,
    /// Taken away when the file cannot be completed; the temporary goes with it.
    pub(super) writer: Option<FileWriter>,
    pub(super) spoiled: std::sync::atomic::AtomicBool,
    /// Told whether the file is there, for its other names.
    pub(super) promise: Option<Arc<Promise<bool>>>,
}

impl FileGuard<'_> {
    pub(super) fn path(&self) -> String {
        self.folder.folder.shown_below(&self.name)
    }
}

impl Drop for FileGuard<'_> {
    fn drop(&mut self) {
        use std::sync::atomic::Ordering;
        let run = self.folder.run;
        let spoiled = self.spoiled.load(Ordering::Relaxed) || run.should_stop();
        let mut done = false;
        if let (Some(writer), false) = (self.writer.take(), spoiled) {
            match writer.finish(&self.metadata) {
                Ok(problems) => {
                    run.stats.metadata_problems(problems);
                    super::RestoreStats::add(&run.stats.files, 1);
                    done = true;
                }
                Err(error) => run.note(|| self.path(), RestoreError::Destination(error)),
            }
        }
        if let Some(promise) = &self.promise {
            promise.give(done);
        }
    }
}

//! The file that the textfile collector of node_exporter reads.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::MetricsError;

/// Writes `text` to `path` so that a reader sees the old numbers or the new ones, and never a part of them. Whoever
/// collects them is another user, so everybody may read the file.
///
/// # Errors
/// [`MetricsError`] with the path; the old file stays then.
pub fn write_textfile(path: &Path, text: &str) -> Result<(), MetricsError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let write = || {
        // The collector takes only names that end with `.prom`.
        let mut file = tempfile::Builder::new().prefix(".bk-").suffix(".new").tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(|source| MetricsError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_at_once_and_everybody_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bk.prom");
        write_textfile(&path, "a 1\n").unwrap();
        let before = std::fs::File::open(&path).unwrap();
        write_textfile(&path, "a 2\n").unwrap();
        assert_eq!(std::io::read_to_string(before).unwrap(), "a 1\n", "who reads it keeps what it opened");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a 2\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write_textfile(&folder.path().join("none/bk.prom"), "").unwrap_err();
        assert!(error.to_string().contains("none/bk.prom"));
    }
}

//! What users write as the place of a repository.

use std::path::{Path, PathBuf};

/// The place of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder on a mounted file system.
    Local(PathBuf),
}

/// A text that is no place this program can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Nothing.
    #[error("the location of the repository is empty")]
    Empty,
    /// A URL of a kind that is not supported.
    #[error("`{0}` locations are not supported by this version; a path of a local or mounted folder is")]
    Scheme(String),
}

impl LocationError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "give the folder of the repository, such as /mnt/ssd/bk"
    }
}

impl Location {
    /// Reads a location; a relative path counts from `folder`.
    ///
    /// # Errors
    /// [`LocationError`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError::Empty);
        }
        match text.split_once("://") {
            Some(("file", path)) => Ok(Self::Local(folder.join(path))),
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Err(LocationError::Scheme(format!("{scheme}://")))
            }
            _ => Ok(Self::Local(folder.join(text))),
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_locations_and_other_schemes_are_named() {
        let here = Path::new("/home/me");
        assert_eq!(Location::parse("repo", here), Ok(Location::Local("/home/me/repo".into())));
        assert_eq!(Location::parse("/mnt/x", here), Ok(Location::Local("/mnt/x".into())));
        assert_eq!(Location::parse("file:///mnt/x", here), Ok(Location::Local("/mnt/x".into())));
        assert_eq!(Location::parse("s3://b", here), Err(LocationError::Scheme("s3://".into())));
        assert_eq!(Location::parse("", here), Err(LocationError::Empty));
    }
}

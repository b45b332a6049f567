//! What can go wrong with telling numbers.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The numbers cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The file could not be written; the old one stays.
    #[error("the metrics cannot be written to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing can listen there.
    #[error("the metrics cannot be served at {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl MetricsError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Write { .. } => "make its folder, and let bk write there",
            Self::Listen { .. } => "choose another `listen` in [metrics], or end what listens there",
        }
    }
}

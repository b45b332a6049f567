//! Where the numbers for monitoring go.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::error::ConfigError;
use super::raw::Typed;
use super::scope::Scope;

/// Where the numbers for monitoring go; nowhere when nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metrics {
    /// The file that the textfile collector of node_exporter reads.
    pub textfile: Option<PathBuf>,
    /// Where `bk daemon` serves `/metrics` and `/health`.
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawMetrics {
    pub textfile: Typed<String>,
    pub listen: Typed<String>,
}

/// Reads the section of one file over what earlier ones said.
pub(super) fn read_metrics(raw: &RawMetrics, metrics: &mut Metrics, scope: &mut Scope<'_>) -> Result<(), ConfigError> {
    if let Some(path) = scope.path("textfile", &raw.textfile)? {
        let span = raw.textfile.as_ref().map(toml::Spanned::span).unwrap_or_default();
        if path.extension().is_none_or(|end| end != "prom") {
            let problem = (format!("is {}, which the collector does not read", path.display()), "end it with .prom");
            return Err(scope.wrong("textfile", span, problem));
        }
        metrics.textfile = Some(path);
    }
    if let Some(address) = scope.value("listen", &raw.listen)? {
        let span = raw.listen.as_ref().map(toml::Spanned::span).unwrap_or_default();
        let parsed = address.parse().map_err(|_| {
            let hint = "write an address and a port, such as \"127.0.0.1:9877\"";
            scope.wrong("listen", span, (format!("is `{address}`, which is no address"), hint))
        })?;
        metrics.listen = Some(parsed);
    }
    Ok(())
}

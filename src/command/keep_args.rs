//! `--keep-daily 7` and its like: the rules of retention on the command line.

use clap::Args;

use crate::retention::{Keep, Value};
use crate::ui::{Exit, Failure};

/// Which snapshots are kept, instead of what the configuration says.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is kept (instead of the configuration)")]
pub struct KeepArgs {
    /// The newest N complete snapshots; `all` of them
    #[arg(long, value_name = "N")]
    keep_last: Option<String>,
    /// The newest of each hour, for the N newest hours that have one; `all` hours
    #[arg(long, value_name = "N")]
    keep_hourly: Option<String>,
    /// The newest of each day, for the N newest days that have one; `all` days
    #[arg(long, value_name = "N")]
    keep_daily: Option<String>,
    /// The newest of each week, for the N newest weeks that have one; `all` weeks
    #[arg(long, value_name = "N")]
    keep_weekly: Option<String>,
    /// The newest of each month, for the N newest months that have one; `all` months
    #[arg(long, value_name = "N")]
    keep_monthly: Option<String>,
    /// The newest of each year, for the N newest years that have one; `all` years
    #[arg(long, value_name = "N")]
    keep_yearly: Option<String>,
    /// Everything of the last SPAN, such as 30d or 1y6mo
    #[arg(long, value_name = "SPAN")]
    keep_within: Option<String>,
    /// The newest of each hour of the last SPAN
    #[arg(long, value_name = "SPAN")]
    keep_within_hourly: Option<String>,
    /// The newest of each day of the last SPAN
    #[arg(long, value_name = "SPAN")]
    keep_within_daily: Option<String>,
    /// The newest of each week of the last SPAN
    #[arg(long, value_name = "SPAN")]
    keep_within_weekly: Option<String>,
    /// The newest of each month of the last SPAN
    #[arg(long, value_name = "SPAN")]
    keep_within_monthly: Option<String>,
    /// The newest of each year of the last SPAN
    #[arg(long, value_name = "SPAN")]
    keep_within_yearly: Option<String>,
    /// Everything with this tag; may be given several times
    #[arg(long, value_name = "TAG")]
    keep_tag: Vec<String>,
}

impl KeepArgs {
    /// The rules, when any was given.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn keep(&self) -> Result<Option<Keep>, Failure> {
        let single = [
            ("last", &self.keep_last),
            ("hourly", &self.keep_hourly),
            ("daily", &self.keep_daily),
            ("weekly", &self.keep_weekly),
            ("monthly", &self.keep_monthly),
            ("yearly", &self.keep_yearly),
            ("within", &self.keep_within),
            ("within-hourly", &self.keep_within_hourly),
            ("within-daily", &self.keep_within_daily),
            ("within-weekly", &self.keep_within_weekly),
            ("within-monthly", &self.keep_within_monthly),
            ("within-yearly", &self.keep_within_yearly),
        ];
        let given = single.iter().filter_map(|(rule, text)| Some((*rule, text.as_ref()?)));
        let mut keep = Keep::default();
        for (rule, text) in given.chain(self.keep_tag.iter().map(|tag| ("tags", tag))) {
            keep.set(rule, Value::Text(text)).map_err(|error| {
                Failure::of(
                    Exit::Usage,
                    &error,
                    format!("see `--keep-{}` in `bk forget --help`", rule.replace("tags", "tag")),
                )
            })?;
        }
        Ok((!keep.is_empty()).then_some(keep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_the_configuration_has_its_option() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            keep: KeepArgs,
        }
        use clap::Parser as _;
        for rule in Keep::RULES {
            let option = format!("--keep-{}", rule.replace("tags", "tag"));
            let value = if rule.starts_with("within") { "2y" } else { "3" };
            let args = Cli::try_parse_from(["bk", &option, value]).unwrap_or_else(|error| panic!("{error}")).keep;
            let mut expected = Keep::default();
            expected.set(rule, Value::Text(value)).unwrap();
            assert_eq!(args.keep().unwrap(), Some(expected), "{rule}");
        }
        assert!(KeepArgs::default().keep().unwrap().is_none());
        let wrong = KeepArgs { keep_daily: Some("0".into()), ..KeepArgs::default() };
        assert_eq!(wrong.keep().unwrap_err().exit, Exit::Usage);
    }
}

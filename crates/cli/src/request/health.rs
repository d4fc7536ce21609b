//! How the container's health is probed.

use hull_api::wire::container::HealthConfig;

use crate::values::{numbers, times};

/// How its health is probed.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct HealthFlags {
    /// Command that probes the health
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    health_cmd: String,
    /// Time between probes (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = times::positive_duration)]
    health_interval: Option<i64>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "int", value_parser = numbers::integer)]
    health_retries: Option<i64>,
    /// Time between probes while it starts (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = times::positive_duration)]
    health_start_interval: Option<i64>,
    /// Time it has to start before failures count (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = times::positive_duration)]
    health_start_period: Option<i64>,
    /// Most time of one probe (ms|s|m|h)
    #[arg(long, value_name = "duration", value_parser = times::positive_duration)]
    health_timeout: Option<i64>,
    /// Disable the image's HEALTHCHECK
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    pub(super) fn healthcheck(&self) -> Result<Option<HealthConfig>, String> {
        let health = HealthConfig {
            test: match self.health_cmd.as_str() {
                "" => Vec::new(),
                command => vec!["CMD-SHELL".to_owned(), command.to_owned()],
            },
            interval: self.health_interval.unwrap_or(0),
            timeout: self.health_timeout.unwrap_or(0),
            start_period: self.health_start_period.unwrap_or(0),
            start_interval: self.health_start_interval.unwrap_or(0),
            retries: self.health_retries.unwrap_or(0),
        };
        let is_given = health != HealthConfig::default();
        match self.no_healthcheck {
            true if is_given => Err("--no-healthcheck conflicts with --health-* options".to_owned()),
            true => Ok(Some(HealthConfig { test: vec!["NONE".to_owned()], ..HealthConfig::default() })),
            false => Ok(is_given.then_some(health)),
        }
    }
}

//! Structured logs on standard error, as text or as JSON.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

use crate::settings::Settings;

/// Sets how much is logged from now on.
pub(crate) type SetLevel = Box<dyn Fn(&Settings) -> Result<(), String>>;

/// Begins to log.
///
/// # Errors
/// A level or a format that is none.
pub(crate) fn start(settings: &Settings) -> Result<SetLevel, String> {
    let (filter, handle) = reload::Layer::new(filter(settings)?);
    let output = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(!settings.raw_logs && rustix::termios::isatty(std::io::stderr()))
        .with_target(false);
    let output = match settings.log_format.as_deref() {
        None | Some("text") => output.boxed(),
        Some("json") => output.json().boxed(),
        Some(other) => return Err(format!("invalid log format: {other}")),
    };
    tracing_subscriber::registry().with(filter).with(output).init();
    Ok(Box::new(move |settings| handle.reload(self::filter(settings)?).map_err(|why| why.to_string())))
}

/// Our own crates log at the level that is set; those of others speak up from `warn` on.
fn filter(settings: &Settings) -> Result<EnvFilter, String> {
    let level = match (settings.debug, settings.log_level.as_deref().map(str::to_ascii_lowercase).as_deref())
    {
        (true, _) | (_, Some("debug" | "trace")) => "debug",
        (_, None | Some("info")) => "info",
        (_, Some("warn")) => "warn",
        (_, Some("error" | "fatal" | "panic")) => "error",
        (_, Some(other)) => return Err(format!("invalid logging level: {other}")),
    };
    let crates = ["engine", "image", "network", "snapshot"].map(|name| format!("hull_{name}={level}"));
    Ok(EnvFilter::new(format!("warn,hulld={level},hull={level},{}", crates.join(","))))
}

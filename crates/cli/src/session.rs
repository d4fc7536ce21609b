//! What every command has: the global flags, the settings of the user, and the way to the daemon.

use crate::complain::Complaint;
use crate::daemon;
use hull_api::client::{Client, Error, Host};
use std::path::PathBuf;

/// Where hulld listens if nobody says otherwise.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/hull/hull.sock";

/// The flags in front of the command.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct GlobalFlags {
    /// Directory of the client's settings
    #[arg(long, value_name = "string")]
    config: Option<PathBuf>,
    /// Context to use; only "default" is there
    #[arg(short, long, value_name = "string")]
    context: Option<String>,
    /// Accepted for compatibility
    #[arg(short = 'D', long)]
    debug: bool,
    /// Daemon to talk to: unix://PATH or tcp://HOST:PORT
    #[arg(short = 'H', long, value_name = "list")]
    host: Option<String>,
    /// Accepted for compatibility
    #[arg(short, long, value_name = "string")]
    log_level: Option<String>,
    /// Not supported yet
    #[arg(long)]
    tls: bool,
    /// Not supported yet
    #[arg(long)]
    tlsverify: bool,
    /// Print the version and quit
    #[arg(short, long)]
    pub(crate) version: bool,
}

/// The daemon and the settings.
pub(crate) struct Session {
    /// The directory of `config.json`.
    pub(crate) settings: PathBuf,
    host: Host,
    is_default: bool,
}

impl Session {
    /// Decides where the daemon is. Nothing is connected.
    pub(crate) fn new(flags: GlobalFlags) -> Result<Self, Complaint> {
        if flags.tls || flags.tlsverify || env("DOCKER_TLS_VERIFY").is_some() {
            return Err(Complaint::new("hull: connecting by TLS is not supported yet"));
        }
        if let Some(context) = flags.context.filter(|name| name != "default") {
            return Err(Complaint::new(format!("hull: context {context:?}: contexts are not supported yet")));
        }
        let given = flags.host.or_else(|| env("HULL_HOST")).or_else(|| env("DOCKER_HOST"));
        let is_default = given.is_none();
        let host = given.as_deref().unwrap_or(DEFAULT_HOST).parse().map_err(Error::from)?;
        let settings =
            flags.config.or_else(|| env("DOCKER_CONFIG").map(PathBuf::from)).unwrap_or_else(|| {
                PathBuf::from(env("HOME").unwrap_or_else(|| "/root".to_owned())).join(".docker")
            });
        Ok(Session { settings, host, is_default })
    }

    /// Where the daemon is.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// A client whose first connection is open. Hull's own daemon speaks this client's version; any other is
    /// asked. A daemon at the default address is started if there is none and the user may.
    pub(crate) async fn connect(&self) -> Result<Client, Complaint> {
        let mut client = Client::new(self.host.clone());
        match client.open().await {
            Err(Error::Unreachable { .. }) if self.is_default && rustix::process::geteuid().is_root() => {
                daemon::start(&client).await?;
            }
            opened => opened?,
        }
        match env("DOCKER_API_VERSION") {
            Some(version) => client.set_version(
                version.parse().map_err(|reason| Complaint::new(format!("DOCKER_API_VERSION: {reason}")))?,
            ),
            None if self.is_default => {}
            None => {
                client.negotiate().await?;
            }
        }
        Ok(client)
    }
}

/// A variable that is set and not empty.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

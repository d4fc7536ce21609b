//! The cni driver: a network that a configuration of the Container Network Interface defines, made by its plugins.
//!
//! The plugins are programs of somebody else, executed as the specification says (version 1.1, containernetworking/cni,
//! SPEC.md): the command in variables, the configuration on standard input, the result on standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Error, Result};

pub(crate) const CONFIG: &str = "config";
pub(crate) const PLUGINS: &str = "plugins";

/// Where configurations are looked for by name.
const DIRECTORY: &str = "/etc/cni/net.d";
/// Where plugins are looked for.
const PLUGIN_PATH: &str = "/usr/lib/cni:/opt/cni/bin";
/// How long a plugin may take: one of them asks for a lease.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a plugin is looked at.
const GLANCE: Duration = Duration::from_millis(2);
/// The versions whose results have the form read here.
const VERSIONS: [&str; 6] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "1.1.1"];

/// A list of plugins, as it was when the network was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    name: String,
    version: String,
    plugins: Vec<Value>,
    no_check: bool,
    path: String,
}

/// What is to be done to which interface.
pub(crate) struct Call<'a> {
    pub(crate) container: &'a str,
    /// A path that opens the namespace; empty where it is gone.
    pub(crate) namespace: &'a str,
    pub(crate) interface: &'a str,
    /// What the plugins have answered to ADD.
    pub(crate) result: Option<&'a Value>,
    /// What the runtime wishes, for plugins that know it (`capabilities`).
    pub(crate) wishes: &'a BTreeMap<String, Value>,
}

/// What the plugins have made.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Made {
    interfaces: Vec<Interface>,
    ips: Vec<Address>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Interface {
    name: String,
    mac: String,
    sandbox: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Address {
    address: IpNet,
    gateway: Option<IpAddr>,
}

#[derive(Debug, Clone, Deserialize)]
struct Route {
    dst: IpNet,
    gw: Option<IpAddr>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Dns {
    nameservers: Vec<IpAddr>,
}

/// What a plugin says when it fails.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    msg: String,
    details: String,
}

impl Configuration {
    /// Reads the configuration that the options of a network name: by a path, or by its name in /etc/cni/net.d.
    pub(crate) fn find(options: &BTreeMap<String, String>) -> Result<Self> {
        let wish = options.get(CONFIG).map(String::as_str).filter(|wish| !wish.is_empty());
        let Some(wish) = wish else {
            return Err(Error::Invalid(format!(
                "a network of cni needs a configuration: -o {CONFIG}=PATH, or the name of one in {DIRECTORY}"
            )));
        };
        let mut found = match wish.starts_with('/') {
            true => Self::read(Path::new(wish))?,
            false => Self::named(wish)?,
        };
        if let Some(path) = options.get(PLUGINS).filter(|path| !path.is_empty()) {
            found.path.clone_from(path);
        }
        found.plugins.iter().try_for_each(|plugin| found.program(plugin).map(drop))?;
        Ok(found)
    }

    fn named(name: &str) -> Result<Self> {
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let is_one = |path: &PathBuf| {
            path.extension()
                .is_some_and(|extension| ["conflist", "conf", "json"].iter().any(|known| extension == *known))
        };
        // Those that cannot be read are somebody else's trouble.
        let mut found = paths.iter().filter(|path| is_one(path)).filter_map(|path| Self::read(path).ok());
        found.find(|configuration| configuration.name == name).ok_or_else(|| {
            Error::NotFound(format!("no CNI configuration in {DIRECTORY} has the name {name:?}"))
        })
    }

    fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::Invalid(format!("read CNI configuration {place}: {error}")))?;
        Self::parse(&text).map_err(|why| Error::Invalid(format!("CNI configuration {place}: {why}")))
    }

    /// A list of plugins, or one plugin alone.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let plugins = match value.get("plugins") {
            Some(list) => list.as_array().cloned().ok_or("\"plugins\" is no list")?,
            None => vec![value.clone()],
        };
        let (name, version) = (word("name"), word("cniVersion"));
        if name.is_empty() {
            return Err("it has no name".to_owned());
        }
        if !VERSIONS.contains(&version.as_str()) {
            return Err(format!("its cniVersion is {version:?}; known are {}", VERSIONS.join(", ")));
        }
        if plugins.is_empty() || plugins.iter().any(|plugin| !plugin["type"].is_string()) {
            return Err("it needs plugins, each with a type".to_owned());
        }
        let no_check = value["disableCheck"].as_bool().unwrap_or(false);
        Ok(Self { name, version, plugins, no_check, path: PLUGIN_PATH.to_owned() })
    }

    /// Has the plugins make an interface; their last answer.
    pub(crate) fn add(&self, call: &Call<'_>) -> Result<Value> {
        let mut result = None;
        for plugin in &self.plugins {
            let answer = self.run("ADD", plugin, call, result.as_ref())?;
            result = Some(serde_json::from_slice(&answer).map_err(|error| {
                Error::Foreign(format!("plugin type={} failed (add): its result: {error}", plugin["type"]))
            })?);
        }
        Ok(result.unwrap_or_default())
    }

    /// Has them remove it, in the other order. Every plugin is asked; the first failure is the one to tell.
    pub(crate) fn del(&self, call: &Call<'_>) -> Result<()> {
        let results =
            self.plugins.iter().rev().map(|plugin| self.run("DEL", plugin, call, call.result).map(drop));
        results.fold(Ok(()), Result::and)
    }

    /// Asks them whether it is as they made it.
    pub(crate) fn check(&self, call: &Call<'_>) -> Result<()> {
        // Plugins of 0.3 do not know the question.
        if self.no_check || self.version.starts_with("0.3") {
            return Ok(());
        }
        self.plugins.iter().try_for_each(|plugin| self.run("CHECK", plugin, call, call.result).map(drop))
    }

    fn run(
        &self,
        command: &str,
        plugin: &Value,
        call: &Call<'_>,
        previous: Option<&Value>,
    ) -> Result<Vec<u8>> {
        let program = self.program(plugin)?;
        let failed = |why: String| {
            let command = command.to_lowercase();
            Error::Foreign(format!("plugin type={} failed ({command}): {why}", plugin["type"]))
        };
        let mut child = Command::new(&program)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", call.container)
            .env("CNI_NETNS", call.namespace)
            .env("CNI_IFNAME", call.interface)
            .env("CNI_PATH", &self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("execute {}: {error}", program.display())))?;
        let input = self.input(plugin, call, previous).to_string();
        // A plugin that does not read has said why.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = finish(child).map_err(|error| failed(error.to_string()))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(failed(reason(&output))),
        }
    }

    /// The plugin's own configuration, with what it has of the list's and of the call.
    fn input(&self, plugin: &Value, call: &Call<'_>, previous: Option<&Value>) -> Value {
        let mut input = plugin.clone();
        input["name"] = json!(self.name);
        input["cniVersion"] = json!(self.version);
        if let Some(previous) = previous {
            input["prevResult"] = previous.clone();
        }
        let known = |name: &str| plugin["capabilities"][name].as_bool() == Some(true);
        let wishes: serde_json::Map<_, _> = call
            .wishes
            .iter()
            .filter(|(name, _)| known(name))
            .map(|(name, wish)| (name.clone(), wish.clone()))
            .collect();
        if !wishes.is_empty() {
            input["runtimeConfig"] = Value::Object(wishes);
        }
        input
    }

    /// Whether one of the plugins takes a wish of the runtime's.
    pub(crate) fn takes(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin["capabilities"][capability].as_bool() == Some(true))
    }

    /// Where a plugin's program is. Its type is a name, no path.
    fn program(&self, plugin: &Value) -> Result<PathBuf> {
        let kind = plugin["type"].as_str().unwrap_or_default();
        let plain = !kind.is_empty() && !kind.contains('/') && ![".", ".."].contains(&kind);
        let found =
            self.path.split(':').map(|directory| Path::new(directory).join(kind)).find(|path| path.is_file());
        found
            .filter(|_| plain)
            .ok_or_else(|| Error::NotFound(format!("failed to find plugin {kind:?} in path {:?}", self.path)))
    }
}

impl Made {
    /// Reads the plugins' answer.
    pub(crate) fn read(result: &Value) -> Result<Self> {
        serde_json::from_value(result.clone())
            .map_err(|error| Error::Foreign(format!("result of the CNI plugins: {error}")))
    }

    /// The first address of each family.
    pub(crate) fn address(&self, v4: bool) -> Option<IpNet> {
        let mut addresses = self.ips.iter().map(|ip| ip.address);
        addresses.find(|address| address.addr().is_ipv4() == v4)
    }

    /// The next hop of the default route.
    pub(crate) fn gateway(&self, v4: bool) -> Option<IpAddr> {
        let mut routes = self.routes.iter();
        let route = routes.find(|route| route.dst.prefix_len() == 0 && route.dst.addr().is_ipv4() == v4)?;
        let own = || self.ips.iter().find(|ip| ip.address.addr().is_ipv4() == v4)?.gateway;
        route.gw.or_else(own)
    }

    /// The Ethernet address of the interface inside.
    pub(crate) fn mac(&self, interface: &str) -> Option<&str> {
        let mut inside =
            self.interfaces.iter().filter(|found| found.name == interface && !found.sandbox.is_empty());
        inside.next().map(|found| found.mac.as_str())
    }

    /// The servers that names are to be asked of.
    pub(crate) fn name_servers(&self) -> &[IpAddr] {
        &self.dns.nameservers
    }
}

/// Waits for a plugin, and ends one that takes too long.
fn finish(mut child: Child) -> std::io::Result<Output> {
    let deadline = Instant::now() + PATIENCE;
    // Results are short: they fit the pipe, and a plugin never waits for us.
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "it took too long"));
        }
        std::thread::sleep(GLANCE);
    }
    child.wait_with_output()
}

fn reason(output: &Output) -> String {
    let failure: Failure = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr);
    match (failure.msg.as_str(), failure.details.as_str()) {
        ("", _) if said.trim().is_empty() => output.status.to_string(),
        ("", _) => said.trim().to_owned(),
        (message, "") => message.to_owned(),
        (message, details) => format!("{message}: {details}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_lists_or_one_plugin() {
        let list = r#"{"cniVersion": "1.0.0", "name": "lan", "disableCheck": true,
            "plugins": [{"type": "bridge", "capabilities": {"mac": true}}, {"type": "tuning"}]}"#;
        let found = Configuration::parse(list).unwrap();
        assert_eq!((found.name.as_str(), found.plugins.len(), found.no_check), ("lan", 2, true));
        assert!(found.takes("mac") && !found.takes("ips"));
        let one = Configuration::parse(r#"{"cniVersion": "0.3.1", "name": "a", "type": "ptp"}"#).unwrap();
        assert_eq!(one.plugins[0]["type"], "ptp");
        for (text, why) in [
            ("{", "EOF"),
            (r#"{"cniVersion": "1.0.0", "type": "ptp"}"#, "it has no name"),
            (r#"{"cniVersion": "0.2.0", "name": "a", "type": "ptp"}"#, "its cniVersion is \"0.2.0\""),
            (r#"{"cniVersion": "1.0.0", "name": "a"}"#, "it needs plugins"),
            (r#"{"cniVersion": "1.0.0", "name": "a", "plugins": 5}"#, "\"plugins\" is no list"),
        ] {
            let error = Configuration::parse(text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn a_plugin_is_a_name() {
        let text = r#"{"cniVersion": "1.0.0", "name": "a", "type": "../sh"}"#;
        let mut found = Configuration::parse(text).unwrap();
        found.path = "/bin/x".to_owned();
        let error = found.program(&found.plugins[0]).unwrap_err().to_string();
        assert_eq!(error, "failed to find plugin \"../sh\" in path \"/bin/x\"");
    }

    #[test]
    fn results_say_what_was_made() {
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "br0", "mac": "x"}, {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/x"}],
            "ips": [{"interface": 1, "address": "10.1.0.2/16", "gateway": "10.1.0.1"}, {"address": "fd00::2/64"}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd01::/64", "gw": "fd00::1"}],
            "dns": {"nameservers": ["10.1.0.1"]}
        });
        let made = Made::read(&result).unwrap();
        assert_eq!(made.address(true), "10.1.0.2/16".parse().ok());
        assert_eq!(made.address(false), "fd00::2/64".parse().ok());
        assert_eq!((made.gateway(true), made.gateway(false)), ("10.1.0.1".parse().ok(), None));
        assert_eq!(made.mac("eth0"), Some("02:00:00:00:00:01"));
        assert_eq!(made.name_servers().len(), 1);
    }
}

//! Devices: `--device`, `--gpus`, weights and rates of block devices.

use super::mounts::fields;
use super::numbers;
use hull_api::wire::host::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};

/// One `--device`.
#[derive(Debug, Clone)]
pub(crate) enum Device {
    /// A node of the host.
    Node(DeviceMapping),
    /// By the name that its vendor gives it: `vendor.com/class=name`.
    Named(String),
}

/// `host[:container][:permissions]`, or the name of a CDI device.
pub(crate) fn device(text: &str) -> Result<Device, String> {
    let is_named = text.split_once('=').is_some_and(|(kind, name)| {
        let kind = kind.split_once('/').filter(|(vendor, class)| !vendor.is_empty() && !class.is_empty());
        kind.is_some() && !name.is_empty()
    });
    match is_named && !text.starts_with('/') {
        true => Ok(Device::Named(text.to_owned())),
        false => mapping(text).map(Device::Node),
    }
}

/// What `--device` and `--gpus` ask of the daemon: nodes, and requests to drivers.
pub(crate) fn wanted(devices: &[Device], gpus: &[DeviceRequest]) -> (Vec<DeviceMapping>, Vec<DeviceRequest>) {
    let (mut nodes, mut names) = (Vec::new(), Vec::new());
    for device in devices {
        match device {
            Device::Node(node) => nodes.push(node.clone()),
            Device::Named(name) => names.push(name.clone()),
        }
    }
    let mut requests = gpus.to_vec();
    if !names.is_empty() {
        let driver = "cdi".to_owned();
        requests.push(DeviceRequest { driver, device_ids: Some(names), ..DeviceRequest::default() });
    }
    (nodes, requests)
}

fn mapping(text: &str) -> Result<DeviceMapping, String> {
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, mode) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, inside] => (host, inside, "rwm"),
        [host, inside, mode] if is_mode(mode) => (host, inside, mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if host.is_empty() {
        return Err(format!("invalid device specification: {text}"));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: if inside.is_empty() { host } else { inside }.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

fn of_device(text: &str) -> Result<(&str, &str), String> {
    let (path, value) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    match path.starts_with("/dev/") {
        true => Ok((path, value)),
        false => Err(format!("bad format for device path: {text}")),
    }
}

/// `/dev/sda:500`.
pub(crate) fn weight(text: &str) -> Result<WeightDevice, String> {
    let (path, weight) = of_device(text)?;
    let weight = weight.parse().ok().filter(|&weight| weight == 0 || (10..=1000).contains(&weight));
    let weight = weight.ok_or_else(|| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice { path: path.to_owned(), weight })
}

/// `/dev/sda:1mb`.
pub(crate) fn bytes_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = of_device(text)?;
    let rate = numbers::bytes(rate).ok().and_then(|rate| u64::try_from(rate).ok()).ok_or_else(|| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. \
             Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

/// `/dev/sda:1000`.
pub(crate) fn operations_rate(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = of_device(text)?;
    let rate = rate.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. \
             Number must be a positive integer"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

/// `all`, `2`, `device=0`, `"device=0,1"`, `count=2,capabilities=compute`.
pub(crate) fn gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request =
        DeviceRequest { capabilities: Some(vec![vec!["gpu".to_owned()]]), ..DeviceRequest::default() };
    let count = |value: &str| match value {
        "all" => Ok(-1),
        value => value
            .parse()
            .map_err(|_| format!("invalid count ({value}): value must be either \"all\" or an integer")),
    };
    let list = |value: &str| value.split(',').map(str::to_owned).collect::<Vec<_>>();
    for field in fields(text)? {
        match field.split_once('=') {
            None => request.count = count(&field)?,
            Some(("count", value)) => request.count = count(value)?,
            Some(("driver", value)) => request.driver = value.to_owned(),
            Some(("device", value)) => request.device_ids = Some(list(value)),
            Some(("capabilities", value)) => {
                request.capabilities = Some(vec![[list(value), vec!["gpu".to_owned()]].concat()]);
            }
            Some((key, _)) => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if request.count == 0 && request.device_ids.is_none() {
        request.count = 1;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_paths_and_permissions() {
        for (text, host, inside, mode) in [
            ("/dev/fuse", "/dev/fuse", "/dev/fuse", "rwm"),
            ("/dev/sda:r", "/dev/sda", "/dev/sda", "r"),
            ("/dev/sda:/dev/x", "/dev/sda", "/dev/x", "rwm"),
            ("/dev/sda:/dev/x:rw", "/dev/sda", "/dev/x", "rw"),
        ] {
            let device = mapping(text).unwrap();
            assert_eq!(device.path_on_host, host);
            assert_eq!(device.path_in_container, inside);
            assert_eq!(device.cgroup_permissions, mode);
        }
        assert_eq!(mapping("/dev/a:/dev/b:x").unwrap_err(), "bad mode specified: x");
        assert_eq!(mapping("a:b:c:d").unwrap_err(), "invalid device specification: a:b:c:d");
    }

    #[test]
    fn vendors_names_are_no_paths() {
        let devices = ["acme.com/box=one", "/dev/a=b", "acme.com/box=two"].map(|text| device(text).unwrap());
        let (nodes, requests) = wanted(&devices, &[]);
        assert_eq!(nodes.len(), 1);
        let names = ["acme.com/box=one", "acme.com/box=two"].map(String::from).to_vec();
        assert_eq!((requests[0].driver.as_str(), &requests[0].device_ids), ("cdi", &Some(names)));
    }

    #[test]
    fn weights_and_rates() {
        assert_eq!(weight("/dev/sda:500").unwrap().weight, 500);
        assert_eq!(bytes_rate("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert_eq!(operations_rate("/dev/sda:10").unwrap().rate, 10);
        assert_eq!(weight("/dev/sda:5").unwrap_err(), "invalid weight for device: /dev/sda:5");
        assert_eq!(weight("sda:500").unwrap_err(), "bad format for device path: sda:500");
        assert!(operations_rate("/dev/sda:1mb").is_err());
    }

    #[test]
    fn graphics() {
        assert_eq!(gpus("all").unwrap().count, -1);
        assert_eq!(gpus("2").unwrap().count, 2);
        assert_eq!(gpus("device=0,driver=x").unwrap().device_ids, Some(vec!["0".to_owned()]));
        let several = gpus("\"device=0,GPU-5\",\"capabilities=compute,utility\"").unwrap();
        assert_eq!(several.device_ids, Some(vec!["0".to_owned(), "GPU-5".to_owned()]));
        assert_eq!(several.capabilities.unwrap(), [["compute", "utility", "gpu"]]);
        assert!(gpus("many").is_err() && gpus("colour=red").is_err());
    }
}

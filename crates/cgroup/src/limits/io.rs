//! Weights and throttles of block devices.

use hull_oci::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::Setting;
use crate::hierarchy::{Dialect, Place};

/// The file that takes a weight: the kernel offers another one under the BFQ scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightFile {
    Plain,
    Bfq,
}

impl WeightFile {
    pub(super) fn of(place: Option<Place>) -> Self {
        let Some(Place { hierarchy, dir }) = place else { return Self::Plain };
        let is_bfq = match hierarchy.dialect() {
            Dialect::V1 => !dir.join("blkio.weight").exists() && dir.join("blkio.bfq.weight").exists(),
            // The plain one is there, too, but without effect unless a cost model was set for the device.
            Dialect::V2 => dir.join("io.bfq.weight").exists(),
        };
        if is_bfq { Self::Bfq } else { Self::Plain }
    }
}

pub(super) fn settings(dialect: Dialect, weight: &WeightFile, io: &LinuxBlockIo) -> Vec<Setting> {
    match dialect {
        Dialect::V1 => v1(*weight, io),
        Dialect::V2 => v2(*weight, io),
    }
}

fn v1(file: WeightFile, io: &LinuxBlockIo) -> Vec<Setting> {
    let (weight, weight_device) = match file {
        WeightFile::Plain => ("blkio.weight", "blkio.weight_device"),
        WeightFile::Bfq => ("blkio.bfq.weight", "blkio.bfq.weight_device"),
    };
    let mut settings = Vec::new();
    let mut push = |file: &str, value: String| settings.push(Setting::new(file, value));
    for value in io.weight().iter().filter(|w| **w > 0) {
        push(weight, value.to_string());
    }
    for value in io.leaf_weight().iter().filter(|w| **w > 0) {
        push("blkio.leaf_weight", value.to_string());
    }
    for device in io.weight_device().iter().flatten() {
        let line = |value: u16| format!("{}:{} {value}", device.major(), device.minor());
        device.weight().into_iter().for_each(|value| push(weight_device, line(value)));
        device.leaf_weight().into_iter().for_each(|value| push("blkio.leaf_weight_device", line(value)));
    }
    for (name, _, devices) in throttles(io) {
        for device in devices {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            push(&format!("blkio.throttle.{name}_device"), line);
        }
    }
    settings
}

fn v2(file: WeightFile, io: &LinuxBlockIo) -> Vec<Setting> {
    let mut settings = Vec::new();
    // BFQ keeps version 1's range in version 2.
    let (name, convert): (_, fn(u16) -> u64) = match file {
        WeightFile::Plain => ("io.weight", weight),
        WeightFile::Bfq => ("io.bfq.weight", u64::from),
    };
    for value in io.weight().iter().filter(|w| **w > 0) {
        settings.push(Setting::new(name, convert(*value)));
    }
    for device in io.weight_device().iter().flatten() {
        let line = |value| format!("{}:{} {}", device.major(), device.minor(), convert(value));
        settings.extend(device.weight().map(|value| Setting::new(name, line(value))));
    }
    for (_, key, devices) in throttles(io) {
        for device in devices {
            // 0 takes a throttle away; version 2 says that with a word.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            let line = format!("{}:{} {key}={rate}", device.major(), device.minor());
            settings.push(Setting::new("io.max", line));
        }
    }
    settings
}

/// Each throttle with its name in version 1 and in version 2.
fn throttles(io: &LinuxBlockIo) -> [(&'static str, &'static str, &[LinuxThrottleDevice]); 4] {
    [
        ("read_bps", "rbps", io.throttle_read_bps_device().as_deref().unwrap_or_default()),
        ("write_bps", "wbps", io.throttle_write_bps_device().as_deref().unwrap_or_default()),
        ("read_iops", "riops", io.throttle_read_iops_device().as_deref().unwrap_or_default()),
        ("write_iops", "wiops", io.throttle_write_iops_device().as_deref().unwrap_or_default()),
    ]
}

/// The weight (1 to 10000) of version 2 for the weight (10 to 1000) of version 1.
pub(crate) fn weight(v1: u16) -> u64 {
    let above = u64::from(v1).clamp(10, 1000) - 10;
    1 + above * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::tests::texts;
    use hull_oci::runtime::{LinuxBlockIoBuilder, LinuxThrottleDeviceBuilder};

    #[test]
    fn weights_keep_their_ends() {
        assert_eq!([10, 500, 1000].map(weight), [1, 4950, 10_000]);
    }

    #[test]
    fn throttles_are_four_files_or_one() {
        let device = |rate: u64| {
            vec![LinuxThrottleDeviceBuilder::default().major(8).minor(1).rate(rate).build().unwrap()]
        };
        let io = LinuxBlockIoBuilder::default()
            .weight(10_u16)
            .throttle_read_bps_device(device(4096))
            .throttle_write_iops_device(device(0))
            .build()
            .unwrap();
        assert_eq!(
            texts(&settings(Dialect::V1, &WeightFile::Bfq, &io)),
            [
                "blkio.bfq.weight=10",
                "blkio.throttle.read_bps_device=8:1 4096",
                "blkio.throttle.write_iops_device=8:1 0"
            ]
        );
        assert_eq!(
            texts(&settings(Dialect::V2, &WeightFile::Plain, &io)),
            ["io.weight=1", "io.max=8:1 rbps=4096", "io.max=8:1 wiops=max"]
        );
    }
}

//! Queueing disciplines: how fast a link sends.

use hull_sys::Result;
use hull_sys::netlink::{CREATE, Message, REPLACE};
use rustix::io::Errno;

use super::Routes;

// linux/rtnetlink.h, linux/pkt_sched.h
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_H_ROOT: u32 = u32::MAX;
const TC_LINKLAYER_ETHERNET: u8 = 1;

/// What may be sent at once: ten milliseconds of the rate, and a few frames at least.
const BURST_PER_SECOND: u64 = 100;
const LEAST_BURST: u64 = 16 << 10;
/// What may wait: a tenth of a second of the rate, and what one connection has under way at least.
const QUEUE_PER_SECOND: u64 = 10;
const LEAST_QUEUE: u64 = 128 << 10;

impl Routes {
    /// Lets a link send no more than so many bytes a second, from now on, by a token bucket (tc-tbf(8)); zero lifts
    /// the limit.
    pub(crate) fn pace(&mut self, name: &str, rate: u64) -> Result<()> {
        let index = self.index(name)?;
        match rate {
            0 => {
                match self.socket.request(vec![message(RTM_DELQDISC, 0, "lift rate of link", name, index)]) {
                    // It has none.
                    Err(error) if error.is(Errno::NOENT) || error.is(Errno::INVAL) => Ok(()),
                    result => result,
                }
            }
            _ => self.socket.request(vec![bucket(name, index, rate)]),
        }
    }
}

/// `struct tcmsg`: family, index of the link, handle, parent, info.
fn message(kind: u16, flags: u16, op: &'static str, name: &str, index: u32) -> Message {
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
    Message::new(kind, flags, op, name).fixed(&header)
}

fn bucket(name: &str, index: u32, rate: u64) -> Message {
    let burst = (rate / BURST_PER_SECOND).max(LEAST_BURST);
    let limit = burst + (rate / QUEUE_PER_SECOND).max(LEAST_QUEUE);
    let mut bucket = message(RTM_NEWQDISC, CREATE | REPLACE, "set rate of link", name, index);
    bucket.put_str(TCA_KIND, "tbf").nest(TCA_OPTIONS, |options| {
        options.put(TCA_TBF_PARMS, &parameters(rate, limit)).put(TCA_TBF_BURST, &narrow(burst).to_ne_bytes());
        if rate > u64::from(u32::MAX) {
            options.put(TCA_TBF_RATE64, &rate.to_ne_bytes());
        }
    });
    bucket
}

/// `struct tc_tbf_qopt`: rate and peak rate (`struct tc_ratespec`), limit, buffer, MTU. The kernel takes the buffer
/// from the burst.
fn parameters(rate: u64, limit: u64) -> [u8; 36] {
    let mut parameters = [0; 36];
    parameters[1] = TC_LINKLAYER_ETHERNET;
    parameters[8..12].copy_from_slice(&narrow(rate).to_ne_bytes());
    parameters[24..28].copy_from_slice(&narrow(limit).to_ne_bytes());
    parameters
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

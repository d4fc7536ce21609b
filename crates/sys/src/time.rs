//! The time of the day where this machine stands.

use std::mem::MaybeUninit;

/// A moment as people there read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// The year.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
    /// Seconds east of UTC.
    pub offset: i32,
}

/// The local time of a moment in seconds since 1970, by /etc/localtime: localtime_r(3). `None` if it has no such year.
pub fn local(seconds: i64) -> Option<Local> {
    let mut found = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are to live values of the right types; a null answer leaves `found` unread. The environment
    // is looked at for TZ, and no caller changes that with more than one thread.
    let time = unsafe {
        if libc::localtime_r(&seconds, found.as_mut_ptr()).is_null() {
            return None;
        }
        found.assume_init()
    };
    Some(Local {
        year: time.tm_year + 1900,
        month: time.tm_mon as u8 + 1,
        day: time.tm_mday as u8,
        hour: time.tm_hour as u8,
        minute: time.tm_min as u8,
        second: time.tm_sec as u8,
        offset: time.tm_gmtoff as i32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_the_same_everywhere() {
        let local = local(951_782_400 + 43_200).expect("a local time");
        let of_day = i32::from(local.hour) * 3600 + i32::from(local.minute) * 60 + i32::from(local.second);
        assert_eq!((of_day - local.offset).rem_euclid(86_400), 43_200);
        assert_eq!((local.year, local.month), (2000, if local.day == 1 { 3 } else { 2 }));
    }
}

//! The local time zone.
//!
//! May not: be used for what programs read; that is UTC (`time.rs`).

/// A point in time as people here read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    pub year: i64,
    /// From 1.
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    /// Seconds east of Greenwich.
    pub offset: i64,
    /// `CET`, `UTC`, `+03`.
    pub zone: String,
}

/// localtime_r(3): by `$TZ`, else /etc/localtime.
pub fn local(seconds: i64) -> Local {
    // SAFETY: an all-zero tm is valid; its pointer to the name of the zone is null until the call sets it.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let time = seconds as _;
    // SAFETY: both pointers are to live values. The call reads the environment, which this program does not change once it has
    // threads.
    let known = !unsafe { libc::localtime_r(&raw const time, &raw mut tm) }.is_null();
    let zone = if known && !tm.tm_zone.is_null() {
        // SAFETY: a C string that lives as long as the C library.
        unsafe { std::ffi::CStr::from_ptr(tm.tm_zone) }
            .to_string_lossy()
            .into_owned()
    } else {
        "UTC".to_owned()
    };
    Local {
        year: i64::from(tm.tm_year) + 1900,
        month: u32::try_from(tm.tm_mon).unwrap_or(0) + 1,
        day: u32::try_from(tm.tm_mday).unwrap_or(0),
        hour: u32::try_from(tm.tm_hour).unwrap_or(0),
        minute: u32::try_from(tm.tm_min).unwrap_or(0),
        second: u32::try_from(tm.tm_sec).unwrap_or(0),
        offset: tm.tm_gmtoff as i64,
        zone: if zone == "GMT" && tm.tm_gmtoff == 0 {
            "UTC".to_owned()
        } else {
            zone
        },
    }
}

//! Single values as Docker's command line reads them: sizes, numbers, durations, addresses, and the words about wrong ones.
//!
//! May not: read files or the environment, except for [`environment`], whose purpose that is.

use std::net::{IpAddr, Ipv6Addr};

use crate::template::quote;

/// Sizes with binary units: `512`, `64m`, `1.5GiB`.
pub fn size(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let at = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .ok_or_else(invalid)?;
    let number = match text.as_bytes().get(at) {
        Some(b' ') => &text[..at],
        _ => &text[..=at],
    };
    let size = float(number)?;
    if size < 0.0 {
        return Err(invalid());
    }
    let suffix = &text[at + 1..];
    let lower = suffix.to_lowercase();
    let bad = || match suffix.len() {
        0..=3 => format!("invalid suffix: '{lower}'"),
        _ => format!("invalid suffix: '{suffix}'"),
    };
    let power = match lower.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(bad()),
    };
    Ok((size * 1024f64.powi(power)) as i64)
}

/// The same, or -1 for no limit.
pub fn swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { size(text) }
}

/// strconv.ParseFloat, as far as somebody writes that.
fn float(text: &str) -> Result<f64, String> {
    let valid = text.bytes().any(|b| b.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'+' | b'-' | b'e' | b'E'));
    match text.parse() {
        Ok(number) if valid => Ok(number),
        _ => Err(format!(
            "strconv.ParseFloat: parsing {}: invalid syntax",
            quote(text)
        )),
    }
}

/// CPUs in billionths, exactly: `1.5`, `1/4`, `5e-1`.
pub fn cpus(text: &str) -> Result<i64, String> {
    let bad = || format!("failed to parse {text} as a rational number");
    let (above, below) = match text.split_once('/') {
        Some((above, below)) if !below.starts_with(['+', '-']) => {
            (decimal(above).ok_or_else(bad)?, decimal(below).ok_or_else(bad)?)
        }
        Some(_) => return Err(bad()),
        None => (decimal(text).ok_or_else(bad)?, (1, 0)),
    };
    if below.0 == 0 {
        return Err(bad());
    }
    // above.0 * 10^above.1 * 10^9 / (below.0 * 10^below.1)
    let power = above.1 - below.1 + 9;
    let scale = 10i128.checked_pow(power.unsigned_abs()).ok_or_else(bad)?;
    let (dividend, divisor) = if power >= 0 {
        (above.0.checked_mul(scale).ok_or_else(bad)?, below.0)
    } else {
        (above.0, below.0.checked_mul(scale).ok_or_else(bad)?)
    };
    if dividend % divisor != 0 {
        return Err("value is too precise".to_owned());
    }
    // As Go's big.Int gives away what does not fit.
    Ok((dividend / divisor) as i64)
}

/// A decimal as an integer and a power of ten.
fn decimal(text: &str) -> Option<(i128, i32)> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || all.len() > 30 || !all.bytes().all(|b| b.is_ascii_digit()) || exponent.abs() > 30 {
        return None;
    }
    Some((
        sign * all.parse::<i128>().ok()?,
        exponent - i32::try_from(fraction.len()).ok()?,
    ))
}

/// strconv.ParseUint with base 0 and so many bits.
pub fn unsigned(text: &str, bits: u32) -> Result<u64, String> {
    let complain = |why: &str| Err(format!("strconv.ParseUint: parsing {}: {why}", quote(text)));
    if text.starts_with(['-', '+']) {
        return complain("invalid syntax");
    }
    match crate::flags::integer(text) {
        Ok(n) => match u64::try_from(n) {
            Ok(n) if bits == 64 || n < 1 << bits => Ok(n),
            _ => complain("value out of range"),
        },
        Err(why) if why.ends_with("value out of range") => match text.parse() {
            Ok(n) if bits == 64 => Ok(n),
            _ => complain("value out of range"),
        },
        Err(_) => complain("invalid syntax"),
    }
}

/// strconv.Atoi.
pub fn atoi(text: &str) -> Result<i64, &'static str> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    text.parse().map_err(|_| "value out of range")
}

/// A Go duration in nanoseconds: `1h30m`, `1.5s`, `-2ms`.
pub fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let end = behind
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let scale: i128 = match unit {
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3600 * 1_000_000_000,
            _ => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quote(unit),
                    quote(text)
                ));
            }
        };
        let whole: i128 = match whole {
            "" => 0,
            digits => digits.parse().map_err(|_| invalid())?,
        };
        // Digits behind the eighteenth make no nanosecond.
        let fraction = &fraction[..fraction.len().min(18)];
        let part = match fraction {
            "" => 0,
            digits => {
                let power = 10i128.pow(u32::try_from(digits.len()).unwrap_or(0));
                digits.parse::<i128>().map_err(|_| invalid())? * scale / power
            }
        };
        total = whole
            .checked_mul(scale)
            .and_then(|n| n.checked_add(part))
            .and_then(|n| n.checked_add(total))
            .ok_or_else(invalid)?;
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// An address in its usual form; those of IPv4 in the disguise of IPv6 without it, as Go's net.IP prints them.
pub fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.trim().parse().ok()?;
    Some(match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
        four @ IpAddr::V4(_) => four,
    })
}

/// An address as Go's net/netip tells what is wrong with it.
pub fn netip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        let complain = |why: &str| format!("ParseAddr({}): {why}", quote(text));
        if !text.contains([':', '.']) {
            return complain("unable to parse IP");
        }
        if text.contains(':') {
            return match text.parse::<Ipv6Addr>() {
                Ok(_) => String::new(),
                Err(_) => complain("each colon-separated field must have at least one digit"),
            };
        }
        if text
            .split('.')
            .any(|f| !f.is_empty() && !f.bytes().all(|b| b.is_ascii_digit()))
        {
            complain("unexpected character")
        } else if text.split('.').any(|f| f.parse::<u32>().is_ok_and(|n| n > 255)) {
            complain("IPv4 field has value >255")
        } else {
            complain("IPv4 address too short")
        }
    })
}

/// A hardware address in lower case with colons.
pub fn mac(text: &str) -> Option<String> {
    let text = text.trim();
    let bytes: Vec<u8> = if let Some(separator) = text.chars().find(|c| matches!(c, ':' | '-' | '.')) {
        let width = if separator == '.' { 4 } else { 2 };
        let mut bytes = Vec::new();
        for group in text.split(separator) {
            if group.len() != width || !group.is_ascii() {
                return None;
            }
            for at in (0..width).step_by(2) {
                bytes.push(u8::from_str_radix(&group[at..at + 2], 16).ok()?);
            }
        }
        bytes
    } else {
        return None;
    };
    if !matches!(bytes.len(), 6 | 8 | 20) {
        return None;
    }
    let pairs: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    Some(pairs.join(":"))
}

/// `NAME=value`, or `NAME` for the value that it has here; without one here, `NAME` takes it out of the image's.
pub fn environment(text: &str) -> Result<String, String> {
    let (name, has_value) = match text.split_once('=') {
        Some((name, _)) => (name, true),
        None => (text, false),
    };
    if name.is_empty() {
        return Err(format!("invalid environment variable: {text}"));
    }
    match std::env::var_os(name) {
        Some(value) if !has_value => Ok(format!("{name}={}", value.to_string_lossy())),
        _ => Ok(text.to_owned()),
    }
}

/// `KEY=value` or `KEY`.
pub fn label(text: &str) -> Result<(), String> {
    let key = text.split_once('=').map_or(text, |(key, _)| key);
    let key = key.trim_start_matches([' ', '\t']);
    if key.is_empty() {
        return Err(format!("invalid label '{text}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return Err(format!("label '{key}' contains whitespaces"));
    }
    Ok(())
}

/// Whether the container would have that sysctl for itself.
pub fn sysctl(text: &str) -> Result<(), String> {
    const OWN: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    match text.split_once('=') {
        Some((key, _)) if OWN.contains(&key) || key.starts_with("net.") || key.starts_with("fs.mqueue.") => {
            Ok(())
        }
        _ => Err(format!("sysctl '{text}' is not allowed")),
    }
}

/// `stdin`, `stdout` or `stderr`.
pub fn stream(text: &str) -> Result<String, String> {
    let lower = text.to_lowercase();
    if ["stdin", "stdout", "stderr"].contains(&lower.as_str()) {
        Ok(lower)
    } else {
        Err("valid streams are STDIN, STDOUT and STDERR".to_owned())
    }
}

/// `HOST:ADDRESS`, from `HOST=ADDRESS` and with brackets, too.
pub fn extra_host(text: &str) -> Result<String, String> {
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let Some((name, given)) = parts.filter(|(name, _)| !name.is_empty() && !name.contains(':')) else {
        return Err(format!("bad format for add-host: {}", quote(text)));
    };
    if given == "host-gateway" {
        return Ok(format!("{name}:{given}"));
    }
    let plain = given
        .strip_prefix('[')
        .and_then(|g| g.strip_suffix(']'))
        .filter(|g| !g.is_empty())
        .unwrap_or(given);
    if address(plain).is_none() {
        return Err(format!("invalid IP address in add-host: {}", quote(plain)));
    }
    Ok(format!("{name}:{plain}"))
}

/// A domain to search in; a dot means none.
pub fn search_domain(text: &str) -> Result<String, String> {
    let text = text.trim_matches(' ');
    if text == "." {
        return Ok(text.to_owned());
    }
    let bad = || Err(format!("{text} is not a valid domain"));
    let domain = text.trim_end();
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let good = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if !text.contains(|c: char| c.is_ascii_alphabetic())
        || domain.len() >= 255
        || !domain.split('.').all(good)
    {
        return bad();
    }
    Ok(domain.to_owned())
}

/// `CONTAINER:ALIAS`.
pub fn link(text: &str) -> Result<(), String> {
    match text.matches(':').count() {
        _ if text.is_empty() => Err("empty string specified for links".to_owned()),
        0 | 1 => Ok(()),
        _ => Err(format!("bad format for links: {text}")),
    }
}

/// `no`, `always`, `unless-stopped`, `on-failure[:N]`: name and count, as written.
pub fn restart(text: &str) -> Result<(String, i64), String> {
    let (name, count) = match text.split_once(':') {
        Some(("", _)) => {
            return Err("invalid restart policy format: no policy provided before colon".to_owned());
        }
        Some((name, count)) => (name, count),
        None => (text, ""),
    };
    let count = match count {
        "" => 0,
        count => atoi(count).map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_owned()
        })?,
    };
    Ok((name.to_owned(), count))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512", Ok(512)),
            ("64m", Ok(64 << 20)),
            ("1.5g", Ok(3 << 29)),
            ("2 GiB", Ok(2 << 30)),
            ("7b", Ok(7)),
            ("1KB", Ok(1024)),
            ("x", Err("invalid size: 'x'")),
            ("", Err("invalid size: ''")),
            ("-1", Err("invalid size: '-1'")),
            ("5x", Err("invalid suffix: 'x'")),
            ("5bytes", Err("invalid suffix: 'bytes'")),
            ("5Mx", Err("invalid suffix: 'mx'")),
            (
                "1.2.3m",
                Err("strconv.ParseFloat: parsing \"1.2.3\": invalid syntax"),
            ),
        ] {
            assert_eq!(size(text), bytes.map_err(str::to_owned), "{text}");
        }
        assert_eq!(swap("-1"), Ok(-1));
    }

    #[test]
    fn processors() {
        for (text, nano) in [
            ("1.5", Ok(1_500_000_000)),
            ("2", Ok(2_000_000_000)),
            ("1/4", Ok(250_000_000)),
            ("5e-1", Ok(500_000_000)),
            (".5", Ok(500_000_000)),
            ("0.0000000001", Err("value is too precise")),
            ("1/3", Err("value is too precise")),
            ("x", Err("failed to parse x as a rational number")),
            ("1/0", Err("failed to parse 1/0 as a rational number")),
        ] {
            assert_eq!(cpus(text), nano.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, nanoseconds) in [
            ("1h30m", Ok(5_400_000_000_000)),
            ("1.5s", Ok(1_500_000_000)),
            ("-2ms", Ok(-2_000_000)),
            ("0", Ok(0)),
            ("5", Err("time: missing unit in duration \"5\"")),
            ("5x", Err("time: unknown unit \"x\" in duration \"5x\"")),
            ("", Err("time: invalid duration \"\"")),
            ("s", Err("time: invalid duration \"s\"")),
        ] {
            assert_eq!(duration(text), nanoseconds.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn small_numbers() {
        assert_eq!(unsigned("500", 16), Ok(500));
        assert_eq!(unsigned("0x10", 16), Ok(16));
        assert_eq!(
            unsigned("70000", 16).unwrap_err(),
            "strconv.ParseUint: parsing \"70000\": value out of range"
        );
        assert_eq!(
            unsigned("-1", 16).unwrap_err(),
            "strconv.ParseUint: parsing \"-1\": invalid syntax"
        );
        assert_eq!(unsigned("18446744073709551615", 64), Ok(u64::MAX));
    }

    #[test]
    fn hosts_and_domains() {
        assert_eq!(extra_host("a=::1").unwrap(), "a:::1");
        assert_eq!(extra_host("a:[::1]").unwrap(), "a:::1");
        assert_eq!(extra_host("a:host-gateway").unwrap(), "a:host-gateway");
        assert_eq!(
            extra_host("a:1.2.3").unwrap_err(),
            "invalid IP address in add-host: \"1.2.3\""
        );
        assert_eq!(extra_host("a").unwrap_err(), "bad format for add-host: \"a\"");
        assert_eq!(search_domain(" example.com. ").unwrap(), "example.com");
        assert_eq!(search_domain(".").unwrap(), ".");
        assert!(search_domain("-a.com").is_err() && search_domain("1.2").is_err());
    }

    #[test]
    fn addresses() {
        assert_eq!(mac(" 92-D0-c6-0a-29-33").unwrap(), "92:d0:c6:0a:29:33");
        assert_eq!(mac("92d0.c60a.2933").unwrap(), "92:d0:c6:0a:29:33");
        assert_eq!(mac("92:d0:c6:0a:29"), None);
        assert_eq!(address("::ffff:1.2.3.4").unwrap().to_string(), "1.2.3.4");
        assert_eq!(address("1.2.3.04"), None);
    }
}

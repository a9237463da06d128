//! What the machine has of addresses, devices and routes: what a new network must not meet.
//!
//! May not: change anything. The files are those of the calling thread's namespace.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use network::pool::Subnet;

/// Blocks that something of the machine leads to. Default routes, which lead everywhere, do not count.
pub fn taken() -> Vec<Subnet> {
    let text = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let (four, six) = (text("route"), text("ipv6_route"));
    let four = four.lines().skip(1).filter_map(of_v4);
    four.chain(six.lines().filter_map(of_v6)).collect()
}

/// `eth0 0011A8C0 00000000 0001 0 0 0 00FFFFFF ...`: words in the machine's byte order.
fn of_v4(line: &str) -> Option<Subnet> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let word = |field: Option<&str>| u32::from_str_radix(field?, 16).ok().map(u32::to_ne_bytes);
    let destination = Ipv4Addr::from(word(fields.next())?);
    let mask = u32::from_be_bytes(word(fields.nth(5))?);
    let prefix = u8::try_from(mask.leading_ones()).ok()?;
    (prefix > 0).then(|| Subnet::around(IpAddr::V4(destination), prefix))?
}

/// `fd000000000000000000000000000000 40 ... eth0`.
fn of_v6(line: &str) -> Option<Subnet> {
    let mut fields = line.split_ascii_whitespace();
    let destination = u128::from_str_radix(fields.next()?, 16).ok()?;
    let prefix = u8::from_str_radix(fields.next()?, 16).ok()?;
    // Multicast and link-local are every device's, and the default route is everywhere.
    let is_some = prefix > 0 && destination >> 120 != 0xff && destination >> 118 != 0x3fa;
    is_some.then(|| Subnet::around(IpAddr::V6(Ipv6Addr::from(destination)), prefix))?
}

/// Whether there is a way to anywhere: over IPv4, over IPv6.
pub fn ways() -> [bool; 2] {
    let text = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let four = text("route").lines().skip(1).any(is_default_v4);
    [four, text("ipv6_route").lines().any(is_default_v6)]
}

fn is_default_v4(line: &str) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    (fields.get(1), fields.get(7)) == (Some(&"00000000"), Some(&"00000000"))
}

/// The kernel keeps one by which nothing is reached, on lo.
fn is_default_v6(line: &str) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let is_all = |field: Option<&&str>| field.is_some_and(|f| f.bytes().all(|b| b == b'0'));
    is_all(fields.first()) && fields.get(1) == Some(&"00") && fields.get(9).is_some_and(|d| *d != "lo")
}

/// Names of the machine's network devices.
pub fn devices() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    text.lines()
        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        if cfg!(target_endian = "little") {
            let line = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0";
            assert_eq!(of_v4(line).unwrap().to_string(), "172.17.0.0/16");
        }
        assert_eq!(
            of_v4("eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0"),
            None
        );
        let six = "fd12000000000000000000000000abcd 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0";
        assert_eq!(of_v6(six).unwrap().to_string(), "fd12::/64");
        assert_eq!(of_v6(&six.replace("fd12", "fe80")), None);
        assert_eq!(of_v6(&six.replace("fd12", "ff00")), None);
        assert_eq!(of_v6(&six.replacen(" 40 ", " 00 ", 1)), None);
    }

    #[test]
    fn ways_to_anywhere() {
        assert!(is_default_v4(
            "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0"
        ));
        assert!(!is_default_v4(
            "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0"
        ));
        let zero = "0".repeat(32);
        let line = |prefix: &str, device: &str| {
            format!("{zero} {prefix} {zero} 00 {zero} 00000400 00000001 00000000 00000003 {device}")
        };
        assert!(is_default_v6(&line("00", "eth0")));
        assert!(!is_default_v6(&line("00", "lo")));
        assert!(!is_default_v6(&line("40", "eth0")));
    }

    #[test]
    fn every_machine_has_a_loopback_device() {
        assert!(devices().contains(&"lo".to_owned()));
    }
}

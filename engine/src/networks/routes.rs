//! What the machine has of addresses, devices and routes: what a new network must not meet.
//!
//! May not: change anything. It is all of the calling thread's namespace.

use std::fs;

use network::pool::Subnet;

/// Blocks that something of the machine leads to, by whatever table: VPNs have tables of their own. Default routes, which lead
/// everywhere, do not count. What cannot be asked for is as if it were not there: a network with a subnet of its user's needs nobody's
/// routes.
pub fn taken() -> Vec<Subnet> {
    let routes = network::link::routes().unwrap_or_default();
    let destinations = routes.into_iter().map(|route| route.destination);
    destinations
        .filter_map(|to| Subnet::around(to.address, to.prefix))
        .collect()
}

/// Blocks that a device of the machine has an address of, so that another device cannot have them.
pub fn connected() -> Vec<Subnet> {
    let addresses = network::link::addresses().unwrap_or_default();
    let blocks = addresses.into_iter();
    blocks
        .filter_map(|own| Subnet::around(own.address, own.prefix))
        .collect()
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
    use super::*;

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

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
    fn every_machine_has_a_loopback_device() {
        assert!(devices().contains(&"lo".to_owned()));
    }
}

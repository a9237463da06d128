//! The formats of the kernel's files, as far as they are more than a number or a table.
//!
//! May not: touch a file. A line that is not understood is left out: a newer kernel may have more to say.

use super::{Network, Pressure, PressureLine, Rdma};

/// /proc/PID/net/dev: two lines of headings, then `name: ` and sixteen counters.
pub(super) fn interfaces(text: &str) -> Vec<Network> {
    text.lines().skip(2).filter_map(interface).collect()
}

fn interface(line: &str) -> Option<Network> {
    // The name may hold a colon (an alias), the counters cannot.
    let (name, counters) = line.rsplit_once(':')?;
    let n: Vec<u64> = counters
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    Some(Network {
        name: name.trim().to_string(),
        rx_bytes: *n.first()?,
        rx_packets: *n.get(1)?,
        rx_errors: *n.get(2)?,
        rx_dropped: *n.get(3)?,
        tx_bytes: *n.get(8)?,
        tx_packets: *n.get(9)?,
        tx_errors: *n.get(10)?,
        tx_dropped: *n.get(11)?,
    })
}

/// Lines `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full ...`.
pub(super) fn pressure(text: &str) -> Pressure {
    let mut out = Pressure::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let into = match words.next() {
            Some("some") => &mut out.some,
            Some("full") => &mut out.full,
            _ => continue,
        };
        let line = into.insert(PressureLine::default());
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            match key {
                "avg10" => line.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => line.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => line.avg300 = value.parse().unwrap_or(0.0),
                "total" => line.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
    out
}

/// Lines `mlx4_0 hca_handle=2 hca_object=max`.
pub(super) fn rdma(text: &str) -> Vec<Rdma> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let mut out = Rdma {
                device: words.next()?.to_string(),
                ..Rdma::default()
            };
            for (key, value) in words.filter_map(|w| w.split_once('=')) {
                let value = match value {
                    "max" => u32::MAX,
                    digits => digits.parse().ok()?,
                };
                match key {
                    "hca_handle" => out.hca_handles = value,
                    "hca_object" => out.hca_objects = value,
                    _ => {}
                }
            }
            Some(out)
        })
        .collect()
}

/// `hugepages-2048kB` is `2MB`. The kernel's files have one whole number and the largest unit that fits.
pub(super) fn huge_page_size(name: &str) -> Option<String> {
    let kilobytes: u64 = name
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    Some(match kilobytes {
        k if k >= 1 << 20 => format!("{}GB", k >> 20),
        k if k >= 1 << 10 => format!("{}MB", k >> 10),
        k => format!("{k}KB"),
    })
}

/// A device number `8:16`.
pub(super) fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_sixteen_counters_of_which_eight_are_taken() {
        let text = "Inter-|   Receive        |  Transmit\n face |bytes packets | bytes\n    \
                    lo:     0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n\
                    eth0.1:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  half: 1 2\n";
        let found = interfaces(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].name, "lo");
        let eth = Network {
            name: "eth0.1".into(),
            rx_bytes: 1,
            rx_packets: 2,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 9,
            tx_packets: 10,
            tx_errors: 11,
            tx_dropped: 12,
        };
        assert_eq!(found[1], eth);
    }

    #[test]
    fn pressure_of_the_processor_has_one_line_on_old_kernels() {
        let p = pressure("some avg10=1.50 avg60=0.25 avg300=0.00 total=73\n");
        let some = p.some.unwrap();
        assert_eq!((some.avg10, some.avg60, some.total), (1.5, 0.25, 73));
        assert!(p.full.is_none());
        assert!(pressure("full avg10=0.00 total=1\n").full.is_some());
    }

    #[test]
    fn rdma_devices() {
        let found = rdma("mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=max\nx y=z\n");
        assert_eq!(found.len(), 2, "what is not understood is left out");
        assert_eq!((found[0].hca_handles, found[0].hca_objects), (2, 2000));
        assert_eq!(
            (found[1].device.as_str(), found[1].hca_objects),
            ("ocrdma1", u32::MAX)
        );
    }

    #[test]
    fn sizes_of_huge_pages() {
        for (name, size) in [
            ("hugepages-2048kB", "2MB"),
            ("hugepages-1048576kB", "1GB"),
            ("hugepages-64kB", "64KB"),
        ] {
            assert_eq!(huge_page_size(name).as_deref(), Some(size));
        }
        assert_eq!(huge_page_size("demote"), None);
    }

    #[test]
    fn devices() {
        assert_eq!(device("8:16"), Some((8, 16)));
        assert_eq!(device("Total"), None);
    }
}

//! What RUN reaches.

use conformance::command;

use crate::case::{Case, Need, Scene, case, has, is, soon};
use crate::outside::{CABLE, KNOWN, KNOWN_ADDRESS, SECOND};
use crate::packages;

pub fn cases() -> Vec<Case> {
    vec![
        case("network.default", &[], |s| {
            // Out through the host's address, and by name.
            s.builds(
                "net-default",
                &format!(
                    "FROM tiny\nRUN wget -q -O /seen http://{SECOND}/ && nslookup {KNOWN} | grep -o {KNOWN_ADDRESS} | head -n 1 >>/seen\n"
                ),
            )?;
            s.shows(
                "net-default",
                "cat /seen",
                &format!("you are 192.0.2.1\n{KNOWN_ADDRESS}"),
            )
        }),
        case("network.none", &[], |s| {
            s.dockerfile("FROM tiny\nRUN ls /sys/class/net >/seen; ip route | wc -l >>/seen\n")?;
            s.build("--network none -t net-none .")?;
            s.shows("net-none", "cat /seen", "lo\n0")
        }),
        case("network.of-one-step", &[Need::Brig], |s| {
            let address = s.lab.web.put("loopback-step", b"reached\n")?;
            s.builds(
                "net-step",
                "FROM tiny\nRUN --network=none ls /sys/class/net >/seen\n",
            )?;
            s.shows("net-step", "cat /seen", "lo")?;
            s.dockerfile(&format!(
                "FROM tiny\nRUN --network=host wget -q -O /seen {address}\n"
            ))?;
            s.build("--allow network.host -t net-step .")?;
            s.shows("net-step", "cat /seen", "reached")
        }),
        case("network.host", &[], |s| {
            let address = s.lab.web.put("loopback", b"reached\n")?;
            s.dockerfile(&format!("FROM tiny\nRUN wget -q -O /seen {address}\n"))?;
            s.build("--network host -t net-host .")?;
            s.shows("net-host", "cat /seen", "reached")
        }),
        case("network.add-host", &[], |s| {
            s.dockerfile("FROM tiny\nRUN grep -E 'first|second' /etc/hosts | sort | tr '\\t' ' ' >/seen\n")?;
            s.build("--add-host first:10.1.2.3 --add-host second:2001:db8::5 -t hosts .")?;
            s.shows("hosts", "cat /seen", "10.1.2.3 first\n2001:db8::5 second")?;
            s.shows("hosts", "grep -c first /etc/hosts || true", "0")
        }),
        case("network.apt", &[Need::Packages, Need::NotBuildah], |s| {
            // Archives in a cache, as everybody advises: the second build asks for none again.
            let text = |more: &str| {
                format!(
                    "FROM debian:bookworm
RUN rm -f /etc/apt/apt.conf.d/docker-clean; echo 'Binary::apt::APT::Keep-Downloaded-Packages \"true\";' >/etc/apt/apt.conf.d/keep
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \\
  apt-get update && apt-get install -y --no-install-recommends hello{more}
"
                )
            };
            let line = format!("--build-arg http_proxy={} -t apt .", packages::proxy());
            s.dockerfile(&text(""))?;
            s.build(&line)?;
            s.shows(
                "apt",
                "hello; find /var/lib/apt /var/cache/apt -type f -size +100k | wc -l",
                "Hello, world!\n0",
            )?;
            s.dockerfile(&text(" && true"))?;
            has("apt", &s.build(&line)?, "Need to get 0 B/")
        }),
        case("network.leaves-nothing", &[Need::Brig], |s| {
            let left = |s: &Scene| {
                // Devices go with their namespaces, when the kernel gets to it.
                let devices = format!("ip -o link show type veth | grep -vc {CABLE}");
                command::until("no step's device is left", soon(), || {
                    s.sh(&devices).is_ok_and(|o| o.stdout.trim() == "0")
                })?;
                s.must("ip -o link | wc -l; nft list ruleset 2>/dev/null | wc -l; ls /run/netns | wc -l; ls /run/brig 2>/dev/null || true")
            };
            let ask = format!("FROM tiny\nRUN wget -q -O /dev/null http://{SECOND}/");
            s.builds("net-left", &format!("{ask}\n"))?;
            let before = left(s)?;
            s.builds("net-left", &format!("{ask}; exit 0 # again\nRUN true\n"))?;
            s.dockerfile(&format!("{ask}; exit 1\n"))?;
            s.fails("docker build .", 1, &["exit code: 1"])?;
            is("links, rules and namespaces", left(s)?, before)
        }),
    ]
}

//! What others do to our rules, what we do to theirs, and that nothing is left.

use std::fs;
use std::time::{Duration, Instant};

use network::Space;
use network::attachment::Kind;
use network::attachment::Protocol::Tcp;
use network::error;
use network::link::Links;
use network::nft::{Base, Element, Family, Hook, Rules, Table, Transaction};

use crate::played::*;

const FAMILIES: [Family; 4] = [Family::Inet, Family::Ipv4, Family::Ipv6, Family::Bridge];

/// As `nft flush ruleset`.
fn flush() {
    let rules = Rules::open().unwrap();
    let mut all = Transaction::default();
    for table in tables() {
        all.no_table(&table);
    }
    rules.commit(all).unwrap();
}

fn tables() -> Vec<Table> {
    let rules = Rules::open().unwrap();
    let of = |family| {
        let names = rules.tables(family).unwrap();
        names.into_iter().map(move |name| Table { family, name })
    };
    FAMILIES.into_iter().flat_map(of).collect()
}

/// A bridge's place in the rules.
fn bridge(device: &str) -> Element {
    let mut key = device.as_bytes().to_vec();
    key.resize(libc::IFNAMSIZ, 0);
    Element {
        set: "bridges",
        key,
        data: Vec::new(),
    }
}

fn devices() -> Vec<String> {
    Links::open()
        .unwrap()
        .all()
        .unwrap()
        .into_iter()
        .map(|l| l.name)
        .collect()
}

/// A chain of an administrator's that lets nothing through.
fn closed(family: Family) -> Table {
    let table = Table {
        family,
        name: "admin".to_string(),
    };
    let base = Base {
        kind: "filter",
        hook: Hook::Forward,
        priority: 0,
        drops: true,
    };
    let mut all = Transaction::default();
    all.table(&table);
    all.chain(&table, "forward", Some(&base));
    Rules::open().unwrap().commit(all).unwrap();
    table
}

#[test]
fn nothing_is_left() {
    on_a_machine(|host| {
        let before = (devices(), tables());
        let net = network("brig0", &["172.30.0.1/24", "fd00:30::1/64"]);
        let mut apart = network("br-apart", &["172.31.0.1/24"]);
        apart.icc = false;
        let admin = closed(Family::Ipv4);
        for round in 0..2 {
            let mut wanted = in_network(&net, &["172.30.0.2/24", "fd00:30::2/64"]);
            wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80), port(Tcp, "::", 8080, 80)];
            wanted
                .endpoints
                .push(endpoint(&apart, "eth1", &["172.31.0.2/24"]));
            let container = host.start(wanted);
            assert_eq!(read("/proc/sys/net/ipv4/ip_forward"), "1");
            assert_eq!(read("/proc/sys/net/ipv6/conf/all/forwarding"), "1");
            // Twice, as after a kill in between.
            host.machine.detach(&container.attachment).unwrap();
            host.stop(container);
            for network in [&net, &apart] {
                host.machine.remove(network).unwrap();
                host.machine.remove(network).unwrap();
            }
            let inside = Rules::open().unwrap().rules(&admin, "forward").unwrap();
            assert!(inside.is_empty(), "round {round}: {inside:?}");
        }
        let mut away = Transaction::default();
        away.no_table(&admin);
        Rules::open().unwrap().commit(away).unwrap();
        // Devices end with their namespaces, when the kernel gets to it.
        let deadline = Instant::now() + Duration::from_secs(20);
        while devices() != before.0 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!((devices(), tables()), before);
        assert_eq!(read("/proc/sys/net/ipv4/ip_forward"), "0");
        assert_eq!(read("/proc/sys/net/ipv6/conf/all/forwarding"), "0");
        assert!(
            host.run
                .join("networks")
                .read_dir()
                .is_ok_and(|mut d| d.next().is_none())
        );
    });
}

#[test]
fn rules_that_were_flushed_come_back_with_the_next_container() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let mut wanted = in_network(&net, &["172.30.0.2/24"]);
        wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
        let web = host.start(wanted);
        let server = Server::new(&web.space, 80);
        let reached = || {
            server
                .sees(From::In(&host.neighbour), &format!("{US}:8080"))
                .is_some()
        };
        assert!(reached());
        assert_eq!(host.machine.check().unwrap(), Vec::<String>::new());

        flush();
        assert!(!reached());
        let problems = host.machine.check().unwrap();
        assert_eq!(
            problems,
            [format!("the table inet {} is missing", host.machine.table())]
        );
        let second = host.start(in_network(&net, &["172.30.0.3/24"]));
        assert!(reached());
        assert_eq!(host.machine.check().unwrap(), Vec::<String>::new());
        let guards = tables().into_iter().filter(|t| t.name == "brig-guard");
        assert_eq!(guards.count(), 1, "the guard is back, too");

        // What is flushed while a container ends is no error.
        flush();
        host.stop(second);
        host.machine.restore().unwrap();
        assert!(reached());
        assert_eq!(host.machine.check().unwrap(), Vec::<String>::new());
    });
}

/// Who makes all rules anew knows of the networks that nobody is in, too.
#[test]
fn rules_of_an_idle_network_come_back_with_the_next_one() {
    on_a_machine(|host| {
        let idle = network("brig0", &["172.30.0.1/24"]);
        let container = host.start(in_network(&idle, &["172.30.0.2/24"]));
        host.stop(container);
        let made = network("br-made", &["172.31.0.1/24"]);
        host.machine.ensure(&made).unwrap();
        flush();
        let next = network("br-next", &["172.32.0.1/24"]);
        host.machine.ensure(&next).unwrap();
        let bridges = || {
            let rules = Rules::open().unwrap();
            let ours = Table {
                family: Family::Inet,
                name: host.machine.table().to_string(),
            };
            let has = |device: &&str| {
                let mut there = rules.present(&ours, &[bridge(device)]).unwrap();
                there.pop().is_some()
            };
            ["brig0", "br-made", "br-next"]
                .into_iter()
                .filter(has)
                .collect::<Vec<_>>()
        };
        assert_eq!(bridges(), ["brig0", "br-made", "br-next"]);
        host.machine.remove(&made).unwrap();
        host.machine.remove(&next).unwrap();
        assert_eq!(bridges(), ["brig0"]);
        flush();
        host.machine.restore().unwrap();
        assert_eq!(bridges(), ["brig0"]);
        host.machine.remove(&idle).unwrap();
        assert_eq!(tables(), []);
    });
}

/// Between the end of its rules and that of its record, somebody else makes all rules anew.
#[test]
fn rules_of_who_ends_do_not_come_back() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let mut wanted = in_network(&net, &["172.30.0.2/24"]);
        wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
        let _other = host.start(in_network(&net, &["172.30.0.3/24"]));
        let web = host.start(wanted);
        let itself = || {
            let rules = Rules::open().unwrap();
            let ours = Table {
                family: Family::Inet,
                name: host.machine.table().to_string(),
            };
            let itself = Element {
                set: "selves4",
                key: [172, 30, 0, 2, 172, 30, 0, 2].to_vec(),
                data: Vec::new(),
            };
            rules.present(&ours, &[itself]).unwrap().len()
        };
        assert_eq!(itself(), 1);
        host.machine.detach(&web.attachment).unwrap();
        assert_eq!(itself(), 0);
        host.machine.restore().unwrap();
        assert_eq!(itself(), 0);
        // With the next life they are there again.
        fs::remove_file(
            host.run
                .join("containers")
                .join(&web.attachment.container)
                .join("network.json"),
        )
        .unwrap();
        web.write_down();
        host.machine.restore().unwrap();
        assert_eq!(itself(), 1);
        host.stop(web);
        assert_eq!(itself(), 0);
    });
}

/// Whoever speaks IPv6 has forwarding switched on, with the guard of that version; and an administrator may close that version.
#[test]
fn a_bridge_has_no_business_in_chains_of_what_it_does_not_speak() {
    on_a_machine(|host| {
        let nothing = Vec::<String>::new();
        host.start(in_network(
            &network("brig0", &["172.30.0.1/24"]),
            &["172.30.0.2/24"],
        ));
        host.start(in_network(&network("brig1", &["fd31::1/64"]), &["fd31::2/64"]));
        assert_eq!(host.machine.check().unwrap(), nothing);
        closed(Family::Ipv6);
        assert_eq!(
            host.machine.check().unwrap(),
            [
                "the chain forward of table ip6 admin stops packets, and the rules that let those of brig1 through are missing"
            ]
        );
        host.machine.restore().unwrap();
        assert_eq!(host.machine.check().unwrap(), nothing);
    });
}

/// Docker's daemon, say, that starts after our containers.
#[test]
fn who_stops_all_that_is_forwarded_later_is_told_and_passed() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let mut wanted = in_network(&net, &["172.30.0.2/24"]);
        wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
        let web = host.start(wanted);
        let server = Server::new(&web.space, 80);
        let from_outside = || {
            server
                .sees(From::In(&host.neighbour), &format!("{US}:8080"))
                .is_some()
        };
        assert_eq!(host.machine.check().unwrap(), Vec::<String>::new());

        closed(Family::Ipv4);
        assert!(!from_outside());
        assert_eq!(
            host.machine.check().unwrap(),
            [
                "the chain forward of table ip admin stops packets, and the rules that let those of brig0 through are missing"
            ]
        );
        host.machine.restore().unwrap();
        assert!(from_outside());

        write("/proc/sys/net/ipv4/ip_forward", "0");
        assert!(!from_outside());
        assert_eq!(
            host.machine.check().unwrap(),
            ["/proc/sys/net/ipv4/ip_forward is 0, so nothing is forwarded to containers or from them"]
        );
        host.machine.restore().unwrap();
        assert!(from_outside());
        assert_eq!(host.machine.check().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_rule_that_is_missing_is_told_and_restored() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let _web = host.start(in_network(&net, &["172.30.0.2/24"]));
        let rules = Rules::open().unwrap();
        let ours = Table {
            family: Family::Inet,
            name: host.machine.table().to_string(),
        };
        let first = &rules.rules(&ours, "forward").unwrap()[0];
        let mut change = Transaction::default();
        change.no_rule(&ours, "forward", first.handle);
        rules.commit(change).unwrap();
        let problems = host.machine.check().unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("chain forward"), "{problems:?}");
        host.machine.restore().unwrap();
        assert_eq!(host.machine.check().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_machine_that_was_no_router_does_not_become_one() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let mut wanted = in_network(&net, &["172.30.0.2/24"]);
        wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
        let web = host.start(wanted);
        // Another wire, of nobody's of us.
        let far = Space::make(&host.run.join("far")).unwrap();
        second_wire(&far);
        let server = Server::new(&far, 80);
        assert_eq!(server.sees(From::In(&host.neighbour), "198.51.100.2:80"), None);
        assert_eq!(
            server.sees(From::In(&web.space), "198.51.100.2:80"),
            Some(ip("198.51.100.1"))
        );
        let inside = Server::new(&web.space, 80);
        assert!(
            inside
                .sees(From::In(&host.neighbour), &format!("{US}:8080"))
                .is_some()
        );
    });
    on_a_machine(|host| {
        write("/proc/sys/net/ipv4/ip_forward", "1");
        let net = network("brig0", &["172.30.0.1/24"]);
        let _web = host.start(in_network(&net, &["172.30.0.2/24"]));
        let far = Space::make(&host.run.join("far")).unwrap();
        second_wire(&far);
        let server = Server::new(&far, 80);
        let seen = server.sees(From::In(&host.neighbour), "198.51.100.2:80");
        assert_eq!(seen, Some(ip(NEIGHBOUR)), "a router stays one");
    });
}

fn second_wire(far: &Space) {
    use network::link::{self, Pair};
    let links = Links::open().unwrap();
    let pair = Pair {
        name: "wire2",
        bridge: 0,
        peer: "wire",
        space: far.fd(),
        mac: [2, 0, 0, 0, 0, 2],
        mtu: 0,
    };
    links.make(vec![pair.request(), link::up("wire2")]).unwrap();
    let index = links.find("wire2").unwrap().unwrap().index;
    links
        .make(vec![link::address(index, "wire2", address("198.51.100.1/24"))])
        .unwrap();
    far.inside(|| {
        let links = Links::open()?;
        let index = links.find("wire")?.unwrap().index;
        links.make(vec![
            link::up("wire"),
            link::address(index, "wire", address("198.51.100.2/24")),
            link::default_route(index, false, Some(ip("198.51.100.1"))),
        ])
    })
    .unwrap();
    sys::net::carriers(&["wire2"]).unwrap();
}

#[test]
fn a_closed_firewall_lets_our_bridges_through_and_nothing_else() {
    for family in [Family::Inet, Family::Ipv4] {
        on_a_machine(|host| {
            write("/proc/sys/net/ipv4/ip_forward", "1");
            let admin = closed(family);
            let net = network("brig0", &["172.30.0.1/24"]);
            let mut wanted = in_network(&net, &["172.30.0.2/24"]);
            wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
            let web = host.start(wanted);
            let server = Server::new(&web.space, 80);
            let neighbour = From::In(&host.neighbour);
            let reached = || server.sees(neighbour, &format!("{US}:8080")).is_some();
            assert!(reached(), "{family:?}");
            assert_eq!(
                server.sees(neighbour, "172.30.0.2:80"),
                None,
                "{family:?}: not published"
            );
            let rules = || Rules::open().unwrap().rules(&admin, "forward").unwrap().len();
            let _second = host.start(in_network(&net, &["172.30.0.3/24"]));
            assert_eq!(rules(), 2, "{family:?}: once for each bridge");

            // What its owner forbids stays forbidden: his rules come first.
            let no_wire = network::nft::rule::Rule {
                act: network::nft::rule::Act::Drop,
                ..network::nft::rule::let_device_through(network::nft::rule::Field::InputDevice, "wire")
            };
            flush();
            closed(family);
            let mut change = Transaction::default();
            change.rule(&admin, "forward", &no_wire);
            change.rule(
                &admin,
                "forward",
                &network::nft::rule::Rule::new("all", &[], network::nft::rule::Act::Drop),
            );
            Rules::open().unwrap().commit(change).unwrap();
            host.machine.restore().unwrap();
            assert_eq!(rules(), 4, "{family:?}");
            assert!(!reached(), "{family:?}: from there it is forbidden");
            let outside = Server::new(&host.neighbour, 81);
            assert_eq!(
                outside.sees(From::In(&web.space), &format!("{NEIGHBOUR}:81")),
                None
            );
            let mut change = Transaction::default();
            let first = Rules::open().unwrap().rules(&admin, "forward").unwrap()[0].handle;
            change.no_rule(&admin, "forward", first);
            Rules::open().unwrap().commit(change).unwrap();
            assert!(reached(), "{family:?}: before what stops everything");
        });
    }
}

#[test]
fn iptables_still_prints_its_chain() {
    on_a_machine(|host| {
        write("/proc/sys/net/ipv4/ip_forward", "1");
        if program("iptables", &["-P", "FORWARD", "DROP"]).is_none() {
            return;
        }
        program("iptables", &["-A", "FORWARD", "-s", "10.9.9.9", "-j", "ACCEPT"]);
        let before = program("iptables", &["-S", "FORWARD"]).unwrap();
        let net = network("brig0", &["172.30.0.1/24"]);
        let mut wanted = in_network(&net, &["172.30.0.2/24"]);
        wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
        let web = host.start(wanted);
        let server = Server::new(&web.space, 80);
        assert!(
            server
                .sees(From::In(&host.neighbour), &format!("{US}:8080"))
                .is_some()
        );
        let ours = ["-A FORWARD -i brig0 -j ACCEPT", "-A FORWARD -o brig0 -j ACCEPT"];
        let printed = program("iptables", &["-S", "FORWARD"]).unwrap();
        assert_eq!(printed, format!("{before}{}\n", ours.join("\n")));
        // It finds them, as it would its own.
        program("iptables", &["-C", "FORWARD", "-i", "brig0", "-j", "ACCEPT"]);
        program("iptables-save", &[]);
        host.stop(web);
        host.machine.remove(&net).unwrap();
        assert_eq!(program("iptables", &["-S", "FORWARD"]).unwrap(), before);
    });
}

#[test]
fn a_device_of_somebody_else_is_left_alone() {
    on_a_machine(|host| {
        let bridge = network::link::bridge("brig0", [2, 0, 0, 0, 0, 9], 0);
        let alias = network::link::alias("brig0", "mine");
        Links::open().unwrap().make(vec![bridge, alias]).unwrap();
        let net = network("brig0", &["172.30.0.1/24"]);
        let e = host.machine.ensure(&net).unwrap_err();
        assert_eq!(e.kind(), error::Kind::Taken);
        let sentence =
            "network brig0 needs the device brig0, but there is one of this name that is not its own (mine)";
        assert_eq!(e.to_string(), sentence);
        host.machine.remove(&net).unwrap();
        assert!(devices().contains(&"brig0".to_string()));
    });
}

/// Its monitor was killed, so its record and its elements are still there.
#[test]
fn a_port_goes_to_the_container_that_has_it_now() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let publish = |address: &str| {
            let mut wanted = in_network(&net, &[&format!("{address}/24")]);
            wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
            host.start(wanted)
        };
        let dead = publish("172.30.0.2");
        let web = publish("172.30.0.3");
        let server = Server::new(&web.space, 80);
        let reached = || {
            server
                .sees(From::In(&host.neighbour), &format!("{US}:8080"))
                .is_some()
        };
        assert!(reached());
        host.stop(dead);
        assert!(reached(), "it took with it what was not its own");
    });
}

#[test]
fn a_container_changes_its_networks_while_it_runs() {
    on_a_machine(|host| {
        let one = network("br-one", &["172.30.0.1/24"]);
        let two = network("br-two", &["172.31.0.1/24"]);
        let mut wanted = in_network(&one, &["172.30.0.2/24"]);
        wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
        let mut web = host.start(wanted);
        let server = Server::new(&web.space, 80);
        let outside = Server::new(&host.neighbour, 81);
        let friend = host.start(in_network(&two, &["172.31.0.3/24"]));
        let in_two = || server.sees(From::In(&friend.space), "172.31.0.2:80");
        let published = || server.sees(From::In(&host.neighbour), &format!("{US}:8080"));
        let out = |web: &Container| outside.sees(From::In(&web.space), &format!("{NEIGHBOUR}:81"));

        let old = web.attachment.clone();
        web.attachment
            .endpoints
            .push(endpoint(&two, "eth1", &["172.31.0.2/24"]));
        web.write_down();
        host.machine.change(&web.space, &old, &web.attachment).unwrap();
        assert_eq!(in_two(), Some(ip("172.31.0.3")));
        assert_eq!(published(), Some(ip(NEIGHBOUR)));
        assert_eq!(out(&web), Some(ip(US)));

        let old = web.attachment.clone();
        web.attachment.endpoints.remove(0);
        host.machine.change(&web.space, &old, &web.attachment).unwrap();
        web.write_down();
        assert!(!devices().contains(&old.endpoints[0].device));
        assert_eq!(published(), Some(ip(NEIGHBOUR)), "over the network that is left");
        assert_eq!(out(&web), Some(ip(US)), "the same way out");
        assert_eq!(in_two(), Some(ip("172.31.0.3")));
        assert_eq!(host.machine.check().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn names_are_asked_for_where_the_resolver_listens() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let web = host.start(in_network(&net, &["172.30.0.2/24"]));
        let ports = |space: &Space| {
            space.inside(|| {
                let udp = std::net::UdpSocket::bind("127.0.0.11:0")?;
                let tcp = std::net::TcpListener::bind("127.0.0.11:0")?;
                Ok((udp, tcp))
            })
        };
        let (udp, tcp) = ports(&web.space).unwrap();
        let numbers = [udp.local_addr().unwrap().port(), tcp.local_addr().unwrap().port()];
        network::Machine::redirect_names(&web.space, numbers[0], numbers[1]).unwrap();
        let mut answer = [0; 5];
        web.space
            .inside(|| {
                // A resolver of the container's own may still have the port.
                let _own = std::net::UdpSocket::bind("0.0.0.0:53")?;
                let client = std::net::UdpSocket::bind("0.0.0.0:0")?;
                client.connect("127.0.0.11:53")?;
                client.send(b"hello")?;
                udp.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
                let (_, peer) = udp.recv_from(&mut answer)?;
                udp.send_to(&answer, peer)?;
                client.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
                client.recv(&mut answer)?;
                std::net::TcpStream::connect("127.0.0.11:53")?;
                tcp.accept()?;
                Ok(())
            })
            .unwrap();
        assert_eq!(&answer, b"hello");
    });
}

#[test]
fn a_macvlan_is_on_the_wire_itself() {
    on_a_machine(|host| {
        let mut net = network("mac", &["192.0.2.2/24"]);
        net.kind = Kind::Macvlan {
            parent: "wire".to_string(),
            mode: "bridge".to_string(),
        };
        let mut wanted = in_network(&net, &["192.0.2.9/24"]);
        wanted.endpoints[0].device = String::new();
        let web = host.start(wanted);
        let server = Server::new(&web.space, 80);
        let seen = server.sees(From::In(&host.neighbour), "192.0.2.9:80");
        assert_eq!(seen, Some(ip(NEIGHBOUR)));
        host.stop(web);
        host.machine.remove(&net).unwrap();
        assert!(devices().contains(&"wire".to_string()), "the parent is not ours");

        net.kind = Kind::Macvlan {
            parent: "wire.10".to_string(),
            mode: "bridge".to_string(),
        };
        match host.machine.ensure(&net) {
            Err(e) if e.errno() == libc::EOPNOTSUPP => {
                println!("skipped: a kernel without VLANs");
                return;
            }
            made => made.unwrap(),
        }
        assert!(devices().contains(&"wire.10".to_string()));
        host.machine.remove(&net).unwrap();
        assert!(!devices().contains(&"wire.10".to_string()));
    });
}

/// Each finds the rules as the others leave them, and some find none.
#[test]
fn many_start_and_end_at_once_while_rules_are_flushed() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let machine = &host.machine;
        std::thread::scope(|scope| {
            for n in 2..14u16 {
                let net = &net;
                scope.spawn(move || {
                    for round in 0..6 {
                        let mut wanted = in_network(net, &[&format!("172.30.0.{n}/24")]);
                        wanted.ports = vec![port(Tcp, "0.0.0.0", 8000 + n, 80)];
                        let container = host.start(wanted);
                        if n == 2 {
                            let mut away = Transaction::default();
                            away.table(&Table {
                                family: Family::Inet,
                                name: machine.table().to_string(),
                            });
                            away.no_table(&Table {
                                family: Family::Inet,
                                name: machine.table().to_string(),
                            });
                            Rules::open().unwrap().commit(away).unwrap();
                        }
                        if round < 5 {
                            host.stop(container);
                        }
                    }
                });
            }
        });
        host.machine.restore().unwrap();
        assert_eq!(host.machine.check().unwrap(), Vec::<String>::new());
    });
}

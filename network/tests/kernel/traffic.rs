//! Who reaches whom.

use network::Machine;
use network::attachment::Protocol::{Tcp, Udp};

use crate::played::*;

#[test]
fn a_published_port_is_reached_from_everywhere() {
    on_a_machine(|host| published(host, ip("172.30.0.1")));
}

/// Where the module br_netfilter is loaded, what stays on a bridge goes through the rules, too.
#[test]
fn a_published_port_is_reached_from_everywhere_with_br_netfilter() {
    on_a_machine(|host| {
        if with_bridge_netfilter() {
            published(host, ip("172.30.0.3"));
        }
    });
}

/// What stays on a bridge goes through the rules of the internet protocol, too.
fn with_bridge_netfilter() -> bool {
    let settings = ["iptables", "ip6tables"].map(|s| format!("/proc/sys/net/bridge/bridge-nf-call-{s}"));
    if !std::path::Path::new(&settings[0]).exists() {
        println!("skipped: no br_netfilter");
        return false;
    }
    settings.iter().for_each(|s| write(s, "1"));
    true
}

fn published(host: &Host, friend_is_seen_as: std::net::IpAddr) {
    let net = network("brig0", &["172.30.0.1/24"]);
    let other = network("br-other", &["172.31.0.1/24"]);
    let mut wanted = in_network(&net, &["172.30.0.2/24"]);
    wanted.ports = vec![
        port(Tcp, "0.0.0.0", 8080, 80),
        port(Udp, "0.0.0.0", 8080, 80),
        port(Tcp, "127.0.0.1", 8081, 80),
        port(Tcp, US, 8082, 80),
    ];
    let web = host.start(wanted);
    let friend = host.start(in_network(&net, &["172.30.0.3/24"]));
    let stranger = host.start(in_network(&other, &["172.31.0.2/24"]));
    let server = Server::new(&web.space, 80);
    let neighbour = From::In(&host.neighbour);

    let via = |from, port| server.sees(from, &format!("{US}:{port}"));
    assert_eq!(
        via(neighbour, 8080),
        Some(ip(NEIGHBOUR)),
        "a neighbour, with its own address"
    );
    assert_eq!(via(From::Us, 8080), Some(ip(US)), "the machine's address");
    assert_eq!(
        server.sees(From::Us, "127.0.0.1:8080"),
        Some(ip("172.30.0.1")),
        "127.0.0.1"
    );
    assert_eq!(
        server.sees(From::Us, "172.30.0.1:8080"),
        Some(ip("172.30.0.1")),
        "the gateway"
    );
    assert_eq!(
        via(From::In(&friend.space), 8080),
        Some(friend_is_seen_as),
        "the same network"
    );
    assert!(via(From::In(&stranger.space), 8080).is_some(), "another network");
    assert_eq!(via(From::In(&web.space), 8080), Some(ip("172.30.0.1")), "itself");

    let datagram = |from| server.sees_datagram(from, &format!("{US}:8080"));
    assert_eq!(datagram(neighbour), Some(ip(NEIGHBOUR)), "a neighbour, UDP");
    assert_eq!(datagram(From::Us), Some(ip(US)), "the machine, UDP");
    assert!(
        datagram(From::In(&friend.space)).is_some(),
        "the same network, UDP"
    );
    assert!(datagram(From::In(&web.space)).is_some(), "itself, UDP");

    assert_eq!(server.sees(From::Us, "127.0.0.1:8081"), Some(ip("172.30.0.1")));
    assert_eq!(via(neighbour, 8081), None, "published on 127.0.0.1 only");
    assert_eq!(via(neighbour, 8082), Some(ip(NEIGHBOUR)));
    assert_eq!(
        server.sees(From::Us, "127.0.0.1:8082"),
        None,
        "published on one address"
    );

    assert_eq!(
        server.sees(neighbour, "172.30.0.2:80"),
        None,
        "past the published port"
    );
    assert_eq!(
        server.sees(From::In(&stranger.space), "172.30.0.2:80"),
        None,
        "isolation"
    );
    assert_eq!(
        server.sees(From::In(&friend.space), "172.30.0.2:80"),
        Some(ip("172.30.0.3"))
    );
    assert_eq!(server.sees(From::Us, "172.30.0.2:80"), Some(ip("172.30.0.1")));
}

/// Whatever one of them lets through, the other's rules hold; and each finds its own as it made them.
#[test]
fn two_stores_are_isolated_like_two_networks() {
    on_a_machine(|host| {
        let run = host.run.join("other");
        let other = Machine::of(&run);
        let mut wanted = in_network(&network("brig0", &["172.30.0.1/24"]), &["172.30.0.2/24"]);
        wanted.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
        let web = host.start(wanted);
        let wanted = in_network(&network("brig1", &["172.31.0.1/24"]), &["172.31.0.2/24"]);
        let stranger = host.start_in(&run, &other, wanted);
        let server = Server::new(&web.space, 80);
        assert!(
            server
                .sees(From::In(&stranger.space), &format!("{US}:8080"))
                .is_some(),
            "at the published port"
        );
        assert_eq!(
            server.sees(From::In(&stranger.space), "172.30.0.2:80"),
            None,
            "past it"
        );
        let theirs = Server::new(&stranger.space, 80);
        assert!(
            theirs.sees(From::Us, "172.31.0.2:80").is_some(),
            "the machine itself"
        );
        assert_eq!(
            theirs.sees(From::In(&web.space), "172.31.0.2:80"),
            None,
            "the other way"
        );
        for machine in [&host.machine, &other] {
            machine.restore().unwrap();
            assert_eq!(machine.check().unwrap(), Vec::<String>::new());
        }
        assert_eq!(host.machine.check().unwrap(), Vec::<String>::new());
    });
}

#[test]
fn ipv6_is_published_and_isolated_the_same_way() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24", "fd00:30::1/64"]);
        let other = network("br-other", &["172.31.0.1/24", "fd00:31::1/64"]);
        let mut wanted = in_network(&net, &["172.30.0.2/24", "fd00:30::2/64"]);
        wanted.ports = vec![
            port(Tcp, "::", 8080, 80),
            port(Udp, "::", 8080, 80),
            port(Tcp, US_6, 8082, 80),
        ];
        let web = host.start(wanted);
        let friend = host.start(in_network(&net, &["172.30.0.3/24", "fd00:30::3/64"]));
        let stranger = host.start(in_network(&other, &["172.31.0.2/24", "fd00:31::2/64"]));
        let server = Server::new(&web.space, 80);
        let neighbour = From::In(&host.neighbour);

        let via = |from| server.sees(from, &format!("[{US_6}]:8080"));
        assert_eq!(via(neighbour), Some(ip("2001:db8::2")), "a neighbour");
        assert_eq!(via(From::Us), Some(ip(US_6)), "the machine's address");
        assert_eq!(
            via(From::In(&friend.space)),
            Some(ip("fd00:30::1")),
            "the same network"
        );
        assert_eq!(via(From::In(&web.space)), Some(ip("fd00:30::1")), "itself");
        assert!(via(From::In(&stranger.space)).is_some(), "another network");
        assert_eq!(
            server.sees_datagram(neighbour, &format!("[{US_6}]:8080")),
            Some(ip("2001:db8::2"))
        );
        assert_eq!(
            server.sees(neighbour, &format!("[{US_6}]:8082")),
            Some(ip("2001:db8::2"))
        );
        assert_eq!(
            server.sees(From::Us, "[fd00:30::1]:8082"),
            None,
            "published on one address"
        );
        assert_eq!(
            server.sees(neighbour, "[fd00:30::2]:80"),
            None,
            "past the published port"
        );
        assert_eq!(
            server.sees(From::In(&stranger.space), "[fd00:30::2]:80"),
            None,
            "isolation"
        );
        assert_eq!(
            server.sees(From::In(&friend.space), "[fd00:30::2]:80"),
            Some(ip("fd00:30::3"))
        );

        let outside = Server::new(&host.neighbour, 81);
        let seen = outside.sees(From::In(&web.space), "[2001:db8::2]:81");
        assert_eq!(seen, Some(ip(US_6)), "on the way out it has our address");
    });
}

#[test]
fn who_goes_out_has_our_address_unless_told_otherwise() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let mut plain = network("br-plain", &["172.31.0.1/24"]);
        plain.masquerade = false;
        let one = host.start(in_network(&net, &["172.30.0.2/24"]));
        let two = host.start(in_network(&plain, &["172.31.0.2/24"]));
        let outside = Server::new(&host.neighbour, 80);
        let to = format!("{NEIGHBOUR}:80");
        assert_eq!(outside.sees(From::In(&one.space), &to), Some(ip(US)));
        assert_eq!(outside.sees(From::In(&two.space), &to), Some(ip("172.31.0.2")));
    });
}

#[test]
fn an_internal_network_is_left_by_nobody() {
    on_a_machine(|host| {
        let mut inner = network("br-inner", &["172.31.0.1/24"]);
        inner.internal = true;
        let net = network("brig0", &["172.30.0.1/24"]);
        let mut published = in_network(&net, &["172.30.0.2/24"]);
        published.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
        let web = host.start(published);
        let one = host.start(in_network(&inner, &["172.31.0.2/24"]));
        let two = host.start(in_network(&inner, &["172.31.0.3/24"]));
        // Whoever is root in the container gives himself a route.
        one.space
            .inside(|| {
                let links = network::link::Links::open()?;
                let eth0 = links.find("eth0")?.unwrap().index;
                links.make(vec![network::link::default_route(
                    eth0,
                    false,
                    Some(ip("172.31.0.1")),
                )])
            })
            .unwrap();
        let outside = Server::new(&host.neighbour, 80);
        let web = Server::new(&web.space, 80);
        let inside = Server::new(&two.space, 80);
        let from = From::In(&one.space);
        assert_eq!(outside.sees(from, &format!("{NEIGHBOUR}:80")), None, "outside");
        assert_eq!(web.sees(from, "172.30.0.2:80"), None, "another network");
        assert_eq!(
            web.sees(from, &format!("{US}:8080")),
            None,
            "a published port of another network"
        );
        assert_eq!(
            inside.sees(from, "172.31.0.3:80"),
            Some(ip("172.31.0.2")),
            "its own"
        );
        assert_eq!(
            inside.sees(From::In(&host.neighbour), "172.31.0.3:80"),
            None,
            "from outside"
        );
    });
}

#[test]
fn without_icc_only_links_lead_to_others() {
    on_a_machine(without_icc);
}

#[test]
fn without_icc_only_links_lead_to_others_with_br_netfilter() {
    on_a_machine(|host| {
        if with_bridge_netfilter() {
            without_icc(host);
        }
    });
}

fn without_icc(host: &Host) {
    let mut net = network("br-apart", &["172.30.0.1/24", "fd00:30::1/64"]);
    net.icc = false;
    let mut published = in_network(&net, &["172.30.0.2/24", "fd00:30::2/64"]);
    published.ports = vec![port(Tcp, "0.0.0.0", 8080, 80)];
    let web = host.start(published);
    let mut linked = in_network(&net, &["172.30.0.3/24", "fd00:30::3/64"]);
    linked.endpoints[0].reaches = ["172.30.0.2", "fd00:30::2"]
        .map(|address| network::attachment::Reach {
            protocol: Tcp,
            address: ip(address),
            port: 80,
            container: web.attachment.container.clone(),
        })
        .to_vec();
    let again = linked.clone();
    let linked = host.start(linked);
    let other = host.start(in_network(&net, &["172.30.0.4/24", "fd00:30::4/64"]));
    let server = Server::new(&web.space, 80);
    let secret = Server::new(&web.space, 81);
    assert_eq!(server.sees(From::In(&other.space), "172.30.0.2:80"), None);
    assert_eq!(server.sees(From::In(&other.space), "[fd00:30::2]:80"), None);
    assert_eq!(
        server.sees_datagram(From::In(&other.space), "172.30.0.2:80"),
        None
    );
    assert!(
        server
            .sees(From::In(&other.space), &format!("{US}:8080"))
            .is_some(),
        "published"
    );
    assert_eq!(
        server.sees(From::In(&linked.space), "172.30.0.2:80"),
        Some(ip("172.30.0.3"))
    );
    assert_eq!(
        server.sees(From::In(&linked.space), "[fd00:30::2]:80"),
        Some(ip("fd00:30::3"))
    );
    assert_eq!(
        secret.sees(From::In(&linked.space), "172.30.0.2:81"),
        None,
        "another port"
    );
    assert!(
        server
            .sees(From::In(&host.neighbour), &format!("{US}:8080"))
            .is_some()
    );
    assert!(server.sees(From::Us, "172.30.0.2:80").is_some());

    host.stop(linked);
    let unlinked = host.start(in_network(&net, &["172.30.0.3/24", "fd00:30::3/64"]));
    assert_eq!(
        server.sees(From::In(&unlinked.space), "172.30.0.2:80"),
        None,
        "the link has gone"
    );

    host.stop(unlinked);
    let linked = host.start(again);
    assert!(server.sees(From::In(&linked.space), "172.30.0.2:80").is_some());
    drop((server, secret));
    let mut stranger = in_network(&net, &["172.30.0.2/24", "fd00:30::2/64"]);
    // As the engine does it, so nobody has to ask anew who has the address.
    stranger.endpoints[0]
        .mac
        .clone_from(&web.attachment.endpoints[0].mac);
    host.stop(web);
    let stranger = host.start(stranger);
    let server = Server::new(&stranger.space, 80);
    let is_cut_off = |when: &str| {
        let told = server.sees(From::In(&linked.space), "172.30.0.2:80");
        assert_eq!(told, None, "the address is somebody else's, {when}");
    };
    is_cut_off("since it has ended");
    host.machine.restore().unwrap();
    is_cut_off("and the rules were made again");
}

#[test]
fn a_routed_network_is_reached_by_its_own_addresses() {
    on_a_machine(|host| {
        let mut net = network("br-routed", &["172.30.0.1/24", "fd00:30::1/64"]);
        net.routed = true;
        net.masquerade = false;
        let mut published = in_network(&net, &["172.30.0.2/24", "fd00:30::2/64"]);
        published.ports = vec![port(Tcp, "0.0.0.0", 8080, 80), port(Tcp, "::", 8080, 80)];
        let web = host.start(published);
        let server = Server::new(&web.space, 80);
        let secret = Server::new(&web.space, 81);
        let neighbour = From::In(&host.neighbour);
        assert_eq!(server.sees(neighbour, "172.30.0.2:80"), Some(ip(NEIGHBOUR)));
        assert_eq!(server.sees(neighbour, "[fd00:30::2]:80"), Some(ip("2001:db8::2")));
        assert_eq!(secret.sees(neighbour, "172.30.0.2:81"), None, "not published");
        assert_eq!(
            server.sees(neighbour, &format!("{US}:8080")),
            None,
            "nothing is changed"
        );
    });
}

#[test]
fn what_is_on_127_0_0_1_is_the_machines_own() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let mut wanted = in_network(&net, &["172.30.0.2/24"]);
        wanted.ports = vec![port(Udp, "127.0.0.1", 8080, 80)];
        let web = host.start(wanted);
        let server = Server::new(&web.space, 80);
        let service = std::net::UdpSocket::bind("127.0.0.1:4000").unwrap();
        let patience = std::time::Duration::from_millis(250);
        service.set_read_timeout(Some(patience)).unwrap();

        lead_loopback_to(&web.space, "eth0", "172.30.0.1");
        let from_container = || {
            let socket = std::net::UdpSocket::bind("172.30.0.2:0")?;
            socket.send_to(b"hello", "127.0.0.1:4000")?;
            Ok(())
        };
        web.space.inside(from_container).unwrap();
        assert!(service.recv(&mut [0; 5]).is_err(), "a container was heard");

        lead_loopback_to(&host.neighbour, "wire", US);
        let from_neighbour = || {
            let socket = std::net::UdpSocket::bind((NEIGHBOUR, 0))?;
            socket.connect("127.0.0.1:8080")?;
            Ok(socket)
        };
        let client = host.neighbour.inside(from_neighbour).unwrap();
        assert_eq!(server.hears(&client), None, "a neighbour was heard");
        assert_eq!(
            server.sees_datagram(From::Us, "127.0.0.1:8080"),
            Some(ip("172.30.0.1"))
        );
    });
}

/// As root there: 127.0.0.1 is behind a gateway.
fn lead_loopback_to(space: &network::Space, device: &str, gateway: &str) {
    use network::link::{Links, route};
    space
        .inside(|| {
            for name in ["all", device] {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/route_localnet"), "1")?;
            }
            let links = Links::open()?;
            links.delete_address("lo", address("127.0.0.1/8"))?;
            let index = links.find(device)?.unwrap().index;
            links.make(vec![route(index, address("127.0.0.1/32"), ip(gateway))])
        })
        .unwrap();
}

/// Its entry is kept alive by a sender who does not stop.
#[test]
fn datagrams_go_where_the_port_is_published_now() {
    on_a_machine(|host| {
        let net = network("brig0", &["172.30.0.1/24"]);
        let service = std::net::UdpSocket::bind("0.0.0.0:8080").unwrap();
        let client = host
            .neighbour
            .inside(|| {
                let client = std::net::UdpSocket::bind("0.0.0.0:4000")?;
                client.connect((US, 8080))?;
                Ok(client)
            })
            .unwrap();
        // Rules have to be there, or nothing is remembered.
        host.machine.ensure(&net).unwrap();
        client.send(b"hello").unwrap();
        service.recv(&mut [0; 5]).unwrap();

        let publish = |address: &str| {
            let mut wanted = in_network(&net, &[&format!("{address}/24")]);
            wanted.ports = vec![port(Udp, "0.0.0.0", 8080, 80)];
            let container = host.start(wanted);
            let server = Server::new(&container.space, 80);
            (container, server)
        };
        let (first, server) = publish("172.30.0.2");
        assert_eq!(
            server.hears(&client),
            Some(ip(NEIGHBOUR)),
            "no longer to the machine"
        );
        host.stop(first);
        let (_second, server) = publish("172.30.0.3");
        assert_eq!(
            server.hears(&client),
            Some(ip(NEIGHBOUR)),
            "no longer to the first"
        );
    });
}

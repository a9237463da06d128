//! Names: of containers on their networks, links, what /etc has of them, and what is asked of the host's own name server.
//!
//! May not: look a name up by anything but the resolvers of real images (glibc's getent in Debian, busybox's nslookup).

use conformance::command;

use crate::case::{Case, Done, Need, Scene, has, is, lacks, soon};
use crate::outside::{self, From, HOST, KNOWN, KNOWN_ADDRESS, MANY, MANY_COUNT, SECOND};
use crate::wires::{came, networked};

pub fn cases() -> Vec<Case> {
    vec![
        networked("1.3.08-link", &[], link),
        networked("1.4.01-link-mysql", &[], link_mysql),
        networked("1.4.01-inspect-address", &[], inspect_address),
        networked("names.user-network", &[], user_network),
        networked("names.several-of-one-alias", &[], shared_alias),
        networked("names.backwards", &[], backwards),
        networked("names.rename", &[], rename),
        networked("names.stopped", &[], stopped),
        networked("names.forwarded", &[], forwarded),
        networked("names.forwarded-large", &[], forwarded_large),
        networked("names.not-told-outside", &[], not_told_outside),
        networked("names.default-bridge", &[], default_bridge),
        networked("names.own-server", &[], own_server),
        networked("names.server-inside", &[], server_inside),
        networked("names.loopback-of-the-host", &[], loopback_of_host),
        networked("names.stub-of-systemd", &[Need::Brig], stub_of_systemd),
        networked("names.without-monitor", &[Need::Brig], without_monitor),
        networked("names.hosts", &[], hosts),
        networked("names.add-host", &[], add_host),
        networked("names.link-not-running", &[], link_not_running),
        networked("names.link-refreshed", &[], link_refreshed),
        networked("names.link-removed", &[], link_removed),
        networked("names.link-on-user-network", &[], link_on_user_network),
        networked("names.link-environment", &[Need::Brig], link_environment),
    ]
}

fn link(s: &mut Scene) -> Done {
    s.serve("name", "")?;
    s.must("docker run -d --name app --link name:alias tiny sleep 600")?;
    s.reaches("app", "alias", "name hears")?;
    s.reaches("app", "name", "name hears")?;
    let (id, address) = (s.inspect("name", "{{.Id}}")?, s.address("name")?);
    let short: String = id.chars().take(12).collect();
    has(
        "hosts",
        &s.within("app", "cat /etc/hosts")?,
        &format!("{address}\talias {short} name"),
    )?;
    is(
        "links",
        s.inspect("app", "{{json .HostConfig.Links}}")?,
        r#"["/name:/app/alias"]"#,
    )?;
    // The name alone is its own alias.
    s.must("docker run -d --name app2 --link name tiny sleep 600")?;
    s.reaches("app2", "name", "name hears")
}

fn link_mysql(s: &mut Scene) -> Done {
    s.must("docker run -d --name mysql -e MYSQL_ROOT_PASSWORD=secret mysql")?;
    s.until(
        "docker run --rm --link mysql:mysql mysql mysql -hmysql -uroot -psecret -N -e 'select 6*7'",
        "42",
    )?;
    s.must("docker run -d --name db --link mysql:mysql --env sample=/sample tiny sleep 600")?;
    is("environment", s.within("db", "sh -c 'echo $sample'")?, "/sample")?;
    has("hosts", &s.within("db", "cat /etc/hosts")?, "\tmysql ")
}

fn inspect_address(s: &mut Scene) -> Done {
    s.must("docker run -d --name ubuntu ubuntu sleep 600")?;
    let told = s.must("docker inspect ubuntu | grep \"IPAddress\"")?;
    let address = s.address("ubuntu")?;
    outside::address(&address)?;
    has("IPAddress", &told, &format!("\"IPAddress\": \"{address}\""))?;
    // It is the one that it has.
    has(
        "inside",
        &s.must("docker run --rm --network container:ubuntu tiny ip -4 -o address show eth0")?,
        &format!("inet {address}/"),
    )?;
    let format =
        "{{.NetworkSettings.Networks.bridge.MacAddress}} {{.NetworkSettings.Networks.bridge.IPPrefixLen}}";
    let told = s.inspect("ubuntu", format)?;
    let mac = s.within("ubuntu", "cat /sys/class/net/eth0/address")?;
    is("mac and prefix", told, format!("{mac} 16"))?;
    s.must("docker stop -t 0 ubuntu")?;
    is("address of a stopped one", s.address("ubuntu")?, "")
}

/// The image with glibc: its resolver reads resolv.conf, asks twice (A and AAAA) and keeps nothing.
fn debian(s: &Scene, name: &str, flags: &str) -> Done {
    s.must(&format!(
        "docker run -d --name {name} --stop-signal KILL {flags} debian:bookworm sleep 600"
    ))
    .map(|_| ())
}

fn resolves(s: &Scene, client: &str, name: &str, address: &str) -> Done {
    let told = s.within(client, &format!("getent ahostsv4 {name}"))?;
    let found = told.split_whitespace().next().unwrap_or_default();
    is(&format!("{name} in {client}"), found, address)
}

fn unknown(s: &Scene, client: &str, name: &str) -> Done {
    let o = s.sh(&format!("docker exec {client} getent ahosts {name}"))?;
    is(&format!("{name} in {client}: {}", o.stdout), o.code, 2)
}

fn user_network(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    let id = s.serve(
        "server",
        "--network one --network-alias db --network-alias other -h itsname",
    )?;
    debian(s, "client", "--network one")?;
    let address = s.address("server")?;
    let short: String = id.chars().take(12).collect();
    for name in ["server", "db", "other", &short, "server.one"] {
        resolves(s, "client", name, &address)?;
    }
    let resolv = s.within("client", "cat /etc/resolv.conf")?;
    has("resolv.conf", &resolv, "nameserver 127.0.0.11\n")?;
    has("resolv.conf", &resolv, "options ndots:0")?;
    // busybox asks the server itself.
    s.idle("small", "--network one")?;
    has(
        "nslookup",
        &s.within("small", "nslookup -type=a server")?,
        &address,
    )?;
    s.reaches("small", "server", "server hears")?;
    s.reaches("small", "db", "server hears")?;
    // Itself, and backwards through both directions.
    resolves(s, "client", "client", &s.address("client")?)?;
    s.must("docker exec small ping -c 1 -w 3 client").map(|_| ())
}

fn shared_alias(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve("web1", "--network one --network-alias web")?;
    s.serve("web2", "--network one --network-alias web")?;
    debian(s, "client", "--network one")?;
    let told = s.within("client", "getent ahostsv4 web")?;
    for name in ["web1", "web2"] {
        has("addresses of the alias", &told, &s.address(name)?)?;
    }
    s.must("docker rm -f web1")?;
    let address = s.address("web2")?;
    s.until("docker exec client getent ahostsv4 web", &address)?;
    is(
        "who is left",
        s.within("client", "getent ahostsv4 web")?
            .lines()
            .filter(|line| line.contains("STREAM"))
            .count(),
        1,
    )
}

fn backwards(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve("server", "--network one")?;
    debian(s, "client", "--network one")?;
    let address = s.address("server")?;
    has(
        "name of the address",
        &s.within("client", &format!("getent hosts {address}"))?,
        "server.one",
    )
}

fn rename(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve("before", "--network one")?;
    debian(s, "client", "--network one")?;
    let address = s.address("before")?;
    resolves(s, "client", "before", &address)?;
    s.must("docker rename before after")?;
    resolves(s, "client", "after", &address)?;
    unknown(s, "client", "before")
}

fn stopped(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve("server", "--network one")?;
    debian(s, "client", "--network one")?;
    resolves(s, "client", "server", &s.address("server")?)?;
    s.must("docker stop -t 0 server")?;
    unknown(s, "client", "server")?;
    s.must("docker start server")?;
    resolves(s, "client", "server", &s.address("server")?)?;
    s.must("docker kill server")?;
    s.until_ended("server")?;
    s.until("docker exec client getent ahosts server || echo gone", "gone")
}

fn forwarded(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    debian(s, "client", "--network one")?;
    s.lab.outside.asked();
    resolves(s, "client", KNOWN, KNOWN_ADDRESS)?;
    has(
        "what the name server was asked",
        &s.lab.outside.asked().join(" "),
        KNOWN,
    )?;
    unknown(s, "client", "absent.example.test")?;
    has(
        "what the name server was asked",
        &s.lab.outside.asked().join(" "),
        "absent.example.test",
    )?;
    // And on the default bridge.
    debian(s, "default1", "")?;
    resolves(s, "default1", KNOWN, KNOWN_ADDRESS)
}

/// An answer that does not fit into a datagram comes over TCP.
fn forwarded_large(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    debian(s, "client", "--network one")?;
    let told = s.within("client", &format!("getent ahostsv4 {MANY}"))?;
    is(
        "addresses",
        told.lines().filter(|line| line.contains("STREAM")).count(),
        MANY_COUNT,
    )
}

/// What the network knows is nobody else's business: neither the name of a container nor its missing IPv6 address is asked outside.
fn not_told_outside(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve("server", "--network one")?;
    debian(s, "client", "--network one")?;
    s.lab.outside.asked();
    s.within("client", "getent ahosts server")?;
    s.within("client", "getent ahostsv4 server")?;
    let o = s.sh("docker exec client getent ahostsv6 server")?;
    lacks("addresses", &o.stdout, "fd")?;
    is("names asked outside", s.lab.outside.asked().join(" "), "")
}

fn default_bridge(s: &mut Scene) -> Done {
    s.serve("server", "")?;
    debian(s, "client", "")?;
    unknown(s, "client", "server")?;
    has(
        "resolv.conf",
        &s.within("client", "cat /etc/resolv.conf")?,
        &format!("nameserver {SECOND}"),
    )?;
    s.idle("small", "")?;
    s.reaches("small", &s.address("server")?, "server hears")?;
    if s.is_docker() {
        // 20.10 takes it and forgets it.
        return Ok(());
    }
    s.fails(
        "docker run --network-alias x tiny true",
        125,
        &["network-scoped alias"],
    )
}

fn own_server(s: &mut Scene) -> Done {
    debian(
        s,
        "plain",
        "--dns 192.0.2.9 --dns-search a.test --dns-search b.test --dns-option ndots:3",
    )?;
    let resolv = s.within("plain", "cat /etc/resolv.conf")?;
    for part in ["nameserver 192.0.2.9", "search a.test b.test", "options ndots:3"] {
        has("resolv.conf", &resolv, part)?;
    }
    lacks("resolv.conf", &resolv, SECOND)?;
    // On a network of one's own the resolver asks it.
    s.must("docker network create one")?;
    debian(
        s,
        "client",
        &format!("--network one --dns {SECOND} --dns-search example.test"),
    )?;
    has(
        "resolv.conf",
        &s.within("client", "cat /etc/resolv.conf")?,
        "nameserver 127.0.0.11",
    )?;
    resolves(s, "client", "known", KNOWN_ADDRESS)?;
    s.fails(
        "docker run --rm --dns nonsense tiny true",
        125,
        &["not an ip address", "invalid"],
    )
}

/// A name server in a container has its port to itself, and others can ask it.
fn server_inside(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve_datagrams("names", "--network one -p 5300:53/udp")?;
    s.until_datagram(From::Host, &format!("{HOST}:5300"), "names hears")?;
    // Its own questions are still answered.
    s.serve("server", "--network one")?;
    has(
        "names",
        &s.within("names", "getent ahostsv4 server")?,
        &s.address("server")?,
    )
}

/// The host's name server may listen on the host's loopback alone.
fn loopback_of_host(s: &mut Scene) -> Done {
    let socket = std::net::UdpSocket::bind("127.0.0.1:53").map_err(|e| e.to_string())?;
    // It answers with what it was asked, said to be no such name: that it was asked is what counts.
    let server = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        socket.set_read_timeout(Some(soon())).ok();
        let mut names = Vec::new();
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains("enough") {
                break;
            }
            names.push(text);
            buffer[2] = 0x81;
            buffer[3] = 0x83;
            if socket.send_to(&buffer[..length], peer).is_err() {
                break;
            }
        }
        names
    });
    let asked = || -> Done {
        std::fs::write("/etc/resolv.conf", "nameserver 127.0.0.1\n").map_err(|e| e.to_string())?;
        s.must("docker network create one")?;
        debian(s, "client", "--network one")?;
        unknown(s, "client", "loopback.example.test")
    };
    let acted = asked();
    std::fs::write("/etc/resolv.conf", format!("nameserver {SECOND}\n")).map_err(|e| e.to_string())?;
    let end = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|s| s.send_to(b"enough", "127.0.0.1:53"));
    end.map_err(|e| e.to_string())?;
    let names = server.join().map_err(|_| "the server died")?;
    acted?;
    is(
        "it was asked",
        names.iter().any(|name| name.contains("loopback")),
        true,
    )
}

/// The stub of systemd-resolved is unreachable from a container; where it gets its answers is written beside it.
fn stub_of_systemd(s: &mut Scene) -> Done {
    let real = "/run/systemd/resolve/resolv.conf";
    let asked = || -> Done {
        std::fs::create_dir_all("/run/systemd/resolve").map_err(|e| e.to_string())?;
        std::fs::write(real, format!("nameserver {SECOND}\n")).map_err(|e| e.to_string())?;
        std::fs::write("/etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0\n")
            .map_err(|e| e.to_string())?;
        debian(s, "default1", "")?;
        resolves(s, "default1", KNOWN, KNOWN_ADDRESS)
    };
    let acted = asked();
    std::fs::write("/etc/resolv.conf", format!("nameserver {SECOND}\n")).map_err(|e| e.to_string())?;
    std::fs::remove_dir_all("/run/systemd").map_err(|e| e.to_string())?;
    acted
}

/// A container whose monitor was killed has its names again as soon as somebody needs its monitor.
fn without_monitor(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve("server", "--network one -p 8001:80")?;
    debian(s, "client", "--network one")?;
    resolves(s, "client", "server", &s.address("server")?)?;
    for monitor in crate::uptime::named("brig-mon") {
        crate::uptime::kill(monitor)?;
    }
    command::until("the monitors are gone", soon(), || {
        crate::uptime::named("brig-mon").is_empty()
    })?;
    // Where the container lives on, so does its network; where it ended with its monitor, it starts again.
    for name in ["server", "client"] {
        if s.inspect(name, "{{.State.Running}}")? != "true" {
            s.must(&format!("docker start {name}"))?;
        }
    }
    resolves(s, "client", "server", &s.address("server")?)?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "server hears")?;
    s.must("docker rm -f server client")?;
    // Everything is free for the next one.
    s.serve("server", "--network one -p 8001:80")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "server hears")
}

fn hosts(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.idle(
        "box",
        "--network one -h itsname --domainname dom.test --add-host extra:10.1.2.3",
    )?;
    let (hosts, address) = (s.within("box", "cat /etc/hosts")?, s.address("box")?);
    let lines: Vec<&str> = hosts.lines().collect();
    is(
        "first line",
        lines.first().copied().unwrap_or_default(),
        "127.0.0.1\tlocalhost",
    )?;
    has("hosts", &hosts, "::1\tlocalhost ip6-localhost ip6-loopback")?;
    has("hosts", &hosts, "ff02::1\tip6-allnodes")?;
    has("hosts", &hosts, "10.1.2.3\textra")?;
    has("hosts", &hosts, &format!("{address}\titsname.dom.test itsname"))?;
    is("hostname", s.within("box", "hostname")?, "itsname")?;
    // Its default name is the short id.
    let id = s.idle("other", "--network one")?;
    let short: String = id.chars().take(12).collect();
    has(
        "hosts",
        &s.within("other", "cat /etc/hosts")?,
        &format!("{}\t{short}", s.address("other")?),
    )?;
    // The files are made anew at each start.
    s.must("docker exec other sh -c 'echo 10.9.9.9 written >>/etc/hosts'")?;
    has("hosts", &s.within("other", "cat /etc/hosts")?, "written")?;
    s.must("docker restart -t 0 other")?;
    lacks(
        "hosts after a restart",
        &s.within("other", "cat /etc/hosts")?,
        "written",
    )
}

fn add_host(s: &mut Scene) -> Done {
    s.idle(
        "box",
        "--add-host gate:host-gateway --add-host six:::1 --add-host four:10.0.0.4",
    )?;
    let (hosts, gateway) = (s.within("box", "cat /etc/hosts")?, s.gateway("box")?);
    has("hosts", &hosts, &format!("{gateway}\tgate"))?;
    has("hosts", &hosts, "::1\tsix")?;
    has("hosts", &hosts, "10.0.0.4\tfour")?;
    // It is an address at which the host answers.
    let listener = std::net::TcpListener::bind("0.0.0.0:7777").map_err(|e| e.to_string())?;
    s.sh("docker exec box timeout 2 nc -w 2 gate 7777 </dev/null")?;
    is("who came", came(&listener)?, s.address("box")?)?;
    s.fails(
        "docker run --add-host nonsense tiny true",
        125,
        &["bad format for add-host"],
    )?;
    s.fails(
        "docker run --add-host x:nonsense tiny true",
        125,
        &["invalid ip address in add-host"],
    )
}

fn link_not_running(s: &mut Scene) -> Done {
    s.must("docker create --name db tiny sleep 600")?;
    s.fails(
        "docker run -d --name app --link db:data tiny sleep 600",
        125,
        &["Cannot link to a non running container: /db AS /app/data"],
    )?;
    s.fails(
        "docker run --link absent:x tiny true",
        125,
        &["could not get container for absent", "No such container: absent"],
    )?;
    s.must("docker start db")?;
    s.prints("docker start app", "app\n")?;
    has("hosts", &s.within("app", "cat /etc/hosts")?, "\tdata ")
}

/// The target has another address after its restart, and the line follows.
fn link_refreshed(s: &mut Scene) -> Done {
    s.serve("db", "")?;
    s.idle("app", "--link db:data")?;
    let before = s.address("db")?;
    s.reaches("app", "data", "db hears")?;
    s.must("docker stop -t 0 db")?;
    // Somebody else takes the lowest free address.
    s.idle("squatter", "")?;
    is("the squatter's", s.address("squatter")?, &before)?;
    s.must("docker start db")?;
    is("another address", s.address("db")? != before, true)?;
    s.reaches("app", "data", "db hears")?;
    let hosts = s.within("app", "cat /etc/hosts")?;
    lacks("hosts", &hosts, &format!("{before}\tdata"))
}

fn link_removed(s: &mut Scene) -> Done {
    s.serve("db", "")?;
    s.idle("app", "--link db:data")?;
    s.must("docker rm --link app/data")?;
    is("links", s.inspect("app", "{{json .HostConfig.Links}}")?, "null")
        .or_else(|_| is("links", s.inspect("app", "{{json .HostConfig.Links}}")?, "[]"))?;
    s.must("docker restart -t 0 app")?;
    lacks("hosts", &s.within("app", "cat /etc/hosts")?, "data")
}

/// There it is a name that one container alone has for another.
fn link_on_user_network(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve("db", "--network one")?;
    debian(s, "app", "--network one --link db:data")?;
    debian(s, "stranger", "--network one")?;
    resolves(s, "app", "data", &s.address("db")?)?;
    unknown(s, "stranger", "data")?;
    resolves(s, "stranger", "db", &s.address("db")?)
}

/// Variables of links are gone since 29, and come back by a variable.
fn link_environment(s: &mut Scene) -> Done {
    s.serve("db", "-e COLOUR=blue --expose 5432")?;
    let env = s.must("docker run --rm --link db:my-data tiny env")?;
    lacks("environment", &env, "MY_DATA")?;
    let env = s.must("DOCKER_KEEP_DEPRECATED_LEGACY_LINKS_ENV_VARS=1 docker run --rm --name app --link db:my-data tiny env")?;
    let address = s.address("db")?;
    for line in [
        "MY_DATA_NAME=/app/my-data".to_owned(),
        format!("MY_DATA_PORT=tcp://{address}:5432"),
        format!("MY_DATA_PORT_5432_TCP_ADDR={address}"),
        "MY_DATA_PORT_5432_TCP_PORT=5432".to_owned(),
        "MY_DATA_PORT_5432_TCP_PROTO=tcp".to_owned(),
        "MY_DATA_ENV_COLOUR=blue".to_owned(),
    ] {
        has("environment", &env, &line)?;
    }
    Ok(())
}

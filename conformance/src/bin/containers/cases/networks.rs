//! Networks: the commands, what keeps them apart, addresses, and each kind of network.
//!
//! May not: call two networks apart before a question was answered inside one of them.

use std::collections::BTreeSet;

use conformance::command;

use crate::case::{Case, Done, Need, Scene, has, is, is_id, lacks, soon};
use crate::outside::{CABLE, FAR, From, HOST, HOST_6, KNOWN, SECOND, SECOND_6};
use crate::wires::{self, came, networked, output};

pub fn cases() -> Vec<Case> {
    vec![
        networked("network.commands", &[], commands),
        networked("network.inspect", &[], inspect),
        networked("network.rm-in-use", &[], rm_in_use),
        networked("network.prune", &[], prune),
        networked("network.subnets", &[], subnets),
        networked("network.pools", &[], pools),
        networked("network.fixed-address", &[], fixed_address),
        networked("network.fixed-mac", &[], fixed_mac),
        networked("network.connect", &[], connect),
        networked("network.connect-stopped", &[], connect_stopped),
        networked("network.connect-publishes", &[], connect_publishes),
        networked("network.link-local", &[], link_local),
        networked("network.connect-errors", &[], connect_errors),
        networked("network.several-at-start", &[Need::Brig], several_at_start),
        networked("network.isolation", &[], isolation),
        networked("network.direct-routing", &[Need::Brig], direct_routing),
        networked("network.loopback-of-the-host", &[], loopback_of_host),
        networked("network.way-out", &[], way_out),
        networked("network.forwarding-was-off", &[Need::Brig], forwarding_was_off),
        networked("network.internal", &[], internal),
        networked("network.internal-names", &[Need::Brig], internal_names),
        networked("network.icc", &[Need::Brig], icc),
        networked("network.icc-link", &[Need::Brig], icc_link),
        networked("network.without-masquerade", &[], without_masquerade),
        networked("network.options", &[], options),
        networked(
            "network.device-of-somebody-else",
            &[Need::Brig, Need::Nft],
            device_of_somebody_else,
        ),
        networked("network.several-stores", &[Need::Brig], several_stores),
        networked("network.six", &[], six),
        networked("network.six-way-out", &[Need::Brig], six_way_out),
        networked("network.macvlan", &[], macvlan),
        networked("network.host", &[], host),
        networked("network.none", &[], none),
        networked("network.of-a-container", &[], of_a_container),
        networked("network.leases", &[], leases),
        networked("network.stats", &[], stats),
    ]
}

fn commands(s: &mut Scene) -> Done {
    let listed = |line: &str| -> Result<String, String> {
        let mut names: Vec<String> = s.must(line)?.lines().map(str::to_owned).collect();
        names.sort();
        Ok(names.join(" "))
    };
    let id = s.must("docker network create one --label colour=blue")?;
    is_id(&id, 64)?;
    is(
        "ls",
        listed("docker network ls --format '{{.Name}}/{{.Driver}}/{{.Scope}}'")?,
        "bridge/bridge/local host/host/local none/null/local one/bridge/local",
    )?;
    has(
        "header",
        &s.must("docker network ls")?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "NETWORK ID NAME DRIVER SCOPE",
    )?;
    for (filter, names) in [
        ("name=on", "none one"),
        ("driver=bridge", "bridge one"),
        ("driver=null", "none"),
        ("label=colour", "one"),
        ("label=colour=red", ""),
        ("scope=local", "bridge host none one"),
        ("type=custom", "one"),
        ("type=builtin", "bridge host none"),
        ("dangling=true", "one"),
    ] {
        is(
            filter,
            listed(&format!(
                "docker network ls --filter {filter} --format '{{{{.Name}}}}'"
            ))?,
            names,
        )?;
    }
    is(
        "by id",
        listed(&format!(
            "docker network ls -q --no-trunc --filter id={}",
            &id[..8]
        ))?,
        &id,
    )?;
    s.fails("docker network ls --filter nonsense=1", 1, &["invalid filter"])?;
    s.fails(
        "docker network create one",
        1,
        &["network with name one already exists"],
    )?;
    for (name, part) in [
        ("host", "operation is not permitted on predefined host network"),
        (
            "bridge",
            "operation is not permitted on predefined bridge network",
        ),
    ] {
        s.fails(&format!("docker network create {name}"), 1, &[part])?;
    }
    s.fails(
        "docker network rm host",
        1,
        &["host is a pre-defined network and cannot be removed"],
    )?;
    s.fails(
        "docker network rm absent",
        1,
        &["network absent not found", "No such network: absent"],
    )?;
    s.fails(
        "docker network create --driver nonsense two",
        1,
        &[
            "plugin \"nonsense\" not found",
            "could not find plugin nonsense",
            "nonsense",
        ],
    )?;
    s.fails(
        "docker run --network absent tiny true",
        125,
        &["network absent not found"],
    )?;
    s.prints(
        &format!("docker network rm {}", &id[..10]),
        &format!("{}\n", &id[..10]),
    )?;
    if s.is_docker() {
        // 20.10 has no -f.
        return Ok(());
    }
    s.prints("docker network rm -f absent", "")
}

fn inspect(s: &mut Scene) -> Done {
    let id =
        s.must("docker network create --subnet 10.77.0.0/16 --gateway 10.77.0.9 --label colour=blue one")?;
    let container = s.serve("web", "--network one --ip 10.77.1.2")?;
    let text = s.must("docker network inspect one")?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("inspect: {e}"))?;
    is(
        "indented",
        text.starts_with("[\n    {\n        \"Name\": \"one\",\n"),
        true,
    )?;
    let one = &value[0];
    for (path, wanted) in [
        ("/Id", serde_json::json!(id)),
        ("/Scope", serde_json::json!("local")),
        ("/Driver", serde_json::json!("bridge")),
        ("/EnableIPv6", serde_json::json!(false)),
        ("/Internal", serde_json::json!(false)),
        ("/Attachable", serde_json::json!(false)),
        ("/Ingress", serde_json::json!(false)),
        ("/IPAM/Driver", serde_json::json!("default")),
        (
            "/IPAM/Config",
            serde_json::json!([{"Subnet": "10.77.0.0/16", "Gateway": "10.77.0.9"}]),
        ),
        ("/Labels", serde_json::json!({"colour": "blue"})),
        ("/Options", serde_json::json!({})),
    ] {
        let found = one.pointer(path).unwrap_or(&serde_json::Value::Null);
        is(path, found, &wanted)?;
    }
    let joined = &one["Containers"][&container];
    is("name", &joined["Name"], "\"web\"")?;
    is("address", &joined["IPv4Address"], "\"10.77.1.2/16\"")?;
    is(
        "mac",
        &joined["MacAddress"],
        serde_json::json!(s.within("web", "cat /sys/class/net/eth0/address")?),
    )?;
    // The bridge has the name that everybody looks for, and the gateway's address.
    let bridge = format!("br-{}", &id[..12]);
    has(
        "bridge",
        &output(&format!("ip -4 -o address show {bridge}"))?,
        "inet 10.77.0.9/16",
    )?;
    let o = s.sh("docker network inspect one absent")?;
    is("exit code", o.code, 1)?;
    has("stdout", &o.stdout, "\"Name\": \"one\"")?;
    has("stderr", &o.stderr, "absent")?;
    is(
        "format",
        s.must("docker network inspect --format '{{.Name}} {{range .IPAM.Config}}{{.Subnet}}{{end}}' one")?,
        "one 10.77.0.0/16",
    )?;
    // What kind of thing has this name is found out.
    has(
        "docker inspect",
        &s.must("docker inspect one")?,
        "\"Subnet\": \"10.77.0.0/16\"",
    )
}

fn rm_in_use(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve("web", "--network one")?;
    s.fails("docker network rm one", 1, &["has active endpoints"])?;
    // A stopped container does not hold it, and cannot start without it.
    s.must("docker stop -t 0 web")?;
    s.prints("docker network rm one", "one\n")?;
    s.fails("docker start web", 1, &["network", "not found"])?;
    is(
        "bridges",
        output("ip -o link show type bridge")?.matches("br-").count(),
        0,
    )
}

fn prune(s: &mut Scene) -> Done {
    for name in ["one", "two", "three"] {
        s.must(&format!("docker network create {name}"))?;
    }
    s.must("docker network create --label keep=yes four")?;
    s.serve("web", "--network one")?;
    let told = s.must("docker network prune -f --filter label!=keep")?;
    let mut names: Vec<&str> = told.lines().filter(|line| !line.is_empty()).collect();
    names.sort_unstable();
    is("pruned", names.join(" "), "Deleted Networks: three two")?;
    is(
        "the rest",
        s.must("docker network ls --filter type=custom --format '{{.Name}}' | sort")?,
        "four\none",
    )?;
    let o = s.hears("docker network prune", "n\n")?;
    has(
        "question",
        &(o.stdout + &o.stderr),
        "Are you sure you want to continue? [y/N]",
    )?;
    is(
        "the rest",
        s.must("docker network ls -q --filter type=custom")?
            .lines()
            .count(),
        2,
    )
}

fn subnets(s: &mut Scene) -> Done {
    s.must("docker network create --subnet 10.78.0.0/16 --ip-range 10.78.5.0/24 --gateway 10.78.5.254 --aux-address mine=10.78.5.1 one")?;
    s.idle("box", "--network one")?;
    let address = s.address("box")?;
    is(
        &format!("{address} is in the range"),
        address.starts_with("10.78.5."),
        true,
    )?;
    // What was set aside is not given out, nor what the range begins with and a network cannot have.
    is(&format!("{address} is free"), address != "10.78.5.1", true)?;
    is("gateway", s.gateway("box")?, "10.78.5.254")?;
    has(
        "route",
        &s.within("box", "ip route")?,
        "default via 10.78.5.254 dev eth0",
    )?;
    has(
        "prefix",
        &s.within("box", "ip -4 -o address show eth0")?,
        &format!("{address}/16"),
    )?;
    for (words, part) in [
        (
            "--subnet 10.78.8.0/24",
            "Pool overlaps with other one on this address space",
        ),
        ("--subnet nonsense", "invalid CIDR address: nonsense"),
        (
            "--subnet 10.79.0.0/16 --gateway 10.80.0.1",
            "no matching subnet for gateway 10.80.0.1",
        ),
        (
            "--subnet 10.79.0.0/16 --ip-range 10.80.0.0/24",
            "no matching subnet for range 10.80.0.0/24",
        ),
        ("--gateway 10.79.0.1", "no matching subnet for gateway"),
        (
            "--subnet 10.79.0.0/16 --gateway 10.79.0.0",
            "failed to allocate gateway (10.79.0.0): Address already in use",
        ),
    ] {
        s.fails(
            &format!("docker network create {words} bad1"),
            1,
            &[
                part,
                "every ip-range or gateway must have a corresponding subnet",
                "invalid subnet",
            ],
        )?;
    }
    is(
        "networks",
        s.must("docker network ls -q --filter type=custom")?
            .lines()
            .count(),
        1,
    )
}

/// Networks without a subnet get one of the pools, none that the host has a route to, each its own.
fn pools(s: &mut Scene) -> Done {
    let subnet = |name: &str| {
        s.must(&format!("docker network inspect --format '{{{{range .IPAM.Config}}}}{{{{.Subnet}}}} {{{{.Gateway}}}}{{{{end}}}}' {name}"))
    };
    s.must("docker network create one")?;
    let first = subnet("one")?;
    is(
        &first,
        first.starts_with("172.") && first.contains(".0.0/16 172."),
        true,
    )?;
    is(&first, first.ends_with(".0.1"), true)?;
    s.must("docker network create two")?;
    is("another one", subnet("two")? != first, true)?;
    // It is free again; but the host has a way there now, in the usual table or in one of a VPN's.
    s.must("docker network rm one")?;
    let net = first.split(' ').next().unwrap_or_default();
    let probe = net.replace(".0.0/16", ".7.0/24");
    for table in ["main", "77"] {
        if s.is_docker() && table != "main" {
            continue;
        }
        output(&format!("ip route add {probe} via {SECOND} table {table}"))?;
        let made = s
            .must("docker network create three")
            .and_then(|_| subnet("three"));
        output(&format!("ip route del {probe} table {table}"))?;
        is(
            &format!("not where table {table} has a route"),
            made? != first,
            true,
        )?;
        s.must("docker network rm three")?;
    }
    Ok(())
}

fn fixed_address(s: &mut Scene) -> Done {
    s.must("docker network create --subnet 10.79.0.0/16 one")?;
    s.serve("web", "--network one --ip 10.79.3.4")?;
    is("address", s.address("web")?, "10.79.3.4")?;
    s.idle("client", "--network one")?;
    s.reaches("client", "10.79.3.4", "web hears")?;
    s.fails(
        "docker run --network one --ip 10.79.3.4 tiny true",
        125,
        &["Address already in use"],
    )?;
    s.fails(
        "docker run --network one --ip 10.80.0.1 tiny true",
        125,
        &[
            "Invalid address 10.80.0.1: It does not belong to any of this network's subnets",
            "no configured subnet contains IP address 10.80.0.1",
            "does not belong to any",
        ],
    )?;
    s.fails(
        "docker run --network one --ip nonsense tiny true",
        125,
        &["invalid ipv4 address", "invalid"],
    )?;
    // 20.10 takes it and forgets it.
    if !s.is_docker() {
        s.fails(
            "docker run --ip 172.17.0.9 tiny true",
            125,
            &["user specified IP address is supported on user defined networks only"],
        )?;
    }
    s.must("docker network create two")?;
    s.fails("docker run --network two --ip 172.31.0.9 tiny true", 125, &["user specified IP address is supported only when connecting to networks with user configured subnets"])?;
    // It stays its own while it is stopped or not: after a restart it is the same.
    s.must("docker restart -t 0 web")?;
    is("address", s.address("web")?, "10.79.3.4")?;
    s.reaches("client", "web", "web hears")
}

fn fixed_mac(s: &mut Scene) -> Done {
    s.idle("box", "--mac-address 02:42:de:ad:be:ef")?;
    is(
        "mac",
        s.within("box", "cat /sys/class/net/eth0/address")?,
        "02:42:de:ad:be:ef",
    )?;
    s.must("docker network create one")?;
    s.idle("box2", "--network one --mac-address 02:42:de:ad:be:01")?;
    is(
        "mac",
        s.within("box2", "cat /sys/class/net/eth0/address")?,
        "02:42:de:ad:be:01",
    )?;
    is(
        "inspect",
        s.inspect(
            "box2",
            "{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}",
        )?,
        "02:42:de:ad:be:01",
    )?;
    s.fails(
        "docker run --mac-address nonsense tiny true",
        125,
        &["nonsense is not a valid mac address"],
    )
}

fn connect(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.must("docker network create --subnet 10.81.0.0/16 two")?;
    s.serve("web", "--network one -p 8001:80")?;
    s.idle("client", "--network two")?;
    s.cannot_reach("client", &s.address("web")?)?;
    s.prints("docker network connect --alias api --ip 10.81.0.50 two web", "")?;
    is("address", s.address_in("web", "two")?, "10.81.0.50")?;
    for name in ["web", "api", "10.81.0.50"] {
        s.reaches("client", name, "web hears")?;
    }
    has("second device", &s.within("web", "ip -o link")?, "eth1")?;
    // The way out stays, and what was published.
    is(
        "default routes",
        s.within("web", "ip route")?.matches("default via").count(),
        1,
    )?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.prints("docker network disconnect two web", "")?;
    lacks("devices", &s.within("web", "ip -o link")?, "eth1")?;
    s.cannot_reach("client", "10.81.0.50")?;
    s.until(
        "docker exec client timeout 1 wget -q -O - http://web/ 2>&1 || true",
        "bad address",
    )?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    // From the only one into another one: with it goes what is published.
    s.prints("docker network disconnect one web", "")?;
    s.prints("docker network connect two web", "")?;
    s.reaches("client", "web", "web hears")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.must("docker restart -t 0 web")?;
    s.reaches("client", "web", "web hears")?;
    is(
        "networks",
        s.inspect(
            "web",
            "{{range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end}}",
        )?,
        "two ",
    )
}

/// Who is in no network with a way out publishes nothing, and does when it gets one.
fn connect_publishes(s: &mut Scene) -> Done {
    s.must("docker network create --internal inner")?;
    s.must("docker network create one")?;
    s.serve("web", "--network inner -p 8001:80")?;
    s.deaf(From::Second, &format!("{HOST}:8001"))?;
    s.prints("docker network connect one web", "")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    has("port", &s.must("docker port web")?, "80/tcp -> 0.0.0.0:8001")?;
    // It is its own from then on.
    let taken = ["port is already allocated", "address already in use"];
    s.fails(&s.server_line("late", "-p 8001:80", 80)?, 125, &taken)?;
    s.serve("web2", "--network inner -p 8001:80")?;
    s.fails("docker network connect one web2", 1, &taken)?;
    is(
        "networks of web2",
        s.within("web2", "ip -o link")?.lines().count(),
        2,
    )?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    // And it is given back.
    s.must("docker rm -f web late")?;
    s.prints("docker network connect one web2", "")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web2 hears")?;
    // Also with the last network by which it was reached.
    s.prints("docker network disconnect one web2", "")?;
    s.prints("docker port web2", "")?;
    s.serve("web3", "-p 8001:80 -p 8001:80/udp")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web3 hears")?;
    s.fails("docker network connect one web2", 1, &taken)?;
    s.must("docker rm -f web3")?;
    s.prints("docker network connect one web2", "")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web2 hears")
}

fn link_local(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.must("docker network create two")?;
    s.serve("web", "--network one --link-local-ip 169.254.7.7")?;
    has(
        "address",
        &s.within("web", "ip -4 -o address show eth0")?,
        "169.254.7.7/16",
    )?;
    s.idle("client", "--network two")?;
    s.prints(
        "docker network connect --link-local-ip 169.254.7.8 one client",
        "",
    )?;
    has(
        "address",
        &s.within("client", "ip -4 -o address show eth1")?,
        "169.254.7.8/16",
    )?;
    s.reaches("client", "169.254.7.7", "web hears")?;
    s.must("docker restart -t 0 client")?;
    s.reaches("client", "169.254.7.7", "web hears")
}

fn connect_stopped(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.must("docker network create two")?;
    let line = s
        .server_line("web", "--network one", 80)?
        .replacen("run -d", "create", 1);
    s.must(&line)?;
    s.prints("docker network connect --alias api two web", "")?;
    s.idle("client", "--network two")?;
    s.must("docker start web")?;
    s.reaches("client", "api", "web hears")?;
    s.must("docker stop -t 0 web")?;
    s.prints("docker network disconnect two web", "")?;
    s.must("docker start web")?;
    is(
        "networks",
        s.inspect("web", "{{len .NetworkSettings.Networks}}")?,
        1,
    )
}

fn connect_errors(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.idle("box", "--network one")?;
    s.fails(
        "docker network connect one box",
        1,
        &["endpoint with name box already exists in network one"],
    )?;
    s.fails(
        "docker network connect absent box",
        1,
        &["network absent not found", "No such network: absent"],
    )?;
    s.fails(
        "docker network connect one absent",
        1,
        &["No such container: absent"],
    )?;
    s.fails(
        "docker network disconnect bridge box",
        1,
        &[
            "is not connected to network bridge",
            "is not connected to the network bridge",
        ],
    )?;
    s.fails(
        "docker network disconnect one absent",
        1,
        &["No such container: absent"],
    )?;
    s.fails(
        "docker network connect host box",
        1,
        &[
            "container cannot be connected to host network",
            "cannot be disconnected from host network",
            "network, because it is",
        ],
    )?;
    s.idle("hosted", "--network host")?;
    s.fails("docker network connect one hosted", 1, &["host network", "network mode", "container sharing network namespace with another container or host cannot be connected to any other network"])
}

fn several_at_start(s: &mut Scene) -> Done {
    s.must("docker network create --subnet 10.82.0.0/16 one")?;
    s.must("docker network create two")?;
    let martians = "driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1";
    s.serve(
        "web",
        &format!("--network name=one,alias=api,ip=10.82.0.7,{martians} --network two"),
    )?;
    is(
        "setting of the interface",
        s.within("web", "cat /proc/sys/net/ipv4/conf/eth0/log_martians")?,
        "1",
    )?;
    is("address", s.address_in("web", "one")?, "10.82.0.7")?;
    s.idle("first1", "--network one")?;
    s.idle("second2", "--network two")?;
    s.reaches("first1", "api", "web hears")?;
    s.reaches("second2", "web", "web hears")?;
    is(
        "default routes",
        s.within("web", "ip route")?.matches("default via").count(),
        1,
    )
}

fn isolation(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.must("docker network create two")?;
    s.serve("one1", "--network one")?;
    s.serve("two2", "--network two")?;
    s.serve("default1", "")?;
    s.idle("client1", "--network one")?;
    s.idle("client2", "--network two")?;
    s.reaches("client1", "one1", "one1 hears")?;
    s.reaches("client2", "two2", "two2 hears")?;
    s.cannot_reach("client1", &s.address("two2")?)?;
    s.cannot_reach("client2", &s.address("one1")?)?;
    s.cannot_reach("client1", &s.address("default1")?)?;
    s.cannot_reach("default1", &s.address("one1")?)?;
    s.until(
        "docker exec client1 ping -c 1 -w 1 two2 2>&1 || true",
        "bad address",
    )?;
    let o = s.sh(&format!(
        "docker exec client1 ping -c 1 -w 1 {}",
        s.address("two2")?
    ))?;
    is("ping from one to the other", o.code, 1)
}

/// A neighbour that knows the container's subnet gets no further than the published ports. Docker 20.10 relied on the policy of the chain,
/// which it sets only where it switches forwarding on.
fn direct_routing(s: &mut Scene) -> Done {
    s.serve("web", "-p 8001:80")?;
    s.server("hidden", "", 81)?;
    let (web, hidden) = (s.address("web")?, s.address("hidden")?);
    s.until_who(From::Host, &format!("{hidden}:81"), "hidden hears")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.lab
        .outside
        .run(&format!("ip route add 172.16.0.0/12 via {HOST}"))?;
    let asked = s
        .deaf(From::Second, &format!("{hidden}:81"))
        .and_then(|()| s.deaf(From::Second, &format!("{web}:80")));
    s.lab.outside.run("ip route del 172.16.0.0/12")?;
    asked
}

/// CVE-2020-8558: what listens on the host's loopback alone is out of reach, also for a container that may route.
fn loopback_of_host(s: &mut Scene) -> Done {
    let listener = std::net::TcpListener::bind("127.0.0.1:7777").map_err(|e| e.to_string())?;
    s.serve("web", "-p 127.0.0.1:8001:80")?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    s.idle("evil", "--cap-add NET_ADMIN --sysctl net.ipv4.conf.all.route_localnet=1 --sysctl net.ipv4.conf.all.rp_filter=0")?;
    let gateway = s.gateway("evil")?;
    s.cannot_reach("evil", &format!("{gateway}:7777"))?;
    s.must(&format!(
        "docker exec evil sh -c 'ip address del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via {gateway} src {}'",
        s.address("evil")?
    ))?;
    s.sh("docker exec evil timeout 1 nc -w 1 127.0.0.1 7777 </dev/null")?;
    is("who came to the host's loopback", came(&listener)?, "nobody")?;
    s.cannot_reach("evil", "127.0.0.1:8001")
}

fn way_out(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.idle("box", "")?;
    s.idle("box1", "--network one")?;
    for client in ["box", "box1"] {
        for address in [SECOND, FAR] {
            s.until(
                &format!("docker exec {client} timeout 3 wget -q -O - http://{address}/"),
                &format!("you are {HOST}"),
            )?;
        }
        s.must(&format!("docker exec {client} ping -c 1 -w 3 {FAR}"))?;
    }
    Ok(())
}

/// A host that did not forward does so for containers, and for nobody else.
fn forwarding_was_off(s: &mut Scene) -> Done {
    let file = "/proc/sys/net/ipv4/ip_forward";
    let write = |text: &str| std::fs::write(file, text).map_err(|e| format!("{file}: {e}"));
    // Another network of the host's, whose neighbour wants to go out by way of it.
    let make = "ip netns add third && ip link add lan0 type veth peer name lan1 netns third && ip address add 10.55.0.1/24 dev lan0 && ip link set lan0 up \
        && ip -n third address add 10.55.0.2/24 dev lan1 && ip -n third link set lan1 up && ip -n third route add default via 10.55.0.1";
    let unmake = "ip netns del third; ip link del lan0 2>/dev/null; true";
    let ping = format!("ip netns exec third busybox ping -c 1 -W 1 {SECOND}");
    s.lab
        .outside
        .run(&format!("ip route add 10.55.0.0/24 via {HOST}"))?;
    let played = || -> Done {
        output(make)?;
        output(&ping)?;
        write("0")?;
        s.must("docker network create one")?;
        s.idle("box", "--network one")?;
        s.until(
            &format!("docker exec box timeout 3 wget -q -O - http://{SECOND}/"),
            "you are ",
        )?;
        match output(&ping) {
            Ok(_) => Err("the host forwards for everybody now".into()),
            Err(_) => Ok(()),
        }
    };
    let acted = played();
    write("1")?;
    output(unmake)?;
    // What keeps others out stays while the host forwards because of us; here somebody else did before.
    output("for family in ip ip6; do nft delete table $family brig-guard 2>/dev/null; done; true")?;
    s.lab.outside.run("ip route del 10.55.0.0/24")?;
    acted
}

fn internal(s: &mut Scene) -> Done {
    s.must("docker network create --internal inner")?;
    s.serve("web", "--network inner -p 8001:80")?;
    s.idle("client", "--network inner")?;
    s.reaches("client", "web", "web hears")?;
    lacks("routes", &s.within("client", "ip route")?, "default")?;
    s.cannot_reach("client", SECOND)?;
    s.cannot_reach("client", FAR)?;
    s.must("docker network create one")?;
    s.serve("other", "--network one")?;
    s.cannot_reach("client", &s.address("other")?)?;
    // Nothing is published from it.
    s.deaf(From::Second, &format!("{HOST}:8001"))?;
    is(
        "flag",
        s.must("docker network inspect --format '{{.Internal}}' inner")?,
        "true",
    )?;
    // Even who makes a route for itself stays inside.
    s.idle("evil", "--network inner --cap-add NET_ADMIN")?;
    let gateway =
        s.must("docker network inspect --format '{{range .IPAM.Config}}{{.Gateway}}{{end}}' inner")?;
    s.must(&format!(
        "docker exec evil ip route add default via {gateway} || true"
    ))?;
    s.cannot_reach("evil", SECOND)
}

fn internal_names(s: &mut Scene) -> Done {
    s.must("docker network create --internal inner")?;
    s.serve("web", "--network inner")?;
    s.must("docker run -d --name client --stop-signal KILL --network inner debian:bookworm sleep 600")?;
    s.lab.outside.asked();
    has(
        "a name inside",
        &s.within("client", "getent ahostsv4 web")?,
        &s.address("web")?,
    )?;
    let o = s.sh(&format!("docker exec client getent ahostsv4 {KNOWN}"))?;
    is("a name outside", o.code, 2)?;
    is("what was asked outside", s.lab.outside.asked().join(" "), "")?;
    // With a second network that leads out, it is asked again.
    s.must("docker network create one && docker network connect one client")?;
    s.must(&format!("docker exec client getent ahostsv4 {KNOWN}"))
        .map(|_| ())
}

fn icc(s: &mut Scene) -> Done {
    s.must("docker network create -o com.docker.network.bridge.enable_icc=false quiet")?;
    s.serve("web", "--network quiet -p 8001:80")?;
    s.idle("client", "--network quiet")?;
    s.until_who(From::Host, &format!("{}:80", s.address("web")?), "web hears")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.cannot_reach("client", &s.address("web")?)?;
    let o = s.sh(&format!(
        "docker exec client ping -c 1 -w 1 {}",
        s.address("web")?
    ))?;
    is("ping", o.code, 1)?;
    s.until(
        &format!("docker exec client timeout 3 wget -q -O - http://{SECOND}/"),
        "you are ",
    )
}

/// A link opens what its target exposes, to this one container, at whatever address the target is.
fn icc_link(s: &mut Scene) -> Done {
    s.must("docker network create -o com.docker.network.bridge.enable_icc=false quiet")?;
    s.serve("db", "--network quiet --expose 80")?;
    s.serve("app", "--network quiet --link db:data --expose 80")?;
    s.server("hidden", "--network quiet", 81)?;
    s.idle("stranger", "--network quiet")?;
    s.reaches("app", "data", "db hears")?;
    s.cannot_reach("stranger", "db")?;
    s.cannot_reach("db", "app")?;
    // Another one at its address is not reached.
    let first = s.address("db")?;
    s.must("docker stop -t 0 db")?;
    s.serve("other", "--network quiet --expose 80")?;
    is(
        "the address of the one that has ended",
        s.address("other")?,
        &first,
    )?;
    s.until_who(From::Host, &format!("{first}:80"), "other hears")?;
    s.cannot_reach("app", &first)?;
    s.must("docker start db")?;
    is("another address", s.address("db")? != first, true)?;
    s.reaches("app", "data", "db hears")?;
    s.cannot_reach("app", &first)?;
    // The same when somebody has flushed the rules.
    s.must("docker network reload")?;
    s.reaches("app", "data", "db hears")?;
    s.cannot_reach("app", &first)?;
    // A link that comes with a network, and what is not exposed.
    s.must("docker network create one")?;
    s.idle("late", "--network one")?;
    s.prints("docker network connect --link hidden:behind quiet late", "")?;
    s.cannot_reach("late", "behind:81")?;
    s.must("docker network disconnect quiet late")?;
    s.prints("docker network connect --link db:data quiet late", "")?;
    s.reaches("late", "data", "db hears")
}

fn without_masquerade(s: &mut Scene) -> Done {
    s.must("docker network create --subnet 10.83.0.0/16 -o com.docker.network.bridge.enable_ip_masquerade=false plain")?;
    s.idle("client", "--network plain")?;
    s.lab
        .outside
        .run(&format!("ip route add 10.83.0.0/16 via {HOST}"))?;
    let asked = s.until(
        &format!("docker exec client timeout 3 wget -q -O - http://{SECOND}/"),
        &format!("you are {}", s.address("client")?),
    );
    s.lab.outside.run("ip route del 10.83.0.0/16")?;
    asked
}

fn options(s: &mut Scene) -> Done {
    s.must("docker network create -o com.docker.network.driver.mtu=1400 -o com.docker.network.bridge.name=mybr0 -o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 one")?;
    s.serve("web", "--network one -p 8001:80")?;
    is("mtu", s.within("web", "cat /sys/class/net/eth0/mtu")?, 1400)?;
    has("bridge", &output("ip -o link show mybr0")?, "mtu 1400")?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    s.deaf(From::Second, &format!("{HOST}:8001"))?;
    is("port", s.must("docker port web")?, "80/tcp -> 127.0.0.1:8001")?;
    is(
        "options",
        s.must("docker network inspect --format '{{json .Options}}' one")?,
        r#"{"com.docker.network.bridge.host_binding_ipv4":"127.0.0.1","com.docker.network.bridge.name":"mybr0","com.docker.network.driver.mtu":"1400"}"#,
    )?;
    // The usual one is the cable's.
    s.idle("box", "")?;
    is("usual mtu", s.within("box", "cat /sys/class/net/eth0/mtu")?, 1500)
}

/// Where the device is somebody else's, nothing of the network is left, and the device is as it was.
fn device_of_somebody_else(s: &mut Scene) -> Done {
    output("ip link add mybr0 type bridge")?;
    let before = wires::survey()?;
    let line = "docker network create -o com.docker.network.bridge.name=mybr0 one";
    let played = s
        .fails(line, 1, &["needs the device mybr0"])
        .and_then(|()| wires::check(&before))
        .and_then(|()| s.must("docker network reload").map(|_| ()))
        .and_then(|()| wires::check(&before))
        .and_then(|()| s.prints("docker network ls -q --filter type=custom", ""));
    output("ip link del mybr0")?;
    played
}

/// Each of them knows of the others only what the kernel shows, and all choose before anything of it is made.
fn several_stores(s: &mut Scene) -> Done {
    let stores: Vec<String> = (0..4).map(|n| s.path(&format!("store{n}"))).collect();
    let each = |line: &str| -> String {
        let all = stores
            .iter()
            .map(|root| line.replace("STORE", &format!("docker --root {root}")));
        all.collect::<Vec<_>>().join("\n")
    };
    s.must("nft list tables > before && docker save tiny > tiny.tar")?;
    s.must(&each(
        "STORE load -qi tiny.tar\nSTORE network ls -q --filter name=bridge",
    ))?;
    let together = each("(STORE run -d --name box --stop-signal KILL tiny sleep 600 || touch failed) &");
    s.must(&format!("{together}\nwait\n[ ! -e failed ]"))?;
    let what = "{{(index .IPAM.Config 0).Subnet}} {{index .Options \"com.docker.network.bridge.name\"}}";
    let told = s.must(&each(&format!("STORE network inspect -f '{what}' bridge")))?;
    let own = s.must(&each(
        "STORE exec box ip -4 -o address show eth0 | sed 's/.*inet \\([0-9]*.[0-9]*\\).*/\\1/'",
    ))?;
    let bridges: BTreeSet<&str> = told
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1))
        .collect();
    let subnets: BTreeSet<&str> = told.lines().filter_map(|line| line.split('.').nth(1)).collect();
    let played = is("bridges", bridges.len(), stores.len())
        .and_then(|()| is("subnets", subnets.len(), stores.len()))
        .and_then(|()| {
            own.lines()
                .zip(told.lines())
                .try_for_each(|(own, told)| has("address", told, own))
        })
        .and_then(|()| {
            s.must(&each("STORE network reload && STORE system check"))
                .map(|_| ())
        });
    s.must(&each("STORE rm -f box"))?;
    for bridge in bridges {
        s.must(&format!("ip link delete {bridge}"))?;
    }
    s.must("nft list tables > after && grep -vxFf before after | while read -r table; do nft delete $table; done")?;
    played
}

fn six(s: &mut Scene) -> Done {
    s.must("docker network create --ipv6 --subnet fd00:88::/64 six")?;
    s.serve("web", "--network six --ip6 fd00:88::77")?;
    s.must("docker run -d --name client --stop-signal KILL --network six debian:bookworm sleep 600")?;
    s.idle("small", "--network six")?;
    is(
        "address",
        s.inspect(
            "web",
            "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}/{{.GlobalIPv6PrefixLen}}{{end}}",
        )?,
        "fd00:88::77/64",
    )?;
    has(
        "inside",
        &s.within("web", "ip -6 -o address show eth0")?,
        "fd00:88::77/64",
    )?;
    has(
        "by name",
        &s.within("client", "getent ahostsv6 web")?,
        "fd00:88::77",
    )?;
    s.reaches("small", "[fd00:88::77]", "web hears")?;
    s.until_who(From::Host, "[fd00:88::77]:80", "web hears")?;
    has("hosts", &s.within("web", "cat /etc/hosts")?, "fd00:88::77\t")?;
    is(
        "network",
        s.must("docker network inspect --format '{{.EnableIPv6}}' six")?,
        "true",
    )?;
    // Both kinds.
    s.reaches("small", &s.address("web")?, "web hears")?;
    // No address is used before it was found to be free: nothing waits for that here.
    lacks(
        "addresses",
        &s.within("web", "sh -c 'ip -6 -o address show eth0 | grep fd00'")?,
        "tentative",
    )
}

fn six_way_out(s: &mut Scene) -> Done {
    // Without a subnet it gets one of its own.
    s.must("docker network create --ipv6 six")?;
    s.must("docker network create --ipv6 other")?;
    s.serve("web", "--network six")?;
    s.serve("stranger", "--network other")?;
    s.idle("client", "--network six")?;
    let six = |name: &str| {
        s.inspect(
            name,
            "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}",
        )
    };
    is("a local address", six("web")?.starts_with("fd"), true)?;
    s.reaches("client", &format!("[{}]", six("web")?), "web hears")?;
    s.cannot_reach("client", &format!("[{}]", six("stranger")?))?;
    s.until(
        &format!("docker exec client timeout 3 wget -q -O - http://{SECOND_6}/"),
        &format!("you are {}", HOST_6.trim_matches(['[', ']'])),
    )?;
    s.until(
        &format!("docker exec client timeout 3 wget -q -O - http://{SECOND}/"),
        &format!("you are {HOST}"),
    )
}

fn macvlan(s: &mut Scene) -> Done {
    s.must(&format!(
        "docker network create -d macvlan --subnet 192.0.2.0/24 --gateway {SECOND} -o parent={CABLE} lan"
    ))?;
    s.serve("web", "--network lan --ip 192.0.2.50")?;
    s.serve("web2", "--network lan --ip 192.0.2.51")?;
    // They are neighbours of the second host's, with addresses of their own.
    s.until_who(From::Second, "192.0.2.50:80", "web hears")?;
    s.until(
        &format!("docker exec web timeout 3 wget -q -O - http://{SECOND}/"),
        "you are 192.0.2.50",
    )?;
    s.until(
        &format!("docker exec web timeout 3 wget -q -O - http://{FAR}/"),
        "you are 192.0.2.50",
    )?;
    s.reaches("web", "web2", "web2 hears")?;
    is(
        "driver",
        s.must("docker network inspect --format '{{.Driver}} {{.Options.parent}}' lan")?,
        format!("macvlan {CABLE}"),
    )
}

fn host(s: &mut Scene) -> Done {
    s.fails(
        "docker run --rm --network host --ip 10.0.0.9 tiny true",
        125,
        &["user specified IP address is supported on user defined networks only"],
    )?;
    has(
        "the host's devices",
        &s.must("docker run --rm --network host tiny ip -o link")?,
        CABLE,
    )?;
    s.server("web", "--network host", 8007)?;
    s.until_who(From::Second, &format!("{HOST}:8007"), "web hears")?;
    is("hostname", s.within("web", "hostname")?, output("hostname")?)?;
    is(
        "resolv.conf",
        s.within("web", "grep -c 192.0.2.2 /etc/resolv.conf")?,
        1,
    )
}

fn none(s: &mut Scene) -> Done {
    let devices = s.must("docker run --rm --network none tiny ip -o link")?;
    is(&format!("devices: {devices}"), devices.lines().count(), 1)?;
    has("loopback", &devices, "LOOPBACK,UP")?;
    s.must("docker run --rm --network none tiny ping -c 1 -w 1 127.0.0.1")
        .map(|_| ())
}

fn of_a_container(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.serve("web", "--network one -p 8001:80 -h itsname")?;
    s.idle("beside", "--network container:web")?;
    s.reaches("beside", "127.0.0.1", "web hears")?;
    is("hostname", s.within("beside", "hostname")?, "itsname")?;
    is(
        "hosts",
        s.within("beside", "cat /etc/hosts")?,
        s.within("web", "cat /etc/hosts")?,
    )?;
    is(
        "resolv.conf",
        s.within("beside", "cat /etc/resolv.conf")?,
        s.within("web", "cat /etc/resolv.conf")?,
    )?;
    is(
        "the same devices",
        s.within("beside", "ip -o address")?,
        s.within("web", "ip -o address")?,
    )?;
    for (words, part) in [
        ("-h x", "hostname and the network mode"),
        ("--dns 1.1.1.1", "dns and the network mode"),
        (
            "--add-host x:1.1.1.1",
            "custom host-to-IP mapping and the network mode",
        ),
        ("--link web:x", "links and the network mode"),
        ("--expose 9", "port exposing and the container type network mode"),
        (
            "--mac-address 02:42:de:ad:be:ef",
            "mac-address and the network mode",
        ),
    ] {
        let line = format!("docker run --network container:web {words} tiny true");
        s.fails(
            &line,
            125,
            &[
                part,
                "conflicting options",
                "links are only supported for user-defined networks",
            ],
        )?;
    }
    s.must("docker run -d --name kept --restart always --stop-signal KILL --network container:web tiny sleep 600")?;
    // Either may be started again: who shares a network joins the other as it is then.
    for again in [
        "docker restart -t 0 web",
        "docker stop -t 0 web && docker start web",
    ] {
        s.must(&format!("{again} && docker restart -t 0 beside"))?;
        s.reaches("beside", "127.0.0.1", "web hears")?;
        is(
            "the same devices again",
            s.within("beside", "ip -o address")?,
            s.within("web", "ip -o address")?,
        )?;
    }
    // Also when nobody asks for it.
    s.must("kill -9 $(docker inspect -f '{{.State.Pid}}' kept)")?;
    s.until(
        "docker inspect -f '{{.RestartCount}} {{.State.Status}}' kept",
        "1 running",
    )?;
    s.reaches("kept", "127.0.0.1", "web hears")?;
    s.must("docker rm -f kept")?;
    // Its owner goes: the network goes with it, and who joins a stopped one is told.
    s.must("docker stop -t 0 web")?;
    s.fails(
        "docker run --network container:web tiny true",
        125,
        &["cannot join network of a non running container"],
    )?;
    s.fails(
        "docker run --network container:absent tiny true",
        125,
        &["No such container: absent"],
    )
}

/// Addresses are given out from the lowest, none twice, and are free when their container has ended.
fn leases(s: &mut Scene) -> Done {
    s.must("docker network create --subnet 10.84.0.0/29 small")?;
    let mut addresses = Vec::new();
    for n in 2..7 {
        s.idle(&format!("box{n}"), "--network small")?;
        addresses.push(s.address(&format!("box{n}"))?);
    }
    is(
        "addresses",
        addresses.join(" "),
        "10.84.0.2 10.84.0.3 10.84.0.4 10.84.0.5 10.84.0.6",
    )?;
    s.fails(
        "docker run --network small tiny true",
        125,
        &[
            "no available IPv4 addresses on this network's address pools: small",
            "no available ipv4 addresses",
        ],
    )?;
    s.must("docker kill box4")?;
    s.until_ended("box4")?;
    s.must("docker run --rm --network small tiny true")?;
    s.must("docker rm -f box3")?;
    for _ in 0..3 {
        s.must("docker run --rm --network small tiny true")?;
    }
    s.must("docker start box4").map(|_| ())
}

fn stats(s: &mut Scene) -> Done {
    s.serve("web", "-p 8001:80")?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    command::until("bytes of the network", soon(), || {
        s.must("docker stats --no-stream --format '{{.NetIO}}' web")
            .is_ok_and(|told| !told.starts_with("0B") && !told.ends_with("/ 0B"))
    })
}

//! Published ports: over real sockets, from everywhere that one asks from.
//!
//! May not: take silence for a proof before the same question was answered somewhere else.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use conformance::command;

use crate::case::{Case, Done, Need, Scene, has, is, lacks, soon};
use crate::outside::{self, From, HOST, HOST_6, SECOND, SECOND_6};
use crate::wires::{networked, output};

pub fn cases() -> Vec<Case> {
    vec![
        networked("1.3.03-publish", &[], publish),
        networked("1.4.02-publish-818", &[], publish_818),
        networked("1.4.04-publish-redis", &[], publish_redis),
        networked("publish.shape", &[], shape),
        networked("publish.everywhere", &[], everywhere),
        networked("publish.from-containers", &[], from_containers),
        networked("publish.own-address-of-the-client", &[], own_address),
        networked("publish.datagrams", &[], datagrams),
        networked("publish.datagrams-to-the-next-one", &[], datagrams_to_the_next),
        networked("publish.random", &[], random),
        networked("publish.range", &[], range),
        networked("publish.range-for-one", &[], range_for_one),
        networked("publish.bound", &[], bound),
        networked("publish.all", &[], all),
        networked("publish.long-form", &[], long_form),
        networked("publish.bad-words", &[], bad_words),
        networked("publish.conflict-with-a-container", &[], conflict_with_container),
        networked("publish.conflict-with-a-process", &[], conflict_with_process),
        networked(
            "publish.conflict-names-the-owner",
            &[Need::Brig],
            conflict_names_owner,
        ),
        networked("publish.again-at-once", &[], again_at_once),
        networked("publish.restart", &[], restart),
        networked("publish.restart-policy", &[], restart_policy),
        networked("publish.other-modes", &[], other_modes),
        networked("publish.note", &[Need::Brig], note),
        networked("publish.six", &[Need::Brig], six),
        networked("publish.fifty-at-once", &[], fifty_at_once),
    ]
}

/// A line that a person types, as the reference has it.
fn publish(s: &mut Scene) -> Done {
    s.must("docker run --name webserver1 -d -p 8001:80 nginx:1.18")?;
    s.until("busybox wget -q -O - http://localhost:8001", "Welcome to nginx!")?;
    let six = s.any_6(8001);
    is(
        "ps",
        s.must("docker ps --format '{{.Ports}}'")?,
        format!("0.0.0.0:8001->80/tcp, {six}->80/tcp"),
    )?;
    s.prints(
        "docker port webserver1",
        &format!("80/tcp -> 0.0.0.0:8001\n80/tcp -> {six}\n"),
    )?;
    s.prints("docker stop webserver1", "webserver1\n")?;
    s.deaf(From::Host, "127.0.0.1:8001")?;
    s.prints("docker start webserver1", "webserver1\n")?;
    s.until("busybox wget -q -O - http://localhost:8001", "Welcome to nginx!")?;
    // What a person sees of it: the access log has who asked.
    s.until("docker logs webserver1", "GET / HTTP/1.1")
}

fn publish_818(s: &mut Scene) -> Done {
    s.must("docker container run -d --name web -p 818:80 httpd")?;
    s.until("busybox wget -q -O - http://localhost:818", "It works!")
}

fn publish_redis(s: &mut Scene) -> Done {
    s.must("docker run -d -p 6379:6379 --name myredis redis")?;
    let ping = "printf 'PING\\r\\n' | busybox nc -w 2 127.0.0.1 6379";
    s.until(ping, "+PONG")?;
    // The name after the image is an argument of the server, which then does not start.
    s.must("docker rm -f myredis")?;
    let id = s.must("docker run -d -p 6379:6379 redis --name myredis")?;
    s.until_ended(&id)?;
    is("its ports", s.must(&format!("docker port {id}"))?, "")
}

fn shape(s: &mut Scene) -> Done {
    s.serve(
        "web",
        "-p 8001:80 -p 127.0.0.1:8002:80/tcp -p 5300:53/udp --expose 99",
    )?;
    let (six, udp) = (s.any_6(8001), s.any_6(5300));
    is(
        "ps",
        s.must("docker ps --format '{{.Ports}}'")?,
        format!("99/tcp, 127.0.0.1:8002->80/tcp, 0.0.0.0:5300->53/udp, {udp}->53/udp, 0.0.0.0:8001->80/tcp, {six}->80/tcp"),
    )
    .or_else(|_| {
        // Docker sorts by the port inside, then as its map has them.
        let ports = s.must("docker ps --format '{{.Ports}}'")?;
        let mut words: Vec<&str> = ports.split(", ").collect();
        words.sort_unstable();
        let (first, second) = (format!("{six}->80/tcp"), format!("{udp}->53/udp"));
        let mut wanted = vec![
            "99/tcp",
            "127.0.0.1:8002->80/tcp",
            "0.0.0.0:5300->53/udp",
            "0.0.0.0:8001->80/tcp",
            &first,
            &second,
        ];
        wanted.sort_unstable();
        is("ps", words.join(", "), wanted.join(", "))
    })?;
    let told = s.must("docker port web")?;
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    is(
        "port",
        lines.join("\n"),
        format!(
            "53/udp -> 0.0.0.0:5300\n53/udp -> {udp}\n80/tcp -> 0.0.0.0:8001\n80/tcp -> 127.0.0.1:8002\n80/tcp -> {six}"
        ),
    )?;
    s.prints("docker port web 53/udp", &format!("0.0.0.0:5300\n{udp}\n"))?;
    s.fails(
        "docker port web 53",
        1,
        &[
            "No public port '53/tcp' published for web",
            "no public port '53' published for web",
        ],
    )?;
    s.fails(
        "docker port web 99/tcp",
        1,
        &["No public port '99/tcp' published for web"],
    )?;
    is(
        "what was asked for",
        s.inspect("web", "{{json (index .HostConfig.PortBindings \"80/tcp\")}}")?,
        r#"[{"HostIp":"","HostPort":"8001"},{"HostIp":"127.0.0.1","HostPort":"8002"}]"#,
    )?;
    is(
        "what there is",
        s.inspect("web", "{{json (index .NetworkSettings.Ports \"53/udp\")}}")?,
        r#"[{"HostIp":"0.0.0.0","HostPort":"5300"},{"HostIp":"::","HostPort":"5300"}]"#,
    )?;
    is(
        "an exposed port",
        s.inspect("web", "{{json (index .NetworkSettings.Ports \"99/tcp\")}}")?,
        "null",
    )?;
    is(
        "filters",
        s.must("docker ps -q --filter publish=8001 --format '{{.Names}}'; docker ps --filter publish=80 --format '{{.Names}}'; docker ps --filter expose=99 --format '{{.Names}}'")?
            .lines()
            .filter(|line| *line == "web")
            .count(),
        2,
    )?;
    s.must("docker stop web")?;
    is("ports of a stopped one", s.must("docker port web")?, "")?;
    is(
        "ps of a stopped one",
        s.must("docker ps -a --format '[{{.Ports}}]'")?,
        "[]",
    )
}

fn everywhere(s: &mut Scene) -> Done {
    s.serve("web", "-p 8001:80")?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    for address in [
        format!("{HOST}:8001"),
        "[::1]:8001".into(),
        format!("{HOST_6}:8001"),
        "127.0.0.3:8001".into(),
    ] {
        s.until_who(From::Host, &address, "web hears")?;
    }
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.until_who(From::Second, &format!("{HOST_6}:8001"), "web hears")?;
    // The gateway is an address of the host, too.
    let gateway = s.gateway("web")?;
    s.until_who(From::Host, &format!("{gateway}:8001"), "web hears")?;
    // The container's own address, from its host.
    s.until_who(From::Host, &format!("{}:80", s.address("web")?), "web hears")
}

fn from_containers(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    s.must("docker network create two")?;
    s.serve("web", "--network one -p 8001:80")?;
    s.idle("beside", "--network one")?;
    s.idle("elsewhere", "--network two")?;
    s.idle("default1", "")?;
    s.reaches("beside", &s.address("web")?, "web hears")?;
    for client in ["beside", "elsewhere", "default1", "web"] {
        s.reaches(client, &format!("{HOST}:8001"), "web hears")?;
    }
    // Not by its address in the other network.
    s.cannot_reach("elsewhere", &s.address("web")?)
}

fn own_address(s: &mut Scene) -> Done {
    s.serve("web", "-p 8001:80")?;
    s.serve_datagrams("names", "-p 5300:53/udp")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), &format!("{SECOND}]"))?;
    s.until_datagram(From::Second, &format!("{HOST}:5300"), &format!(":{SECOND}"))?;
    // And the other way: the host's own address is what the others see of a container.
    s.idle("client", "")?;
    s.until(
        &format!("docker exec client timeout 3 wget -q -O - http://{SECOND}/"),
        &format!("you are {HOST}"),
    )
}

fn datagrams(s: &mut Scene) -> Done {
    s.serve_datagrams("names", "-p 5300:53/udp")?;
    s.until_datagram(From::Host, "127.0.0.1:5300", "names hears")?;
    s.until_datagram(From::Host, &format!("{HOST}:5300"), "names hears")?;
    s.until_datagram(From::Host, "[::1]:5300", "names hears")?;
    s.until_datagram(From::Second, &format!("{HOST}:5300"), "names hears")?;
    s.until_datagram(From::Second, &format!("{HOST_6}:5300"), "names hears")?;
    // Several talk at once, and each hears its own answer.
    let sockets: Vec<UdpSocket> = (0..5)
        .map(|_| UdpSocket::bind("0.0.0.0:0").and_then(|s| s.connect((HOST, 5300)).map(|()| s)))
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    for _ in 0..2 {
        for socket in &sockets {
            command::until("an answer", soon(), || {
                outside::converse(socket, HOST).is_ok_and(|text| text.contains("names hears"))
            })?;
        }
    }
    // The same number of the other kind is another port.
    s.deaf(From::Host, "127.0.0.1:5300")
}

/// The kernel remembers where datagrams of a client went: the next owner of the port must not wait until it forgets.
fn datagrams_to_the_next(s: &mut Scene) -> Done {
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
    socket.connect((HOST, 5300)).map_err(|e| e.to_string())?;
    let heard = |part: &str| {
        let mut last = String::new();
        command::until(&format!("an answer of {part}"), soon(), || {
            last = outside::converse(&socket, HOST).unwrap_or_else(|e| e);
            last.contains(part)
        })
        .map_err(|e| format!("{e}; last: {last:?}"))
    };
    s.serve_datagrams("first1", "-p 5300:53/udp")?;
    heard("first1 hears")?;
    // So that the next one gets another address.
    s.must("docker network create other")?;
    s.must("docker rm -f first1")?;
    // What is sent meanwhile goes nowhere, and is remembered so.
    for _ in 0..3 {
        if outside::converse(&socket, HOST).is_ok() {
            return Err("somebody answers who was removed".into());
        }
    }
    s.serve_datagrams("next1", "--network other -p 5300:53/udp")?;
    heard("next1 hears")
}

fn random(s: &mut Scene) -> Done {
    s.serve("web", "-p 80")?;
    let told = s.must("docker port web 80")?;
    let port: u16 = told
        .lines()
        .next()
        .and_then(|line| line.rsplit_once(':'))
        .and_then(|(_, port)| port.parse().ok())
        .ok_or(format!("no port: {told:?}"))?;
    let limits =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").map_err(|e| e.to_string())?;
    let limits: Vec<u16> = limits.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    is(
        &format!("{port} in {limits:?}"),
        limits.len() == 2 && (limits[0]..=limits[1]).contains(&port),
        true,
    )?;
    s.until_who(From::Host, &format!("127.0.0.1:{port}"), "web hears")?;
    s.until_who(From::Second, &format!("{HOST}:{port}"), "web hears")?;
    s.until_who(From::Host, &format!("[::1]:{port}"), "web hears")?;
    s.serve("web2", "-p 127.0.0.1::80")?;
    let told = s.must("docker port web2 80")?;
    is(
        "bound",
        told.starts_with("127.0.0.1:") && told.lines().count() == 1,
        true,
    )?;
    s.until_who(From::Host, &told, "web2 hears")
}

fn range(s: &mut Scene) -> Done {
    s.server("web", "-p 8100-8102:80-82", 81)?;
    s.until_who(From::Host, "127.0.0.1:8101", "web hears")?;
    s.until_who(From::Second, &format!("{HOST}:8101"), "web hears")?;
    s.deaf(From::Host, "127.0.0.1:8100")?;
    s.must("docker rm -f web")?;
    // One range of the same numbers is one word.
    s.serve("web", "-p 8100-8102:8100-8102")?;
    let six = if s.is_docker() { "::" } else { "[::]" };
    is(
        "ps",
        s.must("docker ps --format '{{.Ports}}'")?,
        format!("0.0.0.0:8100-8102->8100-8102/tcp, {six}:8100-8102->8100-8102/tcp"),
    )?;
    s.fails(
        "docker run -d -p 8200-8201:80-82 tiny true",
        125,
        &[
            "Invalid ranges specified for container and host Ports",
            "invalid ranges",
        ],
    )
}

fn range_for_one(s: &mut Scene) -> Done {
    s.serve("one1", "-p 8200-8202:80")?;
    s.serve("two2", "-p 8200-8202:80")?;
    s.serve("three3", "-p 8200-8202:80")?;
    let ports: BTreeSet<String> = ["one1", "two2", "three3"]
        .iter()
        .map(|name| s.must(&format!("docker port {name} 80 | head -n 1")))
        .collect::<Result<_, _>>()?;
    is(
        "ports",
        ports.into_iter().collect::<Vec<_>>().join(" "),
        "0.0.0.0:8200 0.0.0.0:8201 0.0.0.0:8202",
    )?;
    s.until_who(From::Host, "127.0.0.1:8202", "hears")?;
    let line = s.server_line("four4", "-p 8200-8202:80", 80)?;
    s.fails(&line, 125, &["allocated", "address already in use"])
}

fn bound(s: &mut Scene) -> Done {
    s.serve("inner", "-p 127.0.0.1:8001:80")?;
    s.until_who(From::Host, "127.0.0.1:8001", "inner hears")?;
    s.deaf(From::Host, &format!("{HOST}:8001"))?;
    s.deaf(From::Host, "[::1]:8001")?;
    s.deaf(From::Second, &format!("{HOST}:8001"))?;
    // Another address has room for another one.
    s.serve("outer", &format!("-p {HOST}:8001:80"))?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "outer hears")?;
    s.until_who(From::Host, &format!("{HOST}:8001"), "outer hears")?;
    s.until_who(From::Host, "127.0.0.1:8001", "inner hears")?;
    s.serve("third", "-p [::1]:8001:80")?;
    s.until_who(From::Host, "[::1]:8001", "third hears")?;
    s.deaf(From::Second, &format!("{HOST_6}:8001"))?;
    is(
        "ports",
        s.must("docker port third")?,
        if s.is_docker() {
            "80/tcp -> ::1:8001"
        } else {
            "80/tcp -> [::1]:8001"
        },
    )
    .or_else(|_| is("ports", s.must("docker port third")?, "80/tcp -> [::1]:8001"))?;
    // An address that the host does not have.
    s.fails(
        "docker run -d -p 192.0.2.99:8005:80 tiny true",
        125,
        &["cannot assign requested address"],
    )
}

fn all(s: &mut Scene) -> Done {
    s.must("docker run -d --name web -P nginx")?;
    let told = s.must("docker port web")?;
    is(
        "one port",
        told.lines().all(|line| line.starts_with("80/tcp -> ")),
        true,
    )?;
    let address = s.must("docker port web 80 | head -n 1")?;
    let port = address.rsplit(':').next().unwrap_or_default().to_owned();
    s.until(
        &format!("busybox wget -q -O - http://127.0.0.1:{port}"),
        "Welcome to nginx!",
    )?;
    s.must("docker run -d --name more --expose 7000-7001 --expose 9/udp -P tiny sleep 600")?;
    is(
        "ports",
        s.must("docker port more | cut -d ' ' -f 1 | sort -u")?,
        "7000/tcp\n7001/tcp\n9/udp",
    )
}

fn long_form(s: &mut Scene) -> Done {
    s.serve(
        "web",
        "--publish published=8001,target=80,protocol=tcp,mode=host --publish=8002:80",
    )?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    s.until_who(From::Second, &format!("{HOST}:8002"), "web hears")
}

fn bad_words(s: &mut Scene) -> Done {
    for (words, part) in [
        ("-p 80:x", "Invalid containerPort: x"),
        ("-p x:80", "Invalid hostPort: x"),
        ("-p 1.2.3:80:80", "Invalid ip address"),
        ("-p 80:70000", "Invalid containerPort: 70000"),
        ("-p 80:80/nonsense", "Invalid proto: nonsense"),
        ("-p nonsense", "Invalid containerPort: nonsense"),
        ("-p 80-70:80-70", "Invalid"),
        ("-p :", "No port specified"),
    ] {
        s.fails(&format!("docker run {words} tiny true"), 125, &[part])?;
    }
    is("containers", s.must("docker ps -aq")?, "")
}

fn conflict_with_container(s: &mut Scene) -> Done {
    s.serve("web", "-p 8001:80")?;
    let line = s.server_line("late", "-p 8001:80", 80)?;
    s.fails(
        &line,
        125,
        &["Bind for 0.0.0.0:8001 failed: port is already allocated"],
    )?;
    is(
        "it was created",
        s.inspect("late", "{{.State.Status}}")?,
        "created",
    )?;
    s.fails("docker start late", 1, &["port is already allocated"])?;
    // One address of all of them is not free either.
    let line = s.server_line("later", "-p 127.0.0.1:8001:80", 80)?;
    s.fails(
        &line,
        125,
        &[
            "Bind for 127.0.0.1:8001 failed: port is already allocated",
            "listen tcp4 127.0.0.1:8001: bind: address already in use",
        ],
    )?;
    // Both were left without an address and without half of their ports.
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    s.must("docker rm -f web")?;
    s.prints("docker start late", "late\n")?;
    s.until_who(From::Host, "127.0.0.1:8001", "late hears")?;
    // The first of two ports is given back when the second one is taken.
    let line = s.server_line("half", "-p 8010:80 -p 8001:80", 80)?;
    s.fails(&line, 125, &["port is already allocated"])?;
    s.deaf(From::Host, "127.0.0.1:8010")?;
    s.serve("whole", "-p 8010:80")?;
    s.until_who(From::Host, "127.0.0.1:8010", "whole hears")
}

fn conflict_with_process(s: &mut Scene) -> Done {
    let listener = std::net::TcpListener::bind("0.0.0.0:8001").map_err(|e| e.to_string())?;
    let line = s.server_line("web", "-p 8001:80", 80)?;
    s.fails(&line, 125, &["address already in use"])?;
    drop(listener);
    s.prints("docker start web", "web\n")?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    let socket = UdpSocket::bind("127.0.0.1:5300").map_err(|e| e.to_string())?;
    s.fails(
        "docker run -d -p 5300:53/udp tiny true",
        125,
        &["address already in use"],
    )?;
    drop(socket);
    // What IPv6 has of it counts, too.
    let listener = std::net::TcpListener::bind("[::1]:8002").map_err(|e| e.to_string())?;
    s.fails(
        "docker run -d -p 8002:80 tiny true",
        125,
        &["address already in use"],
    )?;
    drop(listener);
    Ok(())
}

fn conflict_names_owner(s: &mut Scene) -> Done {
    s.serve("landlord", "-p 8001:80")?;
    let line = s.server_line("late", "-p 8001:80", 80)?;
    s.fails(&line, 125, &["landlord"])?;
    let _listener = std::net::TcpListener::bind("0.0.0.0:8002").map_err(|e| e.to_string())?;
    // It is this program's.
    let comm = std::fs::read_to_string("/proc/self/comm").map_err(|e| e.to_string())?;
    s.fails("docker run -d -p 8002:80 tiny true", 125, &[comm.trim()])
}

fn again_at_once(s: &mut Scene) -> Done {
    for n in 0..5 {
        s.serve("web", "-p 8001:80 -p 8002:80")?;
        s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
        s.until_who(From::Second, &format!("{HOST}:8002"), "web hears")?;
        if n % 2 == 0 {
            s.must("docker rm -f web")?;
        } else {
            s.must("docker stop -t 0 web && docker rm web")?;
        }
        s.deaf(From::Host, "127.0.0.1:8001")?;
    }
    // One that ends by itself.
    for _ in 0..5 {
        s.must("docker run --rm -p 8001:80 tiny true")?;
    }
    Ok(())
}

fn restart(s: &mut Scene) -> Done {
    s.serve("web", "-p 8001:80 -p 80")?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    s.must("docker restart -t 0 web")?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.must("docker kill web")?;
    s.until_ended("web")?;
    command::until("nobody answers", soon(), || outside::is_deaf("127.0.0.1:8001"))?;
    s.must("docker start web")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.must("docker pause web && docker unpause web")?;
    s.until_who(From::Host, "[::1]:8001", "web hears")
}

fn restart_policy(s: &mut Scene) -> Done {
    s.serve("web", "-p 8001:80 --restart always")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    let before = s.inspect("web", "{{.State.Pid}}")?;
    s.must("docker exec web kill -9 1").err();
    let pid: u32 = before.parse().map_err(|e| format!("pid: {e}"))?;
    crate::uptime::kill(pid)?;
    command::until("another process", soon(), || {
        s.inspect("web", "{{.State.Running}} {{.State.Pid}}")
            .is_ok_and(|told| {
                told.starts_with("true") && told != format!("true {before}") && told != "true 0"
            })
    })?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")
}

fn other_modes(s: &mut Scene) -> Done {
    let o = s.sh("docker run --rm --network host -p 8001:80 tiny echo ran")?;
    is("exit code", o.code, 0)?;
    is("stdout", o.stdout, "ran\n")?;
    has(
        "stderr",
        &o.stderr,
        "Published ports are discarded when using host network mode",
    )?;
    s.idle("box", "")?;
    s.fails(
        "docker run --rm --network container:box -p 8001:80 tiny true",
        125,
        &["conflicting options: port publishing and the container type network mode"],
    )?;
    s.must("docker run --rm --network none -p 8001:80 tiny true")
        .map(|_| ())
}

/// Who publishes to everybody is told so; stdout stays as it was.
fn note(s: &mut Scene) -> Done {
    let line = s.server_line("web", "-p 8001:80", 80)?;
    let o = s.sh(&line)?;
    crate::case::is_id(o.stdout.trim(), 64)?;
    has("stderr", &o.stderr.to_lowercase(), "8001")?;
    has("stderr", &o.stderr.to_lowercase(), "all interfaces")?;
    let line = s.server_line("inner", "-p 127.0.0.1:8002:80", 80)?;
    let o = s.sh(&line)?;
    lacks("stderr of a bound one", &o.stderr, "8002")
}

/// A container that has IPv6 hears from the client itself.
fn six(s: &mut Scene) -> Done {
    s.must("docker network create --ipv6 --subnet fd00:77::/64 six")?;
    s.serve("web", "--network six -p 8001:80")?;
    let client = SECOND_6.trim_matches(['[', ']']);
    s.until_who(From::Second, &format!("{HOST_6}:8001"), &format!("[{client}]"))?;
    s.until_who(From::Second, &format!("{HOST}:8001"), &format!("{SECOND}]"))?;
    s.until_who(From::Host, "[::1]:8001", "web hears")?;
    s.until_who(From::Host, &format!("{HOST_6}:8001"), "web hears")?;
    s.reaches("web", &format!("{HOST_6}:8001"), "web hears")
}

/// No two of fifty get the same address or the same port.
fn fifty_at_once(s: &mut Scene) -> Done {
    let count = if s.is_docker() { 10 } else { 50 };
    let line = s.server_line("web$n", "-p 80", 80)?;
    s.must(&format!(
        "for n in $(seq {count}); do {line} >/dev/null 2>{}/err$n & done; wait",
        s.path("").trim_end_matches('/')
    ))?;
    let format = "{{.Name}} {{.NetworkSettings.Networks.bridge.IPAddress}} {{.NetworkSettings.Networks.bridge.MacAddress}} {{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
    let told = s.must(&format!(
        "docker ps -q | xargs docker inspect --format '{format}'"
    ))?;
    is(
        &format!(
            "running; {}",
            output(&format!(
                "cat {}/err* | head -n 3",
                s.path("").trim_end_matches('/')
            ))?
        ),
        told.lines().count(),
        count,
    )?;
    for column in 1..4 {
        let values: BTreeSet<&str> = told
            .lines()
            .filter_map(|line| line.split(' ').nth(column))
            .collect();
        is(
            &format!("different values in column {column} of\n{told}\n"),
            values.len(),
            count,
        )?;
    }
    // And each port leads to its own container.
    for line in told.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let name = words[0].trim_start_matches('/');
        s.until_who(
            From::Host,
            &format!("127.0.0.1:{}", words[3]),
            &format!("{name} hears"),
        )?;
    }
    Ok(())
}

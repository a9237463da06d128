//! Containers of ordinary users: of one who has no ids but her own, and of one who has a range of them.
//!
//! May not: change the machine's accounts. The first has a number and no name, and `/etc` is the played host's own.

use std::os::unix::fs::chown;

use conformance::command;

use crate::case::{Case, Done, Need, Scene, case, has, is, lacks, soon};
use crate::outside::{self, From, HOST, HOST_6, KNOWN, KNOWN_ADDRESS, SECOND, SECOND_6};
use crate::wires::{came, output};

const ID: u32 = 5003;
/// Of the user who has a range of ids; newuidmap(1) asks for her name.
const RANGED: u32 = 5004;
const RANGE: &str = "ranged:2000000:65536";

pub fn cases() -> Vec<Case> {
    vec![
        case("rootless.single-id", &[Need::Brig], single_id),
        person("rootless.network-publish", publish),
        person("rootless.network-ports", ports),
        person("rootless.network-conflicts", conflicts),
        person("rootless.network-datagrams", datagrams),
        person("rootless.network-outside", outside_world),
        person("rootless.network-names", names),
        person("rootless.network-restarts", restarts),
        person("rootless.network-slirp4netns", without_pasta),
        person("rootless.network-no-program", without_programs),
        person("rootless.network-program-killed", program_killed),
        person("rootless.network-monitor-killed", monitor_killed),
        person("rootless.network-keeper-killed", keeper_killed),
        person("rootless.network-killed-anywhere", killed_anywhere),
        person("rootless.network-ten-at-once", ten_at_once),
        ranged("rootless.range", owners),
        ranged("rootless.range-publish", publish),
        ranged("rootless.range-conflicts", conflicts),
        ranged("rootless.range-names", names),
        ranged("rootless.range-slirp4netns", without_pasta),
        ranged("rootless.range-monitor-killed", monitor_killed),
        ranged("rootless.range-keeper-killed", keeper_killed),
        ranged("rootless.range-killed-anywhere", killed_anywhere),
    ]
}

/// A case in which an ordinary user with the image `tiny` types. At its end nothing of hers runs.
fn person(name: &str, act: impl Fn(&mut Scene, &User) -> Done + 'static) -> Case {
    played(name, ID, act)
}

/// The same with a range of ids.
fn ranged(name: &str, act: impl Fn(&mut Scene, &User) -> Done + 'static) -> Case {
    played(name, RANGED, act)
}

fn played(name: &str, id: u32, act: impl Fn(&mut Scene, &User) -> Done + 'static) -> Case {
    case(name, &[Need::Brig], move |s| {
        s.as_typed = true;
        let user = User::arrive(s, id)?;
        let acted = act(s, &user);
        let removed = s
            .must(&user.types("docker ps -aq | xargs -r docker rm -f"))
            .map(drop);
        let alone = user.is_alone();
        let gone = s.must("umount /dev/net/tun").map(drop);
        let problems: Vec<String> = [acted, removed, alone, gone]
            .into_iter()
            .filter_map(Result::err)
            .collect();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("\n")),
        }
    })
}

struct User {
    id: u32,
    home: String,
    run: String,
}

impl User {
    fn arrive(s: &Scene, id: u32) -> Result<User, String> {
        let home = s.path("home");
        let run = format!("{home}/run");
        for directory in [&home, &run] {
            let text = |e: std::io::Error| format!("{directory}: {e}");
            std::fs::create_dir_all(directory).map_err(text)?;
            chown(directory, Some(id), Some(id)).map_err(text)?;
        }
        if id == RANGED {
            once("/etc/passwd", &format!("ranged:x:{id}:{id}::{home}:/bin/sh"))?;
            once("/etc/subuid", RANGE)?;
            once("/etc/subgid", RANGE)?;
        }
        // As every distribution has it; here it may be root's.
        let tun = s.path("tun");
        s.must(&format!(
            "mkdir -p /dev/net && touch /dev/net/tun && mknod {tun} c 10 200 && chmod 666 {tun} && mount --bind {tun} /dev/net/tun"
        ))?;
        let user = User { id, home, run };
        user.load(s, "tiny")?;
        Ok(user)
    }

    fn load(&self, s: &Scene, image: &str) -> Done {
        let archive = format!("{}/{image}.tar", self.home);
        s.must(&format!(
            "docker save -o {archive} {image} && chmod 644 {archive}"
        ))?;
        s.must(&self.types(&format!("docker load -q -i {image}.tar")))
            .map(drop)
    }

    /// A line that she types; it has no single quotes.
    fn types(&self, line: &str) -> String {
        self.types_with("", line)
    }

    fn types_with(&self, variables: &str, line: &str) -> String {
        let User { id, home, run } = self;
        format!(
            "cd {home} && setpriv --reuid {id} --regid {id} --clear-groups env -u BRIG_ROOT HOME={home} \
             XDG_RUNTIME_DIR={run} DOCKER_CONFIG={home}/.docker {variables} /bin/sh -c '{line}'"
        )
    }

    fn must(&self, s: &Scene, line: &str) -> Result<String, String> {
        s.must(&self.types(line))
    }

    fn serves(&self, s: &Scene, name: &str, flags: &str) -> Result<String, String> {
        let line = s.server_line(name, flags, 80)?;
        self.must(s, &line)
    }

    fn outside(&self, s: &Scene, name: &str, field: &str) -> Result<String, String> {
        self.must(
            s,
            &format!("docker inspect --format \"{{{{.NetworkSettings.Outside.{field}}}}}\" {name}"),
        )
    }

    fn pid_of_keeper(&self, s: &Scene) -> Result<String, String> {
        s.must(&format!("pgrep -o -u {} -f brig-monitor.*--ground", self.id))
    }

    fn pid_of_monitor(&self, s: &Scene, id: &str) -> Result<String, String> {
        s.must(&format!("pgrep -o -u {} -f brig-monitor.*{}", self.id, id.trim()))
    }

    /// Neither a monitor, nor the keeper, nor a program of hers.
    fn is_alone(&self) -> Done {
        let mut last = String::new();
        command::until("no process of the user is left", soon(), || {
            last = output(&format!("ps -o pid=,args= -u {} || true", self.id)).unwrap_or_else(|e| e);
            last.trim().is_empty()
        })
        .map_err(|e| format!("{e}: {last}"))
    }
}

/// Ports are reached from everywhere, and who asks is seen.
fn publish(s: &mut Scene, u: &User) -> Done {
    let id = u.serves(s, "web", "-p 8001:80")?;
    s.until_who(
        From::Second,
        &format!("{HOST}:8001"),
        &format!("web hears [::ffff:{SECOND}]"),
    )?;
    s.until_who(
        From::Host,
        &format!("{HOST}:8001"),
        &format!("web hears [::ffff:{HOST}]"),
    )?;
    // Nobody answers to the loopback device of another: the container's gateway stands for it, as with root.
    s.until_who(From::Host, "127.0.0.1:8001", "web hears [::ffff:172.17.0.1]")?;
    s.until_who(From::Host, "[::1]:8001", "web hears [::ffff:172.17.0.1]")?;
    s.until_who(
        From::Second,
        &format!("{HOST_6}:8001"),
        "web hears [::ffff:172.17.0.1]",
    )?;
    is(
        "ps",
        u.must(s, "docker ps --format {{.Ports}}")?,
        "0.0.0.0:8001->80/tcp, [::]:8001->80/tcp",
    )?;
    is(
        "port",
        u.must(s, "docker port web 80")?,
        "0.0.0.0:8001\n[::]:8001",
    )?;
    is(
        "network",
        u.must(s, "docker ps --format {{.Networks}}")?,
        "bridge",
    )?;
    is("program", u.outside(s, "web", "Running")?, "true")?;
    has("program", &u.outside(s, "web", "Program")?, "/pasta")?;
    // From a container to the port of another one, and of itself.
    u.must(s, "docker run -d --name asker tiny sleep 1000")?;
    s.until(
        &u.types("docker exec asker timeout 3 wget -q -O - http://172.17.0.1:8001/cgi-bin/who"),
        "web hears",
    )?;
    u.must(s, "docker stop -t 0 web")?;
    s.deaf(From::Host, "127.0.0.1:8001")?;
    u.must(s, "docker start web")?;
    s.until_who(
        From::Second,
        &format!("{HOST}:8001"),
        &format!("web hears [::ffff:{SECOND}]"),
    )?;
    // A network with IPv6: then the container sees clients of IPv6, too.
    u.must(s, "docker network create --ipv6 six")?;
    u.serves(s, "six", "--network six -p 8006:80")?;
    s.until_who(From::Second, &format!("{HOST_6}:8006"), "six hears [2001:db8::2]")?;
    lacks("left behind", &u.must(s, "docker system check")?, &id)
}

/// Every form of `-p`.
fn ports(s: &mut Scene, u: &User) -> Done {
    u.serves(s, "one", "-p 80 -p 127.0.0.1:8002:80 -p 8003-8009:80")?;
    let line = u.must(s, "docker port one")?;
    let all: Vec<&str> = line
        .lines()
        .filter_map(|l| l.strip_prefix("80/tcp -> "))
        .collect();
    let random = all
        .iter()
        .filter_map(|a| a.strip_prefix("0.0.0.0:"))
        .find(|port| port.len() == 5)
        .ok_or(format!("no random port in {line:?}"))?;
    for port in [random, "8003"] {
        s.until_who(
            From::Second,
            &format!("{HOST}:{port}"),
            &format!("one hears [::ffff:{SECOND}]"),
        )?;
    }
    s.until_who(From::Host, "127.0.0.1:8002", "one hears")?;
    s.deaf(From::Second, &format!("{HOST}:8002"))?;
    u.serves(s, "two", "-p 8003-8009:80 -p 8010-8011:80-81")?;
    s.until_who(From::Second, &format!("{HOST}:8004"), "two hears")?;
    s.until_who(From::Second, &format!("{HOST}:8010"), "two hears")?;
    u.must(s, "docker rm -f one")?;
    s.deaf(From::Second, &format!("{HOST}:{random}"))?;
    u.serves(s, "three", "-P --expose 80")?;
    let port = u.must(s, "docker port three 80/tcp")?;
    let port = port.lines().next().unwrap_or_default().replace("0.0.0.0:", "");
    s.until_who(From::Second, &format!("{HOST}:{port}"), "three hears")
}

fn conflicts(s: &mut Scene, u: &User) -> Done {
    u.serves(s, "web", "-p 8001:80")?;
    let refused = |line: &str, parts: &[&str]| s.fails(&u.types(line), 125, parts);
    refused(
        "docker run -p 8001:80 tiny true",
        &["Bind for 0.0.0.0:8001 failed: port is already allocated (container web has it)"],
    )?;
    let listener = std::net::TcpListener::bind("0.0.0.0:8005").map_err(|e| e.to_string())?;
    refused(
        "docker run -p 8005:80 tiny true",
        &[
            "Bind for 0.0.0.0:8005 failed: port is already allocated: address already in use by a process of another user",
        ],
    )?;
    drop(listener);
    // Docker's code for these words, whoever has said them.
    s.fails(
        &u.types("docker run -p 80:80 tiny true"),
        126,
        &["failed to bind host port 0.0.0.0:80/tcp: permission denied: ports below 1024 are root's (net.ipv4.ip_unprivileged_port_start)"],
    )?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")
}

const DATAGRAMS: &str = "import os, socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 53))
while True:
    data, peer = s.recvfrom(2048)
    s.sendto(('%s hears %s' % (os.environ['WHO'], peer[0])).encode(), peer)
";

fn datagrams(s: &mut Scene, u: &User) -> Done {
    u.load(s, "python")?;
    let script = s.file("datagrams.py", DATAGRAMS)?;
    u.must(
        s,
        &format!(
            "docker run -d --name names -e WHO=names -v {script}:/datagrams.py:ro --stop-signal KILL -p 5300:53/udp python python3 /datagrams.py"
        ),
    )?;
    is(
        "port",
        u.must(s, "docker port names")?,
        "53/udp -> 0.0.0.0:5300\n53/udp -> [::]:5300",
    )?;
    s.until_datagram(
        From::Second,
        &format!("{HOST}:5300"),
        &format!("names hears ::ffff:{SECOND}"),
    )?;
    s.until_datagram(From::Host, "127.0.0.1:5300", "names hears ::ffff:172.17.0.1")?;
    s.until_datagram(From::Second, &format!("{HOST_6}:5300"), "names hears")
}

/// What a container reaches, and what it does not.
fn outside_world(s: &mut Scene, u: &User) -> Done {
    let asks = |what: &str| u.types(&format!("docker exec box timeout 5 wget -q -O - {what}"));
    u.must(
        s,
        "docker run -d --name box --add-host machine:host-gateway tiny sleep 1000",
    )?;
    s.until(&asks(&format!("http://{SECOND}/")), &format!("you are {HOST}"))?;
    // Names, over UDP, of the machine's own server.
    s.until(
        &u.types(&format!("docker exec box nslookup {KNOWN}")),
        KNOWN_ADDRESS,
    )?;
    has("names", &s.lab.outside.asked().join(" "), KNOWN)?;
    let listening =
        |address: &str| std::net::TcpListener::bind(address).map_err(|e| format!("{address}: {e}"));
    let (open, inner) = (listening(&format!("{HOST}:8101"))?, listening("127.0.0.1:8102")?);
    // It takes the machine's own addresses for those of others.
    for (name, port) in [("machine", 8101), (HOST, 8101)] {
        s.sh(&u.types(&format!(
            "docker exec box timeout 1 wget -q -O - http://{name}:{port}/"
        )))?;
        is(name, came(&open)?, HOST)?;
    }
    let gateway = u.must(
        s,
        "docker inspect --format \"{{.NetworkSettings.Networks.bridge.Gateway}}\" box",
    )?;
    for name in ["127.0.0.1", "machine", "10.0.2.2", gateway.as_str()] {
        s.sh(&u.types(&format!(
            "docker exec box timeout 1 wget -q -O - http://{name}:8102/"
        )))?;
        is(name, came(&inner)?, "nobody")?;
    }
    u.must(s, "docker network create --ipv6 six")?;
    let six = format!("docker run --rm --network six tiny timeout 5 wget -q -O - http://{SECOND_6}/");
    s.until(&u.types(&six), "you are 2001:db8::1")?;
    u.must(s, "docker network create --internal inner")?;
    let o = s.sh(&u.types(&format!(
        "docker run --rm --network inner tiny sh -c \"timeout 2 wget -q -O - http://{SECOND}/; true\""
    )))?;
    lacks("an internal network", &o.stdout, "you are")
}

fn names(s: &mut Scene, u: &User) -> Done {
    u.must(s, "docker network create back")?;
    u.serves(s, "db", "--network back --network-alias data")?;
    u.must(s, "docker run -d --name app tiny sleep 1000")?;
    let asks = |name: &str| {
        u.types(&format!(
            "docker exec app timeout 3 wget -q -O - http://{name}/cgi-bin/who"
        ))
    };
    u.must(s, "docker network connect back app")?;
    for name in ["db", "data"] {
        s.until(&asks(name), "db hears")?;
    }
    // The machine's names are still known, and the way out is still there.
    s.until(
        &u.types(&format!("docker exec app nslookup {KNOWN}")),
        KNOWN_ADDRESS,
    )?;
    s.until(
        &u.types(&format!(
            "docker exec app timeout 5 wget -q -O - http://{SECOND}/"
        )),
        &format!("you are {HOST}"),
    )?;
    u.must(s, "docker network disconnect back app")?;
    let o = s.sh(&asks("db"))?;
    lacks("disconnected", &o.stdout, "hears")?;
    let ls = u.must(s, "docker network ls --format {{.Name}}")?;
    is("networks", ls, "back\nbridge\nhost\nnone")?;
    s.fails(&u.types("docker network rm back"), 1, &["has active endpoints"])?;
    s.fails(
        &u.types("docker network create -d macvlan -o parent=wan0 cable"),
        1,
        &["only root makes a network of the driver macvlan on a device of the machine"],
    )?;
    u.must(s, "docker rm -f db && docker network rm back").map(drop)
}

fn restarts(s: &mut Scene, u: &User) -> Done {
    let from_second = |name: &str| {
        s.until_who(
            From::Second,
            &format!("{HOST}:8001"),
            &format!("{name} hears [::ffff:{SECOND}]"),
        )
    };
    u.serves(s, "web", "--restart always -p 8001:80")?;
    from_second("web")?;
    let pid = u.must(s, "docker inspect --format {{.State.Pid}} web")?;
    s.must(&format!("kill -KILL {pid}"))?;
    s.until(&u.types("docker inspect --format {{.RestartCount}} web"), "1")?;
    from_second("web")?;
    u.must(s, "docker restart -t 0 web")?;
    from_second("web")?;
    u.must(
        s,
        "docker rename web other && docker stop -t 0 other && docker start other",
    )?;
    from_second("web")
}

/// A directory of programs without pasta, without slirp4netns.
fn programs(s: &Scene, names: &[&str]) -> Result<String, String> {
    let directory = s.path("programs");
    let found: Vec<String> = names
        .iter()
        .map(|name| format!("ln -s $(command -v {name}) {directory}/"))
        .collect();
    s.must(&format!("mkdir -p {directory} && {}", found.join(" && ")))?;
    Ok(format!("PATH={}:{directory}", s.lab.dir.join("bin").display()))
}

fn without_pasta(s: &mut Scene, u: &User) -> Done {
    let path = programs(s, &["slirp4netns", "cat", "mkdir"])?;
    let line = s.server_line("web", "-p 8001:80", 80)?;
    s.must(&u.types_with(&path, &line))?;
    has("program", &u.outside(s, "web", "Program")?, "/slirp4netns")?;
    s.until_who(
        From::Second,
        &format!("{HOST}:8001"),
        &format!("web hears [::ffff:{SECOND}]"),
    )?;
    s.until_who(From::Host, "127.0.0.1:8001", "web hears")?;
    let asks = |what: &str| u.types(&format!("docker exec web timeout 5 {what}"));
    s.until(
        &asks(&format!("wget -q -O - http://{SECOND}/")),
        &format!("you are {HOST}"),
    )?;
    s.until(&asks(&format!("nslookup {KNOWN}")), KNOWN_ADDRESS)?;
    let inner = std::net::TcpListener::bind("127.0.0.1:8102").map_err(|e| e.to_string())?;
    s.sh(&asks("wget -q -O - http://10.0.2.2:8102/"))?;
    is("the loopback device", came(&inner)?, "nobody")?;
    u.must(s, "docker rm -f web")?;
    u.is_alone()?;
    // By the user's wish, although pasta is there.
    u.must(
        s,
        "mkdir -p .config/brig && echo \"network.rootless = \\\"slirp4netns\\\"\" > .config/brig/brig.toml",
    )?;
    u.serves(s, "web", "-p 8001:80")?;
    has("program", &u.outside(s, "web", "Program")?, "/slirp4netns")?;
    s.until_who(
        From::Second,
        &format!("{HOST}:8001"),
        &format!("web hears [::ffff:{SECOND}]"),
    )
}

fn without_programs(s: &mut Scene, u: &User) -> Done {
    let path = programs(s, &["cat"])?;
    let types = |line: &str| u.types_with(&path, line);
    const WHY: &str = "an ordinary user\u{27}s containers need pasta (package passt) or slirp4netns (package slirp4netns) for networks and published ports, and neither is on PATH";
    for line in [
        "docker run --rm --network bridge tiny true",
        "docker run --rm -p 8001:80 tiny true",
    ] {
        s.fails(&types(line), 125, &[WHY])?;
    }
    s.fails(&types("docker network create mine"), 1, &[WHY])?;
    s.prints(&types("docker run --rm tiny ls /sys/class/net"), "lo\n")?;
    u.must(s, "mkdir -p .config/brig && echo \"network.rootless = \\\"/nowhere/pasta\\\"\" > .config/brig/brig.toml")?;
    s.fails(
        &u.types("docker run --rm --network bridge tiny true"),
        125,
        &["network.rootless in brig.toml is \"/nowhere/pasta\", and there is no such program"],
    )
}

/// The program that leads out is killed: it is said, and mended.
fn program_killed(s: &mut Scene, u: &User) -> Done {
    u.serves(s, "web", "-p 8001:80")?;
    let page = format!("http://{SECOND}/");
    let goes_out = || {
        s.until(
            &u.types(&format!("docker exec web timeout 5 wget -q -O - {page}")),
            "you are",
        )
    };
    let comes_in = || {
        s.until_who(
            From::Second,
            &format!("{HOST}:8001"),
            &format!("web hears [::ffff:{SECOND}]"),
        )
    };
    goes_out()?;
    let kill = || -> Done {
        let pid = u.outside(s, "web", "Pid")?;
        s.must(&format!("kill -KILL {pid}"))?;
        s.until(
            &u.types("docker inspect --format {{.NetworkSettings.Outside.Running}} web"),
            "false",
        )
    };
    kill()?;
    comes_in()?;
    s.fails(&u.types("docker system check"), 1, &[])?;
    let o = s.sh(&u.types("docker system check"))?;
    has(
        "check",
        &(o.stdout + &o.stderr),
        "pasta has ended: containers do not reach anything outside of the machine",
    )?;
    u.must(s, "docker network reload")?;
    is("program", u.outside(s, "web", "Running")?, "true")?;
    goes_out()?;
    kill()?;
    // The next start of anybody mends it for all.
    u.must(s, "docker run --rm tiny true")?;
    goes_out()?;
    comes_in()?;
    has("check", &u.must(s, "docker system check")?, "sound")
}

fn monitor_killed(s: &mut Scene, u: &User) -> Done {
    let id = u.serves(s, "web", "-p 8001:80")?;
    s.must(&format!("kill -KILL {}", u.pid_of_monitor(s, &id)?))?;
    // The first who asks for it gets it a monitor, which serves the port again.
    s.prints(&u.types("docker exec web echo still there"), "still there\n")?;
    s.until_who(
        From::Second,
        &format!("{HOST}:8001"),
        &format!("web hears [::ffff:{SECOND}]"),
    )?;
    s.until(
        &u.types(&format!(
            "docker exec web timeout 5 wget -q -O - http://{SECOND}/"
        )),
        "you are",
    )?;
    // Monitor and container: what is left goes with the next look.
    s.must(&format!("kill -KILL {}", u.pid_of_monitor(s, &id)?))?;
    let pid = u.must(s, "docker inspect --format {{.State.Pid}} web")?;
    s.must(&format!("kill -KILL {pid}"))?;
    s.until(&u.types("docker ps -a --format {{.Status}}"), "Exited (255)")?;
    u.is_alone()?;
    let line = s.server_line("next", "-p 8001:80", 80)?;
    u.must(s, &line)?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "next hears")
}

/// The keeper is killed: the containers keep their network, and the next start finds it again.
fn keeper_killed(s: &mut Scene, u: &User) -> Done {
    u.must(s, "docker network create back")?;
    let id = u.serves(s, "web", "--network back -p 8001:80")?;
    s.until_who(From::Second, &format!("{HOST}:8001"), "web hears")?;
    s.must(&format!("kill -KILL {}", u.pid_of_keeper(s)?))?;
    s.until_who(
        From::Second,
        &format!("{HOST}:8001"),
        &format!("web hears [::ffff:{SECOND}]"),
    )?;
    s.prints(&u.types("docker exec web echo still there"), "still there\n")?;
    s.until(
        &u.types("docker run --rm --network back tiny timeout 3 wget -q -O - http://web/cgi-bin/who"),
        "web hears",
    )?;
    s.until(
        &u.types(&format!(
            "docker exec web timeout 5 wget -q -O - http://{SECOND}/"
        )),
        "you are",
    )?;
    // Both: the container is reached all the same.
    for pid in [u.pid_of_keeper(s)?, u.pid_of_monitor(s, &id)?] {
        s.must(&format!("kill -KILL {pid}"))?;
    }
    s.prints(&u.types("docker exec web echo still there"), "still there\n")
}

/// brig is killed at moments of a start.
fn killed_anywhere(s: &mut Scene, u: &User) -> Done {
    for n in 0..12 {
        let line = u.types(&format!(
            "timeout -s KILL 0.{:03} docker run --rm --name box{n} -p 8001:80 tiny true; true",
            20 + n * 35
        ));
        s.must(&line)?;
    }
    u.must(s, "docker ps -aq | xargs -r docker rm -f")?;
    s.prints(&u.types("docker run --rm -p 8001:80 tiny echo free"), "free\n")
        .or_else(|_| {
            // A note about the port goes to stderr.
            has(
                "free",
                &u.must(s, "docker run --rm -p 8001:80 tiny echo free")?,
                "free",
            )
        })?;
    u.is_alone()
}

fn ten_at_once(s: &mut Scene, u: &User) -> Done {
    let line = "for n in 0 1 2 3 4 5 6 7 8 9; do docker run -d --name box$n -p 810$n:80 --stop-signal KILL tiny sh -c \"mkdir /www; hostname -i > /www/index.html; exec httpd -f -p 80 -h /www\" > /dev/null 2> err$n || cat err$n & done; wait";
    is("ten starts", u.must(s, line)?, "")?;
    let mut addresses = std::collections::BTreeSet::new();
    for n in 0..10 {
        let mut page = String::new();
        command::until(&format!("box{n} answers"), soon(), || {
            page = s
                .lab
                .outside
                .from(From::Second, || outside::fetch(&format!("{HOST}:810{n}"), "/"))
                .unwrap_or_default();
            page.contains("172.17.0.")
        })?;
        addresses.insert(page.lines().last().unwrap_or_default().to_owned());
    }
    is("addresses", addresses.len(), 10)?;
    let keepers = s.must(&format!("pgrep -c -u {} -f config-net", u.id))?;
    is("programs that lead out", keepers, "1")?;
    u.must(s, "docker rm -f $(docker ps -q)")?;
    u.is_alone()
}

fn single_id(s: &mut Scene) -> Done {
    let home = s.path("home");
    let run = format!("{home}/run");
    for directory in [&home, &run] {
        let text = |e: std::io::Error| format!("{directory}: {e}");
        std::fs::create_dir_all(directory).map_err(text)?;
        chown(directory, Some(ID), Some(ID)).map_err(text)?;
    }
    let archive = format!("{home}/tiny.tar");
    s.must(&format!("docker save -o {archive} tiny && chmod 644 {archive}"))?;
    let by_user = |line: &str| {
        format!(
            "cd {home} && setpriv --reuid {ID} --regid {ID} --clear-groups env -u BRIG_ROOT HOME={home} \
             XDG_RUNTIME_DIR={run} DOCKER_CONFIG={home}/.docker sh -c '{line}'"
        )
    };
    let prints = |s: &mut Scene, line: &str, text: &str| s.prints(&by_user(line), text);
    has(
        "load",
        &s.must(&by_user("docker load -q -i tiny.tar"))?,
        "Loaded image: tiny:latest",
    )?;
    prints(s, "docker run --rm --network none tiny id -u", "0\n")?;
    is(
        "exit code",
        s.sh(&by_user("docker run --rm --network none tiny sh -c \"exit 7\""))?
            .code,
        7,
    )?;
    s.must(&by_user("docker run -d --name box --network none tiny sleep 600"))?;
    prints(s, "docker exec box sh -c \"echo x > /f; cat /f\"", "x\n")?;
    prints(s, "docker cp box:/f f && cat f", "x\n")?;
    prints(s, "docker cp f box:/g && docker exec box cat /g", "x\n")?;
    prints(s, "docker diff box", "A /f\nA /g\n")?;
    let top = s.must(&by_user("docker top box -o pid,args"))?;
    has("top", &top, "sleep 600")?;
    lacks("top", &top, "setpriv")?;
    prints(s, "docker stop -t 0 box", "box\n")?;
    prints(s, "docker start box", "box\n")?;
    prints(s, "docker kill box", "box\n")?;
    prints(s, "docker wait box", "137\n")?;
    prints(s, "docker rm box", "box\n")?;
    prints(s, "docker ps -aq", "")?;
    s.must(&by_user("docker rmi tiny && docker system check"))?;
    Ok(())
}

/// Files and processes of many users, in a container, a volume, an image, and what is taken away of them.
fn owners(s: &mut Scene, u: &User) -> Done {
    let prints = |s: &mut Scene, line: &str, text: &str| s.prints(&u.types(line), text);
    prints(
        s,
        "docker run --rm -u guest tiny sh -c \"id -u; id -g; touch /tmp/f; stat -c %u /tmp/f\"",
        "1000\n1000\n1000\n",
    )?;
    // Of a user that no file of the image knows, at a network of hers.
    u.must(s, "docker network create mine")?;
    u.must(
        s,
        "docker run -d --name box --network mine -u 4242:4343 -v data:/v tiny sleep 1000",
    )?;
    prints(s, "docker exec box id -u", "4242\n")?;
    u.must(s, "docker exec -u 0 box sh -c \"echo x >/v/f; chown 65535:1 /v/f; chmod 4711 /v/f; cp -p /v/f /f; mkdir -m 700 /d; chown 9:9 /d\"")?;
    prints(s, "docker exec box stat -c %u:%g:%a /f", "65535:1:4711\n")?;
    prints(
        s,
        "docker run --rm -v data:/v tiny stat -c %u:%g:%a /v/f",
        "65535:1:4711\n",
    )?;
    prints(s, "docker diff box", "A /d\nA /f\nA /v\n")?;
    has("top", &u.must(s, "docker top box -o pid,uid,args")?, "sleep 1000")?;
    // Whose what is copied is: hers outside, and the container's root's inside; with -a as it is.
    u.must(s, "docker cp box:/f f")?;
    is(
        "a copy outside",
        s.must(&format!("stat -c %u:%g {}/f", u.home))?,
        format!("{0}:{0}", u.id),
    )?;
    u.must(s, "docker cp f box:/g")?;
    prints(s, "docker exec -u 0 box stat -c %u:%g /g", "0:0\n")?;
    u.must(
        s,
        "docker commit --no-pause box made && docker export -o box.tar box",
    )?;
    prints(
        s,
        "docker run --rm -u 0 made stat -c %u:%g:%a /f /d",
        "65535:1:4711\n9:9:700\n",
    )?;
    has(
        "the archive",
        &s.must(&format!("tar --numeric-owner -tvf {}/box.tar", u.home))?,
        "65535/1",
    )?;
    // What the container may not do, it may not with many ids either.
    let o = s.sh(&u.types("docker exec box cat /etc/shadow /d/f"))?;
    is("code", o.code, 1)?;
    // The first monitor is killed: exec enters the ids of the container.
    let id = u.must(s, "docker inspect --format {{.Id}} box")?;
    s.must(&format!("kill -KILL {}", u.pid_of_monitor(s, &id)?))?;
    prints(s, "docker exec box id -u", "4242\n")?;
    u.must(
        s,
        "docker rm -f box && docker volume rm data && docker network rm mine",
    )?;
    u.must(s, "rm tiny.tar; docker rmi made tiny && docker system check")?;
    is(
        "what is left of other ids",
        s.must(&format!("find {} ! -uid {}", u.home, u.id))?,
        "",
    )
}

/// A line that a file of the played host has from now on.
fn once(file: &str, line: &str) -> Done {
    let told = |e: std::io::Error| format!("{file}: {e}");
    let text = match std::fs::read_to_string(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(told)?,
    };
    if text.lines().any(|own| own == line) {
        return Ok(());
    }
    std::fs::write(file, format!("{text}{line}\n")).map_err(told)
}

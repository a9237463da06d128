//! Somebody else's firewall: Docker's own rules, policies that drop, and a ruleset that was flushed below our containers.
//!
//! May not: leave a rule of its own in the played host.

use crate::case::{Case, Done, Need, Scene, has, is};
use crate::lab::Subject;
use crate::outside::{From, HOST, SECOND};
use crate::wires::{self, networked, output};

pub fn cases() -> Vec<Case> {
    vec![
        networked("firewall.policy-drop-of-iptables", &[], policy_drop_iptables),
        networked(
            "firewall.policy-drop-of-nftables",
            &[Need::Brig, Need::Nft],
            policy_drop_nftables,
        ),
        networked(
            "firewall.policy-drop-comes-later",
            &[Need::Brig, Need::Nft],
            policy_drop_later,
        ),
        networked("firewall.flushed", &[Need::Brig, Need::Nft], flushed),
        networked(
            "firewall.flushed-mended-by-run",
            &[Need::Brig, Need::Nft],
            flushed_mended_by_run,
        ),
        networked(
            "firewall.own-table-alone",
            &[Need::Brig, Need::Nft],
            own_table_alone,
        ),
        networked(
            "firewall.rules-do-not-grow",
            &[Need::Brig, Need::Nft],
            rules_do_not_grow,
        ),
        // Docker's rules would be flushed by those before.
        networked(
            "firewall.beside-docker",
            &[Need::Brig, Need::Docker],
            beside_docker,
        ),
        networked(
            "firewall.docker-comes-later",
            &[Need::Brig, Need::Docker],
            docker_comes_later,
        ),
    ]
}

/// All that a container of a network needs: it is asked from everywhere, reaches its neighbour by name, and the world.
fn lives(s: &Scene, name: &str, client: &str, port: u16) -> Done {
    let says = format!("{name} hears");
    s.until_who(From::Host, &format!("127.0.0.1:{port}"), &says)?;
    s.until_who(From::Host, &format!("{HOST}:{port}"), &says)?;
    s.until_who(From::Second, &format!("{HOST}:{port}"), &says)?;
    s.reaches(client, name, &says)?;
    s.reaches(client, &format!("{HOST}:{port}"), &says)?;
    s.until(
        &format!("docker exec {client} timeout 3 wget -q -O - http://{SECOND}/"),
        &format!("you are {HOST}"),
    )
}

fn start(s: &Scene, name: &str, client: &str, port: u16) -> Done {
    s.serve(name, &format!("--network one -p {port}:80"))?;
    s.idle(client, "--network one").map(|_| ())
}

/// Docker's containers on the same host, made from the same line.
struct Theirs<'a>(&'a Scene<'a>);

impl Theirs<'_> {
    fn must(&self, line: &str) -> Result<String, String> {
        let lab = self.0.lab;
        lab.run(Subject::Docker, line, "", conformance::patience::seconds(60))?
            .ok()
            .map_err(|e| format!("docker: {line}: {e}"))
    }

    fn start(&self) -> Done {
        self.must("docker network create theirs")?;
        let line = self
            .0
            .server_line("their-web", "--network theirs -p 8101:80", 80)?;
        self.must(&line)?;
        self.must("docker run -d --name their-client --network theirs tiny sleep 600")
            .map(|_| ())
    }

    fn live(&self) -> Done {
        for (from, address) in [
            (From::Host, "127.0.0.1"),
            (From::Host, HOST),
            (From::Second, HOST),
        ] {
            self.0
                .until_who(from, &format!("{address}:8101"), "their-web hears")?;
        }
        let inside = |address: &str| {
            format!("docker exec their-client timeout 3 wget -q -O - http://{address}/cgi-bin/who")
        };
        has("by name", &self.must(&inside("their-web"))?, "their-web hears")?;
        has("the world", &self.must(&inside(SECOND))?, HOST)
    }

    fn end(&self) -> Done {
        self.must("docker rm -f their-web their-client")?;
        self.must("docker network rm theirs").map(|_| ())
    }
}

/// What iptables says, which is what administrators and Docker look at.
fn of_iptables() -> Result<String, String> {
    output("iptables-save | grep -v '^#' | sed 's/\\[[0-9]*:[0-9]*\\]//'")
}

fn beside_docker(s: &mut Scene) -> Done {
    let theirs = Theirs(s);
    let played = || -> Done {
        theirs.start()?;
        theirs.live()?;
        let before = of_iptables()?;
        s.must("docker network create one")?;
        start(s, "web", "client", 8001)?;
        lives(s, "web", "client", 8001)?;
        theirs.live()?;
        // Theirs does not reach into ours, but for what is published. (Theirs lets everybody of the host in.)
        s.reaches("client", &format!("{HOST}:8101"), "their-web hears")?;
        let o = s.lab.run(
            Subject::Docker,
            &format!(
                "docker exec their-client timeout 1 wget -q -O - http://{}/",
                s.address("web")?
            ),
            "",
            conformance::patience::seconds(20),
        )?;
        is("theirs in ours", o.code == 1 || o.code == 143, true)?;
        has(
            "ours by its port",
            &theirs.must(&format!(
                "docker exec their-client timeout 3 wget -q -O - http://{HOST}:8001/cgi-bin/who"
            ))?,
            "web hears",
        )?;
        // Ports are taken by whoever was first, on both sides.
        let line = s.server_line("late", "-p 8101:80", 80)?;
        s.fails(
            &line,
            125,
            &["address already in use", "port is already allocated"],
        )?;
        wires::remove_ours(s.lab)?;
        is("their rules", of_iptables()?, before)?;
        theirs.live()
    };
    let acted = played();
    let ended = theirs.end();
    acted.and(ended)
}

/// Docker starts, and sets its policy, when our containers run already.
fn docker_comes_later(s: &mut Scene) -> Done {
    let docker = s.lab.docker().as_ref().map_err(Clone::clone)?;
    s.must("docker network create one")?;
    start(s, "web", "client", 8001)?;
    let theirs = Theirs(s);
    let played = || -> Done {
        // What an earlier start of it left would be its own again: away with it while it is away.
        docker.outage(|| output("iptables -F FORWARD; iptables -P FORWARD ACCEPT").map(|_| ()))?;
        theirs.start()?;
        theirs.live()?;
        s.must("docker network reload")?;
        lives(s, "web", "client", 8001)?;
        start(s, "web2", "client2", 8002)?;
        lives(s, "web2", "client2", 8002)?;
        theirs.live()
    };
    let acted = played();
    let ended = theirs.end();
    output("iptables -P FORWARD ACCEPT")?;
    acted.and(ended)
}

fn policy_drop_iptables(s: &mut Scene) -> Done {
    output("iptables -P FORWARD DROP")?;
    let played = || -> Done {
        s.must("docker network create one")?;
        start(s, "web", "client", 8001)?;
        lives(s, "web", "client", 8001)?;
        // On the default network, too.
        s.serve("default1", "-p 8002:80")?;
        s.until_who(From::Second, &format!("{HOST}:8002"), "default1 hears")?;
        wires::remove_ours(s.lab)
    };
    let acted = played();
    // Of the default network, which stays.
    output(
        "iptables -P FORWARD ACCEPT; iptables -D FORWARD -i brig0 -j ACCEPT; iptables -D FORWARD -o brig0 -j ACCEPT; true",
    )?;
    acted
}

/// An administrator's own table.
const TABLE: &str = "table inet guard {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
    }
}";

fn with_table(act: impl FnOnce() -> Done) -> Done {
    output(&format!("nft -f - <<'END'\n{TABLE}\nEND\n"))?;
    let acted = act();
    output("nft delete table inet guard")?;
    acted
}

fn policy_drop_nftables(s: &mut Scene) -> Done {
    with_table(|| {
        s.must("docker network create one")?;
        start(s, "web", "client", 8001)?;
        lives(s, "web", "client", 8001)?;
        // The guard's own rule stays, and it guards the others still.
        has("the guard", &output("nft list table inet guard")?, "policy drop")?;
        has("the guard", &output("nft list table inet guard")?, "established")?;
        wires::remove_ours(s.lab)?;
        let left = output("nft list table inet guard")?;
        is(
            &format!("rules for a bridge that is gone: {left}"),
            left.contains("\"br-"),
            false,
        )
    })
}

/// The policy comes when the containers run already: said by the check, mended by a reload.
fn policy_drop_later(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    start(s, "web", "client", 8001)?;
    lives(s, "web", "client", 8001)?;
    with_table(|| {
        s.must("docker network reload")?;
        lives(s, "web", "client", 8001)?;
        wires::remove_ours(s.lab)
    })
}

/// All rules go. What iptables finds missing it makes when it looks: empty, as it was.
fn flush() -> Done {
    output("nft flush ruleset; iptables -P FORWARD ACCEPT").map(|_| ())
}

fn flushed(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    start(s, "web", "client", 8001)?;
    lives(s, "web", "client", 8001)?;
    // Of cases before.
    s.sh("docker system check --quick --repair")?;
    s.must("docker system check --quick")?;
    let rules = wires::firewall()?;
    flush()?;
    // The check says what is missing and what helps.
    let o = s.sh("docker system check --quick")?;
    is("exit code of the check", o.code, 1)?;
    has("the check", &(o.stdout + &o.stderr), "network reload")?;
    s.must("docker network reload")?;
    lives(s, "web", "client", 8001)?;
    s.must("docker system check --quick")?;
    let mut missing = rules;
    let now = wires::firewall()?;
    missing.retain(|line| !now.contains(line) && (line.contains("element") || line.contains("drop")));
    is("rules that did not come back", missing.join("; "), "")?;
    // Nobody can tell by the isolation either that something was.
    s.must("docker network create two")?;
    s.idle("stranger", "--network two")?;
    s.cannot_reach("stranger", &s.address("web")?)
}

fn flushed_mended_by_run(s: &mut Scene) -> Done {
    s.must("docker network create one")?;
    start(s, "web", "client", 8001)?;
    lives(s, "web", "client", 8001)?;
    flush()?;
    start(s, "web2", "client2", 8002)?;
    lives(s, "web2", "client2", 8002)?;
    lives(s, "web", "client", 8001)?;
    // And when a container only goes away.
    flush()?;
    s.must("docker rm -f web2")?;
    s.must("docker network reload")?;
    lives(s, "web", "client", 8001)
}

/// What others keep in the firewall is none of ours.
fn own_table_alone(s: &mut Scene) -> Done {
    output(
        "nft -f - <<'END'\ntable ip others {\nset s { type ipv4_addr; elements = { 10.1.1.1 }; }\nchain c {\ntype filter hook input priority 0; policy accept;\ntcp dport 9999 counter drop\n}\n}\nEND\n",
    )?;
    let played = || -> Done {
        let before = output("nft -s list table ip others")?;
        s.must("docker network create one")?;
        start(s, "web", "client", 8001)?;
        lives(s, "web", "client", 8001)?;
        s.must("docker network reload")?;
        wires::remove_ours(s.lab)?;
        is(
            "the others' table",
            output("nft -s list table ip others")?,
            before,
        )
    };
    let acted = played();
    output("nft delete table ip others")?;
    acted
}

/// A container more is an element more: what every packet is compared with stays the same.
fn rules_do_not_grow(s: &mut Scene) -> Done {
    let rules = || -> Result<usize, String> {
        Ok(wires::firewall()?
            .iter()
            .filter(|line| !line.starts_with("element "))
            .count())
    };
    s.must("docker network create one")?;
    s.idle("first1", "--network one -p 8001:80 -p 8002:80")?;
    let one = rules()?;
    for n in 2..8 {
        s.idle(
            &format!("box{n}"),
            &format!("--network one -p 80{n}0:80 -p 127.0.0.1:80{n}1:80 -p 80{n}2:80/udp"),
        )?;
    }
    is("rules with seven containers", rules()?, one)
}

//! What cases of networks say: who serves, who asks whom, what of the host's network is there before and after.
//!
//! May not: know how anyone makes a network. What is left behind is read from the kernel.

use conformance::command;
use conformance::patience;
pub use conformance::played::wiring::{Network, check, firewall, output, survey};
use conformance::verdict::Done;

use crate::case::{Case, Need, Scene, ask, case, soon};
use crate::lab::{Lab, Subject};
use crate::outside::{self, From};

/// A case in which a line that names no network gets the one that it gets from a person. At its end the host's network is what it was
/// before.
pub fn networked(
    name: &str,
    needs: &'static [Need],
    act: impl std::ops::Fn(&mut Scene) -> Done + 'static,
) -> Case {
    case(name, needs, move |s| {
        s.as_typed = true;
        s.lab.warm_up()?;
        let before = settled()?;
        let acted = act(s);
        let removed = remove_all(s.lab);
        let clean = removed.and_then(|()| check(&before));
        match (acted, clean) {
            (Err(one), Err(other)) => Err(format!("{one}\n{other}")),
            (acted, clean) => acted.and(clean),
        }
    })
}

/// The containers, networks and volumes that a case made.
pub fn remove_all(lab: &Lab) -> Done {
    lab.empty()?;
    remove_ours(lab)
}

/// Those of the subject alone.
pub fn remove_ours(lab: &Lab) -> Done {
    remove_of(lab, lab.subject)
}

pub fn remove_of(lab: &Lab, who: Subject) -> Done {
    for line in [
        "docker ps -aq | xargs -r docker rm --force --volumes",
        "docker network ls -q --no-trunc --filter type=custom | xargs -r docker network rm",
        "docker volume ls -q | xargs -r docker volume rm --force",
    ] {
        lab.run(who, line, "", patience::seconds(60))?
            .ok()
            .map_err(|e| format!("{line}: {e}"))?;
    }
    Ok(())
}

/// What is there when no container runs. The devices of the last one may take a moment to go.
pub fn settled() -> Result<Network, String> {
    command::until("no container's device is left", patience::seconds(10), || {
        output("ip -o link show type veth")
            .is_ok_and(|text| text.lines().all(|line| line.contains(outside::CABLE)))
    })?;
    survey()
}

/// Who has come to a listener meanwhile.
pub fn came(listener: &std::net::TcpListener) -> Result<String, String> {
    listener.set_nonblocking(true).map_err(|e| e.to_string())?;
    match listener.accept() {
        Ok((_, peer)) => Ok(peer.ip().to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok("nobody".into()),
        Err(e) => Err(e.to_string()),
    }
}

/// A page that says who answers, and who asked.
const WHO: &str = "#!/bin/sh\nprintf '\\r\\n'\necho \"$WHO hears $REMOTE_ADDR\"\n";

/// The same over datagrams.
const DATAGRAMS: &str = "import os, socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 53))
while True:
    data, peer = s.recvfrom(2048)
    s.sendto(('%s hears %s' % (os.environ['WHO'], peer[0])).encode(), peer)
";

impl Scene<'_> {
    /// A container whose port 80 says `NAME hears ADDRESS`.
    pub fn serve(&self, name: &str, flags: &str) -> Result<String, String> {
        self.server(name, flags, 80)
    }

    pub fn server(&self, name: &str, flags: &str, port: u16) -> Result<String, String> {
        let line = self.server_line(name, flags, port)?;
        self.must(&line)
    }

    /// The line that makes it, for who wants it to fail.
    pub fn server_line(&self, name: &str, flags: &str, port: u16) -> Result<String, String> {
        let www = self.dir.join("www");
        let page = www.join("cgi-bin/who");
        let told = |e: std::io::Error| format!("{}: {e}", page.display());
        if !page.exists() {
            std::fs::create_dir_all(www.join("cgi-bin")).map_err(told)?;
            std::fs::write(&page, WHO).map_err(told)?;
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&page, executable).map_err(told)?;
        }
        Ok(format!(
            "docker run -d --name {name} -e WHO={name} -v {}:/www:ro --stop-signal KILL {flags} tiny httpd -f -p {port} -h /www",
            www.display()
        ))
    }

    /// A container whose datagram port 53 says the same.
    pub fn serve_datagrams(&self, name: &str, flags: &str) -> Result<String, String> {
        let script = self.file("datagrams.py", DATAGRAMS)?;
        self.must(&format!(
            "docker run -d --name {name} -e WHO={name} -v {script}:/datagrams.py:ro --stop-signal KILL {flags} python python3 /datagrams.py"
        ))
    }

    /// What the page of a container says to who asks from there.
    pub fn who(&self, from: From, address: &str) -> Result<String, String> {
        self.lab
            .outside
            .from(from, || outside::fetch(address, "/cgi-bin/who"))
    }

    /// Asks until the page says this.
    pub fn until_who(&self, from: From, address: &str, part: &str) -> Done {
        let mut last = String::new();
        command::until(&format!("{address} says {part:?} to {from:?}"), soon(), || {
            last = self.who(from, address).unwrap_or_else(|e| e);
            last.contains(part)
        })
        .map_err(|e| format!("{e}; last: {last:?}"))
    }

    pub fn until_datagram(&self, from: From, address: &str, part: &str) -> Done {
        let mut last = String::new();
        command::until(
            &format!("{address}/udp says {part:?} to {from:?}"),
            soon(),
            || {
                let answer = self.lab.outside.from(from, || outside::datagram(address));
                last = answer.unwrap_or_else(|e| e);
                last.contains(part)
            },
        )
        .map_err(|e| format!("{e}; last: {last:?}"))
    }

    /// Asks a server of this host until it answers with this part.
    pub fn until_answer(&self, question: &str, port: u16, part: &str) -> Done {
        let mut last = String::new();
        command::until(&format!("port {port} answers {part:?}"), soon(), || {
            last = ask(port, question).unwrap_or_else(|e| e);
            last.contains(part)
        })
        .map_err(|e| format!("{e}; last: {last:?}"))
    }

    /// Nobody answers there. Ask for what is there first: silence alone proves nothing.
    pub fn deaf(&self, from: From, address: &str) -> Done {
        let silent = self.lab.outside.from(from, || Ok(outside::is_deaf(address)))?;
        if silent {
            Ok(())
        } else {
            Err(format!("{address} answers {from:?}"))
        }
    }

    /// Asks from a container, until a page says this.
    pub fn reaches(&self, client: &str, address: &str, part: &str) -> Done {
        self.until(
            &format!("docker exec {client} timeout 3 wget -q -O - http://{address}/cgi-bin/who"),
            part,
        )
    }

    /// A container asks in vain, be it refused or not answered.
    pub fn cannot_reach(&self, client: &str, address: &str) -> Done {
        let o = self.sh(&format!(
            "docker exec {client} timeout 1 wget -q -O - http://{address}/cgi-bin/who"
        ))?;
        if o.code == 0 {
            return Err(format!("{client} reaches {address}: {:?}", o.stdout));
        }
        // Refused, or ended by `timeout`; everything else is no answer to the question.
        if [1, 124, 143].contains(&o.code) {
            Ok(())
        } else {
            Err(format!(
                "{client} asks {address}: exit code {}: {}",
                o.code, o.stderr
            ))
        }
    }

    /// The address of a container in its network, or in the one of a name.
    pub fn address(&self, name: &str) -> Result<String, String> {
        self.inspect(name, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
    }

    pub fn address_in(&self, name: &str, network: &str) -> Result<String, String> {
        self.inspect(
            name,
            &format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}"),
        )
    }

    pub fn gateway(&self, name: &str) -> Result<String, String> {
        self.inspect(name, "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}")
    }

    /// A look into a container.
    pub fn within(&self, name: &str, line: &str) -> Result<String, String> {
        self.must(&format!("docker exec {name} {line}"))
    }

    /// How an address is written that means all of IPv6: 20.10 wrote it bare.
    pub fn any_6(&self, port: u16) -> String {
        if self.is_docker() {
            format!(":::{port}")
        } else {
            format!("[::]:{port}")
        }
    }
}

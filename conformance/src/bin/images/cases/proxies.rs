//! Registries behind a proxy: what the environment says, and what the proxy says.
//!
//! May not: count on a name that cannot be looked up where the proxy is the one to look it up.

use std::process::Command;

use conformance::command::Outcome;

use crate::case::{Case, Need, Scene, case, has, is, refused};
use crate::lab;
use crate::proxy::{Proxy, Rules};
use crate::registry::{self, PLAIN, TLS};

/// What only the proxy knows: the plain registry by a name that is not loopback.
const BEHIND: &str = "behind.test:5000";
/// `some one`, `pass:w@rd`: as an address has it, and as a header.
const USERINFO: &str = "some%20one:pass%3Aw%40rd";
const LOGIN: &str = "c29tZSBvbmU6cGFzczp3QHJk";

pub fn cases() -> Vec<Case> {
    vec![
        case("proxy.https", &[Need::Brig], |s| {
            registry::trust(&s.lab.dir, TLS, true)?;
            let proxy = squid(Some(LOGIN))?;
            let reference = s.lab.tls.reference("many:1");
            let address = format!("http://{USERINFO}@{}", proxy.host);
            let pulled = through(s, &[("HTTPS_PROXY", &address)], &["pull", "-q", &reference])?;
            is("output", pulled.ok()?, &reference)?;
            let log = proxy.log();
            is("nothing went by", log.is_empty(), false)?;
            for line in log {
                is("what the proxy saw", line, format!("CONNECT {TLS} 200"))?;
            }
            Ok(())
        }),
        case("proxy.wrong-password", &[Need::Brig], |s| {
            registry::trust(&s.lab.dir, TLS, true)?;
            let proxy = squid(Some(LOGIN))?;
            let address = format!("http://some:body@{}", proxy.host);
            let variables = [("https_proxy", address.as_str()), ("http_proxy", &address)];
            let conf = insecure(s)?;
            for (host, times) in [(TLS, 1), (BEHIND, 2)] {
                let before = proxy.log().len();
                let mut all = variables.to_vec();
                all.push(("CONTAINERS_REGISTRIES_CONF", &conf));
                let refusal = through(s, &all, &["pull", "-q", &format!("{host}/many:1")])?;
                refused("pull", &refusal, &["proxy wants a user name and a password"])?;
                has("what is said", &refusal.stderr, &proxy.host)?;
                is("its lines", refusal.stderr.trim().lines().count(), 1)?;
                let asked = proxy.log().split_off(before);
                // To try again would be of no use; what may go in the clear is tried both ways.
                is("how often it was asked", asked.len(), times)?;
                is(
                    "who was let in",
                    asked.iter().any(|line| line.ends_with(" 200")),
                    false,
                )?;
            }
            Ok(())
        }),
        case("proxy.http", &[Need::Brig], |s| {
            // Down and up, in the form that proxies want: the tunnel that https would need is refused.
            s.lab.plain.forget("trip")?;
            let proxy = squid(Some(LOGIN))?;
            let address = format!("{USERINFO}@{}", proxy.host);
            let conf = insecure(s)?;
            let variables = [
                ("HTTP_PROXY", address.as_str()),
                ("HTTPS_PROXY", &address),
                ("CONTAINERS_REGISTRIES_CONF", &conf),
            ];
            let (from, to) = (format!("{BEHIND}/large:1"), format!("{BEHIND}/trip:1"));
            through(s, &variables, &["pull", "-q", &from])?.ok()?;
            is("id", s.id(&from)?, s.lab.fixtures.large.id())?;
            s.brig_must(&["tag", &from, &to])?;
            through(s, &variables, &["push", "-q", &to])?.ok()?;
            let pushed = s.lab.plain.digest("trip", "1").ok_or("it was not pushed")?;
            is("digest", pushed, &s.lab.fixtures.large.manifest.digest)?;
            for line in proxy.log() {
                let known = line == format!("CONNECT {BEHIND} 403")
                    || (line.contains(&format!(" http://{BEHIND}/v2/")) && line.ends_with(" 200"));
                is(&format!("the proxy understands {line}"), known, true)?;
            }
            Ok(())
        }),
        case("proxy.exceptions", &[Need::Brig], |s| {
            registry::trust(&s.lab.dir, TLS, true)?;
            let proxy = squid(Some(LOGIN))?;
            let address = format!("http://{}", proxy.host);
            for (n, none) in ["registry.test", "other,.test", "registry.test:5443", "*"]
                .iter()
                .enumerate()
            {
                let store = s.other_store(&format!("store-{n}"));
                let mut pull = s.command_at(&store);
                set(&mut pull, &[("HTTPS_PROXY", &address), ("NO_PROXY", none)]);
                lab::run(pull.args(["pull", "-q", &s.lab.tls.reference("many:1")]))?.ok()?;
            }
            // Loopback needs no exception.
            let plain = s.lab.plain.reference("small:1");
            through(
                s,
                &[("HTTP_PROXY", &address), ("HTTPS_PROXY", &address)],
                &["pull", "-q", &plain],
            )?
            .ok()?;
            is("what the proxy saw", proxy.log().join("\n"), "")?;
            let other = [
                ("HTTPS_PROXY", address.as_str()),
                ("NO_PROXY", "registry.test:443,gistry.test"),
            ];
            let refusal = through(s, &other, &["pull", "-q", &s.lab.tls.reference("many:1")])?;
            is("what is no exception", refusal.code, 1)?;
            is(
                "what the proxy saw",
                proxy.log().join("\n"),
                format!("CONNECT {TLS} 407"),
            )
        }),
        case("proxy.of-config-json", &[Need::Brig], |s| {
            // That one is for containers.
            registry::trust(&s.lab.dir, TLS, true)?;
            let proxy = squid(None)?;
            let text = format!(
                r#"{{"proxies":{{"default":{{"httpProxy":"http://{0}","httpsProxy":"http://{0}"}}}}}}"#,
                proxy.host
            );
            let dir = s.lab.home().join(".docker");
            std::fs::create_dir_all(&dir)
                .and_then(|()| std::fs::write(dir.join("config.json"), text))
                .map_err(|e| format!("{}: {e}", dir.display()))?;
            s.brig_must(&["pull", "-q", &s.lab.tls.reference("many:1")])?;
            is("what the proxy saw", proxy.log().join("\n"), "")
        }),
    ]
}

/// In squid's usual setting, but for the port of our https.
fn squid(login: Option<&'static str>) -> Result<Proxy, String> {
    Proxy::open(Rules {
        login,
        tunnels: &[TLS],
        names: &[(BEHIND, PLAIN)],
    })
}

/// A command whose environment names proxies.
fn through(s: &mut Scene, variables: &[(&str, &str)], words: &[&str]) -> Result<Outcome, String> {
    lab::run(set(&mut s.command(), variables).args(words))
}

fn set<'c>(command: &'c mut Command, variables: &[(&str, &str)]) -> &'c mut Command {
    command.envs(variables.iter().copied())
}

/// The file that allows http for the registry behind the proxy.
fn insecure(s: &Scene) -> Result<String, String> {
    let path = s.path("registries.conf");
    let text = format!("[registries.insecure]\nregistries = ['{BEHIND}']\n");
    std::fs::write(&path, text).map_err(|e| format!("{path}: {e}"))?;
    Ok(path)
}

//! What the kernel of a played host has of networks: devices, sockets that wait for somebody, the firewall.
//!
//! May not: know how anyone makes a network. Two surveys are compared.

use std::collections::BTreeSet;
use std::process::Command;

use crate::command::{self, USUAL};
use crate::daemon::find_program;
use crate::docker;
use crate::patience;
use crate::verdict::Done;

/// What the kernel has of a network, each as one line: devices, sockets that wait for somebody, what the firewall's maps hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Network(BTreeSet<String>);

pub fn survey() -> Result<Network, String> {
    let mut found = BTreeSet::new();
    for line in output("ip -o link show")?.lines() {
        let name = line.split(": ").nth(1).unwrap_or_default();
        found.insert(format!("device {}", name.split('@').next().unwrap_or_default()));
    }
    for (file, waits) in [
        ("tcp", " 0A "),
        ("tcp6", " 0A "),
        ("udp", " 07 "),
        ("udp6", " 07 "),
    ] {
        let text = std::fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        for line in text.lines().filter(|line| line.contains(waits)) {
            let local = line.split_whitespace().nth(1).unwrap_or_default();
            found.insert(format!("{file} socket {local}"));
        }
    }
    for line in firewall()? {
        found.insert(format!("rule {line}"));
    }
    Ok(Network(found))
}

/// The firewall, line by line, without the numbers that change when a packet passes. Elements of sets are lines of their own.
pub fn firewall() -> Result<Vec<String>, String> {
    if find_program("nft").is_none() {
        return Ok(Vec::new());
    }
    let text = without_guards(&output("nft -s list ruleset")?);
    // Elements stand in one list, broken as its width wants it.
    let joined = text.replace(",\n", ", ");
    let mut lines = Vec::new();
    for line in joined.lines().map(str::trim) {
        match line.strip_prefix("elements = {") {
            Some(list) => lines.extend(
                list.trim_end_matches('}')
                    .split(", ")
                    .map(|element| format!("element {}", element.trim())),
            ),
            None => lines.push(without_counters(line)),
        }
    }
    Ok(lines)
}

/// Without what keeps others out while the host forwards because of containers: that stays as long as the host forwards.
fn without_guards(text: &str) -> String {
    let mut kept = String::new();
    let mut is_guard = false;
    for line in text.lines() {
        if line.starts_with("table ") {
            is_guard = line.contains("brig-guard");
        }
        if !is_guard {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}

fn without_counters(line: &str) -> String {
    let mut words = Vec::new();
    let mut rest = line.split_whitespace();
    while let Some(word) = rest.next() {
        words.push(word);
        if word == "packets" || word == "bytes" {
            rest.next();
            words.push("N");
        }
    }
    words.join(" ")
}

/// Waits until nothing is there that was not there before; complains about what stays, and about what is missing.
pub fn check(before: &Network) -> Done {
    let mut problem = String::new();
    command::until("the host's network is as before", patience::seconds(10), || {
        problem = match survey() {
            Ok(now) => difference(before, &now),
            Err(e) => e,
        };
        problem.is_empty()
    })
    .map_err(|e| format!("{e}: {problem}"))
}

fn difference(before: &Network, now: &Network) -> String {
    let more: Vec<&str> = now.0.difference(&before.0).map(String::as_str).collect();
    let less: Vec<&str> = before.0.difference(&now.0).map(String::as_str).collect();
    let mut parts = Vec::new();
    if !more.is_empty() {
        parts.push(format!("left behind: {}", more.join(", ")));
    }
    if !less.is_empty() {
        parts.push(format!("gone: {}", less.join(", ")));
    }
    parts.join("; ")
}

/// What a program of the played host prints.
pub fn output(line: &str) -> Result<String, String> {
    let mut sh = Command::new("sh");
    sh.args(["-c", line]).env("PATH", docker::usual_path());
    command::run(&mut sh, "", USUAL)?
        .ok()
        .map_err(|e| format!("{line}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_not_part_of_a_rule() {
        assert_eq!(
            without_counters("  counter packets 12 bytes 720 drop"),
            "counter packets N bytes N drop"
        );
    }
}

//! Whether this machine forwards packets at all: net.ipv4.ip_forward and its like.
//!
//! Where it did not, it must not become a router for its neighbours because somebody runs a container: before it is switched on, a
//! chain of our own drops what is forwarded from one cable to another (`ip brig-guard`, `ip6 brig-guard`). Bridges are let through: ours,
//! and those of others that have come later and found forwarding on (Docker, libvirt); what they forbid, their own rules do. A file in RUN remembers it, for when somebody has flushed all rules.
//!
//! May not: switch on what is on.

use std::borrow::Cow;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Result};
use crate::nft::rule::{Act, ESTABLISHED, Field, RELATED, Rule, Test, lets_device_through};
use crate::nft::{Base, Family, Hook, Rules, Table, Transaction};

const CHAIN: &str = "forward";
const GUARD: &str = "brig-guard";
const BRIDGE: Cow<'static, [u8]> = Cow::Borrowed(b"bridge\0\0\0\0\0\0\0\0\0\0");
const LET_THROUGH: [Rule; 3] = [
    Rule::new("answers", &[Test::State(ESTABLISHED | RELATED)], Act::Accept),
    Rule::new(
        "from a bridge",
        &[Test::Equals(Field::InputKind, BRIDGE)],
        Act::Accept,
    ),
    Rule::new(
        "to a bridge",
        &[Test::Equals(Field::OutputKind, BRIDGE)],
        Act::Accept,
    ),
];

/// A version of the internet protocol, for which forwarding is switched separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    family: Family,
    setting: &'static str,
    record: &'static str,
}

pub const IPV4: Switch = Switch {
    family: Family::Ipv4,
    setting: "/proc/sys/net/ipv4/ip_forward",
    record: "guard-ip",
};
pub const IPV6: Switch = Switch {
    family: Family::Ipv6,
    setting: "/proc/sys/net/ipv6/conf/all/forwarding",
    record: "guard-ip6",
};

impl Switch {
    fn table(self) -> Table {
        Table {
            family: self.family,
            name: GUARD.to_string(),
        }
    }

    fn record(self, run: &Path) -> PathBuf {
        run.join("networks").join(self.record)
    }

    fn is_on(self) -> Result<bool> {
        let text = fs::read_to_string(self.setting).context(format!("failed to read {}", self.setting))?;
        Ok(text.trim() != "0")
    }

    /// What is wrong, in a sentence: it was on once.
    ///
    /// # Errors
    /// The setting cannot be read.
    pub fn check(self) -> Result<Option<String>> {
        let off = !self.is_on()?;
        Ok(off.then(|| {
            format!(
                "{} is 0, so nothing is forwarded to containers or from them",
                self.setting
            )
        }))
    }

    fn turn(self, on: bool) -> Result<()> {
        let value = if on { "1" } else { "0" };
        fs::write(self.setting, value).context(format!("failed to write {value} to {}", self.setting))
    }

    /// Packets are forwarded from here on; ours only, if nobody's were before. To be called before `foreign::open`.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn on(self, run: &Path, rules: &Rules) -> Result<()> {
        let record = self.record(run);
        let is_on = self.is_on()?;
        if is_on && !record.exists() {
            return Ok(());
        }
        if !rules.tables(self.family)?.iter().any(|t| t == GUARD) {
            let place = record.parent().unwrap_or(run);
            fs::create_dir_all(place).context(format!("failed to create {}", place.display()))?;
            fs::write(&record, "").context(format!("failed to write {}", record.display()))?;
            self.guard(rules)?;
        }
        if is_on {
            return Ok(());
        }
        if self == IPV6 {
            keep_listening_to_routers()?;
        }
        self.turn(true)
    }

    fn guard(self, rules: &Rules) -> Result<()> {
        let table = self.table();
        let base = Base {
            kind: "filter",
            hook: Hook::Forward,
            priority: 0,
            drops: true,
        };
        let mut whole = Transaction::default();
        // Somebody may have been quicker: then the first rule is there twice, and nothing is lost.
        whole.table(&table);
        whole.chain(&table, CHAIN, Some(&base));
        LET_THROUGH
            .iter()
            .for_each(|rule| whole.rule(&table, CHAIN, rule));
        rules.commit(whole)
    }

    /// Back to how it was, if nobody is let through the guard any more.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn off(self, run: &Path, rules: &Rules) -> Result<()> {
        let record = self.record(run);
        if !record.exists() {
            return Ok(());
        }
        let table = self.table();
        let inside = rules.rules(&table, CHAIN)?;
        if inside
            .iter()
            .any(|r| lets_device_through(&r.expressions).is_some())
        {
            return Ok(());
        }
        self.turn(false)?;
        let mut away = Transaction::default();
        away.table(&table);
        away.no_table(&table);
        rules.commit(away)?;
        match fs::remove_file(&record) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(e).context(format!("failed to remove {}", record.display()))
            }
            _ => Ok(()),
        }
    }
}

/// A machine that forwards IPv6 ignores routers' advertisements, and so loses its own default route, unless accept_ra is 2.
fn keep_listening_to_routers() -> Result<()> {
    const PLACE: &str = "/proc/sys/net/ipv6/conf";
    let failed = || format!("failed to look at {PLACE}");
    for entry in fs::read_dir(PLACE).context(failed())? {
        let setting = entry.context(failed())?.path().join("accept_ra");
        // A device may go at any time.
        if fs::read_to_string(&setting).is_ok_and(|text| text.trim() == "1") {
            match fs::write(&setting, "2") {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(e).context(format!("failed to write {}", setting.display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

//! systemd's manager: units are started, changed and stopped here.
//!
//! May not: wait for a job or an answer without a deadline, or leave a unit behind whose start has failed.

use super::bus;
use super::property::Property;
use super::{Bus, SystemdFacts, Unit, UnitPlan, is_slice};
use crate::dbus::{Answer, Call, Connection, Failure, Message, Patience, Value};
use crate::error::{Doing, Error, Result};
use std::time::Duration;

const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long systemd may take to answer: the default of its own client.
const ANSWERING: Duration = Duration::from_secs(25);
/// How long a job may take, as runc has it.
const JOB: Duration = Duration::from_secs(30);

/// A connection to a systemd.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    bus: Bus,
    /// For messages.
    whom: String,
    /// The number of the StartTransientUnit that is under way.
    starting: Option<u32>,
    /// A unit was asked for, and not refused.
    owner: bool,
}

impl Manager {
    /// Connects to the systemd behind a bus.
    pub fn connect(bus: Bus) -> Result<Manager> {
        let (connection, whom) = bus::connect(bus)?;
        Ok(Manager {
            connection,
            bus,
            whom,
            starting: None,
            owner: false,
        })
    }

    /// Asks what a plan has to know.
    pub fn probe_facts(&mut self) -> Result<SystemdFacts> {
        ask(&mut self.connection, self.bus).map_err(|e| explain(e, self.bus, &self.whom))
    }

    /// True when there may be a unit of ours; one that was there before us is not ours to stop.
    pub fn owns_unit(&self) -> bool {
        self.owner
    }

    /// Asks for the unit around a process, and does not wait.
    pub fn begin(&mut self, plan: &UnitPlan, pid: i32) -> Result<()> {
        let patience = Patience::of(ANSWERING);
        self.watch_jobs(&plan.unit.name, patience)?;
        self.owner = true;
        self.starting = Some(self.send_start(plan, pid, patience)?);
        Ok(())
    }

    /// Waits until the process is in the unit.
    ///
    /// # Errors
    /// runc's words, which engines show: `unable to start unit "U"`, `error creating systemd unit `U`: got `failed``.
    pub fn finish(&mut self, plan: &UnitPlan, pid: i32) -> Result<()> {
        let unit = &plan.unit.name;
        let started = match self.starting.take() {
            Some(serial) => self.await_start(plan, pid, serial),
            None => Err(Failure::from(Error::new("it was not asked for"))),
        };
        let job = started
            .map_err(|e| explain(e, self.bus, &self.whom))
            .doing(|| format!("unable to start unit {unit:?}"))?;
        let over = self.await_job(&job, &format!("the job that starts {unit}"));
        match over.as_deref() {
            Ok("done") => Ok(()),
            Ok(result) => {
                let e = Error::new(format!("error creating systemd unit `{unit}`: got `{result}`"));
                Err(e.and_also(self.reset_failed(unit)))
            }
            // Nobody answers any more: whoever clears up asks anew.
            Err(_) => over.map(drop),
        }
    }

    /// A unit of this name that has failed keeps the name until it is reset: once, we do that.
    fn await_start(&mut self, plan: &UnitPlan, pid: i32, serial: u32) -> Answer<String> {
        const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
        let first = self.connection.reply(serial, Patience::of(ANSWERING));
        let last = match first {
            Err(e) if e.is(EXISTS) => {
                self.reset_failed(&plan.unit.name)?;
                let patience = Patience::of(ANSWERING);
                let serial = self.send_start(plan, pid, patience)?;
                self.connection.reply(serial, patience)
            }
            other => other,
        };
        // What is refused is not made, whether the name is taken or the right is missing.
        self.owner = !matches!(last, Err(Failure::Refused { .. }));
        job_of(&last?)
    }

    fn send_start(&mut self, plan: &UnitPlan, pid: i32, patience: Patience) -> Result<u32> {
        let mut properties: Vec<Value> = plan.properties.iter().map(Property::to_value).collect();
        // A slice takes none; its process is put there through the file system.
        if !is_slice(&plan.unit.name) {
            let pids = Value::Array("u".into(), vec![Value::Uint32(pid as u32)]);
            properties.push(Property::new("PIDs", pids).to_value());
        }
        let body = [
            Value::Text(plan.unit.name.clone()),
            Value::Text("replace".into()),
            Value::Array("(sv)".into(), properties),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ];
        self.connection
            .send(&manager("StartTransientUnit", &body), patience)
    }

    /// Only with a subscriber systemd sends signals, and only those about our unit are to wake us. Before the job is asked
    /// for: it may be over before its answer is here.
    fn watch_jobs(&mut self, unit: &str, patience: Patience) -> Result<()> {
        // A unit's name holds no quotation mark.
        let rule = format!(
            "type='signal',sender='{SERVICE}',path='{OBJECT}',interface='{MANAGER}',member='JobRemoved',arg2='{unit}'"
        );
        self.connection.listen(&rule, patience)?;
        self.connection.post(&manager("Subscribe", &[]), patience)
    }

    /// How the job ended: `done`, `failed`, `canceled`, `timeout`, `dependency`, `skipped`.
    fn await_job(&mut self, job: &str, what: &str) -> Result<String> {
        let is_it = |m: &Message| {
            m.member == "JobRemoved"
                && m.path == OBJECT
                && m.body.get(1).and_then(Value::as_text) == Some(job)
        };
        let message = self.connection.signal(what, is_it, Patience::of(JOB))?;
        let result = message.body.get(3).and_then(Value::as_text);
        Ok(result.unwrap_or("nothing").to_string())
    }

    /// Changes properties until the unit ends.
    pub fn set_properties(&mut self, unit: &Unit, properties: &[Property]) -> Result<()> {
        if properties.is_empty() {
            return Ok(());
        }
        let body = [
            Value::Text(unit.name.clone()),
            Value::Bool(true), // not written to disk
            Value::Array("(sv)".into(), properties.iter().map(Property::to_value).collect()),
        ];
        self.call("SetUnitProperties", &body)
            .map_err(|e| explain(e, self.bus, &self.whom))
            .doing(|| format!("unable to set unit properties of {}", unit.name))
    }

    /// Moves a process into the unit's cgroup, or one below it. systemd has the right where a user has none: the way from a
    /// session to a unit leads through a cgroup that belongs to root.
    pub fn attach(&mut self, unit: &Unit, below: &str, pid: i32) -> Result<()> {
        let body = [
            Value::Text(unit.name.clone()),
            Value::Text(format!("/{}", below.trim_matches('/'))),
            Value::Array("u".into(), vec![Value::Uint32(pid as u32)]),
        ];
        self.call("AttachProcessesToUnit", &body)
            .map_err(|e| explain(e, self.bus, &self.whom))
            .doing(|| format!("unable to move process {pid} to {}", unit.name))
    }

    /// Ends the unit and forgets that it failed. One that is not there is fine.
    pub fn stop(&mut self, unit: &Unit) -> Result<()> {
        let patience = Patience::of(ANSWERING);
        self.watch_jobs(&unit.name, patience)?;
        let body = [Value::Text(unit.name.clone()), Value::Text("replace".into())];
        let answer = self.connection.call(&manager("StopUnit", &body), patience);
        let job = match answer.and_then(|body| job_of(&body)) {
            Err(e) if e.is("org.freedesktop.systemd1.NoSuchUnit") => return Ok(()),
            other => other
                .map_err(|e| explain(e, self.bus, &self.whom))
                .doing(|| format!("unable to stop unit {:?}", unit.name))?,
        };
        // However it ended: what is left of the cgroup is removed by us, and shows whether it could be.
        self.await_job(&job, &format!("the job that stops {}", unit.name))?;
        self.reset_failed(&unit.name)
    }

    /// Lets go of a unit that has failed. That there is none, or that it has not failed, is fine.
    fn reset_failed(&mut self, unit: &str) -> Result<()> {
        match self.call("ResetFailedUnit", &[Value::Text(unit.to_string())]) {
            Err(Failure::Broken(e)) => Err(e),
            Ok(()) | Err(Failure::Refused { .. }) => Ok(()),
        }
    }

    fn call(&mut self, member: &str, body: &[Value]) -> Answer<()> {
        let patience = Patience::of(ANSWERING);
        self.connection.call(&manager(member, body), patience).map(drop)
    }
}

fn manager<'a>(member: &'a str, body: &'a [Value]) -> Call<'a> {
    Call {
        destination: SERVICE,
        path: OBJECT,
        interface: MANAGER,
        member,
        body,
    }
}

fn job_of(body: &[Value]) -> Answer<String> {
    match body {
        [Value::Path(job)] => Ok(job.clone()),
        other => Err(Failure::from(Error::new(format!(
            "systemd answers {other:?} instead of a job"
        )))),
    }
}

/// Both questions go out before the first answer is waited for.
fn ask(connection: &mut Connection, bus: Bus) -> Answer<SystemdFacts> {
    let patience = Patience::of(ANSWERING);
    let serials = ["Version", "ControlGroup"]
        .map(|name| [MANAGER, name].map(|t| Value::Text(t.into())))
        .map(|body| {
            let call = Call {
                interface: "org.freedesktop.DBus.Properties",
                ..manager("Get", &body)
            };
            connection.send(&call, patience)
        });
    let [version, control_group] = serials.map(|serial| -> Answer<String> {
        let body = connection.reply(serial?, patience)?;
        Ok(body
            .first()
            .and_then(Value::as_text)
            .unwrap_or_default()
            .to_string())
    });
    let version = version?;
    Ok(SystemdFacts {
        bus,
        version: parse_version(&version)
            .ok_or_else(|| Error::new(format!("systemd calls itself version {version:?}")))?,
        control_group: control_group?,
    })
}

/// `252.39-1~deb12u1`, `v245.4-1.fc32`
fn parse_version(text: &str) -> Option<u32> {
    let text = text.trim_start_matches(['"', 'v']);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// A refusal with what to do about it.
fn explain(failure: Failure, bus: Bus, whom: &str) -> Error {
    let denied = ["InteractiveAuthorizationRequired", "AccessDenied", "AuthFailed"];
    let absent = ["ServiceUnknown", "NameHasNoOwner", "Spawn.ChildExited"];
    let Failure::Refused { name, .. } = &failure else {
        return failure.into();
    };
    let is_one = |list: &[&str]| {
        name.strip_prefix("org.freedesktop.DBus.Error.")
            .is_some_and(|n| list.contains(&n))
    };
    let hint = match bus {
        _ if is_one(&absent) => ": no systemd is behind this bus; use the cgroupfs driver",
        Bus::System if is_one(&denied) => {
            ": only root may manage the system's units; as an ordinary user run without --rootless=false, so that your own \
             systemd is asked"
        }
        Bus::User if is_one(&denied) => {
            ": this systemd is another user's; look at DBUS_SESSION_BUS_ADDRESS and XDG_RUNTIME_DIR"
        }
        _ => "",
    };
    Error::new(format!("{whom} refuses: {failure}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::systemd::IoWeights;
    use crate::dbus::peer::{reply, signal};
    use crate::dbus::{Peer, test_peer};

    #[test]
    fn versions() {
        for (text, version) in [
            ("252.39-1~deb12u1", Some(252)),
            ("v245.4-1.fc32", Some(245)),
            ("\"v239-1\"", Some(239)),
            ("260", Some(260)),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let refused = |name: &str, text: &str, bus: Bus| {
            let failure = Failure::Refused {
                name: name.into(),
                text: text.into(),
            };
            explain(failure, bus, "systemd (/x)").to_string()
        };
        let text = refused(
            "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
            "Interactive authentication required.",
            Bus::System,
        );
        assert!(
            text.starts_with("systemd (/x) refuses: Interactive authentication required.: only root may"),
            "{text}"
        );
        assert_eq!(
            refused(
                "org.freedesktop.systemd1.UnitExists",
                "Unit x exists.",
                Bus::System
            ),
            "systemd (/x) refuses: Unit x exists."
        );
    }

    /// A manager whose peer answers by `part`: what was called, the number of the call, what to send.
    fn managed(name: &str, part: fn(&Message) -> Vec<Vec<u8>>) -> (Manager, test_peer::Peer) {
        let peer = test_peer::Peer::play(name, part);
        let connection = Connection::open(
            peer.path(),
            Peer::Direct,
            "systemd (test)",
            Patience::of(Duration::from_secs(5)),
        );
        let manager = Manager {
            connection: connection.unwrap(),
            bus: Bus::System,
            whom: "systemd (test)".into(),
            starting: None,
            owner: false,
        };
        (manager, peer)
    }

    fn plan() -> UnitPlan {
        UnitPlan {
            unit: Unit {
                name: "x.scope".into(),
                bus: Bus::System,
            },
            properties: vec![Property::new("Delegate", Value::Bool(true))],
            late: Vec::new(),
            io_weights: IoWeights::default(),
        }
    }

    fn job(m: &Message) -> Vec<u8> {
        reply(true, m.serial, "", &[Value::Path("/job/1".into())])
    }

    fn over(job: &str, result: &str) -> Vec<u8> {
        let body = [
            Value::Uint32(1),
            Value::Path(job.into()),
            Value::Text("x.scope".into()),
            Value::Text(result.into()),
        ];
        signal(OBJECT, "JobRemoved", &body)
    }

    fn exists(m: &Message) -> Vec<u8> {
        let text = [Value::Text("Unit x.scope already exists.".into())];
        reply(false, m.serial, "org.freedesktop.systemd1.UnitExists", &text)
    }

    fn start(name: &str, part: fn(&Message) -> Vec<Vec<u8>>) -> (Result<()>, bool, Vec<String>) {
        let (mut manager, peer) = managed(name, part);
        let result = manager
            .begin(&plan(), 7)
            .and_then(|()| manager.finish(&plan(), 7));
        let owner = manager.owns_unit();
        drop(manager);
        (result, owner, peer.calls())
    }

    #[test]
    fn a_start_is_over_with_its_own_job() {
        let (result, owner, calls) = start("start", |m| match m.member.as_str() {
            // The signal overtakes the answer, and somebody else's job ends first.
            "StartTransientUnit" => vec![over("/job/0", "failed"), over("/job/1", "done"), job(m)],
            _ => vec![],
        });
        result.unwrap();
        assert!(owner);
        assert_eq!(calls, ["Subscribe", "StartTransientUnit"]);
    }

    #[test]
    fn a_failed_unit_is_cleared_once() {
        let (result, owner, calls) = start("exists", |m| match m.member.as_str() {
            "StartTransientUnit" if m.serial < 3 => vec![exists(m)],
            "StartTransientUnit" => vec![job(m), over("/job/1", "done")],
            "ResetFailedUnit" => vec![reply(true, m.serial, "", &[])],
            _ => vec![],
        });
        result.unwrap();
        assert!(owner);
        assert_eq!(
            calls,
            [
                "Subscribe",
                "StartTransientUnit",
                "ResetFailedUnit",
                "StartTransientUnit"
            ]
        );
        let (result, owner, _) = start("taken", |m| match m.member.as_str() {
            "StartTransientUnit" => vec![exists(m)],
            "ResetFailedUnit" => vec![reply(true, m.serial, "", &[])],
            _ => vec![],
        });
        assert!(!owner);
        assert_eq!(
            result.unwrap_err().to_string(),
            "unable to start unit \"x.scope\": systemd (test) refuses: Unit x.scope already exists."
        );
    }

    #[test]
    fn a_failed_job_leaves_no_unit() {
        let (result, _, calls) = start("failed", |m| match m.member.as_str() {
            "StartTransientUnit" => vec![job(m), over("/job/1", "failed")],
            "ResetFailedUnit" => vec![reply(true, m.serial, "", &[])],
            _ => vec![],
        });
        assert_eq!(
            result.unwrap_err().to_string(),
            "error creating systemd unit `x.scope`: got `failed`"
        );
        assert_eq!(calls.last().map(String::as_str), Some("ResetFailedUnit"));
    }

    #[test]
    fn stopping_what_is_not_there_is_fine() {
        let (mut manager, peer) = managed("stop-none", |m| match m.member.as_str() {
            "StopUnit" => vec![reply(false, m.serial, "org.freedesktop.systemd1.NoSuchUnit", &[])],
            _ => vec![],
        });
        manager.stop(&plan().unit).unwrap();
        drop(manager);
        assert_eq!(peer.calls(), ["Subscribe", "StopUnit"]);
        let (mut manager, peer) = managed("stop", |m| match m.member.as_str() {
            "StopUnit" => vec![job(m), over("/job/1", "done")],
            "ResetFailedUnit" => vec![reply(false, m.serial, "org.freedesktop.systemd1.NoSuchUnit", &[])],
            _ => vec![],
        });
        manager.stop(&plan().unit).unwrap();
        drop(manager);
        assert_eq!(peer.calls(), ["Subscribe", "StopUnit", "ResetFailedUnit"]);
    }

    #[test]
    fn a_systemd_that_dies_is_named() {
        let (result, owner, _) = start("dies", |m| match m.member.as_str() {
            "StartTransientUnit" => vec![job(m), test_peer::HANG_UP.to_vec()],
            _ => vec![],
        });
        assert_eq!(
            result.unwrap_err().to_string(),
            "systemd (test) has closed the connection"
        );
        assert!(owner);
    }
}

//! Capabilities: the five sets. What exec does to them stands in exec.rs and cve.rs.

use serde_json::json;

use crate::case::{Case, Step};
use crate::world::World;

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_BIND: u64 = 1 << 10;
const NET_RAW: u64 = 1 << 13;

fn sets(w: &mut World, want: [u64; 5]) -> crate::world::Ended {
    for (name, mask) in ["bounding", "effective", "permitted", "inheritable", "ambient"]
        .iter()
        .zip(want)
    {
        w.fact(&format!("/caps/{name}"), mask)?;
    }
    Ok(())
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "caps.bounding-effective-permitted",
        clause: "config.md#linux-process capabilities",
        config: |s| {
            s.set("/process/capabilities", json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"]
        }))
        },
        expect: |w| sets(w, [CHOWN | KILL, CHOWN | KILL, CHOWN | KILL, 0, 0]),
        ..Case::RUN
    },
    Case {
        id: "caps.all-five-sets",
        clause: "config.md#linux-process capabilities",
        config: |s| s.caps(&["CAP_NET_RAW", "CAP_KILL"]),
        expect: |w| sets(w, [NET_RAW | KILL; 5]),
        ..Case::RUN
    },
    Case {
        id: "caps.empty",
        clause: "config.md#linux-process capabilities",
        config: |s| s.caps(&[]),
        expect: |w| sets(w, [0; 5]),
        ..Case::RUN
    },
    Case {
        id: "caps.absent",
        clause: "config.md#linux-process capabilities: what is not listed is not held",
        config: |s| s.unset("/process/capabilities"),
        expect: |w| {
            let report = w.report()?;
            w.eq("ambient", &report["caps"]["ambient"], 0);
            w.eq("inheritable", &report["caps"]["inheritable"], 0);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "caps.ambient-for-a-user",
        clause: "capabilities(7): ambient capabilities survive exec by a user who is not root",
        config: |s| {
            s.set("/process/user", json!({"uid": 1000, "gid": 1000}));
            s.caps(&["CAP_NET_BIND_SERVICE"]);
        },
        expect: |w| sets(w, [NET_BIND; 5]),
        ..Case::RUN
    },
    Case {
        id: "caps.user-without-ambient-has-none",
        clause: "capabilities(7): permitted and effective are lost at exec by a user who is not root",
        config: |s| {
            s.set("/process/user", json!({"uid": 1000, "gid": 1000}));
            s.set(
                "/process/capabilities",
                json!({
                    "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]
                }),
            );
        },
        expect: |w| sets(w, [KILL, 0, 0, 0, 0]),
        ..Case::RUN
    },
    Case {
        id: "caps.unknown-name",
        clause: "config.md#linux-process capabilities: an unknown value is ignored with a warning",
        config: |s| s.caps(&["CAP_KILL", "CAP_FANTASY"]),
        steps: &[Step::Run],
        expect: |w| w.fact("/caps/bounding", KILL),
        ..Case::RUN
    },
    Case {
        id: "caps.securebits-are-default",
        clause: "safety: keepcaps used on the way does not stay",
        config: |s| s.set("/process/user", json!({"uid": 1000, "gid": 1000})),
        expect: |w| w.fact("/securebits", 0),
        ..Case::RUN
    },
    Case {
        id: "caps.chown-is-enforced",
        clause: "capabilities(7)",
        config: |s| {
            s.caps(&["CAP_KILL"]);
            s.args(&["chown", "/etc/passwd", "7"]);
        },
        expect: |w| w.errno(&["chown"], libc::EPERM),
        ..Case::RUN
    },
];

//! Device rules: the list of config.json reduced to what the kernel keeps, then spoken to v1 (files) or v2 (eBPF).
//!
//! Pure: no system calls. The meaning of a list is that of the v1 device controller, on v2 as well: one default for
//! everything, and exceptions to it, each for an exact (type, major, minor) with wildcards. A rule that would cut a
//! hole into a wildcard exception cannot be kept there (v1 ignores it in silence), so it is refused.

use crate::config;
use crate::problems::Problems;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use sys::bpf::Insn;

/// Which device nodes a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceType {
    /// `b`
    Block,
    /// `c`
    Char,
}

impl DeviceType {
    fn letter(self) -> char {
        match self {
            DeviceType::Block => 'b',
            DeviceType::Char => 'c',
        }
    }
}

/// A set of `r`, `w`, `m`.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Access(u8);

impl Access {
    /// mknod(2); the bits are BPF_DEVCG_ACC_*.
    pub const MKNOD: Access = Access(1);
    /// Opening for reading.
    pub const READ: Access = Access(2);
    /// Opening for writing.
    pub const WRITE: Access = Access(4);
    /// All three.
    pub const ALL: Access = Access(7);

    /// Letters in any order; anything else is `None`.
    pub fn parse(text: &str) -> Option<Access> {
        text.chars().try_fold(Access(0), |set, c| {
            let bit = match c {
                'r' => Access::READ,
                'w' => Access::WRITE,
                'm' => Access::MKNOD,
                _ => return None,
            };
            Some(set.or(bit))
        })
    }

    /// BPF_DEVCG_ACC_* bits.
    pub fn bits(self) -> u8 {
        self.0
    }

    fn or(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    fn overlaps(self, other: Access) -> bool {
        self.0 & other.0 != 0
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Access::READ, "r"), (Access::WRITE, "w"), (Access::MKNOD, "m")] {
            if self.overlaps(bit) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which nodes: type and numbers, `None` meaning any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Block or character.
    pub kind: DeviceType,
    /// Major number.
    pub major: Option<u32>,
    /// Minor number.
    pub minor: Option<u32>,
}

impl Node {
    const fn char(major: Option<u32>, minor: Option<u32>) -> Node {
        Node {
            kind: DeviceType::Char,
            major,
            minor,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or("*".to_string(), |n| n.to_string());
        write!(
            f,
            "{} {}:{}",
            self.kind.letter(),
            number(self.major),
            number(self.minor)
        )
    }
}

/// Whether devices without an exception may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// No.
    #[default]
    Deny,
    /// Yes.
    Allow,
}

impl Verdict {
    fn of(allow: bool) -> Verdict {
        if allow { Verdict::Allow } else { Verdict::Deny }
    }

    fn opposite(self) -> Verdict {
        Verdict::of(self == Verdict::Deny)
    }
}

/// The reduced list: a default, and exceptions of the opposite verdict.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DevicePolicy {
    default: Verdict,
    exceptions: BTreeMap<Node, Access>,
}

/// Serialised as the lines of `devices.list`, with the default in front.
impl Serialize for DevicePolicy {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let lines: Vec<String> = self.exceptions.iter().map(|(n, a)| format!("{n} {a}")).collect();
        let mut out = s.serialize_struct("DevicePolicy", 2)?;
        out.serialize_field("default", &self.default)?;
        out.serialize_field("exceptions", &lines)?;
        out.end()
    }
}

/// A change of a v1 device cgroup: one write into `devices.allow` or `devices.deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Change {
    /// Which file.
    pub verdict: Verdict,
    /// The line.
    pub line: String,
}

impl V1Change {
    /// The file that takes the line.
    pub fn file(&self) -> &'static str {
        match self.verdict {
            Verdict::Allow => "devices.allow",
            Verdict::Deny => "devices.deny",
        }
    }
}

/// What every container may use, whatever its configuration says: making any node (using it is another matter),
/// null zero full random urandom tty, the pty multiplexer and ptys, tun.
pub const ALWAYS_ALLOWED: [(Node, Access); 11] = [
    (Node::char(None, None), Access::MKNOD),
    (
        Node {
            kind: DeviceType::Block,
            major: None,
            minor: None,
        },
        Access::MKNOD,
    ),
    (Node::char(Some(1), Some(3)), Access::ALL),
    (Node::char(Some(1), Some(8)), Access::ALL),
    (Node::char(Some(1), Some(7)), Access::ALL),
    (Node::char(Some(5), Some(0)), Access::ALL),
    (Node::char(Some(1), Some(5)), Access::ALL),
    (Node::char(Some(1), Some(9)), Access::ALL),
    (Node::char(Some(136), None), Access::ALL),
    (Node::char(Some(5), Some(2)), Access::ALL),
    (Node::char(Some(10), Some(200)), Access::ALL),
];

/// A rule that the reduced list cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    node: Node,
    access: Access,
    wildcard: Node,
    held: Access,
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "device rule \"{} {}\" not supported: it cuts a hole into the rule \"{} {}\" before it",
            self.node, self.access, self.wildcard, self.held
        )
    }
}

impl DevicePolicy {
    /// One verdict for every device.
    pub fn all(default: Verdict) -> DevicePolicy {
        DevicePolicy {
            default,
            exceptions: BTreeMap::new(),
        }
    }

    /// The verdict for devices that have no exception.
    pub fn default_verdict(&self) -> Verdict {
        self.default
    }

    /// The nodes that the opposite verdict holds for.
    pub fn exceptions(&self) -> impl Iterator<Item = (&Node, &Access)> {
        self.exceptions.iter()
    }

    /// True when a missing device filter would change nothing that matters: everything is allowed.
    pub fn allows_everything(&self) -> bool {
        self.default == Verdict::Allow && self.exceptions.is_empty()
    }

    /// Reads `devices.list` of a v1 cgroup.
    pub fn parse_v1_list(text: &str) -> Option<DevicePolicy> {
        let mut out = DevicePolicy::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
            // The kernel shows only one line for a cgroup whose default is to allow, and hides its exceptions.
            if kind == "a" {
                return Some(DevicePolicy::all(Verdict::Allow));
            }
            let (major, minor) = numbers.split_once(':')?;
            let number = |n: &str| match n {
                "*" => Some(None),
                n => n.parse().ok().map(Some),
            };
            let node = Node {
                kind: parse_type(kind)?,
                major: number(major)?,
                minor: number(minor)?,
            };
            out.exceptions.insert(node, Access::parse(access)?);
        }
        Some(out)
    }

    /// Adds a rule about some nodes.
    ///
    /// # Errors
    /// [`Hole`] when it takes a part out of a wildcard exception; the policy is unchanged then.
    pub fn apply(&mut self, node: Node, access: Access, verdict: Verdict) -> Result<(), Hole> {
        if verdict != self.default {
            let held = self.exceptions.entry(node).or_default();
            *held = held.or(access);
            return Ok(());
        }
        for (major, minor) in [(None, node.minor), (node.major, None), (None, None)] {
            let wildcard = Node { major, minor, ..node };
            let held = self.exceptions.get(&wildcard).copied().unwrap_or_default();
            if wildcard != node && held.overlaps(access) {
                return Err(Hole {
                    node,
                    access,
                    wildcard,
                    held,
                });
            }
        }
        if let Some(held) = self.exceptions.get_mut(&node) {
            *held = held.without(access);
            if held.is_empty() {
                self.exceptions.remove(&node);
            }
        }
        Ok(())
    }

    /// The writes that turn `self` (what a v1 cgroup has) into `target`.
    pub fn changes_to(&self, target: &DevicePolicy) -> Vec<V1Change> {
        let mut out = Vec::new();
        let mut now = self.clone();
        // The exceptions of an allowing cgroup cannot be read back, so such a cgroup is always reset.
        if now.default != target.default || target.default == Verdict::Allow && now != *target {
            out.push(V1Change {
                verdict: target.default,
                line: "a".to_string(),
            });
            now = DevicePolicy::all(target.default);
        }
        let lost = now
            .exceptions
            .iter()
            .map(|(node, access)| (node, access.without(target.access_of(node))));
        let gained = target
            .exceptions
            .iter()
            .map(|(node, access)| (node, access.without(now.access_of(node))));
        let with = |verdict: Verdict| {
            move |(node, access): (&Node, Access)| {
                (!access.is_empty()).then(|| V1Change {
                    verdict,
                    line: format!("{node} {access}"),
                })
            }
        };
        out.extend(lost.filter_map(with(target.default)));
        out.extend(gained.filter_map(with(target.default.opposite())));
        out
    }

    fn access_of(&self, node: &Node) -> Access {
        self.exceptions.get(node).copied().unwrap_or_default()
    }
}

fn parse_type(word: &str) -> Option<DeviceType> {
    match word {
        "b" => Some(DeviceType::Block),
        "c" => Some(DeviceType::Char),
        _ => None,
    }
}

/// The container's policy: everything denied, then the rules of `linux.resources.devices` in order, then what is
/// always allowed.
pub fn plan_devices(rules: &[config::DeviceRule], problems: &mut Problems) -> DevicePolicy {
    let mut policy = DevicePolicy::default();
    for (n, rule) in rules.iter().enumerate() {
        let place = format!("/linux/resources/devices/{n}");
        add_rule(&mut policy, rule, &place, problems);
    }
    for (node, access) in ALWAYS_ALLOWED {
        if policy.apply(node, access, Verdict::Allow).is_err() {
            continue; // the configuration has denied a wildcard by name: its stricter word stands
        }
    }
    policy
}

fn add_rule(policy: &mut DevicePolicy, rule: &config::DeviceRule, place: &str, problems: &mut Problems) {
    let verdict = Verdict::of(rule.allow);
    // `a` is no access of its own, but what v1 rules for everything are often written with (`rwa`): runc takes the letters
    // beside it.
    let access = match Access::parse(&rule.access.replace('a', "")) {
        Some(a) if !a.is_empty() => a,
        Some(_) => return problems.add(format!("{place}/access"), "device access field cannot be empty"),
        None => {
            return problems.add(
                format!("{place}/access"),
                format!(
                    "invalid device access {:?}: only r, w and m are known",
                    rule.access
                ),
            );
        }
    };
    let kinds: &[DeviceType] = match rule.kind.as_str() {
        // Type `a` means all devices with all access; the kernel ignores whatever else the rule says.
        "" | "a" => {
            *policy = DevicePolicy::all(verdict);
            return;
        }
        "b" => &[DeviceType::Block],
        "c" | "u" => &[DeviceType::Char],
        other => {
            return problems.add(
                format!("{place}/type"),
                format!("invalid cgroup device type {other:?}"),
            );
        }
    };
    let major = number(rule.major, &format!("{place}/major"), problems);
    let minor = number(rule.minor, &format!("{place}/minor"), problems);
    if let (Some(major), Some(minor)) = (major, minor) {
        for kind in kinds {
            let node = Node {
                kind: *kind,
                major,
                minor,
            };
            if let Err(hole) = policy.apply(node, access, verdict) {
                problems.add(place, hole);
            }
        }
    }
}

/// `None` after a problem; `Some(None)` is the wildcard (absent or -1).
fn number(value: Option<i64>, place: &str, problems: &mut Problems) -> Option<Option<u32>> {
    match value {
        None | Some(-1) => Some(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) => Some(Some(n)),
            Err(_) => {
                problems.add(place, format!("device number {n} is out of range"));
                None
            }
        },
    }
}

/// The filter for `policy` as instructions: 0 refuses, 1 lets pass.
///
/// An allowing exception must cover the whole access that is asked for; a denying one bites when it shares any part of
/// it, or an open for reading AND writing would slip past a rule that denies writing.
///
/// Exceptions of one type and major number share their comparisons: the kernel follows every way through a program before
/// it takes it, so a branch costs more there than an instruction.
pub fn compile(policy: &DevicePolicy) -> Vec<Insn> {
    // r1 scratch (the context pointer is not needed after the loads), r2 type, r3 access, r4 major, r5 minor.
    let mut program = vec![
        insn(LDX_W, 2, 1, 0, 0),
        insn(MOV_X, 3, 2, 0, 0),
        insn(RSH_K, 3, 0, 0, 16),
        insn(AND_K, 2, 0, 0, 0xffff),
        insn(LDX_W, 4, 1, 4, 0),
        insn(LDX_W, 5, 1, 8, 0),
    ];
    let exceptions: Vec<(Node, Access)> = policy.exceptions.iter().map(|(n, a)| (*n, *a)).collect();
    for same in exceptions.chunk_by(|(a, _), (b, _)| (a.kind, a.major) == (b.kind, b.major)) {
        for group in same.chunks(MOST_IN_GROUP) {
            program.extend(compile_group(policy.default, group));
        }
    }
    program.extend(verdict_block(policy.default));
    program
}

/// A jump reaches 32767 instructions; an exception takes at most six.
const MOST_IN_GROUP: usize = 1000;

/// Exceptions of one type and major number.
fn compile_group(default: Verdict, group: &[(Node, Access)]) -> Vec<Insn> {
    let Some((first, _)) = group.first() else {
        return Vec::new();
    };
    let kind = match first.kind {
        DeviceType::Block => 1,
        DeviceType::Char => 2,
    };
    // Numbers are compared as 32-bit patterns.
    let mut conditions = vec![insn(JNE_K, 2, 0, 0, kind)];
    conditions.extend(first.major.map(|n| insn(JNE_K, 4, 0, 0, n as i32)));
    let mut body = Vec::new();
    let mut whole = Vec::new();
    for (node, access) in group {
        match node.minor {
            Some(minor) if *access == Access::ALL => whole.push(minor),
            minor => body.extend(compile_exception(default, minor, *access)),
        }
    }
    body.extend(compile_whole(default, &whole));
    guard(conditions, body)
}

/// One exception, where type and major number fit.
fn compile_exception(default: Verdict, minor: Option<u32>, access: Access) -> Vec<Insn> {
    let mut conditions = Vec::new();
    if access != Access::ALL {
        conditions.push(insn(MOV_X, 1, 3, 0, 0));
        conditions.push(insn(AND_K, 1, 0, 0, i32::from(access.bits())));
        conditions.push(match default {
            Verdict::Deny => insn(JNE_X, 1, 3, 0, 0),
            Verdict::Allow => insn(JEQ_K, 1, 0, 0, 0),
        });
    }
    conditions.extend(minor.map(|n| insn(JNE_K, 5, 0, 0, n as i32)));
    guard(conditions, verdict_block(default.opposite()).to_vec())
}

/// Minor numbers for which every access is excepted: all but the last jump to the one verdict, which the last falls into.
fn compile_whole(default: Verdict, minors: &[u32]) -> Vec<Insn> {
    let Some((last, others)) = minors.split_last() else {
        return Vec::new();
    };
    let mut block: Vec<Insn> = (others.iter().enumerate())
        .map(|(at, minor)| insn(JEQ_K, 5, 0, (others.len() - at) as i16, *minor as i32))
        .collect();
    block.extend(compile_exception(default, Some(*last), Access::ALL));
    block
}

/// `body`, unless a jump among the conditions leads behind it.
fn guard(mut conditions: Vec<Insn>, body: Vec<Insn>) -> Vec<Insn> {
    let end = conditions.len() + body.len();
    for (at, i) in conditions.iter_mut().enumerate() {
        if [JNE_K, JNE_X, JEQ_K].contains(&i.code) {
            i.off = (end - at - 1) as i16;
        }
    }
    conditions.extend(body);
    conditions
}

fn verdict_block(verdict: Verdict) -> [Insn; 2] {
    [
        insn(MOV_K, 0, 0, 0, i32::from(verdict == Verdict::Allow)),
        insn(EXIT, 0, 0, 0, 0),
    ]
}

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn {
        code,
        registers: dst | src << 4,
        off,
        imm,
    }
}

// Opcodes of Documentation/bpf/standardization/instruction-set.rst: 32-bit arithmetic and jumps (kernel 5.1).
const LDX_W: u8 = 0x61;
const MOV_X: u8 = 0xbc;
const MOV_K: u8 = 0xb4;
const AND_K: u8 = 0x54;
const RSH_K: u8 = 0x74;
const JEQ_K: u8 = 0x16;
const JNE_K: u8 = 0x56;
const JNE_X: u8 = 0x5e;
const EXIT: u8 = 0x95;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would: (type 1 block / 2 char, access bits, major, minor).
    fn interpret(program: &[Insn], ask: (u32, u32, u32, u32)) -> u32 {
        let context = [ask.1 << 16 | ask.0, ask.2, ask.3];
        let mut r = [0u32; 11];
        let mut at = 0usize;
        for _ in 0..100_000 {
            let i = program[at];
            let (dst, src) = ((i.registers & 15) as usize, (i.registers >> 4) as usize);
            let mut jump = false;
            match i.code {
                LDX_W => r[dst] = context[i.off as usize / 4],
                MOV_X => r[dst] = r[src],
                MOV_K => r[dst] = i.imm as u32,
                AND_K => r[dst] &= i.imm as u32,
                RSH_K => r[dst] >>= i.imm,
                JEQ_K => jump = r[dst] == i.imm as u32,
                JNE_K => jump = r[dst] != i.imm as u32,
                JNE_X => jump = r[dst] != r[src],
                EXIT => return r[0],
                other => panic!("opcode {other:#x}"),
            }
            at += 1 + if jump { i.off as usize } else { 0 };
        }
        panic!("no end");
    }

    fn rule(allow: bool, text: &str) -> config::DeviceRule {
        let mut words = text.split_whitespace();
        let kind = words.next().unwrap().to_string();
        let (major, minor) = words.next().unwrap_or("*:*").split_once(':').unwrap();
        config::DeviceRule {
            allow,
            kind,
            major: major.parse().ok(),
            minor: minor.parse().ok(),
            access: words.next().unwrap_or("rwm").to_string(),
        }
    }

    fn policy(rules: &[config::DeviceRule]) -> DevicePolicy {
        let mut p = Problems::default();
        let out = plan_devices(rules, &mut p);
        assert!(p.is_empty(), "{p:?}");
        out
    }

    const BLOCK: u32 = 1;
    const CHAR: u32 = 2;
    const M: u32 = 1;
    const R: u32 = 2;
    const W: u32 = 4;

    #[test]
    fn without_rules_only_the_usual_devices_pass() {
        let program = compile(&policy(&[]));
        for (ask, pass) in [
            ((CHAR, R | W, 1, 3), 1),
            ((CHAR, R | W | M, 1, 9), 1),
            ((CHAR, M, 240, 7), 1),
            ((BLOCK, M, 8, 0), 1),
            ((CHAR, R, 240, 7), 0),
            ((CHAR, R | M, 240, 7), 0),
            ((BLOCK, R, 8, 0), 0),
            ((BLOCK, R, 1, 3), 0),
            ((CHAR, R | W, 136, 4711), 1),
            ((CHAR, R, 10, 200), 1),
            ((CHAR, R, 10, 229), 0),
            ((CHAR, R, 1, 1), 0),
        ] {
            assert_eq!(interpret(&program, ask), pass, "{ask:?}");
        }
    }

    #[test]
    fn the_last_word_counts() {
        let p = policy(&[
            rule(false, "a"),
            rule(true, "c 10:229 rw"),
            rule(true, "b 8:* r"),
            rule(false, "c 10:229 w"),
        ]);
        let program = compile(&p);
        for (ask, pass) in [
            ((CHAR, R, 10, 229), 1),
            ((CHAR, W, 10, 229), 0),
            ((CHAR, R | W, 10, 229), 0),
            ((BLOCK, R, 8, 3), 1),
            ((BLOCK, R | W, 8, 3), 0),
        ] {
            assert_eq!(interpret(&program, ask), pass, "{ask:?}");
        }
    }

    #[test]
    fn a_denial_bites_on_any_part_of_the_access() {
        let program = compile(&policy(&[rule(true, "a"), rule(false, "b 8:0 w")]));
        assert_eq!(interpret(&program, (BLOCK, R | W, 8, 0)), 0);
        assert_eq!(interpret(&program, (BLOCK, R, 8, 0)), 1);
        assert_eq!(interpret(&program, (BLOCK, R | W, 8, 1)), 1);
        assert_eq!(interpret(&program, (CHAR, R | W, 8, 0)), 1);
    }

    /// What the list of exceptions says, without a program.
    fn judge(policy: &DevicePolicy, (kind, access, major, minor): (u32, u32, u32, u32)) -> u32 {
        let hit = policy.exceptions.iter().any(|(node, a)| {
            let fits = |n: Option<u32>, asked: u32| n.is_none_or(|n| n == asked);
            let kinds = if node.kind == DeviceType::Block {
                BLOCK
            } else {
                CHAR
            };
            let covered = match policy.default {
                Verdict::Deny => access & !u32::from(a.bits()) == 0,
                Verdict::Allow => access & u32::from(a.bits()) != 0,
            };
            kinds == kind && fits(node.major, major) && fits(node.minor, minor) && covered
        });
        u32::from(hit == (policy.default == Verdict::Deny))
    }

    #[test]
    fn the_program_says_what_the_list_says() {
        let numbers = ["1:1", "1:2", "1:3", "1:*", "2:1", "*:1", "*:*", "-1:2"];
        let mut seed = 7u32;
        let mut next = |n: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize % n
        };
        let mut judged = 0;
        for _ in 0..400 {
            let rules: Vec<config::DeviceRule> = (0..next(9))
                .map(|_| {
                    let access = ["r", "w", "m", "rw", "rwm", "rwm", "rwm"][next(7)];
                    let kind = ["b", "c", "c", "a"][next(4)];
                    rule(next(2) == 0, &format!("{kind} {} {access}", numbers[next(8)]))
                })
                .collect();
            let mut problems = Problems::default();
            let policy = plan_devices(&rules, &mut problems);
            if !problems.is_empty() {
                continue;
            }
            let program = compile(&policy);
            for kind in [BLOCK, CHAR] {
                for access in 1..8 {
                    for (major, minor) in (0..4).flat_map(|a| (0..5).map(move |b| (a, b))) {
                        let ask = (kind, access, major, minor);
                        assert_eq!(interpret(&program, ask), judge(&policy, ask), "{rules:?} {ask:?}");
                        judged += 1;
                    }
                }
            }
        }
        assert!(judged > 10_000, "only {judged}");
    }

    #[test]
    fn a_group_may_be_larger_than_a_jump() {
        let mut rules = vec![rule(false, "a")];
        rules.extend((0..9000).map(|n| rule(true, &format!("c 240:{n} rw"))));
        let policy = policy(&rules);
        let program = compile(&policy);
        for (ask, pass) in [
            ((CHAR, R, 240, 8999), 1),
            ((CHAR, R, 240, 9000), 0),
            ((BLOCK, R, 240, 1), 0),
        ] {
            assert_eq!(interpret(&program, ask), pass, "{ask:?}");
        }
    }

    #[test]
    fn privileged_is_recognised() {
        assert!(policy(&[rule(false, "a"), rule(true, "a")]).allows_everything());
        assert!(!policy(&[rule(true, "a"), rule(false, "c 1:1 r")]).allows_everything());
        assert!(!policy(&[]).allows_everything());
    }

    #[test]
    fn holes_are_refused_with_their_place() {
        let mut p = Problems::default();
        plan_devices(
            &[
                rule(true, "c 10:* rw"),
                rule(false, "c 10:229 r"),
                rule(false, "c 10:229 m"),
            ],
            &mut p,
        );
        let all: Vec<String> = p.iter().map(|p| format!("{} {}", p.place, p.text)).collect();
        assert_eq!(
            all,
            [
                "/linux/resources/devices/1 device rule \"c 10:229 r\" not supported: it cuts a hole into the rule \"c 10:* rw\" before it"
            ]
        );
    }

    #[test]
    fn bad_rules_are_all_named() {
        let mut p = Problems::default();
        let mut big = rule(true, "c 1:1 r");
        big.major = Some(1 << 32);
        big.minor = Some(-2);
        plan_devices(
            &[
                rule(true, "x 1:1 r"),
                rule(true, "c 1:1 rx"),
                big,
                config::DeviceRule::default(),
            ],
            &mut p,
        );
        let places: Vec<&str> = p.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(
            places,
            [
                "/linux/resources/devices/0/type",
                "/linux/resources/devices/1/access",
                "/linux/resources/devices/2/major",
                "/linux/resources/devices/2/minor",
                "/linux/resources/devices/3/access",
            ]
        );
    }

    fn lines(from: &DevicePolicy, to: &DevicePolicy) -> Vec<String> {
        from.changes_to(to)
            .iter()
            .map(|c| format!("{} {}", c.file(), c.line))
            .collect()
    }

    #[test]
    fn v1_writes_are_few() {
        let open = DevicePolicy::parse_v1_list("a *:* rwm\n").unwrap();
        let narrow = policy(&[rule(false, "a"), rule(true, "c 10:229 rw")]);
        let first = lines(&open, &narrow);
        assert_eq!(first[0], "devices.deny a");
        assert_eq!(first.len(), 1 + ALWAYS_ALLOWED.len() + 1);
        assert!(
            first.contains(&"devices.allow c 10:229 rw".to_string()),
            "{first:?}"
        );
        assert_eq!(lines(&open, &open), Vec::<String>::new());
        assert_eq!(lines(&narrow, &narrow), Vec::<String>::new());
        let other = policy(&[rule(true, "c 10:229 r"), rule(true, "b 7:0 r")]);
        assert_eq!(
            lines(&narrow, &other),
            ["devices.deny c 10:229 w", "devices.allow b 7:0 r"]
        );
        assert_eq!(lines(&narrow, &open), ["devices.allow a"]);
    }

    #[test]
    fn what_the_kernel_lists_is_what_was_planned() {
        let p = policy(&[rule(true, "c 10:229 rw"), rule(true, "b *:3 r")]);
        let listed: String = p.exceptions.iter().map(|(n, a)| format!("{n} {a}\n")).collect();
        assert_eq!(DevicePolicy::parse_v1_list(&listed).unwrap(), p);
        assert_eq!(DevicePolicy::parse_v1_list("nonsense"), None);
    }
}

//! From the entries of a profile to one verdict for each number of an ABI, as libseccomp combines them.
//!
//! May not: know instructions or JSON. What several entries for one call mean together is decided here and only here:
//!
//! - the first unconditional entry stands, whatever follows;
//! - an unconditional entry replaces conditional ones before it;
//! - conditional ones with the same action are alternatives;
//! - conditional ones with different actions are asked in libseccomp's order, not the profile's: see [`precedence`];
//! - the same conditions with two actions are an error, as runc (by libseccomp's EEXIST) refuses them.

use super::arch::{Abi, Arch, Width, X32_BIT};
use super::emit::{Cond, Op, Range, Rule, RuleList, Verdict};
use super::syscalls::{Numbers, Shared};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use sys::seccomp::{MAX_INSNS, RET_ERRNO, RET_KILL_THREAD};

const ENOSYS: u32 = RET_ERRNO | libc::ENOSYS as u32;
/// What libseccomp answers to an architecture that the profile does not list; runc leaves it at that.
pub(super) const FOREIGN: u32 = RET_KILL_THREAD;
/// x86's numbers of the shared calls.
const SOCKETCALL: u32 = 102;
const IPC: u32 = 117;

/// One entry of `syscalls`, without its names.
#[derive(Debug)]
pub(super) struct Entry {
    pub action: u32,
    /// Each alternative is a list of conditions that must all hold; an empty list always holds.
    pub alternatives: Vec<Vec<Cond>>,
}

/// A known call that an entry names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub numbers: Numbers,
    pub entry: u32,
}

/// A whole profile, its words understood.
#[derive(Debug)]
pub(super) struct Profile {
    pub default: u32,
    /// Numbers above the highest one of the profile fail with ENOSYS.
    pub newer_is_unknown: bool,
    pub entries: Vec<Entry>,
    /// In the order of the profile.
    pub calls: Vec<Call>,
}

/// Why a profile has no meaning.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Two entries have the same conditions and different actions.
    Conflict { earlier: u32, later: u32 },
    /// More conditions than any program can hold.
    TooLong,
}

/// The verdict on every number.
#[derive(Debug)]
pub(super) struct Verdicts {
    /// For each audit value that the kernel can show, its own first.
    pub arches: Vec<(u32, Vec<Range>)>,
    /// What [`Verdict::Rules`] points at; no two are equal.
    pub lists: Vec<RuleList>,
}

/// Finds the verdicts for a kernel of `native` and the listed architectures.
///
/// An architecture whose processes this kernel cannot run gets nothing: libseccomp would write code that never runs.
pub(super) fn plan_verdicts(profile: &Profile, native: Arch, listed: &[Arch]) -> Result<Verdicts, Refusal> {
    let mut planner = Planner::new(profile);
    let mut arches = Vec::with_capacity(2);
    for &abi in native.served() {
        let mut ranges = Vec::with_capacity(128);
        match abi {
            _ if abi.arch() != native && !listed.contains(&abi.arch()) => continue,
            // Shares the audit value of x86_64 and so its ranges.
            Abi::X32 => continue,
            Abi::X86_64 => planner.push_x86_64(listed.contains(&Arch::X32), &mut ranges)?,
            _ => planner.push_abi(abi, 0, &mut ranges).map(drop)?,
        }
        arches.push((abi.arch().audit(), ranges));
    }
    Ok(Verdicts {
        arches,
        lists: planner.lists,
    })
}

/// How a number reaches the call that an entry names: by itself (0), or as socketcall or ipc with this first argument.
type Selector = u8;

/// One entry for one number, packed so that sorting is cheap and memory is not touched twice: the number, then the
/// entry, then the selector.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hit(u64);

impl Hit {
    fn new(nr: u32, entry: u32, selector: Selector) -> Hit {
        Hit((nr as u64) << 40 | (entry as u64) << 8 | selector as u64)
    }

    fn nr(self) -> u32 {
        (self.0 >> 40) as u32
    }

    fn entry(self) -> u32 {
        (self.0 >> 8) as u32
    }

    fn selector(self) -> Selector {
        self.0 as u8
    }

    /// Without the number: what a group of them means does not depend on it.
    fn meaning(self) -> u64 {
        self.0 & ((1 << 40) - 1)
    }
}

struct Planner<'a> {
    profile: &'a Profile,
    lists: Vec<RuleList>,
    /// What groups of entries with conditions came to.
    known: BTreeMap<(Width, Vec<u64>), Verdict>,
    /// Rules that may still be made. Every rule is at least one instruction, but lists of different entries can be
    /// equal and share theirs, so this is a bound on our work and generous.
    left: usize,
}

impl<'a> Planner<'a> {
    fn new(profile: &'a Profile) -> Planner<'a> {
        Planner {
            profile,
            lists: Vec::new(),
            known: BTreeMap::new(),
            left: 16 * MAX_INSNS,
        }
    }

    /// x86_64 and x32 lie in one space of numbers; bit 30 is x32's. Above both lie numbers that no kernel gives out,
    /// but a caller can try them: bit 31 alone counts as x86_64, both bits as x32, and all ones is what a tracer writes
    /// to skip a call.
    fn push_x86_64(&mut self, x32: bool, ranges: &mut Vec<Range>) -> Result<(), Refusal> {
        const BIT_31: u32 = 1 << 31;
        let default = self.profile.default;
        let newer = |top: Option<u32>, otherwise: u32| Verdict::Always(top.map_or(otherwise, |_| ENOSYS));
        let top = self.push_abi(Abi::X86_64, 0, ranges)?;
        if x32 {
            let top_x32 = self.push_abi(Abi::X32, X32_BIT, ranges)?;
            push(ranges, BIT_31, newer(top, default));
            push(ranges, BIT_31 | X32_BIT, newer(top_x32, default));
        } else {
            push(ranges, X32_BIT, Verdict::Always(FOREIGN));
            push(ranges, BIT_31, newer(top, FOREIGN));
            push(ranges, BIT_31 | X32_BIT, Verdict::Always(FOREIGN));
            push(ranges, u32::MAX, Verdict::Always(default));
        }
        Ok(())
    }

    /// Appends the ranges of all numbers of an ABI, which begin at `base`.
    ///
    /// Gives the highest number that a name of the profile has; what lies above is newer than the profile. `None` when
    /// newer calls get the default like all others and, as runc has it, when there is none but number 0.
    fn push_abi(&mut self, abi: Abi, base: u32, ranges: &mut Vec<Range>) -> Result<Option<u32>, Refusal> {
        let (hits, top) = self.hits(abi);
        let top = (self.profile.newer_is_unknown && top > 0).then_some(top);
        let mut at = 0;
        for group in hits.chunk_by(|a, b| a.nr() == b.nr()) {
            let nr = group[0].nr();
            if nr > at {
                self.push_unnamed(ranges, base, (at, nr), top);
            }
            let verdict = self.combine(abi.width(), group)?;
            push(ranges, base + nr, verdict);
            at = nr + 1;
        }
        self.push_unnamed(ranges, base, (at, u32::MAX), top);
        Ok(top)
    }

    /// The entries for each number, sorted, and the highest number of all names.
    fn hits(&self, abi: Abi) -> (Vec<Hit>, u32) {
        let mut top = 0;
        let mut hits = Vec::with_capacity(self.profile.calls.len());
        for call in &self.profile.calls {
            let number = call.numbers.on(abi);
            let shared = if abi == Abi::X86 {
                call.numbers.shared()
            } else {
                None
            };
            // libseccomp has no positive number for a shared call, so runc never sees its own number as the top.
            if let (Some(nr), None) = (number, shared) {
                top = top.max(nr);
            }
            if self.profile.entries[call.entry as usize].action == self.profile.default {
                continue;
            }
            match shared {
                Some(Shared::Socketcall(selector)) => hits.push(Hit::new(SOCKETCALL, call.entry, selector)),
                Some(Shared::Ipc(selector)) => hits.push(Hit::new(IPC, call.entry, selector)),
                None => {}
            }
            if let Some(nr) = number {
                hits.push(Hit::new(nr, call.entry, 0));
            }
        }
        hits.sort_unstable();
        (hits, top)
    }

    /// The numbers `from..to`, which no name has.
    fn push_unnamed(&self, ranges: &mut Vec<Range>, base: u32, (from, to): (u32, u32), top: Option<u32>) {
        let newer = top.map_or(u32::MAX, |top| top + 1);
        if from < newer {
            push(ranges, base + from, Verdict::Always(self.profile.default));
        }
        if newer < to {
            push(ranges, base + from.max(newer), Verdict::Always(ENOSYS));
        }
    }

    /// The verdict of all entries for one number, in the order of the profile.
    fn combine(&mut self, width: Width, group: &[Hit]) -> Result<Verdict, Refusal> {
        if let [hit] = group {
            let entry = &self.profile.entries[hit.entry() as usize];
            if hit.selector() == 0 && entry.alternatives.iter().any(Vec::is_empty) {
                return Ok(Verdict::Always(entry.action));
            }
        }
        let key = (width, group.iter().map(|hit| hit.meaning()).collect());
        if let Some(verdict) = self.known.get(&key) {
            return Ok(*verdict);
        }
        let verdict = self.combine_anew(width, group)?;
        self.known.insert(key, verdict);
        Ok(verdict)
    }

    fn combine_anew(&mut self, width: Width, group: &[Hit]) -> Result<Verdict, Refusal> {
        let mut rules: Vec<Rule> = Vec::new();
        // Conditions seen, with their action and entry.
        let mut seen: BTreeMap<Vec<Cond>, (u32, u32)> = BTreeMap::new();
        let mut mixed = false;
        for hit in group {
            let entry = &self.profile.entries[hit.entry() as usize];
            for alternative in &entry.alternatives {
                self.left = self.left.checked_sub(1).ok_or(Refusal::TooLong)?;
                let rule = Rule {
                    conds: conditions(alternative, width, hit.selector()),
                    action: entry.action,
                };
                if rule.conds.is_empty() {
                    return Ok(Verdict::Always(rule.action));
                }
                match seen.get(&rule.conds) {
                    Some((action, _)) if *action == rule.action => continue,
                    Some((_, earlier)) => {
                        return Err(Refusal::Conflict {
                            earlier: *earlier,
                            later: hit.entry(),
                        });
                    }
                    None => {}
                }
                seen.insert(rule.conds.clone(), (rule.action, hit.entry()));
                mixed |= rules.first().is_some_and(|r| r.action != rule.action);
                rules.push(rule);
            }
        }
        if rules.len() > MAX_INSNS {
            return Err(Refusal::TooLong);
        }
        if mixed {
            rules = precedence(rules, width);
        }
        Ok(Verdict::Rules(self.intern(RuleList { width, rules })))
    }

    fn intern(&mut self, list: RuleList) -> u32 {
        let index = self.lists.iter().position(|known| *known == list);
        let index = index.unwrap_or_else(|| {
            self.lists.push(list);
            self.lists.len() - 1
        });
        index as u32
    }
}

fn push(ranges: &mut Vec<Range>, start: u32, verdict: Verdict) {
    match ranges.last_mut() {
        Some(last) if last.verdict == verdict => {}
        _ => ranges.push(Range { start, verdict }),
    }
}

/// The conditions of one alternative as an ABI of this width sees them; those that always hold are left out.
fn conditions(alternative: &[Cond], width: Width, selector: Selector) -> Vec<Cond> {
    let mut out = Vec::with_capacity(alternative.len() + 1);
    for cond in alternative {
        let mut c = *cond;
        if width == Width::W32 {
            c.mask &= u32::MAX as u64;
            c.value &= u32::MAX as u64;
        }
        // A shared call's first argument is the selector, so nothing is known of the first argument that is meant. (The
        // others are behind a pointer; libseccomp compares that pointer and what follows it, and so do we.)
        let is_hidden = selector != 0 && c.arg == 0;
        let always_holds = c.op == Op::Masked && c.mask == 0;
        if !is_hidden && !always_holds {
            out.push(c);
        }
    }
    if selector != 0 {
        out.push(Cond {
            arg: 0,
            op: Op::Eq,
            mask: u32::MAX as u64,
            value: selector as u64,
        });
    }
    out.sort_by_key(|c| c.arg);
    out
}

/// One comparison of libseccomp's tree.
#[derive(Clone, Copy)]
struct Node {
    /// Argument, and whether its high half; higher ones are asked first.
    word: u8,
    /// What is compared in the end: the opposite of NE, LT and LE is written as EQ, GE and GT, and bounds of 64 bits
    /// begin with GT for the high half.
    op: Op,
    mask: u32,
    value: u32,
    /// Equality before upper bounds before lower bounds.
    class: u8,
}

impl Node {
    /// Rules with this node in the same place share it.
    fn is_shared_with(&self, other: &Node) -> bool {
        (self.word, self.op, self.mask, self.value) == (other.word, other.op, other.mask, other.value)
    }

    /// Within a class the narrower bound comes first.
    fn order(&self, other: &Node) -> Ordering {
        let by_value = match self.class {
            UPPER => self.value.cmp(&other.value),
            _ => other.value.cmp(&self.value),
        };
        let by_word = other.word.cmp(&self.word);
        by_word.then(self.class.cmp(&other.class)).then(by_value)
    }
}

const UPPER: u8 = 1;

fn nodes(rule: &Rule, width: Width) -> Vec<Node> {
    let mut out = Vec::with_capacity(2 * rule.conds.len());
    for c in &rule.conds {
        let (class, low, high) = match c.op {
            Op::Eq | Op::Ne => (0, Op::Eq, Op::Eq),
            Op::Masked => (0, Op::Masked, Op::Masked),
            Op::Lt => (UPPER, Op::Ge, Op::Gt),
            Op::Le => (UPPER, Op::Gt, Op::Gt),
            Op::Ge => (2, Op::Ge, Op::Gt),
            Op::Gt => (2, Op::Gt, Op::Gt),
        };
        let half = |word: u8, op: Op, shift: u32| Node {
            word,
            op,
            mask: (c.mask >> shift) as u32,
            value: (c.value >> shift) as u32,
            class,
        };
        if width == Width::W64 {
            out.push(half(2 * c.arg + 1, high, 32));
        }
        out.push(half(2 * c.arg, low, 0));
    }
    out
}

/// Puts rules with different actions into the order in which libseccomp asks them, which is not the profile's: it
/// keeps the comparisons in a tree whose levels are sorted. Where its code fails (it loses or invents matches when
/// several rules bound one 64-bit argument) there is nothing to follow: every rule here means what it says.
fn precedence(rules: Vec<Rule>, width: Width) -> Vec<Rule> {
    let rows = rules.into_iter().map(|r| (nodes(&r, width), r)).collect();
    let mut out = Vec::new();
    walk(rows, 0, &mut out);
    out
}

type Row = (Vec<Node>, Rule);

/// One level of the tree, depth first.
fn walk(rows: Vec<Row>, depth: usize, out: &mut Vec<Rule>) {
    let mut level: Vec<(Node, Vec<Row>)> = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some((nodes, rule)) = rows.next_if(|(nodes, _)| nodes.len() > depth) {
        let node = nodes[depth];
        match level.iter_mut().find(|(n, _)| n.is_shared_with(&node)) {
            Some((_, rows)) => rows.push((nodes, rule)),
            None => {
                let at = level.iter().position(|(n, _)| n.order(&node).is_gt());
                level.insert(at.unwrap_or(level.len()), (node, vec![(nodes, rule)]));
            }
        }
    }
    for (_, rows) in level {
        walk(rows, depth + 1, out);
    }
    // A rule that ends here stands before longer ones that follow it in the profile.
    if let Some((_, rule)) = rows.next() {
        out.push(rule);
        walk(rows.collect(), depth, out);
    }
}

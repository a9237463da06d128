//! Classic BPF, written from its end to its beginning.
//!
//! May not: know profiles. It turns ranges of numbers and lists of conditions into instructions.
//!
//! Jumps of classic BPF only lead forward, so whoever writes backwards knows every target, and a jump that is too
//! short for its 8 bits gets a stepping stone right behind it: a copy of the return it wants, or an unconditional jump.
//!
//! Length is time: the kernel checks, converts and compiles the program at load, and (since 5.11) runs it once for every
//! system call to learn which are always allowed. That dry run understands loads of the number and the architecture,
//! comparisons with constants and AND; nothing else may come before the verdict of an unconditional rule.

use super::arch::Width;
use sys::seccomp::{Insn, MAX_INSNS};

const LD_W_ABS: u16 = 0x20;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const AND: u16 = 0x54;
const RET: u16 = 0x06;

/// `struct seccomp_data`: nr, arch, instruction_pointer, args[6].
const AT_NR: u32 = 0;
const AT_ARCH: u32 = 4;

/// Where the low half of an argument lies; every architecture with a table here is little-endian.
fn at_low(arg: u8) -> u32 {
    16 + 8 * arg as u32
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// `argument & mask == value`.
    Masked,
}

/// One condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cond {
    pub arg: u8,
    pub op: Op,
    /// All ones but for [`Op::Masked`].
    pub mask: u64,
    /// Already masked.
    pub value: u64,
}

/// Conditions that must all hold, and the verdict then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub conds: Vec<Cond>,
    pub action: u32,
}

impl Rule {
    /// The argument, and the high half that it must have, when all that is asked is whether it equals a value. Such rules
    /// can share their loads.
    fn equals(&self, width: Width) -> Option<(u8, u32)> {
        match (&self.conds[..], width) {
            ([c], Width::W64) if c.op == Op::Eq => Some((c.arg, (c.value >> 32) as u32)),
            ([c], Width::W32) if c.op == Op::Eq => Some((c.arg, 0)),
            _ => None,
        }
    }
}

/// The first rule that holds decides, else the default does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleList {
    pub width: Width,
    pub rules: Vec<Rule>,
}

/// What becomes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Always(u32),
    /// What the [`RuleList`] with this index says.
    Rules(u32),
}

/// The numbers from `start` to the next range's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub start: u32,
    pub verdict: Verdict,
}

/// A target of a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Return this.
    Ret(u32),
    /// The instruction with this index, counted from the end of the program.
    At(u32),
}

/// A leaf of the decision tree: one target, but for single numbers that have another.
#[derive(Clone, Copy)]
struct Leaf {
    start: u32,
    to: To,
    /// More of them in a row would make a list of what should be a tree.
    holes: [Option<(u32, To)>; 2],
}

/// A program in the making.
pub(super) struct Emitter {
    default: u32,
    /// The last instruction first.
    rev: Vec<Insn>,
    /// Where each return was written last.
    rets: Vec<(u32, u32)>,
    /// Where each list of rules begins, once it is written.
    begins: Vec<Option<To>>,
}

impl Emitter {
    pub(super) fn new(default: u32) -> Emitter {
        Emitter {
            default,
            rev: Vec::with_capacity(256),
            rets: Vec::with_capacity(8),
            begins: Vec::new(),
        }
    }

    /// Writes the whole program: for each architecture (its audit value) its ranges, which start at 0 and are sorted;
    /// `foreign` for all others. The first architecture is asked for first.
    /// `None` when it is longer than the kernel takes.
    pub(super) fn program(
        mut self,
        arches: &[(u32, Vec<Range>)],
        lists: &[RuleList],
        foreign: u32,
    ) -> Option<Vec<Insn>> {
        self.begins.resize(lists.len(), None);
        let mut roots = Vec::with_capacity(arches.len());
        for (audit, ranges) in arches.iter().rev() {
            roots.push((*audit, self.arch(ranges, lists)));
            if self.is_too_long() {
                return None;
            }
        }
        let mut next = To::Ret(foreign);
        for (audit, root) in roots {
            next = self.branch(JEQ, audit, root, next);
        }
        self.step(LD_W_ABS, AT_ARCH, next);
        self.rev.reverse();
        (self.rev.len() <= MAX_INSNS).then_some(self.rev)
    }

    /// Checked between parts, so that a hostile profile costs no more than a long one.
    fn is_too_long(&self) -> bool {
        self.rev.len() > MAX_INSNS
    }

    fn arch(&mut self, ranges: &[Range], lists: &[RuleList]) -> To {
        let mut leaves: Vec<Leaf> = Vec::with_capacity(ranges.len());
        for range in ranges {
            let to = self.verdict(range.verdict, lists);
            if self.is_too_long() {
                return to;
            }
            // Different rules can come to the same.
            if leaves.last().is_none_or(|last| last.to != to) {
                leaves.push(Leaf {
                    start: range.start,
                    to,
                    holes: [None; 2],
                });
            }
        }
        fold_holes(&mut leaves);
        match self.tree(&leaves) {
            always @ To::Ret(_) => always,
            root => self.step(LD_W_ABS, AT_NR, root),
        }
    }

    /// A binary search by number.
    fn tree(&mut self, leaves: &[Leaf]) -> To {
        match leaves {
            [] => To::Ret(self.default),
            [leaf] => {
                let mut next = leaf.to;
                for (nr, to) in leaf.holes.iter().rev().flatten() {
                    next = self.branch(JEQ, *nr, *to, next);
                }
                next
            }
            _ => {
                let (left, right) = leaves.split_at(leaves.len() / 2);
                let above = self.tree(right);
                let below = self.tree(left);
                self.branch(JGE, right[0].start, above, below)
            }
        }
    }

    fn verdict(&mut self, verdict: Verdict, lists: &[RuleList]) -> To {
        let index = match verdict {
            Verdict::Always(action) => return To::Ret(action),
            Verdict::Rules(index) => index as usize,
        };
        if let Some(to) = self.begins[index] {
            return to;
        }
        let RuleList { width, rules } = &lists[index];
        let mut next = To::Ret(self.default);
        let equals = |r: &Rule| r.equals(*width);
        let alike = |a: &Rule, b: &Rule| equals(a).is_some() && equals(a) == equals(b);
        for group in rules.chunk_by(alike).rev() {
            next = match group {
                [rule] => self.rule(*width, rule, next),
                _ => self.one_of(*width, group, next),
            };
            if self.is_too_long() {
                break;
            }
        }
        self.begins[index] = Some(next);
        next
    }

    fn rule(&mut self, width: Width, rule: &Rule, next: To) -> To {
        let mut matched = To::Ret(rule.action);
        for cond in rule.conds.iter().rev() {
            matched = self.condition(width, cond, matched, next);
        }
        matched
    }

    /// Rules of one argument that equals this or that, for which [`Rule::equals`] is the same.
    fn one_of(&mut self, width: Width, rules: &[Rule], next: To) -> To {
        let Some(cond) = rules.first().and_then(|r| r.conds.first()) else {
            return next;
        };
        let mut low = next;
        for rule in rules.iter().rev() {
            for c in &rule.conds {
                low = self.branch(JEQ, c.value as u32, To::Ret(rule.action), low);
            }
        }
        if low == next {
            return next;
        }
        let low = self.step(LD_W_ABS, at_low(cond.arg), low);
        match width {
            Width::W32 => low,
            Width::W64 => self.equal_half(
                at_low(cond.arg) + 4,
                u32::MAX,
                (cond.value >> 32) as u32,
                low,
                next,
            ),
        }
    }

    fn condition(&mut self, width: Width, c: &Cond, yes: To, no: To) -> To {
        match c.op {
            Op::Eq | Op::Masked => self.equal(width, c, yes, no),
            Op::Ne => self.equal(width, c, no, yes),
            Op::Gt => self.order(width, c, JGT, yes, no),
            Op::Le => self.order(width, c, JGT, no, yes),
            Op::Ge => self.order(width, c, JGE, yes, no),
            Op::Lt => self.order(width, c, JGE, no, yes),
        }
    }

    fn equal(&mut self, width: Width, c: &Cond, yes: To, no: To) -> To {
        let low = self.equal_half(at_low(c.arg), c.mask as u32, c.value as u32, yes, no);
        match width {
            Width::W32 => low,
            Width::W64 => {
                let (mask, value) = ((c.mask >> 32) as u32, (c.value >> 32) as u32);
                self.equal_half(at_low(c.arg) + 4, mask, value, low, no)
            }
        }
    }

    fn equal_half(&mut self, at: u32, mask: u32, value: u32, yes: To, no: To) -> To {
        if mask == 0 {
            return if value == 0 { yes } else { no };
        }
        if yes == no {
            return yes;
        }
        let mut test = self.branch(JEQ, value, yes, no);
        if mask != u32::MAX {
            test = self.step(AND, mask, test);
        }
        self.step(LD_W_ABS, at, test)
    }

    /// `code` is JGT or JGE.
    fn order(&mut self, width: Width, c: &Cond, code: u16, yes: To, no: To) -> To {
        let low = match self.branch(code, c.value as u32, yes, no) {
            t if t == yes || t == no => t,
            t => self.step(LD_W_ABS, at_low(c.arg), t),
        };
        if width == Width::W32 {
            return low;
        }
        let high = (c.value >> 32) as u32;
        let equal = self.branch(JEQ, high, low, no);
        match self.branch(JGT, high, yes, equal) {
            t if t == yes || t == no => t,
            t => self.step(LD_W_ABS, at_low(c.arg) + 4, t),
        }
    }

    /// A conditional jump. Conditions that always or never hold write nothing.
    fn branch(&mut self, code: u16, k: u32, mut yes: To, mut no: To) -> To {
        match (code, k) {
            (JGE, 0) => return yes,
            (JGT, u32::MAX) => return no,
            _ if yes == no => return yes,
            _ => {}
        }
        loop {
            match (self.distance(yes), self.distance(no)) {
                (Some(jt), Some(jf)) => return self.push(Insn { code, jt, jf, k }),
                (None, _) => yes = self.stepping_stone(yes),
                (_, None) => no = self.stepping_stone(no),
            }
        }
    }

    /// An instruction that goes on with the next one, which is made to be `to`.
    fn step(&mut self, code: u16, k: u32, to: To) -> To {
        if self.distance(to) != Some(0) {
            self.stepping_stone(to);
        }
        self.push(Insn {
            code,
            jt: 0,
            jf: 0,
            k,
        })
    }

    /// A return or a long jump to `to` that the next instruction written can reach.
    fn stepping_stone(&mut self, to: To) -> To {
        match to {
            To::Ret(action) => {
                let at = self.push(Insn {
                    code: RET,
                    jt: 0,
                    jf: 0,
                    k: action,
                });
                let index = self.rev.len() as u32 - 1;
                match self.rets.iter_mut().find(|(a, _)| *a == action) {
                    Some(last) => last.1 = index,
                    None => self.rets.push((action, index)),
                }
                at
            }
            To::At(index) => {
                let k = self.rev.len() as u32 - index - 1;
                self.push(Insn {
                    code: JA,
                    jt: 0,
                    jf: 0,
                    k,
                })
            }
        }
    }

    /// How many instructions a jump written now would skip; `None` when 8 bits cannot say it or no return stands yet.
    fn distance(&self, to: To) -> Option<u8> {
        let index = match to {
            To::At(index) => index,
            To::Ret(action) => self.rets.iter().find(|(a, _)| *a == action)?.1,
        };
        u8::try_from(self.rev.len() as u32 - index - 1).ok()
    }

    fn push(&mut self, insn: Insn) -> To {
        self.rev.push(insn);
        To::At(self.rev.len() as u32 - 1)
    }
}

/// One comparison tells a single number inside a range from the range; two tell three ranges apart.
fn fold_holes(leaves: &mut Vec<Leaf>) {
    let mut kept: usize = 0;
    let mut at = 0;
    while at < leaves.len() {
        let leaf = leaves[at];
        at += 1;
        let follows = leaves.get(at).copied();
        let before = kept.checked_sub(1).map(|last| &mut leaves[last]);
        if let (Some(before), Some(follows)) = (before, follows)
            && follows.to == before.to
            && follows.start - leaf.start == 1
            && let Some(hole) = before.holes.iter_mut().find(|h| h.is_none())
        {
            *hole = Some((leaf.start, leaf.to));
            // The range goes on behind the hole.
            at += 1;
            continue;
        }
        leaves[kept] = leaf;
        kept += 1;
    }
    leaves.truncate(kept);
}

/// The program in the words of bpf_asm(8).
pub(super) fn listing(insns: &[Insn]) -> Vec<String> {
    insns.iter().map(show).collect()
}

fn show(i: &Insn) -> String {
    let jump = |word: &str| format!("{word} #{:#x}, {}, {}", i.k, i.jt, i.jf);
    match i.code {
        LD_W_ABS => format!("ld [{}]", i.k),
        AND => format!("and #{:#x}", i.k),
        RET => format!("ret #{:#x}", i.k),
        JA => format!("ja {}", i.k),
        JEQ => jump("jeq"),
        JGT => jump("jgt"),
        JGE => jump("jge"),
        code => format!("{code:#x} {} {} {:#x}", i.jt, i.jf, i.k),
    }
}

//! A network namespace that stands for the machine: an ordinary user's containers have their networks in it, because the machine's own is
//! not the user's to change. Nothing but a program of the user's leads out of it.
//!
//! What comes to a published port is brought in by a socket in the name of the client (`sys::tcp::connect_as`), so that the container
//! sees who asks. Its answers go to an address that is not here: whatever such a socket waits for is marked before its route is
//! chosen, and by its mark is routed to us.
//!
//! May not: lead out, or know which program does.

use crate::error::Result;
use crate::link::{self, Links};
use crate::nft::rule::{Act, Rule, Test};
use crate::nft::{Base, Family, Hook, Rules, Table, Transaction};

/// Any number: nobody else marks packets here.
const MARK: u32 = 1;

/// Any table that the kernel has no use for.
const TABLE: u8 = 100;

const CHAIN: &str = "prerouting";

/// Makes the namespace that the calling thread is in such a ground. It is new, `lo` is up.
///
/// # Errors
/// Of the kernel.
pub fn prepare() -> Result<()> {
    let table = Table {
        family: Family::Inet,
        name: "brig-ground".to_owned(),
    };
    let base = Base {
        kind: "filter",
        hook: Hook::Prerouting,
        priority: -150,
        drops: false,
    };
    let rule = Rule::new(
        "answers to who has asked in another's name",
        &[Test::InAnothersName],
        Act::Mark(MARK),
    );
    let mut whole = Transaction::default();
    whole.table(&table);
    whole.chain(&table, CHAIN, Some(&base));
    whole.rule(&table, CHAIN, &rule);
    Rules::open()?.commit(whole)?;
    let links = Links::open()?;
    let lo = links.find("lo")?.map_or(1, |lo| lo.index);
    let routed = |v6| {
        vec![
            link::table_of_mark(v6, MARK, TABLE),
            link::all_is_ours(lo, v6, TABLE),
        ]
    };
    links.make(routed(false))?;
    match links.make(routed(true)) {
        // The kernel has no IPv6.
        Err(e) if matches!(e.errno(), libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => Ok(()),
        made => made,
    }
}

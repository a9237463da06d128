//! Subnets: arithmetic, and which one a new network gets.
//!
//! May not: look at the machine. What is taken is said by who asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// A block of addresses, with no bit set behind its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    is_v4: bool,
    base: u128,
    prefix: u8,
}

/// An address as a number, and its family.
fn number(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(a) => (true, u128::from(u32::from(a))),
        IpAddr::V6(a) => (false, u128::from(a)),
    }
}

fn address(is_v4: bool, number: u128) -> IpAddr {
    match is_v4 {
        true => Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        false => Ipv6Addr::from(number).into(),
    }
}

impl Subnet {
    /// The block of this size that an address lies in. `None`: its family has no such prefix.
    pub fn around(of: IpAddr, prefix: u8) -> Option<Subnet> {
        let (is_v4, number) = number(of);
        if prefix > bits(is_v4) {
            return None;
        }
        let size = bits(is_v4) - prefix;
        let base = match size {
            128 => 0,
            size => number >> size << size,
        };
        Some(Subnet { is_v4, base, prefix })
    }

    pub fn is_v4(&self) -> bool {
        self.is_v4
    }

    /// How many bits all its addresses share.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The lowest address, which nobody has.
    pub fn base(&self) -> IpAddr {
        address(self.is_v4, self.base)
    }

    /// The highest, which in IPv4 means everybody.
    pub fn last(&self) -> IpAddr {
        address(self.is_v4, self.end())
    }

    fn end(&self) -> u128 {
        match bits(self.is_v4) - self.prefix {
            128 => u128::MAX,
            size => self.base + ((1 << size) - 1),
        }
    }

    /// How many addresses it has, as far as a number of 64 bits can tell.
    pub fn size(&self) -> u64 {
        u64::try_from(self.end() - self.base).map_or(u64::MAX, |n| n.saturating_add(1))
    }

    pub fn contains(&self, what: IpAddr) -> bool {
        let (is_v4, number) = number(what);
        is_v4 == self.is_v4 && (self.base..=self.end()).contains(&number)
    }

    /// Whether all of the other one lies in it.
    pub fn covers(&self, other: &Subnet) -> bool {
        self.is_v4 == other.is_v4 && self.base <= other.base && other.end() <= self.end()
    }

    pub fn overlaps(&self, other: &Subnet) -> bool {
        self.is_v4 == other.is_v4 && self.base <= other.end() && other.base <= self.end()
    }

    /// The `n`th address, counted from the lowest; `None` behind the end.
    pub fn nth(&self, n: u64) -> Option<IpAddr> {
        let number = self.base.checked_add(u128::from(n))?;
        (number <= self.end()).then(|| address(self.is_v4, number))
    }

    /// Whether a machine may have this address: neither the lowest nor, in IPv4, the highest. Blocks of one and two have no such.
    pub fn is_usable(&self, what: IpAddr) -> bool {
        let small = bits(self.is_v4) - self.prefix <= 1;
        self.contains(what) && (small || (what != self.base() && (!self.is_v4 || what != self.last())))
    }

    /// Blocks of another size, one after the other.
    fn split(self, prefix: u8) -> impl Iterator<Item = Subnet> {
        let step = match u32::from(bits(self.is_v4) - prefix) {
            128 => 0,
            size => 1u128 << size,
        };
        let count = 1u64
            .checked_shl(u32::from(prefix - self.prefix))
            .unwrap_or(u64::MAX);
        (0..count).map(move |n| Subnet {
            base: self.base + u128::from(n) * step,
            prefix,
            ..self
        })
    }
}

fn bits(is_v4: bool) -> u8 {
    if is_v4 { 32 } else { 128 }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base(), self.prefix)
    }
}

/// An address and a prefix, which may have bits set behind it.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<(IpAddr, Subnet)> {
    let wrong = || Error::of(Kind::Invalid, format!("invalid CIDR address: {text}"));
    let (of, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let of: IpAddr = of.parse().map_err(|_| wrong())?;
    if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let prefix = prefix.parse().map_err(|_| wrong())?;
    Ok((of, Subnet::around(of, prefix).ok_or_else(wrong)?))
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Subnet> {
        parse(text).map(|(_, subnet)| subnet)
    }
}

/// Docker's own: where they lie, and how large the networks are that are cut from them.
const POOLS: [([u8; 4], u8, u8); 7] = [
    ([172, 17, 0, 0], 16, 16),
    ([172, 18, 0, 0], 16, 16),
    ([172, 19, 0, 0], 16, 16),
    ([172, 20, 0, 0], 14, 16),
    ([172, 24, 0, 0], 14, 16),
    ([172, 28, 0, 0], 14, 16),
    ([192, 168, 0, 0], 16, 20),
];

/// The first block of the pools that overlaps with nothing.
///
/// # Errors
/// [`Kind::Exhausted`], in Docker's words.
pub fn free_v4(taken: &[Subnet]) -> Result<Subnet> {
    let pools = POOLS.into_iter().filter_map(|(base, prefix, size)| {
        let pool = Subnet::around(IpAddr::from(base), prefix)?;
        Some(pool.split(size))
    });
    pools
        .flatten()
        .find(|block| !taken.iter().any(|other| other.overlaps(block)))
        .ok_or_else(exhausted)
}

/// A unique local block (RFC 4193) of 64 bits: the first of those below `global`, 40 bits that only this machine has.
///
/// # Errors
/// [`Kind::Exhausted`].
pub fn free_v6(global: u64, taken: &[Subnet]) -> Result<Subnet> {
    let base = (0xfd_u128 << 120) | (u128::from(global & 0xff_ffff_ffff) << 80);
    let pool = Subnet {
        is_v4: false,
        base,
        prefix: 48,
    };
    pool.split(64)
        .find(|block| !taken.iter().any(|other| other.overlaps(block)))
        .ok_or_else(exhausted)
}

fn exhausted() -> Error {
    Error::of(
        Kind::Exhausted,
        "all predefined address pools have been fully subnetted",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn blocks() {
        let block = subnet("172.18.5.9/16");
        assert_eq!(block.to_string(), "172.18.0.0/16");
        assert_eq!(block.last(), ip("172.18.255.255"));
        assert_eq!((block.size(), subnet("::/0").size()), (65536, u64::MAX));
        assert_eq!(block.nth(1), Some(ip("172.18.0.1")));
        assert_eq!(subnet("10.0.0.0/30").nth(4), None);
        assert_eq!(subnet("255.255.255.255/32").nth(1), None);
        assert!(block.contains(ip("172.18.255.255")) && !block.contains(ip("172.19.0.0")));
        assert!(!block.contains(ip("::1")));
        assert!(!block.is_usable(ip("172.18.0.0")) && !block.is_usable(ip("172.18.255.255")));
        assert!(subnet("fd00::/64").is_usable(ip("fd00::ffff:ffff:ffff:ffff")));
        assert!(!subnet("fd00::/64").is_usable(ip("fd00::")));
        assert!(subnet("10.0.0.0/31").is_usable(ip("10.0.0.0")));
        assert!(subnet("0.0.0.0/0").overlaps(&block) && !subnet("::/0").overlaps(&block));
        assert!(subnet("172.0.0.0/8").covers(&block) && !block.covers(&subnet("172.0.0.0/8")));
        for wrong in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/",
        ] {
            assert_eq!(
                wrong.parse::<Subnet>().unwrap_err().to_string(),
                format!("invalid CIDR address: {wrong}")
            );
        }
    }

    #[test]
    fn pools_in_dockers_order() {
        let mut taken = Vec::new();
        for _ in 0..31 {
            taken.push(free_v4(&taken).unwrap());
        }
        let texts: Vec<String> = taken.iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], "172.17.0.0/16");
        assert_eq!(texts[3], "172.20.0.0/16");
        assert_eq!(texts[14], "172.31.0.0/16");
        assert_eq!(texts[15], "192.168.0.0/20");
        assert_eq!(texts[30], "192.168.240.0/20");
        let e = free_v4(&taken).unwrap_err();
        assert_eq!(e.kind(), Kind::Exhausted);
        // Somebody's home network takes one of the small blocks and no more.
        assert_eq!(
            free_v4(&[subnet("172.16.0.0/12"), subnet("192.168.1.0/24")])
                .unwrap()
                .to_string(),
            "192.168.16.0/20"
        );
    }

    #[test]
    fn unique_local_blocks() {
        let first = free_v6(0xab_cdef_0123, &[]).unwrap();
        assert_eq!(first.to_string(), "fdab:cdef:123::/64");
        assert_eq!(
            free_v6(0xab_cdef_0123, &[first]).unwrap().to_string(),
            "fdab:cdef:123:1::/64"
        );
    }
}

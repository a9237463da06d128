//! Giving up rights: bounding set, groups, gid, uid, capability sets, ambient set, in the one order that works.
//!
//! May not: use libc's set*id (crate `sys` says why).

use super::UserPlan;
use super::capabilities::CapabilityPlan;
use crate::error::{Doing, Error, Result};
use sys::cred::{self, CapabilitySets};

/// Whether supplementary groups can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// setgroups(2) is allowed.
    Set,
    /// The user namespace denies it (user_namespaces(7), setgroups file): the caller's unmapped groups stay.
    Denied,
}

/// Drops from the bounding set what the plan does not hold. Needs CAP_SETPCAP, so it comes first. What is already
/// absent is not dropped again: that needs no right.
pub fn apply_bounding(plan: &CapabilityPlan, last: u8) -> Result<()> {
    for capability in 0..=last {
        if plan.bounding & 1 << capability == 0 && cred::in_bounding(capability)? {
            cred::drop_bounding(capability).doing(|| "unable to apply bounding set")?;
        }
    }
    Ok(())
}

/// Groups, gid, uid. Permitted capabilities survive for [`apply_capabilities`] when `keep` is asked.
pub fn apply_user(user: &UserPlan, groups: Groups) -> Result<()> {
    match groups {
        Groups::Set => cred::set_groups(&user.groups).doing(|| "unable to set groups")?,
        Groups::Denied if !user.groups.is_empty() => {
            return Err(Error::new(
                "cannot set any additional groups in a rootless container",
            ));
        }
        Groups::Denied => {}
    }
    cred::set_gid(user.gid).doing(|| "unable to setgid")?;
    cred::set_uid(user.uid).doing(|| "unable to setuid").map(drop)
}

/// The thread's sets, then ambient. Returns the ambient capabilities that could not be raised, for warnings: the
/// spec lets a runtime go on (they need the capability in permitted and inheritable).
pub fn apply_capabilities(plan: &CapabilityPlan) -> Result<Vec<(u8, sys::Error)>> {
    let sets = CapabilitySets {
        effective: plan.effective,
        permitted: plan.permitted,
        inheritable: plan.inheritable,
    };
    cred::set_capabilities(&sets)
        .map_err(|e| Error::reason(&e).doing("unable to apply caps: can't apply capabilities"))?;
    cred::clear_ambient()?;
    let wanted = (0..64).filter(|c| plan.ambient & 1 << c != 0);
    Ok(wanted
        .filter_map(|c| cred::raise_ambient(c).err().map(|e| (c, e)))
        .collect())
}

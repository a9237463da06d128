//! The root file system and its mounts.
//!
//! May not: know the order of the steps (the step list does), talk to the parent, or decide what a container is.
//!
//! [`plan_rootfs`] is pure. [`open_sources`] runs in the parent before the fork, [`open_source_inside`] in the parent for a
//! child that asks. Everything else runs in the child, in
//! its new mount namespace, in this order: [`apply_propagation`], [`open_root`], [`apply_mount`] for each mount,
//! [`apply_devices`], [`apply_console`], [`apply_masked_paths`], [`apply_readonly_paths`], [`apply_late_readonly`],
//! [`apply_pivot`], [`apply_readonly_root`]. The masks come before the pivot because the classic mount calls, which
//! serve where the new ones are filtered, cannot be trusted with a path after it.

mod cgroup;
mod copyup;
mod devices;
mod masks;
mod mounts;
pub mod options;
mod paths;
mod pivot;
mod plan;
mod root;
mod sources;
mod tree;

pub use cgroup::{CgroupMounts, CgroupV1, CgroupV2};
pub use devices::{apply_console, apply_devices, open_terminal};
pub use masks::{apply_masked_paths, apply_readonly_paths, apply_readonly_root};
pub use mounts::{apply_late_readonly, apply_mount, apply_propagation, open_root};
pub use paths::{HostPath, RootPath};
pub use pivot::apply_pivot;
pub use plan::{
    CgroupView, DevicePlan, DeviceWay, DevicesPlan, IdmapIds, IdmapPlan, MountKind, MountPlan, Pivot,
    RootfsOptions, RootfsPlan, SourceSide, plan_rootfs,
};
pub use root::{Links, Root, read_in_root};
pub use sources::{Sources, is_asked_for, open_source_inside, open_sources};

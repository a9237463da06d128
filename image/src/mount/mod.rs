//! Layers put on top of each other: one rootfs.

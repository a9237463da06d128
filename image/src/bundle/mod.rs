//! An image and its rootfs as a bundle that an OCI runtime runs.

//! Log drivers: what a container writes, kept where `brig logs` finds it.

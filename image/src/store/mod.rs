//! The store: blobs, layers, names, and who still needs them.

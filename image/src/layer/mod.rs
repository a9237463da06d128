//! Layers: tar streams in, trees or EROFS images out.

pub mod tar;

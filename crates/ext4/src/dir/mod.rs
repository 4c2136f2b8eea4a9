//! Directories: linear blocks and hash trees.

pub mod readdir;

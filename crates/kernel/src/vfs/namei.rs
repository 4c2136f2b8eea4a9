//! The path walk, path_resolution(7).

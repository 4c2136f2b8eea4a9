//! The Linux kernel of ruml.
#![forbid(unsafe_code)]

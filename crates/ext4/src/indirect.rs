//! Indirect blocks.

//! Bringing the machine up and down.

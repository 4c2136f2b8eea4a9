//! Everything that talks to the real kernel.

//! Linux user-space ABI: numbers, structures, flags and errno. No logic.
#![deny(unsafe_code)]

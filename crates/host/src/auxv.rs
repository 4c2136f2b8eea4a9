//! What the host's kernel tells programs about the processor (getauxval(3)), to be told on.

fn get(key: u64) -> u64 {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(key) }
}

/// AT_HWCAP: the processor's feature word.
pub fn hwcap() -> u64 {
    get(libc::AT_HWCAP)
}

/// AT_HWCAP2: what the host lets user programs do beyond that (FSGSBASE).
pub fn hwcap2() -> u64 {
    get(libc::AT_HWCAP2)
}

/// AT_MINSIGSTKSZ: bytes of the smallest signal stack.
pub fn minsigstksz() -> u64 {
    get(libc::AT_MINSIGSTKSZ).max(2048)
}

//! Random bytes from the host (getrandom(2)).

/// Fills `buf` with random bytes. Blocks only while the host's own pool is not ready (early boot of the host).
pub fn fill(buf: &mut [u8]) {
    let mut done = 0;
    while done < buf.len() {
        let rest = &mut buf[done..];
        // SAFETY: `rest` is writable for `rest.len()` bytes.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        // EINTR is the only error a blocking getrandom into valid memory has.
        done += usize::try_from(n).unwrap_or(0);
    }
}

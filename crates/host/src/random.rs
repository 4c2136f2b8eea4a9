//! Random bytes from the host (getrandom(2)).

use parking_lot::Mutex;

/// Bytes that are asked for in advance, because a host call costs more than a few of them.
const POOL: usize = 256;
/// As many as are taken from there at most.
const SMALL: usize = 32;

/// Random bytes that nobody has had yet: those up to the number. A leaf lock.
static AHEAD: Mutex<([u8; POOL], usize)> = Mutex::new(([0; POOL], 0));

/// Fills `buf` with random bytes. Blocks only while the host's own pool is not ready (early boot of the host).
pub fn fill(buf: &mut [u8]) {
    if buf.len() > SMALL {
        return ask(buf);
    }
    let mut ahead = AHEAD.lock();
    let (bytes, left) = &mut *ahead;
    if *left < buf.len() {
        ask(bytes);
        *left = POOL;
    }
    let taken = &mut bytes[*left - buf.len()..*left];
    buf.copy_from_slice(taken);
    // Nobody is to find out later what somebody has had.
    taken.fill(0);
    *left -= buf.len();
}

fn ask(buf: &mut [u8]) {
    let mut done = 0;
    while done < buf.len() {
        let rest = &mut buf[done..];
        // SAFETY: `rest` is writable for `rest.len()` bytes.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        // EINTR is the only error a blocking getrandom into valid memory has.
        done += usize::try_from(n).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_differ() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let mut piece = [0; 12];
            fill(&mut piece);
            assert!(seen.insert(piece));
        }
    }
}

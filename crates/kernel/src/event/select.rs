//! select(2), pselect6(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::{EBADF, EINVAL};
use abi::poll::{POLLEX_SET, POLLIN_SET, POLLOUT_SET, PselectSigmask};
use abi::time::{Timespec, Timeval, USEC_PER_SEC};
use zerocopy::IntoBytes;

use super::{Timeout, finish, no_handler, wait_for, with_user_mask};
use crate::sync::PollTable;
use crate::task::current;
use crate::uaccess::{UserPtr, copy_to_user};
use crate::vfs::{Fd, File, PollEvents};

/// A guest's `fd_set`, in words of 64 bits.
type UserSet = UserPtr<u64>;

/// select(2)
pub fn select(
    n: i32,
    readfds: UserSet,
    writefds: UserSet,
    exceptfds: UserSet,
    timeout: UserPtr<Timeval>,
) -> Result<usize> {
    let until = match timeout.non_null() {
        Some(timeout) => timeout_of(timeout.read()?)?,
        None => Timeout::Never,
    };
    let outcome = do_select(n, [readfds, writefds, exceptfds], until);
    finish(outcome, until, |left| {
        timeout.write(&Timeval { tv_sec: left.tv_sec, tv_usec: left.tv_nsec / 1000 })
    })
}

/// pselect6(2)
pub fn pselect6(
    n: i32,
    readfds: UserSet,
    writefds: UserSet,
    exceptfds: UserSet,
    timeout: UserPtr<Timespec>,
    sigmask: UserPtr<PselectSigmask>,
) -> Result<usize> {
    let mask = match sigmask.non_null() {
        Some(sigmask) => sigmask.read()?,
        None => PselectSigmask::default(),
    };
    let until = Timeout::from_user(timeout)?;
    let outcome =
        with_user_mask(mask.ss, mask.ss_len, || do_select(n, [readfds, writefds, exceptfds], until));
    finish(outcome, until, |left| timeout.write(&left))
}

fn timeout_of(tv: Timeval) -> Result<Timeout> {
    // More than a second of microseconds is carried over, a negative number is not.
    let carried = tv.tv_usec.div_euclid(USEC_PER_SEC as i64);
    if tv.tv_usec < 0 {
        return Err(EINVAL);
    }
    let nsec = tv.tv_usec.rem_euclid(USEC_PER_SEC as i64) * 1000;
    Timeout::from_timespec(Timespec { tv_sec: tv.tv_sec.saturating_add(carried), tv_nsec: nsec })
}

/// What makes a descriptor ready in each of the three sets.
const WANTED: [u32; 3] = [POLLIN_SET, POLLOUT_SET, POLLEX_SET];

struct Watched {
    fd: usize,
    file: Arc<File>,
    /// Which sets name it.
    sets: [bool; 3],
}

fn do_select(n: i32, user: [UserSet; 3], timeout: Timeout) -> Result<usize> {
    let n = usize::try_from(n).map_err(|_| EINVAL)?;
    let table = current().files()?;
    let n = n.min(table.len());
    let words = n.div_ceil(64);
    let mut sets = [const { Vec::new() }; 3];
    for (set, user) in sets.iter_mut().zip(user) {
        *set = match user.non_null() {
            Some(user) => user.read_array(words)?,
            None => vec![0; words],
        };
    }
    let mut watched = Vec::new();
    for fd in 0..n {
        let named = [0, 1, 2].map(|i: usize| sets[i][fd / 64] >> (fd % 64) & 1 != 0);
        if named.contains(&true) {
            let file = table.get(Fd(fd as i32))?;
            if file.is_path() {
                return Err(EBADF);
            }
            watched.push(Watched { fd, file, sets: named });
        }
    }
    drop(table);
    let ready = wait_for(timeout, |table| scan(&watched, &mut sets, table)).map_err(no_handler)?;
    if ready.is_none() {
        sets.iter_mut().for_each(|set| set.fill(0));
    }
    for (set, user) in sets.iter().zip(user) {
        if !user.is_null() {
            copy_to_user(user.addr(), set.as_slice().as_bytes())?;
        }
    }
    Ok(ready.unwrap_or(0))
}

/// Fills the sets with what is ready; the number of bits, if there are any.
fn scan(watched: &[Watched], sets: &mut [Vec<u64>; 3], table: &mut PollTable) -> Option<usize> {
    sets.iter_mut().for_each(|set| set.fill(0));
    let mut ready = 0;
    for Watched { fd, file, sets: named } in watched {
        let events = file.ops.poll(file, table);
        for (i, set) in sets.iter_mut().enumerate() {
            if named[i] && events.intersects(PollEvents::from_bits_retain(WANTED[i])) {
                set[fd / 64] |= 1 << (fd % 64);
                ready += 1;
                table.seal();
            }
        }
    }
    (ready > 0).then_some(ready)
}

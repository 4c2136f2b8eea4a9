//! poll(2), ppoll(2).

use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, ERESTARTNOHAND};
use abi::poll::PollFd;
use abi::resource::RLIMIT_NOFILE;
use abi::time::Timespec;
use zerocopy::IntoBytes;

use super::{Timeout, finish, no_handler, wait_for, with_user_mask};
use crate::signal::restart_with;
use crate::sync::PollTable;
use crate::task::current;
use crate::uaccess::{UserPtr, copy_to_user};
use crate::vfs::{Fd, File, PollEvents};

/// poll(2): `timeout` in ms.
pub fn poll(fds: UserPtr<PollFd>, nfds: u32, timeout: i32) -> Result<usize> {
    poll_until(fds, nfds, Timeout::from_millis(timeout))
}

/// After a signal without handler it goes on to the same end.
fn poll_until(fds: UserPtr<PollFd>, nfds: u32, until: Timeout) -> Result<usize> {
    match do_poll(fds, nfds, until) {
        Err(ERESTARTNOHAND) => Err(restart_with(move || poll_until(fds, nfds, until).map(|n| n as u64))),
        outcome => outcome,
    }
}

/// ppoll(2)
pub fn ppoll(
    fds: UserPtr<PollFd>,
    nfds: u32,
    timeout: UserPtr<Timespec>,
    sigmask: u64,
    sigsetsize: u64,
) -> Result<usize> {
    let until = Timeout::from_user(timeout)?;
    let outcome = with_user_mask(sigmask, sigsetsize, || do_poll(fds, nfds, until));
    finish(outcome, until, |left| timeout.write(&left))
}

fn do_poll(fds: UserPtr<PollFd>, nfds: u32, timeout: Timeout) -> Result<usize> {
    let task = current();
    if u64::from(nfds) > task.process.rlimit(RLIMIT_NOFILE) {
        return Err(EINVAL);
    }
    let mut list = fds.read_array(nfds as usize)?;
    let table = task.files()?;
    let files: Vec<Option<Arc<File>>> = list.iter().map(|p| table.get(Fd(p.fd)).ok()).collect();
    drop(table);
    let ready = wait_for(timeout, |table| scan(&mut list, &files, table)).map_err(no_handler);
    // Also after a signal: no event is said of any.
    copy_to_user(fds.addr(), list.as_slice().as_bytes())?;
    Ok(ready?.unwrap_or(0))
}

/// Fills `revents`; the number of entries with any, if there are.
fn scan(list: &mut [PollFd], files: &[Option<Arc<File>>], table: &mut PollTable) -> Option<usize> {
    let mut ready = 0;
    for (entry, file) in list.iter_mut().zip(files) {
        let events = match file {
            _ if entry.fd < 0 => PollEvents::empty(),
            None => PollEvents::NVAL,
            Some(file) if file.is_path() => PollEvents::NVAL,
            Some(file) => {
                let wanted = PollEvents::from_bits_truncate(u32::from(entry.events)) | PollEvents::ALWAYS;
                file.ops.poll(file, table) & wanted
            }
        };
        entry.revents = events.bits() as u16;
        if !events.is_empty() {
            // The wait is over: the other files need not be registered with.
            table.seal();
            ready += 1;
        }
    }
    (ready > 0).then_some(ready)
}

//! poll, select, epoll.

use abi::poll::{EpollEvent, PollFd};

use super::super::line::Line;
use super::address;

flags! {
    poll_events(u16) in poll {
        POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLRDBAND POLLWRNORM POLLWRBAND POLLMSG POLLREMOVE
        POLLRDHUP
    }
    epoll_mask(u32) in poll {
        EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLNVAL EPOLLRDNORM EPOLLRDBAND EPOLLWRNORM EPOLLWRBAND EPOLLMSG
        EPOLLRDHUP EPOLLEXCLUSIVE EPOLLWAKEUP EPOLLONESHOT EPOLLET
    }
    /// epoll_create1(2)
    epoll_flags(u32) in poll { EPOLL_CLOEXEC }
}

values! {
    /// epoll_ctl(2)
    epoll_op(u32) in poll { EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD }
}

/// What poll(2) is asked; the count is the next argument.
pub fn poll_fds(raw: u64, line: &mut Line<'_>) {
    let count = line.next_arg();
    line.array(raw, count, |fd: &PollFd, line| {
        write!(line, "{{fd={}, events=", fd.fd);
        poll_events(u64::from(fd.events), line);
        line.put("}");
    });
}

/// The result of poll(2): what is ready.
pub fn poll_result(ready: u64, line: &mut Line<'_>) {
    write!(line, "{ready}");
    if ready == 0 {
        return line.put(" (Timeout)");
    }
    line.put(" ([");
    let mut first = true;
    for index in 0..line.arg(1).min(1024) {
        let at = line.arg(0).wrapping_add(index * size_of::<PollFd>() as u64);
        let Some(fd) = line.read::<PollFd>(at).filter(|fd| fd.revents != 0) else { continue };
        write!(line, "{}{{fd={}, revents=", if core::mem::take(&mut first) { "" } else { ", " }, fd.fd);
        poll_events(u64::from(fd.revents), line);
        line.put("}");
    }
    line.put("])");
}

fn fd_members(raw: u64, line: &mut Line<'_>) {
    let highest = line.arg(0).min(1024);
    line.put("[");
    let mut first = true;
    for fd in 0..highest {
        let Some(byte) = line.read::<u8>(raw.wrapping_add(fd / 8)) else { break };
        if byte >> (fd % 8) & 1 != 0 {
            write!(line, "{}{fd}", if core::mem::take(&mut first) { "" } else { " " });
        }
    }
    line.put("]");
}

/// A set of descriptors for select(2).
pub fn fd_set(raw: u64, line: &mut Line<'_>) {
    if raw == 0 { address(raw, line) } else { fd_members(raw, line) }
}

/// The result of select(2): what is ready.
pub fn select_result(ready: u64, line: &mut Line<'_>) {
    write!(line, "{ready}");
    if ready == 0 {
        return line.put(" (Timeout)");
    }
    let sets = [("in", line.arg(1)), ("out", line.arg(2)), ("exc", line.arg(3))];
    for (nth, (name, set)) in sets.into_iter().filter(|(_, set)| *set != 0).enumerate() {
        write!(line, "{}{name} ", if nth == 0 { " (" } else { ", " });
        fd_members(set, line);
    }
    line.put(")");
}

fn epoll_event_fields(event: &EpollEvent, line: &mut Line<'_>) {
    line.put("{events=");
    epoll_mask(u64::from(event.events), line);
    write!(line, ", data={:#x}}}", { event.data });
}

/// `struct epoll_event`
pub fn epoll_event(raw: u64, line: &mut Line<'_>) {
    line.object(raw, epoll_event_fields);
}

/// The events of epoll_wait(2).
pub fn epoll_events(raw: u64, line: &mut Line<'_>) {
    let count = line.result().unwrap_or(0);
    line.array(raw, count, epoll_event_fields);
}

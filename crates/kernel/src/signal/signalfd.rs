//! signalfd(2): reading signals as records. Whoever reads takes its own signals, whoever made the descriptor.

use abi::Result;
use abi::errno::{EAGAIN, EINVAL};
use abi::fcntl::OpenFlags;
use abi::signal::*;
use zerocopy::IntoBytes;

use super::deliver;
use crate::sync::{PollTable, SpinLock, rank};
use crate::task::{current, try_current};
use crate::uaccess::UserPtr;
use crate::vfs::anon::anon_file;
use crate::vfs::{Fd, File, FileMode, FileOps, IovDest, PollEvents};

const RECORD: usize = size_of::<SignalfdSiginfo>();

/// The open file.
struct SignalFd {
    /// Signals that it reads.
    mask: SpinLock<SigSet>,
}

impl FileOps for SignalFd {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        if dest.remaining() < RECORD {
            return Err(EINVAL);
        }
        let task = current();
        let except = SigSet::FULL.difference(*self.mask.lock());
        let mut done = 0;
        while dest.remaining() >= RECORD
            && let Some(info) = deliver::dequeue(&task, except)
        {
            match dest.write(record(&info).as_bytes()) {
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        if done == 0 { Err(EAGAIN) } else { Ok(done) }
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        let Some(task) = try_current() else { return PollEvents::empty() };
        table.register(&task.process.signal_queue);
        let shared = task.process.pending.lock().set;
        let own = task.signal.lock().pending.set;
        if shared.union(own).intersection(*self.mask.lock()).is_empty() {
            PollEvents::empty()
        } else {
            PollEvents::READABLE
        }
    }

    fn fdinfo(&self, _: &File) -> String {
        format!("sigmask:\t{:016x}\n", self.mask.lock().bits)
    }
}

/// signalfd(2)
pub fn signalfd(fd: Fd, mask: UserPtr<SigSet>, sigsetsize: usize) -> Result<Fd> {
    signalfd4(fd, mask, sigsetsize, 0)
}

/// signalfd4(2)
pub fn signalfd4(fd: Fd, mask: UserPtr<SigSet>, sigsetsize: usize, flags: u32) -> Result<Fd> {
    if sigsetsize != size_of::<SigSet>() || flags & !(SFD_CLOEXEC | SFD_NONBLOCK) != 0 {
        return Err(EINVAL);
    }
    let mask = mask.read()?.difference(SigSet::UNBLOCKABLE);
    if fd.0 != -1 {
        let file = fd.io()?;
        let signalfd = file.ops_as::<SignalFd>().ok_or(EINVAL)?;
        *signalfd.mask.lock() = mask;
        current().process.signal_queue.wake(PollEvents::READABLE);
        return Ok(fd);
    }
    let ops = SignalFd { mask: SpinLock::new(rank::LEAF, mask) };
    let open = OpenFlags::RDWR | OpenFlags::from_bits_retain(flags & SFD_NONBLOCK);
    let file = anon_file(
        "[signalfd]",
        Box::new(ops),
        open,
        FileMode::READ | FileMode::WRITE | FileMode::STREAM | FileMode::NOOP_SEEK,
    )?;
    current().files()?.install(file, flags & SFD_CLOEXEC != 0)
}

/// What of its union a siginfo uses.
#[derive(Debug, PartialEq, Eq)]
enum Layout {
    Kill,
    Timer,
    Rt,
    Chld,
    Fault,
    Poll,
    Sys,
}

fn layout(info: &SigInfo) -> Layout {
    let sig = info.si_signo as u32;
    match info.si_code {
        1..SI_KERNEL => match sig {
            SIGILL | SIGFPE | SIGSEGV | SIGBUS | SIGTRAP => Layout::Fault,
            SIGCHLD => Layout::Chld,
            SIGIO => Layout::Poll,
            SIGSYS => Layout::Sys,
            _ if info.si_code <= POLL_HUP => Layout::Poll,
            _ => Layout::Kill,
        },
        SI_TIMER => Layout::Timer,
        SI_SIGIO => Layout::Poll,
        ..=-1 => Layout::Rt,
        _ => Layout::Kill,
    }
}

fn record(info: &SigInfo) -> SignalfdSiginfo {
    let mut record = SignalfdSiginfo {
        ssi_signo: info.si_signo as u32,
        ssi_errno: info.si_errno,
        ssi_code: info.si_code,
        ..SignalfdSiginfo::default()
    };
    let value = |record: &mut SignalfdSiginfo| {
        record.ssi_ptr = info.si_value();
        record.ssi_int = info.si_value() as i32;
    };
    let layout = layout(info);
    if matches!(layout, Layout::Kill | Layout::Rt | Layout::Chld) {
        record.ssi_pid = info.si_pid() as u32;
        record.ssi_uid = info.si_uid();
    }
    match layout {
        Layout::Kill => {}
        Layout::Timer => {
            record.ssi_tid = info.si_timerid() as u32;
            record.ssi_overrun = info.si_overrun() as u32;
            value(&mut record);
        }
        Layout::Rt => value(&mut record),
        Layout::Chld => {
            record.ssi_status = info.si_status();
            record.ssi_utime = info.si_utime();
            record.ssi_stime = info.si_stime();
        }
        Layout::Fault => record.ssi_addr = info.si_addr(),
        Layout::Poll => {
            record.ssi_band = info.si_band() as u32;
            record.ssi_fd = info.si_fd();
        }
        Layout::Sys => {
            record.ssi_call_addr = info.si_call_addr();
            record.ssi_syscall = info.si_syscall();
            record.ssi_arch = info.si_arch();
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_what_the_sender_gave() {
        let rt = record(&SigInfo::rt(34, SI_QUEUE, 7, 1000, 0x1_0000_0002));
        assert_eq!((rt.ssi_signo, rt.ssi_pid, rt.ssi_uid, rt.ssi_int), (34, 7, 1000, 2));
        let timer = record(&SigInfo::timer(SIGALRM, 3, 5, 9));
        assert_eq!((timer.ssi_tid, timer.ssi_overrun, timer.ssi_ptr, timer.ssi_pid), (3, 5, 9, 0));
        let chld = record(&SigInfo::chld(CLD_EXITED, 12, 0, 4, 1, 2));
        assert_eq!((chld.ssi_pid, chld.ssi_status, chld.ssi_utime), (12, 4, 1));
        assert_eq!(layout(&SigInfo::fault(SIGSEGV, SEGV_MAPERR, 1)), Layout::Fault);
        assert_eq!(layout(&SigInfo::kill(SIGSEGV, SI_USER, 1, 1)), Layout::Kill);
        assert_eq!(layout(&SigInfo::new(SIGALRM, SI_KERNEL)), Layout::Kill);
    }
}

//! Decoders against a guest memory of one page.

use abi::errno::{EAGAIN, ENOENT, ERESTARTSYS};
use abi::nr;
use abi::poll::PollFd;
use abi::stat::Stat;
use abi::time::Timespec;
use zerocopy::IntoBytes;

use super::*;
use crate::syscall::lookup;

const BASE: u64 = 0x10000;

struct Page(Vec<u8>);

impl Page {
    fn new() -> Page {
        Page(vec![0; 4096])
    }

    /// Puts bytes at an offset and answers their address.
    fn put(&mut self, at: usize, data: &[u8]) -> u64 {
        self.0[at..at + data.len()].copy_from_slice(data);
        BASE + at as u64
    }
}

impl Memory for Page {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let Some(from) = addr.checked_sub(BASE).and_then(|at| self.0.get(at as usize..)) else { return 0 };
        let len = from.len().min(buf.len());
        buf[..len].copy_from_slice(&from[..len]);
        len
    }
}

/// The line of a call, without process and time; what it writes must be in `page` already.
fn line(number: u64, args: &[u64], result: Result<u64>, page: &Page) -> String {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let entry = lookup(number).unwrap();
    let params = params(Some(entry));
    let mut shown = Shown::new(&params, &all, page);
    let head = shown.head();
    shown.finish(&params, &all, &result, page);
    let mut value = Line::new(&all, page, Some(&result));
    show_result(entry.result, &result, &mut value);
    format!("{}({head}{}) = {}", entry.name, shown.tail(), value.text())
}

#[test]
fn paths_flags_and_errors() {
    let mut page = Page::new();
    let path = page.put(0, b"/etc/x\n\"\x01\x7f1\0");
    let at_cwd = -100i64 as u64;
    assert_eq!(
        line(nr::OPENAT, &[at_cwd, path, 0o2000000, 0], Err(ENOENT), &page),
        r#"openat(AT_FDCWD, "/etc/x\n\"\1\1771", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)"#
    );
    assert_eq!(
        line(nr::OPENAT, &[3, path, 0o101, 0o644], Ok(4), &page),
        r#"openat(3, "/etc/x\n\"\1\1771", O_WRONLY|O_CREAT, 0644) = 4"#
    );
    // An address that cannot be read is shown as it is.
    assert_eq!(line(nr::UNLINK, &[0x1234], Ok(0), &page), "unlink(0x1234) = 0");
    assert_eq!(line(nr::UNLINK, &[0], Ok(0), &page), "unlink(NULL) = 0");
}

#[test]
fn buffers_are_cut() {
    let mut page = Page::new();
    let text = page.put(0, &[b'x'; 40]);
    let cut = "x".repeat(32);
    assert_eq!(line(nr::WRITE, &[1, text, 40], Ok(40), &page), format!("write(1, \"{cut}\"..., 40) = 40"));
    // Only what was read.
    assert_eq!(line(nr::READ, &[0, text, 40], Ok(3), &page), "read(0, \"xxx\", 40) = 3");
    assert_eq!(
        line(nr::READ, &[0, text, 40], Err(EAGAIN), &page),
        "read(0, 0x10000, 40) = -1 EAGAIN (Resource temporarily unavailable)"
    );
    assert_eq!(
        line(nr::READ, &[0, text, 40], Err(ERESTARTSYS), &page),
        "read(0, 0x10000, 40) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)"
    );
    let iov = page.put(64, [text, 2, text, 8].as_bytes());
    assert_eq!(
        line(nr::READV, &[0, iov, 2], Ok(3), &page),
        "readv(0, [{iov_base=\"xx\", iov_len=2}, {iov_base=\"x\", iov_len=8}], 2) = 3"
    );
}

#[test]
fn structures() {
    let mut page = Page::new();
    let stat = Stat { st_mode: 0o100644, st_size: 7, ..Stat::default() };
    let buf = page.put(0, stat.as_bytes());
    assert_eq!(
        line(nr::FSTAT, &[3, buf], Ok(0), &page),
        "fstat(3, {st_mode=S_IFREG|0644, st_size=7, ...}) = 0"
    );
    let time = page.put(256, Timespec { tv_sec: 1, tv_nsec: 5 }.as_bytes());
    assert_eq!(line(nr::NANOSLEEP, &[time, 0], Ok(0), &page), "nanosleep({tv_sec=1, tv_nsec=5}, NULL) = 0");
    let fds = page.put(
        512,
        [PollFd { fd: 4, events: 1, revents: 0x11 }, PollFd { fd: 5, events: 4, revents: 0 }].as_bytes(),
    );
    assert_eq!(
        line(nr::POLL, &[fds, 2, u64::MAX], Ok(1), &page),
        "poll([{fd=4, events=POLLIN}, {fd=5, events=POLLOUT}], 2, -1) = 1 ([{fd=4, revents=POLLIN|POLLHUP}])"
    );
    let name = page.put(600, b"\x01\0/run/s\0");
    assert_eq!(
        line(nr::CONNECT, &[3, name, 9], Ok(0), &page),
        "connect(3, {sa_family=AF_UNIX, sun_path=\"/run/s\"}, 9) = 0"
    );
    let text = page.put(700, b"cat\0");
    let argv = page.put(720, [text, 0].as_bytes());
    assert_eq!(
        line(nr::EXECVE, &[text, argv, argv], Ok(0), &page),
        "execve(\"cat\", [\"cat\"], 0x102d0 /* 1 vars */) = 0"
    );
    let status = page.put(800, &9i32.to_ne_bytes());
    assert_eq!(
        line(nr::WAIT4, &[u64::MAX, status, 1, 0], Ok(7), &page),
        "wait4(-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}], WNOHANG, NULL) = 7"
    );
    let set = page.put(900, &(1u64 << 16 | 1 << 1).to_ne_bytes());
    assert_eq!(
        line(nr::RT_SIGPROCMASK, &[0, set, 0, 8], Ok(0), &page),
        "rt_sigprocmask(SIG_BLOCK, [INT CHLD], NULL, 8) = 0"
    );
}

#[test]
fn names_of_numbers() {
    let page = Page::new();
    assert_eq!(
        line(nr::MMAP, &[0, 70000, 3, 0x22, u64::MAX, 0], Ok(0x7000_0000), &page),
        "mmap(NULL, 70000, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x70000000"
    );
    assert_eq!(
        line(nr::CLONE, &[0x4111, 0, 0, 0, 0], Ok(9), &page),
        "clone(CLONE_VM|CLONE_VFORK|SIGCHLD, NULL, NULL, NULL, 0) = 9"
    );
    assert_eq!(line(nr::FUTEX, &[BASE, 129, 1], Ok(0), &page), "futex(0x10000, FUTEX_WAKE_PRIVATE, 1) = 0");
    assert_eq!(line(nr::FCNTL, &[3, 3], Ok(0o2), &page), "fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)");
    assert_eq!(line(nr::UMASK, &[0o22], Ok(0), &page), "umask(022) = 000");
    assert_eq!(line(nr::EXIT_GROUP, &[3], Ok(0), &page), "exit_group(3) = ?");
    assert_eq!(
        line(nr::SOCKET, &[1, 0o2000001, 0], Ok(3), &page),
        "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3"
    );
    // A bit without a name, and a number without one.
    assert_eq!(line(nr::MSYNC, &[0, 1, 0x100], Ok(0), &page), "msync(NULL, 1, 0x100) = 0");
    assert_eq!(line(nr::LSEEK, &[0, 1, 9], Ok(0), &page), "lseek(0, 1, 0x9) = 0");
}

#[test]
fn no_argument_makes_a_decoder_fail() {
    let page = Page::new();
    for (number, _) in crate::syscall::entries() {
        for value in [0, 1, BASE, BASE + 4090, u64::MAX - 3, u64::MAX, 1 << 63] {
            for result in [Ok(0), Ok(1 << 40), Err(EAGAIN)] {
                let text = line(number, &[value; 6], result, &page);
                assert!(text.len() < 64 * 1024, "{number} {value:#x}");
            }
        }
    }
}

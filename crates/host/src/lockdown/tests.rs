//! What a locked-in process can and cannot do, tried in a process of its own.

use super::{Policy, Ruleset, seal};
use std::os::fd::AsRawFd;

/// Set for the process that locks itself in.
const INSIDE: &str = "RUML_TEST_LOCKED";

#[test]
fn locked_in() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let program = std::env::current_exe().unwrap();
    let dir = std::env::temp_dir().join(format!("ruml-lockdown-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("open")).unwrap();
    std::fs::write(dir.join("open/file"), "open").unwrap();
    std::fs::write(dir.join("shut"), "shut").unwrap();
    let done = std::process::Command::new(program)
        .args(["--exact", "lockdown::tests::locked_in", "--nocapture", "--test-threads=1"])
        .env(INSIDE, &dir)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stdout));
    // Of fork, ptrace and the others a line each.
    assert!(said.contains("host call 101 is not on the list"), "{said}");
}

fn inside() {
    let dir = std::path::PathBuf::from(std::env::var_os(INSIDE).unwrap());
    let policy = Policy { read: Vec::new(), write: vec![dir.join("open")], network: false };
    // Before: all of it works.
    assert!(std::fs::read("/etc/passwd").is_ok());
    let landlock = Ruleset::new(&policy);
    if let Ok(rules) = &landlock {
        rules.enter().unwrap();
    }
    seal(false).unwrap();

    assert_eq!(std::fs::read(dir.join("open/file")).unwrap(), b"open");
    std::fs::write(dir.join("open/new"), "new").unwrap();
    std::fs::rename(dir.join("open/new"), dir.join("open/newer")).unwrap();
    assert!(std::fs::read_to_string("/proc/self/status").is_ok());
    assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
    if landlock.is_ok() {
        assert!(std::fs::read(dir.join("shut")).is_err());
        assert!(std::fs::read("/etc/passwd").is_err());
        assert!(std::fs::write("/tmp/ruml-lockdown-escape", "x").is_err());
    }
    let failed = |answer: libc::c_long, errno: i32| {
        answer == -1 && std::io::Error::last_os_error().raw_os_error() == Some(errno)
    };
    // SAFETY: each call takes no memory, or is refused before it would.
    unsafe {
        assert!(failed(libc::syscall(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0), libc::EPERM));
        assert!(failed(libc::syscall(libc::SYS_fork), libc::EPERM));
        assert!(failed(libc::fork().into(), libc::EPERM));
        assert!(failed(libc::syscall(libc::SYS_execve, c"/bin/true".as_ptr(), 0, 0), libc::EPERM));
        assert!(failed(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into(), libc::EPERM));
        assert!(failed(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0).into(), libc::EPERM));
        assert!(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) >= 0);
        let prot = libc::PROT_READ | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        assert!(libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0) == libc::MAP_FAILED);
        let (null, pty) = (std::io::stdin(), b"x");
        assert!(failed(libc::ioctl(null.as_raw_fd(), libc::TIOCSTI, pty.as_ptr()).into(), libc::EPERM));
        let limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        assert!(failed(libc::setrlimit(libc::RLIMIT_CORE, &limit).into(), libc::EPERM));
        assert!(failed(libc::syscall(libc::SYS_seccomp, 1, 0, 0), libc::EPERM));
    }
}

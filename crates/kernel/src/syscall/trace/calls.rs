//! Which calls are traced: `--trace=CALLS`.
//!
//! CALLS are names and classes with commas between; `!` before one takes it away. If the first is taken away, all others
//! are traced.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::nr;

/// Words of 64 calls.
const WORDS: usize = super::super::table::NR_SYSCALLS / 64;

static WANTED: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];

/// Whether a call is traced. Numbers that Linux does not know are traced with the last one of the table.
pub(super) fn wanted(number: u64) -> bool {
    let (word, bit) = place(number);
    WANTED[word].load(Ordering::Relaxed) & bit != 0
}

fn place(number: u64) -> (usize, u64) {
    let number = number.min(WORDS as u64 * 64 - 1);
    ((number / 64) as usize, 1 << (number % 64))
}

/// A set of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSet([u64; WORDS]);

impl Default for CallSet {
    /// All calls.
    fn default() -> CallSet {
        CallSet([!0; WORDS])
    }
}

impl CallSet {
    /// Reads `CALLS`; empty means all.
    ///
    /// # Errors
    /// A word that is neither a call nor a class, in words for the user.
    pub fn parse(text: &str) -> Result<CallSet, String> {
        let mut words = text.split(',').map(str::trim).filter(|w| !w.is_empty()).peekable();
        let mut set = match words.peek() {
            Some(first) if !first.starts_with('!') => CallSet([0; WORDS]),
            _ => CallSet::default(),
        };
        for word in words {
            match word.strip_prefix('!') {
                Some(name) => set.change(name, |word, bit| *word &= !bit)?,
                None => set.change(word, |word, bit| *word |= bit)?,
            }
        }
        Ok(set)
    }

    fn change(&mut self, name: &str, apply: impl Fn(&mut u64, u64)) -> Result<(), String> {
        let mut each = |number| {
            let (word, bit) = place(number);
            apply(&mut self.0[word], bit);
        };
        match name {
            "all" | "%all" => (0..WORDS as u64 * 64).for_each(each),
            "none" => {}
            _ => match name.strip_prefix('%') {
                Some(class) => class_calls(class).ok_or_else(|| no_class(name))?.for_each(each),
                None => each(number(name).ok_or_else(|| no_call(name))?),
            },
        }
        Ok(())
    }

    /// Makes it the set that [`wanted`] asks.
    pub(super) fn install(&self) {
        for (to, from) in WANTED.iter().zip(self.0) {
            to.store(from, Ordering::SeqCst);
        }
    }

    /// Whether a call is in it.
    #[cfg(test)]
    fn contains(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.0[word] & bit != 0
    }
}

fn number(name: &str) -> Option<u64> {
    (0..=nr::MAX).find(|n| nr::name(*n) == Some(name))
}

fn no_call(name: &str) -> String {
    let near: Vec<&str> =
        (0..=nr::MAX).filter_map(nr::name).filter(|n| n.contains(name) || near(n, name)).take(4).collect();
    let hint = if near.is_empty() {
        "use names as in the man pages, or %file, %desc, %process, %memory, %network, %signal, %ipc, %clock"
            .to_owned()
    } else {
        format!("did you mean {}?", near.join(" or "))
    };
    format!("trace: {name} is not a syscall; {hint}")
}

/// Whether two names differ in one letter.
fn near(a: &str, b: &str) -> bool {
    let (a, b) = if a.len() <= b.len() { (a.as_bytes(), b.as_bytes()) } else { (b.as_bytes(), a.as_bytes()) };
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    match b.len() - a.len() {
        0 => same < a.len() && a[same + 1..] == b[same + 1..],
        1 => a[same..] == b[same + 1..],
        _ => false,
    }
}

fn no_class(name: &str) -> String {
    let all: Vec<String> = CLASSES.iter().map(|(class, _)| format!("%{class}")).collect();
    format!("trace: {name} is not a class of syscalls; there are {}", all.join(", "))
}

fn class_calls(class: &str) -> Option<impl Iterator<Item = u64>> {
    let (_, names) = CLASSES.iter().find(|(name, _)| *name == class)?;
    // A test sees to it that every name is a call.
    Some(names.split_whitespace().filter_map(number))
}

/// The classes, as strace(1) has them.
const CLASSES: [(&str, &str); 8] = [
    (
        "file",
        "open creat openat openat2 stat lstat newfstatat statx statfs access faccessat faccessat2 readlink readlinkat \
         chmod fchmodat fchmodat2 chown lchown fchownat utime utimes futimesat utimensat truncate mkdir mkdirat rmdir \
         unlink unlinkat mknod mknodat link linkat symlink symlinkat rename renameat renameat2 chdir chroot getcwd \
         execve execveat mount umount2 pivot_root swapon swapoff setxattr lsetxattr getxattr lgetxattr listxattr \
         llistxattr removexattr lremovexattr setxattrat getxattrat listxattrat removexattrat name_to_handle_at \
         inotify_add_watch acct uselib quotactl fanotify_mark open_tree move_mount fspick mount_setattr",
    ),
    (
        "desc",
        "read write open close fstat lseek pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 pipe pipe2 dup \
         dup2 dup3 fcntl ioctl flock fsync fdatasync ftruncate getdents getdents64 fchdir fchmod fchown fstatfs \
         openat openat2 creat close_range sendfile copy_file_range splice tee vmsplice poll ppoll select pselect6 \
         epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 \
         timerfd_create timerfd_settime timerfd_gettime inotify_init inotify_init1 inotify_add_watch inotify_rm_watch \
         fsetxattr fgetxattr flistxattr fremovexattr fallocate fadvise64 readahead sync_file_range syncfs mmap \
         memfd_create pidfd_open pidfd_getfd pidfd_send_signal",
    ),
    (
        "process",
        "clone clone3 fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill rt_sigqueueinfo \
         rt_tgsigqueueinfo pidfd_send_signal arch_prctl unshare",
    ),
    (
        "memory",
        "mmap munmap mremap mprotect pkey_mprotect brk madvise process_madvise msync mincore mlock mlock2 munlock mlockall \
         munlockall remap_file_pages shmat shmdt mbind set_mempolicy get_mempolicy migrate_pages move_pages mseal",
    ),
    (
        "network",
        "socket socketpair bind listen accept accept4 connect getsockname getpeername shutdown setsockopt getsockopt \
         sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg",
    ),
    (
        "signal",
        "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo \
         rt_tgsigqueueinfo kill tkill tgkill sigaltstack pause signalfd signalfd4 pidfd_send_signal",
    ),
    ("ipc", "msgget msgsnd msgrcv msgctl semget semop semtimedop semctl shmget shmat shmdt shmctl"),
    (
        "clock",
        "clock_gettime clock_settime clock_getres clock_adjtime adjtimex gettimeofday settimeofday time",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_class_is_a_call() {
        for (class, names) in CLASSES {
            for name in names.split_whitespace() {
                assert!(number(name).is_some(), "{name} of %{class}");
            }
        }
    }

    #[test]
    fn sets() {
        assert_eq!(CallSet::parse("").unwrap(), CallSet::default());
        let set = CallSet::parse("openat,%signal,!kill").unwrap();
        assert!(set.contains(nr::OPENAT) && set.contains(nr::PAUSE));
        assert!(!set.contains(nr::KILL) && !set.contains(nr::READ));
        let set = CallSet::parse("!read,!%memory").unwrap();
        assert!(set.contains(nr::WRITE) && !set.contains(nr::READ) && !set.contains(nr::MMAP));
    }

    #[test]
    fn a_wrong_name_says_what_to_do() {
        assert!(CallSet::parse("opnat").unwrap_err().contains("did you mean openat"));
        assert!(CallSet::parse("xyzzy").unwrap_err().contains("%file"));
        assert!(CallSet::parse("%files").unwrap_err().contains("%network"));
    }
}

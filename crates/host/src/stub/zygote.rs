//! The first stub, of which all others are forks, and the pool of fresh ones.
//!
//! It is made once: a fork of this program that executes the embedded stub image, which locks itself in and then only
//! forks. Locks: the zygote's own, and the pool's, which is a leaf.

use super::abi::*;
use super::filter;
use super::notify::{self, LISTENER, Listener};
use super::process::{self, PROCESS_VM};
use super::regs::Regs;
use super::space::AddressSpace;
use super::thread::StubThread;
use super::window::{Mapping, Woke};
use crate::sys::{self, check, check_fd};
use crate::{clock, random, vdso};
use abi::errno::*;
use abi::{Errno, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering::*;
use std::sync::{Arc, Once, OnceLock};

static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stub"));
/// Device and inode of the image that stubs execute.
static IDENTITY: OnceLock<(u64, u64)> = OnceLock::new();
static ZYGOTE: Mutex<Option<StubThread>> = Mutex::new(None);
static POOL: Mutex<VecDeque<StubThread>> = Mutex::new(VecDeque::new());
static POOL_WANTS: Condvar = Condvar::new();

/// How long the first stub may take to start, ns.
const START_NS: u64 = 10_000_000_000;

fn failed(what: &str, error: impl std::fmt::Display) -> String {
    format!("cannot start a guest address space: {what}: {error}")
}

/// A fresh stub for a new program.
pub(super) fn fresh() -> Result<(Arc<AddressSpace>, StubThread)> {
    let pooled = {
        let mut pool = POOL.lock();
        // The last is the heir.
        if pool.len() > 1 { pool.pop_front() } else { None }
    };
    POOL_WANTS.notify_one();
    let thread = match pooled {
        Some(thread) if !thread.space.is_dead() => thread,
        _ => fork()?,
    };
    Ok((thread.space.clone(), thread))
}

fn fork() -> Result<StubThread> {
    let mut zygote = ZYGOTE.lock();
    loop {
        match zygote.as_mut().ok_or(ENOSYS)?.fork() {
            Ok((_, mut thread)) => {
                // It may wait long: it has nothing to spin for.
                thread.mapping.get().spin.store(0, Relaxed);
                thread.regs = Regs::initial();
                return Ok(thread);
            }
            // The host has killed it. Those in the pool have run nothing yet, and are as good as it was.
            Err(ESRCH) => *zygote = Some(heir()?),
            Err(errno) => return Err(errno),
        }
    }
}

/// A stub from the pool. EAGAIN when there is none.
fn heir() -> Result<StubThread> {
    static TOLD: Once = Once::new();
    let mut pool = POOL.lock();
    while let Some(thread) = pool.pop_back() {
        if !thread.space.is_dead() {
            return Ok(thread);
        }
    }
    TOLD.call_once(|| {
        eprintln!(
            "ruml: the host has killed the stub that all others are made from: no program can be started"
        );
    });
    Err(EAGAIN)
}

/// Keeps `count` fresh stubs ready, and one more in case that the first one dies.
pub(crate) fn keep_pool(count: usize) {
    loop {
        let mut pool = POOL.lock();
        while pool.len() > count {
            POOL_WANTS.wait(&mut pool);
        }
        drop(pool);
        match fork() {
            Ok(thread) => POOL.lock().push_back(thread),
            // The host is out of processes or memory; whoever needs one will hear of it.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
}

/// Has guest memory copied through the windows even where the host would copy it for us.
pub(crate) fn refuse_process_vm() {
    PROCESS_VM.store(false, Relaxed);
}

/// Whether a process runs the stub's image.
pub(super) fn is_stub(pid: i32) -> bool {
    use std::os::unix::fs::MetadataExt;
    let exe = std::fs::metadata(format!("/proc/{pid}/exe"));
    exe.is_ok_and(|exe| IDENTITY.get() == Some(&(exe.dev(), exe.ino())))
}

/// The image in an executable memfd that nobody can change.
fn image() -> Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string. MFD_EXEC is new: a host that does not know it needs no such flag.
    let mut fd = unsafe { libc::memfd_create(c"ruml-stub".as_ptr(), flags | libc::MFD_EXEC) };
    if fd < 0 {
        // SAFETY: as above.
        fd = unsafe { libc::memfd_create(c"ruml-stub".as_ptr(), flags) };
    }
    let fd = check_fd(fd.into())?;
    let file = std::fs::File::from(fd);
    std::os::unix::fs::FileExt::write_all_at(&file, IMAGE, 0).map_err(|_| ENOMEM)?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into())?;
    let meta = file.metadata().map_err(|_| EIO)?;
    use std::os::unix::fs::MetadataExt;
    IDENTITY.get_or_init(|| (meta.dev(), meta.ino()));
    Ok(OwnedFd::from(file))
}

/// Starts the first stub, as a child of the calling thread, which must live as long as the program.
pub(crate) fn start() -> std::result::Result<(), String> {
    let image = image().map_err(|e| failed("memfd_create", e))?;
    let (socket, theirs) = sys::socket_pair().map_err(|e| failed("socketpair", e))?;
    let (mapping, memory) = Mapping::new().map_err(|e| failed("shared memory", e))?;
    let window = mapping.get();
    // SAFETY: getauxval has no preconditions.
    let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    window.fsgsbase.store((hwcap2 >> 1 & 1) as u32, Relaxed);
    let mut nonce = [0; 8];
    random::fill(&mut nonce);
    window.parent.store(std::process::id(), Relaxed);
    window.nonce.store(u64::from_ne_bytes(nonce), Relaxed);
    let pid = spawn(image.as_raw_fd(), theirs.as_raw_fd()).map_err(|e| failed("fork", e))?;
    drop(theirs);
    let hello = hello();
    // SAFETY: Hello is integers without padding.
    let bytes = unsafe { std::slice::from_raw_parts((&raw const *hello).cast::<u8>(), size_of::<Hello>()) };
    sys::send_fds(&socket, bytes, &[memory.as_raw_fd()]).map_err(|e| failed("control socket", e))?;
    drop(memory);
    let (answer, listener) = answer(&socket)?;
    let listener = Listener { fd: listener, fork_site: answer.fork_site, thread_site: answer.thread_site };
    if LISTENER.set(listener).is_err() {
        return Err("the machine is already initialised".into());
    }
    let notary = std::thread::Builder::new().name("ruml-notary".into()).spawn(notify::answer_forever);
    notary.map_err(|e| failed("a host thread", e))?;
    window.vdso.store(answer.vdso, Relaxed);
    window.vdso_end.store(if answer.vdso == 0 { 0 } else { answer.vdso + vdso::host_len() }, Relaxed);
    vdso::init(answer.vdso).map_err(|e| failed("the vDSO's memory", e))?;
    let gone = || process::has_exited(pid);
    if mapping.wait(None, false, Some(clock::monotonic() + START_NS), &gone) != Woke::Turn {
        return Err(failed(
            "seccomp filter",
            "refused by the host (is seccomp enabled? CONFIG_SECCOMP_FILTER)",
        ));
    }
    check_copies(pid);
    let process = process::adopt(pid, &mapping, SLOTS, u64::from_ne_bytes(nonce))
        .map_err(|e| failed("the stub is not what was started", e))?;
    let fpstate = window.fpstate.load(Relaxed);
    let mut thread = StubThread {
        regs: Regs::initial(),
        space: AddressSpace::new(process, socket, 0),
        mapping,
        slot: 0,
        tid: pid,
        leader: true,
        deferred: Vec::new(),
        fpstate,
        core: None,
        spin: false,
        argument: (0, 0),
        usage: None,
        copies: 0,
        newborn: Vec::new(),
        emptying: false,
    };
    thread.make_copier().map_err(|e| failed("a thread for copies", e))?;
    thread.fp_learn().map_err(|e| failed("the signal frame's vector state", e))?;
    thread.reset_fpstate();
    *ZYGOTE.lock() = Some(thread);
    Ok(())
}

fn hello() -> Box<Hello> {
    let mut hello =
        Box::new(Hello { listener_len: 0, filter_len: 0, listener: [0; 16], filter: [0; FILTER_MAX] });
    let pack = |insn: &libc::sock_filter| {
        u64::from(insn.code) | u64::from(insn.jt) << 16 | u64::from(insn.jf) << 24 | u64::from(insn.k) << 32
    };
    let (listener, strict) = (filter::listener(), filter::strict());
    hello.listener_len = listener.len() as u64;
    hello.filter_len = strict.len() as u64;
    hello.listener.iter_mut().zip(&listener).for_each(|(to, insn)| *to = pack(insn));
    hello.filter.iter_mut().zip(&strict).for_each(|(to, insn)| *to = pack(insn));
    hello
}

fn answer(socket: &OwnedFd) -> std::result::Result<(Answer, OwnedFd), String> {
    let mut words = [0u8; size_of::<Answer>()];
    let (n, listener) = sys::receive_fd(socket, &mut words).map_err(|e| failed("control socket", e))?;
    if n != words.len() {
        return Err(failed(
            "execveat",
            "the host does not run programs from a memfd (see the sysctl vm.memfd_noexec, which must not be 2)",
        ));
    }
    // SAFETY: Answer is integers, for which any bytes are a value.
    let answer = unsafe { words.as_ptr().cast::<Answer>().read_unaligned() };
    if answer.error != 0 {
        let steps = [
            "control socket",
            "the vDSO (is CONFIG_MSEAL_SYSTEM_MAPPINGS set?)",
            "window",
            "signal stack",
            "sigaltstack",
            "rt_sigaction",
            "prctl",
            "seccomp user notification",
        ];
        let step = steps.get(answer.step as usize - 1).unwrap_or(&"start");
        return Err(failed(step, Errno::from_raw((-answer.error) as i32)));
    }
    let listener = listener.ok_or_else(|| failed("seccomp", "no listener came"))?;
    Ok((answer, listener))
}

/// Settles whether guest memory can be copied by the host's own call.
fn check_copies(pid: i32) {
    let mut word = [0; 8];
    if process::copy_from(pid, &[(SLOTS, 8)], &mut word) != Ok(8) {
        PROCESS_VM.store(false, Relaxed);
    }
}

/// The child's half of [`start`]: everything it calls is safe between fork and exec in a program with threads.
fn spawn(image: RawFd, socket: RawFd) -> Result<i32> {
    // Out of the way of the descriptors that the stub has.
    // SAFETY: no memory is passed.
    let image = check_fd(unsafe { libc::fcntl(image, libc::F_DUPFD_CLOEXEC, 16) }.into())?;
    // SAFETY: as above.
    let socket = check_fd(unsafe { libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, 16) }.into())?;
    // SAFETY: no memory is passed.
    let parent = unsafe { libc::getpid() };
    // SAFETY: the child only makes the direct host calls below until it executes another program.
    let pid = check(unsafe { libc::fork() }.into())? as i32;
    if pid != 0 {
        return Ok(pid);
    }
    let argv = [c"ruml-stub".as_ptr().cast_mut(), std::ptr::null_mut()];
    let envp: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: plain host calls on values of this stack frame; nothing allocates or locks.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(1);
        }
        for signal in 1..65 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let none: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        libc::setrlimit(libc::RLIMIT_CORE, &libc::rlimit { rlim_cur: 0, rlim_max: 0 });
        let mut stack: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_STACK, &mut stack);
        stack.rlim_cur = stack.rlim_max.min(8 << 20);
        libc::setrlimit(libc::RLIMIT_STACK, &stack);
        // The host then puts its vDSO and the first stack high, out of the guest's part of the address space.
        libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong);
        libc::dup2(socket.as_raw_fd(), CONTROL);
        for fd in 0..CONTROL {
            libc::close(fd);
        }
        // No descriptor of ours may get into a stub.
        if libc::syscall(libc::SYS_close_range, CONTROL + 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0 {
            for fd in CONTROL + 1..1 << 20 {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        libc::syscall(
            libc::SYS_execveat,
            image.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
        libc::_exit(127)
    }
}

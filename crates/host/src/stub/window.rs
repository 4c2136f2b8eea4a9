//! The kernel's side of a window: a shared page through which a stub thread and the kernel talk.
//!
//! Nothing read here can be trusted: a value is loaded once and then judged. See `abi` for the layout.

use super::abi::*;
use super::undertaker;
use crate::cpu::Cpu;
use crate::sys::{check, check_fd, futex_wait, futex_wake};
use crate::{clock, sys};
use abi::Result;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering::*};
use std::sync::{Arc, OnceLock};

/// How long either side looks for its turn before it sleeps, ns.
const SPIN_NS: u64 = 50_000;

/// The same for the kernel's side of an order that involves no guest code, which never takes long: a fork as a rule not
/// even this long, and to be woken costs as much as half of one.
const ORDER_SPIN_NS: u64 = 200_000;

/// How often a stub that has lost the turn to another on its core lets that one run before it sleeps.
const WAYS: u32 = 8;

/// A spinning thread that has not looked for this long has lost its core to someone else, ns.
const STOLEN_NS: u64 = 300_000;

/// Makes a sleeper on a window's turn word look again.
pub(crate) fn turn_kick(word: &AtomicU32) {
    word.fetch_or(turn::KICK, SeqCst);
    futex_wake(word, true);
}

/// How many looks of the stub's loop take [`SPIN_NS`].
pub(super) fn stub_looks() -> u32 {
    static LOOKS: OnceLock<u32> = OnceLock::new();
    *LOOKS.get_or_init(|| {
        let word = AtomicU32::new(0);
        let time = |rounds: u64| {
            let start = clock::monotonic();
            for _ in 0..rounds {
                std::hint::black_box(word.load(Acquire));
                std::hint::spin_loop();
            }
            (clock::monotonic() - start).max(1)
        };
        // The best of several: a preemption in between would make the loop seem slow.
        let ns = (0..5).map(|_| time(2000)).min().unwrap_or(1);
        u32::try_from(SPIN_NS * 2000 / ns).unwrap_or(u32::MAX).clamp(50, 1_000_000)
    })
}

/// What ended a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Woke {
    /// It is the kernel's turn.
    Turn,
    /// The deadline has passed.
    Late,
    /// The vCPU was kicked.
    Kicked,
    /// The process has died.
    Dead,
}

/// A window as mapped in the kernel.
pub(crate) struct Mapping {
    at: NonNull<Window>,
}

// SAFETY: every field of a window is atomic.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// A fresh window, and the descriptor that its stub maps it by and that nobody needs after that. It is never a window
    /// that another process has had: that could still hold a mapping of it.
    pub(super) fn new() -> Result<(Arc<Mapping>, OwnedFd)> {
        // SAFETY: the name is a C string.
        let fd = check_fd(unsafe { libc::memfd_create(c"ruml-window".as_ptr(), libc::MFD_CLOEXEC) }.into())?;
        // SAFETY: no memory is passed.
        check(unsafe { libc::ftruncate(fd.as_raw_fd(), WINDOW_LEN as i64) }.into())?;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the host chooses a free place for the mapping.
        let at = unsafe {
            libc::mmap(ptr::null_mut(), WINDOW_LEN as usize, prot, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED {
            return Err(sys::errno());
        }
        let at = NonNull::new(at.cast()).ok_or(abi::errno::ENOMEM)?;
        Ok((Arc::new(Mapping { at }), fd))
    }

    /// The window. Its words are the guest's to change at any time.
    #[inline]
    pub(crate) fn get(&self) -> &Window {
        // SAFETY: mapped until drop, every field atomic, and the file cannot be cut shorter by anyone.
        unsafe { self.at.as_ref() }
    }

    /// Gives the turn to the stub.
    #[inline]
    pub(super) fn release(&self, spin: bool) {
        let window = self.get();
        window.spin.store(if spin { stub_looks() } else { 0 }, Relaxed);
        window.turn.store(0, SeqCst);
        if window.stub_waits.load(SeqCst) != 0 {
            futex_wake(&window.turn, true);
        }
    }

    /// The same, and others may have its core at once when it has done what it is told.
    pub(super) fn release_giving_way(&self, spin: bool) {
        let window = self.get();
        self.give_way(spin);
        window.turn.store(0, SeqCst);
        if window.stub_waits.load(SeqCst) != 0 {
            futex_wake(&window.turn, true);
        }
    }

    /// The stub's core is wanted by another that may soon need this one again.
    pub(crate) fn give_way(&self, spin: bool) {
        self.get().spin.store(if spin { GIVE_WAY | WAYS } else { 0 }, Relaxed);
    }

    #[inline]
    pub(super) fn has_turn(&self) -> bool {
        self.get().turn.load(Acquire) & turn::KERNEL != 0
    }

    /// Waits for the turn. `dead` is asked now and then, and whoever makes it true kicks the turn word.
    pub(super) fn wait(
        &self,
        cpu: Option<&Cpu>,
        spin: bool,
        deadline: Option<u64>,
        dead: &dyn Fn() -> bool,
    ) -> Woke {
        let window = self.get();
        let mut looks = 0u32;
        let (mut spin_end, mut last_look) = (0, 0);
        loop {
            if self.has_turn() {
                return Woke::Turn;
            }
            if cpu.is_some_and(Cpu::take_kick) {
                return Woke::Kicked;
            }
            if looks % 32 == 31 || !spin {
                if dead() {
                    return Woke::Dead;
                }
                if spin || deadline.is_some() {
                    let now = clock::monotonic();
                    if deadline.is_some_and(|deadline| now >= deadline) {
                        return Woke::Late;
                    }
                    if spin_end == 0 {
                        spin_end = now + if cpu.is_some() { SPIN_NS } else { ORDER_SPIN_NS };
                    }
                    if let Some(cpu) = cpu
                        && last_look != 0
                        && now - last_look > STOLEN_NS
                    {
                        cpu.stolen(now);
                    }
                    last_look = now;
                    if spin && now < spin_end {
                        looks = looks.wrapping_add(1);
                        continue;
                    }
                }
                if cpu.is_some() && undertaker::end_one() {
                    continue;
                }
                window.kernel_waits.store(1, SeqCst);
                let seen = window.turn.load(SeqCst);
                if seen & turn::KERNEL == 0 && !dead() {
                    if seen & turn::KICK != 0 {
                        window.turn.fetch_and(!turn::KICK, SeqCst);
                    } else {
                        match cpu {
                            Some(cpu) => cpu.sleep_on(&window.turn, seen, deadline),
                            None => futex_wait(&window.turn, seen, true, deadline),
                        }
                    }
                }
                window.kernel_waits.store(0, Relaxed);
                last_look = 0;
            } else {
                std::hint::spin_loop();
                looks += 1;
            }
        }
    }
}

/// The data area. The guest may write to it meanwhile, so no reference to it is made, and it is copied by an instruction
/// that the compiler knows nothing of.
impl Mapping {
    /// Where `len` bytes of the data area begin at `offset`.
    fn data(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset.checked_add(len).is_some_and(|end| end <= DATA_LEN as usize));
        // SAFETY: the window's mapping is DATA_OFFSET + DATA_LEN bytes long.
        unsafe { self.at.as_ptr().cast::<u8>().add(DATA_OFFSET as usize + offset) }
    }

    /// Copies out of the data area.
    pub(super) fn read_data(&self, offset: usize, buf: &mut [u8]) {
        // SAFETY: both ranges are that long and mapped, and they do not overlap.
        unsafe { copy_bytes(buf.as_mut_ptr(), self.data(offset, buf.len()), buf.len()) };
    }

    /// Copies into the data area.
    pub(super) fn write_data(&self, offset: usize, buf: &[u8]) {
        // SAFETY: as above.
        unsafe { copy_bytes(self.data(offset, buf.len()), buf.as_ptr(), buf.len()) };
    }
}

/// Copies memory that others may change meanwhile.
///
/// # Safety
/// `from` is readable and `to` writable for `len` bytes, and they do not overlap.
unsafe fn copy_bytes(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller's promise; the direction flag is clear in Rust code.
    unsafe {
        std::arch::asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") len => _,
            options(nostack, preserves_flags));
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no reference outlives `self`.
        unsafe { libc::munmap(self.at.as_ptr().cast(), WINDOW_LEN as usize) };
    }
}

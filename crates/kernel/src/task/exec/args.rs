//! Reading `argv` and `envp` of execve(2) out of guest memory.

use std::sync::Arc;

use abi::Result;
use abi::elf::MAX_ARG_STRLEN;
use abi::errno::{E2BIG, EFAULT};
use abi::resource::RLIMIT_STACK;

use crate::mm::Mm;
use crate::task::current;

/// Strings mostly lie one after the other: one copy of this many bytes serves many.
const WINDOW: usize = 8192;
/// Linux's ARG_MAX: so much is always allowed.
const ARG_MIN: u64 = 128 * 1024;
/// Three quarters of the default stack: never more than this.
const ARG_CAP: u64 = 6 << 20;

/// Arguments and environment, and how much of them is still allowed.
pub struct ArgReader {
    mm: Arc<Mm>,
    /// Guest memory read last, and before that: address and bytes. Pointers and strings are rarely in one place.
    window: (u64, Vec<u8>),
    other: (u64, Vec<u8>),
    left: u64,
}

/// Bytes of strings and pointers that the stack limit allows.
pub fn arg_limit() -> u64 {
    (current().process.rlimit(RLIMIT_STACK) / 4).clamp(ARG_MIN, ARG_CAP)
}

impl ArgReader {
    /// A reader of the current task's memory.
    pub fn new() -> Result<ArgReader> {
        Ok(ArgReader {
            mm: current().mm()?,
            window: (0, Vec::new()),
            other: (0, Vec::new()),
            left: arg_limit(),
        })
    }

    /// The strings of a null-terminated array of pointers; none for a null array. EFAULT, E2BIG.
    pub fn strings(&mut self, array: u64) -> Result<Vec<Vec<u8>>> {
        let mut strings = Vec::new();
        if array == 0 {
            return Ok(strings);
        }
        for pointer in self.pointers(array)? {
            strings.push(self.string(pointer)?);
        }
        Ok(strings)
    }

    fn spend(&mut self, bytes: u64) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or(E2BIG)?;
        Ok(())
    }

    fn pointers(&mut self, array: u64) -> Result<Vec<u64>> {
        let mut pointers = Vec::new();
        loop {
            let addr = array.wrapping_add(pointers.len() as u64 * 8);
            self.need(addr, 8)?;
            let known = &self.window.1[(addr - self.window.0) as usize..];
            let mut words = known.chunks_exact(8).map(|w| w.try_into().map_or(0, u64::from_le_bytes));
            let before = pointers.len();
            let ended = words.by_ref().any(|word| {
                if word != 0 {
                    pointers.push(word);
                }
                word == 0
            });
            self.spend((pointers.len() - before) as u64 * 8)?;
            if ended {
                return Ok(pointers);
            }
        }
    }

    fn string(&mut self, addr: u64) -> Result<Vec<u8>> {
        let mut string = Vec::new();
        loop {
            let at = addr.wrapping_add(string.len() as u64);
            self.need(at, 1)?;
            let known = &self.window.1[(at - self.window.0) as usize..];
            let end = known.iter().position(|&b| b == 0);
            string.extend_from_slice(&known[..end.unwrap_or(known.len())]);
            if string.len() >= MAX_ARG_STRLEN || string.len() as u64 >= self.left {
                return Err(E2BIG);
            }
            if end.is_some() {
                self.spend(string.len() as u64 + 1)?;
                return Ok(string);
            }
        }
    }

    /// Has `len` bytes at `addr` in the window. EFAULT.
    fn need(&mut self, addr: u64, len: usize) -> Result<()> {
        let holds = |(at, bytes): &(u64, Vec<u8>)| {
            let known =
                addr.checked_sub(*at).and_then(|skip| bytes.len().checked_sub(usize::try_from(skip).ok()?));
            known.is_some_and(|known| known >= len)
        };
        if holds(&self.window) {
            return Ok(());
        }
        core::mem::swap(&mut self.window, &mut self.other);
        if holds(&self.window) {
            return Ok(());
        }
        let (at, bytes) = &mut self.window;
        bytes.resize(WINDOW, 0);
        let mut got = self.mm.space.read(addr, bytes);
        if got < len {
            got = self.mm.read(addr, &mut bytes[..len]);
        }
        bytes.truncate(got);
        *at = addr;
        if got < len { Err(EFAULT) } else { Ok(()) }
    }
}

//! The text of an argument or result, and what a decoder may look at for it.

use std::fmt;
use std::sync::Arc;

use abi::Result;
use zerocopy::{FromBytes, IntoBytes};

use crate::mm::Mm;

/// Shows a register.
pub type Decoder = fn(u64, &mut Line<'_>);

/// How an argument is shown.
#[derive(Clone, Copy)]
pub enum Param {
    /// As its type has it.
    Typed,
    /// By this decoder, before the call.
    Before(Decoder),
    /// By this decoder, after the call: the call writes there.
    After(Decoder),
}

/// Bytes of a buffer that are shown.
const STRING_MAX: usize = 32;
/// Bytes of a name that are shown.
const PATH_SHOWN: usize = 4096;
/// Elements of an array that are shown.
const ARRAY_MAX: usize = 16;

/// Guest memory as a trace reads it: without serving faults.
pub trait Memory {
    /// Fills `buf` as far as possible; how far.
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize;
}

impl Memory for Option<Arc<Mm>> {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        self.as_ref().map_or(0, |mm| mm.peek(addr, buf))
    }
}

/// A piece of a trace line: text is written to it.
pub struct Line<'a> {
    text: String,
    args: &'a [u64; 6],
    index: usize,
    memory: &'a dyn Memory,
    result: Option<&'a Result<u64>>,
    omitted: bool,
}

impl<'a> Line<'a> {
    /// An empty piece for a call with these arguments; `result` once it has returned.
    pub(super) fn new(
        args: &'a [u64; 6],
        memory: &'a dyn Memory,
        result: Option<&'a Result<u64>>,
    ) -> Line<'a> {
        Line { text: String::new(), args, index: 0, memory, result, omitted: false }
    }

    /// The text of argument `index`; none if it is left out.
    pub(super) fn argument(mut self, index: usize, decoder: Decoder) -> Option<String> {
        self.index = index;
        decoder(self.args.get(index).copied().unwrap_or(0), &mut self);
        (!self.omitted).then_some(self.text)
    }

    /// The text so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Cuts the text to `len` bytes of it.
    pub(super) fn truncate(&mut self, len: usize) {
        self.text.truncate(len);
    }

    /// What `write!` calls.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) {
        // A String takes all text.
        let _ = fmt::Write::write_fmt(&mut self.text, text);
    }

    /// Appends text.
    pub fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Appends a word of it as an address.
    pub fn put_addr(&mut self, addr: u64) {
        if addr == 0 { self.put("NULL") } else { write!(self, "{addr:#x}") }
    }

    /// Leaves the argument out: the call does not look at it. Not for the first one that is shown after the call.
    pub fn omit(&mut self) {
        self.omitted = true;
    }

    /// Argument `index` of the call.
    pub fn arg(&self, index: usize) -> u64 {
        self.args.get(index).copied().unwrap_or(0)
    }

    /// The argument after this one.
    pub fn next_arg(&self) -> u64 {
        self.arg(self.index + 1)
    }

    /// The argument before this one.
    pub fn previous_arg(&self) -> u64 {
        self.index.checked_sub(1).map_or(0, |index| self.arg(index))
    }

    /// Whether this and all later arguments are 0.
    pub fn rest_is_zero(&self) -> bool {
        self.args.iter().skip(self.index).all(|a| *a == 0)
    }

    /// What the call returned, if it has succeeded.
    pub fn result(&self) -> Option<u64> {
        self.result.and_then(|r| r.ok())
    }

    /// Whether the call has returned an error: nothing can be told of what it should have written.
    pub fn failed(&self) -> bool {
        matches!(self.result, Some(Err(_)))
    }

    /// Reads a structure of the guest's.
    pub fn read<T: FromBytes + IntoBytes>(&self, addr: u64) -> Option<T> {
        let mut value = T::new_zeroed();
        let len = size_of::<T>();
        (addr != 0 && self.memory.read(addr, value.as_mut_bytes()) == len).then_some(value)
    }

    /// Reads the first `len` bytes of a structure; whether they were all there.
    pub fn read_part<T: FromBytes + IntoBytes>(&self, addr: u64, value: &mut T, len: usize) -> bool {
        let len = len.min(size_of::<T>());
        self.memory.read(addr, &mut value.as_mut_bytes()[..len]) == len
    }

    /// Shows the structure at `addr` by `show`, or the address if it can't be read or the call has failed.
    pub fn object<T: FromBytes + IntoBytes>(&mut self, addr: u64, show: impl FnOnce(&T, &mut Self)) {
        match self.read::<T>(addr).filter(|_| !self.failed()) {
            Some(value) => show(&value, self),
            None => self.put_addr(addr),
        }
    }

    /// Shows `count` elements at `addr`: `[A, B, …]`.
    pub fn array<T: FromBytes + IntoBytes>(
        &mut self,
        addr: u64,
        count: u64,
        mut show: impl FnMut(&T, &mut Self),
    ) {
        if addr == 0 || self.failed() {
            return self.put_addr(addr);
        }
        self.put("[");
        for index in 0..count {
            if index > 0 {
                self.put(", ");
            }
            if index >= ARRAY_MAX as u64 {
                self.put("...");
                break;
            }
            let at = addr.wrapping_add(index.wrapping_mul(size_of::<T>() as u64));
            match self.read::<T>(at) {
                Some(value) => show(&value, self),
                None => {
                    self.put("... /* ");
                    self.put_addr(at);
                    self.put(" */");
                    break;
                }
            }
        }
        self.put("]");
    }

    /// Shows `len` bytes at `addr` as a string, cut after 32.
    pub fn bytes(&mut self, addr: u64, len: u64) {
        let mut data = [0; STRING_MAX];
        let want = usize::try_from(len).unwrap_or(usize::MAX).min(STRING_MAX);
        if addr == 0 || self.failed() || self.memory.read(addr, &mut data[..want]) < want {
            return self.put_addr(addr);
        }
        self.quote(&data[..want]);
        if len > STRING_MAX as u64 {
            self.put("...");
        }
    }

    /// Shows the zero-terminated string at `addr`.
    pub fn string(&mut self, addr: u64) {
        match self.read_string(addr).filter(|_| !self.failed()) {
            Some(text) => self.quote(&text),
            None => self.put_addr(addr),
        }
    }

    fn read_string(&self, addr: u64) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut at = addr;
        while addr != 0 && text.len() < PATH_SHOWN {
            let mut chunk = [0; 256];
            // Not over the end of a page: the next one may not be there.
            let want = chunk.len().min(4096 - (at & 4095) as usize);
            let got = self.memory.read(at, &mut chunk[..want]);
            if let Some(end) = chunk[..got].iter().position(|b| *b == 0) {
                text.extend_from_slice(&chunk[..end]);
                return Some(text);
            }
            if got < want {
                return None;
            }
            text.extend_from_slice(&chunk[..got]);
            at = at.wrapping_add(got as u64);
        }
        None
    }

    /// Appends bytes in quotes, with C's escapes.
    pub fn quote(&mut self, data: &[u8]) {
        self.text.push('"');
        for (index, &byte) in data.iter().enumerate() {
            match byte {
                b'"' => self.text.push_str("\\\""),
                b'\\' => self.text.push_str("\\\\"),
                b'\n' => self.text.push_str("\\n"),
                b'\t' => self.text.push_str("\\t"),
                b'\r' => self.text.push_str("\\r"),
                0x0b => self.text.push_str("\\v"),
                0x0c => self.text.push_str("\\f"),
                b' '..=b'~' => self.text.push(char::from(byte)),
                _ => {
                    // A digit that follows must not become part of the number.
                    let digit = data.get(index + 1).is_some_and(u8::is_ascii_digit);
                    self.text.push_str(&if digit { format!("\\{byte:03o}") } else { format!("\\{byte:o}") });
                }
            }
        }
        self.text.push('"');
    }

    /// Appends the names of the bits of `value`; what has no name in hexadecimal. A name for 0 stands for no bit.
    pub fn flags(&mut self, value: u64, names: &[(u64, &str)]) {
        let mut rest = value;
        let mut first = true;
        for &(bits, name) in names.iter().filter(|(bits, _)| *bits != 0) {
            if rest & bits == bits {
                if !core::mem::take(&mut first) {
                    self.text.push('|');
                }
                self.text.push_str(name);
                rest &= !bits;
            }
        }
        if value == 0 {
            let zero = names.iter().find(|(bits, _)| *bits == 0);
            self.put(zero.map_or("0", |(_, name)| name));
        } else if rest != 0 {
            self.put(&format!("{}{rest:#x}", if first { "" } else { "|" }));
        }
    }

    /// Appends the name of a value; without one the number.
    pub fn one_of(&mut self, value: u64, names: &[(u64, &str)]) {
        match names.iter().find(|(v, _)| *v == value) {
            Some((_, name)) => self.put(name),
            None => self.put(&format!("{value:#x}")),
        }
    }
}

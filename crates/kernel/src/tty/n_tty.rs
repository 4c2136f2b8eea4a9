//! The line discipline: what typing does to input, and what output looks like, termios(3).
//!
//! Pure: bytes in, bytes and effects out. `mod.rs` holds it under the terminal's lock and carries the effects out.

use std::collections::VecDeque;

use abi::signal::{SIGINT, SIGQUIT, SIGTSTP};
use abi::tty::*;

/// Bytes of input kept, and longest line: MAX_CANON with its newline.
pub const BUFFER: usize = 4096;
/// Speed and frame of a terminal that has none.
const DEFAULT_CFLAG: u32 = B38400 | CS8 | CREAD;

/// What receiving input asks of the terminal, besides echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this signal to the foreground process group.
    Signal(u32),
    /// Output that hasn't been taken yet is thrown away.
    FlushOutput,
    /// Output stops (`stty ixon`, Ctrl-S) or goes on.
    Stopped(bool),
}

/// Input and output state of a terminal.
pub struct NTty {
    /// Settings.
    pub termios: Termios,
    /// Bytes that can be read. In canonical mode only whole lines are here.
    ready: VecDeque<u8>,
    /// Lengths of the lines in `ready`; a line without a newline ended by EOF, an empty one is the end of file.
    lines: VecDeque<usize>,
    /// The line that is being typed.
    line: Vec<u8>,
    /// The next character is literal (VLNEXT).
    literal: bool,
    /// ECHOPRT: inside `\…/`.
    erasing: bool,
    /// Output column, and the one where the line being typed begins.
    column: usize,
    line_column: usize,
    stopped: bool,
}

/// Settings of a fresh terminal.
pub fn default_termios() -> Termios {
    Termios {
        c_iflag: ICRNL | IXON,
        c_oflag: OPOST | ONLCR,
        c_cflag: DEFAULT_CFLAG | HUPCL,
        c_lflag: ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        c_line: 0,
        c_cc: INIT_C_CC,
    }
}

impl Default for NTty {
    fn default() -> Self {
        NTty {
            termios: default_termios(),
            ready: VecDeque::new(),
            lines: VecDeque::new(),
            line: Vec::new(),
            literal: false,
            erasing: false,
            column: 0,
            line_column: 0,
            stopped: false,
        }
    }
}

impl NTty {
    fn iflag(&self, bit: u32) -> bool {
        self.termios.c_iflag & bit != 0
    }

    fn lflag(&self, bit: u32) -> bool {
        self.termios.c_lflag & bit != 0
    }

    /// Whether control character `which` is set and is `c`.
    fn is_cc(&self, which: usize, c: u8) -> bool {
        let cc = self.termios.c_cc[which];
        cc != _POSIX_VDISABLE && cc == c
    }

    /// Whether input is edited by lines.
    pub fn canonical(&self) -> bool {
        self.lflag(ICANON)
    }

    /// Whether output is stopped by the user.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// TCXONC: stops or restarts output.
    pub fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// Bytes that a sender may offer. A full line editor goes on taking bytes: it throws them away, with a bell.
    pub fn room(&self) -> usize {
        let used = self.ready.len() + self.line.len();
        match BUFFER.saturating_sub(used + 1) {
            0 if self.canonical() && self.lines.is_empty() => 1,
            room => room,
        }
    }

    /// Takes one byte of input. Echo is added to `echo`.
    pub fn receive(&mut self, byte: u8, echo: &mut Vec<u8>, effects: &mut Vec<Effect>) {
        let mut c = if self.iflag(ISTRIP) { byte & 0x7f } else { byte };
        if self.lflag(EXTPROC) {
            return self.put_raw(c);
        }
        if self.literal {
            self.literal = false;
            return self.put(c, echo, true);
        }
        if self.iflag(IUCLC) && self.lflag(IEXTEN) {
            c = c.to_ascii_lowercase();
        }
        if self.iflag(IXON) && self.flow(c, effects) {
            return;
        }
        if self.stopped && self.iflag(IXON | IXANY) && self.iflag(IXANY) {
            self.stopped = false;
            effects.push(Effect::Stopped(false));
        }
        if self.lflag(ISIG) && self.signal(c, echo, effects) {
            return;
        }
        match c {
            b'\r' if self.iflag(IGNCR) => return,
            b'\r' if self.iflag(ICRNL) => c = b'\n',
            b'\n' if self.iflag(INLCR) => c = b'\r',
            _ => {}
        }
        if self.canonical() { self.edit(c, echo) } else { self.put(c, echo, false) }
    }

    fn flow(&mut self, c: u8, effects: &mut Vec<Effect>) -> bool {
        let stop = if self.is_cc(VSTART, c) {
            false
        } else if self.is_cc(VSTOP, c) {
            true
        } else {
            return false;
        };
        if self.stopped != stop {
            self.stopped = stop;
            effects.push(Effect::Stopped(stop));
        }
        true
    }

    fn signal(&mut self, c: u8, echo: &mut Vec<u8>, effects: &mut Vec<Effect>) -> bool {
        let keys = [(VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)];
        let Some(&(_, signal)) = keys.iter().find(|&&(key, _)| self.is_cc(key, c)) else { return false };
        if !self.lflag(NOFLSH) {
            self.flush_input();
            effects.push(Effect::FlushOutput);
        }
        if self.stopped && self.iflag(IXON) {
            self.stopped = false;
            effects.push(Effect::Stopped(false));
        }
        if self.lflag(ECHO) {
            self.echo_char(c, echo);
        }
        effects.push(Effect::Signal(signal));
        true
    }

    /// Canonical mode: line editing.
    fn edit(&mut self, c: u8, echo: &mut Vec<u8>) {
        let extended = self.lflag(IEXTEN);
        if self.is_cc(VERASE, c) {
            self.erase_one(c, echo)
        } else if self.is_cc(VKILL, c) {
            self.kill_line(c, echo)
        } else if extended && self.is_cc(VWERASE, c) {
            self.erase_word(c, echo)
        } else if extended && self.is_cc(VLNEXT, c) {
            self.literal = true;
            if self.lflag(ECHO) {
                self.finish_erasing(echo);
                if self.lflag(ECHOCTL) {
                    echo.extend_from_slice(b"^\x08");
                }
            }
        } else if extended && self.lflag(ECHO) && self.is_cc(VREPRINT, c) {
            self.finish_erasing(echo);
            self.echo_char(c, echo);
            self.emit_newline(echo);
            for c in self.line.clone() {
                self.echo_char(c, echo);
            }
        } else if c == b'\n' {
            if self.lflag(ECHO) || self.lflag(ECHONL) {
                self.finish_erasing(echo);
                self.emit_newline(echo);
            }
            self.end_line(Some(c));
        } else if self.is_cc(VEOF, c) {
            self.finish_erasing(echo);
            self.end_line(None);
        } else if self.is_cc(VEOL, c) || (extended && self.is_cc(VEOL2, c)) {
            if self.lflag(ECHO) {
                self.finish_erasing(echo);
                self.echo_char(c, echo);
            }
            self.end_line(Some(c));
        } else {
            self.put(c, echo, false);
        }
    }

    /// No more input will come: a line that was begun is all there is of it.
    pub fn end_input(&mut self) {
        if !self.line.is_empty() {
            self.end_line(None);
        }
    }

    fn end_line(&mut self, last: Option<u8>) {
        self.line.extend(last);
        self.lines.push_back(self.line.len());
        self.ready.extend(self.line.drain(..));
    }

    /// Adds a byte to the input. `literal` ones are echoed as they look.
    fn put(&mut self, c: u8, echo: &mut Vec<u8>, literal: bool) {
        let used = self.ready.len() + self.line.len();
        if used + 1 >= BUFFER {
            if self.iflag(IMAXBEL) && self.canonical() {
                echo.push(0x07);
            }
            return;
        }
        if self.lflag(ECHO) {
            self.finish_erasing(echo);
            if self.line.is_empty() {
                self.line_column = self.column;
            }
            if c == b'\n' && !literal {
                self.emit_newline(echo);
            } else {
                self.echo_char(c, echo);
            }
        }
        if self.canonical() {
            self.line.push(c);
        } else {
            self.put_raw(c);
        }
    }

    fn put_raw(&mut self, c: u8) {
        if self.ready.len() + 2 >= BUFFER {
            return;
        }
        if c == 0xff && self.iflag(PARMRK) {
            self.ready.push_back(c);
        }
        self.ready.push_back(c);
    }

    fn erase_one(&mut self, key: u8, echo: &mut Vec<u8>) {
        let Some(bytes) = self.pop_char() else { return };
        self.echo_erased(&bytes, key, echo);
    }

    fn erase_word(&mut self, key: u8, echo: &mut Vec<u8>) {
        let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c >= 0x80;
        let mut seen = false;
        while let Some(&last) = self.line.last() {
            if is_word(last) {
                seen = true;
            } else if seen {
                break;
            }
            let Some(bytes) = self.pop_char() else { break };
            self.echo_erased(&bytes, key, echo);
        }
    }

    fn kill_line(&mut self, key: u8, echo: &mut Vec<u8>) {
        if self.lflag(ECHO) && self.lflag(ECHOK) && self.lflag(ECHOKE) && self.lflag(ECHOE) {
            while let Some(bytes) = self.pop_char() {
                self.echo_erased(&bytes, key, echo);
            }
            return;
        }
        self.line.clear();
        if self.lflag(ECHO) {
            self.finish_erasing(echo);
            self.echo_char(key, echo);
            if self.lflag(ECHOK) {
                self.emit_newline(echo);
            }
        }
    }

    /// The last character of the line: several bytes under IUTF8.
    fn pop_char(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![self.line.pop()?];
        if self.iflag(IUTF8) {
            while bytes[0] & 0xc0 == 0x80 {
                let Some(c) = self.line.pop() else { break };
                bytes.insert(0, c);
            }
        }
        Some(bytes)
    }

    fn echo_erased(&mut self, bytes: &[u8], key: u8, echo: &mut Vec<u8>) {
        if !self.lflag(ECHO) {
            return;
        }
        if self.lflag(ECHOPRT) {
            if !self.erasing {
                echo.push(b'\\');
                self.erasing = true;
            }
            for &c in bytes {
                self.echo_char(c, echo);
            }
            return;
        }
        if !self.lflag(ECHOE) {
            return self.echo_char(key, echo);
        }
        let width = if bytes == b"\t" {
            // From where the tab began to its stop.
            let start = self.line.iter().fold(self.line_column, |column, &c| self.column_after(column, c));
            8 - start % 8
        } else {
            self.column_after(0, bytes[0])
        };
        for _ in 0..width {
            echo.extend_from_slice(if bytes == b"\t" { b"\x08" } else { b"\x08 \x08" });
        }
        self.column = self.column.saturating_sub(width);
    }

    fn column_after(&self, column: usize, c: u8) -> usize {
        match c {
            b'\t' => column + 8 - column % 8,
            0..=0x1f | 0x7f => column + if self.lflag(ECHOCTL) { 2 } else { 0 },
            c if self.iflag(IUTF8) && c & 0xc0 == 0x80 => column,
            _ => column + 1,
        }
    }

    fn finish_erasing(&mut self, echo: &mut Vec<u8>) {
        if self.erasing {
            echo.push(b'/');
            self.erasing = false;
        }
    }

    fn echo_char(&mut self, c: u8, echo: &mut Vec<u8>) {
        if self.lflag(ECHOCTL) && (c < 0x20 || c == 0x7f) && c != b'\t' {
            echo.extend_from_slice(&[b'^', c ^ 0x40]);
            self.column += 2;
        } else {
            self.output_byte(c, echo);
        }
    }

    fn emit_newline(&mut self, echo: &mut Vec<u8>) {
        self.output_byte(b'\n', echo);
    }

    /// Output processing of one byte, OPOST.
    fn output_byte(&mut self, c: u8, out: &mut Vec<u8>) {
        let oflag = self.termios.c_oflag;
        let on = |bit: u32| oflag & bit != 0;
        if !on(OPOST) {
            out.push(c);
            return;
        }
        match c {
            b'\n' => {
                if on(ONLCR) {
                    out.push(b'\r');
                }
                if on(ONLCR) || on(ONLRET) {
                    self.column = 0;
                }
                out.push(b'\n');
            }
            b'\r' if on(ONOCR) && self.column == 0 => {}
            b'\r' if on(OCRNL) => {
                if on(ONLRET) {
                    self.column = 0;
                }
                out.push(b'\n');
            }
            b'\r' => {
                self.column = 0;
                out.push(b'\r');
            }
            b'\t' => {
                let width = 8 - self.column % 8;
                self.column += width;
                if oflag & TABDLY == XTABS {
                    out.extend(std::iter::repeat_n(b' ', width))
                } else {
                    out.push(b'\t')
                }
            }
            0x08 => {
                self.column = self.column.saturating_sub(1);
                out.push(c);
            }
            _ => {
                let c = if on(OLCUC) { c.to_ascii_uppercase() } else { c };
                if c >= 0x20 && c != 0x7f && !(self.iflag(IUTF8) && c & 0xc0 == 0x80) {
                    self.column += 1;
                }
                out.push(c);
            }
        }
    }

    /// Output of a program.
    pub fn write(&mut self, data: &[u8], out: &mut Vec<u8>) {
        if self.termios.c_oflag & OPOST == 0 {
            out.extend_from_slice(data);
            return;
        }
        for &c in data {
            self.output_byte(c, out);
        }
    }

    /// Bytes that a read may take now: of the first line in canonical mode.
    pub fn available(&self) -> usize {
        if self.canonical() { self.lines.front().copied().unwrap_or(0) } else { self.ready.len() }
    }

    /// Whether a read in canonical mode would return, if only with the end of file.
    pub fn has_line(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Lines that can be read.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// Bytes that FIONREAD tells.
    pub fn pending(&self) -> usize {
        self.ready.len()
    }

    /// Takes up to `max` bytes. In canonical mode none are left over from one line to the next; an empty answer there
    /// is the end of file.
    pub fn read(&mut self, max: usize) -> Vec<u8> {
        if !self.canonical() {
            let n = max.min(self.ready.len());
            return self.ready.drain(..n).collect();
        }
        let Some(len) = self.lines.pop_front() else { return Vec::new() };
        let n = max.min(len);
        if n < len {
            self.lines.push_front(len - n);
        }
        self.ready.drain(..n).collect()
    }

    /// Throws away what has been typed.
    pub fn flush_input(&mut self) {
        self.ready.clear();
        self.lines.clear();
        self.line.clear();
        self.literal = false;
        self.erasing = false;
    }

    /// New settings. What was typed under the old ones stays readable.
    pub fn set_termios(&mut self, termios: Termios) {
        let was_canonical = self.canonical();
        self.termios = termios;
        if was_canonical && !self.canonical() {
            self.lines.clear();
            self.ready.extend(self.line.drain(..));
        } else if !was_canonical && self.canonical() && !self.ready.is_empty() {
            self.lines.push_back(self.ready.len());
        }
        if self.termios.c_iflag & IXON == 0 {
            self.stopped = false;
        }
        self.literal = false;
        self.erasing = false;
    }
}

#[cfg(test)]
mod tests;

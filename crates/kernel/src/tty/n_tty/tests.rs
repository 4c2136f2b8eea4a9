//! What typing does.

use super::*;

struct Typed {
    tty: NTty,
    echo: Vec<u8>,
    effects: Vec<Effect>,
}

fn typed(tty: NTty, input: &[u8]) -> Typed {
    let mut t = Typed { tty, echo: Vec::new(), effects: Vec::new() };
    for &c in input {
        t.tty.receive(c, &mut t.echo, &mut t.effects);
    }
    t
}

#[test]
fn a_line_comes_whole_and_is_echoed() {
    let mut t = typed(NTty::default(), b"ab\r");
    assert_eq!(t.echo, b"ab\r\n");
    assert_eq!(t.tty.read(100), b"ab\n");
    assert!(!t.tty.has_line());
}

#[test]
fn a_short_read_leaves_the_rest_of_the_line() {
    let mut t = typed(NTty::default(), b"abc\nd\n");
    assert_eq!(t.tty.read(2), b"ab");
    assert_eq!(t.tty.read(100), b"c\n");
    assert_eq!(t.tty.read(100), b"d\n");
}

#[test]
fn erase_word_and_kill() {
    let mut t = typed(NTty::default(), b"one twx\x7f\x17three\n");
    assert_eq!(t.tty.read(100), b"one three\n");
    let mut t = typed(NTty::default(), b"junk\x15ok\n");
    assert_eq!(t.tty.read(100), b"ok\n");
    assert!(t.echo.starts_with(b"junk\x08 \x08\x08 \x08\x08 \x08\x08 \x08ok"));
}

#[test]
fn erasing_a_control_character_takes_two_columns() {
    let t = typed(NTty::default(), b"\x16\x01\x7f");
    assert_eq!(t.echo, b"^\x08^A\x08 \x08\x08 \x08");
}

#[test]
fn utf8_is_erased_by_character() {
    let mut tty = NTty::default();
    tty.termios.c_iflag |= IUTF8;
    let mut t = typed(tty, "aé\x7f\n".as_bytes());
    assert_eq!(t.tty.read(100), b"a\n");
    assert_eq!(t.echo, "aé\x08 \x08\r\n".as_bytes());
}

#[test]
fn end_of_file_alone_reads_as_nothing_and_after_text_ends_the_line() {
    let mut t = typed(NTty::default(), b"x\x04\x04");
    assert_eq!(t.tty.read(100), b"x");
    assert!(t.tty.has_line());
    assert_eq!(t.tty.read(100), b"");
    assert!(!t.tty.has_line());
}

#[test]
fn interrupt_flushes_and_signals() {
    let t = typed(NTty::default(), b"abc\x03");
    assert_eq!(t.effects, [Effect::FlushOutput, Effect::Signal(SIGINT)]);
    assert_eq!(t.echo, b"abc^C");
    assert_eq!(t.tty.pending(), 0);
}

#[test]
fn raw_mode_gives_bytes_as_they_are() {
    let mut tty = NTty::default();
    tty.termios.c_iflag = 0;
    tty.termios.c_lflag = 0;
    let mut t = typed(tty, b"\x03\r\x04");
    assert_eq!(t.tty.read(2), b"\x03\r");
    assert_eq!(t.tty.read(2), b"\x04");
    assert!(t.echo.is_empty() && t.effects.is_empty());
}

#[test]
fn an_overlong_line_is_cut_and_still_ends() {
    let mut t = typed(NTty::default(), &[b'a'; 10_000]);
    assert!(t.tty.room() >= 1);
    t.tty.receive(b'\n', &mut Vec::new(), &mut Vec::new());
    assert_eq!(t.tty.read(20_000).len(), BUFFER);
}

#[test]
fn stop_and_start() {
    let t = typed(NTty::default(), b"\x13\x13\x11");
    assert_eq!(t.effects, [Effect::Stopped(true), Effect::Stopped(false)]);
    assert_eq!(t.tty.pending(), 0);
}

#[test]
fn output_processing() {
    let mut tty = NTty::default();
    tty.termios.c_oflag |= XTABS;
    let mut out = Vec::new();
    tty.write(b"a\tb\nc", &mut out);
    assert_eq!(out, b"a       b\r\nc");
}

#[test]
fn leaving_canonical_mode_shows_the_unfinished_line() {
    let mut t = typed(NTty::default(), b"ab");
    let mut raw = t.tty.termios;
    raw.c_lflag &= !ICANON;
    t.tty.set_termios(raw);
    assert_eq!(t.tty.read(10), b"ab");
}

//! `#!` scripts, execve(2) "Interpreter scripts".

use abi::Result;
use abi::elf::BINPRM_BUF_SIZE;
use abi::errno::ENOEXEC;

/// The first line of a script.
#[derive(Debug, PartialEq, Eq)]
pub struct Shebang {
    /// Path of the interpreter.
    pub interpreter: Vec<u8>,
    /// All that follows it, one argument.
    pub argument: Option<Vec<u8>>,
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Reads the first line. None if the file is no script; ENOEXEC for a line without an interpreter, or one so long that
/// the interpreter's name might be cut.
pub fn parse(head: &[u8]) -> Result<Option<Shebang>> {
    let Some(rest) = head.strip_prefix(b"#!") else { return Ok(None) };
    let line_end = rest.iter().position(|&b| b == b'\n' || b == 0);
    let cut = line_end.is_none() && head.len() >= BINPRM_BUF_SIZE;
    let line = &rest[..line_end.unwrap_or(rest.len())];
    let start = line.iter().position(|&b| !is_blank(b)).ok_or(ENOEXEC)?;
    let line = &line[start..];
    let name_end = line.iter().position(|&b| is_blank(b));
    if cut && name_end.is_none() {
        return Err(ENOEXEC);
    }
    let (name, rest) = line.split_at(name_end.unwrap_or(line.len()));
    let argument = rest.trim_ascii();
    Ok(Some(Shebang {
        interpreter: name.to_vec(),
        argument: (!argument.is_empty()).then(|| argument.to_vec()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        parse(text).unwrap().map(|s| (s.interpreter, s.argument))
    }

    #[test]
    fn first_lines() {
        assert_eq!(line(b"echo hi\n"), None);
        assert_eq!(line(b"#!/bin/sh\necho"), Some((b"/bin/sh".to_vec(), None)));
        assert_eq!(line(b"#! /bin/sh"), Some((b"/bin/sh".to_vec(), None)));
        let env = Some((b"/usr/bin/env".to_vec(), Some(b"python3 -u".to_vec())));
        assert_eq!(line(b"#! /usr/bin/env \t python3 -u  \nrest"), env);
        assert_eq!(parse(b"#!  \n"), Err(ENOEXEC));
        assert_eq!(parse(b"#!"), Err(ENOEXEC));
    }

    #[test]
    fn long_lines() {
        let mut text = b"#!/".to_vec();
        text.resize(BINPRM_BUF_SIZE, b'a');
        assert_eq!(parse(&text), Err(ENOEXEC));
        text[100] = b' ';
        assert!(parse(&text).unwrap().unwrap().argument.is_some());
    }
}

//! The line of a socket in /proc/net/unix.

use std::io::Write;
use std::sync::Arc;

use super::UnixSocket;
use super::socket::State;
use crate::net::SocketFile;
use crate::vfs::File;

/// `__SO_ACCEPTCON`: the socket listens.
const ACCEPTCON: u32 = 1 << 16;
/// SS_UNCONNECTED, SS_CONNECTING, SS_CONNECTED.
const STATES: [u32; 3] = [1, 2, 3];

/// What is shown of the socket behind `file`, by a user who doesn't see kernel addresses. None if it is no unix socket.
pub fn proc_line(file: &File) -> Option<Vec<u8>> {
    let socket = UnixSocket::downcast(SocketFile::of(file).ok()?.clone())?;
    let (state, name) = {
        let inner = socket.inner.lock();
        (inner.state, inner.name.clone())
    };
    let flags = if state == State::Listening { ACCEPTCON } else { 0 };
    let shown = match state {
        State::Unconnected | State::Listening => STATES[0],
        State::Connecting => STATES[1],
        State::Connected => STATES[2],
    };
    let references = Arc::strong_count(&socket).saturating_sub(1);
    let mut line = Vec::new();
    // Writing to a vector cannot fail.
    let _ = write!(line, "{:016x}: {references:08X} {:08X} {flags:08X} ", 0, 0);
    let _ = write!(line, "{:04X} {shown:02X} {:5}", socket.kind(), file.inode().ino);
    if let Some(name) = name {
        line.push(b' ');
        let path =
            if name.is_abstract() { &name.0[..] } else { name.0.strip_suffix(&[0]).unwrap_or(&name.0) };
        line.extend(path.iter().map(|&b| if b == 0 { b'@' } else { b }));
    }
    line.push(b'\n');
    Some(line)
}

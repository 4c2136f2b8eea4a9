//! Addresses: paths, abstract names (a zero byte first, and then every byte counts), and none at all.
//!
//! Lock: SOCKET_TABLE, over the abstract names.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use abi::errno::{EADDRINUSE, ECONNREFUSED, EINVAL, ENOSPC, EPROTOTYPE};
use abi::net::{AF_UNIX, SockaddrUn};
use abi::{Errno, Result};

use super::{UnixSocket, path};
use crate::net::addr;
use crate::sync::{SpinLock, rank};

/// The address of a bound socket: the bytes of `sun_path`, a path with its final zero.
pub struct Name(pub Vec<u8>);

impl Name {
    /// Whether it is an abstract one.
    pub fn is_abstract(&self) -> bool {
        self.0.first() == Some(&0)
    }

    /// As a `sockaddr_un`.
    pub fn to_addr(&self) -> Vec<u8> {
        let mut addr = AF_UNIX.to_ne_bytes().to_vec();
        addr.extend_from_slice(&self.0);
        addr
    }
}

/// The address of a socket without a name.
pub fn unnamed() -> Vec<u8> {
    AF_UNIX.to_ne_bytes().to_vec()
}

/// Reads an address; none if it has a family alone. EINVAL.
pub fn parse(bytes: &[u8]) -> Result<Option<Name>> {
    if bytes.len() > size_of::<SockaddrUn>() || addr::family(bytes)? != AF_UNIX {
        return Err(EINVAL);
    }
    let path = &bytes[2..];
    Ok(match path.first() {
        None => None,
        Some(0) => Some(Name(path.to_vec())),
        Some(_) => {
            let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
            let mut path = path[..end].to_vec();
            path.push(0);
            Some(Name(path))
        }
    })
}

/// Abstract names are one to a socket type.
type Table = HashMap<(u32, Vec<u8>), Weak<UnixSocket>>;

static ABSTRACT: LazyLock<SpinLock<Table>> =
    LazyLock::new(|| SpinLock::new(rank::SOCKET_TABLE, HashMap::new()));

/// Gives an abstract name to a socket. EADDRINUSE.
fn claim(socket: &Arc<UnixSocket>, name: &Name) -> Result<()> {
    let mut table = ABSTRACT.lock();
    let key = (socket.kind(), name.0.clone());
    if table.get(&key).is_some_and(|s| s.strong_count() > 0) {
        return Err(EADDRINUSE);
    }
    table.insert(key, Arc::downgrade(socket));
    Ok(())
}

/// Frees the abstract name of a socket that is going.
pub fn unclaim(socket: &UnixSocket, name: &Name) {
    if !name.is_abstract() {
        return;
    }
    let mut table = ABSTRACT.lock();
    let key = (socket.kind(), name.0.clone());
    if table.get(&key).is_some_and(|s| core::ptr::eq(s.as_ptr(), socket)) {
        table.remove(&key);
    }
}

/// bind(2) under `name`, or any free abstract one. EADDRINUSE; those of the path.
pub fn bind(socket: &Arc<UnixSocket>, name: Option<Name>) -> Result<Name> {
    match name {
        None => autobind(socket),
        Some(name) if name.is_abstract() => claim(socket, &name).map(|()| name),
        Some(name) => path::bind(socket, &name.0[..name.0.len() - 1]).map(|()| name),
    }
}

/// The answer of bind(2) for a socket that has a name already: a path is looked at first.
pub fn bind_again(name: &Name) -> Errno {
    let taken = !name.is_abstract() && path::exists(&name.0[..name.0.len() - 1]);
    if taken { EADDRINUSE } else { EINVAL }
}

fn autobind(socket: &Arc<UnixSocket>) -> Result<Name> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1 << 20 {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) & 0xf_ffff;
        let name = Name(format!("\0{number:05x}").into_bytes());
        if claim(socket, &name).is_ok() {
            return Ok(name);
        }
    }
    Err(ENOSPC)
}

/// The socket that bears `name` and is of type `kind`. ECONNREFUSED, EPROTOTYPE; those of the path.
pub fn find(name: &Name, kind: u32) -> Result<Arc<UnixSocket>> {
    if name.is_abstract() {
        let table = ABSTRACT.lock();
        return table.get(&(kind, name.0.clone())).and_then(Weak::upgrade).ok_or(ECONNREFUSED);
    }
    let socket = path::find(&name.0[..name.0.len() - 1])?;
    if socket.kind() == kind { Ok(socket) } else { Err(EPROTOTYPE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(path: &[u8]) -> Vec<u8> {
        Name(path.to_vec()).to_addr()
    }

    #[test]
    fn paths_end_at_a_zero_and_abstract_names_do_not() {
        assert_eq!(parse(&addr(b"/tmp/x\0junk")).unwrap().unwrap().0, b"/tmp/x\0");
        assert_eq!(parse(&addr(b"/tmp/x")).unwrap().unwrap().0, b"/tmp/x\0");
        assert_eq!(parse(&addr(b"\0a\0b\0")).unwrap().unwrap().0, b"\0a\0b\0");
        assert!(parse(&addr(b"")).unwrap().is_none());
    }

    #[test]
    fn bad_addresses_are_refused() {
        assert!(parse(&[1]).is_err());
        assert!(parse(&[2, 0, b'x']).is_err());
        assert!(parse(&addr(&[b'x'; 109])).is_err());
        assert_eq!(parse(&addr(&[b'x'; 108])).unwrap().unwrap().0.len(), 109);
    }
}

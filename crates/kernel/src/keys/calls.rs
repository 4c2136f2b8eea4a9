//! add_key(2), request_key(2), keyctl(2).

use std::sync::Arc;

use abi::Result;
use abi::cred::CAP_SYS_ADMIN;
use abi::errno::*;
use abi::time::NSEC_PER_SEC;

use super::{
    Body, Key, PERM_POSSESSOR_ALL, PERM_USER_READ, PERM_USER_VIEW, TABLES, need, own_rings, possesses,
    session_ring, user_ring,
};
use crate::task::{Task, capable, current};
use crate::uaccess::{copy_from_user, copy_to_user, strncpy_from_user};

const PROCESS_KEYRING: i32 = -2;
const THREAD_KEYRING: i32 = -1;
const SESSION_KEYRING: i32 = -3;
const USER_KEYRING: i32 = -4;
const USER_SESSION_KEYRING: i32 = -5;

/// Longest type name and description, and most bytes of a key's contents.
const TYPE_MAX: usize = 32;
const DESCRIPTION_MAX: usize = 4096;
const PAYLOAD_MAX: usize = 32_767;
/// Deepest nesting of rings.
const DEPTH: usize = 6;
/// What KEYCTL_SETPERM may set.
const PERM_MASK: u32 = 0x3f3f_3f3f;

fn type_of(addr: u64) -> Result<&'static str> {
    let name = strncpy_from_user(addr, TYPE_MAX).map_err(|e| if e == ENAMETOOLONG { EINVAL } else { e })?;
    match &name[..] {
        b"keyring" => Ok("keyring"),
        b"user" => Ok("user"),
        b"logon" => Ok("logon"),
        [b'.', ..] => Err(EPERM),
        b"" => Err(EINVAL),
        _ => Err(ENODEV),
    }
}

fn description(addr: u64) -> Result<Vec<u8>> {
    strncpy_from_user(addr, DESCRIPTION_MAX).map_err(|e| if e == ENAMETOOLONG { EINVAL } else { e })
}

/// A key by number, with what the current task may do to it and whether it possesses it. ENOKEY, EACCES; those of a key
/// that is no longer good.
fn lookup(id: i32, wanted: u32, create: bool) -> Result<(Arc<Key>, bool)> {
    let task = current();
    let key = match id {
        // Threads share their process's ring.
        THREAD_KEYRING | PROCESS_KEYRING => process_ring(&task, create)?,
        SESSION_KEYRING => session_ring(&task)?,
        USER_KEYRING => user_ring(&task.cred(), false)?,
        USER_SESSION_KEYRING => user_ring(&task.cred(), true)?,
        1.. => TABLES.lock().by_serial.get(&id).and_then(std::sync::Weak::upgrade).ok_or(ENOKEY)?,
        _ => return Err(if id < -8 || id == 0 { EINVAL } else { ENOKEY }),
    };
    let possessed = id < 0 || possesses(&task, &key);
    key.check_alive()?;
    key.check(&task.cred(), possessed, wanted)?;
    Ok((key, possessed))
}

fn process_ring(task: &Task, create: bool) -> Result<Arc<Key>> {
    if let Some(ring) = task.process.keyrings.lock().process.clone() {
        return Ok(ring);
    }
    if !create {
        return Err(ENOKEY);
    }
    let perm = PERM_POSSESSOR_ALL | PERM_USER_VIEW;
    let ring = Key::new("keyring", b"_pid", &task.cred(), perm, None)?;
    let mut rings = task.process.keyrings.lock();
    Ok(rings.process.get_or_insert(ring).clone())
}

/// Puts a key into a ring, in place of one of the same type and name. ENOTDIR, EDEADLK, ELOOP.
fn link(ring: &Arc<Key>, key: &Arc<Key>) -> Result<()> {
    if !ring.is_ring() {
        return Err(ENOTDIR);
    }
    if key.is_ring() {
        if key.holds(ring) {
            return Err(EDEADLK);
        }
        if depth(key) >= DEPTH {
            return Err(ELOOP);
        }
    }
    let old = {
        let mut state = ring.state.lock();
        let Body::Ring(keys) = &mut state.body else { return Err(ENOTDIR) };
        let same = |k: &Arc<Key>| k.kind == key.kind && k.description == key.description;
        let old = keys.iter().position(same).map(|at| keys.remove(at));
        keys.push(key.clone());
        old
    };
    drop(old);
    Ok(())
}

fn depth(key: &Arc<Key>) -> usize {
    let mut level = vec![key.clone()];
    for depth in 0..=DEPTH {
        level = level.iter().flat_map(|k| k.keys()).filter(|k| k.is_ring()).collect();
        if level.is_empty() {
            return depth;
        }
    }
    DEPTH
}

/// The first key of that type and name in a ring or below it which may be found. ENOKEY.
fn search(ring: &Arc<Key>, kind: &str, name: &[u8]) -> Result<Arc<Key>> {
    let cred = current().cred();
    let mut todo = vec![ring.clone()];
    let mut seen = Vec::new();
    let mut worst = ENOKEY;
    while !todo.is_empty() {
        let ring = todo.remove(0);
        if seen.contains(&ring.serial) || ring.check(&cred, true, need::SEARCH).is_err() {
            continue;
        }
        seen.push(ring.serial);
        for key in ring.keys() {
            if key.kind == kind && key.description == name {
                let usable = key.check_alive().and_then(|()| key.check(&cred, true, need::SEARCH));
                match usable {
                    Ok(()) => return Ok(key),
                    Err(errno) => worst = errno,
                }
            }
            if key.is_ring() {
                todo.push(key);
            }
        }
    }
    Err(worst)
}

/// add_key(2): makes a key in a ring, or gives the one that is there new contents.
pub fn add_key(kind: u64, name: u64, payload: u64, len: usize, ring: i32) -> Result<i32> {
    if len > 1024 * 1024 - 1 {
        return Err(EINVAL);
    }
    let kind = type_of(kind)?;
    let name = description(name)?;
    let fits = match kind {
        "keyring" => len == 0 && !name.is_empty(),
        "logon" => (1..=PAYLOAD_MAX).contains(&len) && name.iter().skip(1).any(|&b| b == b':'),
        _ => (1..=PAYLOAD_MAX).contains(&len),
    };
    if !fits {
        return Err(EINVAL);
    }
    if kind == "keyring" && name.first() == Some(&b'.') {
        return Err(EPERM);
    }
    let mut data = vec![0; len];
    copy_from_user(payload, &mut data)?;
    let (ring, _) = lookup(ring, need::WRITE, true)?;
    if !ring.is_ring() {
        return Err(ENOTDIR);
    }
    let same = |k: &Arc<Key>| k.kind == kind && k.description == name && k.check_alive().is_ok();
    if kind != "keyring"
        && let Some(old) = ring.keys().into_iter().find(same)
    {
        old.check(&current().cred(), true, need::WRITE)?;
        old.state.lock().body = Body::Data(data);
        return Ok(old.serial);
    }
    let mut perm = PERM_POSSESSOR_ALL | PERM_USER_VIEW;
    if kind == "logon" {
        perm &= !(need::READ << 24);
    }
    let data = (kind != "keyring").then_some(data);
    let key = Key::new(kind, &name, &current().cred(), perm, data)?;
    link(&ring, &key)?;
    Ok(key.serial)
}

/// request_key(2): finds a key in the caller's rings. ENOKEY: no program is run to make one.
pub fn request_key(kind: u64, name: u64, callout: u64, dest: i32) -> Result<i32> {
    let kind = type_of(kind)?;
    let name = description(name)?;
    if callout != 0 {
        strncpy_from_user(callout, DESCRIPTION_MAX)?;
    }
    let mut worst = ENOKEY;
    for ring in own_rings(&current()) {
        match search(&ring, kind, &name) {
            Ok(key) => {
                if dest != 0 {
                    link(&lookup(dest, need::WRITE, true)?.0, &key)?;
                }
                return Ok(key.serial);
            }
            Err(ENOKEY) => {}
            Err(errno) => worst = errno,
        }
    }
    Err(worst)
}

/// keyctl(2)
pub fn keyctl(operation: u32, arg2: u64, arg3: u64, arg4: u64, arg5: u64) -> Result<u64> {
    let id = arg2 as i32;
    match operation {
        0 => lookup(id, need::SEARCH, arg3 != 0).map(|(key, _)| key.serial as u64),
        1 => join_session(arg2),
        2 => update(id, arg3, arg4 as usize).map(|()| 0),
        3 => revoke(id).map(|()| 0),
        4 => chown(id, arg3 as u32, arg4 as u32).map(|()| 0),
        5 => set_perm(id, arg3 as u32).map(|()| 0),
        6 => describe(id, arg3, arg4 as usize),
        7 => clear(id).map(|()| 0),
        8 => {
            let (ring, _) = lookup(arg3 as i32, need::WRITE, true)?;
            let (key, _) = lookup(id, need::LINK, true)?;
            link(&ring, &key).map(|()| 0)
        }
        9 => unlink(id, arg3 as i32).map(|()| 0),
        10 => {
            let (ring, _) = lookup(id, need::SEARCH, false)?;
            if !ring.is_ring() {
                return Err(ENOTDIR);
            }
            let key = search(&ring, type_of(arg3)?, &description(arg4)?)?;
            if arg5 as i32 != 0 {
                link(&lookup(arg5 as i32, need::WRITE, true)?.0, &key)?;
            }
            Ok(key.serial as u64)
        }
        11 => read(id, arg3, arg4 as usize),
        // Where a made key would go: none are made.
        14 => {
            if (-1..=7).contains(&id) {
                Ok(0)
            } else {
                Err(EINVAL)
            }
        }
        15 => set_timeout(id, arg3 as u32).map(|()| 0),
        17 => {
            // As without a security module: an empty label.
            lookup(id, need::VIEW, false)?;
            if arg3 != 0 && arg4 > 0 {
                copy_to_user(arg3, &[0])?;
            }
            Ok(1)
        }
        18 => session_to_parent().map(|()| 0),
        21 => {
            let (key, _) = lookup(id, need::SEARCH, false)?;
            key.state.lock().invalid = true;
            Ok(0)
        }
        _ => Err(EOPNOTSUPP),
    }
}

/// KEYCTL_JOIN_SESSION_KEYRING: a new ring for the session, or one with that name which may be found.
fn join_session(name: u64) -> Result<u64> {
    let task = current();
    let cred = task.cred();
    let perm = PERM_POSSESSOR_ALL | PERM_USER_VIEW | PERM_USER_READ;
    let new = if name == 0 {
        Key::new("keyring", b"_ses", &cred, perm, None)?
    } else {
        let name = description(name)?;
        if name.first() == Some(&b'.') {
            return Err(EPERM);
        }
        let all: Vec<_> = TABLES.lock().by_serial.values().filter_map(std::sync::Weak::upgrade).collect();
        let fits = |k: &&Arc<Key>| {
            k.is_ring()
                && k.description == name
                && k.check_alive().is_ok()
                && k.check(&cred, false, need::SEARCH).is_ok()
        };
        match all.iter().find(fits) {
            Some(found) => found.clone(),
            None => Key::new("keyring", &name, &cred, perm | need::LINK << 16, None)?,
        }
    };
    let serial = new.serial;
    let old = task.process.keyrings.lock().session.replace(new);
    drop(old);
    Ok(serial as u64)
}

fn update(id: i32, payload: u64, len: usize) -> Result<()> {
    if len > PAYLOAD_MAX {
        return Err(EINVAL);
    }
    let mut data = vec![0; len];
    copy_from_user(payload, &mut data)?;
    let (key, _) = lookup(id, need::WRITE, false)?;
    if key.is_ring() {
        return Err(EOPNOTSUPP);
    }
    if data.is_empty() {
        return Err(EINVAL);
    }
    key.state.lock().body = Body::Data(data);
    Ok(())
}

fn revoke(id: i32) -> Result<()> {
    let (key, _) = lookup(id, need::WRITE, false).or_else(|_| lookup(id, need::SETATTR, false))?;
    let emptied = {
        let mut state = key.state.lock();
        state.revoked = true;
        state.charge = None;
        let empty = if key.is_ring() { Body::Ring(Vec::new()) } else { Body::Data(Vec::new()) };
        std::mem::replace(&mut state.body, empty)
    };
    drop(emptied);
    Ok(())
}

fn chown(id: i32, uid: u32, gid: u32) -> Result<()> {
    let (key, _) = lookup(id, need::SETATTR, false)?;
    let cred = current().cred();
    let mut state = key.state.lock();
    let admin = cred.capable(CAP_SYS_ADMIN);
    if uid != u32::MAX && uid != state.uid && !admin {
        return Err(EACCES);
    }
    if gid != u32::MAX && gid != state.gid && !cred.in_group(gid) && !admin {
        return Err(EACCES);
    }
    if uid != u32::MAX {
        state.uid = uid;
    }
    if gid != u32::MAX {
        state.gid = gid;
    }
    Ok(())
}

fn set_perm(id: i32, perm: u32) -> Result<()> {
    if perm & !PERM_MASK != 0 {
        return Err(EINVAL);
    }
    let (key, _) = lookup(id, need::SETATTR, false)?;
    let cred = current().cred();
    let mut state = key.state.lock();
    if state.uid != cred.fsuid && !capable(CAP_SYS_ADMIN) {
        return Err(EACCES);
    }
    state.perm = perm;
    Ok(())
}

/// Copies a text, if there is room for all of it; its length either way.
fn give(text: &[u8], addr: u64, room: usize) -> Result<u64> {
    if addr != 0 && room >= text.len() {
        copy_to_user(addr, text)?;
    }
    Ok(text.len() as u64)
}

fn describe(id: i32, addr: u64, room: usize) -> Result<u64> {
    let (key, _) = lookup(id, need::VIEW, false)?;
    let (uid, gid, perm) = {
        let state = key.state.lock();
        (state.uid, state.gid, state.perm)
    };
    let mut text = format!("{};{};{};{perm:08x};", key.kind, uid as i32, gid as i32).into_bytes();
    text.extend_from_slice(&key.description);
    text.push(0);
    give(&text, addr, room)
}

fn clear(id: i32) -> Result<()> {
    let (ring, _) = lookup(id, need::WRITE, true)?;
    if !ring.is_ring() {
        return Err(ENOTDIR);
    }
    let old = std::mem::replace(&mut ring.state.lock().body, Body::Ring(Vec::new()));
    drop(old);
    Ok(())
}

fn unlink(id: i32, ring: i32) -> Result<()> {
    let (ring, _) = lookup(ring, need::WRITE, false)?;
    let key = match id {
        1.. => TABLES.lock().by_serial.get(&id).and_then(std::sync::Weak::upgrade).ok_or(ENOENT)?,
        _ => lookup(id, 0, false)?.0,
    };
    let gone = {
        let mut state = ring.state.lock();
        let Body::Ring(keys) = &mut state.body else { return Err(ENOTDIR) };
        let at = keys.iter().position(|k| Arc::ptr_eq(k, &key)).ok_or(ENOENT)?;
        keys.remove(at)
    };
    drop(gone);
    Ok(())
}

fn read(id: i32, addr: u64, room: usize) -> Result<u64> {
    // Whoever possesses a key may read it if it may be found.
    let (key, _) = lookup(id, need::READ, false).or_else(|errno| match lookup(id, need::SEARCH, false) {
        Ok((key, true)) => Ok((key, true)),
        // No number is a bad argument here, only one that nothing has.
        _ => Err(if errno == EINVAL { ENOKEY } else { errno }),
    })?;
    let data = match &key.state.lock().body {
        _ if key.kind == "logon" => return Err(EOPNOTSUPP),
        Body::Ring(keys) => keys.iter().flat_map(|k| k.serial.to_ne_bytes()).collect(),
        Body::Data(data) => data.clone(),
    };
    give(&data, addr, room)
}

fn set_timeout(id: i32, seconds: u32) -> Result<()> {
    let (key, _) = lookup(id, need::SETATTR, false)?;
    let at = host::clock::boottime().saturating_add(u64::from(seconds) * NSEC_PER_SEC);
    key.state.lock().expires = if seconds == 0 { 0 } else { at };
    Ok(())
}

/// KEYCTL_SESSION_TO_PARENT. EPERM unless the parent is the same user's.
fn session_to_parent() -> Result<()> {
    let task = current();
    let session = session_ring(&task)?;
    let parent = task.process.parent().filter(|p| p.tgid != 1).ok_or(EPERM)?;
    let (own, other) = (task.cred(), parent.threads().first().map(|t| t.cred()).ok_or(EPERM)?);
    let same =
        own.uid == other.uid && own.euid == other.euid && own.gid == other.gid && own.egid == other.egid;
    if !same {
        return Err(EPERM);
    }
    let old = parent.keyrings.lock().session.replace(session);
    drop(old);
    Ok(())
}

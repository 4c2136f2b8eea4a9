//! /proc/PID/fd: a magic link for each open descriptor; /proc/PID/fdinfo: what is known of each.

use std::sync::Arc;

use abi::Result;
use abi::errno::{EACCES, EINVAL, ENOENT};
use abi::fcntl::O_CLOEXEC;

use super::super::super::kernfs::{Attr, Entry, Node};
use super::super::{number_or_enoent, put};
use super::{Who, links, own_or_mode};
use crate::task::Cred;
use crate::vfs::{Access, Fd, File, FileMode, FileType, Path};

/// The open file of a descriptor. ENOENT.
fn file_of(who: &Who, fd: i32) -> Result<Arc<File>> {
    let task = who.task().map_err(|_| ENOENT)?;
    task.files().and_then(|files| files.get(Fd(fd))).map_err(|_| ENOENT)
}

fn next_fd(who: &Who, from: u64, kind: FileType) -> Result<Option<Entry>> {
    let files = who.task().map_err(|_| ENOENT)?.files();
    let Ok(files) = files else { return Ok(None) };
    let Ok(from) = i32::try_from(from.saturating_sub(2)) else { return Ok(None) };
    let next = files.next_open(Fd(from));
    Ok(next.map(|fd| Entry { pos: fd.0 as u64 + 2, name: fd.0.to_string().into_bytes(), kind, ino: None }))
}

/// Attributes of either directory; with the number of descriptors as its size, as since Linux 6.2.
fn dir_attr(who: &Who, mode: u32, counted: bool) -> Result<Attr> {
    let files = if counted { who.task().map_err(|_| ENOENT)?.files().ok() } else { None };
    let size = files.map_or(0, |files| files.list().len() as u64);
    Ok(Attr { nlink: 2, size, ..who.attr(mode, false)? })
}

/// /proc/PID/fd
pub(super) struct Fds(pub Who);

impl Node for Fds {
    fn kind(&self) -> FileType {
        FileType::Dir
    }

    fn attr(&self) -> Result<Attr> {
        dir_attr(&self.0, 0o500, true)
    }

    fn is_current(&self) -> bool {
        self.0.task().is_ok()
    }

    fn permission(&self, access: Access, _: &Cred) -> Option<Result<()>> {
        own_or_mode(&self.0, access)
    }

    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        let fd = number_or_enoent(name)?;
        file_of(&self.0, fd)?;
        Ok(Box::new(FdLink { who: self.0.clone(), fd }))
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        next_fd(&self.0, from, FileType::Symlink)
    }
}

struct FdLink {
    who: Who,
    fd: i32,
}

impl Node for FdLink {
    fn kind(&self) -> FileType {
        FileType::Symlink
    }

    fn attr(&self) -> Result<Attr> {
        let file = file_of(&self.who, self.fd)?;
        let mut mode = 0;
        // A file that only names something (O_PATH) can be neither read nor written.
        if file.mode.contains(FileMode::READ) {
            mode |= 0o500;
        }
        if file.mode.contains(FileMode::WRITE) {
            mode |= 0o300;
        }
        Ok(Attr { size: 64, ..self.who.attr(mode, false)? })
    }

    fn is_current(&self) -> bool {
        file_of(&self.who, self.fd).is_ok()
    }

    fn readlink(&self) -> Result<Vec<u8>> {
        let Some(path) = self.get_link() else { return Err(EINVAL) };
        Ok(links::show_path(&path?))
    }

    fn get_link(&self) -> Option<Result<Path>> {
        let target = self.who.accessible().and_then(|_| file_of(&self.who, self.fd));
        Some(target.map(|file| file.path.clone()))
    }
}

/// /proc/PID/fdinfo
pub(super) struct FdInfos(pub Who);

impl Node for FdInfos {
    fn kind(&self) -> FileType {
        FileType::Dir
    }

    fn attr(&self) -> Result<Attr> {
        dir_attr(&self.0, 0o555, false)
    }

    fn is_current(&self) -> bool {
        self.0.task().is_ok()
    }

    fn permission(&self, _: Access, _: &Cred) -> Option<Result<()>> {
        match self.0.accessible() {
            Ok(_) => None,
            Err(_) => Some(Err(EACCES)),
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        let fd = number_or_enoent(name)?;
        file_of(&self.0, fd)?;
        Ok(Box::new(FdInfo { who: self.0.clone(), fd }))
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        next_fd(&self.0, from, FileType::Regular)
    }
}

struct FdInfo {
    who: Who,
    fd: i32,
}

impl Node for FdInfo {
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn attr(&self) -> Result<Attr> {
        self.who.attr(0o444, false)
    }

    fn is_current(&self) -> bool {
        file_of(&self.who, self.fd).is_ok()
    }

    fn show(&self) -> Result<Vec<u8>> {
        let task = self.who.accessible()?;
        let files = task.files().map_err(|_| ENOENT)?;
        let file = file_of(&self.who, self.fd)?;
        let mut flags = file.flags().bits();
        if files.cloexec(Fd(self.fd)).unwrap_or(false) {
            flags |= O_CLOEXEC;
        }
        let pos = if file.mode.contains(FileMode::STREAM) { 0 } else { file.peek_pos() };
        let mut out = String::new();
        put!(
            out,
            "pos:\t{pos}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{}\n",
            file.path.mnt.id,
            file.inode().ino
        );
        out += &file.ops.fdinfo(&file);
        Ok(out.into_bytes())
    }
}

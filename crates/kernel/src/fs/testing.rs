//! What the tests of file systems share: a directory of the host that goes away, and files opened without a task.

use std::path::PathBuf;
use std::sync::Arc;

use abi::Result;
use abi::fcntl::OpenFlags;

use crate::task::Cred;
use crate::vfs::{Dentry, File, FileMode, IovSource, Mount, Path};

/// A directory of the host, removed at the end.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("ruml-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        TempDir(path)
    }

    pub fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// open(2) by root.
pub fn open(mnt: &Arc<Mount>, dentry: &Arc<Dentry>, flags: OpenFlags) -> Result<Arc<File>> {
    let path = Path { mnt: mnt.clone(), dentry: dentry.clone() };
    let inode = path.inode()?;
    let ops = inode.ops.open(&inode, flags)?;
    let mode = FileMode::READ | FileMode::WRITE | FileMode::SEEK;
    Ok(File::with_cred(path, ops, flags, mode, Arc::new(Cred::root())))
}

/// The whole content.
pub fn read(file: &File) -> Vec<u8> {
    let mut content = vec![0; 1 << 20];
    let n = file.kernel_read(&mut content, 0).unwrap();
    content.truncate(n);
    content
}

/// pwrite(2); the position after it.
pub fn write(file: &File, data: &[u8], mut pos: u64) -> u64 {
    let n = file.ops.write(file, &mut IovSource::kernel(data), &mut pos).unwrap();
    assert_eq!(n, data.len());
    pos
}

/// rename(2) of a name that was found.
pub fn rename(from: &Arc<Dentry>, dir: &Arc<Dentry>, name: &[u8], flags: u32) -> Result<()> {
    crate::fs::overlay::rename_dentry(from, dir, name, flags)
}

//! [`Socket`]: what a protocol implements, its open file ([`SocketFile`]) and the inodes of sockfs.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use abi::Result;
use abi::errno::{EINVAL, ENOPROTOOPT, ENOTSOCK, ENOTTY, EOPNOTSUPP};
use abi::fcntl::OpenFlags;
use abi::net::{MSG_DONTWAIT, Ucred};

use super::msg::send_error;
use super::options::Options;
use super::unix::Rights;
use crate::fs::pseudo::{PseudoFs, no_mount, stream_file};
use crate::sync::{PollTable, Sleep, wait_until};
use crate::task::current;
use crate::vfs::fasync::FasyncList;
use crate::vfs::{Fd, File, FileOps, FileType, FsType, IovDest, IovSource, PollEvents};

/// What goes with the bytes of a message.
#[derive(Default)]
pub struct Ancillary {
    /// SCM_CREDENTIALS as given; the sender's own if none.
    pub creds: Option<Ucred>,
    /// SCM_RIGHTS.
    pub rights: Option<Rights>,
}

/// A message to send.
pub struct SendMsg<'a, 'b> {
    /// Bytes; what was sent is taken out.
    pub src: &'a mut IovSource<'b>,
    /// MSG_*; DONTWAIT also for an O_NONBLOCK file.
    pub flags: u32,
    /// Destination, family first.
    pub addr: Option<Vec<u8>>,
    /// Control data; taken out when it is sent.
    pub control: Ancillary,
}

/// A message to receive, and what came with it.
pub struct RecvMsg<'a, 'b> {
    /// Where the bytes go.
    pub dest: &'a mut IovDest<'b>,
    /// MSG_*; DONTWAIT also for an O_NONBLOCK file.
    pub flags: u32,
    /// MSG_TRUNC and such for the receiver.
    pub out_flags: u32,
    /// Source, family first.
    pub addr: Option<Vec<u8>>,
    /// SCM_CREDENTIALS, if the receiver asked for them (SO_PASSCRED).
    pub creds: Option<Ucred>,
    /// SCM_RIGHTS.
    pub files: Vec<Arc<File>>,
    /// Other control messages: level, type, data.
    pub others: Vec<(u32, u32, Vec<u8>)>,
    /// MSG_WAITALL must not go on: the next bytes belong to another sender, or descriptors came.
    pub boundary: bool,
}

impl<'a, 'b> RecvMsg<'a, 'b> {
    /// Nothing received yet.
    pub fn new(dest: &'a mut IovDest<'b>, flags: u32) -> RecvMsg<'a, 'b> {
        RecvMsg {
            dest,
            flags,
            out_flags: 0,
            addr: None,
            creds: None,
            files: Vec::new(),
            others: Vec::new(),
            boundary: false,
        }
    }

    /// Whether `flag` is asked for.
    pub fn wants(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// A socket of some protocol. Methods try: EAGAIN where they would wait.
#[expect(unused_variables, reason = "default bodies only answer an errno")]
pub trait Socket: Any + Send + Sync {
    /// AF_*
    fn domain(&self) -> u16;
    /// SOCK_*
    fn kind(&self) -> u32;
    /// Protocol number.
    fn protocol(&self) -> u32 {
        0
    }
    /// Whether bytes have no message boundaries: a send goes on until all are sent.
    fn is_stream(&self) -> bool {
        self.kind() == abi::net::SOCK_STREAM
    }
    /// Options of SOL_SOCKET.
    fn options(&self) -> &Options;
    /// bind(2)
    fn bind(&self, addr: &[u8]) -> Result<()> {
        Err(EOPNOTSUPP)
    }
    /// connect(2). May wait itself unless `nonblock`.
    fn connect(&self, addr: &[u8], nonblock: bool) -> Result<()> {
        Err(EOPNOTSUPP)
    }
    /// listen(2)
    fn listen(&self, backlog: u32) -> Result<()> {
        Err(EOPNOTSUPP)
    }
    /// accept(2): the next connection.
    fn accept(&self) -> Result<Arc<dyn Socket>> {
        Err(EOPNOTSUPP)
    }
    /// getsockname(2)
    fn sockname(&self) -> Result<Vec<u8>>;
    /// getpeername(2): ENOTCONN.
    fn peername(&self) -> Result<Vec<u8>>;
    /// shutdown(2): SHUT_*
    fn shutdown(&self, how: u32) -> Result<()> {
        Err(EOPNOTSUPP)
    }
    /// Sends what there is room for.
    fn send(&self, msg: &mut SendMsg<'_, '_>) -> Result<usize> {
        Err(EOPNOTSUPP)
    }
    /// Receives what there is.
    fn recv(&self, msg: &mut RecvMsg<'_, '_>) -> Result<usize> {
        Err(EOPNOTSUPP)
    }
    /// What it is ready for.
    fn poll(&self, table: &mut PollTable) -> PollEvents;
    /// Waits after [`Socket::send`] answered EAGAIN.
    fn wait_to_send(&self, msg: &SendMsg<'_, '_>, sleep: Sleep) -> Result<()> {
        let ready = PollEvents::OUT | PollEvents::ALWAYS;
        wait_until(sleep, |table| self.poll(table).intersects(ready).then_some(()))
    }
    /// ioctl(2). ENOTTY.
    fn ioctl(&self, cmd: u32, arg: u64) -> Result<u64> {
        Err(ENOTTY)
    }
    /// setsockopt(2) of a level or option that `options.rs` doesn't know.
    fn setsockopt(&self, level: u32, name: u32, value: &[u8]) -> Result<()> {
        Err(ENOPROTOOPT)
    }
    /// getsockopt(2) likewise. `len` is the size of the caller's buffer.
    fn getsockopt(&self, level: u32, name: u32, len: usize) -> Result<Vec<u8>> {
        Err(ENOPROTOOPT)
    }
    /// An option of SOL_SOCKET was set.
    fn option_changed(&self, name: u32) {}
    /// SO_ACCEPTCONN
    fn is_listening(&self) -> bool {
        false
    }
    /// Who is told by a signal (O_ASYNC); none if it can't tell.
    fn fasync(&self) -> Option<&FasyncList> {
        None
    }
    /// The last descriptor is gone.
    fn release(&self) {}
    /// Line of /proc/net tables or fdinfo.
    fn fdinfo(&self) -> String {
        String::new()
    }
}

static SOCKFS_TYPE: FsType = FsType { name: "sockfs", nodev: true, cache_negative: false, mount: no_mount };
static SOCKFS: LazyLock<PseudoFs> = LazyLock::new(|| PseudoFs::new(&SOCKFS_TYPE, abi::stat::SOCKFS_MAGIC));

/// Shows sockfs in /proc/filesystems.
pub fn register() {
    crate::vfs::register_filesystem(&SOCKFS_TYPE);
}

/// Operations of an open socket.
pub struct SocketFile(Arc<dyn Socket>);

impl SocketFile {
    /// An open file of `socket`; `flags` may hold O_NONBLOCK.
    pub fn open(socket: Arc<dyn Socket>, flags: OpenFlags) -> Arc<File> {
        let path = SOCKFS.path("socket", FileType::Socket, 0o777);
        let ops = Box::new(SocketFile(socket));
        stream_file(path, ops, OpenFlags::RDWR | (flags & OpenFlags::NONBLOCK))
    }

    /// The socket behind an open file; ENOTSOCK.
    pub fn of(file: &File) -> Result<&Arc<dyn Socket>> {
        file.ops_as::<SocketFile>().map(|f| &f.0).ok_or(ENOTSOCK)
    }
}

/// Gives a socket to the current process. `flags`: SOCK_NONBLOCK, SOCK_CLOEXEC.
pub fn install(socket: Arc<dyn Socket>, flags: u32) -> Result<Fd> {
    let open = OpenFlags::from_bits_retain(flags);
    let files = current().files()?;
    files.install(SocketFile::open(socket, open), open.contains(OpenFlags::CLOEXEC))
}

/// The open file of a descriptor that must be a socket. EBADF, ENOTSOCK.
pub fn socket_file(fd: Fd) -> Result<Arc<File>> {
    let file = fd.io()?;
    SocketFile::of(&file)?;
    Ok(file)
}

fn dontwait(file: &File) -> u32 {
    if file.nonblock() { MSG_DONTWAIT } else { 0 }
}

impl FileOps for SocketFile {
    fn read(&self, file: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        if dest.remaining() == 0 {
            return Ok(0);
        }
        self.0.recv(&mut RecvMsg::new(dest, dontwait(file)))
    }

    fn write(&self, file: &File, src: &mut IovSource<'_>, _: &mut u64) -> Result<usize> {
        let flags = dontwait(file);
        let mut msg = SendMsg { src, flags, addr: None, control: Ancillary::default() };
        let sent = self.0.send(&mut msg);
        // A write that was cut short says so, and raises nothing.
        let begun = msg.src.is_begun();
        sent.map_err(|errno| if begun { errno } else { send_error(&*self.0, flags, errno) })
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        self.0.poll(table)
    }

    fn io_timeout(&self, writing: bool) -> Option<u64> {
        let options = self.0.options();
        if writing { options.sndtimeo() } else { options.rcvtimeo() }
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64) -> Result<u64> {
        self.0.ioctl(cmd, arg)
    }

    fn fasync(&self, _: &File, _: bool, set: &mut dyn FnMut(&FasyncList)) {
        if let Some(list) = self.0.fasync() {
            set(list);
        }
    }

    fn release(&self, _: &File) {
        self.0.release();
    }

    fn fsync(&self, _: &File, _: bool) -> Result<()> {
        Err(EINVAL)
    }

    fn fdinfo(&self, _: &File) -> String {
        self.0.fdinfo()
    }
}

//! The block map of a file: extents or indirect blocks by the inode's flag, their nodes in the buffer cache, checked when
//! they are read and sealed with a checksum when they are changed. Takes no lock: the caller holds the inode's state.

use crate::balloc::{self, Need};
use crate::extent::{self, Found, Run, Tree};
use crate::indirect::{self, Map};
use crate::inode::{Inode, InodeState};
use crate::layout::inode::InodeFlags;
use crate::nodes::{Nodes, NodesMut};
use crate::{Filesystem, Handle, Result, csum};
use abi::Errno;
use abi::errno::{EBADMSG, EFBIG, EOPNOTSUPP};

/// Whether holes are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// No.
    No,
    /// By written blocks.
    Yes,
    /// By unwritten blocks.
    Unwritten,
}

/// What a range of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentState {
    /// Nothing allocated.
    Hole,
    /// Data.
    Written,
    /// Allocated, reads as zeros.
    Unwritten,
}

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First block in the file.
    pub lblk: u32,
    /// First block on the device (0 for a hole).
    pub pblk: u64,
    /// Blocks.
    pub len: u32,
    /// What it is.
    pub state: ExtentState,
}

/// A map's nodes, for looking.
struct View<'a> {
    inode: &'a Inode,
    seed: u32,
    extents: bool,
}

impl<'a> View<'a> {
    fn new(inode: &'a Inode, state: &InodeState) -> View<'a> {
        View { inode, seed: inode.csum_seed(state), extents: has_extents(state) }
    }

    fn buffer(&self, block: u64) -> Result<std::sync::Arc<crate::Buffer>> {
        let fs = &*self.inode.fs;
        if !fs.valid_blocks(block, 1) {
            return Err(self.corrupted(block, "map node outside the file system"));
        }
        let buffer = fs.cache.read(block)?;
        if self.extents && !buffer.verified() {
            let data = buffer.data();
            let geometry = &fs.geometry;
            if let Err(what) = extent::check(&data, geometry.first_data_block, geometry.blocks_count) {
                return Err(self.corrupted(block, what));
            }
            if geometry.features.metadata_csum() {
                let tail = extent::tail_offset(&data);
                let stored = data.get(tail..tail + 4).ok_or(EBADMSG)?;
                if stored != csum::crc32c(self.seed, &data[..tail]).to_le_bytes() {
                    return Err(fs.bad_checksum("extent tree", self.inode.ino, block));
                }
            }
            buffer.set_verified();
        }
        Ok(buffer)
    }
}

impl Nodes for View<'_> {
    fn block_size(&self) -> usize {
        self.inode.fs.geometry.block_size
    }

    fn read<R>(&self, block: u64, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        Ok(look(&self.buffer(block)?.data()))
    }

    fn corrupted(&self, block: u64, what: &str) -> Errno {
        let place = if self.extents { "extent tree" } else { "indirect blocks" };
        self.inode.fs.corrupted(place, self.inode.ino, block, format_args!("{what}"))
    }
}

/// A map's nodes, for changing.
struct Edit<'a> {
    view: View<'a>,
    handle: &'a mut Handle,
    /// The inode's `blocks`.
    sectors: &'a mut u64,
    need: Need,
}

impl Edit<'_> {
    fn fs(&self) -> &Filesystem {
        &self.view.inode.fs
    }

    fn seal(&self) -> impl Fn(&mut [u8]) + use<> {
        let (seed, wanted) =
            (self.view.seed, self.view.extents && self.fs().geometry.features.metadata_csum());
        move |node| {
            let tail = if wanted { extent::tail_offset(node) } else { usize::MAX };
            if tail < node.len() - 3 {
                let sum = csum::crc32c(seed, &node[..tail]);
                node[tail..tail + 4].copy_from_slice(&sum.to_le_bytes());
            }
        }
    }
}

impl Nodes for Edit<'_> {
    fn block_size(&self) -> usize {
        self.view.block_size()
    }

    fn read<R>(&self, block: u64, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.view.read(block, look)
    }

    fn corrupted(&self, block: u64, what: &str) -> Errno {
        self.view.corrupted(block, what)
    }
}

impl NodesMut for Edit<'_> {
    fn modify<R>(&mut self, block: u64, change: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        let buffer = self.view.buffer(block)?;
        let seal = self.seal();
        self.handle.modify(&buffer, |node| {
            let result = change(node);
            seal(node);
            result
        })
    }

    fn create(&mut self, _goal: u64, fill: impl FnOnce(&mut [u8])) -> Result<u64> {
        // Not amidst the data: a node there would cut a run that could go on.
        let inode = self.view.inode;
        let goal = inode.fs.geometry.group_first_block(inode.fs.geometry.inode_group(inode.ino).0);
        let block = balloc::allocate_metadata(&inode.fs, self.handle, goal, self.need)?;
        let buffer = inode.fs.cache.get_zeroed(block)?;
        let seal = self.seal();
        self.handle.create(&buffer, |node| {
            node.fill(0);
            fill(node);
            seal(node);
        })?;
        buffer.set_verified();
        *self.sectors += 1 << (inode.fs.geometry.block_bits - 9);
        Ok(block)
    }

    fn free(&mut self, block: u64) -> Result<()> {
        balloc::free(&self.view.inode.fs, self.handle, block, 1, true)?;
        *self.sectors = self.sectors.saturating_sub(1 << (self.fs().geometry.block_bits - 9));
        Ok(())
    }
}

/// Whether the map is an extent tree.
pub(crate) fn has_extents(state: &InodeState) -> bool {
    state.flags.contains(InodeFlags::EXTENTS)
}

/// The first logical block that the file can't have.
pub(crate) fn end(fs: &Filesystem, state: &InodeState) -> u64 {
    if has_extents(state) { extent::END } else { indirect::end(fs.geometry.block_size) }
}

/// Runs `$body` with `$edit` and the root.
macro_rules! editing {
    ($inode:expr, $state:expr, $handle:expr, $need:expr, |$root:ident, $nodes:ident| $body:expr) => {{
        let view = View::new($inode, $state);
        let $root = &mut $state.block;
        let mut edit = Edit { view, handle: $handle, sectors: &mut $state.blocks, need: $need };
        let $nodes = &mut edit;
        $body
    }};
}

/// What is at `lblk`, at most `len` blocks of it. Takes no lock.
pub(crate) fn lookup(inode: &Inode, state: &InodeState, lblk: u32, len: u32) -> Result<Extent> {
    let hole = |end: u64| {
        let len = end.saturating_sub(u64::from(lblk)).min(u64::from(len)) as u32;
        Extent { lblk, pblk: 0, len, state: ExtentState::Hole }
    };
    if state.flags.contains(InodeFlags::INLINE_DATA) {
        return Ok(hole(extent::END));
    }
    let view = View::new(inode, state);
    let found = if view.extents {
        extent::lookup(&state.block, &view, lblk)?
    } else {
        indirect::lookup(&state.block, &view, lblk)?
    };
    let run = match found {
        Found::Hole(end) => return Ok(hole(end)),
        Found::Run(run) => run,
    };
    if run.len == 0 {
        return Err(view.corrupted(0, "extent of no length"));
    }
    let part = run.clip(u64::from(lblk), u64::from(lblk) + u64::from(len.max(1)));
    if !inode.fs.valid_blocks(part.pblk, part.len) {
        return Err(view.corrupted(part.pblk, "data outside the file system"));
    }
    let kind = if run.unwritten { ExtentState::Unwritten } else { ExtentState::Written };
    Ok(Extent { lblk, pblk: part.pblk, len: part.len, state: kind })
}

/// The last mapped block before `limit`, if that is cheap to know (extents only): (logical end, physical end).
fn before(inode: &Inode, state: &InodeState, limit: u32) -> Result<Option<(u64, u64)>> {
    let view = View::new(inode, state);
    if view.extents {
        let run = extent::last_before(&state.block, &view, u64::from(limit))?;
        return Ok(run.map(|run| (run.end(), run.pblk + u64::from(run.len))));
    }
    let Some(previous) = limit.checked_sub(1) else { return Ok(None) };
    Ok(match indirect::lookup(&state.block, &view, previous)? {
        Found::Run(run) => Some((u64::from(limit), run.pblk + 1)),
        Found::Hole(_) => None,
    })
}

/// Where the blocks from `lblk` on would best be, and whether exactly there (the file's data ends there).
pub(crate) fn goal(inode: &Inode, state: &InodeState, lblk: u32) -> Result<(u64, bool)> {
    let geometry = &inode.fs.geometry;
    if let Some((end, physical)) = before(inode, state, lblk)? {
        let gap = u64::from(lblk).saturating_sub(end);
        if gap == 0 {
            return Ok((physical, true));
        }
        let goal = physical + if gap < 1024 { gap } else { 0 };
        return Ok((goal.min(geometry.blocks_count - 1), false));
    }
    let group = geometry.inode_group(inode.ino).0;
    Ok((geometry.group_first_block(group), false))
}

/// Like [`lookup`], but fills a hole (may fill less than `len`). Does not store the inode: the caller does. Needs
/// [`insert_credits`].
pub(crate) fn allocate(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    lblk: u32,
    len: u32,
    create: Create,
) -> Result<Extent> {
    let found = lookup(inode, state, lblk, len)?;
    if found.state != ExtentState::Hole || create == Create::No {
        return Ok(found);
    }
    let (goal, follow) = goal(inode, state, lblk)?;
    let (pblk, count) = balloc::claim(&inode.fs, goal, found.len, follow, Need::Metadata)?;
    let run = Run { lblk, len: count, pblk, unwritten: create == Create::Unwritten };
    insert(inode, state, handle, run, Need::Metadata)?;
    let kind = if run.unwritten { ExtentState::Unwritten } else { ExtentState::Written };
    Ok(Extent { lblk, pblk, len: count, state: kind })
}

/// Maps claimed blocks into a hole and marks them used. If that fails midway, the rest of the blocks is given back.
pub(crate) fn insert(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    run: Run,
    need: Need,
) -> Result<()> {
    let fs = &*inode.fs;
    let mut rest = run;
    let result = (|| {
        if run.unwritten && !has_extents(state) {
            return Err(EOPNOTSUPP);
        }
        if run.end() > end(fs, state) {
            return Err(EFBIG);
        }
        while rest.len > 0 {
            let limit = extent::MAX_LEN.min(fs.geometry.blocks_per_group) - u32::from(rest.unwritten);
            let piece = Run { len: rest.len.min(limit), ..rest };
            let mut old = Vec::new();
            let done = if has_extents(state) {
                editing!(inode, state, handle, need, |root, nodes| Tree { root, nodes }.set(piece, &mut old))?
            } else {
                editing!(inode, state, handle, need, |root, nodes| Map { root, nodes }.set(piece))?
            };
            if !old.is_empty() {
                return Err(fs.corrupted("extent tree", inode.ino, 0, format_args!("block mapped twice")));
            }
            balloc::mark_used(fs, handle, rest.pblk, done)?;
            state.blocks += u64::from(done) << (fs.geometry.block_bits - 9);
            rest = Run {
                lblk: rest.lblk + done,
                len: rest.len - done,
                pblk: rest.pblk + u64::from(done),
                ..rest
            };
        }
        Ok(())
    })();
    if result.is_err() {
        balloc::unclaim(fs, rest.pblk, rest.len);
    }
    result
}

/// Credits for mapping one run: the tree's nodes, split all the way and each new one in a group of its own; the data's
/// bitmap; the inode.
pub(crate) fn insert_credits(state: &InodeState) -> usize {
    let depth = if has_extents(state) { usize::from(extent::tree_depth(&state.block)) } else { 2 };
    (depth + 1) * 4 + 4 + 3
}

/// Marks the mapped blocks of `lblk`..+`len` as written or not: one extent, with [`insert_credits`]. Returns the blocks
/// done.
pub(crate) fn convert(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    lblk: u32,
    len: u32,
    unwritten: bool,
) -> Result<u32> {
    if !has_extents(state) {
        return Err(EOPNOTSUPP);
    }
    editing!(inode, state, handle, Need::Metadata, |root, nodes| {
        Tree { root, nodes }.convert(lblk, len, unwritten)
    })
}

/// Whether the file's blocks go through the journal, and must be revoked when they are freed.
pub(crate) fn is_journaled(inode: &Inode, state: &InodeState) -> bool {
    let regular = state.mode & 0o170_000 == 0o100_000;
    !regular
        || state.flags.intersects(InodeFlags::JOURNAL_DATA.union(InodeFlags::EA_INODE))
        || inode.fs.options.read().data == crate::DataMode::Journal
}

/// How many runs one step of a removal may take, so that [`remove_credits`] fit into a transaction.
fn remove_limit(fs: &Filesystem) -> usize {
    (fs.transactions.max_credits() / 4).saturating_sub(30).clamp(2, 256) / 4 + 1
}

/// Credits for one [`remove_step`].
pub(crate) fn remove_credits(fs: &Filesystem) -> usize {
    remove_limit(fs) * 4 + 30
}

/// Unmaps and frees the last few runs of `from..to` (logical blocks). Whether there may be more. The caller stores the
/// inode.
pub(crate) fn remove_step(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    from: u64,
    to: u64,
) -> Result<bool> {
    let fs = &*inode.fs;
    let journaled = is_journaled(inode, state);
    let (limit, mut old) = (remove_limit(fs), Vec::new());
    let more = if has_extents(state) {
        editing!(inode, state, handle, Need::Metadata, |root, nodes| {
            Tree { root, nodes }.remove(from, to, limit, &mut old)
        })?
    } else {
        editing!(inode, state, handle, Need::Metadata, |root, nodes| {
            Map { root, nodes }.remove(from, to, limit, &mut old)
        })?
    };
    for run in &old {
        balloc::free(fs, handle, run.pblk, run.len, journaled)?;
        state.blocks = state.blocks.saturating_sub(u64::from(run.len) << (fs.geometry.block_bits - 9));
    }
    Ok(more)
}

/// Makes an extent begin at `lblk`, if one lies across.
pub(crate) fn cut(inode: &Inode, state: &mut InodeState, handle: &mut Handle, lblk: u32) -> Result<()> {
    editing!(inode, state, handle, Need::Metadata, |root, nodes| Tree { root, nodes }.cut(lblk))
}

/// Credits for unmapping `from..to` and moving all that follows, in one transaction; none if no transaction holds that.
pub(crate) fn shift_credits(inode: &Inode, state: &InodeState, from: u32, to: u64) -> Result<Option<usize>> {
    let view = View::new(inode, state);
    let (leaves, runs) = extent::weigh(&state.block, &view, from, to)?;
    let credits = (leaves + runs) * 4 + 30 + insert_credits(state);
    Ok((credits <= inode.fs.transactions.max_credits()).then_some(credits))
}

/// Moves the extents of one leaf from `from` on down by `by` blocks; returns where the next leaf begins, if there is one.
pub(crate) fn shift_down(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    from: u32,
    by: u32,
) -> Result<Option<u32>> {
    let next = editing!(inode, state, handle, Need::Metadata, |root, nodes| {
        Tree { root, nodes }.shift_down(from, by)
    })?;
    Ok((next < extent::END).then_some(next as u32))
}

/// Moves the extents of one leaf between `from` and `before` up by `by` blocks; returns the `before` of the next call.
pub(crate) fn shift_up(
    inode: &Inode,
    state: &mut InodeState,
    handle: &mut Handle,
    from: u32,
    before: u64,
    by: u32,
) -> Result<Option<u64>> {
    editing!(inode, state, handle, Need::Metadata, |root, nodes| {
        Tree { root, nodes }.shift_up(from, before, by)
    })
}

/// The end of the last mapped block of a file with extents.
pub(crate) fn last_end(inode: &Inode, state: &InodeState) -> Result<u64> {
    let view = View::new(inode, state);
    Ok(extent::last_before(&state.block, &view, extent::END)?.map_or(0, |run| run.end()))
}

/// How many more runs fit into the inode itself, without another block for the map.
pub(crate) fn room_in_inode(state: &InodeState) -> usize {
    if has_extents(state) && extent::tree_depth(&state.block) == 0 {
        4 - extent::root_entries(&state.block)
    } else {
        0
    }
}

/// An empty map for a new inode: an extent root if the file system has extents (sets the flag), else no blocks.
pub(crate) fn init(inode: &Inode, state: &mut InodeState) {
    state.block.fill(0);
    if inode.fs.geometry.features.extents() {
        state.flags.insert(InodeFlags::EXTENTS);
        extent::init_root(&mut state.block);
    } else {
        state.flags.remove(InodeFlags::EXTENTS);
    }
}

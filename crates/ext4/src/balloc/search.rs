//! Finding free blocks.

use crate::groups::Map;
use crate::{Filesystem, Result};
use abi::errno::EIO;

/// Up to `want` blocks in one run near `goal`, taken in memory; none if there are none at all. See [`super::claim`].
pub(super) fn search(fs: &Filesystem, goal: u64, want: u32, follow: bool) -> Result<Option<(u64, u32)>> {
    let shared = &fs.balloc.0;
    let (mut home, mut offset) = shared.locate(goal);
    if home >= shared.groups.len() || goal < shared.first_data_block {
        (home, offset) = (0, 0);
    }
    let take = |index: usize, find: &mut dyn FnMut(&mut Map) -> Option<(usize, usize)>| {
        let group = &shared.groups[index];
        let found = group.with_map(fs, index as u32, |map| {
            let (first, count) = find(map)?;
            map.words.assign(first, count, true);
            Some((first as u64, count as u32))
        })?;
        Ok(found.flatten().map(|(first, count)| {
            group.adjust_free(count, false);
            (fs.geometry.group_first_block(index as u32) + first, count)
        }))
    };
    let wanted = want as usize;
    if follow {
        let at = offset as usize;
        let found = take(home, &mut |map| {
            let run = map.words.next_used(at).checked_sub(at).filter(|&run| run > 0)?;
            Some((at, run.min(wanted)))
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    // Ever shorter runs, nearest group first. What a group can't give is remembered, so the later rounds are cheap.
    let groups = shared.groups.len();
    let longest = (shared.blocks_per_group - shared.blocks_per_group / 8).max(1);
    let mut least = want.min(longest);
    loop {
        for step in 0..groups {
            let index = (home + step) % groups;
            let group = &shared.groups[index];
            if group.free_hint() < least || group.longest_hint() < least {
                continue;
            }
            let start = if step == 0 { offset as usize } else { 0 };
            let found = take(index, &mut |map| {
                let (len, enough) = (map.words.len(), least as usize);
                let ahead = map.words.find_run(start, len, wanted);
                let best = match ahead.filter(|run| run.1 >= enough) {
                    Some(run) => Some(run),
                    None => {
                        let behind = if start > 0 { map.words.find_run(0, start, wanted) } else { None };
                        let most = ahead.max_by_len(behind);
                        let len = most.map_or(0, |run| run.1);
                        if len < enough {
                            map.longest = len as u32;
                        }
                        most
                    }
                };
                best.filter(|run| run.1 >= enough)
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        if least == 1 {
            return Ok(None);
        }
        least = (least / 8).max(1);
    }
}

/// The longer of two runs.
trait Longer {
    fn max_by_len(self, other: Self) -> Self;
}

impl Longer for Option<(usize, usize)> {
    fn max_by_len(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(if b.1 > a.1 { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// Takes the next run of at least `least` free blocks in `from..to` of a group, in memory only. It still counts as free.
pub(super) fn take_free_run(
    fs: &Filesystem,
    group: u32,
    from: u32,
    to: u32,
    least: u32,
) -> Result<Option<(u64, u32)>> {
    let shared = &fs.balloc.0;
    let state = shared.groups.get(group as usize).ok_or(EIO)?;
    let run = state.with_map(fs, group, |map| {
        let (mut at, to) = (from as usize, to as usize);
        loop {
            let first = map.words.next_free(at).filter(|&first| first < to)?;
            let end = map.words.next_used(first).min(to);
            if end - first >= least as usize {
                map.words.assign(first, end - first, true);
                return Some((first as u64, (end - first) as u32));
            }
            at = end;
        }
    })?;
    Ok(run.flatten().map(|(first, count)| {
        state.adjust_free(count, false);
        (fs.geometry.group_first_block(group) + first, count)
    }))
}

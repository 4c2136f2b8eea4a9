//! A block device in memory that records what is done to it, and gives the images that a power cut at any moment
//! could leave. For tests.

use crate::Result;
use crate::device::{BlockDevice, in_range};
use abi::errno::EIO;
use parking_lot::RwLock;
use std::sync::Arc;

/// What survives a power cut as a whole or not at all.
pub const SECTOR: usize = 512;

#[derive(Clone)]
enum Event {
    Write(u64, Arc<[u8]>),
    Flush,
}

struct Inner {
    data: Vec<u8>,
    log: Vec<Event>,
}

/// The recording device.
pub struct RecordingDevice {
    inner: RwLock<Inner>,
    base: Arc<[u8]>,
    superblock: u64,
}

impl RecordingDevice {
    /// A device with that content, nothing recorded. A file system begins at `start`.
    pub fn new(data: Vec<u8>, start: u64) -> RecordingDevice {
        RecordingDevice {
            base: data.as_slice().into(),
            inner: RwLock::new(Inner { data, log: Vec::new() }),
            superblock: start + SUPERBLOCK,
        }
    }

    /// How many writes and flushes were recorded: a moment to cut at.
    pub fn position(&self) -> usize {
        self.inner.read().log.len()
    }

    /// The present content, as a reader sees it.
    pub fn snapshot(&self) -> Vec<u8> {
        self.inner.read().data.clone()
    }

    /// The record so far, for making images of power cuts.
    pub fn cuts(&self) -> PowerCuts {
        let (durable, log) = (self.base.to_vec(), self.inner.read().log.clone());
        PowerCuts { durable, done: 0, log, superblock: self.superblock }
    }
}

impl BlockDevice for RecordingDevice {
    fn len(&self) -> u64 {
        self.base.len() as u64
    }

    fn is_readonly(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let inner = self.inner.read();
        if !in_range(self.len(), offset, buf.len()) {
            return Err(EIO);
        }
        buf.copy_from_slice(&inner.data[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, bufs: &[&[u8]]) -> Result<()> {
        let data = bufs.concat();
        if !in_range(self.len(), offset, data.len()) {
            return Err(EIO);
        }
        let mut inner = self.inner.write();
        inner.data[offset as usize..][..data.len()].copy_from_slice(&data);
        inner.log.push(Event::Write(offset, data.into()));
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.inner.write().log.push(Event::Flush);
        Ok(())
    }
}

/// Images after power cuts, at ascending positions.
pub struct PowerCuts {
    /// What was durable at the last flush before the present position.
    durable: Vec<u8>,
    /// Events that `durable` holds.
    done: usize,
    log: Vec<Event>,
    superblock: u64,
}

impl PowerCuts {
    /// The image after a cut when `position` events had happened, which is not before the last call's. Of what no
    /// flush had made durable, `random` (any number below its argument) decides what is there: in whole writes or
    /// sector by sector, in any order.
    pub fn image(&mut self, position: usize, mut random: impl FnMut(usize) -> usize) -> Vec<u8> {
        let position = position.min(self.log.len());
        let flushed = self.log[..position].iter().rposition(|event| matches!(event, Event::Flush));
        for event in &self.log[self.done.min(position)..flushed.unwrap_or(self.done).max(self.done)] {
            if let Event::Write(offset, data) = event {
                put(&mut self.durable, *offset, data);
            }
        }
        self.done = self.done.max(flushed.unwrap_or(0));
        let mut image = self.durable.clone();
        let mut pieces: Vec<(u64, &[u8])> = Vec::new();
        let torn = random(4) > 0;
        // From nearly nothing to nearly everything reaches the medium.
        let kept = random(101);
        for event in &self.log[self.done..position] {
            let Event::Write(offset, data) = event else { continue };
            if torn {
                tear(*offset, data, self.superblock, &mut pieces);
            } else {
                pieces.push((*offset, data));
            }
        }
        pieces.retain(|_| random(100) < kept);
        for n in (1..pieces.len()).rev() {
            pieces.swap(n, random(n + 1));
        }
        for (offset, piece) in pieces {
            put(&mut image, offset, piece);
        }
        image
    }
}

/// Where ext4's superblock is, over two sectors with one checksum. A medium that tears it leaves a file system that
/// nothing can mount, Linux's as well as ours; media with sectors of 4 KiB, and host files, don't.
const SUPERBLOCK: u64 = 1024;

/// Divides a write into what may survive by itself.
fn tear<'a>(mut offset: u64, mut data: &'a [u8], superblock: u64, pieces: &mut Vec<(u64, &'a [u8])>) {
    while !data.is_empty() {
        let len = if offset == superblock { 2 * SECTOR } else { SECTOR - offset as usize % SECTOR };
        let (piece, rest) = data.split_at(len.min(data.len()));
        pieces.push((offset, piece));
        offset += piece.len() as u64;
        data = rest;
    }
}

fn put(image: &mut [u8], offset: u64, data: &[u8]) {
    image[offset as usize..][..data.len()].copy_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushed_writes_stay_and_others_may_go() {
        let device = RecordingDevice::new(vec![0; 8192], 0);
        device.write(0, &[&[1; 512]]).unwrap();
        device.flush().unwrap();
        device.write(2048, &[&[2; 1024]]).unwrap();
        let end = device.position();
        let mut seen = [false; 4];
        let mut state = 1usize;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        for _ in 0..500 {
            let image = device.cuts().image(end, &mut random);
            assert_eq!(image[0], 1);
            seen[usize::from(image[2048] == 2) + 2 * usize::from(image[2560] == 2)] = true;
        }
        assert_eq!(seen, [true; 4]);
        let before = device.cuts().image(0, |_| 0);
        assert_eq!(before[0], 0);
    }
}

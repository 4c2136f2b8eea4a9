//! A stopped thread's vector and floating-point state: the XSAVE image in its signal frame, which the host restores when
//! the guest goes on.
//!
//! The image's `sw_reserved` words, sizes and feature mask are always the host's own, so that the host accepts the
//! frame whatever a guest has put into it.

use super::abi::{SLOT_LEN, SLOTS, STACK_LEN, STACK_OFFSET};
use super::thread::StubThread;
use abi::Result;
use abi::errno::*;
use std::sync::OnceLock;

/// Bytes of the legacy area, at whose end (`sw_reserved`) the host describes the rest.
const LEGACY: usize = 512;
const SW_RESERVED: usize = 464;
const MXCSR: usize = 24;
const MXCSR_MASK: usize = 28;
const XSTATE_BV: usize = 512;
/// xcomp_bv and the header's reserved words.
const HEADER_ZERO: std::ops::Range<usize> = 520..576;
const MAGIC1: u32 = 0x4650_5853;
const MAGIC2: u32 = 0x4650_5845;

/// The host's frame layout, and an image of the initial state.
struct Layout {
    /// Bytes of the image and MAGIC2 after it; [`LEGACY`] where there is no XSAVE.
    extended: usize,
    features: u64,
    mxcsr_mask: u32,
    initial: Vec<u8>,
}

static LAYOUT: OnceLock<Layout> = OnceLock::new();

fn u32_at(image: &[u8], at: usize) -> u32 {
    image.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

fn u64_at(image: &[u8], at: usize) -> u64 {
    u64::from(u32_at(image, at)) | u64::from(u32_at(image, at + 4)) << 32
}

impl Layout {
    /// From the legacy area of a frame that the host has written and no guest has touched.
    fn new(legacy: &[u8]) -> Option<Layout> {
        let mut mxcsr_mask = u32_at(legacy, MXCSR_MASK);
        if mxcsr_mask == 0 {
            mxcsr_mask = 0xffbf;
        }
        let (mut extended, mut features) = (LEGACY, 3);
        if u32_at(legacy, SW_RESERVED) == MAGIC1 {
            extended = u32_at(legacy, SW_RESERVED + 4) as usize;
            features = u64_at(legacy, SW_RESERVED + 8);
            if !(LEGACY + 64 + 4..STACK_LEN as usize / 2).contains(&extended) {
                return None;
            }
        }
        let mut initial = vec![0; extended];
        initial[0..2].copy_from_slice(&0x37fu16.to_le_bytes());
        initial[MXCSR..MXCSR + 4].copy_from_slice(&0x1f80u32.to_le_bytes());
        initial[MXCSR_MASK..MXCSR_MASK + 4].copy_from_slice(&mxcsr_mask.to_le_bytes());
        initial[SW_RESERVED..LEGACY].copy_from_slice(&legacy[SW_RESERVED..LEGACY]);
        if extended > LEGACY {
            initial[extended - 4..].copy_from_slice(&MAGIC2.to_le_bytes());
        }
        Some(Layout { extended, features, mxcsr_mask, initial })
    }

    /// The image as the host will accept it, or EINVAL.
    fn accept(&self, image: &[u8]) -> Result<Vec<u8>> {
        if image.len() < LEGACY || u32_at(image, MXCSR) & !self.mxcsr_mask != 0 {
            return Err(EINVAL);
        }
        let mut out = self.initial.clone();
        out[..SW_RESERVED].copy_from_slice(&image[..SW_RESERVED]);
        if self.extended == LEGACY {
            return Ok(out);
        }
        let whole = u32_at(image, SW_RESERVED) == MAGIC1
            && image.len() >= self.extended
            && u32_at(image, self.extended - 4) == MAGIC2;
        if !whole {
            // Only the legacy part means anything, as Linux reads such a frame.
            out[XSTATE_BV] = 3;
            return Ok(out);
        }
        let present = u64_at(image, XSTATE_BV);
        if present & !self.features != 0 || image[HEADER_ZERO].iter().any(|byte| *byte != 0) {
            return Err(EINVAL);
        }
        out[LEGACY..self.extended].copy_from_slice(&image[LEGACY..self.extended]);
        Ok(out)
    }
}

/// Bytes of the host's image.
pub(super) fn image_len() -> Option<usize> {
    LAYOUT.get().map(|layout| layout.extended)
}

impl StubThread {
    /// Where the frame's image is, if it is where the host would have put one of this thread's.
    fn fp_place(&self, len: usize) -> Result<u64> {
        let stack = SLOTS + u64::from(self.slot) * SLOT_LEN + STACK_OFFSET;
        let end = self.fpstate.checked_add(len as u64).ok_or(ESRCH)?;
        if self.fpstate < stack || end > stack + STACK_LEN || !self.fpstate.is_multiple_of(64) {
            return Err(ESRCH);
        }
        Ok(self.fpstate)
    }

    fn fp_read(&self, buf: &mut [u8]) -> Result<()> {
        let at = self.fp_place(buf.len())?;
        if self.space.read_any(at, buf) == buf.len() { Ok(()) } else { Err(ESRCH) }
    }

    fn fp_write(&self, image: &[u8]) -> Result<()> {
        let at = self.fp_place(image.len())?;
        if self.space.write_any(at, image) == image.len() { Ok(()) } else { Err(ESRCH) }
    }

    /// Learns the layout from the first stub's frame.
    pub(super) fn fp_learn(&self) -> Result<()> {
        let mut legacy = [0; LEGACY];
        self.fp_read(&mut legacy)?;
        let layout = Layout::new(&legacy).ok_or(ENOSYS)?;
        LAYOUT.get_or_init(|| layout);
        Ok(())
    }

    /// The vector and floating-point state, as in a signal frame (XSAVE image with `sw_reserved` filled in, MAGIC2 at its
    /// end). ESRCH if the process is gone.
    pub fn fpstate(&mut self) -> Result<Vec<u8>> {
        let layout = LAYOUT.get().ok_or(ENOSYS)?;
        let mut image = vec![0; layout.extended];
        self.fp_read(&mut image)?;
        image[SW_RESERVED..LEGACY].copy_from_slice(&layout.initial[SW_RESERVED..LEGACY]);
        if layout.extended > LEGACY {
            image[layout.extended - 4..].copy_from_slice(&MAGIC2.to_le_bytes());
        }
        Ok(image)
    }

    /// Replaces that state: a whole image, or 512 bytes of FXSAVE. EINVAL for one the processor would refuse.
    pub fn set_fpstate(&mut self, image: &[u8]) -> Result<()> {
        let image = LAYOUT.get().ok_or(ENOSYS)?.accept(image)?;
        self.fp_write(&image)
    }

    /// Puts that state to its initial values, as execve(2) does.
    pub fn reset_fpstate(&mut self) {
        // A process that is gone reports so at its next run.
        if let Some(layout) = LAYOUT.get() {
            let _ = self.fp_write(&layout.initial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let mut legacy = [0; LEGACY];
        legacy[SW_RESERVED..][..4].copy_from_slice(&MAGIC1.to_le_bytes());
        legacy[SW_RESERVED + 4..][..4].copy_from_slice(&836u32.to_le_bytes());
        legacy[SW_RESERVED + 8] = 7;
        Layout::new(&legacy).unwrap()
    }

    #[test]
    fn accepts_what_it_made() {
        let layout = layout();
        assert_eq!((layout.extended, layout.features), (836, 7));
        assert_eq!(layout.accept(&layout.initial).unwrap(), layout.initial);
    }

    #[test]
    fn refuses_garbage() {
        let layout = layout();
        for (at, byte) in [(MXCSR + 3, 1), (XSTATE_BV, 8), (520, 1), (575, 1)] {
            let mut image = layout.initial.clone();
            image[at] = byte;
            assert_eq!(layout.accept(&image), Err(EINVAL), "{at}");
        }
        assert_eq!(layout.accept(&[0; 511]), Err(EINVAL));
        assert_eq!(layout.accept(&vec![0xff; 836]), Err(EINVAL));
    }

    #[test]
    fn host_words_stay() {
        let layout = layout();
        let mut image = layout.initial.clone();
        image[SW_RESERVED + 4] = 0xff;
        let out = layout.accept(&image).unwrap();
        assert_eq!(out[SW_RESERVED..LEGACY], layout.initial[SW_RESERVED..LEGACY]);
        image[SW_RESERVED] = 0;
        image[XSTATE_BV] = 0xff;
        assert_eq!(layout.accept(&image).unwrap()[XSTATE_BV], 3);
    }
}

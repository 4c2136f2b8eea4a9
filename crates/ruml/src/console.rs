//! `con=CHANNEL`, `conN=CHANNEL`: where the guest's /dev/ttyN are on the host.
//!
//! A channel is one word for both directions or `INPUT,OUTPUT`. A setting for one console beats the general one,
//! whichever comes first.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use kernel::boot::Channel;

/// Consoles that there are: con0 to con15.
const CONSOLES: u32 = 16;
const O_NOCTTY: i32 = abi::fcntl::OpenFlags::NOCTTY.bits() as i32;

/// The channels of all consoles: by default standard input and output for the first, and none for the rest.
pub fn channels(settings: &[(Option<u32>, String)]) -> Result<Vec<Channel>, String> {
    if let Some((Some(number), channel)) = settings.iter().find(|(n, _)| n.is_some_and(|n| n >= CONSOLES)) {
        return Err(format!("con{number}={channel}: there are con0 to con{}", CONSOLES - 1));
    }
    let of = |number| settings.iter().rev().find(|(n, _)| *n == number).map(|(_, channel)| channel.as_str());
    let mut channels = Vec::new();
    for minor in 0..CONSOLES {
        let default = if minor == 0 { "fd:0,fd:1" } else { "null" };
        let channel = of(Some(minor)).or(of(None)).unwrap_or(default);
        if channel == "none" {
            continue;
        }
        let (input, output) = channel.split_once(',').unwrap_or((channel, channel));
        let open = |text, write| open(text, write).map_err(|e| format!("con{minor}={channel}: {e}"));
        channels.push(Channel { minor, input: open(input, false)?, output: open(output, true)? });
    }
    Ok(channels)
}

/// One direction of a channel; nothing for `null`.
fn open(text: &str, write: bool) -> Result<Option<OwnedFd>, String> {
    match text.split_once(':') {
        None if text == "null" => Ok(None),
        Some(("fd", number)) => {
            let number = number.parse().map_err(|_| format!("'{number}' is no descriptor's number"))?;
            let fd = host::machine::duplicate_fd(number);
            fd.map(Some).map_err(|e| format!("descriptor {number}: {e}"))
        }
        Some(("tty", path)) => {
            let file = OpenOptions::new().read(!write).write(write).custom_flags(O_NOCTTY).open(path);
            file.map(|f| Some(f.into())).map_err(|e| format!("{path}: {e}"))
        }
        _ => Err(format!("'{text}' is not a channel of this version: fd:N, tty:PATH, null and none are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[(Option<u32>, &str)]) -> Vec<(Option<u32>, String)> {
        words.iter().map(|(n, c)| (*n, (*c).to_owned())).collect()
    }

    #[test]
    fn a_number_beats_the_general_setting() {
        let all =
            channels(&settings(&[(Some(1), "fd:0,fd:1"), (Some(0), "null,fd:2"), (None, "null")])).unwrap();
        let shape: Vec<_> =
            all.iter().map(|c| (c.minor, c.input.is_some(), c.output.is_some())).take(3).collect();
        assert_eq!(shape, [(0, false, true), (1, true, true), (2, false, false)]);
        assert_eq!(all.len(), 16);
    }

    #[test]
    fn what_is_not_a_channel_is_refused() {
        for wrong in ["fd:x", "fd:999", "xterm", "", "tty:/no/such"] {
            assert!(channels(&settings(&[(Some(3), wrong)])).is_err(), "{wrong}");
        }
        assert!(channels(&settings(&[(Some(16), "null")])).is_err());
        assert_eq!(channels(&settings(&[(Some(3), "none")])).unwrap().len(), 15);
    }
}

//! Running a program to its end or to a deadline, with its output captured.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a program did.
pub struct Outcome {
    /// Standard output, then standard error when `merge` was asked for.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// `None` when it was killed at the deadline.
    pub status: Option<ExitStatus>,
    /// From start to end.
    pub elapsed: Duration,
}

impl Outcome {
    /// The shell's view of the status: the exit code, 128+n for a signal, or `timeout`.
    pub fn status_text(&self) -> String {
        match self.status {
            None => "timeout".to_string(),
            Some(s) => {
                s.code().or_else(|| s.signal().map(|n| 128 + n)).map_or_else(String::new, |c| c.to_string())
            }
        }
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs `command` in a process group of its own, feeds it `stdin`, and kills the whole group at `limit`.
pub fn run(command: &mut Command, stdin: &[u8], limit: Duration) -> Result<Outcome, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child = command
        .stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("{name}: {e}"))?;
    let out = drain(child.stdout.take());
    let err = drain(child.stderr.take());
    if let Some(mut pipe) = child.stdin.take() {
        let bytes = stdin.to_vec();
        // A program that ends without reading is no error of the test's.
        std::thread::spawn(move || drop(pipe.write_all(&bytes)));
    }
    let group = child.id();
    let mut status = None;
    while start.elapsed() < limit {
        status = child.try_wait().map_err(|e| format!("{name}: {e}"))?;
        if status.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let elapsed = start.elapsed();
    if status.is_none() {
        kill_group(group);
        child.wait().map_err(|e| format!("{name}: {e}"))?;
    }
    // Something left behind may still hold the pipes: what came so far is the output.
    let wait = Duration::from_secs(2);
    Ok(Outcome {
        stdout: out.recv_timeout(wait).unwrap_or_default(),
        stderr: err.recv_timeout(wait).unwrap_or_default(),
        status,
        elapsed,
    })
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut p) = pipe {
            // Whatever arrived before an error is what there is to compare.
            let _ = p.read_to_end(&mut bytes);
        }
        // The receiver may have given up.
        let _ = tx.send(bytes);
    });
    rx
}

pub fn kill_group(leader: u32) {
    // std has no kill(2); by the group's id, never by name.
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{leader}")]).stderr(Stdio::null()).status();
}

/// Runs `job` over every index in `0..count` on `workers` threads and returns the results in order.
pub fn parallel<T: Send>(count: usize, workers: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let slots = std::sync::Mutex::new((0..count).map(|_| None).collect::<Vec<Option<T>>>());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if i >= count {
                        break;
                    }
                    let result = job(i);
                    if let Ok(mut s) = slots.lock() {
                        s[i] = Some(result);
                    }
                }
            });
        }
    });
    slots.into_inner().map(|v| v.into_iter().flatten().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_both_streams_and_the_status() {
        let o =
            run(Command::new("sh").args(["-c", "cat; echo err >&2; exit 3"]), b"in", Duration::from_secs(10))
                .unwrap();
        assert_eq!(
            (o.text().as_str(), o.stderr.as_slice(), o.status_text().as_str()),
            ("in", &b"err\n"[..], "3")
        );
    }

    #[test]
    fn kills_the_group_at_the_deadline() {
        let o = run(
            Command::new("sh").args(["-c", "echo a; sleep 60 & sleep 60"]),
            b"",
            Duration::from_millis(300),
        )
        .unwrap();
        assert_eq!((o.text().as_str(), o.status_text().as_str()), ("a\n", "timeout"));
        assert!(o.elapsed < Duration::from_secs(5));
    }

    #[test]
    fn parallel_keeps_order() {
        assert_eq!(parallel(20, 3, |i| i * 2), (0..20).map(|i| i * 2).collect::<Vec<_>>());
    }
}

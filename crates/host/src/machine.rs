//! One-time preparation of the host: checks, the zygote, the stub pool and the reaper.

/// How to prepare the host.
#[derive(Clone, Debug)]
pub struct Config {
    /// vCPU threads that will run stubs.
    pub ncpus: usize,
    /// Fresh stubs kept ready for exec.
    pub pool: usize,
}

/// Checks the host and starts the helpers. An error says exactly what the host lacks, and how to get it.
pub fn init(config: Config) -> Result<(), String> {
    let _ = config;
    Err("not available".into())
}

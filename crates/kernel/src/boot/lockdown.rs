//! What of the host the machine keeps once it runs: the folders that it shows, and nothing else.

use std::path::PathBuf;

use host::lockdown::{Policy, Ruleset};

use super::{Config, Root};

/// Keeps the calling thread, and all that it starts, to the files that the machine shows. Before any thread is started.
pub(super) fn enter(config: &Config) -> Result<(), String> {
    let Some(policy) = policy(config) else {
        crate::pr_info!("lockdown: off");
        return Ok(());
    };
    host::machine::learn();
    match Ruleset::new(&policy) {
        Ok(rules) => rules.enter().map_err(|e| format!("landlock_restrict_self: {e}")),
        Err(why) => {
            crate::pr_info!("lockdown: host files stay as open as the user has them: {why}");
            Ok(())
        }
    }
}

fn policy(config: &Config) -> Option<Policy> {
    let lockdown = config.lockdown.as_ref()?;
    let mut policy = Policy { read: Vec::new(), write: lockdown.write.clone(), network: lockdown.network };
    match &config.root {
        Root::HostCow(dir) => policy.read.push(dir.clone()),
        Root::Host(dir) if config.root_ro => policy.read.push(dir.clone()),
        Root::Host(dir) => policy.write.push(dir.clone()),
        Root::Disk { .. } | Root::Initramfs => {}
    }
    for volume in &config.volumes {
        if volume.read_only { &mut policy.read } else { &mut policy.write }.push(volume.host.clone());
    }
    if let Some(text) = &config.hostfs {
        policy.write.push(PathBuf::from(text.strip_suffix(",append").unwrap_or(text)));
    }
    Some(policy)
}

/// Gives up all host calls that are not needed, right before the first program.
pub(super) fn seal(config: Option<&super::Lockdown>) -> Result<(), String> {
    match config {
        Some(lockdown) => host::lockdown::seal(lockdown.network),
        None => Ok(()),
    }
}

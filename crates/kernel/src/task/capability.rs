//! capget(2), capset(2).

use abi::Result;
use abi::cred::*;
use abi::errno::{EINVAL, EPERM, ESRCH};

use super::{CapSet, Cred, current, pid, setid};
use crate::uaccess::UserPtr;

/// capget(2)
pub fn capget(header: UserPtr<CapUserHeader>, data: UserPtr<CapUserData>) -> Result<()> {
    let Some((words, number)) = read_header(header)? else {
        // Asked without data, it only tells which version it prefers.
        return if data.is_null() { Ok(()) } else { Err(EINVAL) };
    };
    if number < 0 {
        return Err(EINVAL);
    }
    let task = if number == 0 { current() } else { pid::find_task(number).map_err(|_| ESRCH)? };
    let cred = task.cred();
    if data.is_null() {
        return Err(EINVAL);
    }
    for i in 0..words {
        let half = |set: CapSet| (set.0 >> (32 * i)) as u32;
        data.at(i).write(&CapUserData {
            effective: half(cred.effective),
            permitted: half(cred.permitted),
            inheritable: half(cred.inheritable),
        })?;
    }
    Ok(())
}

/// capset(2)
pub fn capset(header: UserPtr<CapUserHeader>, data: UserPtr<CapUserData>) -> Result<()> {
    let (words, number) = read_header(header)?.ok_or(EINVAL)?;
    let task = current();
    if number != 0 && number != task.tid() {
        return Err(EPERM);
    }
    let data = data.read_array(words)?;
    let join = |half: fn(&CapUserData) -> u32| {
        let bits = data.iter().enumerate().fold(0u64, |bits, (i, d)| bits | u64::from(half(d)) << (32 * i));
        CapSet(bits).and(CapSet::FULL)
    };
    let old = task.cred();
    let new = changed(&old, join(|d| d.effective), join(|d| d.permitted), join(|d| d.inheritable))?;
    setid::commit(&task, &old, new);
    Ok(())
}

/// Words of each set and the process; None after telling the preferred version to one that asked with another.
fn read_header(header: UserPtr<CapUserHeader>) -> Result<Option<(usize, i32)>> {
    let value = header.read()?;
    match value.version {
        _LINUX_CAPABILITY_VERSION_1 => Ok(Some((1, value.pid))),
        _LINUX_CAPABILITY_VERSION_2 | _LINUX_CAPABILITY_VERSION_3 => Ok(Some((2, value.pid))),
        _ => {
            header.cast::<u32>().write(&_LINUX_CAPABILITY_VERSION_3)?;
            Ok(None)
        }
    }
}

/// The rules of capset(2): nothing is gained but what is permitted already.
fn changed(old: &Cred, effective: CapSet, permitted: CapSet, inheritable: CapSet) -> Result<Cred> {
    let free = old.capable(CAP_SETPCAP);
    if (!free && !inheritable.is_subset(old.inheritable.or(old.permitted)))
        || !inheritable.is_subset(old.inheritable.or(old.bounding))
        || !permitted.is_subset(old.permitted)
        || !effective.is_subset(permitted)
    {
        return Err(EPERM);
    }
    let ambient = old.ambient.and(permitted).and(inheritable);
    Ok(Cred { effective, permitted, inheritable, ambient, ..old.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capset_never_gains() {
        let some = CapSet(0b110);
        let cred = Cred { effective: CapSet::EMPTY, permitted: some, ..Cred::user(1, 1) };
        assert!(changed(&cred, some, some, CapSet::EMPTY).is_ok());
        assert!(changed(&cred, some, CapSet(0b111), CapSet::EMPTY).is_err());
        assert!(changed(&cred, some, CapSet(0b100), CapSet::EMPTY).is_err());
        assert!(changed(&cred, CapSet::EMPTY, some, some).is_ok());
        assert!(changed(&cred, CapSet::EMPTY, some, CapSet(1)).is_err());
    }
}

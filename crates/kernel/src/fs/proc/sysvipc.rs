//! /proc/sysvipc: the objects that shmget(2), msgget(2) and semget(2) have made.

use std::sync::Arc;

use super::put;
use crate::fs::kernfs::{Tree, dir, text};
use crate::ipc::sysv::{msg, sem};
use crate::mm::shm;

const MSG: &str = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      \
                   stime      rtime      ctime\n";
const SEM: &str = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n";
const SHM: &str = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      \
                   atime      dtime      ctime                   rss                  swap\n";

pub(super) fn tree() -> Arc<Tree> {
    let msg = text("msg", || MSG.to_owned() + &msg::proc_lines());
    let sem = text("sem", || SEM.to_owned() + &sem::proc_lines());
    dir("sysvipc", [msg, sem, text("shm", shm_table)])
}

fn shm_table() -> String {
    let mut out = SHM.to_owned();
    for (id, s, resident) in shm::list() {
        let p = s.shm_perm;
        put!(
            out,
            "{:10} {id:10}  {:4o} {:21} {:5} {:5}  ",
            p.key,
            p.mode,
            s.shm_segsz,
            s.shm_cpid,
            s.shm_lpid
        );
        put!(out, "{:5} {:5} {:5} {:5} {:5} ", s.shm_nattch, p.uid, p.gid, p.cuid, p.cgid);
        put!(out, "{:10} {:10} {:10} {resident:21} {:21}\n", s.shm_atime, s.shm_dtime, s.shm_ctime, 0);
    }
    out
}

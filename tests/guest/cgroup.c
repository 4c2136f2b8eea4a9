/* Control groups as systemd uses them. In a guest only: it mounts the machine's tree. As root. */
#include "t.h"
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/vfs.h>

static int put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY);
  if (fd < 0) return -1;
  int n = write(fd, text, strlen(text)), e = errno;
  close(fd);
  errno = e;
  return n < 0 ? -1 : 0;
}

TEST {
  if (geteuid() || access("/proc/ruml", F_OK)) exit(77);
  t_tmpdir();
  mkdir("cg", 0755);
  MUST(mount("cgroup2", "cg", "cgroup2", 0, "nsdelegate"));
  struct statfs sf;
  statfs("cg", &sf);
  CK(sf.f_type == 0x63677270);
  CK(!mkdir("cg/a", 0755) && !mkdir("cg/a/b", 0755));
  CK(mkdir("cg/a", 0755) < 0 && errno == EEXIST);
  CK(!strcmp(t_read("cg/a/cgroup.events"), "populated 0\nfrozen 0\n"));
  CK(!strcmp(t_read("cg/a/cgroup.type"), "domain\n"));
  CK(access("cg/cgroup.events", F_OK) < 0 && errno == ENOENT);
  CK(put("cg/a/cgroup.subtree_control", "+memory") < 0 && errno == EINVAL);
  int in = MUST(inotify_init1(IN_NONBLOCK));
  MUST(inotify_add_watch(in, "cg/a/cgroup.events", IN_MODIFY));
  pid_t p = fork();
  if (!p) for (;;) pause();
  char n[32], path[64];
  snprintf(n, sizeof n, "%d", p);
  CK(!put("cg/a/b/cgroup.procs", n));
  CK(atoi(t_read("cg/a/b/cgroup.procs")) == p);
  snprintf(path, sizeof path, "/proc/%d/cgroup", p);
  CK(!strcmp(t_read(path), "0::/a/b\n"));
  CK(!strcmp(t_read("cg/a/cgroup.events"), "populated 1\nfrozen 0\n"));
  char ev[256];
  CK(read(in, ev, sizeof ev) > 0);
  CK(rmdir("cg/a/b") < 0 && errno == EBUSY);
  CK(!put("cg/a/cgroup.kill", "1"));
  CK(WTERMSIG(t_wait(p)) == SIGKILL);
  CK(!strcmp(t_read("cg/a/cgroup.events"), "populated 0\nfrozen 0\n"));
  CK(read(in, ev, sizeof ev) > 0);
  CK(put("cg/a/cgroup.procs", n) < 0 && errno == ESRCH);
  /* Children are born where their parent is. */
  CK(!put("cg/a/cgroup.procs", "0"));
  CHILDST("child", CK(!strcmp(t_read("/proc/self/cgroup"), "0::/a\n")));
  CK(!put("cg/cgroup.procs", "0"));
  CK(rmdir("cg/a") < 0 && errno == EBUSY);
  CK(!chown("cg/a", 5, 6));
  struct stat st;
  stat("cg/a", &st);
  CK(st.st_uid == 5 && st.st_gid == 6);
  CK(!rmdir("cg/a/b") && !rmdir("cg/a"));
  CK(access("cg/a", F_OK) < 0 && errno == ENOENT);
  umount("cg");
}

/* fsopen, fsconfig, fsmount, move_mount, open_tree, fspick, mount_setattr. As root. */
#include "t.h"
#include <linux/mount.h>
#include <sys/vfs.h>

/* glibc's and the kernel's headers don't go together. */
#ifndef MS_PRIVATE
#define MS_PRIVATE (1 << 18)
#define MS_SHARED (1 << 20)
#define MS_REC 16384
#define MS_RDONLY 1
#endif
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount(const char *);
int umount2(const char *, int);

static int fsopen_(const char *n, unsigned f) { return syscall(SYS_fsopen, n, f); }
static int conf(int fd, unsigned c, const char *k, const void *v, int a) { return syscall(SYS_fsconfig, fd, c, k, v, a); }
static int fsmount_(int fd, unsigned f, unsigned a) { return syscall(SYS_fsmount, fd, f, a); }
static int move(int f, const char *fp, int t, const char *tp, unsigned fl) { return syscall(SYS_move_mount, f, fp, t, tp, fl); }
static int tree(int d, const char *p, unsigned f) { return syscall(SYS_open_tree, d, p, f); }
static int setattr(int d, const char *p, unsigned f, struct mount_attr *a, size_t n) { return syscall(SYS_mount_setattr, d, p, f, a, n); }

static void show(const char *path) {
  FILE *f = fopen("/proc/self/mountinfo", "r");
  char line[4096], dir[512], opts[512], full[600];
  int found = 0;
  snprintf(full, sizeof full, "%s/%s", t_dir, path);
  while (fgets(line, sizeof line, f)) {
    sscanf(line, "%*s %*s %*s %*s %511s %511s", dir, opts);
    if (strcmp(dir, full)) continue;
    found = 1;
    char *rest = strstr(line, " - ");
    char type[64], source[64];
    sscanf(rest, " - %63s %63s", type, source);
    printf("%s: %s %s %s%s\n", path, opts, type, source, strstr(line, "shared:") ? " shared" : "");
  }
  if (!found) printf("%s: not mounted\n", path);
  fclose(f);
}

TEST {
  if (geteuid() || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) exit(77);
  t_tmpdir();
  mkdir("a", 0755); mkdir("b", 0755); mkdir("c", 0755);
  SECTION("a new file system");
  R(fsopen_("nosuchfs", 0));
  R(fsopen_("tmpfs", 8));
  int fd = MUST(fsopen_("tmpfs", FSOPEN_CLOEXEC));
  CK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  R(fsmount_(fd, 0, 0));
  R(conf(fd, FSCONFIG_SET_STRING, "source", "here", 0));
  R(conf(fd, FSCONFIG_SET_STRING, "source", "there", 0));
  R(conf(fd, FSCONFIG_SET_STRING, "mode", "0750", 0));
  R(conf(fd, FSCONFIG_SET_FLAG, "mode", "x", 0));
  R(conf(fd, FSCONFIG_SET_STRING, NULL, "x", 0));
  R(conf(fd, 99, NULL, NULL, 0));
  R(conf(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  R(conf(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  R(fsmount_(fd, 0, 1 << 30));
  int m = MUST(fsmount_(fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
  R(fsmount_(fd, 0, 0));
  close(fd);
  struct statfs sf;
  R(fstatfs(m, &sf));
  X(sf.f_type);
  R(mkdirat(m, "before", 0755));
  R(move(m, "", AT_FDCWD, "nowhere", MOVE_MOUNT_F_EMPTY_PATH));
  R(move(m, "", AT_FDCWD, "a", 1 << 20));
  R(move(m, "", AT_FDCWD, "a", MOVE_MOUNT_F_EMPTY_PATH));
  show("a");
  R(access("a/before", F_OK));
  struct stat st;
  stat("a", &st);
  X(st.st_mode);
  R(move(m, "", AT_FDCWD, "b", MOVE_MOUNT_F_EMPTY_PATH));
  show("a"); show("b");
  close(m);
  show("b");
  SECTION("never attached");
  fd = MUST(fsopen_("tmpfs", 0));
  R(conf(fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  m = MUST(fsmount_(fd, 0, 0));
  close(m);
  R(fsmount_(fd, 0, 0));
  close(fd);

  SECTION("copies of trees");
  mkdir("b/sub", 0755);
  MUST(mount("inner", "b/sub", "tmpfs", 0, NULL));
  R(tree(AT_FDCWD, "b", AT_RECURSIVE));
  R(tree(AT_FDCWD, "nowhere", OPEN_TREE_CLONE));
  int t = MUST(tree(AT_FDCWD, "b", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  R(faccessat(t, "before", F_OK, 0));
  int in = MUST(openat(t, "sub/made", O_CREAT | O_RDWR, 0644));
  close(in);
  R(access("b/sub/made", F_OK));
  R(move(t, "", AT_FDCWD, "c", MOVE_MOUNT_F_EMPTY_PATH));
  show("c"); show("c/sub");
  close(t);
  R(access("c/sub/made", F_OK));
  R(umount2("c", MNT_DETACH));
  t = MUST(tree(AT_FDCWD, "b", OPEN_TREE_CLONE));
  R(faccessat(t, "sub/made", F_OK, 0));
  close(t);
  SECTION("a mount that is moved by name");
  R(move(AT_FDCWD, "b", AT_FDCWD, "c", 0));
  show("b"); show("c"); show("c/sub");

  SECTION("attributes");
  struct mount_attr at = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC, .attr_clr = MOUNT_ATTR_NODEV};
  R(setattr(AT_FDCWD, "c", 0, &at, sizeof at));
  show("c"); show("c/sub");
  R(mkdir("c/x", 0755));
  R(mkdir("c/sub/x", 0755));
  at = (struct mount_attr){.attr_set = MOUNT_ATTR_NOATIME};
  R(setattr(AT_FDCWD, "c", 0, &at, sizeof at));
  at.attr_clr = MOUNT_ATTR__ATIME | MOUNT_ATTR_RDONLY;
  R(setattr(AT_FDCWD, "c", AT_RECURSIVE, &at, sizeof at));
  show("c"); show("c/sub");
  at = (struct mount_attr){.propagation = MS_SHARED};
  R(setattr(AT_FDCWD, "c", 0, &at, sizeof at));
  show("c"); show("c/sub");
  at = (struct mount_attr){.propagation = MS_SHARED | MS_PRIVATE};
  R(setattr(AT_FDCWD, "c", 0, &at, sizeof at));
  at = (struct mount_attr){.attr_set = 1ull << 40};
  R(setattr(AT_FDCWD, "c", 0, &at, sizeof at));
  at = (struct mount_attr){0};
  R(setattr(AT_FDCWD, "c", 0, &at, 8));
  R(setattr(AT_FDCWD, "a", 0, &at, sizeof at));
  at.attr_set = MOUNT_ATTR_RDONLY;
  R(setattr(AT_FDCWD, "a", 0, &at, sizeof at));

  SECTION("reconfiguring");
  int p = syscall(SYS_fspick, AT_FDCWD, "c", FSPICK_CLOEXEC);
  CK(p >= 0);
  R(syscall(SYS_fspick, AT_FDCWD, "a", 0));
  R(conf(p, FSCONFIG_SET_FLAG, "ro", NULL, 0));
  R(conf(p, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
  R(conf(p, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
  R(mkdir("c/y", 0755));
  R(conf(p, FSCONFIG_SET_FLAG, "rw", NULL, 0));
  R(conf(p, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
  R(mkdir("c/y", 0755));
  close(p);
  umount2("c", MNT_DETACH);
  umount2("a", MNT_DETACH);
}

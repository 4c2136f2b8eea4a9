/* openat2(2): the structure's rules and every RESOLVE flag. */
#include "t.h"
#include <linux/openat2.h>
static long o2(int d, const char *p, uint64_t fl, uint64_t mode, uint64_t res) {
  struct open_how h = {fl, mode, res};
  long r = syscall(SYS_openat2, d, p, &h, sizeof h);
  if (r >= 0) { close(r); return 0; }
  return r;
}
TEST {
  t_tmpdir();
  mkdir("d", 0755), mkdir("d/e", 0755), t_write("f", "x"), t_write("d/f", "in");
  symlink("/f", "d/abs"), symlink("../f", "d/up"), symlink("f", "d/in"), symlink("e", "d/le"), symlink("f", "lf");
  int d = open("d", O_RDONLY | O_DIRECTORY);
  R(o2(AT_FDCWD, "f", O_RDONLY, 0, 0));
  R(o2(AT_FDCWD, "f", O_RDONLY, 0600, 0));
  R(o2(AT_FDCWD, "n", O_RDWR | O_CREAT, 0600, 0));
  R(o2(AT_FDCWD, "n", O_RDWR | O_CREAT, 0200600, 0));
  R(o2(AT_FDCWD, "f", 1ull << 40, 0, 0));
  R(o2(AT_FDCWD, "f", 1u << 30, 0, 0));
  R(o2(AT_FDCWD, "f", O_RDONLY, 0, 1 << 20));
  R(o2(AT_FDCWD, "f", O_PATH | O_RDWR, 0, 0));
  R(o2(AT_FDCWD, "f", O_PATH | O_TRUNC, 0, 0));
  struct { struct open_how h; uint64_t more; } big = {{O_RDONLY, 0, 0}, 0};
  OK(syscall(SYS_openat2, AT_FDCWD, "f", &big, sizeof big));
  big.more = 1;
  R(syscall(SYS_openat2, AT_FDCWD, "f", &big, sizeof big));
  R(syscall(SYS_openat2, AT_FDCWD, "f", &big, 8));
  R(syscall(SYS_openat2, AT_FDCWD, "f", &big, 0));
  R(syscall(SYS_openat2, AT_FDCWD, "f", &big, 5000));
  R(syscall(SYS_openat2, AT_FDCWD, "f", (void *)8, sizeof big.h));
  SECTION("RESOLVE_BENEATH");
  R(o2(d, "f", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "in", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "../f", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "e/../f", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "up", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "abs", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "/f", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, ".", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "..", O_RDONLY, 0, RESOLVE_BENEATH));
  SECTION("RESOLVE_IN_ROOT");
  R(o2(d, "/f", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(d, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(d, "up", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(d, "../../../f", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(d, "../lf", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(d, "f", O_RDONLY, 0, RESOLVE_IN_ROOT | RESOLVE_BENEATH));
  SECTION("RESOLVE_NO_SYMLINKS");
  R(o2(d, "f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
  R(o2(d, "in", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
  R(o2(d, "le/../f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
  R(o2(d, "in", O_PATH | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS));
  SECTION("RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV");
  char p[64];
  int f = open("f", O_RDONLY);
  snprintf(p, sizeof p, "/proc/self/fd/%d", f);
  R(o2(AT_FDCWD, p, O_RDONLY, 0, 0));
  R(o2(AT_FDCWD, p, O_RDONLY, 0, RESOLVE_NO_MAGICLINKS));
  R(o2(AT_FDCWD, p, O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
  int root = open("/", O_RDONLY | O_DIRECTORY);
  R(o2(root, "proc/self/status", O_RDONLY, 0, RESOLVE_NO_XDEV));
  R(o2(root, "proc/self/status", O_RDONLY, 0, 0));
  R(o2(d, "f", O_RDONLY, 0, RESOLVE_NO_XDEV));
  SECTION("errors keep their kind");
  R(o2(d, "gone", O_RDONLY, 0, RESOLVE_BENEATH));
  R(o2(d, "f/x", O_RDONLY, 0, RESOLVE_IN_ROOT));
  R(o2(9999, "f", O_RDONLY, 0, RESOLVE_IN_ROOT));
}

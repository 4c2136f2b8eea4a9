/* What only newer kernels have (6.6 and on); skipped (status 77) where the host is older. */
#include "t.h"
#include <sys/xattr.h>
static unsigned mode(const char *p) { struct stat s; return lstat(p, &s) ? 0 : s.st_mode; }
TEST {
  t_tmpdir();
  t_write("f", "x"), symlink("f", "l");
  if (syscall(452, AT_FDCWD, "f", 0600, 0) < 0 && errno == ENOSYS) exit(77);
  SECTION("fchmodat2");
  R(syscall(452, AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW));
  R(syscall(452, AT_FDCWD, "f", 0604, 0));
  X(mode("f"));
  R(syscall(452, AT_FDCWD, "l", 0640, 0));
  X(mode("f"));
  R(syscall(452, open("f", O_PATH), "", 0600, AT_EMPTY_PATH));
  X(mode("f"));
  R(syscall(452, AT_FDCWD, "f", 0600, 0x4000000));
  SECTION("O_CREAT | O_DIRECTORY");
  R(open("x", O_RDONLY | O_CREAT | O_DIRECTORY, 0600));
  R(access("x", F_OK));
}

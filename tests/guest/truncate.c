/* truncate, fallocate and what they leave behind. */
#include "t.h"
#include <linux/falloc.h>
static long size(int fd) { struct stat s; return fstat(fd, &s) ? -1 : s.st_size; }
static int zero(int fd, off_t o, int n) {
  char b[n];
  if (pread(fd, b, n, o) != n) return -1;
  for (int i = 0; i < n; i++) if (b[i]) return 0;
  return 1;
}
TEST {
  t_tmpdir();
  int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
  char b[20000];
  memset(b, 'a', sizeof b);
  R(write(fd, b, sizeof b));
  R(truncate("f", 5000));
  R(size(fd));
  R(ftruncate(fd, 10000));
  R(zero(fd, 5000, 5000));
  R(zero(fd, 4990, 10));
  R(pread(fd, b, 20000, 0));
  R(ftruncate(fd, -1));
  R(truncate("f", -1));
  R(truncate("none", 0));
  R(truncate(".", 0));
  R(truncate("", 0));
  R(lseek(fd, 0, SEEK_CUR));
  R(ftruncate(fd, 0));
  R(write(fd, "x", 1));
  R(size(fd));
  R(zero(fd, 0, 20000));
  SECTION("fallocate");
  int g = MUST(open("g", O_RDWR | O_CREAT, 0644));
  R(fallocate(g, 0, 0, 0));
  R(fallocate(g, 0, -1, 10));
  R(fallocate(g, 0, 0, -10));
  R(fallocate(g, 0, 0, 8192));
  R(size(g));
  R(fallocate(g, FALLOC_FL_KEEP_SIZE, 0, 32768));
  R(size(g));
  memset(b, 'b', sizeof b);
  R(pwrite(g, b, 16384, 0));
  R(fallocate(g, FALLOC_FL_PUNCH_HOLE, 0, 4096));
  R(fallocate(g, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
  R(zero(g, 4096, 4096));
  R(zero(g, 8192, 10));
  R(fallocate(g, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 50));
  R(zero(g, 100, 50));
  R(zero(g, 99, 1));
  R(size(g));
  R(fallocate(g, 0x1000, 0, 10));
  int ro = open("g", O_RDONLY);
  R(fallocate(ro, 0, 0, 10));
  int p[2];
  MUST(pipe(p));
  R(fallocate(p[1], 0, 0, 10));
  R(ftruncate(p[1], 0));
  R(fallocate(-1, 0, 0, 1));
  R(posix_fallocate(g, 0, 40000));
  R(size(g));
  SECTION("truncate under a map");
  int h = MUST(open("h", O_RDWR | O_CREAT, 0644));
  MUST(ftruncate(h, 8192));
  char *m = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, h, 0);
  memset(m, 'q', 8192);
  R(ftruncate(h, 100));
  R(m[99]);
  R(m[100]);
  R(m[4095]);
  CHILDST("touch past the end", signal(SIGBUS, SIG_DFL); *(volatile char *)(m + 4096));
  R(ftruncate(h, 8192));
  R(m[4096]);
  R(zero(h, 100, 4000));
  SECTION("big offsets");
  R(ftruncate(h, 1l << 40));
  R(size(h));
  R(pwrite(h, "e", 1, (1l << 40) - 1));
  struct stat st;
  fstat(h, &st);
  CK(st.st_blocks < 1000);
}

/* Random operations on one file, by every way that there is, against a copy in memory.
 *
 * FSX_STEPS and FSX_SEED choose others than the usual ones. What a file system lacks (EOPNOTSUPP) is passed over, so
 * that nothing printed depends on it. */
#include "t.h"

enum { MOST = 3 << 20, SPARE = 1 << 20 };

static unsigned char *model, *buf, *direct, *map = MAP_FAILED;
static long size, step, map_len;
static unsigned long long seed = 1;
static int fd, direct_fd;

static long below(long n) {
  seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
  return (long)(seed >> 33) % n;
}

static void fail(const char *what, long at, long len) {
  printf("%s: step %ld, %ld bytes at %ld of %ld: %m\n", what, step, len, at, size);
  fflush(stdout);
  _exit(1);
}

static void same(const char *what, const unsigned char *got, long at, long len) {
  for (long i = 0; i < len; i++)
    if (got[i] != model[at + i]) {
      printf("%d instead of %d at %ld\n", got[i], model[at + i], at + i);
      errno = 0;
      fail(what, at, len);
    }
}

static void fill(unsigned char *p, long len) {
  int byte = (int)below(255) + 1;
  for (long i = 0; i < len; i++) p[i] = (unsigned char)(byte + i / 100);
}

static void written(const unsigned char *from, long at, long len) {
  memcpy(model + at, from, len);
  if (at + len > size) size = at + len;
}

static void unmap(void) {
  if (map != MAP_FAILED) munmap(map, map_len);
  map = MAP_FAILED;
}

/* Whether the file system has that kind of fallocate(2). */
static int allocate(int mode, long at, long len) {
  if (!fallocate(fd, mode, at, len)) return 1;
  if (errno != EOPNOTSUPP) fail("fallocate", at, len);
  return 0;
}

static void change_layout(long at, long len) {
  long page = at & ~4095L, pages = (len + 4095) & ~4095L;
  switch (below(5)) {
  case 0:
    if (allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len) && at < size)
      memset(model + at, 0, at + len > size ? size - at : len);
    break;
  case 1:
    if (allocate(0, at, len) && at + len > size) size = at + len;
    break;
  case 2:
    if (!allocate(FALLOC_FL_ZERO_RANGE, at, len)) break;
    memset(model + at, 0, len);
    if (at + len > size) size = at + len;
    break;
  case 3:
    if (page + pages >= size || !allocate(FALLOC_FL_COLLAPSE_RANGE, page, pages)) break;
    memmove(model + page, model + page + pages, size - page - pages);
    memset(model + size - pages, 0, pages);
    size -= pages;
    break;
  case 4:
    if (page >= size || size + pages > MOST || !allocate(FALLOC_FL_INSERT_RANGE, page, pages)) break;
    memmove(model + page + pages, model + page, size - page);
    memset(model + page, 0, pages);
    size += pages;
    break;
  }
}

static void through_map(long at, long len) {
  if (!size) return;
  at %= size;
  if (at + len > size) len = size - at;
  if (map == MAP_FAILED || map_len < at + len || !below(4)) {
    unmap();
    map_len = (size + 4095) & ~4095L;
    map = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) fail("mmap", 0, map_len);
  }
  fill(buf, len);
  memcpy(map + at, buf, len);
  written(buf, at, len);
  if (!below(5) && msync(map, map_len, MS_SYNC)) fail("msync", 0, map_len);
}

static void private_map(long at, long len) {
  if (!size) return;
  at %= size;
  if (at + len > size) len = size - at;
  long whole = (size + 4095) & ~4095L;
  unsigned char *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED) fail("private mmap", 0, whole);
  same("private map", p + at, at, len);
  memset(p + at, 1, len);
  munmap(p, whole);
}

static void in_child(void) {
  long len = map_len < size ? map_len : size;
  pid_t child = fork();
  if (!child) {
    if (map != MAP_FAILED) same("map in a child", map, 0, len);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  if (status) {
    printf("child: %x\n", status);
    _exit(1);
  }
}

static void past_the_cache(long at, long len) {
  long sector = at & ~511L, bytes = (len + 511) & ~511L;
  if (bytes > SPARE) bytes = SPARE;
  if (below(2)) {
    fill(direct, bytes);
    if (pwrite(direct_fd, direct, bytes, sector) != bytes) fail("direct write", sector, bytes);
    written(direct, sector, bytes);
  } else {
    long n = pread(direct_fd, direct, bytes, sector);
    long want = sector >= size ? 0 : sector + bytes > size ? size - sector : bytes;
    if (n != want) fail("short direct read", sector, bytes);
    same("direct read", direct, sector, n);
  }
}

static void check(long at, long len) {
  struct stat st;
  if (fstat(fd, &st) || st.st_size != size) fail("size", st.st_size, 0);
  if (at >= size) return;
  if (len > size - at) len = size - at;
  if (pread(fd, buf, len, at) != len) fail("short read", at, len);
  same("read", buf, at, len);
}

static void one(void) {
  long at = below(MOST), scale = below(19), len = 1 + below(1L << scale);
  if (at + len > MOST) len = MOST - at;
  switch (below(14)) {
  case 0: case 1: case 2:
    fill(buf, len);
    if (pwrite(fd, buf, len, at) != len) fail("write", at, len);
    written(buf, at, len);
    break;
  case 3: {
    long n = below(MOST);
    if (ftruncate(fd, n)) fail("truncate", n, 0);
    if (n < size) memset(model + n, 0, size - n);
    size = n;
    break;
  }
  case 4: case 5: change_layout(at, len); break;
  case 6: case 7: through_map(at, len); break;
  case 8:
    if (map != MAP_FAILED && at < map_len && at < size) {
      long end = map_len < size ? map_len : size;
      same("map", map + at, at, at + len > end ? end - at : len);
    }
    break;
  case 9: private_map(at, len); break;
  case 10:
    if (below(2) ? fsync(fd) : fdatasync(fd)) fail("fsync", 0, 0);
    break;
  case 11: posix_fadvise(fd, at, len, POSIX_FADV_DONTNEED); break;
  case 12:
    if (direct_fd >= 0) past_the_cache(at, len);
    break;
  case 13:
    if (below(3)) in_child();
    else unmap();
    break;
  }
  check(at, len);
}

TEST {
  t_tmpdir();
  long steps = getenv("FSX_STEPS") ? atol(getenv("FSX_STEPS")) : 1500;
  if (getenv("FSX_SEED")) seed = strtoull(getenv("FSX_SEED"), NULL, 0);
  model = calloc(1, MOST + SPARE);
  buf = malloc(MOST + SPARE);
  if (posix_memalign((void **)&direct, 4096, SPARE)) exit(1);
  fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600);
  direct_fd = open("f", O_RDWR | O_DIRECT);
  for (step = 0; step < steps; step++) one();
  check(0, size);
  unmap();
  check(0, size);
  close(fd);
  fd = open("f", O_RDONLY);
  check(0, size);
  printf("the file is what was made of it\n");
}

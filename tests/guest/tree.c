/* Random operations on a tree of files, and what the tree is after them.
 *
 * TREE_STEPS and TREE_SEED choose others than the usual ones; TREE_VERBOSE prints each operation, TREE_ATTRS uses extended
 * attributes as well, TREE_DUMP prints the tree at that path and does nothing else, TREE_KEEP works there and leaves the tree.
 * What a file system lacks (EOPNOTSUPP) is done in another way, so that all come to the same tree. */
#include "t.h"
#include <sys/sendfile.h>
#include <sys/xattr.h>

enum { BLOCK = 4096, MOST = 400000, FDS = 6, PATHS = 300 };

static unsigned long long seed = 1, hash;
static long step;
static int verbose, attrs, fds[FDS];
static char paths[PATHS][200];
static int npaths;
static unsigned char buf[MOST + 100000];

static long below(long n) {
  seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
  return (long)(seed >> 33) % n;
}

static unsigned long long mix(unsigned long long h, const void *p, long n) {
  for (const unsigned char *b = p; n-- > 0; b++) h = (h ^ *b) * 0x100000001b3ULL;
  return h;
}

/* Takes note of what an operation returned. */
static long note(const char *what, const char *a, const char *b, long r) {
  int e = errno;
  long v = r < 0 ? -e : r;
  hash = mix(hash, &v, sizeof v);
  if (verbose) printf("%ld %s %s %s = %s\n", step, what, a, b, r < 0 ? strerrorname_np(e) : t_res(r));
  errno = e;
  return r;
}

static void remember(const char *path) {
  int i = npaths < PATHS ? npaths++ : (int)below(PATHS);
  snprintf(paths[i], sizeof paths[i], "%s", path);
}

static const char *known(void) { return npaths ? paths[below(npaths)] : "none"; }

/* A name that may or may not be taken, below a directory that may or may not be one. */
static const char *fresh(void) {
  static char b[4][200];
  static int n;
  char *p = b[n++ & 3];
  const char *dir = ".";
  if (below(4)) {
    struct stat st;
    for (int i = 0; i < 8; i++) {
      const char *d = known();
      if (!lstat(d, &st) && S_ISDIR(st.st_mode)) { dir = d; break; }
    }
  }
  int len = snprintf(p, 100, "%.80s/%c%ld", dir, 'a' + (int)below(3), below(60));
  if (!below(6)) memset(p + len, 'x', 60), p[len + 60] = 0;
  return p;
}

static void fill(long n) {
  int byte = (int)below(255) + 1;
  for (long i = 0; i < n; i++) buf[i] = (unsigned char)(byte + i / 100);
}

/* A descriptor for a step: one that is kept open, or another. */
static int use(const char **name, int flags) {
  int i = (int)below(FDS);
  if (below(3) == 0 && fds[i] >= 0) { *name = "open"; return dup(fds[i]); }
  *name = known();
  struct stat st;
  if (lstat(*name, &st) || !S_ISREG(st.st_mode)) return -1;
  return open(*name, flags | O_CLOEXEC);
}

static void keep(int fd) {
  int i = (int)below(FDS);
  if (below(4)) { close(fd); return; }
  if (fds[i] >= 0) close(fds[i]);
  fds[i] = fd;
}

/* The slow way to move the rest of a file, for file systems without fallocate(2)'s. */
static int shift(int fd, long size, long at, long len, int insert) {
  long rest = size - at - (insert ? 0 : len), to = insert ? at + len : at;
  if (pread(fd, buf, rest, insert ? at : at + len) != rest) return -1;
  if (insert) {
    if (ftruncate(fd, at) || ftruncate(fd, at + len)) return -1;
  } else if (ftruncate(fd, at)) return -1;
  return pwrite(fd, buf, rest, to) == rest ? 0 : -1;
}

static void allocate(void) {
  const char *name;
  struct stat st;
  int fd = use(&name, O_RDWR);
  if (fd < 0) return;
  fstat(fd, &st);
  long at = below(MOST / 2), len = 1 + below(MOST / 4), end = at + len, size = st.st_size, r = 0;
  switch (below(7)) {
  case 0:
    r = fallocate(fd, 0, at, len);
    if (r && errno == EOPNOTSUPP) r = end > size ? ftruncate(fd, end) : 0;
    note("fallocate", name, "", r);
    break;
  case 1:
    r = fallocate(fd, FALLOC_FL_KEEP_SIZE, at, len);
    note("fallocate keep", name, "", r && errno == EOPNOTSUPP ? 0 : r);
    break;
  case 2:
    r = note("punch", name, "", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len));
    break;
  case 3: case 4: {
    int more = below(2) ? FALLOC_FL_KEEP_SIZE : 0;
    r = fallocate(fd, FALLOC_FL_ZERO_RANGE | more, at, len);
    if (r && errno == EOPNOTSUPP) {
      if (!more && end > size && ftruncate(fd, end)) break;
      r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len);
    }
    note("zero range", name, more ? "keep" : "", r);
    break;
  }
  default: {
    int insert = (int)below(2);
    at = at / BLOCK * BLOCK, len = (len / 4 / BLOCK + 1) * BLOCK;
    if (insert ? at >= size || size + len > MOST : at + len >= size) break;
    r = fallocate(fd, insert ? FALLOC_FL_INSERT_RANGE : FALLOC_FL_COLLAPSE_RANGE, at, len);
    if (r && errno == EOPNOTSUPP) r = shift(fd, size, at, len, insert);
    note(insert ? "insert range" : "collapse range", name, "", r);
  }
  }
  futimens(fd, NULL);
  close(fd);
}

static void data(void) {
  const char *name;
  struct stat st;
  long at = below(MOST / 2), len = 1 + below(below(4) ? 5000 : MOST / 4);
  int how = (int)below(9), fd = use(&name, how == 0 ? O_WRONLY | O_APPEND : O_RDWR);
  if (fd < 0) return;
  fstat(fd, &st);
  switch (how) {
  case 0:
    if (st.st_size > MOST) break;
    fill(len);
    note("append", name, "", write(fd, buf, len));
    break;
  case 1: case 2: case 3:
    fill(len);
    note("write", name, "", pwrite(fd, buf, len, at));
    break;
  case 4:
    note("ftruncate", name, "", ftruncate(fd, below(3) ? below(st.st_size + 1) : at));
    break;
  case 5:
    note("truncate", name, "", *name == 'o' ? 0 : truncate(name, below(10000)));
    break;
  case 6: {
    if (!st.st_size) break;
    int shared = below(4) ? MAP_SHARED : MAP_PRIVATE;
    unsigned char *p = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, shared, fd, 0);
    if (p == MAP_FAILED) { note("mmap", name, "", -1); break; }
    at %= st.st_size;
    if (at + len > st.st_size) len = st.st_size - at;
    fill(len);
    memcpy(p + at, buf, len);
    if (below(2)) note("msync", name, "", msync(p, st.st_size, MS_SYNC));
    note("mmap", name, shared == MAP_SHARED ? "shared" : "private", munmap(p, st.st_size));
    futimens(fd, NULL);
    break;
  }
  case 7: {
    const char *other;
    int to = use(&other, O_RDWR);
    struct stat ot;
    if (to < 0) break;
    fstat(to, &ot);
    if (ot.st_ino != st.st_ino) {
      off_t in = below(st.st_size + 1), out = below(MOST / 2);
      if (below(2)) note("copy_file_range", name, other, copy_file_range(fd, &in, to, &out, len, 0));
      else {
        lseek(to, out, SEEK_SET);
        note("sendfile", name, other, sendfile(to, fd, &in, len));
      }
    }
    close(to);
    break;
  }
  case 8: {
    long n = pread(fd, buf, MOST, 0);
    if (n > 0) hash = mix(hash, buf, n);
    note("read", name, "", n);
    break;
  }
  }
  close(fd);
}

static void attributes(void) {
  const char *path = known();
  char name[20];
  struct stat st;
  switch (below(attrs ? 8 : 5)) {
  case 0: case 1: {
    if (lstat(path, &st) || S_ISLNK(st.st_mode)) break;
    mode_t mode = S_ISDIR(st.st_mode) ? 0700 | below(010000) : 0600 | below(010000);
    note("chmod", path, "", chmod(path, mode));
    break;
  }
  case 2:
    note("chown", path, "", lchown(path, below(2) ? getuid() : (uid_t)-1, below(2) ? getgid() : (gid_t)-1));
    break;
  case 3: case 4: {
    struct timespec t[2] = {{1000000000 + below(1000), below(1000000000)}, {1000000000 + below(1000), below(1000000000)}};
    if (below(3) == 0) t[0].tv_nsec = UTIME_OMIT;
    note("utimens", path, "", utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW));
    break;
  }
  case 5: case 6: {
    /* All of a file's fit into a block of 1 KiB. */
    long len = below(below(4) ? 40 : 150);
    fill(len);
    snprintf(name, sizeof name, "user.n%ld", below(5));
    note("setxattr", path, name, lsetxattr(path, name, buf, len, (int)below(3)));
    break;
  }
  case 7:
    snprintf(name, sizeof name, "user.n%ld", below(5));
    note("removexattr", path, name, lremovexattr(path, name));
    break;
  }
}

static void names(void) {
  char target[1100];
  const char *a = known(), *b = fresh();
  switch (below(20)) {
  case 0: case 1: case 2: case 3: {
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | (below(2) ? O_EXCL : 0) | (below(5) ? 0 : O_TRUNC);
    int fd = open(b, flags | O_NONBLOCK, 0600 | below(01000));
    note("create", b, "", fd < 0 ? -1 : 0);
    if (fd < 0) break;
    remember(b);
    struct stat st;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode)) keep(fd);
    else close(fd);
    break;
  }
  case 4: case 5:
    if (!note("mkdir", b, "", mkdir(b, 0700 | below(01000)))) remember(b);
    break;
  case 6: {
    long len = 1 + below(below(2) ? 50 : 1000);
    for (long i = 0; i < len; i++) target[i] = (char)('a' + (step + i) % 26);
    target[len] = 0;
    if (!note("symlink", b, "", symlink(below(2) ? target : a, b))) remember(b);
    break;
  }
  case 7: case 8:
    if (!note("link", a, b, linkat(AT_FDCWD, a, AT_FDCWD, b, below(4) ? 0 : AT_SYMLINK_FOLLOW))) remember(b);
    break;
  case 9: case 10: note("unlink", a, "", unlink(a)); break;
  case 11: note("rmdir", a, "", rmdir(a)); break;
  case 12: case 13: {
    const char *to = below(3) ? b : known();
    if (!note("rename", a, to, rename(a, to))) remember(to);
    break;
  }
  case 14:
    if (!note("rename noreplace", a, b, renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_NOREPLACE))) remember(b);
    break;
  case 15: {
    const char *other = known();
    note("exchange", a, other, renameat2(AT_FDCWD, a, AT_FDCWD, other, RENAME_EXCHANGE));
    break;
  }
  case 16: {
    char from[40];
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600 | below(01000));
    if (fd < 0) {
      /* For file systems without: the same by two names. */
      unlink(".tmp");
      fd = open(".tmp", O_RDWR | O_CREAT | O_EXCL, 0600 | below(01000));
      snprintf(from, sizeof from, ".tmp");
    } else snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    long len = below(9000);
    fill(len);
    if (write(fd, buf, len) != len) note("tmpfile", "", "", -1);
    if (!note("tmpfile", b, "", linkat(AT_FDCWD, from, AT_FDCWD, b, AT_SYMLINK_FOLLOW))) remember(b);
    close(fd);
    unlink(".tmp");
    break;
  }
  case 17:
    if (!note("mkfifo", b, "", mkfifo(b, 0600 | below(01000)))) remember(b);
    break;
  case 18: {
    int i = (int)below(FDS);
    if (fds[i] >= 0) close(fds[i]);
    fds[i] = -1;
    break;
  }
  case 19: {
    int fd = open(below(2) ? "." : a, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) break;
    if (below(3)) fsync(fd);
    else syncfs(fd);
    close(fd);
  }
  }
}

static int by_name(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

static void dump_attrs(const char *path) {
  static char list[4000], value[2000];
  char *found[100];
  int n = 0;
  long len = llistxattr(path, list, sizeof list);
  for (char *p = list; p < list + len && n < 100; p += strlen(p) + 1)
    if (!strncmp(p, "user.", 5)) found[n++] = p;
  qsort(found, n, sizeof *found, by_name);
  for (int i = 0; i < n; i++) {
    long size = lgetxattr(path, found[i], value, sizeof value);
    printf(" %s:%ld:%llx", found[i], size, mix(1, value, size));
  }
}

static void dump(const char *path) {
  struct stat st;
  char target[2000];
  if (lstat(path, &st)) { printf("%s: %s\n", path, t_res(-1)); return; }
  printf("%s %o %ld own %d", path, st.st_mode, (long)st.st_nlink, st.st_uid == geteuid() && st.st_gid == getegid());
  if (st.st_mtim.tv_sec < 1100000000) printf(" at %ld.%09ld", (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
  if (S_ISLNK(st.st_mode)) {
    long n = readlink(path, target, sizeof target);
    printf(" %ld %llx", (long)st.st_size, mix(1, target, n));
  }
  if (S_ISREG(st.st_mode)) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned long long h = 1;
    long n;
    while ((n = read(fd, buf, sizeof buf)) > 0) h = mix(h, buf, n);
    close(fd);
    printf(" %ld %llx", (long)st.st_size, h);
  }
  if (attrs && !S_ISLNK(st.st_mode)) dump_attrs(path);
  printf("\n");
  if (!S_ISDIR(st.st_mode)) return;
  char **found = calloc(10000, sizeof *found);
  int n = 0;
  DIR *dir = opendir(path);
  for (struct dirent *e; dir && n < 10000 && (e = readdir(dir));)
    if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) found[n++] = strdup(e->d_name);
  if (dir) closedir(dir);
  qsort(found, n, sizeof *found, by_name);
  for (int i = 0; i < n; i++) {
    char below_it[1000];
    snprintf(below_it, sizeof below_it, "%s/%s", path, found[i]);
    dump(below_it);
    free(found[i]);
  }
  free(found);
}

TEST {
  long steps = getenv("TREE_STEPS") ? atol(getenv("TREE_STEPS")) : 3000;
  if (getenv("TREE_SEED")) seed = strtoull(getenv("TREE_SEED"), NULL, 0);
  verbose = !!getenv("TREE_VERBOSE"), attrs = !!getenv("TREE_ATTRS");
  const char *only = getenv("TREE_DUMP"), *place = getenv("TREE_KEEP");
  if (only) {
    MUST(chdir(only));
    dump(".");
    return;
  }
  if (place) MUST(chdir(place));
  else t_tmpdir();
  umask(022);
  chmod(".", 0700);
  memset(fds, -1, sizeof fds);
  for (step = 0; step < steps; step++) {
    switch (below(9)) {
    case 0: case 1: case 2: case 3: names(); break;
    case 4: case 5: case 6: data(); break;
    case 7: allocate(); break;
    case 8: attributes(); break;
    }
    if (step % 500 == 499) printf("%ld: %llx\n", step, hash);
  }
  dump(".");
}

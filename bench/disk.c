/* The figures of a file system on a disk. One static binary, run natively, in ruml and in UML:
 *
 *   disk [--dev MAJOR:MINOR] [--dir DIR] [--tar FILE] [--megs N] NAME...
 *   disk --make-tar FILE COUNT      a tree of COUNT small files, as tar(1) has it
 *
 * It prints `BENCH name ns` per name: for the whole of a transfer or a tree, per operation otherwise. With --dev it mounts
 * that device as ext4 first. As process 1 (the init of a UML) it powers the machine off at its end. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE (1 << 20)
static const char *dir = ".", *tar;
static long megs = 1024;
static char *buf;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}
static void die(const char *what) {
  perror(what);
  exit(1);
}
static int file(const char *name, int flags) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  int fd = open(path, flags | O_CLOEXEC, 0644);
  if (fd < 0) die(path);
  return fd;
}
static double command(const char *text) {
  char line[9000];
  snprintf(line, sizeof line, "PATH=/usr/sbin:/usr/bin:/sbin:/bin; cd '%s' && %s", dir, text);
  double t0 = now();
  int status = system(line);
  if (status) fprintf(stderr, "%s: status %d\n", line, status), exit(1);
  return now() - t0;
}
/* The whole of the large file, in pieces; the data can be told apart by its place. */
static double whole(int flags, int writes) {
  int fd = file("big", flags);
  double t0 = now();
  for (long i = 0; i < megs; i++) {
    if (writes) memcpy(buf, &i, sizeof i);
    ssize_t n = writes ? pwrite(fd, buf, PIECE, i * PIECE) : pread(fd, buf, PIECE, i * PIECE);
    if (n != PIECE) die("big");
    if (!writes && memcmp(buf, &i, sizeof i)) fprintf(stderr, "piece %ld is wrong\n", i), exit(1);
  }
  if (writes && fsync(fd)) die("fsync");
  double t = now() - t0;
  close(fd);
  return t;
}
static double best(double (*f)(void), int runs) {
  double t = f();
  while (--runs > 0) {
    double u = f();
    if (u < t) t = u;
  }
  return t;
}
static double write_(void) { return whole(O_WRONLY | O_CREAT, 1); }
static double read_once(void) { return whole(O_RDONLY, 0); }
static double read_(void) { read_once(); return best(read_once, 3); }
static double dwrite(void) { return whole(O_WRONLY | O_DIRECT, 1); }
static double dread_once(void) { return whole(O_RDONLY | O_DIRECT, 0); }
static double dread(void) { return best(dread_once, 2); }

struct lane { int fd, writes; long count; unsigned seed; };
static void *random_(void *a) {
  struct lane *l = a;
  char *b = aligned_alloc(4096, 4096);
  memset(b, 3, 4096);
  for (long i = 0; i < l->count; i++) {
    /* Not the starts of pieces, which tell where they are. */
    off_t at = ((off_t)rand_r(&l->seed) % (megs * 256 - 1) | 1) * 4096;
    if ((l->writes ? pwrite(l->fd, b, 4096, at) : pread(l->fd, b, 4096, at)) != 4096) die("4 KiB");
  }
  free(b);
  return 0;
}
static double randoms(int depth, int writes, long count) {
  int fd = file("big", (writes ? O_WRONLY : O_RDONLY) | O_DIRECT);
  struct lane lanes[32];
  pthread_t threads[32];
  double t0 = now();
  for (int i = 0; i < depth; i++) {
    lanes[i] = (struct lane){fd, writes, count / depth, 77 + i};
    if (depth == 1) random_(&lanes[i]);
    else if (pthread_create(&threads[i], 0, random_, &lanes[i])) die("thread");
  }
  for (int i = 0; depth > 1 && i < depth; i++) pthread_join(threads[i], 0);
  double t = (now() - t0) / count;
  close(fd);
  return t;
}
static double randread1(void) { return randoms(1, 0, 8000); }
static double randwrite1(void) { return randoms(1, 1, 8000); }
static double randread32(void) { return randoms(32, 0, 16000); }
static double randwrite32(void) { return randoms(32, 1, 16000); }

static double append(int (*sync_)(int)) {
  int fd = file("log", O_WRONLY | O_CREAT | O_APPEND | O_TRUNC);
  double t0 = 0;
  int n = 500;
  for (int i = -20; i < n; i++) {
    if (i == 0) t0 = now();
    if (write(fd, buf, 4096) != 4096 || sync_(fd)) die("log");
  }
  double t = (now() - t0) / n;
  close(fd);
  return t;
}
static double fsync_(void) { return append(fsync); }
static double fdatasync_(void) { return append(fdatasync); }
static double untar(void) {
  char line[4200];
  snprintf(line, sizeof line, "tar xf '%s' && sync", tar);
  return command(line);
}
static double find(void) { return command("find tree -size +2 | wc -l >/dev/null"); }
static double rmrf(void) { return command("rm -rf tree"); }
/* Packages lie in /debs of a Debian image. */
static double apt(void) {
  command("mount -t devtmpfs none dev && mount -t proc none proc");
  double t = command("DEBIAN_FRONTEND=noninteractive chroot . apt-get -qq install --no-install-recommends $(ls debs/*.deb | sed s,^,/,) "
                     ">apt.log 2>&1 && sync");
  command("umount dev proc");
  return t;
}

static const struct { const char *name; double (*run)(void); } all[] = {
  {"write", write_}, {"read", read_}, {"dread", dread}, {"dwrite", dwrite},
  {"randread1", randread1}, {"randread32", randread32}, {"randwrite1", randwrite1}, {"randwrite32", randwrite32},
  {"fsync", fsync_}, {"fdatasync", fdatasync_}, {"untar", untar}, {"find", find}, {"rmrf", rmrf},
  {"apt", apt},
};

static void entry(FILE *f, const char *name, int type, long size) {
  char h[512] = {0};
  snprintf(h, 100, "%s", name);
  snprintf(h + 100, 8, "%07o", type == '5' ? 0755 : 0644);
  snprintf(h + 108, 8, "%07o", 0);
  snprintf(h + 116, 8, "%07o", 0);
  snprintf(h + 124, 12, "%011lo", size);
  snprintf(h + 136, 12, "%011lo", 1700000000l);
  memset(h + 148, ' ', 8);
  h[156] = type;
  memcpy(h + 257, "ustar\00000", 8);
  unsigned sum = 0;
  for (int i = 0; i < 512; i++) sum += (unsigned char)h[i];
  snprintf(h + 148, 8, "%06o", sum);
  fwrite(h, 512, 1, f);
}
static int make_tar(const char *path, long count) {
  static char data[8192];
  unsigned seed = 1;
  char name[100];
  FILE *f = fopen(path, "w");
  if (!f) die(path);
  entry(f, "tree/", '5', 0);
  for (long i = 0; i < count; i++) {
    if (i % 100 == 0) snprintf(name, sizeof name, "tree/d%ld/", i / 100), entry(f, name, '5', 0);
    long size = rand_r(&seed) % 6000;
    for (long k = 0; k < size; k++) data[k] = 'a' + (k + i) % 26;
    snprintf(name, sizeof name, "tree/d%ld/file%ld", i / 100, i);
    entry(f, name, '0', size);
    memset(data + size, 0, 512);
    fwrite(data, 1, (size + 511) / 512 * 512, f);
  }
  memset(data, 0, 1024);
  fwrite(data, 1, 1024, f);
  return fclose(f) ? 1 : 0;
}

int main(int argc, char **argv) {
  int at = 1;
  const char *dev = 0;
  if (argc == 4 && !strcmp(argv[1], "--make-tar")) return make_tar(argv[2], atol(argv[3]));
  for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
    if (!strcmp(argv[at], "--dev")) dev = argv[at + 1];
    else if (!strcmp(argv[at], "--dir")) dir = argv[at + 1];
    else if (!strcmp(argv[at], "--tar")) tar = argv[at + 1];
    else if (!strcmp(argv[at], "--megs")) megs = atol(argv[at + 1]);
    else return 2;
  }
  setvbuf(stdout, 0, _IOLBF, 0);
  if (posix_memalign((void **)&buf, 4096, PIECE)) die("memory");
  memset(buf, 5, PIECE);
  if (dev) {
    unsigned major = 0, minor = 0;
    sscanf(dev, "%u:%u", &major, &minor);
    if (mount("none", "/mnt", "tmpfs", 0, 0) || mknod("/mnt/dev", S_IFBLK | 0600, makedev(major, minor)) ||
        mkdir("/mnt/fs", 0755) || mount("/mnt/dev", "/mnt/fs", "ext4", 0, 0))
      die("mount");
    dir = "/mnt/fs";
  }
  pid_t p = fork();
  if (!p) {
    for (; at < argc; at++)
      for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(argv[at], all[i].name)) printf("BENCH %s %.1f\n", argv[at], all[i].run());
    exit(0);
  }
  int status = 1;
  waitpid(p, &status, 0);
  if (dev && umount("/mnt/fs")) perror("umount");
  if (getpid() == 1) sync(), reboot(RB_POWER_OFF);
  return status ? 1 : 0;
}

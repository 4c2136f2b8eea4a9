/* Programs with garbage in their headers: a sound one, spoilt in a few places, thousands of times; and #! lines. */
#include "h.h"
#include <elf.h>
static unsigned char image[4 << 20];
static size_t len;
static void spoil(unsigned char *b, size_t n) {
  for (int k = 1 + rnd() % 4; k; k--) {
    size_t at = rnd() % 3 ? rnd() % 64 : rnd() % 900;
    if (at + 8 > n) continue;
    static const uint64_t odd[] = {0, 1, -1ull, 4096, 4095, 1ull << 47, STUB_BASE, STUB_BASE - 4096, SLOTS, 1ull << 63, 0x7fffffffffffffffull, 0xfffffffffffff000ull, 3, 6};
    switch (rnd() % 5) {
      case 0: b[at] = rnd(); break;
      case 1: b[at] ^= 1 << rnd() % 8; break;
      case 2: *(uint16_t *)(b + (at & ~1)) = rnd(); break;
      case 3: *(uint64_t *)(b + (at & ~7)) = odd[rnd() % 14]; break;
      default: *(uint64_t *)(b + (at & ~7)) += rnd() % 3 ? rnd() % 8192 : -(rnd() % 8192);
    }
  }
}
static void one(const char *f) {
  int st = ATTACK(300, {
    int n = open("/dev/null", O_RDWR);
    dup2(n, 0), dup2(n, 1), dup2(n, 2);
    alarm(1);
    char *a[] = {"x", 0}, *e[] = {0};
    execve(f, a, e);
    _exit(99);
  });
  (void)st;
}
static void load(const char *f) {
  int fd = open(f, O_RDONLY);
  len = read(fd, image, sizeof image);
  close(fd);
}
static void put(const char *f, const void *b, size_t n) {
  int fd = open(f, O_RDWR | O_CREAT | O_TRUNC, 0755);
  write(fd, b, n), close(fd);
}
HOSTILE({
  long rounds = argc > 1 ? atol(argv[1]) : 3000;
  static const char *from[] = {"/bin/true", "/proc/self/exe", "/lib64/ld-linux-x86-64.so.2"};
  for (int f = 0; f < 3; f++) {
    load(from[f]);
    /* Of a large file the beginning is enough. */
    int fd = open("/tmp/e", O_RDWR | O_CREAT | O_TRUNC, 0755);
    write(fd, image, len), close(fd);
    for (long i = 0; i < rounds / 3; i++) {
      unsigned char head[1024];
      memcpy(head, image, 1024);
      spoil(head, 1024);
      fd = open("/tmp/e", O_WRONLY);
      if (fd < 0) { t_sleep(1); continue; }
      pwrite(fd, head, 1024, 0);
      if (rnd() % 50 == 0) ftruncate(fd, rnd() % len);
      else if (rnd() % 50 == 0) pwrite(fd, image, len, 0), pwrite(fd, head, 1024, 0);
      close(fd), one("/tmp/e");
    }
    /* A good program with a spoilt interpreter. */
    unlink("/tmp/e");
  }
  char b[70000];
  for (int i = 0; i < 300; i++) {
    size_t n = rnd() % 4 ? rnd() % 300 : rnd() % sizeof b;
    for (size_t k = 0; k < n; k++) b[k] = rnd() % 3 ? "/tmp/e \t\n#!"[rnd() % 11] : (char)rnd();
    b[0] = '#', b[1] = '!';
    put("/tmp/e", b, n < 2 ? 2 : n), one("/tmp/e");
  }
  put("/tmp/e", "#!/tmp/e\n", 9), one("/tmp/e");
  put("/tmp/e", "#!/tmp/e2\n", 10), put("/tmp/e2", "#!/tmp/e\n", 9), one("/tmp/e");
  put("/tmp/e", "#!/dev/zero\n", 12), one("/tmp/e"), one("/dev/zero"), one("/proc/self/mem"), one("/tmp");
})

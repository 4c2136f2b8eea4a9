/* mmap, munmap, mprotect on anonymous memory: placement, refusals, faults, sharing across fork. */
#include "t.h"
#define PG 4096
static void *an(void *a, size_t n, int prot, int fl) { return mmap(a, n, prot, MAP_PRIVATE | MAP_ANONYMOUS | fl, -1, 0); }
#define M(e) ({ void *p_ = (e); printf("%s = %s\n", #e, p_ == MAP_FAILED ? t_res(-1) : "ok"); p_; })
#define TOUCH(p) t_status(CHILD(signal(SIGSEGV, SIG_DFL); *(volatile char *)(p) = 1))
#define READ(p) t_status(CHILD(signal(SIGSEGV, SIG_DFL); *(volatile char *)(p)))
static int maps(void *lo, size_t n) {
  FILE *f = fopen("/proc/self/maps", "r");
  char l[512];
  int k = 0;
  while (fgets(l, sizeof l, f)) { unsigned long a, b; sscanf(l, "%lx-%lx", &a, &b); k += a >= (unsigned long)lo && b <= (unsigned long)lo + n; }
  fclose(f);
  return k;
}
TEST {
  char *a = M(an(0, 8 * PG, 3, 0));
  R(a[0] + a[8 * PG - 1]);
  memset(a, 'x', 8 * PG);
  SECTION("errors");
  M(mmap(0, 0, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  M(mmap(0, PG, 3, MAP_ANONYMOUS, -1, 0));
  M(mmap(0, PG, 3, MAP_PRIVATE, -1, 0));
  M(mmap(0, PG, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 100));
  M(mmap((void *)100, PG, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  M(mmap(0, 1ul << 50, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  M(mmap(0, -1ul, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  M(mmap((void *)(1ul << 47), PG, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  R(munmap(a + 1, PG));
  R(munmap(a, 0));
  R(munmap((void *)(1ul << 48), PG));
  R(mprotect(a + 1, PG, 3));
  R(mprotect(a, 0, 3));
  R(mprotect(a, PG, 0x100));
  SECTION("holes and splits");
  R(munmap(a + 2 * PG, PG));
  R(munmap(a + 2 * PG, PG));
  S(READ(a + 2 * PG));
  S(READ(a + 3 * PG));
  R(mprotect(a, 4 * PG, PROT_READ));
  S(TOUCH(a));
  S(TOUCH(a + 3 * PG));
  R(mprotect(a + 4 * PG, PG, PROT_NONE));
  S(READ(a + 4 * PG));
  R(maps(a, 8 * PG));
  R(mprotect(a + 4 * PG, PG, 3));
  R(a[4 * PG]);
  CK(M(an(a + 2 * PG, PG, 3, MAP_FIXED)) == a + 2 * PG);
  R(a[2 * PG]);
  R(mprotect(a, 2 * PG, 3));
  SECTION("MAP_FIXED_NOREPLACE, hints");
  M(an(a + PG, PG, 3, MAP_FIXED_NOREPLACE));
  munmap(a + 5 * PG, PG);
  CK(an(a + 5 * PG, PG, 3, MAP_FIXED_NOREPLACE) == a + 5 * PG);
  R(a[5 * PG]);
  munmap(a + 5 * PG, PG);
  CK(an(a + 5 * PG, PG, 3, 0) == a + 5 * PG);
  CK(an(a, PG, 3, 0) != a);
  CK(an((void *)0x12345678, PG, 3, 0) == (void *)0x12345000);
  CK((unsigned long)an(0, PG, 3, MAP_32BIT) < 1ul << 31);
  SECTION("replacing drops what was there");
  strcpy(a, "old");
  an(a, PG, 3, MAP_FIXED);
  R(a[0]);
  SECTION("protection kinds");
  char *x = an(0, PG, PROT_READ | PROT_WRITE | PROT_EXEC, 0);
  memcpy(x, "\xb8\x2a\0\0\0\xc3", 6);
  R(((int (*)(void))x)());
  memcpy(x, "\xb8\x2b\0\0\0\xc3", 6);
  R(((int (*)(void))x)());
  mprotect(x, PG, PROT_READ | PROT_EXEC);
  R(((int (*)(void))x)());
  S(TOUCH(x));
  char *wo = an(0, PG, PROT_WRITE, 0);
  wo[3] = 4;
  R(wo[3]);
  SECTION("shared anonymous across fork");
  int *s = mmap(0, 4 * PG, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  s[0] = 1;
  CHILDST("child", s[0]++; s[1024] = 5; munmap(s, PG); s[2048] = 6);
  R(s[0] + s[1024] + s[2048]);
  CHILDST("grandchild", CHILDST("g", s[3000] = 9); R(s[3000]));
  R(s[3000]);
  SECTION("big and sparse");
  char *big = M(an(0, 16ul << 30, 3, MAP_NORESERVE));
  for (int i = 0; i < 64; i++) big[(unsigned long)i << 28] = i;
  long sum = 0;
  for (int i = 0; i < 64; i++) sum += big[(unsigned long)i << 28];
  R(sum);
  R(munmap(big, 16ul << 30));
  SECTION("many maps");
  int n = 0;
  char *m[2000];
  for (; n < 2000; n++) { m[n] = an(0, 2 * PG, n & 1 ? PROT_READ : 3, 0); if (m[n] == MAP_FAILED) break; }
  R(n);
  for (int i = 0; i < n; i++) munmap(m[i], 2 * PG);
  SECTION("MAP_POPULATE, MAP_GROWSDOWN, MAP_LOCKED");
  char *po = M(an(0, 4 * PG, 3, MAP_POPULATE));
  unsigned char v[4] = {0};
  R(mincore(po, 4 * PG, v));
  R((v[0] & 1) + (v[3] & 1));
  R(mincore(po + 1, PG, v));
  R(mincore(po, PG, (void *)8));
  munmap(po, 4 * PG);
  R(mincore(po, PG, v));
  R(mlock(a, PG));
  R(munlock(a, PG));
  R(mlock(po, PG));
  R(mlock2(a, PG, 0x100));
  R(mlockall(0));
  R(mlockall(8));
  R(munlockall());
}

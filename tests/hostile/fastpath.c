/* Attacks on the way into the kernel that takes no signal: patched sites, their slots, the stub's entry, its window. */
#include "h.h"
#include <asm/prctl.h>
#include <signal.h>

/* crates/stub/src/abi.rs: offsets in a window. */
#define MAGIC_AT 504
#define FAST_STACK_AT 512
#define PHASE_AT 520
#define POSTPONED_AT 524
#define FULL_AT 528
#define ANSWERS_AT 532
#define MAGIC (-0x5a31c6d9l)
#define ANSWERS 0x7ff200000000ull

extern char site[], site2[];
asm(".text\n .balign 64\n site: mov $121, %eax\n syscall\n ret\n .balign 64\n site2: mov $10, %eax\n syscall\n ret\n .balign 4096\n");
static long pgid(void) { long r; asm volatile("call site" : "=a"(r) : "D"(0) : "rcx", "r11", "memory"); return r; }
static long protect(void *p, long n, long prot) { long r; asm volatile("call site2" : "=a"(r), "+D"(p), "+S"(n), "+d"(prot) : : "rcx", "r11", "memory"); return r; }
static char *slot, *entry;
static int hot(void) {
  for (int i = 0; i < 20000 && *(unsigned char *)site != 0xe9; i++) pgid();
  if (*(unsigned char *)site != 0xe9) return 0;
  slot = site + 5 + *(int *)(site + 1);
  entry = *(char **)((uint64_t)slot & ~4095ull);
  return 1;
}
static char page[4096] __attribute__((aligned(4096))), area[16384] __attribute__((aligned(4096)));

/* Anywhere, with any registers. */
static void leap(char *at) {
  uint64_t r[16];
  for (int i = 0; i < 16; i++) r[i] = rnd() % 4 ? rnd() % 600 : rnd() % 2 ? (uint64_t)area : rnd();
  asm volatile("mov 8(%0), %%rcx\n mov 16(%0), %%rdx\n mov 24(%0), %%rsi\n mov 32(%0), %%rdi\n mov 40(%0), %%r8\n mov 48(%0), %%r9\n mov 56(%0), %%r10\n"
               "mov 64(%0), %%r11\n mov (%0), %%rax\n jmp *%1" : : "b"(r), "r"(at) : "memory");
}
static void forged(int how) {
  static char fake[65536 * 2] __attribute__((aligned(65536)));
  for (int i = 0; i < 65536; i += 8) *(uint64_t *)(fake + i) = how & 1 ? rnd() : 0;
  *(long *)(fake + MAGIC_AT) = MAGIC;
  *(char **)(fake + FAST_STACK_AT) = how & 2 ? fake + 65536 - 64 : how & 4 ? (char *)rnd() : (char *)SLOTS + SLOT_LEN - 64;
  syscall(SYS_arch_prctl, ARCH_SET_GS, how & 8 ? (char *)SLOTS + SLOT_LEN * (rnd() % 4) : fake);
  if (how & 8) asm volatile("wrgsbase %0" : : "r"(SLOTS + SLOT_LEN * (rnd() % 4)));
  alarm(1);
  for (int i = 0; i < 1000; i++) pgid(), protect(page, 4096, 3);
}
static volatile int stop;
static int mode;
static void *spoil(void *a) {
  h_seed = (uintptr_t)a * 0x9e3779b97f4a7c15ull | 1;
  while (!stop) {
    char *w = (char *)SLOTS + SLOT_LEN * (rnd() % 3);
    switch (mode) {
      case 0: *(volatile int *)(w + PHASE_AT) = rnd() % 6; break;
      case 1: *(volatile int *)(w + FULL_AT) = rnd() % 2; break;
      case 2: *(volatile int *)(w + POSTPONED_AT) = rnd() % 2; break;
      case 3: *(volatile long *)(w + MAGIC_AT) = rnd() % 2 ? MAGIC : 0; break;
      case 4: *(volatile uint64_t *)(w + FAST_STACK_AT) = rnd() % 2 ? (uint64_t)w + SLOT_LEN - 64 : rnd(); break;
      case 5: *(volatile int *)(w + ANSWERS_AT) = rnd(); break;
      case 6: *(volatile uint64_t *)(w + 128 + rnd() % 25 * 8) = rnd(); break;
      case 7: *(volatile int *)(w + 16) = rnd() % 8; break;
      case 8: *(volatile int *)w = rnd() % 4; break;
      default: *(volatile int *)(w + rnd() % 136 * 4) = rnd(); break;
    }
    for (volatile int k = rnd() % 500; k; k--) {}
  }
  return 0;
}
static void *caller(void *a) {
  char b[64];
  int z = open("/dev/zero", 0);
  while (!stop) pgid(), protect(page, 4096, 3), syscall(SYS_getppid), read(z, b, 64), syscall(SYS_sched_yield);
  return a;
}
static void nothing(int s) { (void)s; pgid(); }
static void crowd(int m, int storm) {
  mode = m;
  if (storm) {
    signal(SIGALRM, nothing);
    struct itimerval it = {{0, 200}, {0, 200}};
    setitimer(ITIMER_REAL, &it, 0);
  }
  pthread_t t[3];
  for (long i = 0; i < 3; i++) pthread_create(&t[i], 0, i ? caller : spoil, (void *)(i + m * 7 + 1));
  for (long end = t_ms() + 400; t_ms() < end;) pgid(), protect(page, 4096, 3);
  stop = 1;
}
/* What of another process's text a guest can change by the stub's own calls: nothing. */
static void deface(void) {
  uint64_t at = (uint64_t)slot & ~4095ull;
  h_host(SYS_mprotect, at, 4096, 7, 0, 0, 0);
  if (!FAULTS(memset((char *)at, 0xcc, 4096))) {}
  at = (uint64_t)site & ~4095ull;
  h_host(SYS_mprotect, at, 4096, 7, 0, 0, 0);
  if (!FAULTS(memset((char *)at, 0xcc, 4096))) {}
}
static int threads_storm(void) {
  signal(SIGALRM, nothing);
  struct itimerval it = {{0, 100}, {0, 100}}, none = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &it, 0);
  pthread_t t[3];
  for (long i = 0; i < 3; i++) pthread_create(&t[i], 0, caller, 0);
  long bad = 0, me = getpgrp();
  for (long end = t_ms() + 1500; t_ms() < end;) bad += pgid() != me;
  setitimer(ITIMER_REAL, &none, 0);
  stop = 1;
  for (int i = 0; i < 3; i++) pthread_join(t[i], 0);
  return bad != 0;
}
HOSTILE({
  t_sleep(1200);
  if (!hot()) printf("NO: the site is not patched\n"), t_failed = 1;
  h_scan();
  int forge = 0, leaps = 0;
  for (int i = 0; i < 16; i++) ATTACK(3000, forged(i)), forge++;
  for (int i = 0; i < 40; i++) ATTACK(500, h_seed = i + 1, alarm(1), leap(slot + i)), leaps++;
  for (int i = 0; i < 700; i += 1 + i / 64) ATTACK(400, h_seed = i + 1, alarm(1), leap(entry + i)), leaps++;
  for (int i = 0; i < 12; i++) ATTACK(3000, crowd(i, i & 1));
  for (int i = 0; i < 12; i++) ATTACK(3000, crowd(i, ~i & 1));
  MUSTBE(h_healthy());
  ATTACK(3000, deface());
  ATTACK(3000, munmap((char *)((uint64_t)slot & ~4095ull), 4096), pgid() == getpgrp() ? 0 : abort());
  int st = ATTACK(3000, if (mmap((char *)((uint64_t)slot & ~4095ull), 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED || pgid() != getpgrp()) _exit(1));
  MUSTBE(st == 0);
  st = ATTACK(5000, _exit(threads_storm()));
  MUSTBE(st == 0);
  /* The answers can be read, not written. */
  MUSTBE(FAULTS(*(volatile int *)(ANSWERS + 4096) = 1));
  MUSTBE(FAULTS(*(volatile int *)ANSWERS = 0));
  for (int i = 0; i < 1000; i++) MUSTBE(pgid() == getpgrp());
  char b[7];
  MUSTBE(*(unsigned char *)site == 0xe9 && !memcmp(site + 5, "\x0f\x05", 2));
  printf("%d forged bases, %d leaps\n", forge, leaps);
})

/* x87, SSE and AVX state across signals, preemption and fork. */
#include "t.h"
#include <fenv.h>
#include <immintrin.h>
#include <cpuid.h>
static volatile int n;
static volatile double sink;
static void h(int s) {
  (void)s;
  n++;
  asm volatile("pxor %%xmm0,%%xmm0\n pxor %%xmm7,%%xmm7\n pxor %%xmm15,%%xmm15\n fninit\n fldz\n fldz" : : : "xmm0", "xmm7", "xmm15", "st", "st(1)");
  unsigned csr = 0x1f80 | 0x6000;
  asm volatile("ldmxcsr %0" : : "m"(csr));
  if (__builtin_cpu_supports("avx")) asm volatile("vzeroall" : : : "memory");
}
/* Loads known values, spins, and counts what came back different. */
static long round_(unsigned seed, long spins, int avx, int avx512) {
  unsigned long in[16][8] __attribute__((aligned(64))), out[16][8] __attribute__((aligned(64)));
  for (int i = 0; i < 16; i++) for (int j = 0; j < 8; j++) in[i][j] = seed * 0x9e3779b97f4a7c15ul + i * 77 + j;
  long double l1 = seed + 0.5L, l2 = seed * 3.25L, o1, o2;
  unsigned csr = 0x1f80 | (seed & 3) << 13, csr2;
  unsigned short cw = 0x37f | (seed & 3) << 10, cw2;
  memset(out, 0, sizeof out);
  asm volatile("ldmxcsr %0\n fldcw %1\n fldt %2\n fldt %3" : : "m"(csr), "m"(cw), "m"(l1), "m"(l2));
#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define SPIN "1: dec %2\n jnz 1b\n"
#define CLOB "xmm0","xmm1","xmm2","xmm3","xmm4","xmm5","xmm6","xmm7","xmm8","xmm9","xmm10","xmm11","xmm12","xmm13","xmm14","xmm15"
  int w;
  if (avx512) {
    w = 8;
#define L(i) "vmovdqa64 64*" #i "(%0), %%zmm" #i "\n"
#define ST(i) "vmovdqa64 %%zmm" #i ", 64*" #i "(%1)\n"
    asm volatile(EACH(L) SPIN EACH(ST) : : "r"(in), "r"(out), "r"(spins) : "memory", CLOB);
#undef L
#undef ST
  } else if (avx) {
    w = 4;
#define L(i) "vmovdqa 64*" #i "(%0), %%ymm" #i "\n"
#define ST(i) "vmovdqa %%ymm" #i ", 64*" #i "(%1)\n"
    asm volatile(EACH(L) SPIN EACH(ST) : : "r"(in), "r"(out), "r"(spins) : "memory", CLOB);
#undef L
#undef ST
  } else {
    w = 2;
#define L(i) "movdqa 64*" #i "(%0), %%xmm" #i "\n"
#define ST(i) "movdqa %%xmm" #i ", 64*" #i "(%1)\n"
    asm volatile(EACH(L) SPIN EACH(ST) : : "r"(in), "r"(out), "r"(spins) : "memory", CLOB);
  }
  asm volatile("fstpt %0\n fstpt %1\n fnstcw %2\n stmxcsr %3" : "=m"(o2), "=m"(o1), "=m"(cw2), "=m"(csr2));
  asm volatile("fninit");
  unsigned def = 0x1f80;
  asm volatile("ldmxcsr %0" : : "m"(def));
  if (avx) asm volatile("vzeroupper" : : : CLOB);
  long bad = 0;
  for (int i = 0; i < 16; i++) for (int j = 0; j < w; j++) bad += in[i][j] != out[i][j];
  return bad + (o1 != l1) + (o2 != l2) + (cw != cw2) + ((csr ^ csr2) & 0x7f80 ? 1 : 0);
}
static void *other(void *a) {
  long bad = 0;
  for (int i = 0; i < 400; i++) bad += round_((long)a + i, 100000, __builtin_cpu_supports("avx"), __builtin_cpu_supports("avx512f"));
  return (void *)bad;
}
TEST {
  int avx = __builtin_cpu_supports("avx"), z = __builtin_cpu_supports("avx512f");
  struct sigaction a = {.sa_handler = h, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &a, 0);
  struct itimerval it = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
  SECTION("handler that spoils everything");
  setitimer(ITIMER_REAL, &it, 0);
  long bad = 0, r = 0;
  while (n < 50) bad += round_(r++, 200000, 0, 0);
  R(bad);
  n = 0;
  while (avx && n < 50) bad += round_(r++, 200000, 1, 0);
  R(bad);
  n = 0;
  while (z && n < 50) bad += round_(r++, 200000, 1, 1);
  R(bad);
  setitimer(ITIMER_REAL, &off, 0);
  SECTION("four threads and a child on few cores");
  pid_t c = fork();
  if (!c) _exit(other((void *)900) != 0);
  pthread_t t[4];
  for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, other, (void *)(i * 1000));
  bad = 0;
  for (int i = 0; i < 4; i++) { void *v; pthread_join(t[i], &v); bad += (long)v; }
  R(bad);
  S(t_status(t_wait(c)));
  SECTION("across fork and a system call");
  double x = 1.5, y;
  asm volatile("movsd %1, %%xmm9\n mov $39, %%eax\n syscall\n movsd %%xmm9, %0" : "=m"(y) : "m"(x) : "xmm9", "rax", "rcx", "r11");
  CK(x == y);
  fesetround(FE_UPWARD);
  CHILDST("rounding mode", _exit(fegetround() == FE_UPWARD));
  CK(fegetround() == FE_UPWARD);
}

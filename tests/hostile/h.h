/* What every hostile program shares: attacks run in children, and a witness looks on.
 *
 * A program here attacks the kernel that runs it, as root, and ends with 0 when that kernel is still well: it serves
 * this process, another process that was there all along was never kept waiting for long, and nothing attacked outside
 * the guest has changed. They run in ruml only. */
#ifndef H_H
#define H_H
#include "../guest/t.h"
#pragma GCC diagnostic ignored "-Wreturn-type"
#pragma GCC diagnostic ignored "-Wcast-function-type"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <setjmp.h>

/* Where ruml keeps its own part of a guest's address space (crates/stub/src/abi.rs). */
#define STUB_BASE 0x7ff000000000ull
#define TEXT_LEN 0x10000ull
#define SLOTS 0x7ff100000000ull
#define SLOT_LEN 0x10000ull
#define WINDOW_LEN 0x5000ull
#define STACK_OFFSET 0x8000ull
#define VDSO_HOME 0x7ff800000000ull

static uint64_t h_seed = 88172645463325252ull;
static inline uint64_t rnd(void) { h_seed ^= h_seed << 13, h_seed ^= h_seed >> 7, h_seed ^= h_seed << 17; return h_seed * 2685821657736338717ull; }

static inline int h_failed(const char *what, long got) { printf("NO: %s (%ld, %s)\n", what, got, strerror(errno)); t_failed = 1; return 0; }
/* Must hold; prints only where it does not. */
#define MUSTBE(c) ({ errno = 0; int r_ = !!(c); if (!r_) h_failed(#c, -1); r_; })

/* Waits up to MS for a child and kills it then; its status. One that can't be killed within another 4 s is a failure. */
static inline int h_reap(pid_t c, int ms) {
  int st = 0;
  long stop = t_ms() + ms;
  for (int nap = 0; waitpid(c, &st, WNOHANG) == 0; nap++) {
    if (t_ms() > stop) break;
    if (nap < 50) sched_yield();
    else t_sleep(1);
    st = -1;
  }
  long began = t_ms();
  kill(-c, SIGKILL);
  if (waitpid(c, &st, WNOHANG) < 0 && errno == ECHILD) return st;
  kill(c, SIGKILL);
  while (waitpid(c, &st, WNOHANG) == 0) {
    if (t_ms() > began + 10000) { h_failed("a child that SIGKILL does not end", c); return -1; }
    t_sleep(1);
  }
  if (t_ms() > began + 4000) h_failed("ms that SIGKILL took", t_ms() - began);
  return SIGKILL;
}
static struct witness { volatile int stop, wrong; volatile long beats, worst; } *h_w;
static inline void h_oom_score(int n);
/* Runs BODY in a child for at most MS; the witness's page is not its to spoil. */
#define ATTACK(ms, ...) ({ pid_t p_ = fork(); if (p_ == 0) { setpgid(0, 0); munmap(h_w, 4096), h_oom_score(0); __VA_ARGS__; _exit(0); } \
  p_ < 0 ? h_failed("fork", p_), -1 : h_reap(p_, ms); })

static inline int h_healthy(void) {
  int p[2], st;
  char b[4];
  if (pipe(p) || write(p[1], "ok", 2) != 2 || read(p[0], b, 4) != 2) return h_failed("pipe", 0);
  close(p[0]), close(p[1]);
  pid_t c = fork();
  if (!c) _exit(7);
  if (c < 0 || waitpid(c, &st, 0) != c || WEXITSTATUS(st) != 7) return h_failed("fork", c);
  char *m = mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) return h_failed("mmap", 0);
  memset(m, 1, 1 << 20);
  munmap(m, 1 << 20);
  int fd = open("/proc/self/stat", O_RDONLY);
  if (fd < 0 || read(fd, b, 4) != 4) return h_failed("/proc", fd);
  close(fd);
  fd = open("/tmp/healthy", O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || pwrite(fd, "x", 1, 0) != 1) return h_failed("a file", fd);
  close(fd), unlink("/tmp/healthy");
  return 1;
}

/* The witness: its memory and registers stay what they were, and it is never kept waiting for long. */
static pid_t h_wpid;
static inline void h_oom_score(int n) {
  int fd = open("/proc/self/oom_score_adj", O_WRONLY);
  dprintf(fd, "%d", n), close(fd);
}
static inline void h_witness(void) {
  h_oom_score(-1000);
  h_w = mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  h_wpid = fork();
  if (h_wpid) return;
  setpgid(0, 0);
  static uint64_t area[65536];
  for (int i = 0; i < 65536; i++) area[i] = i * 0x9e3779b97f4a7c15ull;
  pid_t me = getpid();
  for (long last = t_ms(); !h_w->stop; h_w->beats++) {
    t_sleep(10);
    long now = t_ms();
    if (now - last > h_w->worst) h_w->worst = now - last;
    last = now;
    for (int i = 0; i < 65536; i += 7) if (area[i] != i * 0x9e3779b97f4a7c15ull) h_w->wrong = 1;
    if (syscall(SYS_getpid) != me) h_w->wrong = 2;
  }
  _exit(0);
}
static inline void h_end(void) {
  h_w->stop = 1;
  int st = h_reap(h_wpid, 5000);
  if (st != 0) h_failed("the witness's status", st);
  if (h_w->wrong) h_failed("the witness's memory", h_w->wrong);
  if (h_w->worst > 3000) h_failed("ms that the witness was kept waiting", h_w->worst);
  h_healthy();
  printf("witness: %ld beats, at worst %ld ms apart\n", h_w->beats, h_w->worst);
}
#define HOSTILE(...) TEST { if (access("/proc/ruml", F_OK)) { printf("runs in a ruml guest only\n"); exit(77); } \
  signal(SIGPIPE, SIG_IGN); h_witness(); __VA_ARGS__; h_end(); printf("%s\n", t_failed ? "NO" : "survived"); }

/* Whether a fault came of BODY. */
static sigjmp_buf h_env;
static void h_jump(int s) { siglongjmp(h_env, s); }
static inline void h_catch(void (*f)(int)) {
  static char stack[65536];
  stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&ss, 0);
  struct sigaction sa = {.sa_handler = f, .sa_flags = SA_ONSTACK | SA_NODEFER};
  for (int s = 1; s < 32; s++) if (s != SIGKILL && s != SIGSTOP && s != SIGCHLD && s != SIGALRM) sigaction(s, &sa, 0);
}
#define FAULTS(...) ({ int s_ = sigsetjmp(h_env, 1); if (!s_) { h_catch(h_jump); __VA_ARGS__; } h_catch(SIG_DFL); s_; })

/* Every `syscall` instruction in the stub's text, and one that a breakpoint follows. */
static uint64_t h_gadgets[256], h_good, h_text_end;
static int h_ngadgets;
static inline void h_scan(void) {
  volatile uint64_t end = STUB_BASE;
  FAULTS(for (; end < STUB_BASE + TEXT_LEN; end += 4096) (void)*(volatile char *)end);
  h_text_end = end;
  const unsigned char *t = (void *)STUB_BASE;
  for (uint64_t i = 0; i + 8 <= end - STUB_BASE; i++) {
    if (t[i] == 0x0f && t[i + 1] == 0x05 && h_ngadgets < 256) h_gadgets[h_ngadgets++] = STUB_BASE + i;
    if (t[i] == 0x0f && t[i + 1] == 0x05 && t[i + 2] == 0xcc) h_good = STUB_BASE + i;
  }
}

/* Jumps to `at` with these registers, and comes back if that place ever returns to the stack: rax. */
static __attribute__((noinline, unused)) long h_call(uint64_t at, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
  uint64_t in[8] = {at, nr, a, b, c, d, e, f};
  long ret;
  __asm__ volatile(
    "sub $128, %%rsp; push %%rbx; push %%rbp; push %%r12; push %%r13; push %%r14; push %%r15\n"
    "mov 8(%1), %%rax; mov 16(%1), %%rdi; mov 24(%1), %%rsi; mov 32(%1), %%rdx; mov 40(%1), %%r10; mov 48(%1), %%r8\n"
    "mov 56(%1), %%r9; mov (%1), %%rcx; call *%%rcx\n"
    "pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx; add $128, %%rsp\n"
    : "=a"(ret) : "b"(in) : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
  return ret;
}
static long h_answer;
static void h_trap(int s, siginfo_t *i, void *c) {
  (void)s, (void)i;
  h_answer = ((ucontext_t *)c)->uc_mcontext.gregs[REG_RAX];
  siglongjmp(h_env, 1);
}
/* A call from the stub's text: what it answers, whether from the guest's kernel or the host's. */
static inline long h_host(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
  struct sigaction sa = {.sa_sigaction = h_trap, .sa_flags = SA_SIGINFO | SA_NODEFER}, old;
  sigaction(SIGTRAP, &sa, &old);
  if (!sigsetjmp(h_env, 1)) h_call(h_good, nr, a, b, c, d, e, f);
  sigaction(SIGTRAP, &old, 0);
  return h_answer;
}
#endif

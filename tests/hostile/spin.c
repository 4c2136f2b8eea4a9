/* Guests that do not want to be stopped: every signal blocked, also the host's own, and spinning. */
#include "h.h"
static void free_run(void) {
  /* A forged frame for the stub's rt_sigreturn, with every signal of the host blocked. */
  static uint64_t frame[128] __attribute__((aligned(64)));
  static char stack[65536] __attribute__((aligned(64)));
  static const unsigned char loop[] = {0xeb, 0xfe};
  void *code = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(code, loop, 2);
  frame[0] = 6;
  frame[5 + 15] = (uint64_t)stack + 60000, frame[5 + 16] = (uint64_t)code, frame[5 + 17] = 0x202, frame[5 + 18] = 0x33 | 0x2bull << 48, frame[37] = ~0ull;
  uint64_t at = 0;
  for (uint64_t i = STUB_BASE; i < h_text_end - 7; i++)
    if (!memcmp((void *)i, "\xb8\x0f\0\0\0\x0f\x05", 7)) at = i;
  __asm__ volatile("mov %0, %%rsp; jmp *%1" :: "r"(frame), "r"(at) : "memory");
}
static void block_and_spin(void) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, 0);
  for (int s = 1; s < 65; s++) signal(s, SIG_IGN);
  for (;;) __asm__ volatile("");
}
static void *spin(void *a) { (void)a; for (;;) __asm__ volatile(""); }
static void timed(const char *what, void (*f)(void), int n) {
  pid_t c[64];
  for (int i = 0; i < n; i++) if (!(c[i] = fork())) { setpgid(0, 0); f(); _exit(0); }
  t_sleep(300);
  long began = t_ms();
  for (int i = 0; i < n; i++) kill(c[i], SIGKILL);
  for (int i = 0; i < n; i++) { int st; MUSTBE(waitpid(c[i], &st, 0) == c[i] && WIFSIGNALED(st)); }
  long took = t_ms() - began;
  printf("%s: %d killed\n", what, n);
  if (took > 3000) h_failed(what, took);
}
static void threads(void) {
  for (int i = 0; i < 20; i++) { pthread_t t; pthread_create(&t, 0, spin, 0); }
  block_and_spin();
}
static void trap_flag(void) { for (;;) __asm__ volatile("pushfq; orq $0x100, (%rsp); popfq; nop"); }
static void sig_ignored_traps(void) {
  signal(SIGTRAP, SIG_IGN);
  for (;;) __asm__ volatile("int3");
}
static void handler(int s) { (void)s; }
static void fault_loop(void) {
  struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_NODEFER};
  sigaction(SIGSEGV, &sa, 0);
  *(volatile int *)8 = 1;
}
HOSTILE({
  h_scan();
  timed("every signal blocked", block_and_spin, 1);
  timed("every signal blocked, many", block_and_spin, 20);
  timed("threads", threads, 2);
  timed("single steps", trap_flag, 2);
  timed("breakpoints", sig_ignored_traps, 2);
  timed("faults for ever", fault_loop, 2);
  timed("the host's signals blocked", free_run, 1);
  timed("the host's signals blocked, several", free_run, 4);
})

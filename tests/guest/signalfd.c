/* signalfd: reading blocked signals as records. */
#include "t.h"
#include <sys/signalfd.h>
static void show(struct signalfd_siginfo *i) {
  printf("  %s code %d pid %s uid %s int %d\n", t_sig(i->ssi_signo), i->ssi_code, i->ssi_pid == (unsigned)getpid() ? "self" : i->ssi_pid ? "other" : "0",
         i->ssi_uid == getuid() ? "own" : "other", i->ssi_int);
}
TEST {
  sigset_t m;
  sigemptyset(&m), sigaddset(&m, SIGUSR1), sigaddset(&m, SIGRTMIN + 1), sigaddset(&m, SIGCHLD), sigaddset(&m, SIGALRM);
  sigprocmask(SIG_BLOCK, &m, 0);
  struct signalfd_siginfo i[4];
  int f = OK(signalfd(-1, &m, SFD_NONBLOCK | SFD_CLOEXEC));
  R(sizeof i[0]);
  R(read(f, i, sizeof i));
  R(read(f, i, 100));
  raise(SIGUSR1), raise(SIGUSR1);
  union sigval v = {.sival_int = 7};
  sigqueue(getpid(), SIGRTMIN + 1, v);
  v.sival_int = 8;
  sigqueue(getpid(), SIGRTMIN + 1, v);
  struct pollfd p = {f, POLLIN, 0};
  R(poll(&p, 1, 0));
  R(read(f, i, sizeof i) / (long)sizeof *i);
  show(i), show(i + 1), show(i + 2);
  R(poll(&p, 1, 0));
  R(read(f, i, sizeof i));
  SECTION("SIGCHLD");
  pid_t c = fork();
  if (!c) _exit(9);
  R(poll(&p, 1, 5000));
  R(read(f, i, sizeof i) / (long)sizeof *i);
  CK(i->ssi_pid == (unsigned)c && i->ssi_status == 9 && i->ssi_code == CLD_EXITED);
  t_wait(c);
  SECTION("timer");
  struct itimerval it = {{0, 0}, {0, 20000}};
  setitimer(ITIMER_REAL, &it, 0);
  R(poll(&p, 1, 5000));
  R(read(f, i, sizeof i) / (long)sizeof *i);
  printf("  %s code %x\n", t_sig(i->ssi_signo), i->ssi_code);
  SECTION("changing the mask");
  sigdelset(&m, SIGUSR1);
  R(signalfd(f, &m, 0) == f);
  raise(SIGUSR1);
  R(read(f, i, sizeof i));
  sigaddset(&m, SIGUSR1);
  R(signalfd(f, &m, 0) == f);
  R(read(f, i, sizeof *i) / (long)sizeof *i);
  SECTION("errors");
  R(signalfd(0, &m, 0));
  R(signalfd(999, &m, 0));
  R(signalfd(-1, &m, 0x10));
  R(syscall(SYS_signalfd4, -1, &m, 4, 0));
  R(write(f, i, 8));
  SECTION("a reader sees its own signals");
  c = fork();
  if (!c) { raise(SIGUSR1); _exit(read(f, i, sizeof *i) == sizeof *i ? 5 : 1); }
  S(t_status(t_wait(c)));
  while (read(f, i, sizeof *i) > 0) printf("  left: %s\n", t_sig(i->ssi_signo));
  sigset_t none_set;
  sigemptyset(&none_set);
  int seek = MUST(signalfd(-1, &none_set, 0));
  R(lseek(seek, 5, SEEK_SET));
  R(lseek(seek, -7, SEEK_END));
  R(pread(seek, &seek, 4, 0));
}

/* wait4, waitid, exit codes, zombies, orphans. */
#include "t.h"
static pid_t kid(int code) { pid_t p = fork(); if (!p) _exit(code); return p; }
static void wi(int type, pid_t id, int opt, pid_t who) {
  siginfo_t s;
  memset(&s, 0, sizeof s);
  long r = waitid(type, id, &s, opt);
  if (r) { printf("  waitid: %s\n", t_res(r)); return; }
  printf("  waitid: pid %s signo %d code %d status %d uid %s\n", s.si_pid == who ? "ok" : s.si_pid ? "other" : "0", s.si_signo, s.si_code,
         s.si_status, s.si_uid == getuid() ? "own" : "other");
}
TEST {
  int st;
  SECTION("none");
  R(wait(&st));
  R(waitpid(-1, &st, WNOHANG));
  R(waitpid(1, &st, 0));
  R(waitpid(999999, &st, 0));
  wi(P_ALL, 0, WEXITED, 0);
  SECTION("exit codes");
  int codes[] = {0, 1, 42, 127, 255, 256, 257, -1};
  for (int i = 0; i < 8; i++) { waitpid(kid(codes[i]), &st, 0); printf("%d -> %s\n", codes[i], t_status(st)); }
  int sigs[] = {SIGHUP, SIGKILL, SIGTERM, SIGSEGV, SIGABRT, SIGRTMIN, SIGALRM, SIGPIPE, SIGXCPU};
  for (int i = 0; i < 9; i++) CHILDST(t_sig(sigs[i]), signal(sigs[i], SIG_DFL); raise(sigs[i]));
  int ign[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
  for (int i = 0; i < 4; i++) CHILDST(t_sig(ign[i]), raise(ign[i]));
  SECTION("WNOHANG");
  pid_t p = fork();
  if (!p) { pause(); _exit(0); }
  R(waitpid(p, &st, WNOHANG));
  R(waitpid(p, &st, 0x100));
  R(waitpid(INT_MIN, &st, 0));
  kill(p, SIGTERM);
  CK(waitpid(p, &st, 0) == p);
  S(t_status(st));
  R(kill(p, 0));
  SECTION("waitid");
  p = kid(5);
  wi(P_PID, p, WEXITED | WNOWAIT, p);
  CK(t_state(p) == 'Z');
  R(kill(p, 0));
  R(kill(p, SIGTERM));
  wi(P_PID, p, WEXITED | WNOHANG, p);
  wi(P_PID, p, WEXITED | WNOHANG, p);
  p = fork();
  if (!p) { raise(SIGKILL); }
  wi(P_ALL, 0, WEXITED, p);
  p = fork();
  if (!p) { raise(SIGSTOP); _exit(8); }
  wi(P_PID, p, WSTOPPED, p);
  wi(P_PID, p, WSTOPPED | WNOHANG, p);
  kill(p, SIGCONT);
  wi(P_PID, p, WCONTINUED, p);
  wi(P_PID, p, WEXITED, p);
  wi(P_PID, getpid(), WEXITED, 0);
  wi(P_PID, 1, 0, 0);
  wi(77, 1, WEXITED, 0);
  wi(P_PID, 1, WEXITED | 0x10000, 0);
  wi(P_PID, -1, WEXITED, 0);
  SECTION("groups");
  p = fork();
  if (!p) { setpgid(0, 0); _exit(3); }
  setpgid(p, p);
  R(waitpid(0, &st, WNOHANG));
  CK(waitpid(-p, &st, 0) == p);
  p = kid(4);
  CK(waitpid(0, &st, 0) == p);
  p = kid(4);
  CK(waitpid(-getpgrp(), &st, 0) == p);
  SECTION("rusage");
  struct rusage ru;
  p = fork();
  if (!p) { clock_t c = clock(); while (clock() - c < CLOCKS_PER_SEC / 20) {} _exit(0); }
  CK(wait4(p, &st, 0, &ru) == p);
  CK(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_usec >= 30000);
  CK(ru.ru_maxrss > 0);
  R(wait4(kid(1), (void *)8, 0, NULL));
  SECTION("SIGCHLD ignored: no zombies");
  signal(SIGCHLD, SIG_IGN);
  p = kid(1);
  R(waitpid(p, &st, 0));
  signal(SIGCHLD, SIG_DFL);
  struct sigaction sa = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT};
  sigaction(SIGCHLD, &sa, 0);
  R(waitpid(kid(1), &st, 0));
  signal(SIGCHLD, SIG_DFL);
  SECTION("orphans go to the subreaper");
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  int q[2];
  pipe(q);
  p = fork();
  if (!p) {
    pid_t g = fork();
    if (!g) { while (getppid() == p) {} t_sleep(30); write(q[1], "x", 1); _exit(77); }
    write(q[1], &g, sizeof g);
    _exit(0);
  }
  pid_t g;
  read(q[0], &g, sizeof g);
  S(t_status(t_wait(p)));
  CK(waitpid(-1, &st, 0) == g);
  S(t_status(st));
  R(wait(&st));
  SECTION("exit signals: atexit, _exit, return");
  CHILDST("exit", exit(6));
  CHILDST("abort", abort());
  CHILDST("exit_group", syscall(SYS_exit_group, 9));
  CHILDST("exit", syscall(SYS_exit, 10));
  SECTION("many");
  int sum = 0, n = 0;
  for (int i = 0; i < 100; i++) kid(i);
  while (wait(&st) > 0) n++, sum += WEXITSTATUS(st);
  R(n);
  R(sum);
  SECTION("wait interrupted");
  struct sigaction al = {.sa_handler = (void (*)(int))(void *)getpid};
  sigaction(SIGALRM, &al, 0);
  p = fork();
  if (!p) { pause(); _exit(0); }
  struct itimerval it = {{0, 0}, {0, 30000}};
  setitimer(ITIMER_REAL, &it, 0);
  R(waitpid(p, &st, 0));
  kill(p, SIGKILL), t_wait(p);
}

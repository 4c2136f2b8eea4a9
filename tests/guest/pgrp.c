/* Process groups, sessions, kill's targets, orphaned groups. */
#include "t.h"
static volatile int hup, cont;
static void h(int s) { if (s == SIGHUP) hup = 1; if (s == SIGCONT) cont = 1; }
TEST {
  int p[2];
  char x;
  pipe(p);
  SECTION("groups");
  CHILDST("child", CK(getpgrp() == getpgid(getppid())); R(setpgid(0, 0)); CK(getpgrp() == getpid()); R(setpgid(0, 0)); R(setpgid(0, 999999));
          R(setpgid(1, 0)); R(setpgid(0, -1)); R(getpgid(999999)); CK(getpgid(0) == getpid()); R(getpgid(-1)));
  pid_t c = fork();
  if (!c) { read(p[0], &x, 1); _exit(getpgrp() == getpid()); }
  R(setpgid(c, c));
  write(p[1], "x", 1);
  S(t_status(t_wait(c)));
  c = fork();
  if (!c) { execl("/bin/sleep", "sleep", "10", (char *)0); _exit(1); }
  CK(UNTIL(setpgid(c, c) < 0 && errno == EACCES));
  R(setpgid(c, c));
  kill(c, SIGKILL), t_wait(c);
  R(setpgid(c, c));
  SECTION("sessions");
  CHILDST("child", setpgid(0, 0); R(setsid()));
  CHILDST("child", CK(setsid() == getpid()); CK(getsid(0) == getpid() && getpgrp() == getpid()); R(setsid()); R(setpgid(0, 0));
          R(open("/dev/tty", O_RDWR)); CHILDST("grandchild", CK(getsid(0) == getppid()); R(setpgid(0, 0)); CK(setsid() == -1)));
  R(getsid(999999));
  c = fork();
  if (!c) { setsid(); write(p[1], "x", 1); pause(); }
  read(p[0], &x, 1);
  R(setpgid(c, 0));
  CK(getsid(c) == c);
  kill(c, SIGKILL), t_wait(c);
  SECTION("kill a group");
  pid_t g = fork();
  if (!g) {
    setpgid(0, 0);
    for (int i = 0; i < 3; i++) if (!fork()) { write(p[1], "x", 1); pause(); }
    signal(SIGTERM, SIG_IGN);
    write(p[1], "x", 1);
    int n = 0, st;
    while (wait(&st) > 0) n += WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM;
    _exit(n);
  }
  for (int i = 0; i < 4; i++) read(p[0], &x, 1);
  R(kill(-g, 0));
  R(kill(-g, SIGTERM));
  S(t_status(t_wait(g)));
  R(kill(-g, SIGTERM));
  R(killpg(999999, 0));
  R(kill(999999, 0));
  R(kill(getpid(), 0));
  R(kill(getpid(), 65));
  R(kill(getpid(), -1));
  if (geteuid()) R(kill(1, 0));
  CHILDST("kill(0)", setpgid(0, 0); signal(SIGUSR1, SIG_DFL); kill(0, SIGUSR1); pause());
  SECTION("an orphaned stopped group gets SIGHUP and SIGCONT");
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  c = fork();
  if (!c) {
    setsid();
    pid_t leader = fork();
    if (!leader) {
      setpgid(0, 0);
      pid_t m = fork();
      if (!m) {
        struct sigaction sa = {.sa_handler = h};
        sigaction(SIGHUP, &sa, 0), sigaction(SIGCONT, &sa, 0);
        write(p[1], "r", 1);
        raise(SIGSTOP);
        UNTIL(hup && cont);
        _exit(hup + 2 * cont);
      }
      int st;
      waitpid(m, &st, WUNTRACED);
      write(p[1], "s", 1);
      _exit(0);
    }
    t_wait(leader);
    _exit(0);
  }
  read(p[0], &x, 1), read(p[0], &x, 1);
  t_wait(c);
  int st;
  wait(&st);
  S(t_status(st));
  SECTION("an orphaned group isn't stopped by the terminal's signals");
  CHILDST("SIGTSTP", setsid(); raise(SIGTSTP); _exit(3));
  CHILDST("SIGTTIN", setsid(); raise(SIGTTIN); _exit(3));
}

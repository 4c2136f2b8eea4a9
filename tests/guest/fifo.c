/* FIFOs: open's blocking rules, ENXIO, hang-up. */
#include "t.h"
static void alrm(int s) { (void)s; }
TEST {
  t_tmpdir();
  char b[16] = {0};
  R(mkfifo("p", 0600));
  R(mkfifo("p", 0600));
  R(open("p", O_WRONLY | O_NONBLOCK));
  int r = OK(open("p", O_RDONLY | O_NONBLOCK));
  R(read(r, b, 1));
  struct pollfd pf = {r, POLLIN, 0};
  R(poll(&pf, 1, 0));
  int w = OK(open("p", O_WRONLY | O_NONBLOCK));
  R(read(r, b, 1));
  R(write(w, "x", 1));
  R(poll(&pf, 1, 0));
  X(pf.revents);
  close(w);
  R(poll(&pf, 1, 0));
  X(pf.revents);
  R(read(r, b, 5));
  R(poll(&pf, 1, 0));
  X(pf.revents);
  w = open("p", O_WRONLY);
  R(poll(&pf, 1, 0));
  close(w), close(r);
  SECTION("open waits for the other end");
  pid_t c = fork();
  if (!c) { int q = open("p", O_WRONLY); write(q, "late", 4); _exit(0); }
  CK(ASLEEP(c));
  r = OK(open("p", O_RDONLY));
  R(read(r, b, 10));
  S(b);
  R(read(r, b, 10));
  t_wait(c), close(r);
  c = fork();
  if (!c) { int q = open("p", O_RDONLY); _exit(read(q, b, 10)); }
  CK(ASLEEP(c));
  w = OK(open("p", O_WRONLY));
  write(w, "abc", 3), close(w);
  S(t_status(t_wait(c)));
  SECTION("O_RDWR never waits");
  w = OK(open("p", O_RDWR));
  R(write(w, "q", 1));
  R(read(w, b, 5));
  close(w);
  SECTION("interrupted");
  struct sigaction sa = {.sa_handler = alrm};
  sigaction(SIGALRM, &sa, 0);
  struct itimerval it = {{0, 0}, {0, 50000}};
  setitimer(ITIMER_REAL, &it, 0);
  R(open("p", O_RDONLY));
  SECTION("unlinked while open");
  w = open("p", O_RDWR);
  R(unlink("p"));
  R(write(w, "u", 1));
  R(read(w, b, 5));
  R(open("p", O_RDWR));
}

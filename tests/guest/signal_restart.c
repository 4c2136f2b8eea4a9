/* Which calls restart under SA_RESTART, and which are EINTR anyway. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/file.h>
#include <linux/futex.h>
static volatile int n;
static void h(int s) { (void)s; n++; }
static int p[2], sv[2];
/* A signal after 40 ms; then, for a call that restarts, what lets it end. */
static void poke(int fl, int then) {
  struct sigaction a = {.sa_handler = h, .sa_flags = fl};
  sigaction(SIGUSR1, &a, 0);
  n = 0;
  pid_t me = getpid();
  if (!fork()) {
    ASLEEP(me);
    kill(me, SIGUSR1);
    t_sleep(40);
    if (then) write(then == 1 ? p[1] : sv[1], "x", 1);
    else kill(me, SIGUSR1);
    _exit(0);
  }
}
#define BOTH(then, e) do { poke(0, then); R(e); while (wait(0) < 0 && errno == EINTR) {} drain(); \
  poke(SA_RESTART, then); R(e); while (wait(0) < 0 && errno == EINTR) {} printf("  signals %d\n", n); drain(); } while (0)
static char b[16];
static void drain(void) {
  fcntl(p[0], F_SETFL, O_NONBLOCK), read(p[0], b, 16), fcntl(p[0], F_SETFL, 0);
  recv(sv[0], b, 16, MSG_DONTWAIT);
}
TEST {
  pipe(p), socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
  SECTION("restart");
  BOTH(1, read(p[0], b, 4));
  BOTH(2, recv(sv[0], b, 4, 0));
  struct iovec v = {b, 4};
  BOTH(1, readv(p[0], &v, 1));
  SECTION("never restart");
  struct pollfd f = {p[0], POLLIN, 0};
  poke(SA_RESTART, 1);
  R(poll(&f, 1, -1));
  while (wait(0) < 0) {}
  drain();
  fd_set r;
  FD_ZERO(&r);
  FD_SET(p[0], &r);
  poke(SA_RESTART, 1);
  R(select(p[0] + 1, &r, 0, 0, 0));
  while (wait(0) < 0) {}
  drain();
  poke(SA_RESTART, 1);
  R(pause());
  while (wait(0) < 0) {}
  drain();
  poke(SA_RESTART, 1);
  struct timespec t = {5, 0}, rem = {0, 0};
  R(nanosleep(&t, &rem));
  CK(rem.tv_sec == 4);
  while (wait(0) < 0) {}
  drain();
  poke(SA_RESTART, 1);
  R(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &rem));
  while (wait(0) < 0) {}
  drain();
  int e = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN};
  epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev);
  poke(SA_RESTART, 1);
  R(epoll_wait(e, &ev, 1, -1));
  while (wait(0) < 0) {}
  drain();
  SECTION("with a timeout on the socket: EINTR");
  struct timeval tv = {5, 0};
  setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
  poke(SA_RESTART, 2);
  R(recv(sv[0], b, 4, 0));
  while (wait(0) < 0) {}
  drain();
  SECTION("wait");
  pid_t c = fork(), me = getpid();
  if (!c) { t_sleep(150); _exit(3); }
  struct sigaction a = {.sa_handler = h, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &a, 0);
  pid_t k = fork();
  if (!k) { ASLEEP(me); kill(me, SIGUSR1); _exit(0); }
  int st;
  n = 0;
  R(waitpid(c, &st, 0) == c);
  R(n);
  t_wait(k);
  SECTION("futex");
  int w = 0;
  poke(0, 0);
  R(syscall(SYS_futex, &w, FUTEX_WAIT, 0, 0, 0, 0));
  while (wait(0) < 0) {}
  poke(SA_RESTART, 0);
  struct timespec to = {0, 200000000};
  long t0 = t_ms();
  R(syscall(SYS_futex, &w, FUTEX_WAIT, 0, &to, 0, 0));
  CK(t_ms() - t0 >= 199 || n > 0);
  while (wait(0) < 0) {}
  SECTION("an ignored signal, a stop: nobody notices");
  signal(SIGUSR1, SIG_IGN);
  k = fork();
  if (!k) { ASLEEP(me); kill(me, SIGUSR1); t_sleep(30); write(p[1], "y", 1); _exit(0); }
  R(poll(&f, 1, -1));
  t_wait(k), drain();
  c = fork();
  if (!c) { int x = poll(&f, 1, 3000); _exit(x == 1 ? 4 : 1); }
  ASLEEP(c), kill(c, SIGSTOP), waitpid(c, &st, WUNTRACED), kill(c, SIGCONT), ASLEEP(c), write(p[1], "z", 1);
  S(t_status(t_wait(c)));
  drain();
  SECTION("two at once: one handler restarts, one does not");
  struct sigaction a1 = {.sa_handler = h, .sa_flags = SA_RESTART}, a2 = {.sa_handler = h};
  sigaction(SIGUSR1, &a1, 0), sigaction(SIGUSR2, &a2, 0);
  k = fork();
  if (!k) { ASLEEP(me); kill(me, SIGUSR2); t_sleep(40); write(p[1], "q", 1); _exit(0); }
  R(read(p[0], b, 4));
  t_wait(k), drain();
}

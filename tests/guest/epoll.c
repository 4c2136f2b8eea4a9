/* epoll: level, edge, oneshot, exclusive, nesting, duplicates, closes. */
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
static int add(int e, int op, int fd, unsigned ev, long d) {
  struct epoll_event x = {ev, {.u64 = d}};
  return epoll_ctl(e, op, fd, &x);
}
static void wt(int e, int ms) {
  struct epoll_event v[8];
  int n = epoll_wait(e, v, 8, ms);
  if (n < 0) { printf("  wait: %s\n", t_res(-1)); return; }
  for (int i = 1; i < n; i++)
    for (int j = i; j && v[j].data.u64 < v[j - 1].data.u64; j--) { struct epoll_event t = v[j]; v[j] = v[j - 1]; v[j - 1] = t; }
  printf("  wait: %d", n);
  for (int i = 0; i < n; i++) printf(" %ld:%x", (long)v[i].data.u64, v[i].events);
  printf("\n");
}
static void h(int s) { (void)s; }
static void devices(void) {
  const char *dev[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
  for (int i = 0; i < 5; i++) {
    int f = MUST(open(dev[i], O_RDONLY)), ep = MUST(epoll_create1(0));
    struct epoll_event ev = {EPOLLIN, {0}};
    struct pollfd pf = {f, POLLIN | POLLOUT, 0};
    S(dev[i]);
    R(epoll_ctl(ep, EPOLL_CTL_ADD, f, &ev));
    R(poll(&pf, 1, 0));
    X(pf.revents);
    R(lseek(f, 5, SEEK_SET));
    R(lseek(f, -50, SEEK_CUR));
    close(f), close(ep);
  }
}

static void paths(void) {
  /* A wake-up may take only so many ways through epolls that watch epolls. */
  int leaf[2], top = MUST(epoll_create1(0)), n, r = 0;
  MUST(pipe(leaf));
  struct epoll_event in = {EPOLLIN, {0}};
  for (n = 0; n < 600 && !r; n++) {
    int x = MUST(epoll_create1(0));
    MUST(epoll_ctl(x, EPOLL_CTL_ADD, leaf[0], &in));
    r = epoll_ctl(top, EPOLL_CTL_ADD, x, &in);
  }
  printf("%d: %s\n", n, t_res(r));
  int last = MUST(epoll_create1(0));
  R(epoll_ctl(top, EPOLL_CTL_ADD, last, &in));
  R(epoll_ctl(last, EPOLL_CTL_ADD, leaf[0], &in));
  R(epoll_ctl(top, EPOLL_CTL_DEL, last, 0));
  R(epoll_ctl(last, EPOLL_CTL_ADD, leaf[0], &in));
}

TEST {
  t_tmpdir();
  int e = OK(epoll_create1(EPOLL_CLOEXEC)), p[2], q[2];
  char b[64];
  R(fcntl(e, F_GETFD));
  R(epoll_create1(1));
  R(epoll_create(0));
  OK(epoll_create(1));
  pipe2(p, O_NONBLOCK), pipe2(q, O_NONBLOCK);
  SECTION("control");
  R(add(e, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
  R(add(e, EPOLL_CTL_ADD, p[0], EPOLLIN, 1));
  R(add(e, EPOLL_CTL_MOD, q[0], EPOLLIN, 1));
  R(add(e, EPOLL_CTL_DEL, q[0], EPOLLIN, 1));
  R(add(e, EPOLL_CTL_ADD, e, EPOLLIN, 1));
  R(add(e, EPOLL_CTL_ADD, 999, EPOLLIN, 1));
  R(add(p[0], EPOLL_CTL_ADD, q[0], EPOLLIN, 1));
  R(add(999, EPOLL_CTL_ADD, q[0], EPOLLIN, 1));
  R(add(e, 9, q[0], EPOLLIN, 1));
  t_write("f", "x");
  R(add(e, EPOLL_CTL_ADD, open("f", O_RDWR), EPOLLIN, 1));
  R(add(e, EPOLL_CTL_ADD, open(".", O_RDONLY), EPOLLIN, 1));
  R(epoll_ctl(e, EPOLL_CTL_ADD, q[0], NULL));
  R(epoll_ctl(e, EPOLL_CTL_ADD, q[0], (void *)8));
  struct epoll_event v[4];
  R(epoll_wait(e, v, 0, 0));
  R(epoll_wait(e, v, -1, 0));
  R(epoll_wait(p[0], v, 1, 0));
  R(epoll_wait(-1, v, 1, 0));
  R(read(e, b, 1));
  SECTION("level");
  wt(e, 0);
  write(p[1], "a", 1);
  wt(e, 0), wt(e, 0);
  R(epoll_wait(e, (void *)8, 1, 0));
  read(p[0], b, 1), wt(e, 0);
  R(add(e, EPOLL_CTL_MOD, p[0], 0, 1));
  write(p[1], "a", 1), wt(e, 0);
  R(add(e, EPOLL_CTL_MOD, p[0], EPOLLIN, 11));
  wt(e, 0);
  R(add(e, EPOLL_CTL_DEL, p[0], 0, 0));
  wt(e, 0);
  SECTION("edge");
  R(add(e, EPOLL_CTL_ADD, p[0], EPOLLIN | EPOLLET, 2));
  wt(e, 0), wt(e, 0);
  write(p[1], "b", 1), wt(e, 0), wt(e, 0);
  read(p[0], b, 1), wt(e, 0);
  R(add(e, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLET, 2));
  wt(e, 0), wt(e, 0);
  read(p[0], b, 60);
  SECTION("oneshot");
  R(add(e, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 3));
  write(p[1], "c", 1), wt(e, 0), wt(e, 0);
  write(p[1], "c", 1), wt(e, 0);
  R(add(e, EPOLL_CTL_MOD, p[0], EPOLLIN | EPOLLONESHOT, 4));
  wt(e, 0), wt(e, 0);
  SECTION("hang-up, write side, errors");
  R(add(e, EPOLL_CTL_ADD, q[1], EPOLLOUT, 5));
  wt(e, 0);
  close(q[0]), wt(e, 0);
  close(q[1]), wt(e, 0);
  R(add(e, EPOLL_CTL_DEL, p[0], 0, 0));
  close(p[1]);
  R(add(e, EPOLL_CTL_ADD, p[0], 0, 6));
  wt(e, 0);
  SECTION("closing, duplicates");
  int d = dup(p[0]);
  R(add(e, EPOLL_CTL_ADD, d, EPOLLIN, 7));
  wt(e, 0);
  close(p[0]);
  wt(e, 0);
  close(d);
  wt(e, 0);
  SECTION("sockets: RDHUP");
  int s[2];
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s);
  add(e, EPOLL_CTL_ADD, s[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 8);
  wt(e, 0), wt(e, 0);
  write(s[1], "x", 1), wt(e, 0);
  shutdown(s[1], SHUT_WR), wt(e, 0);
  close(s[1]), wt(e, 0);
  close(s[0]);
  SECTION("nested");
  int in = epoll_create1(0), ev = eventfd(0, EFD_NONBLOCK);
  R(add(in, EPOLL_CTL_ADD, ev, EPOLLIN, 1));
  R(add(e, EPOLL_CTL_ADD, in, EPOLLIN, 9));
  R(add(in, EPOLL_CTL_ADD, e, EPOLLIN, 9));
  wt(e, 0);
  eventfd_write(ev, 1), wt(e, 0), wt(in, 0);
  struct pollfd pf = {e, POLLIN, 0};
  R(poll(&pf, 1, 0));
  eventfd_t val;
  eventfd_read(ev, &val), wt(e, 0);
  R(poll(&pf, 1, 0));
  int chain = in, k = 0;
  for (; k < 8; k++) { int n = epoll_create1(0); if (add(n, EPOLL_CTL_ADD, chain, EPOLLIN, 0)) break; chain = n; }
  printf("depth: %d %s\n", k, t_res(-1));
  close(in);
  SECTION("exclusive");
  R(add(e, EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLEXCLUSIVE, 10));
  R(add(e, EPOLL_CTL_MOD, ev, EPOLLIN, 10));
  R(add(e, EPOLL_CTL_DEL, ev, 0, 10));
  R(add(e, EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 10));
  R(add(e, EPOLL_CTL_ADD, ev, EPOLLIN | EPOLLEXCLUSIVE, 10));
  eventfd_write(ev, 3), wt(e, 0);
  SECTION("waiting");
  eventfd_read(ev, &val);
  long t = t_ms();
  wt(e, 40);
  CK(t_ms() - t >= 39);
  pid_t c = fork();
  if (!c) { t_sleep(40); eventfd_write(ev, 1); _exit(0); }
  wt(e, -1);
  t_wait(c);
  eventfd_read(ev, &val);
  struct sigaction sa = {.sa_handler = h, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &sa, 0), sigaction(SIGUSR1, &sa, 0);
  struct itimerval it = {{0, 0}, {0, 30000}};
  setitimer(ITIMER_REAL, &it, 0);
  wt(e, -1);
  sigset_t m, none;
  sigemptyset(&none), sigemptyset(&m), sigaddset(&m, SIGUSR1);
  sigprocmask(SIG_BLOCK, &m, 0);
  raise(SIGUSR1);
  R(epoll_pwait(e, v, 4, 1000, &none));
  struct timespec ts = {0, 20000000};
  R(syscall(441, e, v, 4, &ts, NULL, 8));
  ts.tv_nsec = 2000000000;
  R(syscall(441, e, v, 4, &ts, NULL, 8));
  SECTION("more ready than room: round robin");
  int fds[6], r = epoll_create1(0);
  for (int i = 0; i < 6; i++) fds[i] = eventfd(1, 0), add(r, EPOLL_CTL_ADD, fds[i], EPOLLIN, i);
  int seen = 0;
  for (int i = 0; i < 3; i++) { int n = epoll_wait(r, v, 2, 0); for (int j = 0; j < n; j++) seen |= 1 << v[j].data.u64; }
  X(seen);
  SECTION("shared after fork");
  CHILDST("child", add(r, EPOLL_CTL_DEL, fds[0], 0, 0));
  R(add(r, EPOLL_CTL_DEL, fds[0], 0, 0));
  SECTION("devices"), devices();
  SECTION("paths"), paths();
}

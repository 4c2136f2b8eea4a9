/* Pipes: end of file, SIGPIPE, atomic writes, non-blocking, sizes, packet mode. */
#include "t.h"
static int got;
static void h(int s) { got = s; }
TEST {
  int p[2];
  char b[70000] = {0};
  R(pipe(p));
  R(write(p[1], "hello", 5));
  R(read(p[0], b, 3));
  R(read(p[0], b, 100));
  R(read(p[1], b, 1));
  R(write(p[0], b, 1));
  R(lseek(p[0], 0, SEEK_SET));
  R(pread(p[0], b, 1, 0));
  R(write(p[1], b, 0));
  R(fsync(p[0]));
  R(fcntl(p[0], F_SETFL, O_NONBLOCK));
  R(read(p[0], b, 1));
  R(read(p[0], b, 0));
  SECTION("end of file, broken pipe");
  write(p[1], "ab", 2), close(p[1]);
  R(read(p[0], b, 10));
  R(read(p[0], b, 10));
  close(p[0]);
  pipe(p), close(p[0]);
  signal(SIGPIPE, h);
  R(write(p[1], "x", 1));
  S(t_sig(got));
  R(write(p[1], "x", 0));
  signal(SIGPIPE, SIG_IGN);
  R(write(p[1], "x", 1));
  CHILDST("default", signal(SIGPIPE, SIG_DFL); write(p[1], "x", 1));
  close(p[1]);
  SECTION("capacity");
  pipe2(p, O_NONBLOCK);
  R(fcntl(p[0], F_GETPIPE_SZ));
  R(write(p[1], b, 70000));
  R(write(p[1], b, 1));
  R(read(p[0], b, 4095));
  R(write(p[1], b, 1));
  R(read(p[0], b, 1));
  R(write(p[1], b, 4096));
  R(write(p[1], b, 1));
  R(read(p[0], b, 4096));
  R(write(p[1], b, 4097));
  R(write(p[1], b, 10000));
  int n;
  R(ioctl(p[0], FIONREAD, &n));
  R(n);
  R(fcntl(p[1], F_SETPIPE_SZ, 4096));
  close(p[0]), close(p[1]);
  pipe2(p, O_NONBLOCK);
  R(fcntl(p[1], F_SETPIPE_SZ, 5000));
  R(fcntl(p[1], F_SETPIPE_SZ, 1));
  R(write(p[1], b, 8192));
  R(fcntl(p[1], F_SETPIPE_SZ, 1 << 20));
  R(fcntl(p[1], F_SETPIPE_SZ, 0));
  R(fcntl(p[1], F_SETPIPE_SZ, -1));
  close(p[0]), close(p[1]);
  SECTION("blocking writer is woken");
  pipe(p);
  pid_t c = fork();
  if (!c) {
    close(p[0]);
    long k = write(p[1], b, 70000);
    _exit(k == 70000 ? 7 : 1);
  }
  close(p[1]);
  ASLEEP(c);
  long t = 0, r;
  while ((r = read(p[0], b, 1000)) > 0) t += r;
  R(t);
  printf("writer: %s\n", t_status(t_wait(c)));
  close(p[0]);
  SECTION("blocked writer, reader leaves");
  pipe(p);
  signal(SIGPIPE, SIG_DFL);
  c = fork();
  if (!c) { close(p[0]); write(p[1], b, 70000); _exit(1); }
  close(p[1]);
  ASLEEP(c);
  close(p[0]);
  printf("writer: %s\n", t_status(t_wait(c)));
  SECTION("a partial write is told, then the signal");
  pipe(p);
  struct sigaction sa = {.sa_handler = h};
  sigaction(SIGUSR1, &sa, 0);
  c = fork();
  if (!c) { long k = write(p[1], b, 70000); R(k); k = write(p[1], b, 10); _exit(k == -1 ? 3 : 0); }
  ASLEEP(c);
  kill(c, SIGUSR1);
  t_sleep(50), ASLEEP(c);
  kill(c, SIGUSR1);
  printf("writer: %s\n", t_status(t_wait(c)));
  close(p[0]), close(p[1]);
  SECTION("writes up to PIPE_BUF stay whole");
  pipe(p);
  for (int i = 0; i < 4; i++)
    if (!fork()) {
      char m[512];
      memset(m, 'a' + i, sizeof m);
      for (int j = 0; j < 200; j++) write(p[1], m, sizeof m);
      _exit(0);
    }
  close(p[1]);
  int torn = 0, msgs = 0;
  for (;;) {
    char m[512];
    size_t have = 0;
    while (have < sizeof m && (r = read(p[0], m + have, sizeof m - have)) > 0) have += r;
    if (have < sizeof m) break;
    msgs++;
    for (size_t i = 1; i < sizeof m; i++) torn += m[i] != m[0];
  }
  while (wait(0) > 0) {}
  R(msgs);
  R(torn);
  close(p[0]);
  SECTION("O_DIRECT: packets");
  pipe2(p, O_DIRECT | O_NONBLOCK);
  R(write(p[1], "abc", 3));
  R(write(p[1], "de", 2));
  R(read(p[0], b, 100));
  R(read(p[0], b, 1));
  R(read(p[0], b, 100));
  SECTION("many bytes between processes");
  pipe(p);
  c = fork();
  if (!c) {
    unsigned x = 1;
    for (int i = 0; i < 300; i++) {
      for (int j = 0; j < 7001; j++) x = x * 1103515245 + 12345, b[j] = x >> 16;
      for (long o = 0; o < 7001;) o += write(p[1], b + o, 7001 - o);
    }
    _exit(0);
  }
  close(p[1]);
  unsigned x = 1, bad = 0;
  t = 0;
  while ((r = read(p[0], b, 5555)) > 0)
    for (long j = 0; j < r; j++, t++) x = x * 1103515245 + 12345, bad += b[j] != (char)(x >> 16);
  R(t);
  R(bad);
  t_wait(c);
}

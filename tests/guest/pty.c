/* Pseudo-terminals: opening, sizes, line discipline, signals to the foreground group, hang-up. */
#include "t.h"
#include <termios.h>
static int m, s;
static char name[64];
static struct termios dflt;
static void show(const char *w, int fd, int ms) {
  char b[512];
  struct pollfd p = {fd, POLLIN, 0};
  printf("%s:", w);
  if (poll(&p, 1, ms) <= 0) { printf(" nothing\n"); return; }
  long n = read(fd, b, sizeof b);
  if (n < 0) printf(" %s", t_res(n));
  else printf(" %ld '", n);
  for (long i = 0; i < n; i++) if (b[i] >= ' ' && b[i] < 127) putchar(b[i]); else printf("\\x%02x", (unsigned char)b[i]);
  printf("%s\n", n < 0 ? "" : "'");
}
static void put(const char *t) { write(m, t, strlen(t)); }
static void set(int on, int off, int iflags, int oflags) {
  struct termios t = dflt;
  t.c_lflag = (t.c_lflag | on) & ~off;
  if (iflags >= 0) t.c_iflag = iflags;
  if (oflags >= 0) t.c_oflag = oflags;
  tcsetattr(s, TCSANOW, &t);
}
static void both(const char *w) { show(w, s, 50); show("  echo", m, 20); }
static volatile int winch, hup, cont;
static void h(int g) { if (g == SIGWINCH) winch++; if (g == SIGHUP) hup++; if (g == SIGCONT) cont++; }
static void fresh(void) {
  m = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  grantpt(m), unlockpt(m);
  strcpy(name, ptsname(m));
  s = MUST(open(name, O_RDWR | O_NOCTTY));
}
TEST {
  SECTION("opening");
  m = OK(posix_openpt(O_RDWR | O_NOCTTY));
  R(grantpt(m));
  strcpy(name, ptsname(m));
  R(strncmp(name, "/dev/pts/", 9));
  R(open(name, O_RDWR | O_NOCTTY));
  R(unlockpt(m));
  s = OK(open(name, O_RDWR | O_NOCTTY));
  R(isatty(s));
  R(isatty(m));
  CK(!strcmp(ttyname(s), name));
  struct stat st;
  stat(name, &st);
  CK(S_ISCHR(st.st_mode) && st.st_uid == geteuid() && st.st_rdev >> 8 == 136);
  R(lseek(s, 0, SEEK_SET));
  R(pread(s, name + 40, 1, 0));
  int n = -1;
  R(ioctl(m, TIOCGPTN, &n));
  CK(n == atoi(name + 9));
  SECTION("attributes");
  R(tcgetattr(s, &dflt));
  X(dflt.c_iflag);
  X(dflt.c_oflag);
  X(dflt.c_cflag);
  X(dflt.c_lflag);
  R(cfgetospeed(&dflt) == B38400);
  for (int i = 0; i < 17; i++) printf("%d ", dflt.c_cc[i]);
  printf("\n");
  struct winsize w;
  R(ioctl(s, TIOCGWINSZ, &w));
  R(w.ws_row + w.ws_col);
  w = (struct winsize){24, 80, 0, 0};
  R(ioctl(m, TIOCSWINSZ, &w));
  memset(&w, 0, sizeof w);
  ioctl(s, TIOCGWINSZ, &w);
  R(w.ws_row * 1000 + w.ws_col);
  R(ioctl(s, TIOCGWINSZ, (void *)8));
  R(tcgetattr(0, &dflt) < 0 ? 1 : 0);
  tcgetattr(s, &dflt);
  SECTION("canonical, echo");
  put("hello\n"), both("line");
  put("part"), both("unfinished");
  put("ial\n"), both("finished");
  put("ab\x7f" "c\n"), both("erase");
  put("wrong\x15right\n"), both("kill");
  put("two words\x17" "one\n"), both("word erase");
  put("\x7f\x7f" "x\n"), both("erase at the start");
  put("eof\x04"), both("EOF after text");
  put("\x04"), both("EOF alone");
  put("a\x16\x03" "b\n"), both("literal next");
  put("one\ntwo\n"), show("first of two", s, 50), show("second", s, 50), show("  echo", m, 20);
  put("cr\r"), both("CR to NL");
  put("a\tb\x01\n"), both("control");
  put("reprint\x12\n"), both("reprint");
  put("\xc3\xa9\xe2\x82\xac\x7f\x7f!\n"), both("bytes, not IUTF8");
  set(0, 0, dflt.c_iflag | IUTF8, -1);
  put("\xc3\xa9\xe2\x82\xac\x7f!\n"), both("IUTF8");
  put("abc"), t_sleep(20);
  R(ioctl(s, FIONREAD, &n) ?: n);
  put("\n");
  struct pollfd rd = {s, POLLIN, 0};
  R(poll(&rd, 1, 2000));
  R(ioctl(s, FIONREAD, &n) ?: n);
  both("abc");
  SECTION("modes");
  set(0, ECHO, -1, -1), put("silent\n"), both("no echo");
  set(ECHONL, ECHO, -1, -1), put("nl\n"), both("ECHONL");
  set(0, ECHOE, -1, -1), put("ab\x7f\n"), both("no ECHOE");
  set(0, ECHOCTL, -1, -1), put("a\x01\n"), both("no ECHOCTL");
  set(0, 0, 0, -1), put("cr\rnl\n"), both("no ICRNL");
  set(0, 0, INLCR, -1), put("nl\n\r"), both("INLCR"), put("\x04"), both("rest");
  set(0, 0, IGNCR | ICRNL, -1), put("x\ry\n"), both("IGNCR");
  set(0, 0, ISTRIP | ICRNL, -1), put("\xe1\n"), both("ISTRIP");
  set(0, 0, IUCLC | ICRNL, -1), put("UP\n"), both("IUCLC without IEXTEN"), tcsetattr(s, TCSANOW, &dflt);
  SECTION("raw");
  set(0, ICANON | ECHO | ISIG | IEXTEN, 0, 0);
  put("a\x03\x04\r\n\x7f"), both("raw");
  struct termios t;
  tcgetattr(s, &t), t.c_cc[VMIN] = 0, t.c_cc[VTIME] = 0, tcsetattr(s, TCSANOW, &t);
  char b[64];
  R(read(s, b, 10));
  t.c_cc[VTIME] = 1, tcsetattr(s, TCSANOW, &t);
  long t0 = t_ms();
  R(read(s, b, 10));
  CK(t_ms() - t0 >= 90 && t_ms() - t0 < 3000);
  t.c_cc[VMIN] = 3, t.c_cc[VTIME] = 0, tcsetattr(s, TCSANOW, &t);
  pid_t c = fork();
  if (!c) { put("1"); t_sleep(20); put("2"); t_sleep(20); put("345"); _exit(0); }
  long got = read(s, b, 10);
  CK(got >= 3);
  t_wait(c);
  t.c_cc[VMIN] = 10, t.c_cc[VTIME] = 1, tcsetattr(s, TCSANOW, &t);
  fcntl(s, F_SETFL, O_NONBLOCK), read(s, b, 10), fcntl(s, F_SETFL, 0);
  put("xy");
  R(read(s, b, 10));
  fcntl(s, F_SETFL, O_NONBLOCK);
  R(read(s, b, 10));
  fcntl(s, F_SETFL, 0);
  SECTION("output");
  tcsetattr(s, TCSANOW, &dflt);
  write(s, "a\nb\tc", 5), show("ONLCR", m, 50);
  set(0, 0, -1, OPOST | OCRNL), write(s, "a\rb\n", 4), show("OCRNL", m, 50);
  set(0, 0, -1, OPOST | ONLCR | XTABS), write(s, "a\tb\n\tc\n", 7), show("XTABS", m, 50);
  set(0, 0, -1, OPOST | OLCUC), write(s, "lower", 5), show("OLCUC", m, 50);
  set(0, 0, -1, 0), write(s, "a\nb", 3), show("no OPOST", m, 50);
  tcsetattr(s, TCSANOW, &dflt);
  SECTION("flushing, switching modes");
  put("dropped\n"), t_sleep(20);
  R(tcflush(s, TCIFLUSH));
  show("flushed", s, 20), show("  echo", m, 20);
  put("typed"), t_sleep(10), set(0, ICANON, -1, -1), both("typed before raw");
  put("xyz"), t_sleep(10), tcsetattr(s, TCSAFLUSH, &dflt), show("TCSAFLUSH", s, 20), show("  echo", m, 20);
  R(tcdrain(s));
  R(tcflow(s, TCOOFF));
  c = fork();
  if (!c) { write(s, "held", 4); _exit(0); }
  show("stopped", m, 30);
  R(tcflow(s, TCOON));
  show("going", m, 500);
  t_wait(c);
  put("\x13"), t_sleep(10);
  c = fork();
  if (!c) { write(s, "xoff", 4); _exit(0); }
  show("Ctrl-S", m, 30), put("\x11"), show("Ctrl-Q", m, 500);
  t_wait(c);
  SECTION("hang-up");
  close(s);
  show("master without slave", m, 50);
  s = open(name, O_RDWR | O_NOCTTY);
  close(m);
  show("slave without master", s, 50);
  R(write(s, "x", 1));
  struct pollfd p = {s, POLLIN | POLLOUT, 0};
  poll(&p, 1, 0);
  X(p.revents);
  R(ioctl(s, TCGETS, &t));
  R(open(name, O_RDWR | O_NOCTTY));
  close(s);
  SECTION("controlling terminal");
  CHILDST("no terminal", setsid(); R(open("/dev/tty", O_RDWR)); fresh(); R(tcgetpgrp(s)); R(open("/dev/tty", O_RDWR)); R(ioctl(s, TIOCSCTTY, 0));
          OK(open("/dev/tty", O_RDWR)); CK(tcgetpgrp(s) == getpid()); CK(tcgetsid(s) == getpid()); CK(tcgetpgrp(m) == getpid()); R(tcsetpgrp(s, 999999)); R(tcsetpgrp(s, getppid())); R(ioctl(s, TIOCSCTTY, 0));
          signal(SIGHUP, SIG_IGN); R(ioctl(s, TIOCNOTTY)); R(open("/dev/tty", O_RDWR)));
  CHILDST("open takes it", setsid(); m = posix_openpt(O_RDWR | O_NOCTTY); unlockpt(m); s = open(ptsname(m), O_RDWR); OK(open("/dev/tty", O_RDWR)); CK(tcgetpgrp(s) == getpid()));
  SECTION("signals");
  struct { const char *k; int sig; } keys[] = {{"\x03", SIGINT}, {"\x1c", SIGQUIT}, {"\x1a", SIGTSTP}};
  for (int i = 0; i < 3; i++)
    CHILDST(t_sig(keys[i].sig), setsid(); fresh(); ioctl(s, TIOCSCTTY, 0); signal(SIGTTOU, SIG_IGN); pid_t f = fork();
            if (!f) { setpgid(0, 0); tcsetpgrp(s, getpid()); for (;;) pause(); }
            setpgid(f, f); UNTIL(tcgetpgrp(s) == f); put(keys[i].k); int q; waitpid(f, &q, WUNTRACED); S(t_status(q)); kill(f, SIGKILL); show("  echo", m, 50));
  CHILDST("background read", setsid(); fresh(); ioctl(s, TIOCSCTTY, 0); pid_t f = fork(); if (!f) { setpgid(0, 0); read(s, b, 1); _exit(0); } int q;
          waitpid(f, &q, WUNTRACED); S(t_status(q)); kill(f, SIGKILL));
  CHILDST("background read, ignored", setsid(); fresh(); ioctl(s, TIOCSCTTY, 0); pid_t f = fork(); if (!f) { signal(SIGTTIN, SIG_IGN); setpgid(0, 0); R(read(s, b, 1)); _exit(0); } t_wait(f));
  CHILDST("background write, TOSTOP", setsid(); fresh(); ioctl(s, TIOCSCTTY, 0); pid_t f = fork(); if (!f) { setpgid(0, 0); R(write(s, "x", 1)); set(TOSTOP, 0, -1, -1); _exit(0); } int q;
          waitpid(f, &q, WUNTRACED); S(t_status(q)); kill(f, SIGKILL));
  CHILDST("SIGWINCH", setsid(); fresh(); ioctl(s, TIOCSCTTY, 0); signal(SIGWINCH, h); w.ws_col = 99; ioctl(m, TIOCSWINSZ, &w); CK(UNTIL(winch == 1)); ioctl(m, TIOCSWINSZ, &w); t_sleep(20); R(winch));
  CHILDST("hang-up", setsid(); fresh(); ioctl(s, TIOCSCTTY, 0); signal(SIGHUP, h); signal(SIGCONT, h); close(m); CK(UNTIL(hup == 1 && cont == 1)); R(open("/dev/tty", O_RDWR)); R(read(s, b, 1)));
  CHILDST("the leader ends", pid_t f = fork(); if (!f) { setsid(); fresh(); ioctl(s, TIOCSCTTY, 0); pid_t g = fork(); if (!g) { pause(); _exit(0); } _exit(0); } t_wait(f));
  SECTION("packet mode, TIOCSTI");
  fresh();
  n = 1;
  R(ioctl(m, TIOCPKT, &n));
  write(s, "data", 4), show("packet", m, 50);
  tcflush(s, TCIFLUSH), show("flush", m, 50);
  R(ioctl(s, 0x5499, 0));
}

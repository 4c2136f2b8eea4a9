/* execve: arguments, environment, scripts, errors, what survives it. */
#include "t.h"
#include <elf.h>
#include <sys/auxv.h>
static char self[4096];
static void h(int s) { (void)s; }
static void show(int argc, char **argv) {
  extern char **environ;
  printf("  argc %d:", argc - 1);
  for (int i = 2; i < argc; i++) printf(" [%s]", argv[i]);
  printf("\n  env:");
  for (char **e = environ; *e; e++) printf(" [%s]", *e);
  printf("\n");
  exit(17);
}
static void survive(void) {
  sigset_t m;
  struct sigaction a, b;
  char n[16];
  sigprocmask(0, 0, &m);
  R(sigismember(&m, SIGUSR1));
  sigpending(&m);
  R(sigismember(&m, SIGUSR1));
  sigaction(SIGUSR2, 0, &a), sigaction(SIGHUP, 0, &b);
  CK(a.sa_handler == SIG_DFL && b.sa_handler == SIG_IGN);
  R(fcntl(50, F_GETFD));
  R(fcntl(51, F_GETFD));
  prctl(PR_GET_NAME, n);
  S(n);
  X(umask(0));
  struct itimerval it;
  getitimer(ITIMER_REAL, &it);
  CK(it.it_value.tv_sec > 50);
  stack_t s;
  sigaltstack(NULL, &s);
  X(s.ss_flags);
  R(getpriority(PRIO_PROCESS, 0));
  R(prctl(PR_GET_DUMPABLE));
  R(prctl(PR_GET_PDEATHSIG, &(int){0}));
  exit(0);
}
static void aux(void) {
  CK(getauxval(AT_PAGESZ) == 4096 && getauxval(AT_CLKTCK) == 100);
  CK(getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid());
  R(getauxval(AT_SECURE));
  R(getauxval(AT_PHENT));
  CK(getauxval(AT_RANDOM) != 0);
  CK(getauxval(AT_SYSINFO_EHDR) != 0 && !memcmp((void *)getauxval(AT_SYSINFO_EHDR), ELFMAG, 4));
  CK(getauxval(AT_HWCAP) != 0 && !strcmp((char *)getauxval(AT_PLATFORM), "x86_64"));
  CK(!strcmp((char *)getauxval(AT_EXECFN), self));
  CK((uintptr_t)__builtin_frame_address(0) % 16 == 0);
  char l[4096] = {0};
  readlink("/proc/self/exe", l, sizeof l - 1);
  CK(!strcmp(strrchr(l, '/'), strrchr(self, '/')));
  exit(0);
}
static int q[2];
static void *execer(void *a) {
  dup2(q[1], 1);
  execl("/bin/sh", "sh", "-c", "echo $$; ls /proc/self/task | wc -l", (char *)0);
  return a;
}
static void *idle(void *a) { for (;;) pause(); return a; }
static int run(const char *p, char **av, char **ev) {
  return CHILD(execve(p, av, ev); printf("  execve: %s\n", t_res(-1)); _exit(126));
}
#define RUN(p, ...) printf("%s: %s\n", p, t_status(run(p, (char *[]){__VA_ARGS__, NULL}, (char *[]){"A=1", "B=", NULL})))
static void script(const char *n, const char *text) { t_write(n, text); chmod(n, 0755); }
TEST {
  strcpy(self, argv[0]);
  if (argc > 1 && !strcmp(argv[1], "show")) show(argc, argv);
  if (argc > 1 && !strcmp(argv[1], "survive")) survive();
  if (argc > 1 && !strcmp(argv[1], "aux")) aux();
  if (argc > 1 && !strcmp(argv[1], "hold")) for (;;) pause();
  if (argc > 2) show(argc, argv);
  t_tmpdir();
  symlink(self, "me");
  SECTION("arguments");
  RUN("./me", "me", "show", "a b", "", "\xff");
  CHILDST("empty env", char *ev[] = {NULL}, *av[] = {"me", "show", NULL}; execve("me", av, ev));
  CHILDST("aux", execl(self, self, "aux", (char *)0));
  SECTION("errors");
  RUN("./none", "x");
  RUN(".", "x");
  RUN("", "x");
  script("noexec", "x"), chmod("noexec", 0644);
  RUN("./noexec", "x");
  script("junk", "this is no program");
  RUN("./junk", "x");
  script("empty", "");
  RUN("./empty", "x");
  script("shortelf", "\177ELF\2\1\1");
  RUN("./shortelf", "x");
  Elf64_Ehdr e = {.e_ident = "\177ELF\2\1\1", .e_type = ET_EXEC, .e_machine = EM_ARM, .e_phentsize = 56, .e_phnum = 1};
  int f = open("arm", O_CREAT | O_RDWR, 0755);
  write(f, &e, sizeof e), write(f, &e, sizeof e), close(f);
  RUN("./arm", "x");
  RUN("./me/x", "x");
  R(execve((void *)8, (char *[]){"x", NULL}, NULL));
  R(execve(self, (char **)8, NULL));
  R(execve(self, (char *[]){(char *)8, NULL}, NULL));
  mkdir("d", 0755), script("d/x", "#!/bin/sh\nexit 1\n"), chmod("d", 0);
  if (geteuid()) RUN("d/x", "x");
  chmod("d", 0755);
  SECTION("scripts");
  char t[5000];
  snprintf(t, sizeof t, "#!%s show one two  \nrest\n", self);
  script("s1", t);
  RUN("./s1", "name", "arg");
  snprintf(t, sizeof t, "#! \t %s\n", self);
  script("s2", t);
  RUN("./s2", "name", "arg", "more");
  script("s3", "#!/none/such\n");
  RUN("./s3", "x");
  script("s4", "#!\n");
  RUN("./s4", "x");
  script("s5", "#!./s1\n");
  RUN("./s5", "x", "y");
  script("r0", "#!/bin/sh\nexit 5\n");
  for (int i = 1; i < 8; i++) { char n[8]; snprintf(n, 8, "r%d", i), snprintf(t, sizeof t, "#!./r%d\n", i - 1), script(n, t); }
  RUN("./r1", "x");
  RUN("./r3", "x");
  RUN("./r5", "x");
  RUN("./r7", "x");
  script("sh", "#!/bin/sh\necho script $1 $#; exit 4\n");
  RUN("./sh", "sh", "p", "q");
  script("nl", "#!/bin/sh");
  RUN("./nl", "x");
  memset(t, ' ', 400), memcpy(t, "#!/bin/sh", 9), strcpy(t + 400, "\n");
  script("long", t);
  RUN("./long", "x");
  memset(t, 'x', 400), memcpy(t, "#!/", 3);
  script("toolong", t);
  RUN("./toolong", "x");
  SECTION("too big");
  char *big = malloc(200000);
  memset(big, 'a', 200000), big[131071] = 0;
  CHILDST("131071", execl("/bin/true", "x", big, (char *)0); R(-1));
  big[131071] = 'a', big[131072] = 0;
  CHILDST("131072", execl("/bin/true", "x", big, (char *)0); printf("%s\n", t_res(-1)));
  big[131072] = 'a', big[100000] = 0;
  char **many = calloc(101, sizeof *many);
  for (int i = 0; i < 100; i++) many[i] = big;
  CHILDST("10 MB", execv("/bin/true", many); printf("%s\n", t_res(-1)));
  many[15] = NULL;
  CHILDST("1.5 MB", execv("/bin/true", many); printf("%s\n", t_res(-1)));
  SECTION("busy text");
  f = open("copy", O_CREAT | O_RDWR, 0755);
  int s = open(self, O_RDONLY);
  for (long n; (n = read(s, t, 4096)) > 0;) write(f, t, n);
  RUN("./copy", "copy", "show");
  close(f);
  RUN("./copy", "copy", "show");
  pid_t c;
  int ready[2];
  pipe2(ready, O_CLOEXEC);
  c = fork();
  if (!c) { execl("./copy", "copy", "hold", (char *)0); _exit(1); }
  close(ready[1]), read(ready[0], t, 1);
  R(open("copy", O_RDWR));
  R(truncate("copy", 0));
  R(unlink("copy"));
  kill(c, SIGKILL), t_wait(c);
  SECTION("what survives");
  sigset_t m;
  sigemptyset(&m), sigaddset(&m, SIGUSR1);
  CHILDST("survive", sigprocmask(SIG_BLOCK, &m, 0); raise(SIGUSR1); signal(SIGUSR2, h); signal(SIGHUP, SIG_IGN); dup2(1, 50);
          dup3(1, 51, O_CLOEXEC); umask(027); nice(2); struct itimerval it = {{0, 0}, {100, 0}}; setitimer(ITIMER_REAL, &it, 0);
          stack_t ss = {.ss_sp = malloc(65536), .ss_size = 65536}; sigaltstack(&ss, 0); prctl(PR_SET_NAME, "other");
          prctl(PR_SET_PDEATHSIG, SIGUSR1); execl("me", "me", "survive", (char *)0));
  SECTION("execveat");
  int d = open(".", O_RDONLY | O_DIRECTORY), x = open(self, O_RDONLY | O_CLOEXEC);
  char *av[] = {"at", "show", "x", NULL}, *ev[] = {"E=1", NULL};
  CHILDST("dir", syscall(SYS_execveat, d, "me", av, ev, 0));
  CHILDST("empty path", syscall(SYS_execveat, x, "", av, ev, AT_EMPTY_PATH));
  CHILDST("nofollow", syscall(SYS_execveat, d, "me", av, ev, AT_SYMLINK_NOFOLLOW); printf("%s\n", t_res(-1)));
  CHILDST("bad flag", syscall(SYS_execveat, d, "me", av, ev, 1 << 20); printf("%s\n", t_res(-1)));
  CHILDST("bad fd", syscall(SYS_execveat, 99, "me", av, ev, 0); printf("%s\n", t_res(-1)));
  int sf = open("sh", O_RDONLY | O_CLOEXEC);
  CHILDST("script by closing fd", syscall(SYS_execveat, sf, "", av, ev, AT_EMPTY_PATH); printf("%s\n", t_res(-1)));
  SECTION("from a thread: the others go, the pid stays");
  pipe(q);
  c = fork();
  if (!c) {
    pthread_t th;
    pthread_create(&th, 0, idle, 0), pthread_create(&th, 0, execer, 0);
    for (;;) pause();
  }
  close(q[1]);
  S(t_status(t_wait(c)));
  memset(t, 0, sizeof t);
  for (long n, o = 0; (n = read(q[0], t + o, 1000)) > 0; o += n) {}
  CK(atoi(t) == c);
  S(strchr(t, '\n'));
}

/* System V shared memory, semaphores and message queues. */
#include "t.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
union semun { int val; struct semid_ds *buf; unsigned short *array; };
static int op(int id, int n, int v, int f) { struct sembuf s = {n, v, f}; return semop(id, &s, 1); }
static struct { long type; char text[100]; } m;
static long snd(int q, long ty, const char *t, int f) { m.type = ty; strcpy(m.text, t); return msgsnd(q, &m, strlen(t) + 1, f); }
static void h(int s) { (void)s; }
TEST {
  SECTION("shm");
  int id = shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600);
  if (id < 0 && errno == ENOSYS) exit(77);
  CK(id >= 0);
  char *a = shmat(id, 0, 0), *b = shmat(id, 0, SHM_RDONLY);
  strcpy(a, "shared");
  S(b);
  CHILDST("child", strcpy(a, "by child"));
  S(b);
  CHILDST("read-only", signal(SIGSEGV, SIG_DFL); b[0] = 1);
  struct shmid_ds d;
  R(shmctl(id, IPC_STAT, &d));
  R(d.shm_segsz);
  R(d.shm_nattch);
  X(d.shm_perm.mode);
  CK(d.shm_cpid == getpid());
  R(shmdt(b));
  R(shmdt(b));
  R(shmctl(id, IPC_RMID, 0));
  shmctl(id, IPC_STAT, &d);
  X(d.shm_perm.mode);
  S(a);
  R(shmdt(a));
  R(shmctl(id, IPC_STAT, &d));
  R(shmat(id, 0, 0) == (void *)-1 ? -1 : 0);
  key_t key = 0x52000000 + getpid();
  R(shmget(key, 4096, 0600));
  id = OK(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600));
  R(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600));
  R(shmget(key, 8192, 0600));
  CK(shmget(key, 0, 0) == id);
  R(shmget(IPC_PRIVATE, 0, 0600));
  R(shmat(id, (void *)1, 0) == (void *)-1 ? -1 : 0);
  R(shmctl(id, 99, 0));
  R(shmctl(id, IPC_RMID, 0));
  R(shmctl(id, IPC_RMID, 0));
  SECTION("sem");
  int s = OK(semget(IPC_PRIVATE, 3, 0600));
  unsigned short v[3] = {1, 0, 5};
  R(semctl(s, 0, SETALL, (union semun){.array = v}));
  R(semctl(s, 2, GETVAL));
  R(op(s, 0, -1, 0));
  R(op(s, 0, -1, IPC_NOWAIT));
  R(op(s, 1, 0, 0));
  R(op(s, 2, 0, IPC_NOWAIT));
  R(op(s, 3, 1, 0));
  R(semctl(s, 9, GETVAL));
  R(semctl(s, 0, SETVAL, (union semun){.val = 40000}));
  struct sembuf two[2] = {{2, -5, 0}, {0, -1, IPC_NOWAIT}};
  R(semop(s, two, 2));
  R(semctl(s, 2, GETVAL));
  struct timespec t = {0, 30000000};
  struct sembuf w = {0, -1, 0};
  R(semtimedop(s, &w, 1, &t));
  pid_t c = fork();
  if (!c) _exit(op(s, 0, -1, 0) ? 1 : 5);
  ASLEEP(c);
  R(semctl(s, 0, GETNCNT));
  R(op(s, 0, 1, 0));
  S(t_status(t_wait(c)));
  CK(semctl(s, 0, GETPID) == c);
  CHILDST("SEM_UNDO", op(s, 2, -3, SEM_UNDO); R(semctl(s, 2, GETVAL)));
  R(semctl(s, 2, GETVAL));
  signal(SIGALRM, h);
  struct sigaction sa = {.sa_handler = h, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &sa, 0);
  struct itimerval it = {{0, 0}, {0, 30000}};
  setitimer(ITIMER_REAL, &it, 0);
  R(op(s, 0, -1, 0));
  c = fork();
  if (!c) _exit(op(s, 0, -1, 0) < 0 && errno == EIDRM ? 4 : 1);
  ASLEEP(c);
  R(semctl(s, 0, IPC_RMID));
  S(t_status(t_wait(c)));
  R(op(s, 0, 1, 0));
  SECTION("msg");
  int q = OK(msgget(IPC_PRIVATE, 0600));
  R(snd(q, 3, "three", 0)), R(snd(q, 1, "one", 0)), R(snd(q, 2, "two", 0)), R(snd(q, 3, "three again", 0));
  R(snd(q, 0, "x", 0));
  R(msgrcv(q, &m, 100, 3, 0));
  S(m.text);
  R(msgrcv(q, &m, 100, -2, 0));
  S(m.text);
  R(msgrcv(q, &m, 2, 0, IPC_NOWAIT));
  R(msgrcv(q, &m, 2, 0, MSG_NOERROR));
  R(msgrcv(q, &m, 100, 9, IPC_NOWAIT));
  R(msgrcv(q, &m, 100, 9, MSG_EXCEPT));
  S(m.text);
  R(msgrcv(q, &m, 100, 0, IPC_NOWAIT));
  c = fork();
  if (!c) { long n = msgrcv(q, &m, 100, 0, 0); _exit(n); }
  ASLEEP(c);
  snd(q, 1, "wake", 0);
  S(t_status(t_wait(c)));
  int n = 0;
  static struct { long t; char b[8192]; } big = {1, {0}};
  while (!msgsnd(q, &big, 8192, IPC_NOWAIT)) n++;
  printf("%d %s\n", n, t_res(-1));
  R(msgsnd(q, &big, 8193, 0));
  c = fork();
  if (!c) _exit(msgsnd(q, &big, 8192, 0) < 0 && errno == EIDRM ? 4 : 1);
  ASLEEP(c);
  R(msgctl(q, IPC_RMID, 0));
  S(t_status(t_wait(c)));
  R(msgrcv(q, &m, 100, 0, 0));
}

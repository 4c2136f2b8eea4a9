/* Core dumps: a file, its headers, notes and memory. */
#include "t.h"
#include <elf.h>
#include <sys/procfs.h>

static const char *marker = "what the dump must hold";
static char buffer[64];

static void crash(void) {
  strcpy(buffer, marker);
  *(volatile int *)8 = 1;
}

TEST {
  if (strcmp(t_read("/proc/sys/kernel/core_pattern"), "core\n") || strcmp(t_read("/proc/sys/kernel/core_uses_pid"), "0\n")) exit(77);
  struct rlimit none = {0, RLIM_INFINITY}, all = {RLIM_INFINITY, RLIM_INFINITY};
  if (setrlimit(RLIMIT_CORE, &all)) exit(77);
  t_tmpdir();
  int st = CHILD(setrlimit(RLIMIT_CORE, &none); crash(););
  R(WCOREDUMP(st));
  R(access("core", F_OK));
  st = CHILD(crash(););
  printf("%s, dumped %d\n", t_status(st), !!WCOREDUMP(st));
  struct stat sb;
  R(stat("core", &sb));
  X(sb.st_mode);
  int fd = MUST(open("core", O_RDONLY));
  char *m = mmap(NULL, sb.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  Elf64_Ehdr *e = (void *)m;
  CK(!memcmp(e->e_ident, ELFMAG, 4));
  R(e->e_type); R(e->e_machine);
  Elf64_Phdr *p = (void *)(m + e->e_phoff);
  int held = 0, notes = 0;
  for (int i = 0; i < e->e_phnum; i++) {
    if (p[i].p_type == PT_LOAD && p[i].p_vaddr <= (unsigned long)buffer && (unsigned long)buffer + 64 <= p[i].p_vaddr + p[i].p_filesz)
      held = !strcmp(m + p[i].p_offset + ((unsigned long)buffer - p[i].p_vaddr), marker);
    if (p[i].p_type != PT_NOTE) continue;
    for (unsigned long at = 0; at < p[i].p_filesz;) {
      Elf64_Nhdr *n = (void *)(m + p[i].p_offset + at);
      char *desc = (char *)(n + 1) + ((n->n_namesz + 3) & ~3u);
      if (n->n_type == NT_PRSTATUS && n->n_namesz == 5) {
        prstatus_t *s = (void *)desc;
        CK(n->n_descsz == sizeof *s);
        R(s->pr_cursig);
        CK(s->pr_pid > 0 && s->pr_ppid == getpid());
      }
      if (n->n_type == NT_PRPSINFO) { prpsinfo_t *s = (void *)desc; CK(n->n_descsz == sizeof *s); R(s->pr_uid == getuid()); }
      if (n->n_type == NT_SIGINFO) { siginfo_t *s = (void *)desc; X((long)s->si_addr); }
      notes |= n->n_type == NT_PRSTATUS ? 1 : n->n_type == NT_PRPSINFO ? 2 : n->n_type == NT_AUXV ? 4 : n->n_type == NT_FILE ? 8 : n->n_type == NT_PRFPREG ? 16 : 0;
      at += sizeof *n + ((n->n_namesz + 3) & ~3u) + ((n->n_descsz + 3) & ~3u);
    }
  }
  X(notes);
  CK(held);
  SECTION("who has none");
  unlink("core");
  st = CHILD(prctl(PR_SET_DUMPABLE, 0); crash(););
  R(WCOREDUMP(st));
  st = CHILD(raise(SIGTERM););
  R(WCOREDUMP(st));
  R(access("core", F_OK));
  R(symlink("elsewhere", "core"));
  st = CHILD(abort(););
  R(access("elsewhere", F_OK));
}

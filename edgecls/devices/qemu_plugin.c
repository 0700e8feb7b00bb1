/* A TCG plugin for qemu's user mode: how many guest instructions a whole run executes.
 *
 * At exit it writes to the file descriptor given as `fd=N` either their number, in decimal, or, with the option
 * `blocks=on`, what was executed: for every translated block of code a line `block NUMBER OFFSET FILE` (where the code
 * lies in which file; `block NUMBER` alone for code that is in none) with its instructions as text, one a line after a
 * tab; and lines `executed NUMBER PART TIMES`. With `library=FILE` and `starts=OFFSET:OFFSET:...` part N of a run begins
 * whenever the Nth of these places in that file is entered; part 0 is what comes before. A block is counted when it is
 * entered, so a run is repeatable but for what the kernel makes of it (addresses, time).
 *
 * qemu's own header is not packaged everywhere; the few declarations used here are the same in all versions of the
 * interface, only its number differs: EC_PLUGIN_VERSION is 1 before qemu 9 and 2 from then on.
 */
#define _GNU_SOURCE /* open_memstream, dprintf */
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb; /* a translated block of guest code */
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS = 0 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *insn);
extern char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *insn); /* to be freed */
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
                                                 void (*callback)(unsigned int vcpu, void *data),
                                                 enum qemu_plugin_cb_flags flags, void *data);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t id, void *data),
                                           void *data);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = EC_PLUGIN_VERSION;

static uint64_t executed; /* instructions, by all threads of the guest */
static int report_fd = -1;

static void on_execute(unsigned int vcpu, void *data) {
  (void)vcpu;
  __atomic_fetch_add(&executed, (uintptr_t)data, __ATOMIC_RELAXED);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  void *instructions = (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb);
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execute, QEMU_PLUGIN_CB_NO_REGS, instructions);
}

static void on_exit_of_guest(qemu_plugin_id_t id, void *data) {
  (void)id, (void)data;
  dprintf(report_fd, "%llu\n", (unsigned long long)__atomic_load_n(&executed, __ATOMIC_RELAXED));
}

/* ---------------------------------------------------------------- blocks=on */

typedef struct block {
  struct block *earlier;
  size_t begins; /* the part, 0 for none */
  uint64_t executed[]; /* in each part */
} block;

typedef struct mapping {
  uintptr_t begin, end;
  uint64_t offset;
  char file[PATH_MAX];
} mapping;

static block *latest; /* qemu translates one block at a time */
static unsigned long blocks;
static FILE *code;
static char *code_text;
static size_t code_bytes;
static const char *library = "";
static const char *starts = "";
static size_t parts = 1, part; /* the parts follow each other in a guest of one thread */

/* Where `address` of this process, which is also the guest's, was mapped from; false when from no file. */
static bool find_mapping(uintptr_t address, mapping *found) {
  static char line[PATH_MAX + 128];
  FILE *maps = fopen("/proc/self/maps", "r");
  bool in_file = false;
  while (maps != NULL && !in_file && fgets(line, sizeof line, maps) != NULL) {
    unsigned long begin, end;
    unsigned long long offset;
    int path = 0;
    if (sscanf(line, "%lx-%lx %*s %llx %*s %*s %n", &begin, &end, &offset, &path) < 3) continue;
    if (address < begin || address >= end || line[path] != '/') continue;
    line[strcspn(line, "\n")] = '\0';
    found->begin = begin, found->end = end, found->offset = offset;
    snprintf(found->file, sizeof found->file, "%s", line + path);
    in_file = true;
  }
  if (maps != NULL) fclose(maps);
  return in_file;
}

static size_t part_that_begins(uint64_t offset, const char *file) {
  size_t number = 1;
  if (strcmp(file, library) != 0) return 0;
  for (const char *p = starts; *p != '\0'; number++) {
    char *end;
    if (strtoull(p, &end, 10) == offset) return number;
    p = end + (*end == ':');
  }
  return 0;
}

/* Returns the part that begins here. */
static size_t describe(const struct qemu_plugin_tb *tb) {
  static mapping last;
  uintptr_t address = (uintptr_t)qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(tb, 0));
  bool in_file = (address >= last.begin && address < last.end) || find_mapping(address, &last);
  uint64_t offset = in_file ? address - last.begin + last.offset : 0;
  fprintf(code, "block %lu", blocks);
  if (in_file) fprintf(code, " %llu %s", (unsigned long long)offset, last.file);
  fputc('\n', code);
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
    char *text = qemu_plugin_insn_disas(qemu_plugin_tb_get_insn(tb, i));
    fprintf(code, "\t%s\n", text != NULL ? text : "?");
    free(text);
  }
  return in_file ? part_that_begins(offset, last.file) : 0;
}

static void on_enter(unsigned int vcpu, void *data) {
  (void)vcpu;
  block *entered = data;
  if (entered->begins > 0) part = entered->begins;
  __atomic_fetch_add(&entered->executed[part], 1, __ATOMIC_RELAXED);
}

static void on_translate_block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  block *new = calloc(1, sizeof *new + parts * sizeof new->executed[0]);
  if (new == NULL) abort();
  new->earlier = latest;
  latest = new;
  new->begins = describe(tb);
  blocks++;
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_enter, QEMU_PLUGIN_CB_NO_REGS, new);
}

static void report_blocks(qemu_plugin_id_t id, void *data) {
  (void)id, (void)data;
  unsigned long number = blocks;
  for (const block *b = latest; b != NULL; b = b->earlier) {
    number--;
    for (size_t i = 0; i < parts; i++) {
      unsigned long long times = __atomic_load_n(&b->executed[i], __ATOMIC_RELAXED);
      if (times > 0) fprintf(code, "executed %lu %zu %llu\n", number, i, times);
    }
  }
  if (fclose(code) != 0) return;
  for (size_t done = 0; done < code_bytes;) {
    ssize_t written = write(report_fd, code_text + done, code_bytes - done);
    if (written <= 0) return;
    done += (size_t)written;
  }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  (void)info;
  bool with_blocks = false;
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "fd=", 3) == 0) report_fd = atoi(argv[i] + 3);
    else if (strcmp(argv[i], "blocks=on") == 0) with_blocks = true;
    else if (strncmp(argv[i], "library=", 8) == 0) library = strdup(argv[i] + 8);
    else if (strncmp(argv[i], "starts=", 7) == 0) starts = strdup(argv[i] + 7);
    else return -1;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* its parent waits for it: without the parent nobody wants the count */
  if (report_fd < 0 || library == NULL || starts == NULL) return -1;
  for (const char *p = starts; *p != '\0'; p++) parts += p == starts || *p == ':';
  if (with_blocks && (code = open_memstream(&code_text, &code_bytes)) == NULL) return -1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, with_blocks ? on_translate_block : on_translate);
  qemu_plugin_register_atexit_cb(id, with_blocks ? report_blocks : on_exit_of_guest, NULL);
  return 0;
}

/* A TCG plugin for qemu's user mode: how many guest instructions a whole run executes.
 *
 * At exit it writes the number, in decimal, to the file descriptor given as `fd=N`. A block of code is counted when it
 * is entered, so a run is repeatable but for what the kernel makes of it (addresses, time).
 *
 * qemu's own header is not packaged everywhere; the few declarations used here are the same in all versions of the
 * interface, only its number differs: EC_PLUGIN_VERSION is 1 before qemu 9 and 2 from then on.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb; /* a translated block of guest code */
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS = 0 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
                                                 void (*callback)(unsigned int vcpu, void *data),
                                                 enum qemu_plugin_cb_flags flags, void *data);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*callback)(qemu_plugin_id_t id, void *data),
                                           void *data);

#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = EC_PLUGIN_VERSION;

static uint64_t executed; /* by all threads of the guest */
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

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  (void)info;
  if (argc != 1 || strncmp(argv[0], "fd=", 3) != 0) return -1;
  report_fd = atoi(argv[0] + 3);
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  qemu_plugin_register_atexit_cb(id, on_exit_of_guest, NULL);
  return 0;
}

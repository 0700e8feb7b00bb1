/* Every call of a plan while its network runs, and what the core could do at that moment.
 *
 *   within BUNDLE FOLDER RUNS
 *
 * Installs the bundle in FOLDER. For each run it prints a line of nanoseconds, each call's in the order of the plan, in a
 * run right behind another; a line of such times, each call's third in a row; and the operations in a second of
 * multiply-adds of registers alone, then of a product in the first cache, measured right behind the first line's run. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "edgecls.h"
#include "peaks.h"

enum { REPEATED = 3, MAX_CALLS = 4096, WINDOW_NS = 400000 };

static factors operands;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void check(ec_status status) {
  if (status == EC_OK) return;
  fprintf(stderr, "%s: %s\n", ec_status_str(status), ec_last_error());
  exit(1);
}

static double registers(void) { return multiply_add(); }
static double first_cache(void) { return multiply_matrices(&operands); }

/* Operations in a second. */
static double rate(double (*work)(void)) {
  uint64_t start = now_ns(), taken;
  double done = 0;
  do {
    done += work();
    taken = now_ns() - start;
  } while (taken < WINDOW_NS);
  return done / ((double)taken * 1e-9);
}

static void print(const ec_call_time *times, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) printf("%" PRIu64 "%c", times[i].total_ns, i + 1 == count ? '\n' : ' ');
}

int main(int argc, char **argv) {
  static ec_call_time times[MAX_CALLS], third[MAX_CALLS];
  char folder[4096];
  ec_session *session;
  if (argc != 4) return 2;
  check(ec_install(argv[1], argv[2], folder, sizeof folder));
  check(ec_open(folder, NULL, &session));
  const ec_plan *plan = ec_plan_at(session, 0);
  if (plan->num_calls > MAX_CALLS) return 2;
  fill(&operands);
  check(ec_golden_input(session, plan->batch));
  for (long run = atol(argv[3]); run > 0; run--) {
    check(ec_invoke(session, plan->batch));
    check(ec_profile(session, plan->batch, 1, times, MAX_CALLS));
    double alone = rate(registers), fed = rate(first_cache);
    for (uint32_t i = 0; i < plan->num_calls; i++)
      for (int time = 1; time <= REPEATED; time++) {
        uint64_t start = now_ns();
        check(ec_invoke_call(session, plan->batch, i));
        third[i].total_ns = now_ns() - start;
      }
    print(times, plan->num_calls);
    print(third, plan->num_calls);
    printf("%.6g %.6g\n", alone, fed);
  }
  ec_close(session);
  return 0;
}

/* Every call of a plan as it comes in its network, and again at once: what it costs to meet weights that are not in the
 * caches.
 *
 *   hot BUNDLE FOLDER RUNS
 *
 * Installs the bundle in FOLDER. Prints two lines of nanoseconds for each run: each call's first time, in the order of
 * the plan, and each call's third in a row. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "edgecls.h"

enum { REPEATED = 3, MAX_CALLS = 4096 };

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

static void print(const uint64_t *times, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) printf("%" PRIu64 "%c", times[i], i + 1 == count ? '\n' : ' ');
}

int main(int argc, char **argv) {
  static uint64_t first[MAX_CALLS], last[MAX_CALLS];
  char folder[4096];
  ec_session *session;
  if (argc != 4) return 2;
  check(ec_install(argv[1], argv[2], folder, sizeof folder));
  check(ec_open(folder, NULL, &session));
  const ec_plan *plan = ec_plan_at(session, 0);
  if (plan->num_calls > MAX_CALLS) return 2;
  check(ec_golden_input(session, plan->batch));
  check(ec_invoke(session, plan->batch));
  for (long run = atol(argv[3]); run > 0; run--) {
    for (uint32_t i = 0; i < plan->num_calls; i++)
      for (int time = 1; time <= REPEATED; time++) {
        uint64_t start = now_ns();
        check(ec_invoke_call(session, plan->batch, i));
        uint64_t taken = now_ns() - start;
        if (time == 1) first[i] = taken;
        last[i] = taken;
      }
    print(first, plan->num_calls);
    print(last, plan->num_calls);
  }
  ec_close(session);
  return 0;
}

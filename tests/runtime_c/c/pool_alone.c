/* pool_alone.c: how long the pool's caller works alone after a job whose share waited for its processor, by a clock of
 * its own: in place of clock.c. */
#include "platform.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "pool.h"

enum { TASKS = 2, LOOKS = 31 }; /* the caller polls for CALLER_NS, a microsecond per look, and then sleeps */

_Thread_local ec_context *ec_current; /* hooks.c is not linked */

static pthread_t caller;
static _Atomic uint64_t now_ns = 1, looks;

/* A microsecond later whenever the caller looks. */
uint64_t ec_now_ns(void) {
  if (!pthread_equal(pthread_self(), caller)) return atomic_load(&now_ns);
  atomic_fetch_add(&looks, 1);
  return atomic_fetch_add(&now_ns, 1000) + 1000;
}

static void later(double milliseconds) {
  if (milliseconds > 0) atomic_fetch_add(&now_ns, (uint64_t)(milliseconds * 1e6));
}

static void rest(void) { nanosleep(&(struct timespec){0, 1000000}, NULL); }

typedef struct job {
  double lost_ms;             /* how long the other thread's share waits; below 0 nobody should come */
  _Atomic bool other, shared; /* it has begun; two threads took part */
} job;

/* The caller's task waits for the other to begin, for as long as a slow machine may need. */
static int task(int index, void *env, void *closure) {
  job *j = closure;
  (void)env;
  if (!pthread_equal(pthread_self(), caller)) {
    uint64_t before = atomic_load(&looks);
    atomic_store(&j->other, true);
    for (int i = 0; i < 10000 && atomic_load(&looks) < before + LOOKS && j->lost_ms > 0; i++) rest();
    later(j->lost_ms);
    atomic_store(&j->shared, true);
  } else if (index == 0) {
    for (int i = 0; i < 10000 && !atomic_load(&j->other) && j->lost_ms >= 0; i++) rest();
    for (int i = 0; i < 20 && j->lost_ms < 0; i++) rest();
  }
  return 0;
}

static bool shared(ec_pool *pool, double lost_ms) {
  job j = {lost_ms, false, false};
  ec_pool_enter(pool);
  CHECK(ec_pool_run(pool, task, &j, TASKS) == 0);
  ec_pool_leave(pool);
  return atomic_load(&j.shared);
}

/* Alone for this long, and no longer. */
static void alone(ec_pool *pool, double milliseconds) {
  CHECK(!shared(pool, -1));
  later(milliseconds - 0.5);
  CHECK(!shared(pool, -1));
  later(0.5);
  CHECK(shared(pool, 0));
}

int main(void) {
  ec_pool *pool;
  caller = pthread_self();
  CHECK(ec_pool_create(TASKS, 2, &pool) == EC_OK);
  ec_current = ec_pool_context(pool, 0);
  CHECK(shared(pool, 0) && shared(pool, 0.3) && shared(pool, 0)); /* that little is no reason */
  for (int round = 0; round < 2; round++) {
    static const double doubling[] = {1, 2, 4, 8, 16, 16};
    for (size_t i = 0; i < sizeof doubling / sizeof *doubling; i++) {
      CHECK(shared(pool, 1));
      alone(pool, doubling[i]);
    }
    later(64); /* long enough ago to be forgotten */
  }
  ec_pool_destroy(pool);
  return puts("done") < 0;
}

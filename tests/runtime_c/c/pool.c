/* pool.c: the thread pool by itself; compiled with the sanitizers. */
#include "platform.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "pool.h"

enum { TASKS = 24 };

_Thread_local ec_context *ec_current; /* hooks.c is not linked */

typedef struct job {
  int in[TASKS], out[TASKS]; /* plain memory: the sanitizer sees every missing order */
  int fails_from;            /* tasks that fail: this one and all after it */
  int slow;                  /* a task that takes a millisecond */
} job;

static void rest(long microseconds) {
  nanosleep(&(struct timespec){microseconds / 1000000, microseconds % 1000000 * 1000}, NULL);
}

static int task(int index, void *env, void *closure) {
  job *j = closure;
  CHECK(((ec_task_env *)env)->num_task == TASKS && ec_current->in_task);
  if (index == j->slow) rest(1000);
  if (index >= j->fails_from) snprintf(ec_current->error, EC_ERROR_BYTES, "task %d", index);
  j->out[index] = j->in[index] + 1;
  return index >= j->fails_from ? 100 + index : 0;
}

static ec_pool *new_pool(uint32_t shares, uint32_t threads) {
  ec_pool *pool;
  CHECK(ec_pool_create(shares, threads, &pool) == EC_OK);
  CHECK(ec_pool_shares(pool) == shares && ec_pool_threads(pool) == threads);
  ec_current = ec_pool_context(pool, 0);
  return pool;
}

/* Each job reads what the one before wrote. */
static void count(ec_pool *pool, int jobs, int slow) {
  job j = {{0}, {0}, TASKS, slow};
  ec_pool_enter(pool);
  for (int i = 0; i < jobs; i++) {
    CHECK(ec_pool_run(pool, task, &j, TASKS) == 0);
    for (int t = 0; t < TASKS; t++) CHECK(j.out[t] == i + 1);
    memcpy(j.in, j.out, sizeof j.in);
  }
  ec_pool_leave(pool);
}

/* Waiting workers and callers poll first and then sleep: pauses of all lengths between and within the jobs. */
static void waits(ec_pool *pool) {
  for (int round = 0; round < 30; round++) {
    count(pool, 20, -1);
    rest(round * 10);
    count(pool, 2, round % TASKS);
    ec_pool_enter(pool);
    rest(round * 10); /* a kernel that is not parallel */
    count(pool, 1, -1);
  }
}

static void errors(ec_pool *pool, uint32_t shares) {
  for (int from = 0; from <= TASKS; from++) {
    job j = {{0}, {0}, from, -1};
    char expected[EC_ERROR_BYTES] = "";
    for (uint32_t i = 0; i < shares; i++) ec_pool_error(pool, i)[0] = '\0';
    ec_pool_enter(pool);
    int result = ec_pool_run(pool, task, &j, TASKS), first = 0;
    ec_pool_leave(pool);
    CHECK(result == (from < TASKS ? 100 + from : 0));
    if (from < TASKS) snprintf(expected, sizeof expected, "task %d", from);
    for (uint32_t i = 0; i < shares && first == 0; i++)
      if (ec_pool_error(pool, i)[0] != '\0') first = strcmp(ec_pool_error(pool, i), expected) == 0 ? 1 : -1;
    CHECK(first == (from < TASKS));
  }
}

static int same_thread(int index, void *env, void *closure) {
  (void)index, (void)env;
  CHECK(pthread_equal(pthread_self(), *(pthread_t *)closure));
  return 0;
}

static int nest(int index, void *env, void *closure) {
  pthread_t self = pthread_self();
  (void)index, (void)env, (void)closure;
  return ec_pool_run(ec_current->pool, same_thread, &self, 5);
}

static void serial(ec_pool *pool) {
  pthread_t self = pthread_self();
  for (int i = 0; i < 100; i++) CHECK(ec_pool_run(pool, same_thread, &self, 1) == 0);
  ec_pool_enter(pool);
  for (int i = 0; i < 100; i++) CHECK(ec_pool_run(pool, nest, NULL, TASKS) == 0);
  ec_pool_leave(pool);
}

static double processor_ms(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (double)used.tv_sec * 1e3 + (double)used.tv_nsec / 1e6;
}

/* Neither before the first run nor after one does anybody poll for long. */
static void idle(ec_pool *pool) {
  for (int i = 0; i < 2; i++) {
    double before = processor_ms();
    rest(200000);
    CHECK(processor_ms() - before < 40);
    count(pool, 10, -1);
  }
}

/* Destroyed before the workers have started, while they poll, and while they sleep. */
static void endings(uint32_t shares, uint32_t threads) {
  for (long i = 0; i < 20; i++) {
    ec_pool *pool = new_pool(shares, threads);
    if (i >= 3) count(pool, 3, -1);
    rest(i % 4 * 100);
    ec_pool_destroy(pool);
  }
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  uint32_t shares = (uint32_t)atoi(argv[1]), threads = (uint32_t)atoi(argv[2]);
  ec_pool *pool = new_pool(shares, threads);
  idle(pool);
  count(pool, 1000, -1);
  waits(pool);
  errors(pool, shares);
  serial(pool);
  ec_pool_destroy(pool);
  endings(shares, threads);
  return puts("done") < 0;
}

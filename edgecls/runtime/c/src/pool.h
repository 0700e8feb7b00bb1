/* pool.h: the threads of one session. */
#ifndef EC_POOL_H
#define EC_POOL_H

#include "context.h"
#include "status.h"

typedef struct ec_pool ec_pool;
typedef int (*ec_task_fn)(int task, void *env, void *closure);

/* What a task is told of its siblings: the layout TVM's generated code expects. */
typedef struct ec_task_env {
  void *sync;
  int32_t num_task;
} ec_task_env;

/* Work is split into `shares` parts whatever the device; `threads` (1..shares), the caller's included, do them. The
 * threads are created now and sleep until ec_pool_enter. */
ec_status ec_pool_create(uint32_t shares, uint32_t threads, ec_pool **pool);
void ec_pool_destroy(ec_pool *pool); /* not between enter and leave; NULL is fine */

/* Runs are coming: the threads wake up and wait for them awake. Costs nothing in a pool of one thread. */
void ec_pool_enter(ec_pool *pool);
void ec_pool_leave(ec_pool *pool); /* and that was all of them */

uint32_t ec_pool_shares(const ec_pool *pool);

/* The context of thread `index`, which is less than ec_pool_threads; 0 is the caller's. Only touched while no task
 * runs. */
uint32_t ec_pool_threads(const ec_pool *pool);
ec_context *ec_pool_context(ec_pool *pool, uint32_t index);

/* Where share `index` says what went wrong, EC_ERROR_BYTES long; "" if nothing did. */
char *ec_pool_error(ec_pool *pool, uint32_t index);

/* Run body(0..tasks-1), between enter and leave; share s is the s-th contiguous part, always the same one, and stops at
 * its first failing task. Which thread does a share is left to chance. Returns 0, or the nonzero result of the lowest
 * failing share. */
int ec_pool_run(ec_pool *pool, ec_task_fn body, void *closure, int tasks);

#endif

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

/* threads - 1 workers are created now and sleep until there is work. */
ec_status ec_pool_create(uint32_t threads, ec_pool **pool);
void ec_pool_destroy(ec_pool *pool); /* NULL is fine */

uint32_t ec_pool_threads(const ec_pool *pool);

/* The context of thread `index`; 0 is the caller's. Only touched while no task runs. */
ec_context *ec_pool_context(ec_pool *pool, uint32_t index);

/* Run body(0..tasks-1); thread t gets the t-th contiguous share, always the same one. Returns 0, or the nonzero result
 * of the lowest failing thread. */
int ec_pool_run(ec_pool *pool, ec_task_fn body, void *closure, int tasks);

#endif

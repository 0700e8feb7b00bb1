/* context.h: what a thread knows while it runs kernels; the hooks find it through a thread-local pointer. */
#ifndef EC_CONTEXT_H
#define EC_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#define EC_MAX_LIVE_WORKSPACES 64
#define EC_ERROR_BYTES 256

/* Where the workspaces of the running call lie in the arena; the caller writes it while no task runs. Thread 0 has the
 * first once + per_thread bytes, thread i > 0 the per_thread bytes from once + i * per_thread on. */
typedef struct ec_scratch {
  char *base;
  uint64_t once, per_thread;
} ec_scratch;

/* One thread's workspace: a stack of blocks in its part of the scratch. */
typedef struct ec_workspace {
  uint32_t depth; /* live blocks, freed ones below a live one included */
  struct {
    uint64_t begin, end; /* offsets from where this thread's part begins */
    bool freed;
  } blocks[EC_MAX_LIVE_WORKSPACES];
} ec_workspace;

struct ec_pool;

typedef struct ec_context {
  struct ec_pool *pool;
  const ec_scratch *scratch; /* the session's; NULL: none */
  uint32_t thread;           /* index in the pool */
  ec_workspace workspace;
  bool in_task; /* a parallel run inside a parallel run is serial */
  char *error;  /* where to write what the kernel raises, EC_ERROR_BYTES: the share's that the thread works on */
} ec_context;

extern _Thread_local ec_context *ec_current;

#endif

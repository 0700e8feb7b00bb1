/* hooks.c: parallel loops, workspaces and errors of the running kernel. */
#include "platform.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "hooks.h"
#include "pool.h"

_Thread_local ec_context *ec_current;

static int parallel_launch(int (*body)(int, void *, void *), void *closure, int tasks) {
  ec_context *context = ec_current;
  if (context == NULL || tasks < 0) return -1;
  if (tasks == 0) tasks = context->in_task ? 1 : (int)ec_pool_shares(context->pool);
  return ec_pool_run(context->pool, body, closure, tasks);
}

static void *alloc_workspace(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits) {
  ec_context *context = ec_current;
  (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;
  if (context == NULL) return NULL;
  ec_workspace *w = &context->workspace;
  uint64_t begin = w->depth > 0 ? w->blocks[w->depth - 1].end : 0;
  if (bytes > w->bytes - begin || w->depth == EC_MAX_LIVE_WORKSPACES) {
    snprintf(context->error, EC_ERROR_BYTES, "asks for %llu bytes of workspace, the plan leaves %llu",
             (unsigned long long)bytes, (unsigned long long)(w->bytes - begin));
    return NULL;
  }
  uint64_t end = begin + (bytes + EC_ALIGN - 1) / EC_ALIGN * EC_ALIGN; /* w->bytes is a multiple too */
  w->blocks[w->depth].begin = begin;
  w->blocks[w->depth].end = end;
  w->blocks[w->depth].freed = false;
  w->depth++;
  return w->base + begin;
}

/* Usually last in, first out; a block freed early waits until those above it are gone. */
static int free_workspace(int device_type, int device_id, void *pointer) {
  ec_context *context = ec_current;
  (void)device_type, (void)device_id;
  if (context == NULL) return -1;
  ec_workspace *w = &context->workspace;
  uint32_t i = w->depth;
  while (i > 0 && (w->blocks[i - 1].freed || (void *)(w->base + w->blocks[i - 1].begin) != pointer)) i--;
  if (i == 0) return -1;
  w->blocks[i - 1].freed = true;
  while (w->depth > 0 && w->blocks[w->depth - 1].freed) w->depth--;
  return 0;
}

static void raise_error(const char *kind, const char **parts, int32_t count) {
  ec_context *context = ec_current;
  if (context == NULL || context->error[0] != '\0') return; /* the first one is the cause */
  size_t room = EC_ERROR_BYTES, used = 0;
  for (int32_t i = -1; i < count && used + 1 < room; i++) {
    const char *part = i < 0 ? kind : parts[i];
    int wrote = snprintf(context->error + used, room - used, i < 0 ? "%s: " : "%s", part != NULL ? part : "");
    if (wrote < 0) break;
    used += (size_t)wrote;
  }
}

const ec_hooks ec_runtime_hooks = {parallel_launch, alloc_workspace, free_workspace, raise_error};

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

static char *workspace_base(const ec_context *context) {
  const ec_scratch *s = context->scratch;
  return s->base + (context->thread == 0 ? 0 : s->once + context->thread * s->per_thread);
}

static uint64_t workspace_bytes(const ec_context *context) {
  const ec_scratch *s = context->scratch;
  return s->per_thread + (context->thread == 0 ? s->once : 0);
}

static void *alloc_workspace(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits) {
  ec_context *context = ec_current;
  (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;
  if (context == NULL || context->scratch == NULL) return NULL;
  ec_workspace *w = &context->workspace;
  uint64_t begin = w->depth > 0 ? w->blocks[w->depth - 1].end : 0, room = workspace_bytes(context) - begin;
  if (bytes > room || w->depth == EC_MAX_LIVE_WORKSPACES) {
    snprintf(context->error, EC_ERROR_BYTES, "asks for %llu bytes of workspace, the plan leaves %llu",
             (unsigned long long)bytes, (unsigned long long)room);
    return NULL;
  }
  uint64_t end = begin + (bytes + EC_ALIGN - 1) / EC_ALIGN * EC_ALIGN; /* the room is a multiple too */
  w->blocks[w->depth].begin = begin;
  w->blocks[w->depth].end = end;
  w->blocks[w->depth].freed = false;
  w->depth++;
  return workspace_base(context) + begin;
}

/* Usually last in, first out; a block freed early waits until those above it are gone. */
static int free_workspace(int device_type, int device_id, void *pointer) {
  ec_context *context = ec_current;
  (void)device_type, (void)device_id;
  if (context == NULL || context->scratch == NULL) return -1;
  ec_workspace *w = &context->workspace;
  const char *base = workspace_base(context);
  uint32_t i = w->depth;
  while (i > 0 && (w->blocks[i - 1].freed || base + w->blocks[i - 1].begin != pointer)) i--;
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

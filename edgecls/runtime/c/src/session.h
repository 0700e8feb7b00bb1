/* session.h: one opened model. */
#ifndef EC_SESSION_H
#define EC_SESSION_H

#include <stdbool.h>

#include "load.h"
#include "model.h"
#include "pool.h"
#include "preprocess.h"

typedef struct ec_ready_plan { /* a plan with its offsets turned into pointers, so that running it is a plain loop */
  const ec_plan *plan;
  void **buffers;   /* of all calls, one after the other */
  uint32_t *begin;  /* where each call's buffers start */
} ec_ready_plan;

struct ec_session {
  ec_loaded loaded;
  const ec_model *model;
  ec_pool *pool;
  char *arena;
  uint64_t arena_bytes;
  bool owns_arena;
  ec_scratch scratch; /* of the running call */
  uint32_t num_plans; /* those that fit options.max_batch */
  ec_ready_plan *plans;
  ec_preprocessor *preprocessors; /* per input */
  ec_session *next;               /* in the list of open sessions */
};

/* NULL, with the reason in ec_last_error, when there is no such batch size. */
ec_ready_plan *ec_session_plan(const ec_session *session, uint64_t batch);

/* Wake the threads, forget old workspaces and errors; then calls may run. */
void ec_session_enter(ec_session *session);

/* One call of a plan, between enter and leave. */
ec_status ec_session_call(ec_session *session, const ec_ready_plan *plan, uint32_t index);

/* The calling thread stops being this session's, the others may sleep. */
void ec_session_leave(ec_session *session);

#endif

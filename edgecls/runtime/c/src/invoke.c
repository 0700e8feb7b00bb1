/* invoke.c: running a plan, whole or one call at a time. Nothing here allocates. */
#include "platform.h"

#include "clock.h"
#include "session.h"

void ec_session_enter(ec_session *s) {
  ec_pool_enter(s->pool); /* first: waking up takes the threads longer than the rest takes us */
  for (uint32_t i = 0; i < ec_pool_threads(s->pool); i++) ec_pool_context(s->pool, i)->workspace.depth = 0;
  for (uint32_t i = 0; i < ec_pool_shares(s->pool); i++) ec_pool_error(s->pool, i)[0] = '\0';
  ec_current = ec_pool_context(s->pool, 0);
}

void ec_session_leave(ec_session *s) {
  ec_current = NULL;
  ec_pool_leave(s->pool);
}

static ec_status kernel_failed(ec_session *s, const ec_kernel *kernel, const ec_call *call, int result) {
  for (uint32_t i = 0; i < ec_pool_shares(s->pool); i++) {
    const char *reason = ec_pool_error(s->pool, i);
    if (reason[0] != '\0')
      return ec_fail(EC_ERROR_KERNEL, "kernel %s (layer %u): %s", kernel->name, (unsigned)call->layer, reason);
  }
  return ec_fail(EC_ERROR_KERNEL, "kernel %s (layer %u) returned %d", kernel->name, (unsigned)call->layer, result);
}

ec_status ec_session_call(ec_session *s, const ec_ready_plan *ready, uint32_t index) {
  const ec_call *call = ec_model_call(s->model, ready->plan, index);
  const ec_kernel *kernel = ec_model_kernel(s->model, call->kernel);
  s->scratch = (ec_scratch){s->arena + call->workspace, kernel->workspace_once, kernel->workspace_per_thread};
  int result = kernel->run(ready->buffers + ready->begin[index]);
  return result == 0 ? EC_OK : kernel_failed(s, kernel, call, result);
}

ec_status ec_invoke(ec_session *s, uint64_t batch) {
  const ec_ready_plan *ready = ec_session_plan(s, batch);
  ec_status status = EC_OK;
  if (ready == NULL) return EC_ERROR_ARGUMENT;
  ec_session_enter(s);
  for (uint32_t i = 0; i < ready->plan->num_calls && status == EC_OK; i++) status = ec_session_call(s, ready, i);
  ec_session_leave(s);
  return status;
}

ec_status ec_invoke_call(ec_session *s, uint64_t batch, uint32_t call) {
  const ec_ready_plan *ready = ec_session_plan(s, batch);
  if (ready == NULL) return EC_ERROR_ARGUMENT;
  if (call >= ready->plan->num_calls) return ec_fail(EC_ERROR_ARGUMENT, "the plan has no call %u", (unsigned)call);
  ec_session_enter(s);
  ec_status status = ec_session_call(s, ready, call);
  ec_session_leave(s);
  return status;
}

ec_status ec_profile(ec_session *s, uint64_t batch, uint32_t runs, ec_call_time *times, uint32_t capacity) {
  const ec_ready_plan *ready = ec_session_plan(s, batch);
  ec_status status = EC_OK;
  if (ready == NULL) return EC_ERROR_ARGUMENT;
  const ec_plan *plan = ready->plan;
  if (times == NULL || capacity < plan->num_calls)
    return ec_fail(EC_ERROR_ARGUMENT, "a profile of this plan has %u entries", (unsigned)plan->num_calls);
  for (uint32_t i = 0; i < plan->num_calls; i++) {
    const ec_call *call = ec_model_call(s->model, plan, i);
    times[i] = (ec_call_time){call->layer, call->kernel, 0};
  }
  ec_session_enter(s);
  for (uint32_t run = 0; run < runs && status == EC_OK; run++)
    for (uint32_t i = 0; i < plan->num_calls && status == EC_OK; i++) {
      uint64_t start = ec_now_ns();
      status = ec_session_call(s, ready, i);
      times[i].total_ns += ec_now_ns() - start;
    }
  ec_session_leave(s);
  return status;
}

ec_status ec_preprocess(ec_session *s, uint64_t batch, uint32_t input, uint32_t slot, const ec_pixels *pixels) {
  const ec_ready_plan *ready = ec_session_plan(s, batch);
  if (ready == NULL) return EC_ERROR_ARGUMENT;
  if (pixels == NULL || input >= s->model->num_inputs || slot >= batch)
    return ec_fail(EC_ERROR_ARGUMENT, "there is no input %u with a place %u", (unsigned)input, (unsigned)slot);
  ec_preprocessor *preprocessor = &s->preprocessors[input];
  if (preprocessor->image->layout == EC_RAW)
    return ec_fail(EC_ERROR_ARGUMENT, "input %u is not an image", (unsigned)input);
  uint64_t bytes = ec_model_tensor(s->model, ready->plan->inputs, input)->bytes / batch;
  char *tensor = s->arena + ready->plan->input_buffers[input].offset;
  return ec_preprocessor_run(preprocessor, pixels, (float *)(void *)(tensor + slot * bytes));
}

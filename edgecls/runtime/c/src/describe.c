/* describe.c: what a session tells of itself. */
#include "platform.h"

#include "session.h"

const ec_model *ec_describe(const ec_session *session) { return session->model; }

uint32_t ec_threads(const ec_session *session) { return ec_pool_shares(session->pool); }

ec_ready_plan *ec_session_plan(const ec_session *session, uint64_t batch) {
  for (uint32_t i = 0; session != NULL && i < session->num_plans; i++)
    if (session->plans[i].plan->batch == batch) return &session->plans[i];
  ec_fail(EC_ERROR_ARGUMENT, "there is no plan for batch %llu", (unsigned long long)batch);
  return NULL;
}

const ec_plan *ec_plan_at(const ec_session *session, uint32_t index) {
  return index < session->num_plans ? session->plans[index].plan : NULL;
}

const ec_plan *ec_plan_of(const ec_session *session, uint64_t batch) {
  const ec_ready_plan *ready = ec_session_plan(session, batch);
  return ready != NULL ? ready->plan : NULL;
}

const ec_tensor *ec_input(const ec_session *session, uint64_t batch, uint32_t index) {
  const ec_plan *plan = ec_plan_of(session, batch);
  return plan != NULL && index < session->model->num_inputs ? ec_model_tensor(session->model, plan->inputs, index)
                                                            : NULL;
}

const ec_tensor *ec_output(const ec_session *session, uint64_t batch, uint32_t index) {
  const ec_plan *plan = ec_plan_of(session, batch);
  return plan != NULL && index < session->model->num_outputs ? ec_model_tensor(session->model, plan->outputs, index)
                                                             : NULL;
}

const ec_image *ec_input_image(const ec_session *session, uint32_t index) {
  return index < session->model->num_inputs ? ec_model_image(session->model, index) : NULL;
}

const ec_meaning *ec_output_meaning(const ec_session *session, uint32_t index) {
  return index < session->model->num_outputs ? ec_model_meaning(session->model, index) : NULL;
}

const ec_kernel *ec_kernel_at(const ec_session *session, uint32_t index) {
  return index < session->model->num_kernels ? ec_model_kernel(session->model, index) : NULL;
}

const ec_call *ec_call_at(const ec_session *session, uint64_t batch, uint32_t index) {
  const ec_plan *plan = ec_plan_of(session, batch);
  return plan != NULL && index < plan->num_calls ? ec_model_call(session->model, plan, index) : NULL;
}

void *ec_input_data(ec_session *session, uint64_t batch, uint32_t index) {
  const ec_plan *plan = ec_plan_of(session, batch);
  if (plan == NULL || index >= session->model->num_inputs) return NULL;
  return session->arena + plan->input_buffers[index].offset;
}

const void *ec_output_data(const ec_session *session, uint64_t batch, uint32_t index) {
  const ec_plan *plan = ec_plan_of(session, batch);
  if (plan == NULL || index >= session->model->num_outputs) return NULL;
  return session->arena + plan->output_buffers[index].offset;
}

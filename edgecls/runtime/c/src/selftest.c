/* selftest.c: the golden input and what it should give. */
#include "platform.h"

#include <math.h>
#include <string.h>

#include "session.h"

static uint32_t golden_bits(uint32_t i) {
  uint32_t h = i * 2654435761u + 1u;
  h ^= h >> 16;
  h *= 0x45d9f3bu;
  return h ^ h >> 16;
}

static ec_status fill(const ec_tensor *t, char *data) {
  uint32_t size = ec_dtype_bytes(t->dtype);
  if (t->dtype == EC_F16 || t->dtype == EC_F64)
    return ec_fail(EC_ERROR_UNSUPPORTED, "input '%s' has a dtype without a golden input", t->name);
  if (t->dtype != EC_F32) memset(data, 0, (size_t)t->bytes);
  for (uint64_t i = 0; i < t->bytes / size; i++) {
    uint32_t h = golden_bits((uint32_t)i);
    float value = (float)(h >> 8) * 0x1p-23f - 1.0f;
    if (t->dtype == EC_F32)
      memcpy(data + i * size, &value, sizeof value);
    else
      data[i * size] = (char)(h & 1); /* little-endian, the rest is 0 */
  }
  return EC_OK;
}

static double element(const ec_tensor *t, const char *data, uint64_t i) {
  union { float f32; int16_t i16; int32_t i32; int64_t i64; double f64; int8_t i8; uint8_t u8; } v;
  uint32_t size = ec_dtype_bytes(t->dtype);
  memcpy(&v, data + i * size, size);
  switch (t->dtype) {
    case EC_F32: return (double)v.f32;
    case EC_F64: return v.f64;
    case EC_I8: return v.i8;
    case EC_I16: return v.i16;
    case EC_I32: return v.i32;
    case EC_I64: return (double)v.i64;
    default: return v.u8;
  }
}

/* Largest |got - expected| over the range of expected; infinite when something is not a number. */
static double compare(const ec_tensor *t, const char *got, const char *expected) {
  double low = INFINITY, high = -INFINITY, worst = 0;
  for (uint64_t i = 0; i < t->bytes / ec_dtype_bytes(t->dtype); i++) {
    float e;
    memcpy(&e, expected + i * sizeof e, sizeof e);
    double difference = fabs(element(t, got, i) - (double)e);
    if (!isfinite(difference)) return INFINITY;
    if (difference > worst) worst = difference;
    if ((double)e < low) low = (double)e;
    if ((double)e > high) high = (double)e;
  }
  return high > low ? worst / (high - low) : worst;
}

ec_status ec_golden_input(ec_session *s, uint64_t batch) {
  const ec_ready_plan *ready = ec_session_plan(s, batch);
  ec_status status = EC_OK;
  if (ready == NULL) return EC_ERROR_ARGUMENT;
  for (uint32_t i = 0; i < s->model->num_inputs && status == EC_OK; i++)
    status = fill(ec_model_tensor(s->model, ready->plan->inputs, i), s->arena + ready->plan->input_buffers[i].offset);
  return status;
}

ec_status ec_selftest(ec_session *s, uint64_t batch, double *difference) {
  const ec_ready_plan *ready = ec_session_plan(s, batch);
  double worst = 0;
  if (ready == NULL) return EC_ERROR_ARGUMENT;
  const ec_plan *plan = ready->plan;
  if (plan->golden_outputs == NULL)
    return ec_fail(EC_ERROR_UNSUPPORTED, "the model stores no expected outputs for batch %llu",
                   (unsigned long long)batch);
  ec_status status = ec_golden_input(s, batch);
  if (status == EC_OK) status = ec_invoke(s, batch);
  if (status != EC_OK) return status;
  for (uint32_t i = 0; i < s->model->num_outputs; i++) {
    const ec_tensor *t = ec_model_tensor(s->model, plan->outputs, i);
    if (t->dtype == EC_F16) return ec_fail(EC_ERROR_UNSUPPORTED, "output '%s' is float16", t->name);
    double found = compare(t, s->arena + plan->output_buffers[i].offset,
                           (const char *)s->loaded.weights + plan->golden_outputs[i].offset);
    if (found > worst) worst = found;
  }
  if (difference != NULL) *difference = worst;
  if (worst > plan->golden_tolerance)
    return ec_fail(EC_ERROR_SELFTEST, "outputs differ from the expected ones by %g of their range, %g are allowed",
                   worst, plan->golden_tolerance);
  return EC_OK;
}

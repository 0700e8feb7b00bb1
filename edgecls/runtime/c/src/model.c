/* model.c: is this descriptor one we can believe? */
#include "platform.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "model.h"

#define MAX_COUNT 65536u              /* of anything in a table */
#define MAX_BYTES ((uint64_t)1 << 40) /* of any buffer: sums of a few cannot overflow */

uint64_t ec_align(uint64_t bytes) { return (bytes + EC_ALIGN - 1) / EC_ALIGN * EC_ALIGN; }

uint32_t ec_dtype_bytes(uint32_t dtype) {
  switch (dtype) {
    case EC_I8: case EC_U8: case EC_BOOL: return 1;
    case EC_F16: case EC_I16: return 2;
    case EC_F32: case EC_I32: return 4;
    case EC_I64: case EC_F64: return 8;
    default: return 0;
  }
}

static const void *at(const void *array, uint32_t size, uint32_t index) {
  return (const char *)array + (size_t)size * index;
}

const ec_plan *ec_model_plan(const ec_model *model, uint32_t index) { return at(model->plans, model->size_plan, index); }
const ec_kernel *ec_model_kernel(const ec_model *model, uint32_t index) {
  return at(model->kernels, model->size_kernel, index);
}
const ec_image *ec_model_image(const ec_model *model, uint32_t index) {
  return at(model->images, model->size_image, index);
}
const ec_meaning *ec_model_meaning(const ec_model *model, uint32_t index) {
  return at(model->meanings, model->size_meaning, index);
}
const ec_tensor *ec_model_tensor(const ec_model *model, const ec_tensor *array, uint32_t index) {
  return at(array, model->size_tensor, index);
}
const ec_call *ec_model_call(const ec_model *model, const ec_plan *plan, uint32_t index) {
  return at(plan->calls, model->size_call, index);
}

uint64_t ec_model_arena(const ec_model *model, const ec_plan *plan, uint32_t threads) {
  uint64_t need = plan->arena_bytes;
  for (uint32_t i = 0; i < plan->num_calls; i++) {
    const ec_call *call = ec_model_call(model, plan, i);
    const ec_kernel *kernel = ec_model_kernel(model, call->kernel);
    uint64_t end = call->workspace + kernel->workspace_once + threads * kernel->workspace_per_thread;
    if (end > need) need = end;
  }
  return ec_align(need);
}

static ec_status bad(const char *what) { return ec_fail(EC_ERROR_MODEL, "bad model descriptor: %s", what); }

#define REQUIRE(condition, what) \
  do { \
    if (!(condition)) return bad(what); \
  } while (0)
#define TRY(call) \
  do { \
    ec_status status_ = (call); \
    if (status_ != EC_OK) return status_; \
  } while (0)

static ec_status check_tensor(const ec_tensor *t) {
  uint64_t bytes = ec_dtype_bytes(t->dtype);
  REQUIRE(bytes > 0, "unknown dtype");
  REQUIRE(t->ndim <= EC_MAX_DIMS, "too many dimensions");
  for (uint32_t i = 0; i < t->ndim; i++) {
    REQUIRE(t->shape[i] > 0 && (uint64_t)t->shape[i] <= MAX_BYTES / bytes, "shape out of range");
    bytes *= (uint64_t)t->shape[i];
  }
  REQUIRE(t->bytes == bytes, "tensor bytes do not match its shape");
  REQUIRE(t->quant.count <= MAX_COUNT, "too many quantisation values");
  REQUIRE((t->quant.count == 0) == (t->quant.scale == NULL), "quantisation scales and count disagree");
  REQUIRE(t->quant.scale == NULL || (t->quant.axis >= -1 && t->quant.axis < (int32_t)t->ndim), "quantisation axis");
  return EC_OK;
}

static ec_status check_buffer(const ec_model *model, const ec_plan *plan, const ec_buffer *b, uint64_t bytes) {
  uint64_t room = b->region == EC_WEIGHTS ? model->weights_bytes : b->region == EC_ARENA ? plan->arena_bytes : 0;
  REQUIRE(b->region == EC_WEIGHTS || b->region == EC_ARENA, "unknown buffer region");
  REQUIRE(b->offset % EC_ALIGN == 0, "misaligned buffer");
  REQUIRE(b->offset <= room && bytes <= room - b->offset, "buffer outside its region");
  return EC_OK;
}

static ec_status check_kernel(const ec_model *model, const ec_kernel *k) {
  REQUIRE(k->name != NULL && k->run != NULL, "kernel without name or code");
  REQUIRE(k->num_args >= 1 && k->num_args <= MAX_COUNT && k->args != NULL, "kernel without arguments");
  REQUIRE(k->num_outputs >= 1 && k->num_outputs <= k->num_args, "kernel without outputs");
  REQUIRE(k->workspace_once <= MAX_BYTES && k->workspace_once % EC_ALIGN == 0 &&
          k->workspace_per_thread <= MAX_BYTES / EC_MAX_THREADS && k->workspace_per_thread % EC_ALIGN == 0,
          "kernel workspace");
  for (uint32_t i = 0; i < k->num_args; i++) TRY(check_tensor(ec_model_tensor(model, k->args, i)));
  return EC_OK;
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes) {
  return a < b + b_bytes && b < a + a_bytes;
}

static ec_status check_call(const ec_model *model, const ec_plan *plan, const ec_call *call) {
  REQUIRE(call->kernel < model->num_kernels, "call of a kernel that does not exist");
  REQUIRE(call->buffers != NULL, "call without buffers");
  const ec_kernel *kernel = ec_model_kernel(model, call->kernel);
  uint64_t workspace = kernel->workspace_once + kernel->workspace_per_thread, end = call->workspace + workspace;
  REQUIRE(call->workspace <= MAX_BYTES && call->workspace % EC_ALIGN == 0 && end <= plan->arena_bytes &&
          kernel->workspace_per_thread <= plan->workspace_bytes, "plan reserves too little workspace");
  for (uint32_t i = 0; i < model->num_inputs && workspace > 0; i++) /* with more threads it grows upwards */
    REQUIRE(plan->input_buffers[i].offset + ec_model_tensor(model, plan->inputs, i)->bytes <= call->workspace,
            "workspace over an input");
  for (uint32_t i = 0; i < kernel->num_args; i++) {
    const ec_buffer *b = &call->buffers[i];
    uint64_t bytes = ec_model_tensor(model, kernel->args, i)->bytes;
    TRY(check_buffer(model, plan, b, bytes));
    REQUIRE(workspace == 0 || b->region != EC_ARENA || b->offset + bytes <= call->workspace, "workspace over a buffer");
    if (i < kernel->num_args - kernel->num_outputs) continue;
    REQUIRE(b->region == EC_ARENA, "call writes into the weights");
    for (uint32_t j = 0; j < model->num_inputs; j++)
      REQUIRE(!overlap(b->offset, bytes, plan->input_buffers[j].offset, ec_model_tensor(model, plan->inputs, j)->bytes),
              "call writes over an input");
  }
  return EC_OK;
}

static ec_status check_ports(const ec_model *model, const ec_plan *plan, const ec_tensor *tensors,
                             const ec_buffer *buffers, uint32_t count) {
  REQUIRE(tensors != NULL && buffers != NULL, "plan without inputs or outputs");
  for (uint32_t i = 0; i < count; i++) {
    const ec_tensor *t = ec_model_tensor(model, tensors, i);
    REQUIRE(t->name != NULL, "input or output without a name");
    TRY(check_tensor(t));
    TRY(check_buffer(model, plan, &buffers[i], t->bytes));
    REQUIRE(buffers[i].region == EC_ARENA, "input or output outside the arena");
  }
  return EC_OK;
}

static ec_status check_image(const ec_image *m, const ec_tensor *t) {
  if (m->layout == EC_RAW) return EC_OK;
  int64_t channels = m->color == EC_L ? 1 : 3;
  bool nchw = m->layout == EC_NCHW;
  REQUIRE(nchw || m->layout == EC_NHWC, "unknown image layout");
  REQUIRE(m->color >= EC_RGB && m->color <= EC_L, "unknown colour order");
  REQUIRE(m->algorithm == EC_PILLOW, "unknown resize algorithm");
  REQUIRE(m->interpolation >= EC_NEAREST && m->interpolation <= EC_BICUBIC, "unknown interpolation");
  REQUIRE(m->resize_mode == EC_EXACT || (m->resize_mode == EC_SHORTEST && m->resize_height == m->resize_width),
          "unknown resize mode");
  REQUIRE(m->alpha == EC_ALPHA_DROP || m->alpha == EC_ALPHA_REFUSE, "unknown alpha handling");
  REQUIRE(m->height >= 1 && m->width >= 1 && m->resize_height <= 16384 && m->resize_width <= 16384, "image size");
  REQUIRE(m->height <= m->resize_height && m->width <= m->resize_width, "crop larger than the resized image");
  REQUIRE(m->crop == EC_CROP_CENTER || (m->crop == EC_CROP_NONE && m->resize_mode == EC_EXACT &&
                                        m->height == m->resize_height && m->width == m->resize_width), "unknown crop");
  for (int64_t c = 0; c < channels; c++)
    REQUIRE(isfinite(m->mean[c]) && isfinite(m->std[c]) && m->std[c] != 0.0f, "mean or std");
  REQUIRE(isfinite(m->scale), "scale");
  REQUIRE(t->dtype == EC_F32 && t->ndim == 4 && t->shape[nchw ? 1 : 3] == channels &&
          t->shape[nchw ? 2 : 1] == m->height && t->shape[nchw ? 3 : 2] == m->width,
          "image contract does not fit its input");
  return EC_OK;
}

static ec_status check_plan(const ec_model *model, const ec_plan *plan, const ec_plan *previous) {
  REQUIRE(plan->batch >= 1 && plan->batch <= MAX_COUNT && (previous == NULL || plan->batch > previous->batch),
          "batch sizes are not ascending");
  REQUIRE(plan->arena_bytes <= MAX_BYTES && plan->workspace_bytes <= MAX_BYTES / EC_MAX_THREADS, "arena size");
  REQUIRE(plan->num_calls >= 1 && plan->num_calls <= MAX_COUNT && plan->calls != NULL, "plan without calls");
  TRY(check_ports(model, plan, plan->inputs, plan->input_buffers, model->num_inputs));
  TRY(check_ports(model, plan, plan->outputs, plan->output_buffers, model->num_outputs));
  for (uint32_t i = 0; i < model->num_inputs; i++) {
    const ec_tensor *t = ec_model_tensor(model, plan->inputs, i);
    const ec_image *image = ec_model_image(model, i);
    TRY(check_image(image, t));
    REQUIRE(image->layout == EC_RAW || (uint64_t)t->shape[0] == plan->batch, "image input without the plan's batch");
  }
  for (uint32_t i = 0; i < plan->num_calls; i++) TRY(check_call(model, plan, ec_model_call(model, plan, i)));
  if (plan->golden_outputs == NULL) return EC_OK;
  REQUIRE(isfinite(plan->golden_tolerance) && plan->golden_tolerance >= 0, "golden tolerance");
  for (uint32_t i = 0; i < model->num_outputs; i++) {
    const ec_tensor *t = ec_model_tensor(model, plan->outputs, i);
    REQUIRE(plan->golden_outputs[i].region == EC_WEIGHTS, "golden output outside the weights");
    TRY(check_buffer(model, plan, &plan->golden_outputs[i], t->bytes / ec_dtype_bytes(t->dtype) * sizeof(float)));
  }
  return EC_OK;
}

static ec_status check_meaning(const ec_meaning *m) {
  REQUIRE(m->role >= EC_LOGITS && m->role <= EC_AUXILIARY && m->activation <= EC_SIGMOID, "unknown output role");
  REQUIRE(m->num_labels == 0 || m->labels != NULL, "labels missing");
  REQUIRE(m->num_labels <= 1u << 20, "too many labels");
  for (uint32_t i = 0; i < m->num_labels; i++) REQUIRE(m->labels[i] != NULL, "label missing");
  return EC_OK;
}

ec_status ec_model_check(const ec_model *m) {
  REQUIRE(m->magic == EC_MODEL_MAGIC && m->endian == EC_MODEL_ENDIAN, "not an edgecls model");
  REQUIRE(m->pointer_size == sizeof(void *), "compiled for another pointer size");
  if (m->abi_major != EC_ABI_MAJOR)
    return ec_fail(EC_ERROR_MODEL, "the model's ABI version is %u, this library knows %u", (unsigned)m->abi_major,
                   (unsigned)EC_ABI_MAJOR);
  REQUIRE(m->size_model >= sizeof(ec_model) && m->size_tensor >= sizeof(ec_tensor) &&
          m->size_kernel >= sizeof(ec_kernel) && m->size_call >= sizeof(ec_call) && m->size_plan >= sizeof(ec_plan) &&
          m->size_image >= sizeof(ec_image) && m->size_meaning >= sizeof(ec_meaning), "structures are too short");
  REQUIRE(m->size_tensor % 8 == 0 && m->size_kernel % 8 == 0 && m->size_call % 8 == 0 &&
          m->size_plan % 8 == 0 && m->size_image % 4 == 0 && m->size_meaning % sizeof(void *) == 0,
          "structures are misaligned");
  REQUIRE(m->build_id != NULL && strnlen(m->build_id, 33) == 32 && strspn(m->build_id, "0123456789abcdef") == 32,
          "build id");
  REQUIRE(m->name != NULL && m->bind != NULL, "name or bind missing");
  REQUIRE(m->task >= EC_SINGLE_LABEL && m->task <= EC_ZERO_SHOT, "unknown task");
  REQUIRE(m->weights_bytes <= MAX_BYTES && (uintptr_t)m->weights % EC_ALIGN == 0, "weights");
  REQUIRE(m->num_inputs >= 1 && m->num_inputs <= MAX_COUNT && m->images != NULL, "no inputs");
  REQUIRE(m->num_outputs >= 1 && m->num_outputs <= MAX_COUNT && m->meanings != NULL, "no outputs");
  REQUIRE(m->num_kernels >= 1 && m->num_kernels <= MAX_COUNT && m->kernels != NULL, "no kernels");
  REQUIRE(m->num_plans >= 1 && m->num_plans <= 1024 && m->plans != NULL, "no plans");
  for (uint32_t i = 0; i < m->num_outputs; i++) TRY(check_meaning(ec_model_meaning(m, i)));
  for (uint32_t i = 0; i < m->num_kernels; i++) TRY(check_kernel(m, ec_model_kernel(m, i)));
  for (uint32_t i = 0; i < m->num_plans; i++)
    TRY(check_plan(m, ec_model_plan(m, i), i > 0 ? ec_model_plan(m, i - 1) : NULL));
  return EC_OK;
}

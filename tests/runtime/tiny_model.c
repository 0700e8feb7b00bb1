/* A whole model by hand: out = W * relu(in) + bias, at batch 1 and 2. tiny_model.py writes tiny_config.h.
 *
 * `rectify` is split among threads and keeps a row in a workspace, as compiled kernels do. */
#include <stddef.h>
#include <string.h>

#include "ec_model.h"
#include "tiny_config.h" /* BUILD_ID, MODEL_NAME, WEIGHTS_BYTES, WEIGHTS_SHA256, FEATURES, IMAGE */

#define PIXELS (3 * 8 * 8)
#define CLASSES 4
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static ec_hooks hooks;

static void bind(const ec_hooks *given) { hooks = *given; }

struct closure {
  const float *in;
  float *out;
  int rows;
};

struct group { /* what a parallel body learns of its group: TVMParallelGroupEnv */
  void *sync;
  int32_t tasks;
};

static int rectify_part(int task, void *env, void *closure) {
  const struct closure *work = closure;
  const int total = work->rows * PIXELS, tasks = ((struct group *)env)->tasks;
  const int first = (int)((int64_t)total * task / tasks), last = (int)((int64_t)total * (task + 1) / tasks);
  float *scratch = hooks.alloc_workspace(1, 0, PIXELS * sizeof(float), 2, 32);
  if (!scratch || (uintptr_t)scratch % EC_ALIGN) return -1;
  for (int i = first; i < last; i++) {
    scratch[i % PIXELS] = work->in[i] > 0 ? work->in[i] : 0;
    work->out[i] = scratch[i % PIXELS];
  }
  return hooks.free_workspace(1, 0, scratch);
}

static int rectify(void *const *buffers, int rows) {
  struct closure work = {buffers[0], buffers[1], rows};
  return hooks.parallel_launch(rectify_part, &work, 0);
}

static int dense(void *const *buffers, int rows) {
  const float *in = buffers[0], *weight = buffers[1], *bias = buffers[2];
  float *out = buffers[3];
  for (int row = 0; row < rows; row++)
    for (int c = 0; c < CLASSES; c++) {
      float sum = bias[c];
      for (int i = 0; i < PIXELS; i++) sum += in[row * PIXELS + i] * weight[c * PIXELS + i];
      out[row * CLASSES + c] = sum;
    }
  return 0;
}

static int rectify_1(void *const *buffers) { return rectify(buffers, 1); }
static int rectify_2(void *const *buffers) { return rectify(buffers, 2); }
static int dense_1(void *const *buffers) { return dense(buffers, 1); }
static int dense_2(void *const *buffers) { return dense(buffers, 2); }

#define NOT_QUANTISED {NULL, NULL, -1, 0}
#define IN(name, b) {name, {b, 3, 8, 8}, (b) * PIXELS * 4, EC_F32, 4, NOT_QUANTISED}
#define OUT(name, b) {name, {b, CLASSES}, (b) * CLASSES * 4, EC_F32, 2, NOT_QUANTISED}
#define WEIGHT {NULL, {CLASSES, PIXELS}, CLASSES * PIXELS * 4, EC_F32, 2, NOT_QUANTISED}
#define BIAS {NULL, {CLASSES}, CLASSES * 4, EC_F32, 1, NOT_QUANTISED}

static const ec_tensor input_1[] = {IN("image", 1)}, input_2[] = {IN("image", 2)};
static const ec_tensor output_1[] = {OUT("logits", 1)}, output_2[] = {OUT("logits", 2)};
static const ec_tensor rectify_args_1[] = {IN(NULL, 1), IN(NULL, 1)}, rectify_args_2[] = {IN(NULL, 2), IN(NULL, 2)};
static const ec_tensor dense_args_1[] = {IN(NULL, 1), WEIGHT, BIAS, OUT(NULL, 1)};
static const ec_tensor dense_args_2[] = {IN(NULL, 2), WEIGHT, BIAS, OUT(NULL, 2)};

#define WORKSPACE (PIXELS * 4)
static const ec_kernel kernels[] = {
    {"rectify_1", rectify_1, rectify_args_1, 2, 1, 0, WORKSPACE, PIXELS},
    {"dense_1", dense_1, dense_args_1, 4, 1, 0, 0, 2 * PIXELS * CLASSES},
    {"rectify_2", rectify_2, rectify_args_2, 2, 1, 0, WORKSPACE, 2 * PIXELS},
    {"dense_2", dense_2, dense_args_2, 4, 1, 0, 0, 4 * PIXELS * CLASSES},
};

/* weights: W at 0, bias at 3072, golden output of batch 1 at 3136 and of batch 2 at 3200;
 * arena: input at 0, rectified at 768 * batch, output at 1536 * batch, workspaces after it */
#define ARENA(offset) {offset, EC_ARENA, 0}
#define CONST(offset) {offset, EC_WEIGHTS, 0}
static const ec_buffer rectify_buffers_1[] = {ARENA(0), ARENA(768)}, rectify_buffers_2[] = {ARENA(0), ARENA(1536)};
static const ec_buffer dense_buffers_1[] = {ARENA(768), CONST(0), CONST(3072), ARENA(1536)};
static const ec_buffer dense_buffers_2[] = {ARENA(1536), CONST(0), CONST(3072), ARENA(3072)};
static const ec_call calls_1[] = {{0, 0, rectify_buffers_1, 1600}, {1, 1, dense_buffers_1, 0}};
static const ec_call calls_2[] = {{2, 2, rectify_buffers_2, 3136}, {3, 3, dense_buffers_2, 0}};
static const ec_buffer golden_1[] = {CONST(3136)}, golden_2[] = {CONST(3200)};
static const ec_buffer in_1[] = {ARENA(0)}, in_2[] = {ARENA(0)}, out_1[] = {ARENA(1536)}, out_2[] = {ARENA(3072)};

static const ec_plan plans[] = {
    {1, 1600 + WORKSPACE, WORKSPACE, input_1, output_1, in_1, out_1, calls_1, COUNT(calls_1), 0, golden_1, 1e-5},
    {2, 3136 + WORKSPACE, WORKSPACE, input_2, output_2, in_2, out_2, calls_2, COUNT(calls_2), 0, golden_2, 1e-5},
};

static const ec_image images[] = {IMAGE};
static const char *const labels[] = {"cat", "dog", "fish", "bird"};
static const ec_meaning meanings[] = {{EC_LOGITS, EC_SOFTMAX, CLASSES, 0, labels, NULL}};

#ifdef STATIC_MODEL
extern const unsigned char PASTE(ec_weights_, BUILD_ID)[] __attribute__((visibility("hidden")));
#define WEIGHTS PASTE(ec_weights_, BUILD_ID)
#else
#define WEIGHTS NULL
#endif

extern const ec_model PASTE(ec_model_, BUILD_ID);
__attribute__((visibility("default"))) const ec_model PASTE(ec_model_, BUILD_ID) = {
    .magic = EC_MODEL_MAGIC,
    .endian = EC_MODEL_ENDIAN,
    .abi_major = EC_ABI_MAJOR,
    .abi_minor = EC_ABI_MINOR,
    .pointer_size = sizeof(void *),
    .size_model = sizeof(ec_model),
    .size_tensor = sizeof(ec_tensor),
    .size_kernel = sizeof(ec_kernel),
    .size_call = sizeof(ec_call),
    .size_plan = sizeof(ec_plan),
    .size_image = sizeof(ec_image),
    .size_meaning = sizeof(ec_meaning),
    .task = EC_SINGLE_LABEL,
    .build_id = TEXT(BUILD_ID),
    .name = MODEL_NAME,
    .features = FEATURES,
    .weights_bytes = WEIGHTS_BYTES,
    .weights_sha256 = WEIGHTS_SHA256,
    .weights = WEIGHTS,
    .bind = bind,
    .num_inputs = 1,
    .num_outputs = 1,
    .num_kernels = COUNT(kernels),
    .num_plans = COUNT(plans),
    .images = images,
    .meanings = meanings,
    .kernels = kernels,
    .plans = plans,
};

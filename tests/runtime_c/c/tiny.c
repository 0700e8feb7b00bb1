/* tiny.c: a hand-written compiled model, for testing the runtime without a compiler of networks.
 *
 * image [B,3,8,8] -> scale_bias (a parallel loop) -> [B,3,8,8] -> row_sum (a workspace per task) -> logits [B,3].
 * Weights: scale[3] at 0, bias[3] at 64, golden outputs of batch 1 at 128 and of batch 2 at 192.
 * tiny_config.h, written by the test, has BUILD_ID, SYMBOL, WEIGHTS_SHA256, NAME and, with EMBED, the weights. */
#include <stdint.h>
#include <string.h>

#include "ec_model.h"
#include "tiny_config.h"

enum { CHANNELS = 3, SIDE = 8, PIXELS = SIDE * SIDE, IMAGE = CHANNELS * PIXELS };

static ec_hooks hooks;
static void bind(const ec_hooks *given) { hooks = *given; }

typedef struct env {
  void *sync;
  int32_t num_task;
} env;

typedef struct job {
  const float *in, *scale, *bias;
  float *out;
  int planes;
} job;

static int scale_bias_task(int task, void *e, void *closure) {
  const job *j = closure;
  int tasks = ((env *)e)->num_task, share = (j->planes + tasks - 1) / tasks;
  for (int p = task * share; p < (task + 1) * share && p < j->planes; p++)
    for (int i = 0; i < PIXELS; i++)
      j->out[p * PIXELS + i] = j->in[p * PIXELS + i] * j->scale[p % CHANNELS] + j->bias[p % CHANNELS];
  return 0;
}

static int scale_bias(void *const *b, int batch) {
  job j = {b[0], b[1], b[2], b[3], batch * CHANNELS};
  if (j.in[0] > 1e6f) {
    const char *parts[] = {"the first pixel is ", "out of range"};
    hooks.raise("ValueError", parts, 2);
    return -1;
  }
  return hooks.parallel_launch(scale_bias_task, &j, 0);
}

static int nested_task(int task, void *e, void *closure) {
  (void)task;
  ((int *)closure)[0] = ((env *)e)->num_task;
  return 0;
}

/* One task per plane; each copies its plane to a workspace, allocates a second block, frees the first one first. */
static int row_sum_task(int task, void *e, void *closure) {
  const job *j = closure;
  int nested = 0;
  (void)e;
  float *copy = hooks.alloc_workspace(1, 0, sizeof(float) * PIXELS, 2, 32);
  double *sum = hooks.alloc_workspace(1, 0, sizeof(double), 2, 64);
  if (copy == NULL || sum == NULL || (uintptr_t)copy % EC_ALIGN != 0 || (uintptr_t)sum % EC_ALIGN != 0) return -1;
  memcpy(copy, j->in + task * PIXELS, sizeof(float) * PIXELS);
  *sum = 0;
  for (int i = 0; i < PIXELS; i++) *sum += (double)copy[i];
  if (hooks.free_workspace(1, 0, copy) != 0) return -2;
  j->out[task] = (float)*sum;
  if (hooks.free_workspace(1, 0, sum) != 0) return -3;
  if (hooks.free_workspace(1, 0, sum) == 0) return -4; /* a second time */
  if (hooks.alloc_workspace(1, 0, (uint64_t)1 << 40, 2, 32) != NULL) return -5;
  return hooks.parallel_launch(nested_task, &nested, 0) == 0 && nested == 1 ? 0 : -6;
}

static int row_sum(void *const *b, int batch) {
  job j = {b[0], NULL, NULL, b[1], batch * CHANNELS};
  return hooks.parallel_launch(row_sum_task, &j, batch * CHANNELS);
}

static int scale_bias1(void *const *b) { return scale_bias(b, 1); }
static int scale_bias2(void *const *b) { return scale_bias(b, 2); }
static int row_sum1(void *const *b) { return row_sum(b, 1); }
static int row_sum2(void *const *b) { return row_sum(b, 2); }

#define NOT_QUANTISED {0, 0, -1, 0}
#define F32(name, elements, ndim, ...) {name, {__VA_ARGS__}, 4u * (elements), EC_F32, ndim, NOT_QUANTISED}
#define PLANES(B, name) F32(name, (B) * IMAGE, 4, B, CHANNELS, SIDE, SIDE)
#define LOGITS(B, name) F32(name, (B) * CHANNELS, 2, B, CHANNELS)
#define VECTOR F32(0, CHANNELS, 1, CHANNELS)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The arena of a batch: the image, the scaled planes, the logits, the workspaces of row_sum. */
#define PLANES_BYTES(B) ((B) * IMAGE * 4u)
#define BUFFERS(B) (2 * PLANES_BYTES(B) + EC_ALIGN)
#define WORKSPACE (PIXELS * 4 + EC_ALIGN)
#define ARENA(B) (BUFFERS(B) + WORKSPACE)

#define BATCH(B)                                                                                                \
  static const ec_tensor scale_args##B[] = {PLANES(B, 0), VECTOR, VECTOR, PLANES(B, 0)};                        \
  static const ec_tensor sum_args##B[] = {PLANES(B, 0), LOGITS(B, 0)};                                          \
  static const ec_tensor inputs##B[] = {PLANES(B, "image")};                                                    \
  static const ec_tensor outputs##B[] = {LOGITS(B, "logits")};                                                  \
  static const ec_buffer in##B[] = {{0, EC_ARENA, 0}};                                                          \
  static const ec_buffer out##B[] = {{2 * PLANES_BYTES(B), EC_ARENA, 0}};                                       \
  static const ec_buffer golden##B[] = {{64 + 64 * B, EC_WEIGHTS, 0}};                                          \
  static const ec_buffer scale_buffers##B[] = {                                                                 \
      {0, EC_ARENA, 0}, {0, EC_WEIGHTS, 0}, {64, EC_WEIGHTS, 0}, {PLANES_BYTES(B), EC_ARENA, 0}};               \
  static const ec_buffer sum_buffers##B[] = {{PLANES_BYTES(B), EC_ARENA, 0}, {2 * PLANES_BYTES(B), EC_ARENA, 0}}; \
  static const ec_call calls##B[] = {{2 * (B) - 2, 0, scale_buffers##B, 0},                                     \
                                     {2 * (B) - 1, 1, sum_buffers##B, BUFFERS(B)}};
#define KERNELS(B)                                                             \
  {"scale_bias_" #B, scale_bias##B, scale_args##B, 4, 1, 0, 0, 2u * (B) * IMAGE}, \
  {"row_sum_" #B, row_sum##B, sum_args##B, 2, 1, 0, WORKSPACE, (B) * IMAGE}
#define PLAN(B) \
  {B, ARENA(B), WORKSPACE, inputs##B, outputs##B, in##B, out##B, calls##B, COUNT(calls##B), 0, golden##B, 1e-5}

BATCH(1)
BATCH(2)

static const ec_kernel kernels[] = {KERNELS(1), KERNELS(2)};
static const ec_plan plans[] = {PLAN(1), PLAN(2)};
static const ec_image images[] = {{EC_NCHW, EC_RGB, EC_BILINEAR, EC_PILLOW, EC_SHORTEST, EC_CROP_CENTER, EC_ALPHA_DROP,
                                   10, 10, SIDE, SIDE, 1.0f / 255, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}};
static const char *const labels[] = {"red \"quoted\"", "green", "blue"};
static const ec_meaning meanings[] = {{EC_LOGITS, EC_SOFTMAX, CHANNELS, 0, labels, 0}};

#ifdef EMBED
static const uint8_t weights[] __attribute__((aligned(EC_ALIGN))) = EMBED;
#define WEIGHTS weights
#else
#define WEIGHTS 0
#endif

__attribute__((visibility("default"))) const ec_model SYMBOL = {
    EC_MODEL_MAGIC, EC_MODEL_ENDIAN, EC_ABI_MAJOR, EC_ABI_MINOR, sizeof(void *), 0,
    sizeof(ec_model), sizeof(ec_tensor), sizeof(ec_kernel), sizeof(ec_call), sizeof(ec_plan), sizeof(ec_image),
    sizeof(ec_meaning), EC_SINGLE_LABEL, BUILD_ID, NAME, 0, 256, WEIGHTS_SHA256, WEIGHTS, bind,
    1, 1, COUNT(kernels), COUNT(plans), images, meanings, kernels, plans};

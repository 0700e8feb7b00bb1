/* ec_model.h: the seam between a compiled model and libedgecls.
 *
 * model.so (or a statically linked model) exports one symbol, `const ec_model ec_model_<build id>`; everything it
 * needs is reached from there. All structures are little-endian and constant; a reader checks magic, endian mark,
 * pointer size, ABI version and structure sizes before it believes any other field (ec_open does).
 * Minor versions only append fields; a reader accepts the same major and a size at least as large as its own.
 */
#ifndef EC_MODEL_H
#define EC_MODEL_H

#include <stdint.h>

#define EC_MODEL_MAGIC 0x314D4345u /* "ECM1" */
#define EC_MODEL_ENDIAN 0x01020304u
#define EC_ABI_MAJOR 2
#define EC_ABI_MINOR 0
#define EC_MAX_DIMS 8
#define EC_ALIGN 64 /* every buffer a kernel sees starts at a multiple of this */

enum ec_dtype {
  EC_F32 = 1, EC_F16 = 2, EC_I8 = 3, EC_U8 = 4, EC_I16 = 5, EC_I32 = 6, EC_I64 = 7, EC_BOOL = 8, EC_F64 = 9
};

/* Where a buffer lives: an offset into the weights, or into the session's arena. */
enum ec_region { EC_WEIGHTS = 1, EC_ARENA = 2 };

typedef struct ec_quant { /* real = (stored - zero_point) * scale, per tensor (axis -1) or per index of axis */
  const float *scale;        /* count values, NULL when not quantised */
  const int32_t *zero_point; /* count values, NULL when not quantised */
  int32_t axis;
  uint32_t count;
} ec_quant;

typedef struct ec_tensor { /* a network input or output, or the shape of a kernel argument */
  const char *name;        /* UTF-8; NULL for kernel arguments */
  int64_t shape[EC_MAX_DIMS];
  uint64_t bytes;
  uint32_t dtype; /* enum ec_dtype */
  uint32_t ndim;
  ec_quant quant;
} ec_tensor;

/* What the kernel side needs from the runtime while a kernel runs. libedgecls fills it in by `bind` before the first
 * call; the functions find their session through a thread-local context, so models and sessions never meet. */
typedef struct ec_hooks {
  int (*parallel_launch)(int (*body)(int task, void *env, void *closure), void *closure, int tasks);
  void *(*alloc_workspace)(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits);
  int (*free_workspace)(int device_type, int device_id, void *pointer);
  void (*raise)(const char *kind, const char **parts, int32_t count); /* a kernel's assertion failed */
} ec_hooks;

typedef int (*ec_kernel_fn)(void *const *buffers); /* num_args pointers, EC_ALIGN aligned; 0 on success */

typedef struct ec_kernel {
  const char *name;
  ec_kernel_fn run;
  const ec_tensor *args; /* inputs first, then outputs */
  uint32_t num_args;
  uint32_t num_outputs;
  /* Most that is held of alloc_workspace at once, EC_ALIGN rounding included: */
  uint64_t workspace_once;       /* by the calling thread, outside of parallel loops */
  uint64_t workspace_per_thread; /* by every thread, inside of them */
  uint64_t flops;
} ec_kernel;

typedef struct ec_buffer {
  uint64_t offset; /* multiple of EC_ALIGN */
  uint32_t region; /* enum ec_region */
  uint32_t reserved;
} ec_buffer;

typedef struct ec_call {
  uint32_t kernel; /* index into ec_model.kernels */
  uint32_t layer;  /* index into the manifest's layers[] */
  const ec_buffer *buffers; /* kernel.num_args of them; an input may be the output's buffer: the kernel is made for it */
  uint64_t workspace; /* offset into the arena: there the kernel's workspace_once begins, then workspace_per_thread of
                         thread 0, of thread 1, ... */
} ec_call;

typedef struct ec_plan { /* the network at one batch size */
  uint64_t batch;
  uint64_t arena_bytes;     /* with one thread: inputs, outputs, activations and workspaces */
  uint64_t workspace_bytes; /* the largest workspace_per_thread: what each further thread adds at most. The session's
                               arena is arena_bytes, or where the workspaces of a call end, if that is more */
  const ec_tensor *inputs;  /* ec_model.num_inputs, shapes with this batch */
  const ec_tensor *outputs; /* ec_model.num_outputs */
  const ec_buffer *input_buffers;  /* in EC_ARENA, never written by a call: they survive an invoke */
  const ec_buffer *output_buffers; /* in EC_ARENA */
  const ec_call *calls;
  uint32_t num_calls;
  uint32_t reserved;
  const ec_buffer *golden_outputs; /* in EC_WEIGHTS: expected float32 outputs for ec_golden inputs; NULL when none */
  double golden_tolerance;         /* largest |difference| allowed, relative to (max - min) of the expected output */
} ec_plan;

/* Golden input i of any tensor: h = i * 2654435761u + 1u; h ^= h >> 16; h *= 0x45d9f3bu; h ^= h >> 16 (all uint32);
 * float32: (float)(h >> 8) * 0x1p-23f - 1.0f; integers and bool: h & 1. */

enum ec_layout { EC_RAW = 0, EC_NCHW = 1, EC_NHWC = 2 };
enum ec_color { EC_RGB = 1, EC_BGR = 2, EC_L = 3 };
enum ec_interpolation { EC_NEAREST = 1, EC_BILINEAR = 2, EC_BICUBIC = 3 };
enum ec_resize_algorithm { EC_PILLOW = 1 };
enum ec_resize_mode { EC_SHORTEST = 1, EC_EXACT = 2 };
enum ec_crop { EC_CROP_NONE = 0, EC_CROP_CENTER = 1 };
enum ec_alpha { EC_ALPHA_DROP = 1, EC_ALPHA_REFUSE = 2 };

typedef struct ec_image { /* the contract of one input; layout EC_RAW: not an image, nothing else counts */
  uint32_t layout, color, interpolation, algorithm, resize_mode, crop, alpha;
  uint32_t resize_height, resize_width; /* pixels; equal for EC_SHORTEST */
  uint32_t height, width;               /* what the network takes */
  float scale;
  float mean[3], std[3]; /* in tensor channel order; value = ((float)pixel * scale - mean) / std, each step rounded */
} ec_image;

enum ec_role { EC_LOGITS = 1, EC_PROBABILITIES = 2, EC_EMBEDDING = 3, EC_AUXILIARY = 4 };
enum ec_activation { EC_NONE = 0, EC_SOFTMAX = 1, EC_SIGMOID = 2 };
enum ec_task { EC_SINGLE_LABEL = 1, EC_MULTI_LABEL = 2, EC_ZERO_SHOT = 3 };

typedef struct ec_meaning { /* the contract of one output */
  uint32_t role, activation;
  uint32_t num_labels; /* 0 when unknown */
  uint32_t reserved;
  const char *const *labels;
  const float *thresholds; /* num_labels, or NULL */
} ec_meaning;

typedef struct ec_model {
  uint32_t magic, endian;
  uint16_t abi_major, abi_minor, pointer_size, reserved;
  uint32_t size_model, size_tensor, size_kernel, size_call, size_plan, size_image, size_meaning;
  uint32_t task;
  const char *build_id; /* 32 hex digits; the symbol is ec_model_<build id> */
  const char *name;
  uint64_t features; /* EC_FEATURE_* bits the code relies on */
  uint64_t weights_bytes;
  uint8_t weights_sha256[32];
  const void *weights; /* embedded and EC_ALIGN aligned, or NULL: weights.bin is mapped */
  void (*bind)(const ec_hooks *hooks);
  uint32_t num_inputs, num_outputs, num_kernels, num_plans;
  const ec_image *images;     /* num_inputs */
  const ec_meaning *meanings; /* num_outputs */
  const ec_kernel *kernels;
  const ec_plan *plans; /* ascending batch */
} ec_model;

/* Bundle member header.bin: what ec_open checks before it loads any code. 256 bytes, little-endian. */
enum ec_arch { EC_X86_64 = 1, EC_AARCH64 = 2, EC_ARMV7 = 3 };

#define EC_HEADER_MAGIC "ECLSHDR\0"
#define EC_HEADER_VERSION 1

typedef struct ec_header {
  char magic[8];
  uint32_t version;
  uint32_t arch;
  uint64_t features;
  uint64_t weights_bytes;
  uint64_t arena_bytes;     /* of the smallest batch, with one thread */
  uint64_t workspace_bytes; /* what each further thread adds at most */
  uint8_t model_sha256[32];
  uint8_t weights_sha256[32];
  char symbol[64]; /* NUL-terminated */
  uint8_t reserved[80];
} ec_header;

/* ISA features, one bit each; target files name them in lower case without the prefix. */
#define EC_FEATURE_AVX2 (1ull << 0)
#define EC_FEATURE_FMA (1ull << 1)
#define EC_FEATURE_AVX512F (1ull << 2)
#define EC_FEATURE_AVX512BW (1ull << 3)
#define EC_FEATURE_AVX512DQ (1ull << 4)
#define EC_FEATURE_AVX512VL (1ull << 5)
#define EC_FEATURE_AVX512VNNI (1ull << 6)
#define EC_FEATURE_F16C (1ull << 7)
#define EC_FEATURE_NEON (1ull << 16)
#define EC_FEATURE_VFPV4 (1ull << 17)
#define EC_FEATURE_FP16 (1ull << 18)
#define EC_FEATURE_DOTPROD (1ull << 19)
#define EC_FEATURE_I8MM (1ull << 20)
#define EC_FEATURE_SVE (1ull << 21)
#define EC_FEATURE_CRC (1ull << 22)
#define EC_FEATURE_LSE (1ull << 23)

#endif

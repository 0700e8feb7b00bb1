/* descriptor.c: the tiny model with one thing wrong at a time; each must be refused with its own sentence. */
#include <stdio.h>
#include <stdlib.h>

#include "edgecls.h"
#include "tiny.c"

static int failures;

static void expect(const ec_model *model, ec_status expected, const char *what) {
  ec_session *session;
  uint64_t bytes;
  ec_status status = ec_open_static(model, NULL, &session);
  if (status != expected || (session != NULL) != (expected == EC_OK) ||
      ec_arena_bytes_static(model, NULL, &bytes) != expected) {
    fprintf(stderr, "%s: status %d (%s)\n", what, (int)status, ec_last_error());
    failures++;
  }
  if (status != EC_OK) printf("%s\n", ec_last_error());
  ec_close(session);
}

/* A fresh copy of the descriptor and of what it points to, with one statement applied. */
#define WRONG_AS(status, statement)                                                           \
  do {                                                                                        \
    ec_model m = SYMBOL;                                                                      \
    ec_plan p[2] = {plans[0], plans[1]};                                                      \
    ec_kernel k[4] = {kernels[0], kernels[1], kernels[2], kernels[3]};                        \
    ec_image g = images[0];                                                                   \
    ec_meaning o = meanings[0];                                                               \
    ec_tensor in = inputs1[0], a[4] = {scale_args1[0], scale_args1[1], scale_args1[2], scale_args1[3]}; \
    ec_call c[2] = {calls1[0], calls1[1]};                                                    \
    ec_buffer b[4] = {scale_buffers1[0], scale_buffers1[1], scale_buffers1[2], scale_buffers1[3]}; \
    ec_buffer i = in1[0], y = golden1[0];                                                     \
    m.plans = p, m.kernels = k, m.images = &g, m.meanings = &o, p[0].inputs = &in, k[0].args = a; \
    p[0].calls = c, c[0].buffers = b, p[0].input_buffers = &i, p[0].golden_outputs = &y;      \
    statement;                                                                                \
    expect(&m, status, #statement);                                                           \
  } while (0)
#define WRONG(statement) WRONG_AS(EC_ERROR_MODEL, statement)

int main(void) {
  WRONG_AS(EC_OK, (void)0);
  WRONG_AS(EC_OK, m.abi_minor = 7);
  WRONG(m.magic ^= 1);
  WRONG(m.endian = 0x04030201);
  WRONG(m.abi_major = EC_ABI_MAJOR - 1);
  WRONG(m.pointer_size = 12 - m.pointer_size);
  WRONG(m.size_model -= 8);
  WRONG(m.size_tensor -= 8);
  WRONG(m.size_kernel = 0);
  WRONG(m.size_call += 1);
  WRONG(m.size_plan = 8);
  WRONG(m.size_image -= 4);
  WRONG(m.size_meaning -= 8);
  WRONG(m.build_id = NULL);
  WRONG(m.build_id = "../../../../../../../../../etc/pa");
  WRONG(m.name = NULL);
  WRONG(m.bind = NULL);
  WRONG(m.task = 9);
  WRONG(m.weights = (const char *)m.weights + 4);
  WRONG(m.weights = NULL);
  WRONG(m.weights_bytes = 192);
  WRONG(m.num_inputs = 0);
  WRONG(m.num_outputs = 0xFFFFFFFF);
  WRONG(m.num_kernels = 1);
  WRONG(m.num_plans = 0);
  WRONG(m.images = NULL);
  WRONG(m.kernels = NULL);
  WRONG(p[0].batch = 2);
  WRONG(p[0].batch = 0);
  WRONG(p[0].arena_bytes -= 64);
  WRONG(p[0].arena_bytes = ~0ull);
  WRONG(p[0].workspace_bytes -= 64);
  WRONG(p[0].workspace_bytes = ~0ull);
  WRONG(p[0].num_calls = 0);
  WRONG(p[0].outputs = NULL);
  WRONG(p[0].golden_tolerance = -1);
  WRONG(y.region = EC_ARENA);
  WRONG(y.offset = 256);
  WRONG(in.name = NULL);
  WRONG(in.dtype = 77);
  WRONG(in.ndim = 9);
  WRONG(in.bytes += 4);
  WRONG(in.shape[0] = -1);
  WRONG(in.shape[0] = INT64_MAX);
  WRONG(in.shape[2] = 4; in.shape[3] = 16);
  WRONG(in.quant.count = 1);
  WRONG(i.offset = 32);
  WRONG(i.region = EC_WEIGHTS);
  WRONG(i.offset = ~0ull - 63);
  WRONG(i.offset = PLANES_BYTES(1)); /* the first kernel writes there */
  WRONG(k[0].run = NULL);
  WRONG(k[0].num_args = 0);
  WRONG(k[0].num_outputs = 5);
  WRONG(k[1].workspace_per_thread = 1 << 20);
  WRONG(k[1].workspace_per_thread = ~0ull - 63);
  WRONG(k[1].workspace_per_thread -= 4);
  WRONG(k[1].workspace_once = 64);
  WRONG(k[1].workspace_once = ~0ull - 63);
  WRONG(c[1].workspace = ~0ull - 63);
  WRONG(c[1].workspace += 4);
  WRONG(c[1].workspace += 64);
  WRONG(c[1].workspace -= 64);
  WRONG(c[1].workspace = 0);
  WRONG(a[3].bytes = 4);
  WRONG(c[0].kernel = 4);
  WRONG(c[0].buffers = NULL);
  WRONG(b[0].region = 3);
  WRONG(b[1].offset = 1);
  WRONG(b[1].offset = 256);
  WRONG(b[3].region = EC_WEIGHTS);
  WRONG(b[3].offset = 2 * PLANES_BYTES(1));
  WRONG(g.layout = 3);
  WRONG(g.layout = EC_NHWC);
  WRONG(g.color = EC_L);
  WRONG(g.color = 0);
  WRONG(g.interpolation = 4);
  WRONG(g.algorithm = 2);
  WRONG(g.resize_mode = 3);
  WRONG(g.resize_width = 11);
  WRONG(g.resize_height = g.resize_width = 7);
  WRONG(g.resize_height = g.resize_width = 16385);
  WRONG(g.crop = EC_CROP_NONE);
  WRONG(g.alpha = 0);
  WRONG(g.height = 0);
  WRONG(g.std[1] = 0);
  WRONG(g.mean[2] = 1e38f * 1e38f);
  WRONG(o.role = 0);
  WRONG(o.activation = 3);
  WRONG(o.labels = NULL);
  WRONG_AS(EC_ERROR_DEVICE, m.features = 1ull << 63);
  puts("done");
  return failures > 0;
}

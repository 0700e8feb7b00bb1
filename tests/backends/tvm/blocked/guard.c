/* guard.c: every call of a model's first plan on buffers of its own, between pages that nobody may touch.
 * guard model.so weights.bin symbol end|start: buffers end (to the next 64 bytes) or start at such a page. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ec_model.h"

#define PAGE 4096ul
static bool at_end;

typedef struct { char *map, *data; size_t mapped; } guarded;

static void require(bool condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static guarded take(size_t bytes) {
  size_t room = (bytes + 63) / 64 * 64, inner = (room + PAGE - 1) / PAGE * PAGE;
  guarded g = {0, 0, inner + 2 * PAGE};
  g.map = mmap(NULL, g.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(g.map != MAP_FAILED && mprotect(g.map + PAGE, inner, PROT_READ | PROT_WRITE) == 0, "no memory");
  memset(g.map + PAGE, 0xff, inner); /* NaN */
  g.data = at_end ? g.map + PAGE + inner - room : g.map + PAGE;
  return g;
}

/* What lies in the same pages must still be as it was. */
static void release(guarded g, size_t bytes) {
  if (g.map == NULL) return; /* another argument's */
  for (char *p = g.map + PAGE; p < g.map + g.mapped - PAGE; p++)
    require((p >= g.data && p < g.data + bytes) || *p == (char)0xff, "written outside a buffer");
  munmap(g.map, g.mapped);
}

static struct { guarded memory; uint64_t bytes; } live[64];
static int depth;
static void *alloc_workspace(int t, int i, uint64_t bytes, int code, int bits) {
  (void)t, (void)i, (void)code, (void)bits;
  live[depth].memory = take(bytes), live[depth].bytes = bytes;
  return live[depth++].memory.data;
}
static int free_workspace(int t, int i, void *pointer) {
  (void)t, (void)i;
  require(depth > 0 && live[--depth].memory.data == pointer, "workspaces out of order");
  release(live[depth].memory, live[depth].bytes);
  return 0;
}
typedef struct { void *sync; int32_t tasks; } environment;
static int launch(int (*body)(int, void *, void *), void *closure, int tasks) {
  environment env = {NULL, tasks > 0 ? tasks : 3};
  int result = 0;
  for (int i = 0; i < env.tasks && result == 0; i++) result = body(i, &env, closure);
  return result;
}
static void raised(const char *kind, const char **parts, int32_t count) {
  (void)parts, (void)count;
  require(false, kind);
}

int main(int argc, char **argv) {
  require(argc == 5, "guard model.so weights.bin symbol end|start");
  at_end = strcmp(argv[4], "end") == 0;
  void *library = dlopen(argv[1], RTLD_NOW);
  require(library != NULL, "the model cannot be loaded");
  const ec_model *m = dlsym(library, argv[3]);
  FILE *file = fopen(argv[2], "rb");
  char *weights = malloc(m->weights_bytes);
  require(file != NULL && fread(weights, 1, m->weights_bytes, file) == m->weights_bytes, "weights.bin is short");
  static const ec_hooks hooks = {launch, alloc_workspace, free_workspace, raised};
  m->bind(&hooks);
  const ec_plan *plan = m->plans;
  char *arena = malloc(plan->arena_bytes);
  memset(arena, 0xff, plan->arena_bytes);
  for (uint32_t i = 0; i < m->num_inputs; i++)
    for (uint64_t k = 0; k < plan->inputs[i].bytes / 4; k++) {
      uint32_t h = (uint32_t)k * 2654435761u + 1u;
      h ^= h >> 16, h *= 0x45d9f3bu, h ^= h >> 16;
      ((float *)(void *)(arena + plan->input_buffers[i].offset))[k] = (float)(h >> 8) * 0x1p-23f - 1.0f;
    }
  for (uint32_t c = 0; c < plan->num_calls; c++) {
    const ec_call *call = &plan->calls[c];
    const ec_kernel *kernel = &m->kernels[call->kernel];
    guarded buffers[64];
    void *pointers[64];
    for (uint32_t a = 0; a < kernel->num_args; a++) {
      const ec_buffer *b = &call->buffers[a];
      uint32_t same = 0; /* the output may be over an input: they share the memory */
      while (same < a && (b->region != EC_ARENA || call->buffers[same].region != EC_ARENA ||
                          call->buffers[same].offset != b->offset)) same++;
      buffers[a] = same < a ? (guarded){0} : take(kernel->args[a].bytes);
      pointers[a] = same < a ? pointers[same] : buffers[a].data;
      if (a < kernel->num_args - kernel->num_outputs)
        memcpy(pointers[a], (b->region == EC_WEIGHTS ? weights : arena) + b->offset, kernel->args[a].bytes);
    }
    fprintf(stderr, "%s\n", kernel->name);
    require(kernel->run(pointers) == 0, "the kernel failed");
    for (uint32_t a = kernel->num_args - kernel->num_outputs; a < kernel->num_args; a++)
      memcpy(arena + call->buffers[a].offset, pointers[a], kernel->args[a].bytes);
    for (uint32_t a = 0; a < kernel->num_args; a++) release(buffers[a], kernel->args[a].bytes);
  }
  for (uint32_t o = 0; o < m->num_outputs; o++)
    for (uint64_t k = 0; k < plan->outputs[o].bytes / 4; k++) {
      float got = ((float *)(void *)(arena + plan->output_buffers[o].offset))[k];
      float want = ((float *)(void *)(weights + plan->golden_outputs[o].offset))[k];
      require(fabsf(got - want) <= 1e-3f * (1 + fabsf(want)), "another result between guards");
    }
  printf("done\n");
  return 0;
}

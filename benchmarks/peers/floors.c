/* The best rates of this machine: fused multiply-adds in registers, the same fed from the first cache, and reading
 * BYTES of memory again and again.
 *
 *   floors THREADS BYTES
 *
 * Threads work in common windows of time; a window's rate is the sum of theirs, and the best window counts. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
/* as many chains as hide the latency and leave registers for the operands */
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#if defined(__AVX512F__) || defined(__aarch64__)
#define CHAINS 24
#define EACH(X) TWELVE(X) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)
#else
#define CHAINS 12
#define EACH(X) TWELVE(X)
#endif

/* the tile of a matrix product: its sums, a row of weights and an element fill the registers */
#if defined(__AVX512F__)
enum { ROWS = 14, VECTORS = 2 };
#elif defined(__aarch64__)
enum { ROWS = 8, VECTORS = 3 };
#elif defined(__AVX__)
enum { ROWS = 6, VECTORS = 2 };
#else
enum { ROWS = 4, VECTORS = 3 };
#endif

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

enum { WINDOWS = 8, MAX_THREADS = 256, STEPS = 4096, DEPTH = 128, PRODUCTS = 32 };
static const double WINDOW_S = 0.025;

typedef struct {
  pthread_t thread;
  words *memory;
  size_t count;
  double flops[WINDOWS], fed[WINDOWS], bytes[WINDOWS];
  floats weights[DEPTH][VECTORS];
  float rows[DEPTH][ROWS];
} worker;

static pthread_barrier_t gate;
static volatile float one = 0.9999f, little = 0.0001f;
static volatile float float_sink;
static volatile uint32_t word_sink;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double multiply_add(worker *w) {
  (void)w;
  floats b = (floats){0} + one, c = (floats){0} + little;
#define DECLARE(i) floats a##i = c * (float)i;
#define STEP(i) a##i = a##i * b + c;
#define ADD(i) c += a##i;
  EACH(DECLARE)
  for (int step = 0; step < STEPS; step++) { EACH(STEP) }
  EACH(ADD)
  float_sink = c[0];
  return 2.0 * CHAINS * LANES * STEPS;
}

/* A product of rows (ROWS, DEPTH) and weights (DEPTH, VECTORS * LANES), both in the first cache. */
static double multiply_matrices(worker *w) {
  for (int product = 0; product < PRODUCTS; product++) {
    floats sums[ROWS][VECTORS] = {{{0}}};
    for (int k = 0; k < DEPTH; k++)
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 16
        for (int j = 0; j < VECTORS; j++) sums[i][j] += w->weights[k][j] * w->rows[k][i];
    floats total = sums[0][0];
    for (int i = 0; i < ROWS; i++)
      for (int j = 0; j < VECTORS; j++) total += sums[i][j];
    float_sink = total[0];
  }
  return 2.0 * ROWS * VECTORS * LANES * DEPTH * PRODUCTS;
}

static double read_all(worker *w) {
  words sums[8] = {{0}};
  for (size_t i = 0; i + 8 <= w->count; i += 8)
    for (int j = 0; j < 8; j++) sums[j] ^= w->memory[i + j];
  for (int j = 1; j < 8; j++) sums[0] ^= sums[j];
  word_sink = sums[0][0];
  return (double)(w->count / 8 * 8 * sizeof(words));
}

static void run(worker *w, double (*work)(worker *), double *rates) {
  work(w);
  for (int i = 0; i < WINDOWS; i++) {
    pthread_barrier_wait(&gate);
    double start = now(), done = 0, seconds;
    do {
      done += work(w);
      seconds = now() - start;
    } while (seconds < WINDOW_S);
    rates[i] = done / seconds;
  }
}

static void *both(void *argument) {
  worker *w = argument;
  if (posix_memalign((void **)&w->memory, 64, w->count * sizeof(words)) != 0) exit(1);
  memset(w->memory, 1, w->count * sizeof(words));
  run(w, multiply_add, w->flops);
  run(w, multiply_matrices, w->fed);
  run(w, read_all, w->bytes);
  return NULL;
}

int main(int argc, char **argv) {
  static worker workers[MAX_THREADS];
  int threads = argc == 3 ? atoi(argv[1]) : 0;
  double bytes = argc == 3 ? atof(argv[2]) : 0, best_flops = 0, best_fed = 0, best_bytes = 0;
  if (threads < 1 || threads > MAX_THREADS || bytes < 1) return 2;
  pthread_barrier_init(&gate, NULL, (unsigned)threads);
  for (int t = 0; t < threads; t++) {
    workers[t].count = ((size_t)(bytes / threads) / (8 * sizeof(words)) + 1) * 8;
    if (pthread_create(&workers[t].thread, NULL, both, &workers[t]) != 0) return 1;
  }
  for (int t = 0; t < threads; t++) pthread_join(workers[t].thread, NULL);
  for (int i = 0; i < WINDOWS; i++) {
    double flops_sum = 0, fed_sum = 0, bytes_sum = 0;
    for (int t = 0; t < threads; t++)
      flops_sum += workers[t].flops[i], fed_sum += workers[t].fed[i], bytes_sum += workers[t].bytes[i];
    best_flops = flops_sum > best_flops ? flops_sum : best_flops;
    best_fed = fed_sum > best_fed ? fed_sum : best_fed;
    best_bytes = bytes_sum > best_bytes ? bytes_sum : best_bytes;
  }
  printf("{\"lanes\": %d, \"flops_per_s\": %.6g, \"fed_flops_per_s\": %.6g, \"read_bytes_per_s\": %.6g}\n", LANES,
         best_flops, best_fed, best_bytes);
  return 0;
}

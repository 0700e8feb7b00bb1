/* peaks.h: what a core does at most: fused multiply-adds of registers alone, and those of a product in the first
 * cache. */
#ifndef PEAKS_H
#define PEAKS_H

#include <stdint.h>

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

enum { STEPS = 4096, DEPTH = 128, PRODUCTS = 32 };

typedef struct {
  floats weights[DEPTH][VECTORS];
  float rows[DEPTH][ROWS];
} factors;

static volatile float one = 0.9999f, little = 0.0001f;
static volatile float float_sink;

/* Numbers as a network has them: a core multiplies zeros at a higher clock. */
static void fill(factors *f) {
  uint32_t state = 1;
  for (int k = 0; k < DEPTH; k++) {
    for (int i = 0; i < VECTORS * LANES; i++) {
      state = state * 1664525u + 1013904223u;
      f->weights[k][i / LANES][i % LANES] = (float)(state >> 8) * 0x1p-23f - 1.0f;
    }
    for (int i = 0; i < ROWS; i++) {
      state = state * 1664525u + 1013904223u;
      f->rows[k][i] = (float)(state >> 8) * 0x1p-23f - 1.0f;
    }
  }
}

/* Returns how many floating-point operations it did. */
static double multiply_add(void) {
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
static double multiply_matrices(const factors *f) {
  for (int product = 0; product < PRODUCTS; product++) {
    floats sums[ROWS][VECTORS] = {{{0}}};
    for (int k = 0; k < DEPTH; k++)
#pragma GCC unroll 16
      for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 16
        for (int j = 0; j < VECTORS; j++) sums[i][j] += f->weights[k][j] * f->rows[k][i];
    floats total = sums[0][0];
    for (int i = 0; i < ROWS; i++)
      for (int j = 0; j < VECTORS; j++) total += sums[i][j];
    float_sink = total[0];
  }
  return 2.0 * ROWS * VECTORS * LANES * DEPTH * PRODUCTS;
}

#endif

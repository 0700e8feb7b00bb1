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

#include "peaks.h"

typedef uint32_t words __attribute__((vector_size(4 * LANES)));

enum { WINDOWS = 8, MAX_THREADS = 256, LEAST_BYTES = 1 << 20 };
static const double WINDOW_S = 0.025;

typedef struct {
  pthread_t thread;
  words *memory;
  size_t count;
  double flops[WINDOWS], fed[WINDOWS], bytes[WINDOWS];
  factors factors;
} worker;

static pthread_barrier_t gate;
static volatile uint32_t word_sink;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double registers(worker *w) {
  (void)w;
  return multiply_add();
}

static double first_cache(worker *w) { return multiply_matrices(&w->factors); }

static double read_all(worker *w) {
  words sums[8] = {{0}};
  size_t bytes = w->count / 8 * 8 * sizeof(words), rounds = LEAST_BYTES / bytes + 1;
  for (size_t round = 0; round < rounds; round++) {
    __asm__ volatile("" ::: "memory"); /* read anew */
    for (size_t i = 0; i + 8 <= w->count; i += 8)
      for (int j = 0; j < 8; j++) sums[j] ^= w->memory[i + j];
  }
  for (int j = 1; j < 8; j++) sums[0] ^= sums[j];
  word_sink = sums[0][0];
  return (double)(bytes * rounds);
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
  fill(&w->factors);
  run(w, registers, w->flops);
  run(w, first_cache, w->fed);
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

/* driver.c: what the tests ask of libedgecls, one verb a run; compiled with the sanitizers. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgecls.h"

#define CHECK(condition)                                                            \
  do {                                                                              \
    if (!(condition)) {                                                             \
      fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, ec_last_error());  \
      exit(1);                                                                      \
    }                                                                               \
  } while (0)

#ifdef COUNT_ALLOCATIONS /* glibc lets a program bring its own malloc */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
static _Atomic long allocations;
void *malloc(size_t n) { allocations++; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { allocations++; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { allocations++; return __libc_realloc(p, n); }
#endif

static ec_session *open_with(const char *folder, uint32_t threads) {
  ec_options options = EC_OPTIONS_INIT;
  ec_session *session;
  options.threads = threads;
  CHECK(ec_open(folder, &options, &session) == EC_OK);
  CHECK(ec_threads(session) == threads);
  return session;
}

/* Outputs of both batches, as hexadecimal bits. */
static void outputs(const char *folder, uint32_t threads) {
  ec_session *session = open_with(folder, threads);
  for (uint64_t batch = 1; batch <= 2; batch++) {
    CHECK(ec_golden_input(session, batch) == EC_OK && ec_invoke(session, batch) == EC_OK);
    const unsigned char *data = ec_output_data(session, batch, 0);
    for (uint64_t i = 0; i < ec_output(session, batch, 0)->bytes; i++) printf("%02x", data[i]);
    printf("\n");
  }
  ec_close(session);
}

static void selftest(const char *folder) {
  ec_session *session = open_with(folder, 2);
  ec_call_time times[2];
  double difference = -1;
  CHECK(ec_selftest(session, 1, &difference) == EC_OK && difference >= 0 && difference < 1e-5);
  CHECK(ec_selftest(session, 2, NULL) == EC_OK);
  CHECK(ec_profile(session, 2, 5, times, 2) == EC_OK);
  CHECK(times[0].layer == 0 && times[0].kernel == 2 && times[1].layer == 1 && times[1].kernel == 3);
  CHECK(times[0].total_ns > 0 && times[1].total_ns > 0);
  CHECK(ec_profile(session, 2, 5, times, 1) == EC_ERROR_ARGUMENT);
  ec_close(session);
}

static void misuse(const char *folder) {
  ec_session *session = open_with(folder, 1), *other;
  ec_options options = EC_OPTIONS_INIT;
  uint8_t pixel[4] = {1, 2, 3, 4};
  ec_pixels pixels = {pixel, 1, 1, 3, 0};
  uint64_t bytes, all;
  CHECK(ec_invoke(session, 3) == EC_ERROR_ARGUMENT && strstr(ec_last_error(), "batch 3") != NULL);
  CHECK(ec_input(session, 1, 1) == NULL && ec_input_data(session, 7, 0) == NULL && ec_output(session, 1, 9) == NULL);
  CHECK(ec_invoke_call(session, 1, 2) == EC_ERROR_ARGUMENT && ec_invoke_call(session, 1, 1) == EC_OK);
  CHECK(ec_preprocess(session, 1, 0, 1, &pixels) == EC_ERROR_ARGUMENT);
  CHECK(ec_preprocess(session, 1, 0, 0, &pixels) == EC_OK);
  pixels.channels = 2;
  CHECK(ec_preprocess(session, 1, 0, 0, &pixels) == EC_ERROR_IMAGE);
  pixels = (ec_pixels){pixel, 0, 1, 3, 0};
  CHECK(ec_preprocess(session, 1, 0, 0, &pixels) == EC_ERROR_IMAGE);
  ((float *)ec_input_data(session, 1, 0))[0] = 2e6f;
  CHECK(ec_invoke(session, 1) == EC_ERROR_KERNEL);
  CHECK(strcmp(ec_last_error(), "kernel scale_bias_1 (layer 0): ValueError: the first pixel is out of range") == 0);
  CHECK(ec_selftest(session, 1, NULL) == EC_OK); /* it recovers */

  CHECK(ec_open("/nonexistent", NULL, &other) == EC_ERROR_IO && other == NULL);
  CHECK(ec_open(NULL, NULL, &other) == EC_ERROR_ARGUMENT);
  options.threads = EC_MAX_THREADS + 1;
  CHECK(ec_open(folder, &options, &other) == EC_ERROR_ARGUMENT);
  options.threads = 1;
  CHECK(ec_arena_bytes(folder, &options, &all) == EC_OK);
  options.max_batch = 1;
  CHECK(ec_arena_bytes(folder, &options, &bytes) == EC_OK && bytes < all);
  char *arena = aligned_alloc(EC_ALIGN, bytes);
  options.arena = arena + 1;
  options.arena_bytes = bytes;
  CHECK(ec_open(folder, &options, &other) == EC_ERROR_ARGUMENT);
  options.arena = arena;
  options.arena_bytes = bytes - 1;
  CHECK(ec_open(folder, &options, &other) == EC_ERROR_MEMORY);
  options.arena_bytes = bytes;
  CHECK(ec_open(folder, &options, &other) == EC_OK);
  CHECK(ec_plan_at(other, 1) == NULL && ec_invoke(other, 2) == EC_ERROR_ARGUMENT);
  CHECK((char *)ec_input_data(other, 1, 0) == arena && ec_selftest(other, 1, NULL) == EC_OK);
  ec_close(other);
  free(arena);
  ec_close(session);
  ec_close(NULL);
}

/* Every byte of header.bin, each bit in turn: must be refused. */
static void flip_header(const char *folder) {
  char path[4096];
  uint8_t header[256];
  ec_session *session;
  snprintf(path, sizeof path, "%s/header.bin", folder);
  FILE *file = fopen(path, "r+b");
  CHECK(file != NULL && fread(header, 1, sizeof header, file) == sizeof header);
  for (int bit = 0; bit < 8; bit++)
    for (int i = 0; i < (int)sizeof header; i++) {
      fseek(file, i, SEEK_SET);
      fputc(header[i] ^ 1 << bit, file);
      fflush(file);
      if (ec_open(folder, NULL, &session) == EC_OK || session != NULL || ec_last_error()[0] == '\0') {
        fprintf(stderr, "byte %d bit %d was not noticed\n", i, bit);
        exit(1);
      }
      fseek(file, i, SEEK_SET);
      fputc(header[i], file);
      fflush(file);
    }
  fclose(file);
  CHECK(ec_open(folder, NULL, &session) == EC_OK);
  ec_close(session);
}

static void *run_many(void *folder) {
  for (int round = 0; round < 3; round++) {
    ec_session *session = open_with(folder, 2);
    uint8_t image[30 * 20 * 3] = {0};
    ec_pixels pixels = {image, 30, 20, 3, 0};
    for (int i = 0; i < 10; i++) {
      CHECK(ec_preprocess(session, 2, 0, 1, &pixels) == EC_OK && ec_invoke(session, 2) == EC_OK);
      CHECK(ec_invoke(session, 7) == EC_ERROR_ARGUMENT && strstr(ec_last_error(), "batch 7") != NULL);
      CHECK(ec_selftest(session, 1, NULL) == EC_OK);
    }
    ec_close(session);
  }
  return NULL;
}

static void concurrent(char *folder) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, run_many, folder) == 0);
  for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

#ifdef COUNT_ALLOCATIONS
static void allocation_free(const char *folder) {
  uint8_t image[30 * 20 * 3] = {0};
  ec_pixels pixels = {image, 30, 20, 3, 0};
  for (uint32_t threads = 1; threads <= 4; threads *= 2) {
    ec_session *session = open_with(folder, threads);
    CHECK(ec_preprocess(session, 1, 0, 0, &pixels) == EC_OK);
    long before = allocations;
    CHECK(before > 0); /* the counter counts */
    for (int i = 0; i < 20; i++)
      CHECK(ec_preprocess(session, 1, 0, 0, &pixels) == EC_OK && ec_invoke(session, 1) == EC_OK &&
            ec_invoke(session, 2) == EC_OK);
    CHECK(allocations == before);
    ec_close(session);
  }
}
#endif

/* ec_install of each file named on stdin; a line "status folder-or-message" each. */
static void install_all(const char *destination) {
  char path[4096], folder[4096];
  while (fgets(path, sizeof path, stdin) != NULL) {
    path[strcspn(path, "\n")] = '\0';
    ec_status status = ec_install(path, destination, folder, sizeof folder);
    printf("%d %s\n", (int)status, status == EC_OK ? folder : ec_last_error());
  }
}

int main(int argc, char **argv) {
  CHECK(argc >= 3);
  if (strcmp(argv[1], "outputs") == 0) outputs(argv[2], (uint32_t)atoi(argv[3]));
  else if (strcmp(argv[1], "selftest") == 0) selftest(argv[2]);
  else if (strcmp(argv[1], "misuse") == 0) misuse(argv[2]);
  else if (strcmp(argv[1], "flip-header") == 0) flip_header(argv[2]);
  else if (strcmp(argv[1], "concurrent") == 0) concurrent(argv[2]);
  else if (strcmp(argv[1], "install") == 0) install_all(argv[2]);
#ifdef COUNT_ALLOCATIONS
  else if (strcmp(argv[1], "allocation-free") == 0) allocation_free(argv[2]);
#endif
  else return 2;
  puts("done");
  return 0;
}

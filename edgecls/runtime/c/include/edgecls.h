/* edgecls.h: run a compiled image classifier on a device.
 *
 *   char folder[4096];
 *   ec_session *session = NULL;
 *   ec_options options = EC_OPTIONS_INIT;
 *   options.threads = 4;
 *   if (ec_install("model.ecls", "/var/lib/app", folder, sizeof folder) == EC_OK &&
 *       ec_open(folder, &options, &session) == EC_OK &&
 *       ec_preprocess(session, 1, 0, 0, &pixels) == EC_OK && ec_invoke(session, 1) == EC_OK)
 *     use((const float *)ec_output_data(session, 1, 0));
 *   else
 *     fprintf(stderr, "%s\n", ec_last_error());
 *   ec_close(session);
 *
 * Rules that hold everywhere
 * - A function that can fail returns ec_status; ec_last_error() then explains it in one sentence.
 * - Pointers passed in are borrowed for the duration of the call, unless the function says otherwise.
 *   Pointers handed out belong to the session and live until ec_close.
 * - A session is used by one thread at a time. Different sessions, also of one model, may run concurrently.
 * - ec_invoke allocates nothing, and results are bit-identical for any number of threads.
 * - The threads of a session are awake while a function runs kernels, and 50 microseconds longer; then they sleep.
 * - Opening a bundle runs code from it. The hashes show that it is intact, not who made it.
 */
#ifndef EDGECLS_H
#define EDGECLS_H

#include <stddef.h>
#include <stdint.h>

#include "ec_model.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EC_API __attribute__((visibility("default")))
#else
#define EC_API
#endif

#define EC_MAX_THREADS 256
#define EC_MAX_IMAGE_SIDE 65535u /* pixels, of an image given to ec_preprocess */

/* ---------------------------------------------------------------- errors */

/* Numbers are stable: they travel in the serve protocol. */
typedef enum ec_status {
  EC_OK = 0,
  EC_ERROR_ARGUMENT = 1,    /* the caller's mistake: NULL, an index or batch that does not exist */
  EC_ERROR_IO = 2,          /* the operating system refused to read or write a file */
  EC_ERROR_BUNDLE = 3,      /* not a bundle, or damaged */
  EC_ERROR_MODEL = 4,       /* the descriptor contradicts itself or the header, or has an unknown version */
  EC_ERROR_DEVICE = 5,      /* compiled for another processor, or for ISA features this one lacks */
  EC_ERROR_MEMORY = 6,      /* not enough memory, or the caller's arena is too small */
  EC_ERROR_LOAD = 7,        /* the operating system's loader refused model.so */
  EC_ERROR_THREADS = 8,     /* the worker threads could not be created */
  EC_ERROR_IMAGE = 9,       /* pixels that the model's contract does not accept */
  EC_ERROR_KERNEL = 10,     /* a kernel reported a failure */
  EC_ERROR_SELFTEST = 11,   /* outputs differ from the expected ones by more than the tolerance */
  EC_ERROR_UNSUPPORTED = 12, /* this build or this model cannot do it */
  EC_ERROR_PROTOCOL = 13    /* bytes that are not the serve protocol (ec_run only) */
} ec_status;

/* A short constant text for a status, e.g. "damaged bundle"; never NULL, also for unknown numbers. */
EC_API const char *ec_status_str(ec_status status);

/* What the last failing call of this thread had to say; "" before any failure. Valid until the thread's next call
 * of the library. */
EC_API const char *ec_last_error(void);

/* Version of the library, e.g. "0.1.0"; a constant. */
EC_API const char *ec_version(void);

/* ---------------------------------------------------------------- installing */

/* Verify a bundle file and unpack it into the owner-only folder `<destination>/<bundle hash>`.
 *
 * destination is created when absent (not its parents). The folder appears whole or not at all: it is written under a
 * temporary name, synced to the disk and renamed. A bundle that is installed already is compared byte for byte and
 * left alone. folder (folder_bytes long, the caller's) receives the NUL-terminated path for ec_open; on failure "".
 * Fails with EC_ERROR_BUNDLE, EC_ERROR_IO, EC_ERROR_ARGUMENT, EC_ERROR_MEMORY. */
EC_API ec_status ec_install(const char *bundle, const char *destination, char *folder, size_t folder_bytes);

/* ---------------------------------------------------------------- opening */

typedef struct ec_session ec_session;

/* Do not hash model.so and weights.bin again: ec_install did. Opening is then independent of the size of the
 * weights; a file that changed since is not noticed. */
#define EC_TRUST_FILES 1u

typedef struct ec_options {
  uint32_t size;        /* sizeof(ec_options): lets later versions append fields */
  uint32_t threads;     /* 1..EC_MAX_THREADS, the caller's included; 0 means 1. With 1 no thread is created, and never
                           more than processors that the process may use when the session opens */
  uint64_t max_batch;   /* use only plans up to this batch size, for a smaller arena; 0: all */
  void *arena;          /* NULL: the library allocates. Otherwise the caller's memory, EC_ALIGN aligned, which the
                           session borrows until ec_close */
  uint64_t arena_bytes; /* size of arena; at least ec_arena_bytes */
  uint32_t flags;       /* EC_TRUST_FILES or 0 */
  uint32_t reserved;    /* 0 */
} ec_options;

#define EC_OPTIONS_INIT {(uint32_t)sizeof(ec_options), 1, 0, NULL, 0, 0, 0}

/* Open an installed folder. options may be NULL for the defaults.
 *
 * Before any code is loaded: format, processor, ISA features, hashes and free memory are checked. weights.bin is
 * mapped read-only and shared with every other session and process that opens it; the folder must stay as it is
 * until ec_close. On success *session is the caller's, to be given to ec_close; on failure it is NULL. */
EC_API ec_status ec_open(const char *folder, const ec_options *options, ec_session **session);

/* The same for a model linked into the program; its weights are embedded. model is borrowed until ec_close. */
EC_API ec_status ec_open_static(const ec_model *model, const ec_options *options, ec_session **session);

/* How large a caller's arena must be for these options (threads and max_batch count). */
EC_API ec_status ec_arena_bytes(const char *folder, const ec_options *options, uint64_t *bytes);
EC_API ec_status ec_arena_bytes_static(const ec_model *model, const ec_options *options, uint64_t *bytes);

/* End the threads, unmap the weights, free what the library allocated. NULL is fine. */
EC_API void ec_close(ec_session *session);

/* ---------------------------------------------------------------- describing */

/* The checked descriptor: name, build id, counts, image and output contracts. Never NULL for a live session. */
EC_API const ec_model *ec_describe(const ec_session *session);

/* Into how many parts the session splits work: options.threads. */
EC_API uint32_t ec_threads(const ec_session *session);

/* Plan number index (0: the smallest batch), NULL past the last usable one. */
EC_API const ec_plan *ec_plan_at(const ec_session *session, uint32_t index);

/* The plan of exactly this batch size, NULL when there is none. */
EC_API const ec_plan *ec_plan_of(const ec_session *session, uint64_t batch);

/* Name, dtype, shape and bytes of an input or output at a batch size; NULL when there is none. */
EC_API const ec_tensor *ec_input(const ec_session *session, uint64_t batch, uint32_t index);
EC_API const ec_tensor *ec_output(const ec_session *session, uint64_t batch, uint32_t index);

/* The contract of input `index` (layout EC_RAW: a tensor that is not an image) and of output `index`. */
EC_API const ec_image *ec_input_image(const ec_session *session, uint32_t index);
EC_API const ec_meaning *ec_output_meaning(const ec_session *session, uint32_t index);

/* Entry `index` of the model's kernel table; NULL past its end. */
EC_API const ec_kernel *ec_kernel_at(const ec_session *session, uint32_t index);

/* Entry `index` of a plan's calls; NULL when there is none. */
EC_API const ec_call *ec_call_at(const ec_session *session, uint64_t batch, uint32_t index);

/* ---------------------------------------------------------------- running */

/* Where to write an input and read an output: pointers into the arena, EC_ALIGN aligned, nothing is copied. NULL when
 * there is no such tensor. All batch sizes share the arena: what is written for one batch is lost when another is
 * invoked. Inputs survive ec_invoke with the same batch; outputs live until the next ec_invoke. */
EC_API void *ec_input_data(ec_session *session, uint64_t batch, uint32_t index);
EC_API const void *ec_output_data(const ec_session *session, uint64_t batch, uint32_t index);

/* Run the network on the inputs in the arena. Allocates nothing. EC_ERROR_ARGUMENT, EC_ERROR_KERNEL. */
EC_API ec_status ec_invoke(ec_session *session, uint64_t batch);

/* Run one entry of the plan on whatever the arena holds: for timing and tuning a kernel. One that writes over what it
 * reads finds its own result there the next time. */
EC_API ec_status ec_invoke_call(ec_session *session, uint64_t batch, uint32_t call);

/* A decoded image in memory: rows of interleaved 8-bit pixels, top to bottom. The data stays the caller's. */
typedef struct ec_pixels {
  const uint8_t *data;
  uint32_t width, height; /* 1..EC_MAX_IMAGE_SIDE */
  uint32_t channels;      /* 1 (L), 3 (RGB) or 4 (RGBA) */
  size_t stride;          /* bytes from one row to the next; 0: rows are packed */
} ec_pixels;

/* Bring an image to what image input `input` takes (resize, crop, colour order, normalisation: the contract, bit for
 * bit as Pillow and numpy do) and write it to place `slot` (0..batch-1) of that input's tensor. Allocates only when
 * the image has another size than the one before. EC_ERROR_IMAGE, EC_ERROR_ARGUMENT, EC_ERROR_MEMORY. */
EC_API ec_status ec_preprocess(ec_session *session, uint64_t batch, uint32_t input, uint32_t slot,
                               const ec_pixels *pixels);

/* ---------------------------------------------------------------- measuring and checking */

typedef struct ec_call_time {
  uint32_t layer;    /* index into the manifest's layers[] */
  uint32_t kernel;   /* index into the kernel table */
  uint64_t total_ns; /* over all runs */
} ec_call_time;

/* Run the network `runs` times and add up the time of each call. times is the caller's, num_calls of the plan long
 * (capacity says how many fit); they are written in the order of the plan. */
EC_API ec_status ec_profile(ec_session *session, uint64_t batch, uint32_t runs, ec_call_time *times, uint32_t capacity);

/* Fill every input of the batch with the golden input defined in ec_model.h. EC_ERROR_UNSUPPORTED for dtypes that
 * have none. */
EC_API ec_status ec_golden_input(ec_session *session, uint64_t batch);

/* Run the golden input and compare with the outputs stored in the model. *difference (may be NULL) receives the
 * largest |difference| relative to the range of the expected output. EC_ERROR_SELFTEST when it is over the model's
 * tolerance, EC_ERROR_UNSUPPORTED when the model stores none. Overwrites the batch's inputs. */
EC_API ec_status ec_selftest(ec_session *session, uint64_t batch, double *difference);

/* Facts of this device as JSON: machine, processor, kernel, libc, governor, clocks, temperature, load, memory; null
 * where unreadable. Writes at most `bytes` (NUL included) to json, the caller's. EC_ERROR_ARGUMENT: too small. */
EC_API ec_status ec_facts(char *json, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif

/* session.c: opening and closing. */
#include "platform.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hooks.h"
#include "host.h"
#include "session.h"

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;
static ec_session *open_sessions;

static ec_status read_options(const ec_options *given, ec_options *options) {
  ec_options defaults = EC_OPTIONS_INIT;
  *options = given != NULL ? *given : defaults;
  if (options->size != sizeof *options)
    return ec_fail(EC_ERROR_ARGUMENT, "ec_options.size is not set: start from EC_OPTIONS_INIT");
  if (options->threads == 0) options->threads = 1;
  if (options->threads > EC_MAX_THREADS)
    return ec_fail(EC_ERROR_ARGUMENT, "%u threads are more than %u", (unsigned)options->threads, EC_MAX_THREADS);
  if (options->flags & ~EC_TRUST_FILES || options->reserved != 0)
    return ec_fail(EC_ERROR_ARGUMENT, "ec_options has flags that this version does not know");
  if ((uintptr_t)options->arena % EC_ALIGN != 0)
    return ec_fail(EC_ERROR_ARGUMENT, "the arena must start at a multiple of %d bytes", EC_ALIGN);
  return EC_OK;
}

/* Usable plans are a prefix: they ascend by batch. */
static ec_status size_arena(const ec_model *model, const ec_options *options, uint32_t *num_plans, uint64_t *bytes) {
  *num_plans = 0;
  *bytes = 0;
  for (uint32_t i = 0; i < model->num_plans; i++) {
    const ec_plan *plan = ec_model_plan(model, i);
    if (options->max_batch != 0 && plan->batch > options->max_batch) break;
    uint64_t need = ec_model_arena(model, plan, options->threads);
    if (need > *bytes) *bytes = need;
    *num_plans = i + 1;
  }
  if (*num_plans == 0)
    return ec_fail(EC_ERROR_ARGUMENT, "the smallest batch of '%s' is %llu, over the given limit", model->name,
                   (unsigned long long)ec_model_plan(model, 0)->batch);
  return EC_OK;
}

static ec_status make_arena(ec_session *s, const ec_options *options) {
  if (options->arena != NULL) {
    if (options->arena_bytes < s->arena_bytes)
      return ec_fail(EC_ERROR_MEMORY, "the arena has %llu bytes, %llu are needed",
                     (unsigned long long)options->arena_bytes, (unsigned long long)s->arena_bytes);
    s->arena = options->arena;
    return EC_OK;
  }
  ec_status status = ec_host_check_memory(s->arena_bytes);
  if (status != EC_OK) return status;
  if (s->arena_bytes == 0) s->arena_bytes = EC_ALIGN; /* a mapping cannot be empty */
  void *arena = mmap(NULL, (size_t)s->arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (arena == MAP_FAILED)
    return ec_fail_errno(EC_ERROR_MEMORY, "no memory for an arena of %llu bytes", (unsigned long long)s->arena_bytes);
  s->arena = arena;
  s->owns_arena = true;
  return EC_OK;
}

static ec_status ready_plan(ec_session *s, const ec_plan *plan, ec_ready_plan *ready) {
  const ec_model *m = s->model;
  size_t total = 0, next = 0;
  for (uint32_t i = 0; i < plan->num_calls; i++) total += ec_model_kernel(m, ec_model_call(m, plan, i)->kernel)->num_args;
  ready->plan = plan;
  ready->buffers = calloc(total, sizeof *ready->buffers);
  ready->begin = calloc(plan->num_calls, sizeof *ready->begin);
  if (ready->buffers == NULL || ready->begin == NULL || total > UINT32_MAX)
    return ec_fail(EC_ERROR_MEMORY, "no memory for the plan of batch %llu", (unsigned long long)plan->batch);
  for (uint32_t i = 0; i < plan->num_calls; i++) {
    const ec_call *call = ec_model_call(m, plan, i);
    ready->begin[i] = (uint32_t)next;
    for (uint32_t j = 0; j < ec_model_kernel(m, call->kernel)->num_args; j++) {
      const ec_buffer *b = &call->buffers[j];
      char *base = b->region == EC_ARENA ? s->arena : (char *)(uintptr_t)s->loaded.weights; /* weights are only read */
      ready->buffers[next++] = base + b->offset;
    }
  }
  return EC_OK;
}

static ec_status prepare(ec_session *s, const ec_options *options) {
  ec_status status = size_arena(s->model, options, &s->num_plans, &s->arena_bytes);
  if (status == EC_OK) status = make_arena(s, options);
  if (status != EC_OK) return status;
  s->plans = calloc(s->num_plans, sizeof *s->plans);
  s->preprocessors = calloc(s->model->num_inputs, sizeof *s->preprocessors);
  if (s->plans == NULL || s->preprocessors == NULL) return ec_fail(EC_ERROR_MEMORY, "no memory for a session");
  for (uint32_t i = 0; i < s->num_plans && status == EC_OK; i++)
    status = ready_plan(s, ec_model_plan(s->model, i), &s->plans[i]);
  for (uint32_t i = 0; i < s->model->num_inputs; i++)
    ec_preprocessor_init(&s->preprocessors[i], ec_model_image(s->model, i));
  if (status != EC_OK) return status;
  uint32_t processors = ec_host_processors(); /* more threads than that would wait for each other */
  status = ec_pool_create(options->threads, options->threads < processors ? options->threads : processors, &s->pool);
  for (uint32_t i = 0; status == EC_OK && i < ec_pool_threads(s->pool); i++)
    ec_pool_context(s->pool, i)->scratch = &s->scratch;
  return status;
}

/* The first session of a model binds the hooks; later ones must not write what a running kernel may read. */
static void enlist(ec_session *s) {
  pthread_mutex_lock(&open_lock);
  const ec_session *other = open_sessions;
  while (other != NULL && other->model != s->model) other = other->next;
  if (other == NULL) s->model->bind(&ec_runtime_hooks);
  s->next = open_sessions;
  open_sessions = s;
  pthread_mutex_unlock(&open_lock);
}

static void strike_off(const ec_session *s) {
  pthread_mutex_lock(&open_lock);
  ec_session **link = &open_sessions;
  while (*link != NULL && *link != s) link = &(*link)->next;
  if (*link != NULL) *link = s->next;
  pthread_mutex_unlock(&open_lock);
}

/* Takes over `loaded`. */
static ec_status open_loaded(ec_loaded *loaded, const ec_options *options, ec_session **session) {
  ec_session *s = calloc(1, sizeof *s);
  if (s == NULL) {
    ec_unload(loaded);
    return ec_fail(EC_ERROR_MEMORY, "no memory for a session");
  }
  s->loaded = *loaded;
  s->model = loaded->model;
  ec_status status = prepare(s, options);
  if (status != EC_OK) {
    ec_close(s);
    return status;
  }
  enlist(s);
  *session = s;
  return EC_OK;
}

ec_status ec_open(const char *folder, const ec_options *given, ec_session **session) {
  ec_options options;
  ec_loaded loaded;
  if (folder == NULL || session == NULL) return ec_fail(EC_ERROR_ARGUMENT, "ec_open: NULL argument");
  *session = NULL;
  ec_status status = read_options(given, &options);
  if (status == EC_OK) status = ec_load_folder(folder, &options, &loaded);
  return status == EC_OK ? open_loaded(&loaded, &options, session) : status;
}

ec_status ec_open_static(const ec_model *model, const ec_options *given, ec_session **session) {
  ec_options options;
  ec_loaded loaded;
  if (model == NULL || session == NULL) return ec_fail(EC_ERROR_ARGUMENT, "ec_open_static: NULL argument");
  *session = NULL;
  ec_status status = read_options(given, &options);
  if (status == EC_OK) status = ec_load_static(model, &loaded);
  return status == EC_OK ? open_loaded(&loaded, &options, session) : status;
}

ec_status ec_arena_bytes(const char *folder, const ec_options *given, uint64_t *bytes) {
  ec_options options;
  ec_loaded loaded;
  uint32_t num_plans;
  if (folder == NULL || bytes == NULL) return ec_fail(EC_ERROR_ARGUMENT, "ec_arena_bytes: NULL argument");
  ec_status status = read_options(given, &options);
  if (status == EC_OK) status = ec_load_folder(folder, &options, &loaded);
  if (status != EC_OK) return status;
  status = size_arena(loaded.model, &options, &num_plans, bytes);
  ec_unload(&loaded);
  return status;
}

ec_status ec_arena_bytes_static(const ec_model *model, const ec_options *given, uint64_t *bytes) {
  ec_options options;
  ec_loaded loaded;
  uint32_t num_plans;
  if (model == NULL || bytes == NULL) return ec_fail(EC_ERROR_ARGUMENT, "ec_arena_bytes_static: NULL argument");
  ec_status status = read_options(given, &options);
  if (status == EC_OK) status = ec_load_static(model, &loaded);
  return status == EC_OK ? size_arena(model, &options, &num_plans, bytes) : status;
}

void ec_close(ec_session *s) {
  if (s == NULL) return;
  strike_off(s);
  ec_pool_destroy(s->pool);
  for (uint32_t i = 0; s->plans != NULL && i < s->num_plans; i++) {
    free(s->plans[i].buffers);
    free(s->plans[i].begin);
  }
  for (uint32_t i = 0; s->preprocessors != NULL && i < s->model->num_inputs; i++)
    ec_preprocessor_free(&s->preprocessors[i]);
  free(s->plans);
  free(s->preprocessors);
  if (s->owns_arena) munmap(s->arena, (size_t)s->arena_bytes);
  ec_unload(&s->loaded);
  free(s);
}

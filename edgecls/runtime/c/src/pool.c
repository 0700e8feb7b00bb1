/* pool.c: a thread pool that sleeps when idle and splits work the same way each time. */
#include "platform.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

enum { STACK_BYTES = 1 << 20 }; /* musl's default of 128 kB is small for generated code */

typedef struct worker {
  pthread_t thread;
  ec_context context;
  uint32_t index;
  int result; /* of its share of the last job */
} worker;

struct ec_pool {
  pthread_mutex_t lock;
  pthread_cond_t wake, finished;
  uint64_t job;     /* number of the current job; a worker waits for it to change */
  uint32_t pending; /* workers that have not finished the current job */
  bool stop;
  ec_task_fn body;
  void *closure;
  int tasks;
  uint32_t threads, started;
  worker workers[]; /* threads of them; [0] is the caller */
};

uint32_t ec_pool_threads(const ec_pool *pool) { return pool->threads; }

ec_context *ec_pool_context(ec_pool *pool, uint32_t index) { return &pool->workers[index].context; }

static int run_tasks(ec_context *context, ec_task_fn body, void *closure, int begin, int end, int tasks) {
  ec_task_env env = {NULL, tasks};
  bool nested = context->in_task;
  int result = 0;
  context->in_task = true;
  for (int task = begin; task < end && result == 0; task++) result = body(task, &env, closure);
  context->in_task = nested;
  return result;
}

static int run_share(ec_pool *pool, worker *self) {
  int64_t tasks = pool->tasks, threads = pool->threads, index = self->index;
  int begin = (int)(tasks * index / threads), end = (int)(tasks * (index + 1) / threads);
  return run_tasks(&self->context, pool->body, pool->closure, begin, end, pool->tasks);
}

static void *worker_main(void *argument) {
  worker *self = argument;
  ec_pool *pool = self->context.pool;
  uint64_t seen = 0;
  ec_current = &self->context;
  pthread_mutex_lock(&pool->lock);
  for (;;) {
    while (pool->job == seen && !pool->stop) pthread_cond_wait(&pool->wake, &pool->lock);
    if (pool->stop) break;
    seen = pool->job;
    pthread_mutex_unlock(&pool->lock);
    int result = run_share(pool, self);
    pthread_mutex_lock(&pool->lock);
    self->result = result;
    if (--pool->pending == 0) pthread_cond_signal(&pool->finished);
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

int ec_pool_run(ec_pool *pool, ec_task_fn body, void *closure, int tasks) {
  ec_context *caller = ec_current;
  if (pool->threads == 1 || tasks == 1 || caller->in_task) return run_tasks(caller, body, closure, 0, tasks, tasks);

  pthread_mutex_lock(&pool->lock);
  pool->body = body;
  pool->closure = closure;
  pool->tasks = tasks;
  pool->pending = pool->threads - 1;
  pool->job++;
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);

  int result = run_share(pool, &pool->workers[0]);

  pthread_mutex_lock(&pool->lock);
  while (pool->pending > 0) pthread_cond_wait(&pool->finished, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
  for (uint32_t i = 1; i < pool->threads && result == 0; i++) result = pool->workers[i].result;
  return result;
}

static int start_worker(worker *self) {
  pthread_attr_t attributes;
  sigset_t all, before;
  int error = pthread_attr_init(&attributes);
  if (error != 0) return error;
  sigfillset(&all); /* signals are the application's: its own threads take them */
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  error = pthread_create(&self->thread, &attributes, worker_main, self);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return error;
}

ec_status ec_pool_create(uint32_t threads, ec_pool **result) {
  ec_pool *pool = calloc(1, sizeof *pool + threads * sizeof pool->workers[0]);
  *result = NULL;
  if (pool == NULL) return ec_fail(EC_ERROR_MEMORY, "no memory for %u threads", (unsigned)threads);
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->finished, NULL);
  pool->threads = threads;
  for (uint32_t i = 0; i < threads; i++) {
    pool->workers[i].index = i;
    pool->workers[i].context.pool = pool;
  }
  for (pool->started = 1; pool->started < threads; pool->started++) {
    int error = start_worker(&pool->workers[pool->started]);
    if (error != 0) {
      ec_pool_destroy(pool);
      return ec_fail(EC_ERROR_THREADS, "cannot create %u threads: %s", (unsigned)threads, strerror(error));
    }
  }
  *result = pool;
  return EC_OK;
}

void ec_pool_destroy(ec_pool *pool) {
  if (pool == NULL) return;
  pthread_mutex_lock(&pool->lock);
  pool->stop = true;
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
  for (uint32_t i = 1; i < pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
  pthread_cond_destroy(&pool->finished);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}

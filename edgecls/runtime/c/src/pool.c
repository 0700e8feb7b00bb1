/* pool.c: a thread pool for kernels of a few microseconds.
 *
 * A kernel is one job. The caller publishes it by changing `signal`, which the workers poll while an invocation is in
 * progress; between invocations they sleep. A job has a fixed number of shares, and each has an owner, so that a thread
 * finds in its cache what it wrote in the job before. But nobody waits for an owner that is not there yet (it is
 * waking up, or its processor does something else): whoever has finished takes shares that have not been begun.
 *
 * Memory order: publishing stores `signal` after the job, workers load it with acquire, so they see the job and all
 * that earlier jobs computed. Finishing stores a share's `state` after its results, the caller loads it with acquire, so
 * it sees them, and so does the next job that it publishes. Nothing is written over that another thread may still
 * read: a job is replaced when all its shares are done, and a thread reads a job only while it holds a share.
 *
 * Who falls asleep and who has news each write one place and then read the other's, in one order for all threads. They
 * write by `tell`, an exchange: under qemu's AArch64 (7.2) a load passes a sequentially consistent store. */
#include "platform.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "patience.h"
#include "pool.h"

enum {
  STACK_BYTES = 1 << 20, /* musl's default of 128 kB is small for generated code */
  LINE = 128,            /* what two threads write is this far apart: processors fetch cache lines in pairs */
  LINGER_NS = 50000,     /* awake after an invocation: the next one may follow at once */
  AWAKE_NS = 100000,     /* awake within an invocation that has no work for us */
  CALLER_NS = 30000,     /* the caller polls for the end of a share this long: then its thread may have lost its
                            processor to somebody else, and should get ours */
  LOST_NS = 500000,      /* a job that takes longer than the caller alone would have taken, by this much, ... */
  ALONE_NS = 1000000,    /* ... shows that somebody else uses the processors: it works alone this long, twice as long */
  ALONE_MOST_NS = 16000000 /* if it is shown again within four times that: one pause of the machine should cost little */
};

/* signal = number of the job (a multiple of JOB, wraps around) + flags */
enum { ENTERED = 1, STOP = 2, FLAGS = 3, JOB = 4 };

/* state of a share = number of the last job that took it + this, once it is done */
enum { DONE = 1 };

typedef struct share {
  _Alignas(LINE) _Atomic uint32_t state;
  int result; /* of whoever took it */
  char error[EC_ERROR_BYTES];
} share;

typedef struct worker {
  _Alignas(LINE) ec_context context;
  pthread_t thread;
  uint32_t index; /* of the thread, and of the share it tries first */
} worker;

struct ec_pool {
  /* The caller writes this line, the workers read it. */
  _Alignas(LINE) _Atomic uint32_t signal;
  _Atomic bool caller_sleeps; /* in wait_for_share */
  int tasks;
  ec_task_fn body;
  void *closure;

  _Alignas(LINE) _Atomic bool workers_sleep; /* one may: set by it, cleared by the waker; both hold the lock */
  uint32_t num_shares, threads;
  share *shares;
  pthread_mutex_t lock; /* for falling asleep and waking up only */
  pthread_cond_t wake, finished;
  uint64_t alone_until, alone_ns; /* the caller's: no jobs for the workers before this time; how long that was */
  worker workers[]; /* threads of them; [0] is the caller and has no thread of its own; the shares come after them */
};

uint32_t ec_pool_shares(const ec_pool *pool) { return pool->num_shares; }

uint32_t ec_pool_threads(const ec_pool *pool) { return pool->threads; }

ec_context *ec_pool_context(ec_pool *pool, uint32_t index) { return &pool->workers[index].context; }

char *ec_pool_error(ec_pool *pool, uint32_t index) { return pool->shares[index].error; }

/* Visible to all before anything that this thread reads afterwards. */
static void tell(_Atomic uint32_t *place, uint32_t value) { (void)atomic_exchange(place, value); }

static void tell_that(_Atomic bool *place) { (void)atomic_exchange(place, true); }

/* ---------------------------------------------------------------- shares */

static int run_tasks(ec_context *context, ec_task_fn body, void *closure, int begin, int end, int tasks) {
  ec_task_env env = {NULL, tasks};
  bool nested = context->in_task;
  int result = 0;
  context->in_task = true;
  for (int task = begin; task < end && result == 0; task++) result = body(task, &env, closure);
  context->in_task = nested;
  return result;
}

static void run_share(ec_pool *pool, worker *self, uint32_t index) {
  int64_t tasks = pool->tasks, shares = pool->num_shares;
  int begin = (int)(tasks * index / shares), end = (int)(tasks * (index + 1) / shares);
  self->context.error = pool->shares[index].error;
  pool->shares[index].result = run_tasks(&self->context, pool->body, pool->closure, begin, end, pool->tasks);
}

/* Every job takes every share, so a share whose state is not `done in the job before` is taken, or the job is over. That
 * makes the exchange succeed only while the job is the current one; relaxed, since it orders nothing by itself. */
static bool take_share(ec_pool *pool, uint32_t index, uint32_t job) {
  _Atomic uint32_t *state = &pool->shares[index].state;
  uint32_t before = (job - JOB) | DONE;
  return atomic_load_explicit(state, memory_order_relaxed) == before &&
         atomic_compare_exchange_strong_explicit(state, &before, job, memory_order_relaxed, memory_order_relaxed);
}

/* As in wait_for_share: either we see that the caller sleeps, or it sees that we are done. */
static void finish_share(ec_pool *pool, uint32_t index, uint32_t job) {
  tell(&pool->shares[index].state, job | DONE);
  if (!atomic_load(&pool->caller_sleeps)) return;
  pthread_mutex_lock(&pool->lock);
  pthread_cond_signal(&pool->finished);
  pthread_mutex_unlock(&pool->lock);
}

/* The own share, then those that nobody has begun. */
static void do_shares(ec_pool *pool, worker *self, uint32_t job) {
  for (uint32_t i = 0, index = self->index; i < pool->num_shares; i++) {
    if (take_share(pool, index, job)) {
      run_share(pool, self, index);
      finish_share(pool, index, job);
    }
    if (++index == pool->num_shares) index = 0;
  }
}

/* ---------------------------------------------------------------- workers */

/* As in send: either the sender sees that we sleep, or we see its signal. */
static void sleep_until_signal_is_not(ec_pool *pool, uint32_t signal) {
  pthread_mutex_lock(&pool->lock);
  for (;;) {
    tell_that(&pool->workers_sleep);
    if (atomic_load(&pool->signal) != signal) break;
    pthread_cond_wait(&pool->wake, &pool->lock);
  }
  pthread_mutex_unlock(&pool->lock);
}

/* The first signal that is a job after `seen`, or STOP. */
static uint32_t wait_for_job(ec_pool *pool, uint32_t seen) {
  ec_patience patience = {0, 0};
  for (;;) {
    uint32_t signal = atomic_load_explicit(&pool->signal, memory_order_acquire);
    if ((signal & ~(uint32_t)FLAGS) != seen || signal & STOP) return signal;
    if (ec_keep_polling(&patience, signal & ENTERED ? AWAKE_NS : LINGER_NS)) continue;
    sleep_until_signal_is_not(pool, signal);
    patience = (ec_patience){0, 0};
  }
}

static void *worker_main(void *argument) {
  worker *self = argument;
  ec_pool *pool = self->context.pool;
  uint32_t job = 0;
  ec_current = &self->context;
  for (;;) {
    uint32_t signal = wait_for_job(pool, job);
    if (signal & STOP) return NULL;
    job = signal & ~(uint32_t)FLAGS;
    do_shares(pool, self, job);
  }
}

/* ---------------------------------------------------------------- the caller */

static void send(ec_pool *pool, uint32_t signal) {
  tell(&pool->signal, signal);
  if (!atomic_load(&pool->workers_sleep)) return;
  pthread_mutex_lock(&pool->lock);
  atomic_store_explicit(&pool->workers_sleep, false, memory_order_relaxed);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->lock);
}

/* Only the caller writes the signal; another calling thread later has synchronised with this one by itself. */
static uint32_t last_signal(const ec_pool *pool) { return atomic_load_explicit(&pool->signal, memory_order_relaxed); }

void ec_pool_enter(ec_pool *pool) {
  if (pool->threads > 1 && ec_now_ns() >= pool->alone_until) send(pool, last_signal(pool) | ENTERED);
}

/* Wakes nobody: who polls will see it, and who sleeps may go on. */
void ec_pool_leave(ec_pool *pool) {
  if (pool->threads > 1)
    atomic_store_explicit(&pool->signal, last_signal(pool) & ~(uint32_t)ENTERED, memory_order_release);
}

/* Threads that lose their processors in turn make each other wait whole time slices: worse than one thread. */
static void judge(ec_pool *pool, uint64_t start, uint64_t own_end) {
  uint64_t now = ec_now_ns();
  if (pool->alone_until > start) return; /* this job has been judged */
  if (now - start <= (own_end - start) * pool->num_shares + LOST_NS) return;
  if (now >= pool->alone_until + 4 * pool->alone_ns)
    pool->alone_ns = ALONE_NS;
  else if (pool->alone_ns < ALONE_MOST_NS)
    pool->alone_ns *= 2;
  pool->alone_until = now + pool->alone_ns;
}

/* start: when the job began. */
static void wait_for_share(ec_pool *pool, const share *s, uint32_t done, uint64_t start) {
  ec_patience patience = {0, 0};
  while (atomic_load_explicit(&s->state, memory_order_acquire) != done) {
    if (ec_keep_polling(&patience, CALLER_NS)) continue;
    pthread_mutex_lock(&pool->lock);
    tell_that(&pool->caller_sleeps);
    while (atomic_load(&s->state) != done) pthread_cond_wait(&pool->finished, &pool->lock);
    atomic_store_explicit(&pool->caller_sleeps, false, memory_order_relaxed);
    pthread_mutex_unlock(&pool->lock);
    judge(pool, start, patience.since);
  }
}

int ec_pool_run(ec_pool *pool, ec_task_fn body, void *closure, int tasks) {
  ec_context *caller = ec_current;
  int result = 0;
  if (pool->threads == 1 || tasks == 1 || caller->in_task) return run_tasks(caller, body, closure, 0, tasks, tasks);
  uint64_t start = ec_now_ns();
  if (start < pool->alone_until) return run_tasks(caller, body, closure, 0, tasks, tasks);

  uint32_t signal = last_signal(pool) + JOB, job = signal & ~(uint32_t)FLAGS;
  pool->body = body;
  pool->closure = closure;
  pool->tasks = tasks;
  send(pool, signal);
  do_shares(pool, &pool->workers[0], job);
  for (uint32_t i = 0; i < pool->num_shares; i++) {
    wait_for_share(pool, &pool->shares[i], job | DONE, start);
    if (result == 0) result = pool->shares[i].result;
  }
  caller->error = pool->shares[0].error;
  return result;
}

/* ---------------------------------------------------------------- opening and closing */

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

/* One block of memory: the pool, its workers, its shares. */
static ec_pool *new_pool(uint32_t shares, uint32_t threads) {
  size_t front = sizeof(ec_pool) + threads * sizeof(worker), bytes = front + shares * sizeof(share);
  ec_pool *pool = aligned_alloc(LINE, bytes); /* a multiple of LINE, as every sizeof here is */
  if (pool == NULL) return NULL;
  memset(pool, 0, bytes);
  pool->shares = (share *)(void *)((char *)pool + front);
  pool->num_shares = shares;
  for (uint32_t i = 0; i < shares; i++) atomic_init(&pool->shares[i].state, DONE); /* in job 0, the one before the first */
  for (uint32_t i = 0; i < threads; i++) {
    pool->workers[i].index = i;
    pool->workers[i].context.pool = pool;
    pool->workers[i].context.thread = i;
    pool->workers[i].context.error = pool->shares[i].error;
  }
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->finished, NULL);
  return pool;
}

ec_status ec_pool_create(uint32_t shares, uint32_t threads, ec_pool **result) {
  ec_pool *pool = new_pool(shares, threads);
  *result = NULL;
  if (pool == NULL) return ec_fail(EC_ERROR_MEMORY, "no memory for %u threads", (unsigned)threads);
  for (pool->threads = 1; pool->threads < threads; pool->threads++) {
    int error = start_worker(&pool->workers[pool->threads]);
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
  send(pool, last_signal(pool) | STOP);
  for (uint32_t i = 1; i < pool->threads; i++) pthread_join(pool->workers[i].thread, NULL);
  pthread_cond_destroy(&pool->finished);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}

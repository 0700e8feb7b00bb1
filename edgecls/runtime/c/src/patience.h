/* patience.h: polling an atomic that another thread will change, for a bounded time.
 *
 * There is no sched_yield: on a busy processor Linux charges it with a whole time slice, and on an idle one it is idle
 * talk. A sleeper leaves a processor that the thread it waits for can move to, and is preferred when it wakes up. */
#ifndef EC_PATIENCE_H
#define EC_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "clock.h"

/* Polls between two looks at the clock: some microseconds on x86, less than one where yield is a no-op. */
#define EC_POLLS_PER_LOOK 64u

typedef struct ec_patience { /* {0, 0} to begin with */
  uint64_t since; /* the first look at the clock */
  uint32_t polls;
} ec_patience;

/* The processor's hint that this is a waiting loop: frees its pipeline for a sibling, saves power. */
static inline void ec_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ __volatile__("yield");
#endif
}

/* Call once per unsuccessful poll. False when the wait has taken limit_ns: sleep now. */
static inline bool ec_keep_polling(ec_patience *p, uint64_t limit_ns) {
  ec_pause();
  if (++p->polls % EC_POLLS_PER_LOOK != 0) return true;
  uint64_t now = ec_now_ns();
  if (p->since == 0) p->since = now;
  return now - p->since < limit_ns;
}

#endif

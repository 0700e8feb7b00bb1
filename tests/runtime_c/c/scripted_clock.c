/* scripted_clock.c: in place of clock.c, a clock by which the n-th timed run takes (n * 7919 % 1009 + 1) microseconds. */
#include <stdint.h>

uint64_t ec_now_ns(void);

uint64_t ec_now_ns(void) {
  static uint64_t calls;
  uint64_t run = calls / 2, ended = calls % 2;
  calls++;
  return run * 1000000000u + ended * (run * 7919u % 1009u + 1) * 1000u;
}

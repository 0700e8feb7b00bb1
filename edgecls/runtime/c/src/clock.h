/* clock.h: the one clock of every measurement. */
#ifndef EC_CLOCK_H
#define EC_CLOCK_H

#include <stdint.h>

uint64_t ec_now_ns(void); /* monotonic */

#endif

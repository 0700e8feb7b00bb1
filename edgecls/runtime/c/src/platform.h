/* platform.h: included first by every file; what we ask of the C library and assume of the machine. */
#ifndef EC_PLATFORM_H
#define EC_PLATFORM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64 /* bundles over 2 GiB on 32-bit devices */
#endif

#include <assert.h>
#include <float.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "edgecls formats are little-endian");
static_assert(FLT_EVAL_METHOD == 0, "preprocessing must round each step: build with SSE or VFP arithmetic");

#ifdef __FAST_MATH__
#error "preprocessing must be bit exact: build without -ffast-math"
#endif

#endif

/* status.h: how a failure gets its sentence. */
#ifndef EC_STATUS_H
#define EC_STATUS_H

#include "edgecls.h"
#include "platform.h"

/* Remember the sentence for ec_last_error and return `status`: `return ec_fail(EC_ERROR_IO, "%s: ...", path)`. */
ec_status ec_fail(ec_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same, ending in the text of errno. */
ec_status ec_fail_errno(ec_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

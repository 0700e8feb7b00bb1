/* status.c: status texts and the thread's last error. */
#include "platform.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "status.h"

#ifndef EC_VERSION
#define EC_VERSION "0.1.0"
#endif

static _Thread_local char last_error[1024];

const char *ec_status_str(ec_status status) {
  switch (status) {
    case EC_OK: return "ok";
    case EC_ERROR_ARGUMENT: return "bad argument";
    case EC_ERROR_IO: return "input/output error";
    case EC_ERROR_BUNDLE: return "damaged bundle";
    case EC_ERROR_MODEL: return "bad model descriptor";
    case EC_ERROR_DEVICE: return "wrong device";
    case EC_ERROR_MEMORY: return "not enough memory";
    case EC_ERROR_LOAD: return "cannot load";
    case EC_ERROR_THREADS: return "cannot create threads";
    case EC_ERROR_IMAGE: return "image not accepted";
    case EC_ERROR_KERNEL: return "kernel failed";
    case EC_ERROR_SELFTEST: return "self-test failed";
    case EC_ERROR_UNSUPPORTED: return "not supported";
    case EC_ERROR_PROTOCOL: return "protocol violation";
  }
  return "unknown status";
}

const char *ec_last_error(void) { return last_error; }

const char *ec_version(void) { return EC_VERSION; }

ec_status ec_fail(ec_status status, const char *format, ...) {
  char text[sizeof last_error]; /* arguments may point into last_error */
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  memcpy(last_error, text, sizeof last_error);
  return status;
}

ec_status ec_fail_errno(ec_status status, const char *format, ...) {
  int error = errno;
  char text[sizeof last_error - 128];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return ec_fail(status, "%s: %s", text, strerror(error));
}

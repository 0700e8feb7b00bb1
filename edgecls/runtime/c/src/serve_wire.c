/* serve_wire.c: reading and writing frames of the serve protocol. */
#include "platform.h"

#include "serve_wire.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool ec_wire_reserve(buffer *b, size_t bytes) {
  if (bytes <= b->room) return true;
  uint8_t *data = realloc(b->data, bytes);
  if (data == NULL) return false;
  b->data = data;
  b->room = bytes;
  return true;
}

bool ec_wire_append(buffer *b, const void *data, size_t bytes) {
  if (bytes > b->room - b->used && !ec_wire_reserve(b, b->used + bytes)) return false;
  if (bytes > 0) memcpy(b->data + b->used, data, bytes);
  b->used += bytes;
  return true;
}

size_t ec_wire_read(int in, void *data, size_t bytes) {
  uint8_t *p = data;
  size_t have = 0;
  while (have < bytes) {
    ssize_t got = read(in, p + have, bytes - have);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    have += (size_t)got;
  }
  return have;
}

static bool write_all(int out, const void *data, size_t bytes) {
  const uint8_t *p = data;
  while (bytes > 0) {
    ssize_t put = write(out, p, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    p += put;
    bytes -= (size_t)put;
  }
  return true;
}

/* Memory grows with what arrives, not with what is announced. */
ec_status ec_wire_read_payload(int in, buffer *b, uint32_t length) {
  b->used = 0;
  while (b->used < length) {
    size_t want = length - b->used, step = b->used < (1u << 20) ? 1u << 20 : b->used;
    if (want > step) want = step;
    if (!ec_wire_reserve(b, b->used + want)) return EC_ERROR_MEMORY;
    size_t got = ec_wire_read(in, b->data + b->used, want);
    b->used += got;
    if (got < want) return EC_ERROR_PROTOCOL;
  }
  return EC_OK;
}

bool ec_wire_send(int out, uint16_t type, uint32_t id, const void *payload, size_t bytes) {
  frame header = {MAGIC, VERSION, type, id, (uint32_t)bytes};
  return write_all(out, &header, sizeof header) && write_all(out, payload, bytes);
}

static void *wait_for_hang_up(void *out) {
  struct pollfd pipe = {.fd = (int)(intptr_t)out, .events = 0}; /* errors and hang-ups are told unasked */
  while (poll(&pipe, 1, -1) < 0 && errno == EINTR)
    ;
  if ((pipe.revents & (POLLERR | POLLHUP)) != 0) _exit(2);
  return NULL;
}

void ec_wire_end_with_reader(int out) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, wait_for_hang_up, (void *)(intptr_t)out) == 0) pthread_detach(thread);
}

bool ec_wire_send_failure(int out, uint32_t id, ec_status status, const char *message) {
  uint32_t number = (uint32_t)status;
  size_t length = strlen(message);
  frame header = {MAGIC, VERSION, FAILURE, id, (uint32_t)(sizeof number + length)};
  return write_all(out, &header, sizeof header) && write_all(out, &number, sizeof number) &&
         write_all(out, message, length);
}

/* serve_wire.h: frames of the serve protocol, and the bytes they carry. */
#ifndef EC_SERVE_WIRE_H
#define EC_SERVE_WIRE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "edgecls.h"

#define MAGIC 0x56534345u /* "ECSV" */
#define VERSION 1
#define MAX_LENGTH (1u << 30)
#define REPLY 0x8000u
#define FAILURE 0xFFFFu

typedef struct frame {
  uint32_t magic;
  uint16_t version, type;
  uint32_t id, length;
} frame;

static_assert(sizeof(frame) == 16, "a frame header is 16 bytes on the wire");

typedef struct buffer {
  uint8_t *data;
  size_t used, room;
} buffer;

/* Room for `bytes` in all, or for as many more. false: no memory, and nothing has changed. */
bool ec_wire_reserve(buffer *b, size_t bytes);
bool ec_wire_append(buffer *b, const void *data, size_t bytes);

/* Bytes read before the end of input; less than `bytes` only there. */
size_t ec_wire_read(int in, void *data, size_t bytes);

/* The payload of a frame, replacing what `b` holds. EC_ERROR_MEMORY; EC_ERROR_PROTOCOL: the input ended early. */
ec_status ec_wire_read_payload(int in, buffer *b, uint32_t length);

/* false: the other side has gone. */
bool ec_wire_send(int out, uint16_t type, uint32_t id, const void *payload, size_t bytes);
bool ec_wire_send_failure(int out, uint32_t id, ec_status status, const char *message);

/* From now on the process ends as soon as nobody can read from `out`: what it still computes would be for nobody. */
void ec_wire_end_with_reader(int out);

#endif

/* serve.c: the serve protocol. Every length is checked before a byte of payload is read or believed. */
#include "platform.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "serve.h"
#include "serve_wire.h"

#define MAX_RUNS 1000000u

enum request { DESCRIBE = 1, RUN, RUN_IMAGES, PREPROCESS, MEASURE, PROFILE, FACTS, SELFTEST, CLOSE };

typedef struct kept_input { /* the last input given for a batch, while another batch occupies the arena */
  uint8_t *data;
  bool given;
} kept_input;

typedef struct server {
  ec_session *session;
  int in, out;
  buffer request, reply;
  kept_input *kept;    /* per plan */
  const ec_plan *live; /* the plan whose inputs are in the arena; NULL: none */
  char message[512];   /* why the last request failed */
} server;

static ec_status fail(server *s, ec_status status, const char *message) {
  snprintf(s->message, sizeof s->message, "%s", message);
  return status;
}

static ec_status failed(server *s, ec_status status) { /* the library has said why */
  return status == EC_OK ? EC_OK : fail(s, status, ec_last_error());
}

static ec_status violation(server *s, const char *message) { return fail(s, EC_ERROR_PROTOCOL, message); }

static uint32_t u32(const uint8_t *p) {
  uint32_t value;
  memcpy(&value, p, sizeof value);
  return value;
}

/* ---------------------------------------------------------------- inputs and outputs */

static uint64_t input_bytes(const server *s, const ec_plan *plan) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < ec_describe(s->session)->num_inputs; i++) total += ec_input(s->session, plan->batch, i)->bytes;
  return total;
}

static uint32_t plan_index(const server *s, const ec_plan *plan) {
  uint32_t i = 0;
  while (ec_plan_at(s->session, i) != plan) i++;
  return i;
}

static ec_status find_plan(server *s, uint32_t batch, const ec_plan **plan) {
  *plan = ec_plan_of(s->session, batch);
  return *plan != NULL ? EC_OK : failed(s, EC_ERROR_ARGUMENT);
}

static void copy_inputs(server *s, const ec_plan *plan, uint8_t *data, bool to_arena) {
  for (uint32_t i = 0; i < ec_describe(s->session)->num_inputs; i++) {
    size_t bytes = (size_t)ec_input(s->session, plan->batch, i)->bytes;
    void *tensor = ec_input_data(s->session, plan->batch, i);
    if (to_arena)
      memcpy(tensor, data, bytes);
    else
      memcpy(data, tensor, bytes);
    data += bytes;
  }
}

/* Batches share the arena: before something other than `plan` (NULL: a passing use) writes to it, put aside the inputs
 * that were given for the live one. */
static ec_status switch_plan(server *s, const ec_plan *plan) {
  if (s->live == plan) return EC_OK;
  kept_input *kept = s->live != NULL ? &s->kept[plan_index(s, s->live)] : NULL;
  if (kept != NULL && kept->given) {
    if (kept->data == NULL) kept->data = malloc((size_t)input_bytes(s, s->live));
    if (kept->data == NULL) return fail(s, EC_ERROR_MEMORY, "no memory to keep an input");
    copy_inputs(s, s->live, kept->data, false);
  }
  s->live = NULL;
  return EC_OK;
}

/* Inputs are about to be written for this plan. */
static ec_status begin_input(server *s, const ec_plan *plan) {
  ec_status status = switch_plan(s, plan);
  s->kept[plan_index(s, plan)].given = false; /* until they are complete */
  s->live = NULL;
  return status;
}

static void input_given(server *s, const ec_plan *plan) {
  s->kept[plan_index(s, plan)].given = true;
  s->live = plan;
}

/* The last input given for this plan, else the golden one, is in the arena. */
static ec_status recall_input(server *s, const ec_plan *plan) {
  if (s->live == plan) return EC_OK;
  const kept_input *kept = &s->kept[plan_index(s, plan)];
  ec_status status = switch_plan(s, plan);
  if (status != EC_OK) return status;
  if (kept->given)
    copy_inputs(s, plan, kept->data, true);
  else
    status = failed(s, ec_golden_input(s->session, plan->batch));
  if (status == EC_OK) s->live = plan;
  return status;
}

static ec_status invoke_and_reply(server *s, const ec_plan *plan) {
  ec_status status = failed(s, ec_invoke(s->session, plan->batch));
  for (uint32_t i = 0; i < ec_describe(s->session)->num_outputs && status == EC_OK; i++)
    if (!ec_wire_append(&s->reply, ec_output_data(s->session, plan->batch, i),
                (size_t)ec_output(s->session, plan->batch, i)->bytes))
      status = fail(s, EC_ERROR_MEMORY, "no memory for the reply");
  return status;
}

/* ---------------------------------------------------------------- requests */

static void describe_tensors(FILE *out, server *s, const char *key, bool inputs) {
  const ec_model *model = ec_describe(s->session);
  static const char *const dtypes[] = {"?",     "float32", "float16", "int8", "uint8",
                                       "int16", "int32",   "int64",   "bool", "float64"};
  uint64_t batch = ec_plan_at(s->session, 0)->batch;
  fprintf(out, ",\"%s\":[", key);
  for (uint32_t i = 0; i < (inputs ? model->num_inputs : model->num_outputs); i++) {
    const ec_tensor *t = inputs ? ec_input(s->session, batch, i) : ec_output(s->session, batch, i);
    fprintf(out, "%s{\"name\":", i > 0 ? "," : "");
    ec_json_string(out, t->name);
    fprintf(out, ",\"dtype\":\"%s\",\"shape\":[", dtypes[t->dtype]);
    for (uint32_t d = 0; d < t->ndim; d++) fprintf(out, "%s%lld", d > 0 ? "," : "", (long long)t->shape[d]);
    fputs("]}", out);
  }
  fputc(']', out);
}

static ec_status describe(server *s) {
  static const char *const archs[] = {"?", "x86_64", "aarch64", "armv7"};
  const ec_model *model = ec_describe(s->session);
  char *text = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&text, &length);
  if (out == NULL) return fail(s, EC_ERROR_MEMORY, "no memory for the reply");
#if defined(__x86_64__)
  const char *arch = archs[EC_X86_64];
#elif defined(__aarch64__)
  const char *arch = archs[EC_AARCH64];
#else
  const char *arch = archs[EC_ARMV7];
#endif
  fprintf(out, "{\"protocol\":%d,\"version\":\"%s\",\"build_id\":\"%s\",\"name\":", VERSION, ec_version(),
          model->build_id);
  ec_json_string(out, model->name);
  fprintf(out, ",\"arch\":\"%s\",\"threads\":%u", arch, (unsigned)ec_threads(s->session));
  describe_tensors(out, s, "inputs", true);
  describe_tensors(out, s, "outputs", false);
  fputs(",\"plans\":[", out);
  const ec_plan *plan;
  for (uint32_t i = 0; (plan = ec_plan_at(s->session, i)) != NULL; i++)
    fprintf(out, "%s{\"batch\":%llu,\"arena_bytes\":%llu,\"workspace_bytes\":%llu,\"calls\":%u}", i > 0 ? "," : "",
            (unsigned long long)plan->batch, (unsigned long long)plan->arena_bytes,
            (unsigned long long)plan->workspace_bytes, (unsigned)plan->num_calls);
  fputs("]}", out);
  bool fine = fclose(out) == 0 && ec_wire_append(&s->reply, text, length);
  free(text);
  return fine ? EC_OK : fail(s, EC_ERROR_MEMORY, "no memory for the reply");
}

static ec_status run(server *s) {
  const ec_plan *plan;
  const buffer *r = &s->request;
  if (r->used < 4) return violation(s, "RUN without a batch size");
  ec_status status = find_plan(s, u32(r->data), &plan);
  if (status != EC_OK) return status;
  if (r->used != 4 + input_bytes(s, plan)) return violation(s, "RUN with inputs of another size");
  status = begin_input(s, plan);
  if (status != EC_OK) return status;
  copy_inputs(s, plan, s->request.data + 4, true);
  input_given(s, plan);
  return invoke_and_reply(s, plan);
}

/* One image {width, height, channels, pixels} at *offset, which moves behind it. */
static ec_status parse_image(server *s, size_t *offset, ec_pixels *pixels) {
  const buffer *r = &s->request;
  if (r->used - *offset < 12) return violation(s, "an image without its size");
  const uint8_t *p = r->data + *offset;
  *pixels = (ec_pixels){p + 12, u32(p), u32(p + 4), u32(p + 8), 0};
  uint64_t width = pixels->width, height = pixels->height, channels = pixels->channels, room = r->used - *offset - 12;
  if (width > MAX_LENGTH || height > MAX_LENGTH || channels > 4 || width * channels > MAX_LENGTH ||
      width * channels * height > room)
    return violation(s, "an image shorter than its size");
  *offset += 12 + (size_t)(width * channels * height);
  return EC_OK;
}

static ec_status require_image_model(server *s) {
  const ec_model *model = ec_describe(s->session);
  if (model->num_inputs == 1 && ec_input_image(s->session, 0)->layout != EC_RAW) return EC_OK;
  return fail(s, EC_ERROR_UNSUPPORTED, "the model does not take exactly one image");
}

static ec_status run_images(server *s) {
  const ec_plan *plan;
  ec_pixels pixels;
  size_t offset = 4;
  if (s->request.used < 4) return violation(s, "RUN_IMAGES without a batch size");
  uint32_t batch = u32(s->request.data);
  ec_status status = require_image_model(s);
  if (status == EC_OK) status = find_plan(s, batch, &plan);
  if (status != EC_OK) return status;
  for (uint32_t i = 0; i < batch && status == EC_OK; i++) status = parse_image(s, &offset, &pixels);
  if (status == EC_OK && offset != s->request.used) status = violation(s, "RUN_IMAGES with bytes left over");
  if (status == EC_OK) status = begin_input(s, plan);
  offset = 4;
  for (uint32_t i = 0; i < batch && status == EC_OK; i++) {
    status = parse_image(s, &offset, &pixels);
    if (status == EC_OK) status = failed(s, ec_preprocess(s->session, batch, 0, i, &pixels));
  }
  if (status != EC_OK) return status;
  input_given(s, plan);
  return invoke_and_reply(s, plan);
}

static ec_status preprocess(server *s) {
  const ec_plan *plan;
  ec_pixels pixels;
  size_t offset = 0;
  ec_status status = parse_image(s, &offset, &pixels);
  if (status == EC_OK && offset != s->request.used) status = violation(s, "PREPROCESS with bytes left over");
  if (status == EC_OK) status = require_image_model(s);
  if (status != EC_OK) return status;
  plan = ec_plan_at(s->session, 0); /* any plan will do: the first image's place is returned */
  status = switch_plan(s, NULL);
  if (status == EC_OK) status = failed(s, ec_preprocess(s->session, plan->batch, 0, 0, &pixels));
  if (status == EC_OK && !ec_wire_append(&s->reply, ec_input_data(s->session, plan->batch, 0),
                                 (size_t)(ec_input(s->session, plan->batch, 0)->bytes / plan->batch)))
    status = fail(s, EC_ERROR_MEMORY, "no memory for the reply");
  return status;
}

static ec_status measure(server *s) {
  const ec_plan *plan;
  uint32_t batch = u32(s->request.data), warmup = u32(s->request.data + 4), runs = u32(s->request.data + 8);
  if (warmup > MAX_RUNS || runs > MAX_RUNS) return fail(s, EC_ERROR_ARGUMENT, "more than a million runs");
  ec_status status = find_plan(s, batch, &plan);
  if (status == EC_OK) status = recall_input(s, plan);
  if (status == EC_OK && !ec_wire_reserve(&s->reply, runs * sizeof(uint64_t)))
    status = fail(s, EC_ERROR_MEMORY, "no memory for the reply");
  for (uint32_t i = 0; i < warmup && status == EC_OK; i++) status = failed(s, ec_invoke(s->session, batch));
  for (uint32_t i = 0; i < runs && status == EC_OK; i++) {
    uint64_t start = ec_now_ns();
    status = failed(s, ec_invoke(s->session, batch));
    uint64_t elapsed = ec_now_ns() - start;
    ec_wire_append(&s->reply, &elapsed, sizeof elapsed);
  }
  return status;
}

static ec_status profile(server *s) {
  const ec_plan *plan;
  uint32_t batch = u32(s->request.data), runs = u32(s->request.data + 4);
  if (runs > MAX_RUNS) return fail(s, EC_ERROR_ARGUMENT, "more than a million runs");
  ec_status status = find_plan(s, batch, &plan);
  if (status == EC_OK) status = recall_input(s, plan);
  if (status != EC_OK) return status;
  static_assert(sizeof(ec_call_time) == 16, "an entry of a profile is 16 bytes on the wire");
  size_t bytes = plan->num_calls * sizeof(ec_call_time);
  ec_call_time *times = malloc(bytes);
  if (times == NULL) return fail(s, EC_ERROR_MEMORY, "no memory for the reply");
  status = failed(s, ec_profile(s->session, batch, runs, times, plan->num_calls));
  if (status == EC_OK && !ec_wire_append(&s->reply, times, bytes)) status = fail(s, EC_ERROR_MEMORY, "no memory for the reply");
  free(times);
  return status;
}

static ec_status facts(server *s) {
  enum { ROOM = 1 << 16 };
  if (!ec_wire_reserve(&s->reply, ROOM)) return fail(s, EC_ERROR_MEMORY, "no memory for the reply");
  ec_status status = failed(s, ec_facts((char *)s->reply.data, ROOM));
  if (status == EC_OK) s->reply.used = strlen((char *)s->reply.data);
  return status;
}

static ec_status selftest(server *s) {
  const ec_plan *plan;
  double difference = 0;
  ec_status status = find_plan(s, u32(s->request.data), &plan);
  if (status == EC_OK) status = switch_plan(s, NULL);
  if (status != EC_OK) return status;
  status = failed(s, ec_selftest(s->session, plan->batch, &difference));
  if (status == EC_OK || status == EC_ERROR_SELFTEST) { /* the number is the answer; the caller judges it */
    ec_wire_append(&s->reply, &difference, sizeof difference);
    return EC_OK;
  }
  return status;
}

static const struct {
  ec_status (*answer)(server *);
  uint32_t least, most; /* bytes of payload; RUN's most is the largest plan's */
} REQUESTS[] = {
    [DESCRIBE] = {describe, 0, 0},
    [RUN] = {run, 4, MAX_LENGTH},
    [RUN_IMAGES] = {run_images, 4, MAX_LENGTH},
    [PREPROCESS] = {preprocess, 12, MAX_LENGTH},
    [MEASURE] = {measure, 12, 12},
    [PROFILE] = {profile, 8, 8},
    [FACTS] = {facts, 0, 0},
    [SELFTEST] = {selftest, 4, 4},
    [CLOSE] = {NULL, 0, 0},
};

static ec_status check_frame(server *s, const frame *f) {
  if (f->magic != MAGIC) return violation(s, "not a frame of the serve protocol");
  if (f->version != VERSION) return violation(s, "unknown version of the serve protocol");
  if (f->type < DESCRIBE || f->type > CLOSE) return violation(s, "unknown request");
  uint64_t most = REQUESTS[f->type].most;
  if (f->type == RUN) {
    const ec_plan *plan;
    uint64_t largest = 0;
    for (uint32_t i = 0; (plan = ec_plan_at(s->session, i)) != NULL; i++)
      if (input_bytes(s, plan) > largest) largest = input_bytes(s, plan);
    if (4 + largest < most) most = 4 + largest;
  }
  if (f->length < REQUESTS[f->type].least || f->length > most) return violation(s, "impossible length of a request");
  return EC_OK;
}

/* One request. *done: the conversation is over. Returns the exit status so far. */
static int serve_one(server *s, bool *done) {
  frame f = {0};
  size_t got = ec_wire_read(s->in, &f, sizeof f);
  *done = true;
  if (got == 0) return 0;
  ec_status status = got < sizeof f ? violation(s, "the request ended early") : check_frame(s, &f);
  if (status == EC_OK) {
    status = ec_wire_read_payload(s->in, &s->request, f.length);
    if (status != EC_OK) /* without memory its payload is still in the pipe: nobody can go on */
      status = violation(s, status == EC_ERROR_MEMORY ? "no memory for the request" : "the request ended early");
  }
  if (status == EC_OK && f.type == CLOSE) return ec_wire_send(s->out, CLOSE | REPLY, f.id, NULL, 0) ? 0 : 2;
  s->reply.used = 0;
  if (status == EC_OK) status = REQUESTS[f.type].answer(s);
  if (status == EC_OK && s->reply.used > MAX_LENGTH) status = fail(s, EC_ERROR_UNSUPPORTED, "the reply is too large");
  bool sent = status == EC_OK ? ec_wire_send(s->out, (uint16_t)(f.type | REPLY), f.id, s->reply.data, s->reply.used)
                              : ec_wire_send_failure(s->out, f.id, status, s->message);
  *done = !sent || status == EC_ERROR_PROTOCOL;
  return *done ? 2 : 0;
}

int ec_serve(ec_session *session, int in, int out) {
  server s = {.session = session, .in = in, .out = out};
  uint32_t plans = 0;
  int result = 2;
  bool done = false;
  while (ec_plan_at(session, plans) != NULL) plans++;
  s.kept = calloc(plans, sizeof *s.kept);
  if (s.kept == NULL) return result;
  ec_wire_end_with_reader(out);
  while (!done) result = serve_one(&s, &done);
  for (uint32_t i = 0; i < plans; i++) free(s.kept[i].data);
  free(s.kept);
  free(s.request.data);
  free(s.reply.data);
  return result;
}

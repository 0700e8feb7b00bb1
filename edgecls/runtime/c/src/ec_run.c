/* ec_run.c: the program on the device. `ec_run --help` says what it does. */
#include "platform.h"

#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "serve.h"

static const char USAGE[] =
    "ec_run FOLDER --serve               answer requests on stdin and stdout\n"
    "ec_run FOLDER --image FILE.ppm      classify an image; [--top K]\n"
    "ec_run FOLDER --bench               time it; [--runs N] [--warmup N]\n"
    "ec_run FOLDER --kernel NAME         time one kernel; [--runs N] [--warmup N]\n"
    "ec_run FOLDER --runs N              run N times on the golden input and print nothing\n"
    "ec_run FOLDER --selftest            compare with the outputs stored in the model\n"
    "ec_run --install BUNDLE DESTINATION verify and unpack; prints the FOLDER\n"
    "ec_run --facts | --version | --help\n"
    "All but the last two rows take [--threads N] [--batch N] [--trust]; --trust: do not hash the files again.\n"
    "In a program with models linked in, FOLDER is @ (the first) or @NAME (name or build id).\n";

#ifdef EC_STATIC_ONLY
extern const ec_model *const ec_static_models[]; /* NULL-terminated, generated */
#endif

typedef struct arguments {
  const char *folder, *destination, *image, *kernel;
  bool serve, install, bench, selftest, facts, trust;
  uint32_t threads, batch, top, warmup;
  int64_t runs; /* -1: not given */
} arguments;

static int complain(const char *what, const char *about) {
  fprintf(stderr, "ec_run: %s%s%s\n", what, about[0] != '\0' ? ": " : "", about);
  return 2;
}

/* A failure of the library: what the model did wrong is 1, everything the user can change is 2. */
static int report(ec_status status) {
  if (status == EC_OK) return 0;
  complain(ec_status_str(status), ec_last_error());
  return status == EC_ERROR_KERNEL || status == EC_ERROR_SELFTEST ? 1 : 2;
}

/* ---------------------------------------------------------------- command line */

static bool parse_number(const char *text, uint32_t most, uint32_t *value) {
  char *end;
  unsigned long number = text != NULL && text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
  if (text == NULL || text[0] < '0' || text[0] > '9' || *end != '\0' || number > most) return false;
  *value = (uint32_t)number;
  return true;
}

/* Returns NULL, or what is wrong. */
static const char *parse(int argc, char **argv, arguments *a) {
  *a = (arguments){.threads = 1, .batch = 0, .top = 5, .warmup = 5, .runs = -1};
  for (int i = 1; i < argc; i++) {
    const char *option = argv[i], *value = argv[i + 1]; /* argv ends in NULL */
    uint32_t number = 0;
    if (option[0] != '-') {
      if (a->folder == NULL)
        a->folder = option;
      else if (a->install && a->destination == NULL)
        a->destination = option;
      else
        return option;
      continue;
    }
    if (strcmp(option, "--serve") == 0) a->serve = true;
    else if (strcmp(option, "--install") == 0) a->install = true;
    else if (strcmp(option, "--bench") == 0) a->bench = true;
    else if (strcmp(option, "--selftest") == 0) a->selftest = true;
    else if (strcmp(option, "--facts") == 0) a->facts = true;
    else if (strcmp(option, "--trust") == 0) a->trust = true;
    else {
      i++;
      if (value == NULL) return option;
      if (strcmp(option, "--image") == 0) a->image = value;
      else if (strcmp(option, "--kernel") == 0) a->kernel = value;
      else if (strcmp(option, "--threads") == 0 && parse_number(value, EC_MAX_THREADS, &number)) a->threads = number;
      else if (strcmp(option, "--batch") == 0 && parse_number(value, 65536, &number)) a->batch = number;
      else if (strcmp(option, "--top") == 0 && parse_number(value, 1u << 20, &number)) a->top = number;
      else if (strcmp(option, "--warmup") == 0 && parse_number(value, 1000000, &number)) a->warmup = number;
      else if (strcmp(option, "--runs") == 0 && parse_number(value, 1000000, &number)) a->runs = number;
      else return option;
    }
  }
  return NULL;
}

/* ---------------------------------------------------------------- timing */

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Nearest rank: the smallest sample that at least `percent` % of them do not exceed (statistics.py says the same). */
static double percentile_ms(const uint64_t *sorted, uint32_t count, uint32_t percent) {
  uint64_t rank = ((uint64_t)percent * count + 99) / 100;
  return (double)sorted[rank > 0 ? rank - 1 : 0] / 1e6;
}

/* call: index into the plan, or -1 for the whole of it. */
static int bench(ec_session *session, uint64_t batch, const arguments *a, int64_t call) {
  uint32_t runs = a->runs < 0 ? 50 : (uint32_t)a->runs;
  uint64_t *samples = calloc(runs > 0 ? runs : 1, sizeof *samples);
  if (samples == NULL) return complain("not enough memory", "");
  ec_status status = ec_golden_input(session, batch);
  if (status == EC_OK && call >= 0) status = ec_invoke(session, batch); /* real data between the kernels */
  for (uint32_t i = 0; i < a->warmup + runs && status == EC_OK; i++) {
    uint64_t start = ec_now_ns();
    status = call < 0 ? ec_invoke(session, batch) : ec_invoke_call(session, batch, (uint32_t)call);
    if (i >= a->warmup) samples[i - a->warmup] = ec_now_ns() - start;
  }
  if (status == EC_OK && runs > 0) {
    qsort(samples, runs, sizeof *samples, ascending);
    printf("runs %u  threads %u  min %.4f ms  p50 %.4f ms  p90 %.4f ms  max %.4f ms\n", (unsigned)runs,
           (unsigned)ec_threads(session), percentile_ms(samples, runs, 0), percentile_ms(samples, runs, 50),
           percentile_ms(samples, runs, 90), percentile_ms(samples, runs, 100));
  }
  free(samples);
  return report(status);
}

static int bench_kernel(ec_session *session, uint64_t batch, const arguments *a) {
  const ec_call *call;
  for (uint32_t i = 0; (call = ec_call_at(session, batch, i)) != NULL; i++)
    if (strcmp(ec_kernel_at(session, call->kernel)->name, a->kernel) == 0) return bench(session, batch, a, i);
  return complain("the plan calls no kernel of this name", a->kernel);
}

/* Exactly `runs` invocations and nothing else: differences between two such processes count instructions. */
static int repeat(ec_session *session, uint64_t batch, int64_t runs) {
  ec_status status = ec_golden_input(session, batch);
  for (int64_t i = 0; i < runs && status == EC_OK; i++) status = ec_invoke(session, batch);
  return report(status);
}

/* ---------------------------------------------------------------- images */

static bool read_field(FILE *file, uint32_t *value) { /* a number of a PNM header; '#' starts a comment */
  int c = fgetc(file);
  while (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '#') {
    if (c == '#')
      while (c != '\n' && c != EOF) c = fgetc(file);
    c = fgetc(file);
  }
  *value = 0;
  if (c < '0' || c > '9') return false;
  for (; c >= '0' && c <= '9' && *value <= 99999; c = fgetc(file)) *value = *value * 10 + (uint32_t)(c - '0');
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Binary PPM (RGB) or PGM (L), 8 bits. The caller frees *data. Returns NULL, or what is wrong. */
static const char *read_pnm(const char *path, uint8_t **data, ec_pixels *pixels) {
  const char *problem = "not a binary PPM or PGM image of 8 bits";
  char magic[2];
  uint32_t most;
  FILE *file = fopen(path, "rb");
  *data = NULL;
  if (file == NULL) return "cannot be opened";
  if (fread(magic, 1, 2, file) == 2 && magic[0] == 'P' && (magic[1] == '5' || magic[1] == '6') &&
      read_field(file, &pixels->width) && read_field(file, &pixels->height) && read_field(file, &most) && most == 255 &&
      pixels->width <= EC_MAX_IMAGE_SIDE && pixels->height <= EC_MAX_IMAGE_SIDE) {
    pixels->channels = magic[1] == '6' ? 3 : 1;
    pixels->stride = (size_t)pixels->width * pixels->channels;
    size_t bytes = pixels->stride;
    problem = NULL;
    *data = pixels->height > 0 && bytes > SIZE_MAX / pixels->height ? NULL : malloc(bytes * pixels->height + 1);
    if (*data == NULL)
      problem = "too large for the memory";
    else if (fread(*data, 1, bytes * pixels->height, file) != bytes * pixels->height)
      problem = "ends early";
    pixels->data = *data;
  }
  fclose(file);
  return problem;
}

/* Probabilities from what the network gives, in place in `p`. */
static void activate(const ec_meaning *meaning, double *p, uint64_t count) {
  double highest = -INFINITY, total = 0;
  for (uint64_t i = 0; i < count; i++) highest = p[i] > highest ? p[i] : highest;
  for (uint64_t i = 0; i < count; i++) {
    if (meaning->activation == EC_SOFTMAX) total += p[i] = exp(p[i] - highest);
    if (meaning->activation == EC_SIGMOID) p[i] = 1 / (1 + exp(-p[i]));
  }
  for (uint64_t i = 0; meaning->activation == EC_SOFTMAX && i < count; i++) p[i] /= total;
}

static int print_answer(ec_session *session, uint64_t batch, uint32_t top) {
  uint32_t index = 0;
  const ec_meaning *meaning;
  while ((meaning = ec_output_meaning(session, index)) != NULL && meaning->role != EC_LOGITS &&
         meaning->role != EC_PROBABILITIES)
    index++;
  const ec_tensor *tensor = ec_output(session, batch, index);
  if (meaning == NULL || tensor->dtype != EC_F32) return complain("no output of the model classifies", "");
  uint64_t count = tensor->bytes / sizeof(float) / batch; /* of the first image */
  const float *values = ec_output_data(session, batch, index);
  double *p = malloc((size_t)count * sizeof *p);
  if (p == NULL) return complain("not enough memory", "");
  for (uint64_t i = 0; i < count; i++) p[i] = (double)values[i];
  activate(meaning, p, count);
  for (uint32_t rank = 0; rank < top && rank < count; rank++) {
    uint64_t best = 0;
    for (uint64_t i = 1; i < count; i++)
      if (p[i] > p[best]) best = i;
    printf("%llu\t%.6f\t%s\n", (unsigned long long)best, p[best], best < meaning->num_labels ? meaning->labels[best] : "");
    p[best] = -INFINITY;
  }
  free(p);
  return 0;
}

static int classify(ec_session *session, uint64_t batch, const arguments *a) {
  ec_pixels pixels;
  uint8_t *data;
  ec_status status = EC_OK;
  const char *problem = read_pnm(a->image, &data, &pixels);
  if (problem == NULL) {
    for (uint32_t slot = 0; slot < batch && status == EC_OK; slot++)
      status = ec_preprocess(session, batch, 0, slot, &pixels);
    if (status == EC_OK) status = ec_invoke(session, batch);
  }
  free(data);
  if (problem != NULL) return complain(a->image, problem);
  return status == EC_OK ? print_answer(session, batch, a->top) : report(status);
}

/* ---------------------------------------------------------------- the program */

static int serve(ec_session *session) {
  int out = dup(STDOUT_FILENO); /* the protocol's alone: whatever a library prints goes to stderr */
  if (out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return complain("no pipe to answer on", "");
  return ec_serve(session, STDIN_FILENO, out);
}

static int selftest(ec_session *session, uint64_t batch) {
  double difference = 0;
  ec_status status = ec_selftest(session, batch, &difference);
  if (status == EC_OK) printf("ok: largest difference %.3g of the output's range\n", difference);
  return report(status);
}

static ec_status open_model(const arguments *a, ec_session **session) {
  ec_options options = EC_OPTIONS_INIT;
  options.threads = a->threads;
  options.max_batch = a->batch;
  options.flags = a->trust ? EC_TRUST_FILES : 0;
#ifdef EC_STATIC_ONLY
  if (a->folder[0] == '@')
    for (const ec_model *const *m = ec_static_models; *m != NULL; m++)
      if (a->folder[1] == '\0' || strcmp((*m)->name, a->folder + 1) == 0 || strcmp((*m)->build_id, a->folder + 1) == 0)
        return ec_open_static(*m, &options, session);
#endif
  return ec_open(a->folder, &options, session);
}

static int run(const arguments *a) {
  ec_session *session;
  ec_status status = open_model(a, &session);
  if (status != EC_OK) return report(status);
  uint64_t batch = a->batch > 0 ? a->batch : ec_plan_at(session, 0)->batch;
  int result;
  if (a->serve) result = serve(session);
  else if (a->image != NULL) result = classify(session, batch, a);
  else if (a->selftest) result = selftest(session, batch);
  else if (a->kernel != NULL) result = bench_kernel(session, batch, a);
  else if (a->bench) result = bench(session, batch, a, -1);
  else result = repeat(session, batch, a->runs);
  ec_close(session);
  return result;
}

static int install(const arguments *a) {
  char folder[4096];
  ec_status status = ec_install(a->folder, a->destination, folder, sizeof folder);
  if (status == EC_OK) puts(folder);
  return report(status);
}

static int facts(void) {
  static char json[1 << 16];
  ec_status status = ec_facts(json, sizeof json);
  if (status == EC_OK) puts(json);
  return report(status);
}

int main(int argc, char **argv) {
  arguments a;
  signal(SIGPIPE, SIG_IGN); /* a reader that went away and a full quota are errors to report, not deaths */
  signal(SIGXFSZ, SIG_IGN);
  if (argc == 2 && strcmp(argv[1], "--version") == 0) return puts(ec_version()) < 0;
  if (argc == 2 && strcmp(argv[1], "--help") == 0) return fputs(USAGE, stdout) < 0;
  const char *wrong = parse(argc, argv, &a);
  if (wrong != NULL) return complain("cannot make sense of this argument", wrong);
  bool works = a.serve || a.image != NULL || a.selftest || a.kernel != NULL || a.bench || a.runs >= 0;
  int result;
  if (a.facts) {
    result = facts();
  } else if (a.folder == NULL || (a.install ? a.destination == NULL : !works)) {
    fputs(USAGE, stderr);
    return 2;
  } else {
    result = a.install ? install(&a) : run(&a);
  }
  return fflush(stdout) == 0 ? result : complain("cannot write the answer", "");
}

/* load.c: believe nothing, then dlopen. */
#include "platform.h"

#include <stdbool.h>
#include <string.h>

#include "file.h"
#include "host.h"
#include "load.h"
#include "model.h"

ec_status ec_load_static(const ec_model *model, ec_loaded *loaded) {
  memset(loaded, 0, sizeof *loaded);
  ec_status status = ec_model_check(model);
  if (status != EC_OK) return status;
  if (model->weights == NULL && model->weights_bytes > 0)
    return ec_fail(EC_ERROR_MODEL, "the linked model '%s' has no weights embedded", model->name);
  status = ec_host_check(ec_host_arch(), model->features);
  if (status != EC_OK) return status;
  loaded->model = model;
  loaded->weights = model->weights;
  return EC_OK;
}

#ifdef EC_STATIC_ONLY

ec_status ec_load_folder(const char *folder, const ec_options *options, ec_loaded *loaded) {
  (void)options, (void)loaded;
  return ec_fail(EC_ERROR_UNSUPPORTED, "%s: this program can only run the models linked into it", folder);
}

void ec_unload(ec_loaded *loaded) { memset(loaded, 0, sizeof *loaded); }

#else

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

static_assert(sizeof(ec_header) == 256, "header.bin is 256 bytes");

static bool all_zero(const void *data, size_t bytes) {
  const unsigned char *p = data;
  while (bytes > 0 && *p == 0) p++, bytes--;
  return bytes == 0;
}

static bool is_symbol(const char symbol[64]) {
  static const char prefix[] = "ec_model_";
  size_t length = strnlen(symbol, 64), skip = sizeof prefix - 1;
  return length == skip + 32 && memcmp(symbol, prefix, skip) == 0 &&
         strspn(symbol + skip, "0123456789abcdef") == 32 && all_zero(symbol + length, 64 - length);
}

static ec_status read_header(const char *folder, ec_header *header) {
  char path[EC_MAX_PATH];
  uint64_t bytes;
  int fd;
  ec_status status = ec_join(path, folder, "header.bin");
  if (status == EC_OK) status = ec_file_open(path, &fd, &bytes);
  if (status != EC_OK) return status;
  if (bytes != sizeof *header)
    status = ec_fail(EC_ERROR_BUNDLE, "%s: has %llu bytes, not %u", path, (unsigned long long)bytes,
                     (unsigned)sizeof *header);
  else
    status = ec_file_read(fd, path, 0, header, sizeof *header);
  close(fd);
  if (status != EC_OK) return status;
  if (memcmp(header->magic, EC_HEADER_MAGIC, sizeof header->magic) != 0)
    return ec_fail(EC_ERROR_BUNDLE, "%s: is not an edgecls header", path);
  if (header->version != EC_HEADER_VERSION)
    return ec_fail(EC_ERROR_BUNDLE, "%s: format version %u, this library reads %u", path, (unsigned)header->version,
                   (unsigned)EC_HEADER_VERSION);
  if (!is_symbol(header->symbol) || !all_zero(header->reserved, sizeof header->reserved))
    return ec_fail(EC_ERROR_BUNDLE, "%s: is damaged", path);
  return EC_OK;
}

static ec_status check_device(const ec_header *h, const ec_options *options) {
  ec_status status = ec_host_check(h->arch, h->features);
  if (status != EC_OK) return status;
  const uint64_t limit = (uint64_t)1 << 40; /* of each term: the sum cannot overflow */
  if (h->weights_bytes > limit || h->arena_bytes > limit || h->workspace_bytes > limit)
    return ec_fail(EC_ERROR_BUNDLE, "the header asks for an absurd amount of memory");
  /* at least: what further threads need is known when the model is loaded */
  return ec_host_check_memory(h->weights_bytes + (options->arena == NULL ? h->arena_bytes : 0));
}

/* Open `name` and, unless the caller trusts the files, compare its hash. The caller closes *fd. */
static ec_status open_member(const char *folder, const char *name, const uint8_t expected[EC_SHA256_BYTES],
                             const ec_options *options, char path[EC_MAX_PATH], int *fd, uint64_t *bytes) {
  uint8_t digest[EC_SHA256_BYTES];
  ec_status status = ec_join(path, folder, name);
  if (status == EC_OK) status = ec_file_open(path, fd, bytes);
  if (status != EC_OK || options->flags & EC_TRUST_FILES) return status;
  status = ec_file_hash(*fd, path, *bytes, digest);
  if (status == EC_OK && memcmp(digest, expected, sizeof digest) != 0)
    status = ec_fail(EC_ERROR_BUNDLE, "%s: is damaged: its hash is not the one in header.bin", path);
  if (status != EC_OK) close(*fd);
  return status;
}

static ec_status map_weights(const char *folder, const ec_header *header, const ec_options *options,
                             ec_loaded *loaded) {
  char path[EC_MAX_PATH];
  uint64_t bytes;
  int fd;
  ec_status status = open_member(folder, "weights.bin", header->weights_sha256, options, path, &fd, &bytes);
  if (status != EC_OK) return status;
  if (bytes != header->weights_bytes)
    status = ec_fail(EC_ERROR_BUNDLE, "%s: is damaged: its size is not the one in header.bin", path);
  else
    status = ec_file_map(fd, path, bytes, &loaded->weights);
  close(fd);
  if (status == EC_OK) loaded->mapped_bytes = bytes;
  return status;
}

static ec_status load_library(const char *folder, const ec_header *header, const ec_options *options,
                              ec_loaded *loaded) {
  char path[EC_MAX_PATH];
  uint64_t bytes;
  int fd;
  ec_status status = open_member(folder, "model.so", header->model_sha256, options, path, &fd, &bytes);
  if (status != EC_OK) return status;
  close(fd);
  loaded->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (loaded->library == NULL) return ec_fail(EC_ERROR_LOAD, "%s", dlerror());
  loaded->model = dlsym(loaded->library, header->symbol);
  if (loaded->model == NULL) return ec_fail(EC_ERROR_LOAD, "%s: has no symbol %s", path, header->symbol);
  return EC_OK;
}

static ec_status check_agreement(const char *folder, const ec_header *header, const ec_model *model) {
  const ec_plan *smallest = ec_model_plan(model, 0);
  if (strcmp(header->symbol + strlen("ec_model_"), model->build_id) != 0 || header->features != model->features ||
      header->weights_bytes != model->weights_bytes || header->arena_bytes != smallest->arena_bytes ||
      header->workspace_bytes != smallest->workspace_bytes ||
      memcmp(header->weights_sha256, model->weights_sha256, EC_SHA256_BYTES) != 0)
    return ec_fail(EC_ERROR_MODEL, "%s: header.bin and model.so do not belong together", folder);
  return EC_OK;
}

ec_status ec_load_folder(const char *folder, const ec_options *options, ec_loaded *loaded) {
  ec_header header;
  memset(loaded, 0, sizeof *loaded);
  ec_status status = read_header(folder, &header);
  if (status == EC_OK) status = check_device(&header, options);
  if (status == EC_OK) status = map_weights(folder, &header, options, loaded);
  if (status == EC_OK) status = load_library(folder, &header, options, loaded);
  if (status == EC_OK) status = ec_model_check(loaded->model);
  if (status == EC_OK) status = check_agreement(folder, &header, loaded->model);
  if (status != EC_OK) ec_unload(loaded);
  return status;
}

void ec_unload(ec_loaded *loaded) {
  if (loaded->library != NULL) dlclose(loaded->library);
  if (loaded->mapped_bytes > 0) munmap((void *)(uintptr_t)loaded->weights, (size_t)loaded->mapped_bytes);
  memset(loaded, 0, sizeof *loaded);
}

#endif

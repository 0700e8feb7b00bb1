/* file.c: whole reads and writes. */
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

ec_status ec_join(char path[EC_MAX_PATH], const char *folder, const char *name) {
  int length = snprintf(path, EC_MAX_PATH, "%s/%s", folder, name);
  if (length < 0 || length >= EC_MAX_PATH) return ec_fail(EC_ERROR_ARGUMENT, "the path %.64s... is too long", folder);
  return EC_OK;
}

ec_status ec_file_open(const char *path, int *fd, uint64_t *bytes) {
  struct stat info;
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block us */
  if (*fd < 0) return ec_fail_errno(EC_ERROR_IO, "%s: cannot be opened", path);
  if (fstat(*fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size < 0) {
    close(*fd);
    *fd = -1;
    return ec_fail(EC_ERROR_IO, "%s: is not a regular file", path);
  }
  *bytes = (uint64_t)info.st_size;
  return EC_OK;
}

ec_status ec_file_read(int fd, const char *path, uint64_t offset, void *data, size_t bytes) {
  char *p = data;
  while (bytes > 0) {
    ssize_t got = pread(fd, p, bytes, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ec_fail_errno(EC_ERROR_IO, "%s: cannot be read", path);
    if (got == 0) return ec_fail(EC_ERROR_IO, "%s: ended early", path);
    p += got;
    offset += (uint64_t)got;
    bytes -= (size_t)got;
  }
  return EC_OK;
}

ec_status ec_file_write(int fd, const char *path, const void *data, size_t bytes) {
  const char *p = data;
  while (bytes > 0) {
    ssize_t put = write(fd, p, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return ec_fail_errno(EC_ERROR_IO, "%s: cannot be written", path);
    p += put;
    bytes -= (size_t)put;
  }
  return EC_OK;
}

ec_status ec_file_hash(int fd, const char *path, uint64_t bytes, uint8_t digest[EC_SHA256_BYTES]) {
  enum { CHUNK = 1 << 16 };
  ec_status status = EC_OK;
  ec_sha256 hash;
  uint8_t *chunk = malloc(CHUNK);
  if (chunk == NULL) return ec_fail(EC_ERROR_MEMORY, "no memory to read %s", path);
  ec_sha256_begin(&hash);
  for (uint64_t done = 0; done < bytes && status == EC_OK;) {
    size_t take = bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK;
    status = ec_file_read(fd, path, done, chunk, take);
    if (status == EC_OK) ec_sha256_add(&hash, chunk, take);
    done += take;
  }
  free(chunk);
  if (status == EC_OK) ec_sha256_end(&hash, digest);
  return status;
}

ec_status ec_file_map(int fd, const char *path, uint64_t bytes, const void **data) {
  *data = NULL;
  if (bytes == 0) return EC_OK;
  if (bytes > SIZE_MAX / 2) return ec_fail(EC_ERROR_MEMORY, "%s: too large for this device", path);
  void *mapped = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return ec_fail_errno(EC_ERROR_MEMORY, "%s: cannot be mapped", path);
  *data = mapped;
  return EC_OK;
}

/* file.h: files as the rest of the library wants them: whole reads and writes, no surprises from links or signals. */
#ifndef EC_FILE_H
#define EC_FILE_H

#include "sha256.h"
#include "status.h"

#define EC_MAX_PATH 4096

/* "<folder>/<name>" into path[EC_MAX_PATH]. */
ec_status ec_join(char path[EC_MAX_PATH], const char *folder, const char *name);

/* Open a regular file for reading; *bytes is its size. The caller closes *fd. */
ec_status ec_file_open(const char *path, int *fd, uint64_t *bytes);

/* Exactly `bytes` bytes at `offset`. `path` is for the message only, here and below. */
ec_status ec_file_read(int fd, const char *path, uint64_t offset, void *data, size_t bytes);

/* All of `data`, at the file's position. */
ec_status ec_file_write(int fd, const char *path, const void *data, size_t bytes);

/* SHA-256 of the first `bytes` bytes. */
ec_status ec_file_hash(int fd, const char *path, uint64_t bytes, uint8_t digest[EC_SHA256_BYTES]);

/* Map a whole file read-only and shared; *data is NULL when it is empty. The caller unmaps. */
ec_status ec_file_map(int fd, const char *path, uint64_t bytes, const void **data);

#endif

/* zip.h: the bundle reader. Format: docs/formats.md, "Bundle". */
#ifndef EC_ZIP_H
#define EC_ZIP_H

#include "file.h"

#define EC_ZIP_MAX_MEMBERS 32
#define EC_ZIP_MAX_NAME 63

typedef struct ec_zip_member {
  char name[EC_ZIP_MAX_NAME + 1];
  uint32_t offset; /* of the data */
  uint32_t bytes;
  uint32_t crc;
} ec_zip_member;

typedef struct ec_zip {
  int fd;
  char path[EC_MAX_PATH]; /* for messages */
  char hash[EC_SHA256_HEX];
  uint32_t count;
  ec_zip_member members[EC_ZIP_MAX_MEMBERS];
} ec_zip;

/* Open a bundle and check every byte of it: first the trailer's hash, then that each structure is exactly what the
 * format allows, with names and ranges that cannot reach outside. The caller closes it. */
ec_status ec_zip_open(const char *path, ec_zip *zip);
void ec_zip_close(ec_zip *zip);

/* The member of this name, or NULL. */
const ec_zip_member *ec_zip_find(const ec_zip *zip, const char *name);

/* Continue a CRC-32 (start with 0). */
uint32_t ec_crc32(uint32_t crc, const void *data, size_t bytes);

#endif

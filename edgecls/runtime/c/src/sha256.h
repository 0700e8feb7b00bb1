/* sha256.h: FIPS 180-4 SHA-256, incremental. */
#ifndef EC_SHA256_H
#define EC_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define EC_SHA256_BYTES 32
#define EC_SHA256_HEX 65 /* with NUL */

typedef struct ec_sha256 {
  uint32_t state[8];
  uint64_t bytes;
  uint8_t block[64];
} ec_sha256;

void ec_sha256_begin(ec_sha256 *hash);
void ec_sha256_add(ec_sha256 *hash, const void *data, size_t bytes);
void ec_sha256_end(ec_sha256 *hash, uint8_t digest[EC_SHA256_BYTES]);
void ec_sha256_hex(const uint8_t digest[EC_SHA256_BYTES], char hex[EC_SHA256_HEX]);

#endif

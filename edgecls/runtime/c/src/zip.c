/* zip.c: a reader for the few zip files that are bundles. */
#include "platform.h"

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "zip.h"

enum { LOCAL = 30, CENTRAL = 46, END = 22, TRAILER = 72 };

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

static ec_status bad(const ec_zip *zip, const char *what) {
  return ec_fail(EC_ERROR_BUNDLE, "%s: not a bundle: %s", zip->path, what);
}

uint32_t ec_crc32(uint32_t crc, const void *data, size_t bytes) {
  static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                     0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                     0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
  const uint8_t *p = data;
  crc = ~crc;
  for (; bytes > 0; bytes--) {
    crc ^= *p++;
    crc = crc >> 4 ^ table[crc & 15];
    crc = crc >> 4 ^ table[crc & 15];
  }
  return ~crc;
}

/* [a-z0-9_][a-z0-9_.]{0,62}: no separators, no "..", no hidden files. */
static bool allowed_name(const uint8_t *name, uint32_t length) {
  if (length < 1 || length > EC_ZIP_MAX_NAME || name[0] == '.') return false;
  for (uint32_t i = 0; i < length; i++)
    if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '_' || name[i] == '.'))
      return false;
  return true;
}

static ec_status check_trailer(ec_zip *zip, uint64_t size) {
  uint8_t trailer[TRAILER], digest[EC_SHA256_BYTES];
  if (size < LOCAL + CENTRAL + END + TRAILER || size > UINT32_MAX) return bad(zip, "its size is impossible");
  ec_status status = ec_file_read(zip->fd, zip->path, size - TRAILER, trailer, TRAILER);
  if (status != EC_OK) return status;
  if (memcmp(trailer, "ECLSHASH", 8) != 0) return bad(zip, "it does not end in a bundle's trailer");
  status = ec_file_hash(zip->fd, zip->path, size - TRAILER, digest);
  if (status != EC_OK) return status;
  ec_sha256_hex(digest, zip->hash);
  if (memcmp(trailer + 8, zip->hash, 64) != 0)
    return ec_fail(EC_ERROR_BUNDLE, "%s: damaged: its bytes do not match its hash", zip->path);
  return EC_OK;
}

/* The 26 bytes that local header and central entry share: versions, flags, method, date, crc, sizes, name length. */
static bool plain_entry(const uint8_t *p) {
  return u16(p) == 20 && u16(p + 2) == 0 && u16(p + 4) == 0 && u16(p + 6) == 0 && u16(p + 8) == 0x21 &&
         u32(p + 14) == u32(p + 18) && u16(p + 24) == 0;
}

/* Entry i of the central directory at *at, whose data must start at *next; both move on. */
static ec_status read_entry(ec_zip *zip, uint32_t i, uint64_t *at, uint64_t *next, uint64_t directory, uint64_t end) {
  uint8_t central[CENTRAL + EC_ZIP_MAX_NAME], local[LOCAL + EC_ZIP_MAX_NAME];
  if (end - *at < CENTRAL) return bad(zip, "its directory is cut short");
  ec_status status = ec_file_read(zip->fd, zip->path, *at, central, CENTRAL);
  if (status != EC_OK) return status;
  uint32_t length = u16(central + 28);
  if (u32(central) != 0x02014b50 || u16(central + 4) != (3u << 8 | 20) || !plain_entry(central + 6) ||
      u16(central + 32) != 0 || u16(central + 34) != 0 || u16(central + 36) != 0 || u32(central + 38) != 0100644u << 16)
    return bad(zip, "a member is not stored plainly");
  if (u32(central + 42) != *next) return bad(zip, "members overlap or leave gaps");
  if (length > EC_ZIP_MAX_NAME || end - *at - CENTRAL < length) return bad(zip, "a member's name is too long");
  status = ec_file_read(zip->fd, zip->path, *at + CENTRAL, central + CENTRAL, length);
  if (status != EC_OK) return status;
  if (!allowed_name(central + CENTRAL, length)) return bad(zip, "a member's name is not allowed");

  if (directory - *next < LOCAL + (uint64_t)length) return bad(zip, "a member reaches into the directory");
  status = ec_file_read(zip->fd, zip->path, *next, local, LOCAL + length);
  if (status != EC_OK) return status;
  if (u32(local) != 0x04034b50 || memcmp(local + 4, central + 6, 26) != 0 ||
      memcmp(local + LOCAL, central + CENTRAL, length) != 0)
    return bad(zip, "a member's two headers disagree");

  ec_zip_member *member = &zip->members[i];
  memcpy(member->name, central + CENTRAL, length);
  member->name[length] = '\0';
  member->crc = u32(central + 16);
  member->bytes = u32(central + 20);
  member->offset = (uint32_t)(*next + LOCAL + length);
  if (ec_zip_find(zip, member->name) != NULL) return bad(zip, "a member's name is repeated");
  if (member->bytes > directory - member->offset) return bad(zip, "a member reaches into the directory");
  *next = (uint64_t)member->offset + member->bytes;
  *at += CENTRAL + length;
  zip->count = i + 1;
  return EC_OK;
}

static ec_status read_directory(ec_zip *zip, uint64_t size) {
  uint8_t e[END];
  uint64_t end = size - TRAILER - END, next = 0;
  ec_status status = ec_file_read(zip->fd, zip->path, end, e, END);
  if (status != EC_OK) return status;
  uint32_t count = u16(e + 8);
  uint64_t directory = u32(e + 16), at = directory;
  if (u32(e) != 0x06054b50 || u32(e + 4) != 0 || u16(e + 10) != count || u16(e + 20) != TRAILER)
    return bad(zip, "it has no zip directory");
  if (count < 1 || count > EC_ZIP_MAX_MEMBERS) return bad(zip, "it has too few or too many members");
  if (directory > end || u32(e + 12) != end - directory) return bad(zip, "its directory is misplaced");
  for (uint32_t i = 0; i < count && status == EC_OK; i++) status = read_entry(zip, i, &at, &next, directory, end);
  if (status != EC_OK) return status;
  if (next != directory || at != end) return bad(zip, "it has bytes that belong to no member");
  if (strcmp(zip->members[0].name, "manifest.json") != 0) return bad(zip, "it does not start with a manifest");
  return EC_OK;
}

ec_status ec_zip_open(const char *path, ec_zip *zip) {
  uint64_t size;
  memset(zip, 0, sizeof *zip);
  zip->fd = -1;
  size_t length = strlen(path);
  if (length >= sizeof zip->path) return ec_fail(EC_ERROR_ARGUMENT, "the path %.64s... is too long", path);
  memcpy(zip->path, path, length + 1);
  ec_status status = ec_file_open(path, &zip->fd, &size);
  if (status == EC_OK) status = check_trailer(zip, size);
  if (status == EC_OK) status = read_directory(zip, size);
  if (status != EC_OK) ec_zip_close(zip);
  return status;
}

void ec_zip_close(ec_zip *zip) {
  if (zip->fd >= 0) close(zip->fd);
  zip->fd = -1;
}

const ec_zip_member *ec_zip_find(const ec_zip *zip, const char *name) {
  for (uint32_t i = 0; i < zip->count; i++)
    if (strcmp(zip->members[i].name, name) == 0) return &zip->members[i];
  return NULL;
}

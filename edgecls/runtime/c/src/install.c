/* install.c: a bundle becomes a folder that ec_open takes; whole or not at all. */
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "zip.h"

enum { CHUNK = 1 << 16 };

static ec_status check_runtime(const ec_zip *zip) {
  static const char *const needed[] = {"header.bin", "model.so", "weights.bin"};
  for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
    if (ec_zip_find(zip, needed[i]) == NULL)
      return ec_fail(EC_ERROR_BUNDLE, "%s: is for another runtime: it has no %s", zip->path, needed[i]);
  return EC_OK;
}

/* Copy a member to a new file in `folder`. */
static ec_status write_member(const ec_zip *zip, const ec_zip_member *member, const char *folder, uint8_t *chunk) {
  char path[EC_MAX_PATH];
  uint32_t crc = 0;
  ec_status status = ec_join(path, folder, member->name);
  if (status != EC_OK) return status;
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return ec_fail_errno(EC_ERROR_IO, "%s: cannot be created", path);
  for (uint32_t done = 0; done < member->bytes && status == EC_OK;) {
    uint32_t take = member->bytes - done < CHUNK ? member->bytes - done : CHUNK;
    status = ec_file_read(zip->fd, zip->path, (uint64_t)member->offset + done, chunk, take);
    if (status == EC_OK) {
      crc = ec_crc32(crc, chunk, take);
      status = ec_file_write(fd, path, chunk, take);
    }
    done += take;
  }
  if (status == EC_OK && crc != member->crc)
    status = ec_fail(EC_ERROR_BUNDLE, "%s: damaged: member %s has another CRC", zip->path, member->name);
  if (status == EC_OK && fsync(fd) != 0) status = ec_fail_errno(EC_ERROR_IO, "%s: cannot be written", path);
  if (close(fd) != 0 && status == EC_OK) status = ec_fail_errno(EC_ERROR_IO, "%s: cannot be written", path);
  return status;
}

/* Compare a member with the file that an earlier installation left. */
static ec_status compare_member(const ec_zip *zip, const ec_zip_member *member, const char *folder, uint8_t *chunk) {
  char path[EC_MAX_PATH];
  uint64_t bytes;
  int fd;
  ec_status status = ec_join(path, folder, member->name);
  if (status == EC_OK) status = ec_file_open(path, &fd, &bytes);
  if (status != EC_OK) return status;
  const char *different = bytes != member->bytes ? "size" : NULL;
  for (uint32_t done = 0; done < member->bytes && status == EC_OK && different == NULL;) {
    uint32_t take = member->bytes - done < CHUNK / 2 ? member->bytes - done : CHUNK / 2;
    status = ec_file_read(zip->fd, zip->path, (uint64_t)member->offset + done, chunk, take);
    if (status == EC_OK) status = ec_file_read(fd, path, done, chunk + CHUNK / 2, take);
    if (status == EC_OK && memcmp(chunk, chunk + CHUNK / 2, take) != 0) different = "content";
    done += take;
  }
  close(fd);
  if (status == EC_OK && different != NULL)
    status = ec_fail(EC_ERROR_BUNDLE, "%s: its %s is not the bundle's: delete the folder and install again", path,
                     different);
  return status;
}

static ec_status verify_installed(const ec_zip *zip, const char *folder, uint8_t *chunk) {
  struct stat info;
  ec_status status = EC_OK;
  if (lstat(folder, &info) != 0) return ec_fail_errno(EC_ERROR_IO, "%s: cannot be read", folder);
  if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 0022) != 0)
    return ec_fail(EC_ERROR_IO, "%s: exists, but is not a folder that only this user can write", folder);
  for (uint32_t i = 0; i < zip->count && status == EC_OK; i++)
    status = compare_member(zip, &zip->members[i], folder, chunk);
  return status;
}

static ec_status sync_folder(const char *folder) {
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ec_fail_errno(EC_ERROR_IO, "%s: cannot be opened", folder);
  ec_status status = EC_OK;
  if (fsync(fd) != 0 && errno != EINVAL) /* some file systems cannot sync a folder */
    status = ec_fail_errno(EC_ERROR_IO, "%s: cannot be written", folder);
  close(fd);
  return status;
}

static void remove_folder(const ec_zip *zip, const char *folder) {
  char path[EC_MAX_PATH];
  for (uint32_t i = 0; i < zip->count; i++)
    if (snprintf(path, sizeof path, "%s/%s", folder, zip->members[i].name) < (int)sizeof path) unlink(path);
  rmdir(folder);
}

/* Unpack under a temporary name, then rename to `folder`. */
static ec_status unpack(const ec_zip *zip, const char *destination, const char *folder, uint8_t *chunk) {
  char temporary[EC_MAX_PATH];
  ec_status status = ec_join(temporary, destination, ".ecls-XXXXXX");
  if (status != EC_OK) return status;
  if (mkdtemp(temporary) == NULL) /* mode 0700 */
    return ec_fail_errno(EC_ERROR_IO, "%s: no folder can be created in it", destination);
  for (uint32_t i = 0; i < zip->count && status == EC_OK; i++)
    status = write_member(zip, &zip->members[i], temporary, chunk);
  if (status == EC_OK) status = sync_folder(temporary);
  if (status == EC_OK && rename(temporary, folder) == 0) return sync_folder(destination);
  if (status == EC_OK && errno != EEXIST && errno != ENOTEMPTY)
    status = ec_fail_errno(EC_ERROR_IO, "%s: cannot be renamed to %s", temporary, folder);
  else if (status == EC_OK) /* someone installed the same bundle meanwhile */
    status = verify_installed(zip, folder, chunk);
  remove_folder(zip, temporary);
  return status;
}

static ec_status install(const ec_zip *zip, const char *destination, const char *folder) {
  struct stat info;
  ec_status status = check_runtime(zip);
  if (status != EC_OK) return status;
  if (mkdir(destination, 0700) != 0 && errno != EEXIST)
    return ec_fail_errno(EC_ERROR_IO, "%s: cannot be created", destination);
  uint8_t *chunk = malloc(CHUNK);
  if (chunk == NULL) return ec_fail(EC_ERROR_MEMORY, "no memory to unpack %s", zip->path);
  if (lstat(folder, &info) == 0)
    status = verify_installed(zip, folder, chunk);
  else
    status = unpack(zip, destination, folder, chunk);
  free(chunk);
  return status;
}

ec_status ec_install(const char *bundle, const char *destination, char *folder, size_t folder_bytes) {
  char path[EC_MAX_PATH];
  if (bundle == NULL || destination == NULL || folder == NULL || folder_bytes == 0)
    return ec_fail(EC_ERROR_ARGUMENT, "ec_install: NULL argument");
  folder[0] = '\0';
  ec_zip *zip = malloc(sizeof *zip);
  if (zip == NULL) return ec_fail(EC_ERROR_MEMORY, "no memory to read %s", bundle);
  ec_status status = ec_zip_open(bundle, zip);
  if (status == EC_OK) {
    status = ec_join(path, destination, zip->hash);
    if (status == EC_OK && strlen(path) >= folder_bytes)
      status = ec_fail(EC_ERROR_ARGUMENT, "the folder's name needs %zu bytes", strlen(path) + 1);
    if (status == EC_OK) status = install(zip, destination, path);
    if (status == EC_OK) memcpy(folder, path, strlen(path) + 1);
    ec_zip_close(zip);
  }
  free(zip);
  return status;
}

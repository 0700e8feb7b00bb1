/* facts.c: what the operating system tells of this device. */
#include "platform.h"

#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#include "json.h"
#include "status.h"

enum { LINE = 512 };

/* First line of a file without its line end; false when unreadable or empty. */
static bool read_line(const char *path, char line[LINE]) {
  FILE *file = fopen(path, "re");
  if (file == NULL) return false;
  bool found = fgets(line, LINE, file) != NULL;
  fclose(file);
  if (found) line[strcspn(line, "\r\n")] = '\0';
  return found && line[0] != '\0';
}

/* Value of the first line "key<separator>value", without surrounding blanks and quotes. */
static bool read_value(const char *path, const char *key, char separator, char value[LINE]) {
  char line[LINE];
  bool found = false;
  FILE *file = fopen(path, "re");
  if (file == NULL) return false;
  while (!found && fgets(line, sizeof line, file) != NULL) {
    size_t length = strlen(key);
    if (strncmp(line, key, length) != 0) continue;
    const char *p = line + length + strspn(line + length, " \t");
    if (*p != separator) continue;
    p += 1 + strspn(p + 1, " \t\"");
    size_t end = strcspn(p, "\r\n");
    while (end > 0 && strchr(" \t\"", p[end - 1]) != NULL) end--;
    memcpy(value, p, end);
    value[end] = '\0';
    found = end > 0;
  }
  fclose(file);
  return found;
}

static void write_text(FILE *out, const char *key, const char *value) {
  fprintf(out, ",\"%s\":", key);
  ec_json_string(out, value);
}

static void write_megabytes(FILE *out, const char *key, const char *entry) {
  char value[LINE];
  if (read_value("/proc/meminfo", entry, ':', value))
    fprintf(out, ",\"%s\":%llu", key, strtoull(value, NULL, 10) / 1024);
  else
    fprintf(out, ",\"%s\":null", key);
}

/* A decimal number copied digit by digit: printf and strtod would follow the application's locale. False if none. */
static bool write_number(FILE *out, const char *before, const char *text) {
  text += strspn(text, " \t");
  size_t digits = strspn(text, "0123456789"), fraction = 0;
  if (digits == 0) return false;
  if (text[digits] == '.') fraction = strspn(text + digits + 1, "0123456789");
  if (fraction > 0) fraction++;
  fprintf(out, "%s%.*s", before, (int)(digits + fraction), text);
  return true;
}

static void write_clocks(FILE *out, long cores) {
  char path[128], line[LINE];
  int known = 0;
  fputs(",\"clocks_mhz\":", out);
  for (long i = 0; i < cores; i++) {
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/cpufreq/scaling_cur_freq", i);
    if (!read_line(path, line)) continue;
    unsigned long khz = strtoul(line, NULL, 10);
    fprintf(out, "%s%lu.%03lu", known++ > 0 ? "," : "[", khz / 1000, khz % 1000);
  }
  FILE *file = known == 0 ? fopen("/proc/cpuinfo", "re") : NULL; /* x86 without cpufreq */
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    const char *colon = strchr(line, ':');
    if (strncmp(line, "cpu MHz", 7) == 0 && colon != NULL && write_number(out, known > 0 ? "," : "[", colon + 1))
      known++;
  }
  if (file != NULL) fclose(file);
  fputs(known > 0 ? "]" : "null", out);
}

static void write_temperature(FILE *out) {
  char line[LINE];
  glob_t zones;
  long hottest = 0; /* thousandths of a degree */
  bool known = false;
  if (glob("/sys/class/thermal/thermal_zone*/temp", 0, NULL, &zones) == 0) {
    for (size_t i = 0; i < zones.gl_pathc; i++) {
      if (!read_line(zones.gl_pathv[i], line)) continue;
      long found = strtol(line, NULL, 10);
      if (!known || found > hottest) hottest = found;
      known = true;
    }
    globfree(&zones);
  }
  if (known)
    fprintf(out, ",\"temperature_c\":%s%ld.%03ld", hottest < 0 ? "-" : "", labs(hottest) / 1000, labs(hottest) % 1000);
  else
    fputs(",\"temperature_c\":null", out);
}

static void write_processor(FILE *out) {
  static const char *const keys[] = {"model name", "Model", "Hardware", "CPU part"};
  char value[LINE];
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (read_value("/proc/cpuinfo", keys[i], ':', value)) {
      write_text(out, "cpu_model", value);
      return;
    }
  write_text(out, "cpu_model", NULL);
}

static void write_facts(FILE *out) {
  struct utsname system;
  char line[LINE];
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  bool named = uname(&system) == 0;
  fputs("{\"name\":", out);
  ec_json_string(out, named ? system.nodename : "");
  write_text(out, "machine", named ? system.machine : "");
  write_text(out, "kernel", named ? system.release : NULL);
  write_processor(out);
  if (cores > 0)
    fprintf(out, ",\"cores\":%ld", cores);
  else
    fputs(",\"cores\":null", out);
  write_text(out, "os", read_value("/etc/os-release", "PRETTY_NAME", '=', line) ? line : NULL);
#ifdef __GLIBC__
  snprintf(line, sizeof line, "glibc %s", gnu_get_libc_version());
  write_text(out, "libc", line);
#else
  write_text(out, "libc", NULL);
#endif
  write_text(out, "governor", read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", line) ? line : NULL);
  write_clocks(out, cores);
  write_temperature(out);
  if (!read_line("/proc/loadavg", line) || !write_number(out, ",\"load\":", line)) fputs(",\"load\":null", out);
  write_megabytes(out, "memory_total_mb", "MemTotal");
  write_megabytes(out, "memory_free_mb", "MemAvailable");
  fputs(",\"emulated\":false,\"emulator\":null}", out); /* a guest cannot tell; who started the emulator can */
}

ec_status ec_facts(char *json, size_t bytes) {
  char *text = NULL;
  size_t length = 0;
  if (json == NULL) return ec_fail(EC_ERROR_ARGUMENT, "ec_facts: NULL argument");
  FILE *out = open_memstream(&text, &length);
  if (out == NULL) return ec_fail_errno(EC_ERROR_MEMORY, "no memory for the device's facts");
  write_facts(out);
  ec_status status = EC_OK;
  if (fclose(out) != 0)
    status = ec_fail_errno(EC_ERROR_MEMORY, "no memory for the device's facts");
  else if (length >= bytes)
    status = ec_fail(EC_ERROR_ARGUMENT, "the facts need %zu bytes", length + 1);
  else
    memcpy(json, text, length + 1);
  free(text);
  return status;
}

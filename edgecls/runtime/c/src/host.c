/* host.c: processor, ISA features, free memory. */
#include "platform.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "host.h"

static const struct {
  uint64_t bit;
  const char *name;
} FEATURES[] = {
    {EC_FEATURE_AVX2, "avx2"},         {EC_FEATURE_FMA, "fma"},           {EC_FEATURE_AVX512F, "avx512f"},
    {EC_FEATURE_AVX512BW, "avx512bw"}, {EC_FEATURE_AVX512DQ, "avx512dq"}, {EC_FEATURE_AVX512VL, "avx512vl"},
    {EC_FEATURE_AVX512VNNI, "avx512vnni"}, {EC_FEATURE_F16C, "f16c"},     {EC_FEATURE_NEON, "neon"},
    {EC_FEATURE_VFPV4, "vfpv4"},       {EC_FEATURE_FP16, "fp16"},         {EC_FEATURE_DOTPROD, "dotprod"},
    {EC_FEATURE_I8MM, "i8mm"},         {EC_FEATURE_SVE, "sve"},           {EC_FEATURE_CRC, "crc"},
    {EC_FEATURE_LSE, "lse"},
};

#if defined(__x86_64__)
#include <cpuid.h>

uint32_t ec_host_arch(void) { return EC_X86_64; }

uint64_t ec_host_features(void) {
  unsigned a, b, c, d, xcr0 = 0, high;
  uint64_t found = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  if (c & 1u << 27) __asm__("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0)); /* what the kernel saves on a switch */
  if ((xcr0 & 0x6) != 0x6) return 0;
  if (c & 1u << 12) found |= EC_FEATURE_FMA;
  if (c & 1u << 29) found |= EC_FEATURE_F16C;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  if (b & 1u << 5) found |= EC_FEATURE_AVX2;
  if ((xcr0 & 0xe6) != 0xe6) return found;
  if (b & 1u << 16) found |= EC_FEATURE_AVX512F;
  if (b & 1u << 17) found |= EC_FEATURE_AVX512DQ;
  if (b & 1u << 30) found |= EC_FEATURE_AVX512BW;
  if (b & 1u << 31) found |= EC_FEATURE_AVX512VL;
  if (c & 1u << 11) found |= EC_FEATURE_AVX512VNNI;
  return found;
}

#else
#include <sys/auxv.h>

#ifndef AT_HWCAP2
#define AT_HWCAP2 26
#endif

/* HWCAP bits are the kernel's ABI; older C libraries lack the names of the newer ones. */
#if defined(__aarch64__)
uint32_t ec_host_arch(void) { return EC_AARCH64; }

uint64_t ec_host_features(void) {
  unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
  uint64_t found = 0;
  if (cap & 1ul << 1) found |= EC_FEATURE_NEON | EC_FEATURE_VFPV4; /* every AArch64 vector unit has FMA */
  if (cap & 1ul << 7) found |= EC_FEATURE_CRC;
  if (cap & 1ul << 8) found |= EC_FEATURE_LSE;
  if ((cap & 3ul << 9) == 3ul << 9) found |= EC_FEATURE_FP16;
  if (cap & 1ul << 20) found |= EC_FEATURE_DOTPROD;
  if (cap & 1ul << 22) found |= EC_FEATURE_SVE;
  if (cap2 & 1ul << 13) found |= EC_FEATURE_I8MM;
  return found;
}

#elif defined(__arm__)
uint32_t ec_host_arch(void) { return EC_ARMV7; }

uint64_t ec_host_features(void) {
  unsigned long cap = getauxval(AT_HWCAP), cap2 = getauxval(AT_HWCAP2);
  uint64_t found = 0;
  if (cap & 1ul << 12) found |= EC_FEATURE_NEON;
  if (cap & 1ul << 16) found |= EC_FEATURE_VFPV4;
  if ((cap & 3ul << 22) == 3ul << 22) found |= EC_FEATURE_FP16;
  if (cap & 1ul << 24) found |= EC_FEATURE_DOTPROD;
  if (cap & 1ul << 27) found |= EC_FEATURE_I8MM;
  if (cap2 & 1ul << 4) found |= EC_FEATURE_CRC;
  return found;
}
#else
#error "edgecls runs on x86-64, AArch64 and ARMv7"
#endif
#endif

static const char *arch_name(uint32_t arch) {
  static const char *const names[] = {"an unknown processor", "x86-64", "AArch64", "ARMv7"};
  return names[arch < sizeof names / sizeof names[0] ? arch : 0];
}

ec_status ec_host_check(uint32_t arch, uint64_t features) {
  uint64_t missing = features & ~ec_host_features();
  if (arch != ec_host_arch())
    return ec_fail(EC_ERROR_DEVICE, "compiled for %s, this program runs on %s", arch_name(arch),
                   arch_name(ec_host_arch()));
  for (size_t i = 0; i < sizeof FEATURES / sizeof FEATURES[0]; i++)
    if (missing & FEATURES[i].bit)
      return ec_fail(EC_ERROR_DEVICE, "needs the ISA feature %s, which this processor lacks", FEATURES[i].name);
  if (missing != 0) return ec_fail(EC_ERROR_DEVICE, "needs an ISA feature that this version does not know");
  return EC_OK;
}

uint32_t ec_host_processors(void) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return (uint32_t)CPU_COUNT(&allowed);
  long online = sysconf(_SC_NPROCESSORS_ONLN); /* a machine with more processors than cpu_set_t has bits */
  return online > 0 ? (uint32_t)online : 1;
}

uint64_t ec_host_memory(void) {
  unsigned long long kilobytes = 0;
  char line[128];
  bool found = false;
  FILE *file = fopen("/proc/meminfo", "re");
  if (file == NULL) return UINT64_MAX;
  while (!found && fgets(line, sizeof line, file) != NULL)
    found = sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1;
  fclose(file);
  return found ? (uint64_t)kilobytes * 1024 : UINT64_MAX;
}

ec_status ec_host_check_memory(uint64_t bytes) {
  uint64_t available = ec_host_memory();
  if (bytes > available || bytes > SIZE_MAX / 2)
    return ec_fail(EC_ERROR_MEMORY, "needs %llu MB of memory, %llu MB are available",
                   (unsigned long long)(bytes >> 20) + 1, (unsigned long long)(available >> 20));
  return EC_OK;
}

/* host.h: the processor and memory this program runs on. */
#ifndef EC_HOST_H
#define EC_HOST_H

#include "status.h"

uint32_t ec_host_arch(void);       /* enum ec_arch */
uint64_t ec_host_features(void);   /* EC_FEATURE_* bits that processor and kernel both offer */
uint32_t ec_host_processors(void); /* that this process may use, at least 1 */
uint64_t ec_host_memory(void);     /* bytes that can be allocated without swapping; UINT64_MAX when unknown */

/* EC_ERROR_DEVICE naming the first thing the device lacks. */
ec_status ec_host_check(uint32_t arch, uint64_t features);

/* EC_ERROR_MEMORY when `bytes` are not free. */
ec_status ec_host_check_memory(uint64_t bytes);

#endif

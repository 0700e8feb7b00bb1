/* load.h: from an installed folder to a descriptor and its weights. */
#ifndef EC_LOAD_H
#define EC_LOAD_H

#include "status.h"

typedef struct ec_loaded {
  const ec_model *model;
  const void *weights;   /* mapped for a folder, embedded for a static model; NULL when there are none */
  uint64_t mapped_bytes; /* to unmap; 0 for a static model */
  void *library;         /* to close; NULL for a static model */
} ec_loaded;

/* Checks header, device, memory and hashes before any code is loaded; the descriptor after. On failure nothing stays
 * loaded. */
ec_status ec_load_folder(const char *folder, const ec_options *options, ec_loaded *loaded);
ec_status ec_load_static(const ec_model *model, ec_loaded *loaded);
void ec_unload(ec_loaded *loaded);

#endif

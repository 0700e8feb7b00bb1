/* preprocess.h: an image becomes a tensor, as the contract of one input says. */
#ifndef EC_PREPROCESS_H
#define EC_PREPROCESS_H

#include "resize.h"

typedef struct ec_preprocessor {
  const ec_image *image;
  float table[3][256]; /* value of a pixel, per tensor channel */
  ec_resizer resizer;
  uint8_t *row; /* one row of the source in the resizer's channels, when they differ */
  size_t row_bytes;
} ec_preprocessor;

/* image has been checked and outlives the preprocessor. */
void ec_preprocessor_init(ec_preprocessor *preprocessor, const ec_image *image);
void ec_preprocessor_free(ec_preprocessor *preprocessor);

/* Writes channels x height x width floats, in the layout of the contract. */
ec_status ec_preprocessor_run(ec_preprocessor *preprocessor, const ec_pixels *pixels, float *tensor);

#endif

/* resize_api.c: ec_preprocessor for ctypes; compiled together with resize.c, preprocess.c and status.c. */
#include "preprocess.h"

int preprocess(const ec_image *image, const ec_pixels *pixels, float *tensor);
int preprocess(const ec_image *image, const ec_pixels *pixels, float *tensor) {
  ec_preprocessor p;
  ec_preprocessor_init(&p, image);
  ec_status status = ec_preprocessor_run(&p, pixels, tensor);
  if (status == EC_OK) status = ec_preprocessor_run(&p, pixels, tensor); /* again with the prepared tables */
  ec_preprocessor_free(&p);
  return (int)status;
}

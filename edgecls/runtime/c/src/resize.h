/* resize.h: Pillow's 8-bit resize, bit for bit, computing only the window that a crop keeps. */
#ifndef EC_RESIZE_H
#define EC_RESIZE_H

#include <stdbool.h>

#include "status.h"

/* An image of in_width x in_height becomes out_width x out_height (as if); the window at (x, y) of it is wanted. */
typedef struct ec_geometry {
  uint32_t in_width, in_height;
  uint32_t out_width, out_height;
  uint32_t x, y, width, height;
  uint32_t channels;      /* 1 or 3, interleaved */
  uint32_t interpolation; /* enum ec_interpolation */
} ec_geometry;

/* One axis: for each output index of the window, which inputs make it up and with what weights. */
typedef struct ec_axis {
  bool copy;         /* one input each: nearest, or no change of size */
  uint32_t taps;     /* row length of weights */
  uint32_t *begin;   /* first input */
  uint32_t *length;  /* how many; 0: outside the image (nearest only), the pixel is 0 */
  int32_t *weights;  /* fixed point, 22 fractional bits; NULL when copy */
} ec_axis;

typedef struct ec_resizer { /* all zero: empty */
  ec_geometry geometry;
  ec_axis horizontal, vertical;
  bool vertical_first;
  uint32_t first_row, num_rows; /* of rows: the input rows that the window needs, or, vertical first, its own */
  uint8_t *rows;                /* num_rows x width x channels, after the horizontal pass */
  uint8_t *row;                 /* one row after the vertical pass */
  int32_t *sums;                /* one row of accumulators */
} ec_resizer;

/* Row y of the input image: in_width x channels bytes, valid until the next call. */
typedef const uint8_t *(*ec_row_fn)(void *source, uint32_t y);

/* Tables and buffers for a geometry; nothing happens when it is the one already prepared. */
ec_status ec_resizer_prepare(ec_resizer *resizer, const ec_geometry *geometry);
void ec_resizer_free(ec_resizer *resizer);

/* Read the rows the window needs, each at least once, then row y of the window (width x channels bytes, valid until
 * the next call). Neither allocates. */
void ec_resizer_load(ec_resizer *resizer, ec_row_fn read_row, void *source);
const uint8_t *ec_resizer_row(ec_resizer *resizer, uint32_t y);

#endif

/* preprocess.c: colour, resize, crop, normalise. Bit for bit what Pillow and numpy make of the same contract. */
#include "platform.h"

#include <stdlib.h>
#include <string.h>

#include "preprocess.h"

typedef struct source {
  const ec_pixels *pixels;
  size_t stride;
  uint32_t channels; /* wanted: 1 or 3 */
  uint8_t *row;
} source;

static uint8_t luma(const uint8_t *p) { /* ITU-R 601-2 in 16-bit fixed point, as Pillow's convert("L") */
  return (uint8_t)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
}

static const uint8_t *read_row(void *argument, uint32_t y) {
  const source *s = argument;
  const uint8_t *in = s->pixels->data + y * s->stride;
  uint32_t from = s->pixels->channels;
  if (from == s->channels) return in;
  for (uint32_t x = 0; x < s->pixels->width; x++, in += from) {
    if (s->channels == 1)
      s->row[x] = luma(in);
    else
      memcpy(s->row + 3 * (size_t)x, in, 3);
  }
  return s->row;
}

/* Python's round() of d / 2: halves to even. */
static uint32_t half(uint32_t d) { return d / 2 + (d % 2 == 1 && d / 2 % 2 == 1); }

static void plan_geometry(const ec_image *m, const ec_pixels *p, ec_geometry *g) {
  g->in_width = p->width;
  g->in_height = p->height;
  g->out_width = m->resize_width;
  g->out_height = m->resize_height;
  if (m->resize_mode == EC_SHORTEST) { /* below 2^14 * 2^16: fits */
    if (p->width <= p->height)
      g->out_height = m->resize_height * p->height / p->width;
    else
      g->out_width = m->resize_width * p->width / p->height;
  }
  g->width = m->width;
  g->height = m->height;
  g->x = half(g->out_width - m->width); /* nothing to cut off without a crop */
  g->y = half(g->out_height - m->height);
  g->channels = m->color == EC_L || p->channels == 1 ? 1 : 3;
  g->interpolation = m->interpolation;
}

static void write_row(const ec_preprocessor *p, const uint8_t *row, uint32_t y, float *tensor) {
  const ec_image *m = p->image;
  size_t channels = m->color == EC_L ? 1 : 3, from = p->resizer.geometry.channels;
  size_t plane = (size_t)m->height * m->width, line = (size_t)y * m->width;
  for (size_t c = 0; c < channels; c++) {
    const float *table = p->table[c];
    const uint8_t *in = row + (from == 1 ? 0 : m->color == EC_BGR ? 2 - c : c);
    float *out = tensor + (m->layout == EC_NCHW ? c * plane + line : line * channels + c);
    size_t step = m->layout == EC_NCHW ? 1 : channels;
    for (uint32_t x = 0; x < m->width; x++, in += from, out += step) *out = table[*in];
  }
}

void ec_preprocessor_init(ec_preprocessor *p, const ec_image *image) {
  memset(p, 0, sizeof *p);
  p->image = image;
  for (int c = 0; c < (image->color == EC_L ? 1 : 3); c++)
    for (int v = 0; v < 256; v++) {
      float scaled = (float)v * image->scale;
      p->table[c][v] = (scaled - image->mean[c]) / image->std[c];
    }
}

void ec_preprocessor_free(ec_preprocessor *p) {
  ec_resizer_free(&p->resizer);
  free(p->row);
  p->row = NULL;
  p->row_bytes = 0;
}

static ec_status check_pixels(const ec_image *m, const ec_pixels *p) {
  if (p->data == NULL || p->width < 1 || p->height < 1 || p->width > EC_MAX_IMAGE_SIDE || p->height > EC_MAX_IMAGE_SIDE)
    return ec_fail(EC_ERROR_IMAGE, "an image of %ux%u pixels is not accepted, only 1 to %u a side", (unsigned)p->width,
                   (unsigned)p->height, (unsigned)EC_MAX_IMAGE_SIDE);
  if (p->channels != 1 && p->channels != 3 && p->channels != 4)
    return ec_fail(EC_ERROR_IMAGE, "an image with %u channels is not accepted, only 1, 3 or 4", (unsigned)p->channels);
  if (p->channels == 4 && m->alpha == EC_ALPHA_REFUSE)
    return ec_fail(EC_ERROR_IMAGE, "the image has an alpha channel, which this model's contract refuses");
  if (p->stride != 0 && p->stride < (size_t)p->width * p->channels)
    return ec_fail(EC_ERROR_IMAGE, "the stride is shorter than a row");
  return EC_OK;
}

ec_status ec_preprocessor_run(ec_preprocessor *p, const ec_pixels *pixels, float *tensor) {
  ec_geometry geometry;
  ec_status status = check_pixels(p->image, pixels);
  if (status != EC_OK) return status;
  plan_geometry(p->image, pixels, &geometry);
  status = ec_resizer_prepare(&p->resizer, &geometry);
  if (status != EC_OK) return status;

  source s = {pixels, pixels->stride, geometry.channels, NULL};
  if (s.stride == 0) s.stride = (size_t)pixels->width * pixels->channels;
  if (pixels->channels != geometry.channels) {
    size_t bytes = (size_t)pixels->width * geometry.channels;
    if (bytes > p->row_bytes) {
      uint8_t *row = realloc(p->row, bytes);
      if (row == NULL) return ec_fail(EC_ERROR_MEMORY, "no memory for a row of %u pixels", (unsigned)pixels->width);
      p->row = row;
      p->row_bytes = bytes;
    }
    s.row = p->row;
  }
  ec_resizer_load(&p->resizer, read_row, &s);
  for (uint32_t y = 0; y < p->image->height; y++) write_row(p, ec_resizer_row(&p->resizer, y), y, tensor);
  return EC_OK;
}

/* resize.c: two passes of fixed-point convolution, as Pillow's ImagingResample does for 8-bit images, and the table of
 * positions of its ImagingScaleAffine for nearest. The order of the passes matters, as the first one rounds: it is that of
 * Pillow 13, where earlier versions always ran the horizontal pass first. Weights are computed in double and rounded like Pillow's, so this
 * file must be compiled without contraction of a * b + c (-ffp-contract=off). */
#include "platform.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "resize.h"

enum { FRACTION_BITS = 32 - 8 - 2 };

static double bilinear(double x) {
  if (x < 0.0) x = -x;
  return x < 1.0 ? 1.0 - x : 0.0;
}

static double bicubic(double x) {
  const double a = -0.5;
  if (x < 0.0) x = -x;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

static uint8_t clip(int32_t sum) {
  int32_t value = sum >> FRACTION_BITS; /* arithmetic shift on every compiler we build with */
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void axis_free(ec_axis *axis) {
  free(axis->begin);
  free(axis->length);
  free(axis->weights);
  memset(axis, 0, sizeof *axis);
}

static void pick_same(ec_axis *axis, uint32_t first, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    axis->begin[i] = first + i;
    axis->length[i] = 1;
  }
}

/* Positions are accumulated, not multiplied: the rounding is part of the result. */
static void pick_nearest(ec_axis *axis, uint32_t in, uint32_t out, uint32_t first, uint32_t count) {
  double step = (double)in / out, position = step * 0.5;
  for (uint32_t i = 0; i < first + count; i++, position += step) {
    if (i < first) continue;
    bool inside = position < in;
    axis->begin[i - first] = inside ? (uint32_t)position : in - 1;
    axis->length[i - first] = inside;
  }
}

static bool weigh(ec_axis *axis, double (*filter)(double), double radius, uint32_t in, uint32_t out, uint32_t first,
                  uint32_t count) {
  double scale = (double)in / out, stretch = scale < 1.0 ? 1.0 : scale;
  double support = radius * stretch, shrink = 1.0 / stretch;
  double taps = ceil(support) * 2 + 1;
  axis->taps = taps < in ? (uint32_t)taps : in;
  axis->weights = calloc(count, (size_t)axis->taps * sizeof *axis->weights);
  double *row = calloc(axis->taps, sizeof *row);
  if (axis->weights == NULL || row == NULL) {
    free(row);
    return false;
  }
  for (uint32_t i = 0; i < count; i++) {
    double center = (first + i + 0.5) * scale, total = 0.0;
    double low = center - support + 0.5, high = center + support + 0.5;
    uint32_t begin = low < 0 ? 0 : (uint32_t)low;
    uint32_t length = (high > in ? in : (uint32_t)high) - begin;
    int32_t *weights = axis->weights + (size_t)i * axis->taps;
    for (uint32_t t = 0; t < length; t++) {
      row[t] = filter((t + begin - center + 0.5) * shrink);
      total += row[t];
    }
    for (uint32_t t = 0; t < length; t++) {
      double w = total != 0.0 ? row[t] / total : row[t];
      weights[t] = (int32_t)(w < 0 ? -0.5 + w * (1 << FRACTION_BITS) : 0.5 + w * (1 << FRACTION_BITS));
    }
    axis->begin[i] = begin;
    axis->length[i] = length;
  }
  free(row);
  return true;
}

static bool axis_prepare(ec_axis *axis, uint32_t interpolation, uint32_t in, uint32_t out, uint32_t first,
                         uint32_t count) {
  axis->copy = in == out || interpolation == EC_NEAREST;
  axis->begin = calloc(count, sizeof *axis->begin);
  axis->length = calloc(count, sizeof *axis->length);
  if (axis->begin == NULL || axis->length == NULL) return false;
  if (in == out)
    pick_same(axis, first, count);
  else if (interpolation == EC_NEAREST)
    pick_nearest(axis, in, out, first, count);
  else if (interpolation == EC_BILINEAR)
    return weigh(axis, bilinear, 1.0, in, out, first, count);
  else
    return weigh(axis, bicubic, 2.0, in, out, first, count);
  return true;
}

void ec_resizer_free(ec_resizer *r) {
  axis_free(&r->horizontal);
  axis_free(&r->vertical);
  free(r->rows);
  free(r->row);
  free(r->sums);
  memset(r, 0, sizeof *r);
}

/* Pillow's rule: when the height shrinks by more than twice the pixels that the width does. */
static bool goes_vertical_first(const ec_geometry *g) {
  int64_t height_loss = (int64_t)g->in_height - g->out_height, width_loss = (int64_t)g->in_width - g->out_width;
  return height_loss > 0 && height_loss > 2 * width_loss;
}

static bool make_buffers(ec_resizer *r, const ec_geometry *g) {
  const ec_axis *v = &r->vertical;
  uint32_t last = g->height - 1, end = v->begin[last] + (v->length[last] > 0 ? v->length[last] : 1);
  r->vertical_first = !r->horizontal.copy && !v->copy && goes_vertical_first(g);
  r->first_row = r->vertical_first ? 0 : v->begin[0];
  r->num_rows = r->vertical_first ? g->height : end - r->first_row;
  size_t width = (size_t)(r->vertical_first ? g->in_width : g->width) * g->channels;
  r->rows = calloc(r->num_rows, (size_t)g->width * g->channels);
  r->row = calloc(1, width);
  r->sums = calloc(width, sizeof *r->sums);
  return r->rows != NULL && r->row != NULL && r->sums != NULL;
}

ec_status ec_resizer_prepare(ec_resizer *r, const ec_geometry *g) {
  if (memcmp(&r->geometry, g, sizeof *g) == 0) return EC_OK;
  ec_resizer_free(r);
  if (!axis_prepare(&r->horizontal, g->interpolation, g->in_width, g->out_width, g->x, g->width) ||
      !axis_prepare(&r->vertical, g->interpolation, g->in_height, g->out_height, g->y, g->height) ||
      !make_buffers(r, g)) {
    ec_resizer_free(r);
    return ec_fail(EC_ERROR_MEMORY, "no memory to resize an image of %ux%u pixels", (unsigned)g->in_width,
                   (unsigned)g->in_height);
  }
  r->geometry = *g;
  return EC_OK;
}

static void copy_pixels(const ec_axis *axis, const uint8_t *in, uint8_t *out, uint32_t count, uint32_t channels) {
  for (uint32_t i = 0; i < count; i++)
    for (uint32_t c = 0; c < channels; c++)
      *out++ = axis->length[i] > 0 ? in[(size_t)axis->begin[i] * channels + c] : 0;
}

static inline void weigh_pixels(const ec_axis *axis, const uint8_t *in, uint8_t *out, uint32_t count,
                                const uint32_t channels) {
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *p = in + (size_t)axis->begin[i] * channels;
    const int32_t *weights = axis->weights + (size_t)i * axis->taps;
    int32_t sum[3] = {1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1), 1 << (FRACTION_BITS - 1)};
    for (uint32_t t = 0; t < axis->length[i]; t++)
      for (uint32_t c = 0; c < channels; c++) sum[c] += *p++ * weights[t];
    for (uint32_t c = 0; c < channels; c++) *out++ = clip(sum[c]);
  }
}

static void pass_horizontal(const ec_resizer *r, const uint8_t *in, uint8_t *out) {
  const ec_geometry *g = &r->geometry;
  if (r->horizontal.copy)
    copy_pixels(&r->horizontal, in, out, g->width, g->channels);
  else if (g->channels == 1)
    weigh_pixels(&r->horizontal, in, out, g->width, 1);
  else
    weigh_pixels(&r->horizontal, in, out, g->width, 3);
}

/* Output row y, `width` bytes of it, from rows that read_row gives. */
static const uint8_t *pass_vertical(ec_resizer *r, uint32_t y, size_t width, ec_row_fn read_row, void *source) {
  const ec_axis *v = &r->vertical;
  if (v->copy && v->length[y] > 0) return read_row(source, v->begin[y]);
  if (v->copy) return memset(r->row, 0, width);
  for (size_t i = 0; i < width; i++) r->sums[i] = 1 << (FRACTION_BITS - 1);
  for (uint32_t t = 0; t < v->length[y]; t++) {
    const uint8_t *in = read_row(source, v->begin[y] + t);
    int32_t weight = v->weights[(size_t)y * v->taps + t];
    for (size_t i = 0; i < width; i++) r->sums[i] += in[i] * weight;
  }
  for (size_t i = 0; i < width; i++) r->row[i] = clip(r->sums[i]);
  return r->row;
}

static uint8_t *kept_row(ec_resizer *r, uint32_t y) {
  return r->rows + (y - r->first_row) * (size_t)r->geometry.width * r->geometry.channels;
}

static const uint8_t *read_kept_row(void *resizer, uint32_t y) { return kept_row(resizer, y); }

void ec_resizer_load(ec_resizer *r, ec_row_fn read_row, void *source) {
  size_t in_width = (size_t)r->geometry.in_width * r->geometry.channels;
  for (uint32_t y = r->first_row; y < r->first_row + r->num_rows; y++) {
    const uint8_t *in = r->vertical_first ? pass_vertical(r, y, in_width, read_row, source) : read_row(source, y);
    pass_horizontal(r, in, kept_row(r, y));
  }
}

const uint8_t *ec_resizer_row(ec_resizer *r, uint32_t y) {
  if (r->vertical_first) return kept_row(r, y);
  return pass_vertical(r, y, (size_t)r->geometry.width * r->geometry.channels, read_kept_row, r);
}

// The geometry of a convolution, and its bias.
#pragma once
#include "shared.h"

struct Geometry {  // of a convolution x [n, c, h, w] -> y [n, o, oh, ow]
  int64_t n, c, h, w, o, oh, ow, kh, kw, sh, sw, top, left;
  int64_t bottom() const { return (oh - 1) * sh + kh - h - top; }  // negative: rows that no window reaches
  int64_t right() const { return (ow - 1) * sw + kw - w - left; }
  int64_t window() const { return c * kh * kw; }
  std::array<int64_t, 13> key() const { return {n, c, h, w, o, oh, ow, kh, kw, sh, sw, top, left}; }
};

// data [n, channels, size] += bias [channels]
static void add_bias(float *data, const float *bias, int64_t n, int64_t channels, int64_t size) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n * channels; ++i) {
    const float b = bias[i % channels];
    float *row = data + i * size;
    for (int64_t k = 0; k < size; ++k) row[k] += b;
  }
}

// bias [channels] = the sum of data [n, channels, size] over samples and positions
static void sum_channels(const float *data, float *bias, int64_t n, int64_t channels, int64_t size) {
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < channels; ++c) {
    double total = 0;
    for (int64_t i = 0; i < n; ++i) {
      const float *row = data + (i * channels + c) * size;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < size; ++k) sum += row[k];
      total += sum;
    }
    bias[c] = total;
  }
}

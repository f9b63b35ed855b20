// The geometry of a convolution, and its bias.
#pragma once
#include "shared.h"

// How factors are multiplied. Sums are always float32. In BF16 the factors are rounded to bfloat16, whose mantissa has
// eight bits. EMULATED rounds in the same way on any processor, for tests.
enum Arithmetic { IN_FLOAT32, IN_BF16, EMULATED };

struct Geometry {  // of a convolution x [n, c, h, w] -> y [n, o, oh, ow]
  int64_t n, c, h, w, o, oh, ow, kh, kw, sh, sw, top, left, arithmetic;
  int64_t bottom() const { return (oh - 1) * sh + kh - h - top; }  // negative: rows that no window reaches
  int64_t right() const { return (ow - 1) * sw + kw - w - left; }
  int64_t pictures() const { return n * c * h * w; }  // numbers in x, w and y
  int64_t weights() const { return o * c * kh * kw; }
  int64_t results() const { return n * o * oh * ow; }
  int64_t window() const { return c * kh * kw; }
  std::array<int64_t, 14> key() const { return {n, c, h, w, o, oh, ow, kh, kw, sh, sw, top, left, arithmetic}; }
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

// A copy of floats, rounded to bfloat16: to the nearest, of two equally near ones to the even.
static const float *rounded(int slot, const float *from, int64_t count) {
  float *to = buffer(slot, count * sizeof(float));
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, from + i, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(to + i, &bits, 4);
  }
  return to;
}

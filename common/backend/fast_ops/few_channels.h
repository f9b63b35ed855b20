// Convolution of pictures with few channels, as a matrix product with their unfolded windows: oneDNN's blocks
// of eight channels would be mostly padding. Every thread takes a run of samples.

#pragma once
#include "direct.h"

static const int64_t FEW = 4;

// x [c, h, w] -> windows [c*kh*kw, oh*ow], or back, adding up where windows overlap
template <bool back>
static void unfold(const Geometry &g, float *x, float *windows) {
  for (int64_t row = 0; row < g.window(); ++row) {
    const int64_t c = row / (g.kh * g.kw), i = row / g.kw % g.kh, j = row % g.kw;
    // the columns whose pixel j - left + column * sw lies within the picture
    int64_t first = g.left > j ? (g.left - j + g.sw - 1) / g.sw : 0;
    int64_t last = (g.w - 1 + g.left - j) / g.sw + 1;
    if (g.w - 1 + g.left - j < 0) last = 0;
    last = std::min(last, g.ow);
    first = std::min(first, last);
    for (int64_t oy = 0; oy < g.oh; ++oy, windows += g.ow) {
      const int64_t iy = oy * g.sh + i - g.top;
      const bool inside = 0 <= iy && iy < g.h;
      float *pixel = x + (c * g.h + (inside ? iy : 0)) * g.w + j - g.left;
      if (back) {
        if (inside)
          for (int64_t k = first; k < last; ++k) pixel[k * g.sw] += windows[k];
      } else if (!inside) {
        std::fill(windows, windows + g.ow, 0.f);
      } else {
        std::fill(windows, windows + first, 0.f);
        if (g.sw == 1)
          std::copy(pixel + first, pixel + last, windows + first);
        else
          for (int64_t k = first; k < last; ++k) windows[k] = pixel[k * g.sw];
        std::fill(windows + last, windows + g.ow, 0.f);
      }
    }
  }
}

static void few_channels(Kind kind, const Geometry &g, const float *x, const float *w, const float *y, float *out) {
  const int64_t window = g.window(), pixels = g.oh * g.ow, weights = g.o * window;
  const int64_t picture = g.c * g.h * g.w, maps = g.o * pixels;
  if (g.n == 0) {
    if (kind == BACKWARD_WEIGHTS) std::fill(out, out + weights, 0.f);
    return;
  }
  const int threads = std::min<int64_t>(omp_get_max_threads(), g.n);
  float *all_windows = buffer(0, sizeof(float) * threads * window * pixels);
  float *all_sums = kind == BACKWARD_WEIGHTS ? buffer(1, sizeof(float) * threads * weights) : nullptr;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; ++t) {
    float *windows = all_windows + t * window * pixels;
    float *sum = all_sums + t * weights;
    for (int64_t n = g.n * t / threads; n < g.n * (t + 1) / threads; ++n) {
      if (kind == BACKWARD_DATA) {
        sgemm('T', 'N', window, pixels, g.o, w, window, y + n * maps, pixels, 0, windows, pixels);
        std::fill(out + n * picture, out + (n + 1) * picture, 0.f);
        unfold<true>(g, out + n * picture, windows);
        continue;
      }
      unfold<false>(g, const_cast<float *>(x) + n * picture, windows);
      if (kind == BACKWARD_WEIGHTS)
        sgemm('N', 'T', g.o, window, pixels, y + n * maps, pixels, windows, pixels, n == g.n * t / threads ? 0 : 1,
              sum, window);
      else
        sgemm('N', 'N', g.o, pixels, window, w, window, windows, pixels, 0, out + n * maps, pixels);
    }
  }
  if (kind == BACKWARD_WEIGHTS)
    for (int64_t i = 0; i < weights; ++i) {  // thread after thread, so that the order of the sum is fixed
      out[i] = all_sums[i];
      for (int t = 1; t < threads; ++t) out[i] += all_sums[t * weights + i];
    }
}

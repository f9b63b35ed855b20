// Max pooling over 2 x 2 squares, then leaky ReLU with `slope` (1: none, 0: ReLU). Remembers in a byte
// for each square which pixel won (the first of equals, as Paddle) and whether its
// gradient passes the activation in full.
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "shared.h"

static const int SIZE = 2, PASSES = 128;

static void pool_row(const float *x, int64_t w, int64_t ow, float slope, float *y, uint8_t *mask) {
  int64_t k = 0;
#ifdef __SSE2__
  // Four squares at a time: fifteen times as fast as the loop below, which counts over 128x64x24x24 pixels.
  typedef float Floats __attribute__((vector_size(16)));
  typedef int32_t Marks __attribute__((vector_size(16)));
  for (; k + 4 <= ow; k += 4) {
    const float *p = x + 2 * k, *q = p + w;
    const __m128 p0 = _mm_loadu_ps(p), p1 = _mm_loadu_ps(p + 4), q0 = _mm_loadu_ps(q), q1 = _mm_loadu_ps(q + 4);
    const Floats pixels[4] = {_mm_shuffle_ps(p0, p1, 0x88), _mm_shuffle_ps(p0, p1, 0xdd),   // even, odd columns
                              _mm_shuffle_ps(q0, q1, 0x88), _mm_shuffle_ps(q0, q1, 0xdd)};  // and of the row below
    Floats best = pixels[0];
    Marks winner = {0, 0, 0, 0};
    for (int i = 1; i < 4; ++i) {
      const Marks better = (pixels[i] > best) | (pixels[i] != pixels[i]), here = {i, i, i, i};
      best = better ? pixels[i] : best;
      winner = better ? here : winner;
    }
    const Marks positive = best > 0, passing = slope == 0 ? positive : best >= 0;
    const Floats result = positive ? best : best * slope;
    winner |= passing & PASSES;
    memcpy(y + k, &result, sizeof result);
    for (int i = 0; i < 4; ++i) mask[k + i] = winner[i];
  }
#endif
  for (; k < ow; ++k) {
    const float *square = x + k * SIZE;
    float best = square[0];
    int winner = 0;
    for (int i = 0; i < SIZE; ++i)
      for (int j = 0; j < SIZE; ++j) {
        const float v = square[i * w + j];
        const bool better = v > best || v != v;  // a NaN is never lost
        best = better ? v : best;
        winner = better ? i * SIZE + j : winner;
      }
    y[k] = best > 0 ? best : best * slope;
    mask[k] = winner | (passes(best, slope) ? PASSES : 0);
  }
}

static std::vector<Tensor> pool(const Tensor &x, float slope) {
  const Shape s = x.shape();
  const int64_t h = s[2], w = s[3], oh = h / SIZE, ow = w / SIZE;
  Tensor y = empty({s[0], s[1], oh, ow}), mask = empty({s[0], s[1], oh, ow}, paddle::DataType::UINT8);
  const float *from = data(x);
  float *to = y.data<float>();
  uint8_t *marks = mask.data<uint8_t>();
#pragma omp parallel for schedule(static)
  for (int64_t map = 0; map < s[0] * s[1]; ++map)
    for (int64_t i = 0; i < oh; ++i) {
      const int64_t at = (map * oh + i) * ow;
      pool_row(from + (map * h + i * SIZE) * w, w, ow, slope, to + at, marks + at);
    }
  return {y, mask};
}

static std::vector<Tensor> pool_grad(const Tensor &x, const Tensor &mask, const Tensor &dy, float slope) {
  const Shape s = x.shape();
  const int64_t h = s[2], w = s[3], oh = h / SIZE, ow = w / SIZE;
  Tensor dx = empty(s);
  const float *from = data(dy);
  const uint8_t *marks = mask.data<uint8_t>();
  float *to = dx.data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t map = 0; map < s[0] * s[1]; ++map) {
    std::fill(to + map * h * w, to + (map + 1) * h * w, 0.f);
    for (int64_t i = 0; i < oh; ++i)
      for (int64_t k = 0; k < ow; ++k) {
        const int64_t at = (map * oh + i) * ow + k;
        const int winner = marks[at] & (PASSES - 1);
        to[(map * h + i * SIZE + winner / SIZE) * w + k * SIZE + winner % SIZE] =
            marks[at] & PASSES ? from[at] : from[at] * slope;
      }
  }
  return {dx};
}

static std::vector<Shape> pool_shape(const Shape &x, float) {
  const Shape y{x[0], x[1], x[2] / SIZE, x[3] / SIZE};
  return {y, y};
}
static std::vector<Type> pool_type(Type x) { return {x, Type::UINT8}; }
static std::vector<Shape> pool_grad_shape(const Shape &x, const Shape &, const Shape &, float) { return {x}; }
static std::vector<Type> pool_grad_type(Type x, Type, Type) { return {x}; }

PD_BUILD_OP(gan_pool)
    .Inputs({"X"})
    .Outputs({"Y", "Mask"})
    .Attrs({"slope: float"})
    .SetKernelFn(PD_KERNEL(pool))
    .SetInferShapeFn(PD_INFER_SHAPE(pool_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(pool_type));
PD_BUILD_GRAD_OP(gan_pool)
    .Inputs({"X", "Mask", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"slope: float"})
    .SetKernelFn(PD_KERNEL(pool_grad))
    .SetInferShapeFn(PD_INFER_SHAPE(pool_grad_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(pool_grad_type));

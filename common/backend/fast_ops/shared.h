// What all operators share: their lock, working memory, and tensors.
#pragma once
#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "paddle/phi/api/ext/op_meta_info.h"
#include "paddle/phi/api/include/api.h"

using paddle::Tensor;
using Ints = std::vector<int>;
using Shape = std::vector<int64_t>;
using Type = paddle::DataType;

// One at a time of the operators that share the buffers and plans below.
static std::mutex mutex;

// Working memory that only grows, so that large buffers are not given back and fetched again at each call.
static float *buffer(int slot, size_t bytes) {
  static struct { float *data; size_t bytes; } slots[6];
  auto &s = slots[slot];
  if (s.bytes < bytes) {
    free(s.data);
    s.bytes = (bytes + 4095) / 4096 * 4096;
    s.data = static_cast<float *>(aligned_alloc(4096, s.bytes));
    if (!s.data) s.bytes = 0;
    PD_CHECK(s.data, "out of memory");
  }
  return s.data;
}

static Tensor empty(const Shape &shape, paddle::DataType type = paddle::DataType::FLOAT32) {
  return paddle::experimental::empty(shape, type, phi::CPUPlace());
}

static const float *data(const Tensor &t) {
  PD_CHECK(t.is_cpu() && t.dtype() == paddle::DataType::FLOAT32, "fast operators want float32 tensors on CPU");
  return t.data<float>();
}

// Where the gradient passes an activation in full. At 0, ReLU stops it and leaky ReLU does not, as in Paddle.
static inline bool passes(float x, float slope) { return x > 0 || (x == 0 && slope != 0); }

// The gradients asked for: bit 0 of the first input, bit 1 of the second, …
template <int wanted, class T>
static std::vector<T> choose(const std::vector<T> &all) {
  std::vector<T> chosen;
  for (size_t i = 0; i < all.size(); ++i)
    if (wanted >> i & 1) chosen.push_back(all[i]);
  return chosen;
}

#define GRAD(name) paddle::Grad(name)

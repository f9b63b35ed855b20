// Convolutions of 4x4 and 5x5 windows with fewer multiplications: Winograd's method.
//
// A tile of the output is A [(G w) . (B x)]: the weights w and the window x are transformed by small matrices, then
// multiplied point by point, and the products, summed over the channels, are transformed to the result. The sums over
// channels are matrix products, one for each point. Here two outputs in a row need 3 products instead of 4 (two
// taps), or 4 instead of 6 (three taps); in two dimensions the saving is squared. Windows of stride 2 are split into
// their even and odd pixels, each with half the taps. Five taps of stride 1 are split likewise, into three filters
// instead of four. The matrices hold 0, 1, -1 and 1/2 only: rounding errors stay below three times those of
// direct sums, which a test checks.
//
//                   products, of   in two dimensions
//   4 taps, stride 2     6 of 8          0.56
//   5 taps, stride 2     7 of 10         0.49
//   5 taps, stride 1    11 of 20         0.30
//
// Backward data and backward weights are the same three products with the matrices transposed.
#pragma once
#include "direct.h"

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
namespace winograd {

#ifdef __AVX512F__
static const int LANES = 16;
#else
static const int LANES = 8;
#endif
typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4)));
static const int PANEL = 2 * LANES;  // channels that lie side by side

// The method in one dimension: D pixels of the input, T taps, M outputs, R products in GROUPS groups: those of a
// group have the same column in A, so that they can be summed before it is applied. `size` and `first` of a group.
struct FourByTwo {
  static const int T = 4, STRIDE = 2, M = 2, D = 6, R = 6, GROUPS = 3;
  static constexpr int size[GROUPS] = {2, 2, 2}, first[GROUPS] = {0, 2, 4};
  static constexpr float B[R][D] = {{1, 0, -1}, {0, 1, 0, -1}, {0, 0, 1}, {0, 0, 0, 1}, {0, 0, 1, 0, -1},
                                    {0, 0, 0, 1, 0, -1}};
  static constexpr float G[R][T] = {{1}, {0, 1}, {1, 0, 1}, {0, 1, 0, 1}, {0, 0, 1}, {0, 0, 0, 1}};
  static constexpr float A[M][GROUPS] = {{1, 1, 0}, {0, 1, -1}};
};

struct FiveByTwo {
  static const int T = 5, STRIDE = 2, M = 2, D = 7, R = 7, GROUPS = 4;
  static constexpr int size[GROUPS] = {2, 2, 1, 2}, first[GROUPS] = {0, 2, 4, 5};
  static constexpr float B[R][D] = {{1, 0, 0, 0, -1}, {0, 1, 0, -1}, {0, 0, 1, 0, 1}, {0, 0, 0, 1}, {0, 0, -1, 0, 1},
                                    {0, 0, 1, 0, 0, 0, -1}, {0, 0, 0, 1, 0, -1}};
  static constexpr float G[R][T] = {{1}, {0, 1}, {.5, 0, .5, 0, .5}, {0, 1, 0, 1}, {.5, 0, -.5, 0, .5},
                                    {0, 0, 0, 0, 1}, {0, 0, 0, 1}};
  static constexpr float A[M][GROUPS] = {{1, 1, 1, 0}, {0, 1, -1, -1}};
};

struct FiveByOne {
  static const int T = 5, STRIDE = 1, M = 4, D = 8, R = 11, GROUPS = 11;
  static constexpr int size[GROUPS] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  static constexpr int first[GROUPS] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  // even minus odd pixels with the even taps; odd pixels with the sum of both; the next even minus odd with the odd
  static constexpr float B[R][D] = {
      {1, -1, 0, 0, -1, 1}, {0, 0, 1, -1, 1, -1}, {0, 0, -1, 1, 1, -1}, {0, 0, 1, -1, 0, 0, -1, 1},
      {0, 1, 0, 0, 0, -1}, {0, 0, 0, 1, 0, 1}, {0, 0, 0, -1, 0, 1}, {0, 0, 0, 1, 0, 0, 0, -1},
      {0, -1, 1, 1, -1}, {0, 0, 0, -1, 1}, {0, 0, 0, -1, 1, 1, -1}};
  static constexpr float G[R][T] = {
      {1}, {.5, 0, .5, 0, .5}, {.5, 0, -.5, 0, .5}, {0, 0, 0, 0, 1},
      {1, 1}, {.5, .5, .5, .5, .5}, {.5, .5, -.5, -.5, .5}, {0, 0, 0, 0, 1},
      {0, 1}, {0, 1, 0, 1}, {0, 0, 0, 1}};
  static constexpr float A[M][GROUPS] = {{1, 1, 1, 0, 1, 1, 1, 0}, {0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 0},
                                         {0, 1, -1, -1, 0, 1, -1, -1}, {0, 0, 0, 0, 0, 1, -1, -1, 0, 1, -1}};
};

// In two dimensions the products of a group lie side by side: point[r][s] is where product r down, s across lies.
template <class S>
struct Points {
  int point[S::R][S::R], group_first[S::GROUPS * S::GROUPS], group_size[S::GROUPS * S::GROUPS];
  constexpr Points() : point(), group_first(), group_size() {
    int next = 0;
    for (int gy = 0; gy < S::GROUPS; ++gy)
      for (int gx = 0; gx < S::GROUPS; ++gx) {
        group_first[gy * S::GROUPS + gx] = next;
        group_size[gy * S::GROUPS + gx] = S::size[gy] * S::size[gx];
        for (int y = 0; y < S::size[gy]; ++y)
          for (int x = 0; x < S::size[gx]; ++x) point[S::first[gy] + y][S::first[gx] + x] = next++;
      }
  }
};

// sum += factor * value for the factors that occur
static inline void add(Vec &sum, float factor, Vec value) {
  if (factor == 1) sum += value;
  else if (factor == -1) sum -= value;
  else if (factor != 0) sum += value * factor;
}

#define UNROLL _Pragma("GCC unroll 16")

// out [rows, rows'] = L in L' for L [rows, columns], or its transpose
template <int rows, int columns, bool transposed, class Matrix, class In, class Out>
static inline void both_sides(const Matrix &matrix, In in, Out out) {
  Vec half[rows][columns];
  UNROLL
  for (int j = 0; j < columns; ++j) {
    Vec column[columns];
    UNROLL
    for (int k = 0; k < columns; ++k) column[k] = in(k, j);
    UNROLL
    for (int r = 0; r < rows; ++r) {
      Vec sum = {};
      UNROLL
      for (int k = 0; k < columns; ++k) add(sum, transposed ? matrix[k][r] : matrix[r][k], column[k]);
      half[r][j] = sum;
    }
  }
  UNROLL
  for (int r = 0; r < rows; ++r)
    UNROLL
    for (int s = 0; s < rows; ++s) {
      Vec sum = {};
      UNROLL
      for (int k = 0; k < columns; ++k) add(sum, transposed ? matrix[k][s] : matrix[s][k], half[r][k]);
      out(r, s, sum);
    }
}

static inline Vec load(const float *p) { return *reinterpret_cast<const Vec *>(p); }
static inline void store(float *p, Vec v) { *reinterpret_cast<Vec *>(p) = v; }

static inline Vec load_some(const float *p, int64_t count) {  // the rest is 0
  if (count == LANES) return load(p);
  Vec v = {};
  memcpy(&v, p, count * sizeof(float));
  return v;
}

// A square of numbers, turned: blocks of s x s change places, s = 1, 2, 4, …
template <int s = 1>
static inline void transpose(Vec *rows) {
  typedef int32_t Order __attribute__((vector_size(4 * LANES)));
  Order upper, lower;
  for (int j = 0; j < LANES; ++j) {
    upper[j] = j & s ? j - s + LANES : j;
    lower[j] = j & s ? j + LANES : j + s;
  }
  UNROLL
  for (int i = 0; i < LANES; ++i)
    if (!(i & s)) {
      const Vec a = rows[i], b = rows[i + s];
      rows[i] = __builtin_shuffle(a, b, upper);
      rows[i + s] = __builtin_shuffle(a, b, lower);
    }
  if constexpr (2 * s < LANES) transpose<2 * s>(rows);
}

// c [rows, PANEL] (+)= a [rows, count] b [count, PANEL]. The terms are summed in runs of PANEL, and the runs then:
// the rounding error grows with the length of a run. `a_run` lies between the columns of a that are PANEL apart.
struct Product {
  int64_t count, a_row, a_column, a_run, c_row;
  bool accumulate;

  template <int rows>
  void block(const float *a, const float *b, float *c) const {
    for (int64_t start = 0; start < count; start += PANEL, a += a_run) {
      Vec sum[rows][2] = {};
      const float *from = a;
      for (int64_t k = start; k < std::min(count, start + PANEL); ++k, b += PANEL, from += a_column) {
        const Vec b0 = load(b), b1 = load(b + LANES);
        UNROLL
        for (int r = 0; r < rows; ++r) {
          sum[r][0] += from[r * a_row] * b0;
          sum[r][1] += from[r * a_row] * b1;
        }
      }
      const bool add = accumulate || start > 0;
      UNROLL
      for (int r = 0; r < rows; ++r) {
        float *row = c + r * c_row;
        store(row, add ? load(row) + sum[r][0] : sum[r][0]);
        store(row + LANES, add ? load(row + LANES) + sum[r][1] : sum[r][1]);
      }
    }
  }

  void operator()(int64_t rows, const float *a, const float *b, float *c) const {
    // As many rows as the registers hold, 32 of AVX-512 or 16 of AVX2: two sums a row, two of b, and one of a
    static const int MOST = LANES == 16 ? 8 : 6;
    for (; rows >= MOST; rows -= MOST, a += MOST * a_row, c += MOST * c_row) block<MOST>(a, b, c);
    for (; rows >= 2; rows -= 2, a += 2 * a_row, c += 2 * c_row) block<2>(a, b, c);
    for (; rows > 0; --rows, a += a_row, c += c_row) block<1>(a, b, c);
  }
};

// What follows from a convolution's geometry: its tiles, its padded pictures, its working memory.
template <class S>
struct Plan {
  static constexpr Points<S> points{};
  static const int POINTS = S::R * S::R, GROUPS = S::GROUPS * S::GROUPS, STEP = S::M * S::STRIDE;
  const Geometry g;
  const int64_t down = (g.oh + S::M - 1) / S::M, across = (g.ow + S::M - 1) / S::M, tiles = down * across;
  const int64_t h = STEP * (down - 1) + S::D, w = STEP * (across - 1) + S::D;  // of the padded picture
  const int64_t oh = down * S::M, ow = across * S::M;
  explicit Plan(const Geometry &g) : g(g) {}

  // Pictures [channels, height, width] to and from channels last, moved by (top, left) within [h, w, channels].
  static void channels_last(const float *from, int64_t channels, int64_t height, int64_t width, float *to, int64_t h,
                            int64_t w, int64_t top, int64_t left) {
    std::fill(to, to + h * w * channels, 0.f);
    const int64_t size = height * width;
    for (int64_t c = 0; c < channels; c += LANES)
      for (int64_t start = 0; start < size; start += LANES) {
        const int64_t count = std::min<int64_t>(LANES, size - start);
        Vec block[LANES];
        for (int i = 0; i < LANES; ++i) block[i] = load_some(from + (c + i) * size + start, count);
        transpose(block);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t y = (start + i) / width + top, x = (start + i) % width + left;
          if (y < h && x < w) store(to + (y * w + x) * channels + c, block[i]);
        }
      }
  }
  static void channels_first(const float *from, int64_t h, int64_t w, int64_t top, int64_t left, float *to,
                             int64_t channels, int64_t height, int64_t width, const float *bias) {
    const int64_t size = height * width;
    for (int64_t c = 0; c < channels; c += LANES)
      for (int64_t start = 0; start < size; start += LANES) {
        const int64_t count = std::min<int64_t>(LANES, size - start);
        Vec block[LANES] = {};
        for (int64_t i = 0; i < count; ++i) {
          const int64_t y = (start + i) / width + top, x = (start + i) % width + left;
          if (y < h && x < w) block[i] = load(from + (y * w + x) * channels + c);
          if (bias) block[i] += load(bias + c);
        }
        transpose(block);
        for (int i = 0; i < LANES; ++i) memcpy(to + (c + i) * size + start, &block[i], count * sizeof(float));
      }
  }

  // Calls visit(o, c) for all outputs and runs of LANES input channels.
  template <class Visit>
  void each_weight(Visit visit) const {
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < g.o; ++o)
      for (int64_t c = 0; c < g.c; c += LANES) visit(o, c);
  }

  // Weights [o, c, T, T] to [group][panel of o][products of the group x c][PANEL of o], or, turned for the way back,
  // [point][panel of c][o][PANEL of c].
  void weights(const float *w, float *to, bool turned) const {
    each_weight([=](int64_t o, int64_t c) {
      alignas(64) float taps[S::T * S::T][LANES], made[POINTS][LANES];
      const float *from = w + (o * g.c + c) * S::T * S::T;
      for (int i = 0; i < LANES; ++i)
        for (int k = 0; k < S::T * S::T; ++k) taps[k][i] = from[i * S::T * S::T + k];
      both_sides<S::R, S::T, false>(S::G, [&](int k, int j) { return load(taps[k * S::T + j]); },
                                    [&](int r, int s, Vec v) { store(made[points.point[r][s]], v); });
      if (turned) {
        for (int p = 0; p < POINTS; ++p)
          store(to + ((p * g.c + c / PANEL * PANEL) * g.o + o * PANEL) + c % PANEL, load(made[p]));
        return;
      }
      for (int group = 0; group < GROUPS; ++group) {
        const int first = points.group_first[group], size = points.group_size[group];
        float *place = to + first * g.c * g.o + (o / PANEL * size * g.c + c) * PANEL + o % PANEL;
        for (int k = 0; k < size; ++k)
          for (int i = 0; i < LANES; ++i) place[(k * g.c + i) * PANEL] = made[first + k][i];
      }
    });
  }

  // A padded picture [h, w, c] to [point][panel of c][tile][PANEL], from tile `first` on of `all`.
  void windows(const float *picture, float *to, int64_t first, int64_t all) const {
    for (int64_t y = 0; y < down; ++y)
      for (int64_t x = 0; x < across; ++x)
        for (int64_t c = 0; c < g.c; c += LANES) {
          const float *corner = picture + (y * STEP * w + x * STEP) * g.c + c;
          float *place = to + (c / PANEL * all + first + y * across + x) * PANEL + c % PANEL;
          both_sides<S::R, S::D, false>(
              S::B, [=](int i, int j) { return load(corner + (i * w + j) * g.c); },
              [=](int r, int s, Vec v) { store(place + points.point[r][s] * g.c * all, v); });
        }
  }

  // and the way back, added up where windows overlap
  void windows_back(const float *from, float *picture, int64_t first, int64_t all) const {
    std::fill(picture, picture + h * w * g.c, 0.f);
    for (int64_t y = 0; y < down; ++y)
      for (int64_t x = 0; x < across; ++x)
        for (int64_t c = 0; c < g.c; c += LANES) {
          float *corner = picture + (y * STEP * w + x * STEP) * g.c + c;
          const float *place = from + (c / PANEL * all + first + y * across + x) * PANEL + c % PANEL;
          both_sides<S::D, S::R, true>(
              S::B, [=](int r, int s) { return load(place + points.point[r][s] * g.c * all); },
              [=](int i, int j, Vec v) {
                float *pixel = corner + (i * w + j) * g.c;
                store(pixel, load(pixel) + v);
              });
        }
  }

  // [group][panel of o][tile][PANEL] to the result's picture [oh, ow, o], and a gradient the other way
  void results(const float *from, float *picture, int64_t first, int64_t all) const {
    for (int64_t y = 0; y < down; ++y)
      for (int64_t x = 0; x < across; ++x)
        for (int64_t o = 0; o < g.o; o += LANES) {
          float *corner = picture + (y * S::M * ow + x * S::M) * g.o + o;
          const float *place = from + (o / PANEL * all + first + y * across + x) * PANEL + o % PANEL;
          both_sides<S::M, S::GROUPS, false>(
              S::A, [=](int r, int s) { return load(place + (r * S::GROUPS + s) * g.o * all); },
              [=](int i, int j, Vec v) { store(corner + (i * ow + j) * g.o, v); });
        }
  }
  void results_back(const float *picture, float *to, int64_t first, int64_t all) const {
    for (int64_t y = 0; y < down; ++y)
      for (int64_t x = 0; x < across; ++x)
        for (int64_t o = 0; o < g.o; o += LANES) {
          const float *corner = picture + (y * S::M * ow + x * S::M) * g.o + o;
          float *place = to + (o / PANEL * all + first + y * across + x) * PANEL + o % PANEL;
          both_sides<S::GROUPS, S::M, true>(
              S::A, [=](int i, int j) { return load(corner + (i * ow + j) * g.o); },
              [=](int r, int s, Vec v) { store(place + (r * S::GROUPS + s) * g.o * all, v); });
        }
  }

  // Pictures that go together, for about `wanted` tiles; threads share them out.
  int64_t together(int64_t wanted) const { return std::max<int64_t>(1, std::min(g.n, wanted / tiles)); }

  // Forward (w -> y from x) or backward data (w -> x from y): in, weights, bias or null, out.
  template <bool back>
  void run(const float *in, const float *w, const float *bias, float *out) const {
    float *u = buffer(0, sizeof(float) * POINTS * g.c * g.o);
    weights(w, u, back);
    const int64_t count = together(64), all = count * tiles, parts = (g.n + count - 1) / count;
    const int64_t x_floats = this->h * this->w * g.c, y_floats = oh * ow * g.o;
    const int64_t v_floats = POINTS * g.c * all, m_floats = GROUPS * g.o * all;
    const int64_t floats = (std::max(x_floats, y_floats) + v_floats + m_floats + 15) / 16 * 16;
    const int threads = std::min<int64_t>(omp_get_max_threads(), parts);
    float *memory = buffer(1, sizeof(float) * threads * floats);
#pragma omp parallel num_threads(threads)
    {
      float *v = memory + omp_get_thread_num() * floats, *m = v + v_floats, *picture = m + m_floats;
#pragma omp for schedule(static)
      for (int64_t part = 0; part < parts; ++part) {
        const int64_t first = part * count, here = std::min(count, g.n - first);
        for (int64_t i = 0; i < here; ++i)
          if (back) {
            channels_last(in + (first + i) * g.o * g.oh * g.ow, g.o, g.oh, g.ow, picture, oh, ow, 0, 0);
            results_back(picture, m, i * tiles, all);
          } else {
            channels_last(in + (first + i) * g.c * g.h * g.w, g.c, g.h, g.w, picture, this->h, this->w, g.top, g.left);
            windows(picture, v, i * tiles, all);
          }
        for (int group = 0; group < GROUPS; ++group) {
          const int64_t point = points.group_first[group], size = points.group_size[group];
          float *result = m + group * g.o * all, *window = v + point * g.c * all;
          if (back) {
            const Product product{g.o, PANEL, 1, all * PANEL, PANEL, false};
            for (int64_t c = 0; c < size * g.c; c += PANEL)
              product(here * tiles, result, u + (point * g.c + c) * g.o, window + c * all);
          } else {
            const Product product{size * g.c, PANEL, 1, all * PANEL, PANEL, false};
            for (int64_t o = 0; o < g.o; o += PANEL)
              product(here * tiles, window, u + (point * g.o + o * size) * g.c, result + o * all);
          }
        }
        for (int64_t i = 0; i < here; ++i)
          if (back) {
            windows_back(v, picture, i * tiles, all);
            channels_first(picture, this->h, this->w, g.top, g.left, out + (first + i) * g.c * g.h * g.w, g.c, g.h,
                           g.w, bias);
          } else {
            results(m, picture, i * tiles, all);
            channels_first(picture, oh, ow, 0, 0, out + (first + i) * g.o * g.oh * g.ow, g.o, g.oh, g.ow, bias);
          }
      }
    }
  }

  // Backward weights: x, y -> w. The threads share out pictures, then points; sums go from part to part in order.
  void backward_weights(const float *x, const float *y, float *w) const {
    const int64_t each = sizeof(float) * tiles * (POINTS * g.c + GROUPS * g.o);  // bytes of a picture
    const int64_t count = std::max<int64_t>(1, std::min<int64_t>(g.n, (8 << 20) / each)), all = count * tiles;
    const int threads = omp_get_max_threads();
    const int64_t x_floats = h * this->w * g.c, y_floats = oh * ow * g.o, floats = std::max(x_floats, y_floats);
    float *u = buffer(0, sizeof(float) * POINTS * g.c * g.o);
    float *v = buffer(1, sizeof(float) * all * (POINTS * g.c + GROUPS * g.o)), *m = v + POINTS * g.c * all;
    float *pictures = buffer(2, sizeof(float) * threads * floats);
#pragma omp parallel num_threads(threads)
    {
      float *picture = pictures + omp_get_thread_num() * floats;
      for (int64_t first = 0; first < g.n; first += count) {
        const int64_t here = std::min(count, g.n - first);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < here; ++i) {
          channels_last(x + (first + i) * g.c * g.h * g.w, g.c, g.h, g.w, picture, h, this->w, g.top, g.left);
          windows(picture, v, i * tiles, all);
          channels_last(y + (first + i) * g.o * g.oh * g.ow, g.o, g.oh, g.ow, picture, oh, ow, 0, 0);
          results_back(picture, m, i * tiles, all);
        }
        const Product product{here * tiles, 1, PANEL, PANEL * PANEL, g.c, first > 0};
#pragma omp for schedule(static)
        for (int64_t job = 0; job < POINTS * g.o / PANEL; ++job) {
          const int64_t point = job / (g.o / PANEL), o = job % (g.o / PANEL) * PANEL;
          int group = 0;
          while (group + 1 < GROUPS && points.group_first[group + 1] <= point) ++group;
          for (int64_t c = 0; c < g.c; c += PANEL)
            product(PANEL, m + (group * g.o + o) * all, v + (point * g.c + c) * all, u + (point * g.o + o) * g.c + c);
        }
      }
    }
    each_weight([=](int64_t o, int64_t c) {
      alignas(64) float taps[S::T * S::T][LANES];
      const float *from = u + o * g.c + c;
      both_sides<S::T, S::R, true>(S::G,
                                   [=](int r, int s) { return load(from + points.point[r][s] * g.o * g.c); },
                                   [&](int i, int j, Vec v) { store(taps[i * S::T + j], v); });
      float *to = w + (o * g.c + c) * S::T * S::T;
      for (int i = 0; i < LANES; ++i)
        for (int k = 0; k < S::T * S::T; ++k) to[i * S::T * S::T + k] = taps[k][i];
    });
  }
};

// Runs one of the three directions, `kind` as in direct.h, if the method suits the convolution; false if not.
template <class S>
static bool run(Kind kind, const Geometry &g, const float *in, const float *other, const float *bias, float *out) {
  const Plan<S> plan(g);
  if (g.kh != S::T || g.kw != S::T || g.sh != S::STRIDE || g.sw != S::STRIDE || g.c % PANEL || g.o % PANEL ||
      g.n == 0 || g.arithmetic == IN_BF16 ||
      plan.oh * plan.ow > 1.5 * g.oh * g.ow)  // tiles that reach far beyond the result are wasted work
    return false;
  if (kind == BACKWARD_WEIGHTS)
    plan.backward_weights(in, other, out);
  else if (kind == BACKWARD_DATA)
    plan.template run<true>(in, other, bias, out);
  else
    plan.template run<false>(in, other, bias, out);
  return true;
}

static bool run(Kind kind, const Geometry &g, const float *in, const float *other, const float *bias, float *out) {
  return run<FourByTwo>(kind, g, in, other, bias, out) || run<FiveByTwo>(kind, g, in, other, bias, out) ||
         run<FiveByOne>(kind, g, in, other, bias, out);
}

}  // namespace winograd
#else
namespace winograd {
static bool run(Kind, const Geometry &, const float *, const float *, const float *, float *) { return false; }
}  // namespace winograd
#endif

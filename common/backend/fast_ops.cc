// Convolution, transposed convolution and max pooling for Paddle on CPU, as custom operators.
//
// Paddle's own CPU kernels unfold one sample at a time for a matrix product, add the bias and pool on one
// thread. The oneDNN library inside Paddle's wheel convolves directly, on all threads, near the limit of the
// processor; these operators call it. The mathematics is Paddle's, only the order of the sums differs.
//
// A transposed convolution is the backward pass of a convolution, so one `Geometry`, always that of the
// (forward) convolution, and three functions serve both:
//   convolve   x, w -> y          backward_data   y, w -> x          backward_weights   x, y -> w
//
// Nothing depends on time or on the order in which threads finish: the same input and the same number of
// threads give the same bits. common/backend/fast.py builds, loads and calls this file.
#include <omp.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <array>
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

// ---------------------------------------------------------------------------------------------------------
// oneDNN's C interface, version 3. The wheel holds the library but not these declarations.
extern "C" {
typedef void *Handle;  // every oneDNN object is an opaque pointer
typedef int64_t Dims[12];
struct Argument {
  int arg;
  Handle memory;
};
int dnnl_engine_create(Handle *, int kind, size_t index);
int dnnl_stream_create(Handle *, Handle engine, unsigned flags);
int dnnl_stream_wait(Handle stream);
int dnnl_memory_desc_create_with_tag(Handle *, int ndims, const Dims, int type, int tag);
int dnnl_memory_desc_create_with_strides(Handle *, int ndims, const Dims, int type, const Dims strides);
int dnnl_memory_desc_destroy(Handle);
int dnnl_memory_desc_equal(Handle, Handle);
size_t dnnl_memory_desc_get_size(Handle);
int dnnl_memory_create(Handle *, Handle desc, Handle engine, void *data);
int dnnl_memory_set_data_handle(Handle memory, void *data);
int dnnl_memory_destroy(Handle);
int dnnl_primitive_attr_create(Handle *);
int dnnl_primitive_attr_set_scratchpad_mode(Handle, int mode);
int dnnl_primitive_create(Handle *, Handle desc);
int dnnl_primitive_execute(Handle, Handle stream, int count, const Argument *);
int dnnl_primitive_destroy(Handle);
int dnnl_primitive_desc_destroy(Handle);
Handle dnnl_primitive_desc_query_md(Handle, int what, int index);
int dnnl_reorder_primitive_desc_create(Handle *, Handle from, Handle from_engine, Handle to, Handle to_engine,
                                       Handle attr);
int dnnl_convolution_forward_primitive_desc_create(Handle *, Handle engine, int prop, int alg, Handle x, Handle w,
                                                   Handle bias, Handle y, const Dims strides, const Dims dilates,
                                                   const Dims pad_l, const Dims pad_r, Handle attr);
int dnnl_convolution_backward_data_primitive_desc_create(Handle *, Handle engine, int alg, Handle dx, Handle w,
                                                         Handle dy, const Dims strides, const Dims dilates,
                                                         const Dims pad_l, const Dims pad_r, Handle hint,
                                                         Handle attr);
int dnnl_convolution_backward_weights_primitive_desc_create(Handle *, Handle engine, int alg, Handle x, Handle dw,
                                                            Handle dbias, Handle dy, const Dims strides,
                                                            const Dims dilates, const Dims pad_l, const Dims pad_r,
                                                            Handle hint, Handle attr);
int dnnl_sgemm(char trans_a, char trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
               const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
}
enum { CPU = 1, F32 = 3, ANY = 1, FORWARD_TRAINING = 64, DIRECT = 1, SCRATCHPAD_MODE_USER = 1, IN_ORDER = 1 };
enum { QUERY_SRC = 129, QUERY_DIFF_SRC, QUERY_WEIGHTS, QUERY_DIFF_WEIGHTS, QUERY_DST, QUERY_DIFF_DST,
       QUERY_SCRATCHPAD = 136 };
enum { SRC = 1, DST = 17, WEIGHTS = 33, BIAS = 41, SCRATCHPAD = 80, DIFF_SRC = 129, DIFF_DST = 145,
       DIFF_WEIGHTS = 161 };

static void check(int status) {
  if (status != 0) PD_THROW("oneDNN refused, status ", status);
}

static Handle engine() {
  static Handle engine = [] { Handle e; check(dnnl_engine_create(&e, CPU, 0)); return e; }();
  return engine;
}

static Handle stream() {
  static Handle stream = [] { Handle s; check(dnnl_stream_create(&s, engine(), IN_ORDER)); return s; }();
  return stream;
}

// ---------------------------------------------------------------------------------------------------------
// What all operators share.

// One operator at a time: each uses every thread, and they share the buffers and plans below.
static std::mutex mutex;

// Working memory that only grows, so that large buffers are not given back and fetched again at each call.
static float *buffer(int slot, size_t bytes) {
  static struct { float *data; size_t bytes; } slots[4];
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

// ---------------------------------------------------------------------------------------------------------
// Convolution by oneDNN, in the blocked layouts it chooses; tensors are reordered on the way in and out.

enum Kind { CONVOLVE, CONVOLVE_BIAS, BACKWARD_DATA, BACKWARD_WEIGHTS };

struct Operand {  // one tensor in Paddle's layout and, unless they are the same, in oneDNN's
  Handle plain = nullptr, blocked = nullptr, reorder = nullptr;
  size_t bytes = 0;
};

struct Plan {  // a convolution ready to run for one geometry: operands 0 and 1 go in, 2 comes out
  Handle primitive = nullptr, scratchpad = nullptr, bias = nullptr;
  size_t scratchpad_bytes = 0;
  int arg[3];
  Operand operand[3];

  Plan(Kind kind, const Geometry &g) {
    const Dims x{g.n, g.c, g.h, g.w}, w{g.o, g.c, g.kh, g.kw}, y{g.n, g.o, g.oh, g.ow}, b{g.o}, one{1};
    const Dims strides{g.sh, g.sw}, dilates{0, 0}, pad_l{g.top, g.left}, pad_r{g.bottom(), g.right()};
    Handle any_x, any_w, any_y, bias_desc = nullptr, attr, forward, desc;
    check(dnnl_memory_desc_create_with_tag(&any_x, 4, x, F32, ANY));
    check(dnnl_memory_desc_create_with_tag(&any_w, 4, w, F32, ANY));
    check(dnnl_memory_desc_create_with_tag(&any_y, 4, y, F32, ANY));
    if (kind == CONVOLVE_BIAS) {
      check(dnnl_memory_desc_create_with_strides(&bias_desc, 1, b, F32, one));
      check(dnnl_memory_create(&bias, bias_desc, engine(), nullptr));
    }
    check(dnnl_primitive_attr_create(&attr));
    check(dnnl_primitive_attr_set_scratchpad_mode(attr, SCRATCHPAD_MODE_USER));
    check(dnnl_convolution_forward_primitive_desc_create(&forward, engine(), FORWARD_TRAINING, DIRECT, any_x, any_w,
                                                         bias_desc, any_y, strides, dilates, pad_l, pad_r, attr));
    if (kind == CONVOLVE || kind == CONVOLVE_BIAS) {
      desc = forward;
      set(0, desc, SRC, QUERY_SRC, x), set(1, desc, WEIGHTS, QUERY_WEIGHTS, w), set(2, desc, DST, QUERY_DST, y);
    } else if (kind == BACKWARD_DATA) {
      check(dnnl_convolution_backward_data_primitive_desc_create(&desc, engine(), DIRECT, any_x, any_w, any_y, strides,
                                                                 dilates, pad_l, pad_r, forward, attr));
      set(0, desc, DIFF_DST, QUERY_DIFF_DST, y), set(1, desc, WEIGHTS, QUERY_WEIGHTS, w);
      set(2, desc, DIFF_SRC, QUERY_DIFF_SRC, x);
    } else {
      check(dnnl_convolution_backward_weights_primitive_desc_create(&desc, engine(), DIRECT, any_x, any_w, nullptr,
                                                                    any_y, strides, dilates, pad_l, pad_r, forward,
                                                                    attr));
      set(0, desc, SRC, QUERY_SRC, x), set(1, desc, DIFF_DST, QUERY_DIFF_DST, y);
      set(2, desc, DIFF_WEIGHTS, QUERY_DIFF_WEIGHTS, w);
    }
    check(dnnl_primitive_create(&primitive, desc));
    Handle scratch = dnnl_primitive_desc_query_md(desc, QUERY_SCRATCHPAD, 0);
    scratchpad_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    if (scratchpad_bytes) check(dnnl_memory_create(&scratchpad, scratch, engine(), nullptr));
    // The descriptions stay alive: there are a few dozen of them in a run, a few hundred bytes each.
  }

  void set(int i, Handle desc, int which, int query, const Dims dims) {
    arg[i] = which;
    const Dims strides{dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1};
    Handle plain, blocked = dnnl_primitive_desc_query_md(desc, query, 0), reorder;
    check(dnnl_memory_desc_create_with_strides(&plain, 4, dims, F32, strides));
    check(dnnl_memory_create(&operand[i].plain, plain, engine(), nullptr));
    if (!dnnl_memory_desc_equal(plain, blocked)) {
      operand[i].bytes = dnnl_memory_desc_get_size(blocked);
      check(dnnl_memory_create(&operand[i].blocked, blocked, engine(), nullptr));
      Handle from = i < 2 ? plain : blocked, to = i < 2 ? blocked : plain;
      check(dnnl_reorder_primitive_desc_create(&reorder, from, engine(), to, engine(), nullptr));
      check(dnnl_primitive_create(&operand[i].reorder, reorder));
    }
    dnnl_memory_desc_destroy(plain);
  }

  void run(const float *in0, const float *in1, const float *bias_data, float *out) {
    const void *data[3] = {in0, in1, out};
    Handle ready[3];
    for (int i = 0; i < 3; ++i) {
      Operand &p = operand[i];
      check(dnnl_memory_set_data_handle(p.plain, const_cast<void *>(data[i])));
      ready[i] = p.plain;
      if (!p.reorder) continue;
      check(dnnl_memory_set_data_handle(p.blocked, buffer(i, p.bytes)));
      ready[i] = p.blocked;
      if (i < 2) execute(p.reorder, {{SRC, p.plain}, {DST, p.blocked}});
    }
    std::vector<Argument> arguments{{arg[0], ready[0]}, {arg[1], ready[1]}, {arg[2], ready[2]}};
    if (bias) {
      check(dnnl_memory_set_data_handle(bias, const_cast<float *>(bias_data)));
      arguments.push_back({BIAS, bias});
    }
    if (scratchpad) {
      check(dnnl_memory_set_data_handle(scratchpad, buffer(3, scratchpad_bytes)));
      arguments.push_back({SCRATCHPAD, scratchpad});
    }
    execute(primitive, arguments);
    if (operand[2].reorder) execute(operand[2].reorder, {{SRC, operand[2].blocked}, {DST, operand[2].plain}});
  }

  static void execute(Handle primitive, const std::vector<Argument> &arguments) {
    check(dnnl_primitive_execute(primitive, stream(), arguments.size(), arguments.data()));
    check(dnnl_stream_wait(stream()));
  }
};

static Plan &plan(Kind kind, const Geometry &g) {
  static auto &plans = *new std::map<std::pair<int, std::array<int64_t, 13>>, std::unique_ptr<Plan>>;
  auto &found = plans[{kind, g.key()}];
  if (!found) found.reset(new Plan(kind, g));
  return *found;
}

// ---------------------------------------------------------------------------------------------------------
// Convolution of pictures with few channels, as a matrix product with their unfolded windows: oneDNN's blocks
// of eight channels would be mostly padding. Every thread takes a run of samples.

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
        dnnl_sgemm('T', 'N', window, pixels, g.o, 1, w, window, y + n * maps, pixels, 0, windows, pixels);
        std::fill(out + n * picture, out + (n + 1) * picture, 0.f);
        unfold<true>(g, out + n * picture, windows);
        continue;
      }
      unfold<false>(g, const_cast<float *>(x) + n * picture, windows);
      if (kind == BACKWARD_WEIGHTS)
        dnnl_sgemm('N', 'T', g.o, window, pixels, 1, y + n * maps, pixels, windows, pixels,
                   n == g.n * t / threads ? 0 : 1, sum, window);
      else
        dnnl_sgemm('N', 'N', g.o, pixels, window, 1, w, window, windows, pixels, 0, out + n * maps, pixels);
    }
  }
  if (kind == BACKWARD_WEIGHTS)
    for (int64_t i = 0; i < weights; ++i) {  // thread after thread, so that the order of the sum is fixed
      out[i] = all_sums[i];
      for (int t = 1; t < threads; ++t) out[i] += all_sums[t * weights + i];
    }
}

// ---------------------------------------------------------------------------------------------------------
// The three directions, for either method.

static void convolve(const Geometry &g, const float *x, const float *w, const float *bias, float *y) {
  if (g.c > FEW) return plan(bias ? CONVOLVE_BIAS : CONVOLVE, g).run(x, w, bias, y);
  few_channels(CONVOLVE, g, x, w, nullptr, y);
  if (bias) add_bias(y, bias, g.n, g.o, g.oh * g.ow);
}

static void backward_data(const Geometry &g, const float *y, const float *w, const float *bias, float *x) {
  if (g.c > FEW)
    plan(BACKWARD_DATA, g).run(y, w, nullptr, x);
  else
    few_channels(BACKWARD_DATA, g, nullptr, w, y, x);
  if (bias) add_bias(x, bias, g.n, g.c, g.h * g.w);
}

static void backward_weights(const Geometry &g, const float *x, const float *y, float *w) {
  if (g.c > FEW)
    plan(BACKWARD_WEIGHTS, g).run(x, y, nullptr, w);
  else
    few_channels(BACKWARD_WEIGHTS, g, x, nullptr, y, w);
}

// ---------------------------------------------------------------------------------------------------------
// The operators. Attributes of a convolution:
//   transposed   0 or 1
//   geometry     stride (down, across), padding (top, left), size of the output (height, width)

static Geometry geometry(const Shape &x, const Shape &w, int transposed, const Ints &a) {
  Geometry g{x[0], w[1], x[2], x[3], w[0], a[4], a[5], w[2], w[3], a[0], a[1], a[2], a[3]};
  if (transposed) std::swap(g.h, g.oh), std::swap(g.w, g.ow);
  PD_CHECK(x[1] == (transposed ? g.o : g.c), "the picture has ", x[1], " channels, the weights want ",
           transposed ? g.o : g.c);
  return g;
}

static std::vector<Tensor> forward(const Tensor &x, const Tensor &w, const Tensor *bias, int transposed,
                                   const Ints &attr) {
  const Geometry g = geometry(x.shape(), w.shape(), transposed, attr);
  Tensor y = empty({g.n, transposed ? g.c : g.o, attr[4], attr[5]});
  std::lock_guard<std::mutex> lock(mutex);
  const float *b = bias ? data(*bias) : nullptr;
  if (transposed)
    backward_data(g, data(x), data(w), b, y.data<float>());
  else
    convolve(g, data(x), data(w), b, y.data<float>());
  return {y};
}

// The gradients asked for: bit 0 of x, bit 1 of w, bit 2 of the bias.
template <int wanted, class T>
static std::vector<T> choose(const std::vector<T> &all) {
  std::vector<T> chosen;
  for (size_t i = 0; i < all.size(); ++i)
    if (wanted >> i & 1) chosen.push_back(all[i]);
  return chosen;
}

template <int wanted>
static std::vector<Tensor> backward(const Tensor &x, const Tensor &w, const Tensor &dy, int transposed,
                                    const Ints &attr) {
  const Geometry g = geometry(x.shape(), w.shape(), transposed, attr);
  Tensor dx, dw, db;
  std::lock_guard<std::mutex> lock(mutex);
  if (wanted & 1) {
    dx = empty(x.shape());
    transposed ? convolve(g, data(dy), data(w), nullptr, dx.data<float>())
               : backward_data(g, data(dy), data(w), nullptr, dx.data<float>());
  }
  if (wanted & 2) {
    dw = empty(w.shape());
    transposed ? backward_weights(g, data(dy), data(x), dw.data<float>())
               : backward_weights(g, data(x), data(dy), dw.data<float>());
  }
  if (wanted & 4) {
    const Shape s = dy.shape();
    db = empty({s[1]});
    sum_channels(data(dy), db.data<float>(), s[0], s[1], s[2] * s[3]);
  }
  return choose<wanted, Tensor>({dx, dw, db});
}

// Without and with a bias: kernel, shapes and types, forward and backward.
using Type = paddle::DataType;

static std::vector<Tensor> conv(const Tensor &x, const Tensor &w, int transposed, const Ints &attr) {
  return forward(x, w, nullptr, transposed, attr);
}
static std::vector<Shape> conv_shape(const Shape &x, const Shape &w, int transposed, const Ints &attr) {
  return {{x[0], transposed ? w[1] : w[0], attr[4], attr[5]}};
}
static std::vector<Type> conv_type(Type x, Type) { return {x}; }
template <int wanted>
static std::vector<Shape> conv_grad_shape(const Shape &x, const Shape &w, const Shape &, int, const Ints &) {
  return choose<wanted, Shape>({x, w});
}
template <int wanted>
static std::vector<Type> conv_grad_type(Type x, Type w, Type) {
  return choose<wanted, Type>({x, w});
}

static std::vector<Tensor> bias_conv(const Tensor &x, const Tensor &w, const Tensor &b, int transposed,
                                     const Ints &attr) {
  return forward(x, w, &b, transposed, attr);
}
static std::vector<Shape> bias_conv_shape(const Shape &x, const Shape &w, const Shape &, int transposed,
                                          const Ints &attr) {
  return conv_shape(x, w, transposed, attr);
}
static std::vector<Type> bias_conv_type(Type x, Type, Type) { return {x}; }
template <int wanted>
static std::vector<Tensor> bias_conv_grad(const Tensor &x, const Tensor &w, const Tensor &, const Tensor &dy,
                                          int transposed, const Ints &attr) {
  return backward<wanted>(x, w, dy, transposed, attr);
}
template <int wanted>
static std::vector<Shape> bias_conv_grad_shape(const Shape &x, const Shape &w, const Shape &b, const Shape &, int,
                                               const Ints &) {
  return choose<wanted, Shape>({x, w, b});
}
template <int wanted>
static std::vector<Type> bias_conv_grad_type(Type x, Type w, Type b, Type) {
  return choose<wanted, Type>({x, w, b});
}

#define GRAD(name) paddle::Grad(name)
#define ATTRIBUTES {"transposed: int", "geometry: std::vector<int>"}

// Paddle 2.6 cannot leave out a gradient that its operator offers, so each choice is an operator of its own.
#define CONV(name, wanted, ...)                                                                         \
  PD_BUILD_OP(name).Inputs({"X", "W"}).Outputs({"Y"}).Attrs(ATTRIBUTES).SetKernelFn(PD_KERNEL(conv))    \
      .SetInferShapeFn(PD_INFER_SHAPE(conv_shape)).SetInferDtypeFn(PD_INFER_DTYPE(conv_type));          \
  PD_BUILD_GRAD_OP(name).Inputs({"X", "W", GRAD("Y")}).Outputs({__VA_ARGS__}).Attrs(ATTRIBUTES)         \
      .SetKernelFn(PD_KERNEL(backward<wanted>))                                                         \
      .SetInferShapeFn(PD_INFER_SHAPE(conv_grad_shape<wanted>))                                         \
      .SetInferDtypeFn(PD_INFER_DTYPE(conv_grad_type<wanted>))
#define BIAS_CONV(name, wanted, ...)                                                                    \
  PD_BUILD_OP(name).Inputs({"X", "W", "B"}).Outputs({"Y"}).Attrs(ATTRIBUTES)                            \
      .SetKernelFn(PD_KERNEL(bias_conv)).SetInferShapeFn(PD_INFER_SHAPE(bias_conv_shape))               \
      .SetInferDtypeFn(PD_INFER_DTYPE(bias_conv_type));                                                 \
  PD_BUILD_GRAD_OP(name).Inputs({"X", "W", "B", GRAD("Y")}).Outputs({__VA_ARGS__}).Attrs(ATTRIBUTES)    \
      .SetKernelFn(PD_KERNEL(bias_conv_grad<wanted>))                                                   \
      .SetInferShapeFn(PD_INFER_SHAPE(bias_conv_grad_shape<wanted>))                                    \
      .SetInferDtypeFn(PD_INFER_DTYPE(bias_conv_grad_type<wanted>))

CONV(gan_conv, 3, GRAD("X"), GRAD("W"));
CONV(gan_conv_x, 1, GRAD("X"));
CONV(gan_conv_w, 2, GRAD("W"));
BIAS_CONV(gan_conv_bias, 7, GRAD("X"), GRAD("W"), GRAD("B"));
BIAS_CONV(gan_conv_bias_x, 1, GRAD("X"));
BIAS_CONV(gan_conv_bias_w, 6, GRAD("W"), GRAD("B"));

// ---------------------------------------------------------------------------------------------------------
// Max pooling over size x size squares, then leaky ReLU with `slope` (1: none, 0: ReLU). Remembers in a byte
// for each square which pixel won (the first of equals, as Paddle) and whether it was positive.

static const int POSITIVE = 128;

static void pool_row(const float *x, int64_t w, int64_t ow, int size, float slope, float *y, uint8_t *mask) {
  int64_t k = 0;
#ifdef __SSE2__
  // Four 2 x 2 squares at a time: fifteen times as fast as the loop below, which counts over 128x64x24x24 pixels.
  typedef float Floats __attribute__((vector_size(16)));
  typedef int32_t Marks __attribute__((vector_size(16)));
  for (; size == 2 && k + 4 <= ow; k += 4) {
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
    const Marks positive = best > 0;
    const Floats result = positive ? best : best * slope;
    winner |= positive & POSITIVE;
    memcpy(y + k, &result, sizeof result);
    for (int i = 0; i < 4; ++i) mask[k + i] = winner[i];
  }
#endif
  for (; k < ow; ++k) {
    const float *square = x + k * size;
    float best = square[0];
    int winner = 0;
    for (int i = 0; i < size; ++i)
      for (int j = 0; j < size; ++j) {
        const float v = square[i * w + j];
        const bool better = v > best || v != v;  // a NaN is never lost
        best = better ? v : best;
        winner = better ? i * size + j : winner;
      }
    y[k] = best > 0 ? best : best * slope;
    mask[k] = winner | (best > 0 ? POSITIVE : 0);
  }
}

static std::vector<Tensor> pool(const Tensor &x, int size, float slope) {
  const Shape s = x.shape();
  const int64_t h = s[2], w = s[3], oh = h / size, ow = w / size;
  Tensor y = empty({s[0], s[1], oh, ow}), mask = empty({s[0], s[1], oh, ow}, paddle::DataType::UINT8);
  const float *from = data(x);
  float *to = y.data<float>();
  uint8_t *marks = mask.data<uint8_t>();
#pragma omp parallel for schedule(static)
  for (int64_t map = 0; map < s[0] * s[1]; ++map)
    for (int64_t i = 0; i < oh; ++i) {
      const int64_t at = (map * oh + i) * ow;
      pool_row(from + (map * h + i * size) * w, w, ow, size, slope, to + at, marks + at);
    }
  return {y, mask};
}

static std::vector<Tensor> pool_grad(const Tensor &x, const Tensor &mask, const Tensor &dy, int size, float slope) {
  const Shape s = x.shape();
  const int64_t h = s[2], w = s[3], oh = h / size, ow = w / size;
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
        const int winner = marks[at] & (POSITIVE - 1);
        to[(map * h + i * size + winner / size) * w + k * size + winner % size] =
            marks[at] & POSITIVE ? from[at] : from[at] * slope;
      }
  }
  return {dx};
}

static std::vector<Shape> pool_shape(const Shape &x, int size, float) {
  const Shape y{x[0], x[1], x[2] / size, x[3] / size};
  return {y, y};
}
static std::vector<Type> pool_type(Type x) { return {x, Type::UINT8}; }
static std::vector<Shape> pool_grad_shape(const Shape &x, const Shape &, const Shape &, int, float) { return {x}; }
static std::vector<Type> pool_grad_type(Type x, Type, Type) { return {x}; }

PD_BUILD_OP(gan_pool)
    .Inputs({"X"})
    .Outputs({"Y", "Mask"})
    .Attrs({"size: int", "slope: float"})
    .SetKernelFn(PD_KERNEL(pool))
    .SetInferShapeFn(PD_INFER_SHAPE(pool_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(pool_type));
PD_BUILD_GRAD_OP(gan_pool)
    .Inputs({"X", "Mask", paddle::Grad("Y")})
    .Outputs({paddle::Grad("X")})
    .Attrs({"size: int", "slope: float"})
    .SetKernelFn(PD_KERNEL(pool_grad))
    .SetInferShapeFn(PD_INFER_SHAPE(pool_grad_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(pool_grad_type));

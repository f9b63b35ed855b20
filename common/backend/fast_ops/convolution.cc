// Convolution and transposed convolution, forward and backward.
//
// A transposed convolution is the backward pass of a convolution, so one `Geometry`, always that of the
// (forward) convolution, and three functions serve both:
//   convolve   x, w -> y          backward_data   y, w -> x          backward_weights   x, y -> w
#include "direct.h"
#include "few_channels.h"
#include "winograd.h"

// The three directions. Each takes the method that suits the geometry. Pictures of few channels are float32 in any
// arithmetic.

static void round_factors(const Geometry &g, const float *&a, int64_t a_count, const float *&b, int64_t b_count) {
  if (g.arithmetic != EMULATED || g.c <= FEW) return;
  a = rounded(4, a, a_count);
  b = rounded(5, b, b_count);
}

static void convolve(const Geometry &g, const float *x, const float *w, const float *bias, float *y) {
  round_factors(g, x, g.pictures(), w, g.weights());
  if (winograd::run(CONVOLVE, g, x, w, bias, y)) return;
  if (g.c > FEW) return plan(bias ? CONVOLVE_BIAS : CONVOLVE, g).run(x, w, bias, y);
  few_channels(CONVOLVE, g, x, w, nullptr, y);
  if (bias) add_bias(y, bias, g.n, g.o, g.oh * g.ow);
}

static void backward_data(const Geometry &g, const float *y, const float *w, const float *bias, float *x) {
  round_factors(g, y, g.results(), w, g.weights());
  if (winograd::run(BACKWARD_DATA, g, y, w, bias, x)) return;
  if (g.c > FEW)
    plan(BACKWARD_DATA, g).run(y, w, nullptr, x);
  else
    few_channels(BACKWARD_DATA, g, nullptr, w, y, x);
  if (bias) add_bias(x, bias, g.n, g.c, g.h * g.w);
}

static void backward_weights(const Geometry &g, const float *x, const float *y, float *w) {
  round_factors(g, x, g.pictures(), y, g.results());
  if (winograd::run(BACKWARD_WEIGHTS, g, x, y, nullptr, w)) return;
  if (g.c > FEW)
    plan(BACKWARD_WEIGHTS, g).run(x, y, nullptr, w);
  else
    few_channels(BACKWARD_WEIGHTS, g, x, nullptr, y, w);
}

// ---------------------------------------------------------------------------------------------------------
// The operators. Attributes of a convolution:
//   transposed   0 or 1
//   geometry     stride (down, across), padding (top, left), size of the output (height, width), arithmetic

static Geometry geometry(const Shape &x, const Shape &w, int transposed, const Ints &a) {
  Geometry g{x[0], w[1], x[2], x[3], w[0], a[4], a[5], w[2], w[3], a[0], a[1], a[2], a[3], a[6]};
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

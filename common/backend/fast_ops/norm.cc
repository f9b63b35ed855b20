// Batch normalisation with the activation behind it: leaky ReLU with `slope` (1: none, 0: ReLU).
//
// x is [n, channels, size]; size is height * width for pictures, 1 for dense layers. A thread takes one channel at a
// time, or sixteen of a dense layer. Its values stay in the processor's cache over all passes. Sums are float32 within
// a row and double over rows, which is at least as exact as Paddle's.
#include "shared.h"

namespace norm {

static const int64_t LANES = 16;  // channels of a dense layer that go together

struct Batch {  // shape and settings
  int64_t n, channels, size;
  float slope;
  int64_t count() const { return n * size; }
};

static Batch batch(const Tensor &x, float slope) {
  const Shape s = x.shape();
  int64_t size = 1;
  for (size_t i = 2; i < s.size(); ++i) size *= s[i];
  return {s[0], s[1], size, slope};
}

static inline float activated(float z, float slope) { return z > 0 ? z : z * slope; }

// Calls visit(first, channels) for each run of neighbouring channels. The threads share the runs out.
template <class Visit>
static void each_run(const Batch &b, Visit visit) {
  const int64_t run = b.size == 1 ? LANES : 1, runs = (b.channels + run - 1) / run;
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < runs; ++r) visit(r * run, std::min(run, b.channels - r * run));
}

// totals[k][lane] = the sums over samples and positions of terms(lane, offset of a value, out), which gives `kinds`
// terms of each value.
template <int kinds, class Terms>
static inline void sum(const Batch &b, int64_t first, int64_t lanes, double (*totals)[LANES], Terms terms) {
  for (int k = 0; k < kinds; ++k) std::fill(totals[k], totals[k] + LANES, 0.0);
  for (int64_t i = 0; i < b.n; ++i) {
    const int64_t row = (i * b.channels + first) * b.size;
    if (b.size == 1) {
#pragma omp simd
      for (int64_t lane = 0; lane < lanes; ++lane) {
        float out[2];
        terms(lane, row + lane, out);
        totals[0][lane] += out[0];
        if (kinds == 2) totals[kinds - 1][lane] += out[kinds - 1];
      }
    } else {
      float one = 0, two = 0;
#pragma omp simd reduction(+ : one, two)
      for (int64_t k = 0; k < b.size; ++k) {
        float out[2];
        terms(0, row + k, out);
        one += out[0];
        if (kinds == 2) two += out[kinds - 1];
      }
      totals[0][0] += one;
      if (kinds == 2) totals[kinds - 1][0] += two;
    }
  }
}

// Calls make(lane, offset) for each value of a run.
template <class Make>
static inline void each_value(const Batch &b, int64_t first, int64_t lanes, Make make) {
  for (int64_t i = 0; i < b.n; ++i) {
    const int64_t row = (i * b.channels + first) * b.size;
    if (b.size == 1) {
#pragma omp simd
      for (int64_t lane = 0; lane < lanes; ++lane) make(lane, row + lane);
    } else {
#pragma omp simd
      for (int64_t k = 0; k < b.size; ++k) make(0, row + k);
    }
  }
}

struct Line {  // z = x * factor + shift, by lane
  float factor[LANES], shift[LANES];
};

static Line line(const float *scale, const float *bias, const float *mean, const float *inverse, int64_t first,
                 int64_t lanes) {
  Line l;
  for (int64_t i = 0; i < lanes; ++i) {
    l.factor[i] = inverse[first + i] * scale[first + i];
    l.shift[i] = bias[first + i] - mean[first + i] * l.factor[i];
  }
  return l;
}

// Attributes: momentum of the moving statistics, epsilon, slope, training. With training 1 the batch's own statistics
// normalise it and update the moving ones; with 0 the moving statistics normalise it.
static std::vector<Tensor> forward(const Tensor &x, const Tensor &scale, const Tensor &bias, Tensor &moving_mean,
                                   Tensor &moving_variance, float momentum, float epsilon, float slope, int training) {
  const Batch b = batch(x, slope);
  Tensor y = empty(x.shape()), mean = empty({b.channels}), inverse = empty({b.channels});
  const float *from = data(x), *scales = data(scale), *biases = data(bias);
  float *to = y.data<float>(), *means = mean.data<float>(), *inverses = inverse.data<float>();
  float *moving_means = const_cast<float *>(data(moving_mean));
  float *moving_variances = const_cast<float *>(data(moving_variance));
  const double count = b.count();
  // A single value has no variance, and Paddle returns it unchanged; no value at all moves no statistics either
  const bool same = training && b.count() <= 1;
  PD_CHECK(scale.numel() == b.channels, "batch norm of ", scale.numel(), " channels, the input has ", b.channels);
  each_run(b, [&](int64_t first, int64_t lanes) {
    double total[1][LANES];
    float average[LANES];
    if (training && !same) {
      sum<1>(b, first, lanes, total, [=](int64_t, int64_t at, float *out) { out[0] = from[at]; });
      for (int64_t i = 0; i < lanes; ++i) average[i] = total[0][i] / count;
      sum<1>(b, first, lanes, total, [=, &average](int64_t lane, int64_t at, float *out) {
        const float d = from[at] - average[lane];
        out[0] = d * d;
      });
    }
    for (int64_t i = 0; i < lanes; ++i) {
      const int64_t c = first + i;
      float variance = moving_variances[c];
      means[c] = moving_means[c];
      if (training && !same) {
        variance = total[0][i] / count;
        means[c] = average[i];
        moving_means[c] = moving_means[c] * momentum + average[i] * (1 - momentum);
        moving_variances[c] = moving_variances[c] * momentum + variance * (1 - momentum);
      }
      inverses[c] = 1 / std::sqrt(variance + epsilon);
    }
    const Line l = line(scales, biases, means, inverses, first, lanes);
    each_value(b, first, lanes, [=, &l](int64_t lane, int64_t at) {
      to[at] = activated(same ? from[at] : from[at] * l.factor[lane] + l.shift[lane], slope);
    });
  });
  return {y, mean, inverse};
}

template <int wanted>
static std::vector<Tensor> backward(const Tensor &x, const Tensor &scale, const Tensor &bias, const Tensor &mean,
                                    const Tensor &inverse, const Tensor &dy, float momentum, float epsilon,
                                    float slope, int training) {
  const Batch b = batch(x, slope);
  Tensor dx = empty(x.shape()), dscale = empty({b.channels}), dbias = empty({b.channels});
  const float *from = data(x), *sent = data(dy), *scales = data(scale), *biases = data(bias);
  const float *means = data(mean), *inverses = data(inverse);
  float *to = dx.data<float>(), *dscales = dscale.data<float>(), *dbiases = dbias.data<float>();
  const double count = b.count();
  const bool same = training && b.count() <= 1;
  each_run(b, [&](int64_t first, int64_t lanes) {
    const Line l = line(scales, biases, means, inverses, first, lanes);
    const float *center = means + first, *width = inverses + first;
    // the gradient behind the normalisation, before the activation
    const auto gradient = [=, &l](int64_t lane, int64_t at) {
      const float z = same ? from[at] : from[at] * l.factor[lane] + l.shift[lane];
      return passes(z, slope) ? sent[at] : sent[at] * slope;
    };
    double total[2][LANES];
    sum<2>(b, first, lanes, total, [=](int64_t lane, int64_t at, float *out) {
      const float g = gradient(lane, at);
      out[0] = g;
      out[1] = g * (from[at] - center[lane]);
    });
    float base[LANES], slant[LANES];
    for (int64_t i = 0; i < lanes; ++i) {
      dbiases[first + i] = same ? 0 : total[0][i];
      dscales[first + i] = same ? 0 : total[1][i] * width[i];
      base[i] = training ? total[0][i] / count : 0;
      slant[i] = training ? total[1][i] / count * width[i] * width[i] : 0;
    }
    each_value(b, first, lanes, [=, &l, &base, &slant](int64_t lane, int64_t at) {
      const float g = gradient(lane, at);
      to[at] = same ? g : (g - base[lane] - (from[at] - center[lane]) * slant[lane]) * l.factor[lane];
    });
  });
  return choose<wanted, Tensor>({dx, dscale, dbias});
}

static std::vector<Shape> shapes(const Shape &x, const Shape &scale, const Shape &, const Shape &, const Shape &,
                                 float, float, float, int) {
  return {x, scale, scale};
}
static std::vector<Type> types(Type x, Type, Type, Type, Type) { return {x, x, x}; }
template <int wanted>
static std::vector<Shape> grad_shapes(const Shape &x, const Shape &scale, const Shape &bias, const Shape &,
                                      const Shape &, const Shape &, float, float, float, int) {
  return choose<wanted, Shape>({x, scale, bias});
}
template <int wanted>
static std::vector<Type> grad_types(Type x, Type scale, Type bias, Type, Type, Type) {
  return choose<wanted, Type>({x, scale, bias});
}

// The parts of a batch norm whose batch is shared among processes; between them the processes add up their figures.

// The means of the channels, and the sums of the squared deviations from them: [2, channels].
static std::vector<Tensor> moments(const Tensor &x) {
  const Batch b = batch(x, 1);
  Tensor found = empty({2, b.channels});
  const float *from = data(x);
  float *means = found.data<float>(), *squares = means + b.channels;
  each_run(b, [&](int64_t first, int64_t lanes) {
    double total[1][LANES];
    sum<1>(b, first, lanes, total, [=](int64_t, int64_t at, float *out) { out[0] = from[at]; });
    for (int64_t i = 0; i < lanes; ++i) means[first + i] = total[0][i] / b.count();
    sum<1>(b, first, lanes, total, [=](int64_t lane, int64_t at, float *out) {
      const float d = from[at] - means[first + lane];
      out[0] = d * d;
    });
    for (int64_t i = 0; i < lanes; ++i) squares[first + i] = total[0][i];
  });
  return {found};
}

// The gradient behind the normalisation, before the activation.
struct Behind {
  const float *x, *dy;
  Line l;
  float slope;
  float operator()(int64_t lane, int64_t at) const {
    return passes(x[at] * l.factor[lane] + l.shift[lane], slope) ? dy[at] : dy[at] * slope;
  }
};

// The gradients of the scale and of the bias: [2, channels].
static std::vector<Tensor> gradient_sums(const Tensor &x, const Tensor &scale, const Tensor &bias, const Tensor &mean,
                                         const Tensor &inverse, const Tensor &dy, float slope) {
  const Batch b = batch(x, slope);
  Tensor sums = empty({2, b.channels});
  const float *from = data(x), *sent = data(dy), *scales = data(scale), *biases = data(bias);
  const float *means = data(mean), *inverses = data(inverse);
  float *dscales = sums.data<float>(), *dbiases = dscales + b.channels;
  each_run(b, [&](int64_t first, int64_t lanes) {
    const Behind gradient{from, sent, line(scales, biases, means, inverses, first, lanes), slope};
    const float *center = means + first;
    double total[2][LANES];
    sum<2>(b, first, lanes, total, [=, &gradient](int64_t lane, int64_t at, float *out) {
      const float g = gradient(lane, at);
      out[0] = g;
      out[1] = g * (from[at] - center[lane]);
    });
    for (int64_t i = 0; i < lanes; ++i) {
      dbiases[first + i] = total[0][i];
      dscales[first + i] = total[1][i] * inverses[first + i];
    }
  });
  return {sums};
}

// The gradient of x. `sums`: those of all processes, divided by the number of values of all.
static std::vector<Tensor> gradient_of_input(const Tensor &x, const Tensor &scale, const Tensor &bias,
                                             const Tensor &mean, const Tensor &inverse, const Tensor &dy,
                                             const Tensor &sums, float slope) {
  const Batch b = batch(x, slope);
  Tensor dx = empty(x.shape());
  const float *from = data(x), *sent = data(dy), *scales = data(scale), *biases = data(bias);
  const float *means = data(mean), *inverses = data(inverse), *slants = data(sums), *bases = slants + b.channels;
  float *to = dx.data<float>();
  each_run(b, [&](int64_t first, int64_t lanes) {
    const Behind gradient{from, sent, line(scales, biases, means, inverses, first, lanes), slope};
    float slant[LANES];
    for (int64_t i = 0; i < lanes; ++i) slant[i] = slants[first + i] * inverses[first + i];
    const float *center = means + first, *base = bases + first;
    each_value(b, first, lanes, [=, &gradient, &slant](int64_t lane, int64_t at) {
      to[at] = (gradient(lane, at) - base[lane] - (from[at] - center[lane]) * slant[lane]) * gradient.l.factor[lane];
    });
  });
  return {dx};
}

static std::vector<Shape> two_rows(const Shape &x) { return {{2, x[1]}}; }
static std::vector<Shape> two_rows_of_six(const Shape &x, const Shape &, const Shape &, const Shape &, const Shape &,
                                          const Shape &, float) {
  return {{2, x[1]}};
}
static std::vector<Shape> first_of_seven(const Shape &x, const Shape &, const Shape &, const Shape &, const Shape &,
                                         const Shape &, const Shape &, float) {
  return {x};
}
static std::vector<Type> type_of_one(Type x) { return {x}; }
static std::vector<Type> type_of_six(Type x, Type, Type, Type, Type, Type) { return {x}; }
static std::vector<Type> type_of_seven(Type x, Type, Type, Type, Type, Type, Type) { return {x}; }

}  // namespace norm

PD_BUILD_OP(gan_norm_moments).Inputs({"X"}).Outputs({"Moments"}).SetKernelFn(PD_KERNEL(norm::moments))
    .SetInferShapeFn(PD_INFER_SHAPE(norm::two_rows)).SetInferDtypeFn(PD_INFER_DTYPE(norm::type_of_one));
PD_BUILD_OP(gan_norm_sums).Inputs({"X", "Scale", "Bias", "Mean", "Inverse", "dY"}).Outputs({"Sums"})
    .Attrs({"slope: float"}).SetKernelFn(PD_KERNEL(norm::gradient_sums))
    .SetInferShapeFn(PD_INFER_SHAPE(norm::two_rows_of_six)).SetInferDtypeFn(PD_INFER_DTYPE(norm::type_of_six));
PD_BUILD_OP(gan_norm_dx).Inputs({"X", "Scale", "Bias", "Mean", "Inverse", "dY", "Sums"}).Outputs({"dX"})
    .Attrs({"slope: float"}).SetKernelFn(PD_KERNEL(norm::gradient_of_input))
    .SetInferShapeFn(PD_INFER_SHAPE(norm::first_of_seven)).SetInferDtypeFn(PD_INFER_DTYPE(norm::type_of_seven));

#define NORM_ATTRIBUTES {"momentum: float", "epsilon: float", "slope: float", "training: int"}
#define NORM(name, wanted, ...)                                                                              \
  PD_BUILD_OP(name).Inputs({"X", "Scale", "Bias", "Mean", "Variance"})                                       \
      .Outputs({"Y", "BatchMean", "BatchInverse", "MeanOut", "VarianceOut"})                                 \
      .SetInplaceMap({{"Mean", "MeanOut"}, {"Variance", "VarianceOut"}})                                     \
      .Attrs(NORM_ATTRIBUTES).SetKernelFn(PD_KERNEL(norm::forward))                                          \
      .SetInferShapeFn(PD_INFER_SHAPE(norm::shapes)).SetInferDtypeFn(PD_INFER_DTYPE(norm::types));           \
  PD_BUILD_GRAD_OP(name).Inputs({"X", "Scale", "Bias", "BatchMean", "BatchInverse", GRAD("Y")})              \
      .Outputs({__VA_ARGS__}).Attrs(NORM_ATTRIBUTES).SetKernelFn(PD_KERNEL(norm::backward<wanted>))          \
      .SetInferShapeFn(PD_INFER_SHAPE(norm::grad_shapes<wanted>))                                            \
      .SetInferDtypeFn(PD_INFER_DTYPE(norm::grad_types<wanted>))

NORM(gan_norm, 7, GRAD("X"), GRAD("Scale"), GRAD("Bias"));
NORM(gan_norm_x, 1, GRAD("X"));

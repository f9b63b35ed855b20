// Dense layers: y = x w + bias, for x [n, inputs] and w [inputs, outputs]. `gan_dense` multiplies in bfloat16, with
// float32 sums. `gan_bias` adds the bias to Paddle's float32 product; its bits are those of Paddle's own sum.
#include "direct.h"

namespace dense {

// c [rows, columns] = a [rows, inner] b [inner, columns], where a or b may be stored transposed
struct Product {
  Handle primitive, scratchpad = nullptr, memory[3], rounded[2], reorder[2];
  size_t bytes[2], scratchpad_bytes;

  Product(int64_t rows, int64_t inner, int64_t columns, bool a_turned, bool b_turned) {
    const Dims sizes[3] = {{rows, inner}, {inner, columns}, {rows, columns}};
    const bool turned[2] = {a_turned, b_turned};
    Handle wanted[2], attr, desc, result;
    for (int i = 0; i < 2; ++i) check(dnnl_memory_desc_create_with_tag(&wanted[i], 2, sizes[i], BF16, ANY));
    const Dims lines{columns, 1};
    check(dnnl_memory_desc_create_with_strides(&result, 2, sizes[2], F32, lines));
    check(dnnl_memory_create(&memory[2], result, engine(), nullptr));
    check(dnnl_primitive_attr_create(&attr));
    check(dnnl_primitive_attr_set_scratchpad_mode(attr, SCRATCHPAD_MODE_USER));
    check(dnnl_matmul_primitive_desc_create(&desc, engine(), wanted[0], wanted[1], nullptr, result, attr));
    check(dnnl_primitive_create(&primitive, desc));
    Handle scratch = dnnl_primitive_desc_query_md(desc, QUERY_SCRATCHPAD, 0);
    scratchpad_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    if (scratchpad_bytes) check(dnnl_memory_create(&scratchpad, scratch, engine(), nullptr));
    for (int i = 0; i < 2; ++i) {
      const Dims strides{turned[i] ? 1 : sizes[i][1], turned[i] ? sizes[i][0] : 1};
      Handle plain, move, blocked = dnnl_primitive_desc_query_md(desc, i ? QUERY_WEIGHTS : QUERY_SRC, 0);
      check(dnnl_memory_desc_create_with_strides(&plain, 2, sizes[i], F32, strides));
      check(dnnl_memory_create(&memory[i], plain, engine(), nullptr));
      check(dnnl_memory_create(&rounded[i], blocked, engine(), nullptr));
      bytes[i] = dnnl_memory_desc_get_size(blocked);
      check(dnnl_reorder_primitive_desc_create(&move, plain, engine(), blocked, engine(), nullptr));
      check(dnnl_primitive_create(&reorder[i], move));
    }
  }

  void run(const float *a, const float *b, float *c) {
    const float *in[3] = {a, b, c};
    for (int i = 0; i < 3; ++i) check(dnnl_memory_set_data_handle(memory[i], const_cast<float *>(in[i])));
    for (int i = 0; i < 2; ++i) {
      check(dnnl_memory_set_data_handle(rounded[i], buffer(i, bytes[i])));
      Plan::execute(reorder[i], {{SRC, memory[i]}, {DST, rounded[i]}});
    }
    std::vector<Argument> arguments{{SRC, rounded[0]}, {WEIGHTS, rounded[1]}, {DST, memory[2]}};
    if (scratchpad) {
      check(dnnl_memory_set_data_handle(scratchpad, buffer(3, scratchpad_bytes)));
      arguments.push_back({SCRATCHPAD, scratchpad});
    }
    Plan::execute(primitive, arguments);
  }
};

static void multiply(int arithmetic, int64_t rows, int64_t inner, int64_t columns, const float *a, bool a_turned,
                     const float *b, bool b_turned, float *c) {
  if (arithmetic == EMULATED) {
    sgemm(a_turned ? 'T' : 'N', b_turned ? 'T' : 'N', rows, columns, inner, rounded(4, a, rows * inner),
          a_turned ? rows : inner, rounded(5, b, inner * columns), b_turned ? inner : columns, 0, c, columns);
    return;
  }
  static auto &products = *new std::map<std::array<int64_t, 5>, std::unique_ptr<Product>>;
  auto &found = products[{rows, inner, columns, a_turned, b_turned}];
  if (!found) found.reset(new Product(rows, inner, columns, a_turned, b_turned));
  found->run(a, b, c);
}

// to [n, outputs] = from + bias; `from` and `to` may be one array
static void plus(const float *from, const float *bias, float *to, int64_t n, int64_t outputs) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; ++i) {
#pragma omp simd
    for (int64_t j = 0; j < outputs; ++j) to[i * outputs + j] = from[i * outputs + j] + bias[j];
  }
}

static std::vector<Tensor> forward(const Tensor &x, const Tensor &w, const Tensor &bias, int arithmetic) {
  const int64_t n = x.shape()[0], inputs = w.shape()[0], outputs = w.shape()[1];
  Tensor y = empty({n, outputs});
  std::lock_guard<std::mutex> lock(mutex);
  multiply(arithmetic, n, inputs, outputs, data(x), false, data(w), false, y.data<float>());
  plus(y.data<float>(), data(bias), y.data<float>(), n, outputs);
  return {y};
}

template <int wanted>
static std::vector<Tensor> backward(const Tensor &x, const Tensor &w, const Tensor &bias, const Tensor &dy,
                                    int arithmetic) {
  const int64_t n = x.shape()[0], inputs = w.shape()[0], outputs = w.shape()[1];
  Tensor dx, dw, db;
  std::lock_guard<std::mutex> lock(mutex);
  if (wanted & 1) {
    dx = empty(x.shape());
    multiply(arithmetic, n, outputs, inputs, data(dy), false, data(w), true, dx.data<float>());
  }
  if (wanted & 2) {
    dw = empty(w.shape());
    multiply(arithmetic, inputs, n, outputs, data(x), true, data(dy), false, dw.data<float>());
  }
  if (wanted & 4) {
    db = empty(bias.shape());
    sum_channels(data(dy), db.data<float>(), n, outputs, 1);
  }
  return choose<wanted, Tensor>({dx, dw, db});
}

// y = x + bias
static std::vector<Tensor> add(const Tensor &x, const Tensor &bias) {
  const int64_t n = x.shape()[0], outputs = x.shape()[1];
  Tensor y = empty({n, outputs});
  plus(data(x), data(bias), y.data<float>(), n, outputs);
  return {y};
}

// The gradient of x is a copy of dy; that of the bias, if it is wanted, the sum of dy's rows, one after the other.
template <int wanted>
static std::vector<Tensor> add_grad(const Tensor &bias, const Tensor &dy) {
  const int64_t n = dy.shape()[0], outputs = dy.shape()[1], run = 64;
  Tensor dx = empty({n, outputs}), db = empty(bias.shape());
  const float *from = data(dy);
  float *copy = dx.data<float>(), *sums = db.data<float>();
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < outputs; first += run) {  // a thread takes neighbouring columns
    const int64_t end = std::min(first + run, outputs);
    if (wanted & 2) std::fill(sums + first, sums + end, 0.f);
    for (int64_t i = 0; i < n; ++i) {
#pragma omp simd
      for (int64_t j = first; j < end; ++j) {
        copy[i * outputs + j] = from[i * outputs + j];
        if (wanted & 2) sums[j] += from[i * outputs + j];
      }
    }
  }
  return choose<wanted, Tensor>({dx, db});
}

static std::vector<Shape> shape(const Shape &x, const Shape &w, const Shape &, int) { return {{x[0], w[1]}}; }
static std::vector<Type> type(Type x, Type, Type) { return {x}; }
template <int wanted>
static std::vector<Shape> grad_shape(const Shape &x, const Shape &w, const Shape &bias, const Shape &, int) {
  return choose<wanted, Shape>({x, w, bias});
}
template <int wanted>
static std::vector<Type> grad_type(Type x, Type w, Type bias, Type) {
  return choose<wanted, Type>({x, w, bias});
}
static std::vector<Shape> add_shape(const Shape &x, const Shape &) { return {x}; }
static std::vector<Type> add_type(Type x, Type) { return {x}; }
template <int wanted>
static std::vector<Shape> add_grad_shape(const Shape &bias, const Shape &dy) {
  return choose<wanted, Shape>({dy, bias});
}
template <int wanted>
static std::vector<Type> add_grad_type(Type bias, Type dy) { return choose<wanted, Type>({dy, bias}); }

}  // namespace dense

#define DENSE(name, wanted, ...)                                                                                 \
  PD_BUILD_OP(name).Inputs({"X", "W", "B"}).Outputs({"Y"}).Attrs({"arithmetic: int"})                            \
      .SetKernelFn(PD_KERNEL(dense::forward)).SetInferShapeFn(PD_INFER_SHAPE(dense::shape))                      \
      .SetInferDtypeFn(PD_INFER_DTYPE(dense::type));                                                             \
  PD_BUILD_GRAD_OP(name).Inputs({"X", "W", "B", GRAD("Y")}).Outputs({__VA_ARGS__}).Attrs({"arithmetic: int"})    \
      .SetKernelFn(PD_KERNEL(dense::backward<wanted>))                                                           \
      .SetInferShapeFn(PD_INFER_SHAPE(dense::grad_shape<wanted>))                                                \
      .SetInferDtypeFn(PD_INFER_DTYPE(dense::grad_type<wanted>))

DENSE(gan_dense, 7, GRAD("X"), GRAD("W"), GRAD("B"));
DENSE(gan_dense_x, 1, GRAD("X"));
DENSE(gan_dense_w, 6, GRAD("W"), GRAD("B"));

#define BIAS(name, wanted, ...)                                                                                  \
  PD_BUILD_OP(name).Inputs({"X", "B"}).Outputs({"Y"}).SetKernelFn(PD_KERNEL(dense::add))                         \
      .SetInferShapeFn(PD_INFER_SHAPE(dense::add_shape)).SetInferDtypeFn(PD_INFER_DTYPE(dense::add_type));       \
  PD_BUILD_GRAD_OP(name).Inputs({"B", GRAD("Y")}).Outputs({__VA_ARGS__})                                         \
      .SetKernelFn(PD_KERNEL(dense::add_grad<wanted>))                                                           \
      .SetInferShapeFn(PD_INFER_SHAPE(dense::add_grad_shape<wanted>))                                            \
      .SetInferDtypeFn(PD_INFER_DTYPE(dense::add_grad_type<wanted>))

BIAS(gan_bias, 3, GRAD("X"), GRAD("B"));
BIAS(gan_bias_x, 1, GRAD("X"));

// Leaky ReLU alone, and dropout by a mask from outside: element by element, on all threads.
#include "shared.h"

namespace activation {

template <class Make>
static void each(int64_t count, Make make) {
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < count; ++i) make(i);
}

// slope 0 is ReLU
static std::vector<Tensor> leaky_relu(const Tensor &x, float slope) {
  Tensor y = empty(x.shape());
  const float *from = data(x);
  float *to = y.data<float>();
  each(x.numel(), [=](int64_t i) { to[i] = from[i] > 0 ? from[i] : from[i] * slope; });
  return {y};
}

static std::vector<Tensor> leaky_relu_grad(const Tensor &y, const Tensor &dy, float slope) {
  Tensor dx = empty(y.shape());
  const float *result = data(y), *from = data(dy);
  float *to = dx.data<float>();
  each(y.numel(), [=](int64_t i) { to[i] = passes(result[i], slope) ? from[i] : from[i] * slope; });
  return {dx};
}

static std::vector<Shape> shape(const Shape &x, float) { return {x}; }
static std::vector<Type> type(Type x) { return {x}; }
static std::vector<Shape> grad_shape(const Shape &x, const Shape &, float) { return {x}; }
static std::vector<Type> grad_type(Type x, Type) { return {x}; }

// x times a mask of small whole numbers
static std::vector<Tensor> mask(const Tensor &x, const Tensor &mask) {
  PD_CHECK(mask.dtype() == Type::UINT8 && mask.numel() == x.numel(), "the mask wants uint8 and the shape of x");
  Tensor y = empty(x.shape());
  const float *from = data(x);
  const uint8_t *by = mask.data<uint8_t>();
  float *to = y.data<float>();
  each(x.numel(), [=](int64_t i) { to[i] = from[i] * by[i]; });
  return {y};
}

static std::vector<Tensor> mask_grad(const Tensor &by, const Tensor &dy) { return mask(dy, by); }
static std::vector<Shape> mask_shape(const Shape &x, const Shape &) { return {x}; }
static std::vector<Type> mask_type(Type x, Type) { return {x}; }
static std::vector<Type> mask_grad_type(Type, Type dy) { return {dy}; }

}  // namespace activation

PD_BUILD_OP(gan_leaky_relu)
    .Inputs({"X"})
    .Outputs({"Y"})
    .Attrs({"slope: float"})
    .SetKernelFn(PD_KERNEL(activation::leaky_relu))
    .SetInferShapeFn(PD_INFER_SHAPE(activation::shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(activation::type));
PD_BUILD_GRAD_OP(gan_leaky_relu)
    .Inputs({"Y", GRAD("Y")})
    .Outputs({GRAD("X")})
    .Attrs({"slope: float"})
    .SetKernelFn(PD_KERNEL(activation::leaky_relu_grad))
    .SetInferShapeFn(PD_INFER_SHAPE(activation::grad_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(activation::grad_type));

PD_BUILD_OP(gan_mask)
    .Inputs({"X", "Mask"})
    .Outputs({"Y"})
    .SetKernelFn(PD_KERNEL(activation::mask))
    .SetInferShapeFn(PD_INFER_SHAPE(activation::mask_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(activation::mask_type));
PD_BUILD_GRAD_OP(gan_mask)
    .Inputs({"Mask", GRAD("Y")})
    .Outputs({GRAD("X")})
    .SetKernelFn(PD_KERNEL(activation::mask_grad))
    .SetInferShapeFn(PD_INFER_SHAPE(activation::mask_shape))
    .SetInferDtypeFn(PD_INFER_DTYPE(activation::mask_grad_type));

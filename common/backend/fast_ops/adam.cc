// One step of Adam for one weight: in one pass over its memory, on all threads.
#include "shared.h"

namespace adam {

// Attributes: beta1, beta2, epsilon, and whether epsilon is corrected for the bias of the second moment: 1 as in
// Paddle, 0 as in fluid and TensorFlow 1. The powers are beta1^t and beta2^t of this step; they are updated for the
// next step.
static void step(Tensor &weight, const Tensor &gradient, const Tensor &rate, Tensor &moment1, Tensor &moment2,
                 Tensor &power1, Tensor &power2, float beta1, float beta2, float epsilon, int corrected) {
  PD_CHECK(gradient.numel() == weight.numel(), "a weight of ", weight.numel(), " values has a gradient of ",
           gradient.numel());
  const float *g = data(gradient), root = std::sqrt(1 - *data(power2));
  float *w = weight.data<float>(), *m = moment1.data<float>(), *v = moment2.data<float>();
  const float lr = *data(rate) * root / (1 - *data(power1)), little = corrected ? epsilon * root : epsilon;
#pragma omp parallel for simd schedule(static)
  for (int64_t i = 0; i < weight.numel(); ++i) {
    m[i] = beta1 * m[i] + (1 - beta1) * g[i];
    v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
    w[i] -= lr * (m[i] / (std::sqrt(v[i]) + little));
  }
  *power1.data<float>() *= beta1;
  *power2.data<float>() *= beta2;
}

}  // namespace adam

PD_BUILD_OP(gan_adam)
    .Inputs({"Weight", "Gradient", "Rate", "Moment1", "Moment2", "Power1", "Power2"})
    .Outputs({"WeightOut", "Moment1Out", "Moment2Out", "Power1Out", "Power2Out"})
    .SetInplaceMap({{"Weight", "WeightOut"},
                    {"Moment1", "Moment1Out"},
                    {"Moment2", "Moment2Out"},
                    {"Power1", "Power1Out"},
                    {"Power2", "Power2Out"}})
    .Attrs({"beta1: float", "beta2: float", "epsilon: float", "corrected: int"})
    .SetKernelFn(PD_KERNEL(adam::step));

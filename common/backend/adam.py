"""Adam as fluid 1.x and TensorFlow 1 have it, for static programs."""

import paddle


class _FluidAdam(paddle.optimizer.Adam):
    """`fluid_adam`, on Paddle's own operator: it takes an epsilon of each step, which puts the bias back in."""

    def _create_accumulators(self, block, parameters):
        super()._create_accumulators(block, parameters)
        # beta2 ** t, kept with each parameter, and the same for all
        beta2_pow = self._get_accumulator_master(self._beta2_pow_acc_str, parameters[0])
        self._epsilon = self._default_dict["epsilon"] * (1.0 - beta2_pow) ** -0.5


def fluid_adam(learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Adam whose epsilon is not corrected for the bias of the second moment.

    At step t, from 1:

        lr_t = learning_rate * sqrt(1 - beta2 ** t) / (1 - beta1 ** t)
        w -= lr_t * m / (sqrt(v) + epsilon)

    Paddle 2 and 3 divide by ``sqrt(v) + epsilon * sqrt(1 - beta2 ** t)``. The difference shows in the first thousand
    steps, and for gradients near epsilon. State and names are those of ``paddle.optimizer.Adam``.

    Source: Kingma and Ba, https://arxiv.org/abs/1412.6980, the end of section 2.

    Returns:
        A ``paddle.optimizer.Optimizer`` for one static program.
    """
    return _FluidAdam(learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)

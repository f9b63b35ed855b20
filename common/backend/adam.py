"""Two kinds of Adam, both fast on a CPU: that of fluid 1.x and TensorFlow 1, for static programs, and Paddle's own."""

import paddle

from common.backend import fast


class Adam(paddle.optimizer.Adam):
    """``paddle.optimizer.Adam``; on a CPU a step is one pass over memory, on all threads."""

    _corrected = True

    def _append_optimize_op(self, block, param_and_grad):
        if isinstance(param_and_grad, dict) or getattr(self, "_amsgrad", False) or not fast.usable(param_and_grad[0]):
            return super()._append_optimize_op(block, param_and_grad)
        weight, gradient = param_and_grad
        state = [self._get_accumulator_master(name, weight) for name in (
            self._moment1_acc_str, self._moment2_acc_str, self._beta1_pow_acc_str, self._beta2_pow_acc_str)]
        fast.adam(weight, gradient, self._create_param_lr(param_and_grad), state[:2], state[2:], self._beta1,
                  self._beta2, self._default_dict["epsilon"], self._corrected)
        return None


class _FluidAdam(Adam):
    """`fluid_adam`. Paddle's own operator gets another epsilon at each step, which undoes its correction of epsilon."""

    _corrected = False

    def _create_accumulators(self, block, parameters):
        super()._create_accumulators(block, parameters)
        if fast.usable(parameters[0]):
            return
        # beta2 ** t: Paddle keeps it with each parameter, but it is the same for all parameters
        beta2_pow = self._get_accumulator_master(self._beta2_pow_acc_str, parameters[0])
        self._epsilon = self._default_dict["epsilon"] * (1.0 - beta2_pow) ** -0.5


def fluid_adam(learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Adam whose epsilon is not corrected for the bias of the second moment.

    At step t, from 1:

        lr_t = learning_rate * sqrt(1 - beta2 ** t) / (1 - beta1 ** t)
        w -= lr_t * m / (sqrt(v) + epsilon)

    Paddle 2 and 3 divide by ``sqrt(v) + epsilon * sqrt(1 - beta2 ** t)``. The difference shows only in about the first
    thousand steps, and only where gradients are near epsilon. State and names are those of ``paddle.optimizer.Adam``.

    Source: Kingma and Ba, https://arxiv.org/abs/1412.6980, the end of section 2.

    Returns:
        A ``paddle.optimizer.Optimizer`` for one static program.
    """
    return _FluidAdam(learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)

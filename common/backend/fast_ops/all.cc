// Paddle's layers for training on a CPU, as custom operators.
//
// Paddle's own CPU kernels unfold one sample at a time for a matrix product, and add the bias, normalise, activate
// and pool on one thread. The oneDNN library inside Paddle's wheel convolves directly, on all threads, near the
// limit of the processor; these operators call it. The mathematics is Paddle's, only the order of the sums differs.
//
// Nothing depends on time or on the order in which threads finish: the same input and the same number of
// threads give the same bits. common/backend/fast.py builds, loads and calls this file: it is compiled as one.
#include "convolution.cc"
#include "dense.cc"
#include "norm.cc"
#include "pool.cc"
#include "activation.cc"
#include "adam.cc"

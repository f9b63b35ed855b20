// oneDNN's C interface, version 3. The wheel holds the library but not these declarations.
#pragma once
#include <signal.h>

#include "shared.h"

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
int dnnl_matmul_primitive_desc_create(Handle *, Handle engine, Handle a, Handle b, Handle bias, Handle c, Handle attr);
int dnnl_sgemm(char trans_a, char trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
               const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
}
enum { CPU = 1, BF16 = 2, F32 = 3, ANY = 1, FORWARD_TRAINING = 64, DIRECT = 1, SCRATCHPAD_MODE_USER = 1, IN_ORDER = 1 };
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

// A stack of this thread's own for the handlers of signals, unless it has one. Python's handlers take it (SA_ONSTACK).
struct SignalStack {
  std::unique_ptr<char[]> memory;
  SignalStack() {
    stack_t stack;
    if (sigaltstack(nullptr, &stack) != 0 || !(stack.ss_flags & SS_DISABLE)) return;
    stack.ss_size = 1 << 16;  // a handler's frame has 12 KB where there is AMX
    stack.ss_flags = 0;
    memory.reset(new char[stack.ss_size]);
    stack.ss_sp = memory.get();
    sigaltstack(&stack, nullptr);
  }
  ~SignalStack() {
    stack_t stack{};
    stack.ss_flags = SS_DISABLE;
    if (memory) sigaltstack(&stack, nullptr);
  }
};

// oneDNN's sgemm, made safe from signals: it points the stack pointer into its working memory, and the kernel writes a
// handler's frame below the stack pointer, over whatever lies in the heap there.
static void sgemm(char trans_a, char trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                  const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  thread_local SignalStack stack;
  check(dnnl_sgemm(trans_a, trans_b, m, n, k, 1, a, lda, b, ldb, beta, c, ldc));
}

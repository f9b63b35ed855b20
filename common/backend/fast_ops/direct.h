// Convolution by oneDNN, in the blocked layouts that it chooses. Tensors are reordered on the way in and out. In BF16
// arithmetic both inputs are rounded to bfloat16 while they are reordered; products and sums are float32.
#pragma once
#include "geometry.h"
#include "onednn.h"

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
    const int type = g.arithmetic == IN_BF16 ? BF16 : F32;
    check(dnnl_memory_desc_create_with_tag(&any_x, 4, x, kind == BACKWARD_DATA ? F32 : type, ANY));
    check(dnnl_memory_desc_create_with_tag(&any_w, 4, w, kind == BACKWARD_WEIGHTS ? F32 : type, ANY));
    check(dnnl_memory_desc_create_with_tag(&any_y, 4, y, kind <= CONVOLVE_BIAS ? F32 : type, ANY));
    Handle hint_x = any_x, hint_w = any_w, hint_y = any_y;  // a backward pass needs the forward pass's layouts
    if (kind == BACKWARD_DATA) check(dnnl_memory_desc_create_with_tag(&hint_x, 4, x, type, ANY));
    if (kind == BACKWARD_WEIGHTS) check(dnnl_memory_desc_create_with_tag(&hint_w, 4, w, type, ANY));
    if (kind == CONVOLVE_BIAS) {
      check(dnnl_memory_desc_create_with_strides(&bias_desc, 1, b, F32, one));
      check(dnnl_memory_create(&bias, bias_desc, engine(), nullptr));
    }
    check(dnnl_primitive_attr_create(&attr));
    check(dnnl_primitive_attr_set_scratchpad_mode(attr, SCRATCHPAD_MODE_USER));
    check(dnnl_convolution_forward_primitive_desc_create(&forward, engine(), FORWARD_TRAINING, DIRECT, hint_x, hint_w,
                                                         bias_desc, hint_y, strides, dilates, pad_l, pad_r, attr));
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
  static auto &plans = *new std::map<std::pair<int, std::array<int64_t, 14>>, std::unique_ptr<Plan>>;
  auto &found = plans[{kind, g.key()}];
  if (!found) found.reset(new Plan(kind, g));
  return *found;
}

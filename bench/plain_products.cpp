#include "plain_products.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace diffulex_bench {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

// The bits of 2^-7 times something in bf16; of 60 and 18 in int8.
void fill(dnnl::memory& memory, Type type) {
  const size_t bytes = memory.get_desc().get_size();
  if (type == Type::bf16) {
    std::fill_n(static_cast<uint16_t*>(memory.get_data_handle()), bytes / 2, uint16_t{0x3C12});
    return;
  }
  auto* const data = static_cast<uint8_t*>(memory.get_data_handle());
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<uint8_t>(i * 37 % 101);
}

}  // namespace

dnnl::memory plain_input(const dnnl::engine& engine, PlainTypes types, int rows, int cols) {
  dnnl::memory x({{rows, cols}, types.x, Tag::ab}, engine);
  fill(x, types.x);
  return x;
}

void PlainProduct::run(dnnl::stream& stream, int rows, dnnl::memory& x, dnnl::memory& y) {
  if (rows != rows_) prepare(rows);
  product_.execute(stream, {{DNNL_ARG_SRC, dnnl::memory(x_, engine_, x.get_data_handle())},
                            {DNNL_ARG_WEIGHTS, weights_},
                            {DNNL_ARG_DST, dnnl::memory(y_, engine_, y.get_data_handle())}});
}

void PlainProduct::prepare(int rows) {
  x_ = {{rows, k_}, types_.x, Tag::ab};
  y_ = {{rows, n_}, Type::f32, Tag::ab};
  const dnnl::memory::desc wish =
      weights_ ? weights_.get_desc() : dnnl::memory::desc({k_, n_}, types_.weights, Tag::any);
  const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(x_, wish, y_), engine_);
  product_ = dnnl::matmul(pd);
  rows_ = rows;
  if (weights_) return;
  weights_ = dnnl::memory(pd.weights_desc(), engine_);
  fill(weights_, types_.weights);
}

PlainForward::PlainForward(const ModelShape& s, PlainTypes types, int max_rows)
    : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
  const int q = s.query_size(), kv = s.kv_size();
  for (int i = 0; i < s.layers; ++i) {
    products_.emplace_back(engine_, types, q + 2 * kv, s.hidden);
    products_.emplace_back(engine_, types, s.hidden, q);
    products_.emplace_back(engine_, types, 2 * s.mlp, s.hidden);
    products_.emplace_back(engine_, types, s.hidden, s.mlp);
  }
  products_.emplace_back(engine_, types, s.vocabulary, s.hidden);
  x_ = plain_input(engine_, types, max_rows, std::max({s.hidden, s.mlp, q}));
  y_ = dnnl::memory({{max_rows, std::max(s.vocabulary, 2 * s.mlp)}, Type::f32, Tag::ab}, engine_);
  std::memset(y_.get_data_handle(), 0, y_.get_desc().get_size());
}

void PlainForward::run(int rows) {
  for (PlainProduct& p : products_) p.run(stream_, rows, x_, y_);
  stream_.wait();
}

double PlainForward::operations(int rows) const {
  double sum = 0;
  for (const PlainProduct& p : products_) sum += p.operations(rows);
  return sum;
}

}  // namespace diffulex_bench

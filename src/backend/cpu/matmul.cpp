#include "backend/cpu/matmul.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/convert.h"
#include "base/error.h"

namespace diffulex::cpu {
namespace {

using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

Type type_of(DType dtype) { return dtype == DType::kBF16 ? Type::bf16 : Type::f32; }

}  // namespace

Matmul::Matmul(DType dtype, int members) : dtype_(dtype), engine_(dnnl::engine::kind::cpu, 0), scratch_(static_cast<size_t>(members)) {
  for (int i = 0; i < members; ++i) streams_.emplace_back(engine_);
}

dnnl::matmul::primitive_desc Matmul::describe(int rows, int n, int k, int dst_stride, Write write,
                                              const dnnl::memory::desc& weights) const {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (write == Write::kAdd) {
    dnnl::post_ops post;
    post.append_sum(1.0f);
    attr.set_post_ops(post);
  }
  const dnnl::memory::desc src({rows, k}, type_of(dtype_), Tag::ab);
  const dnnl::memory::desc dst({rows, n}, Type::f32, dnnl::memory::dims{dst_stride, 1});
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(src, weights, dst), attr, engine_);
}

void Matmul::append_tile(PackedMatrix& matrix, const std::vector<RowRange>& rows) {
  int64_t n = 0;
  const int64_t k = rows.front().view->cols;
  for (const RowRange& range : rows) n += range.count;
  Buffer<unsigned char> stacked(static_cast<size_t>(n * k) * size_of(dtype_));
  unsigned char* at = stacked.data();
  for (const RowRange& range : rows) {
    const size_t values = static_cast<size_t>(range.count * k);
    const std::byte* from = range.view->data + static_cast<size_t>(range.first * k) * size_of(range.view->dtype);
    convert(from, range.view->dtype, at, dtype_, values);
    at += values * size_of(dtype_);
  }
  const auto width = static_cast<int>(n), depth = static_cast<int>(k);
  const dnnl::memory::desc any({k, n}, type_of(dtype_), Tag::any);
  // The packed layout depends on n and k only, so any number of rows finds it.
  const auto pd = describe(32, width, depth, width, Write::kStore, any);
  dnnl::memory packed(pd.weights_desc(), engine_);
  const dnnl::memory plain({{k, n}, type_of(dtype_), Tag::ba}, engine_, stacked.data());
  dnnl::reorder(plain, packed).execute(streams_.front(), const_cast<dnnl::memory&>(plain), packed);
  streams_.front().wait();
  matrix.tile_n = std::max(matrix.tile_n, width);
  matrix.n += width;
  matrix.k = depth;
  matrix.tiles.push_back(std::move(packed));
}

void Matmul::prepare(const PackedMatrix& matrix, int rows, int dst_stride, Write write) {
  for (const int tile : {0, matrix.tile_count() - 1}) {
    const int n = matrix.tile_width(tile);
    const Key key{rows, n, matrix.k, dst_stride, write};
    if (products_.count(key) != 0) continue;
    const auto pd = describe(rows, n, matrix.k, dst_stride, write, matrix.tiles[static_cast<size_t>(tile)].get_desc());
    Product product{dnnl::matmul(pd), {}};
    const size_t bytes = pd.scratchpad_desc().get_size();
    if (bytes > scratch_bytes_) {
      scratch_bytes_ = bytes;
      for (auto& scratch : scratch_) scratch = Buffer<unsigned char>(bytes);
      for (auto& [other, known] : products_)
        for (size_t m = 0; m < known.members.size(); ++m) known.members[m].scratchpad.set_data_handle(scratch_[m].data());
    }
    for (size_t m = 0; m < streams_.size(); ++m)
      product.members.push_back({dnnl::memory(pd.src_desc(), engine_, nullptr), dnnl::memory(pd.dst_desc(), engine_, nullptr),
                                 dnnl::memory(pd.scratchpad_desc(), engine_, scratch_[m].data())});
    products_.emplace(key, std::move(product));
  }
}

bool Matmul::multiply(int member, const PackedMatrix& matrix, int tile, const void* src, int rows, float* dst, int dst_stride,
                      Write write) const {
  const auto at = products_.find(Key{rows, matrix.tile_width(tile), matrix.k, dst_stride, write});
  if (at == products_.end()) return false;
  const auto& [src_memory, dst_memory, scratchpad] = at->second.members[static_cast<size_t>(member)];
  if (dnnl_memory_set_data_handle(src_memory.get(), const_cast<void*>(src)) != dnnl_success) return false;
  if (dnnl_memory_set_data_handle(dst_memory.get(), dst) != dnnl_success) return false;
  const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, src_memory.get()},
                                       {DNNL_ARG_WEIGHTS, matrix.tiles[static_cast<size_t>(tile)].get()},
                                       {DNNL_ARG_DST, dst_memory.get()},
                                       {DNNL_ARG_SCRATCHPAD, scratchpad.get()}};
  return dnnl_primitive_execute(at->second.primitive.get(), streams_[static_cast<size_t>(member)].get(), 4, arguments) == dnnl_success;
}

}  // namespace diffulex::cpu

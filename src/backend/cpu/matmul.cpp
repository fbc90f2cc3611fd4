#include "backend/cpu/matmul.h"

#include <dnnl.h>

#include "backend/cpu/team.h"
#include "base/error.h"

namespace diffulex::cpu {

using dnnl::memory;

Matmul::Matmul(DType dtype, int members) : dtype_(dtype), engine_(dnnl::engine::kind::cpu, 0) {
  for (int i = 0; i < members; ++i) streams_.emplace_back(engine_);
  scratch_.resize(static_cast<size_t>(members));
}

uint64_t Matmul::scratch_bytes() const {
  uint64_t sum = 0;
  for (const Buffer& b : scratch_) sum += b.bytes();
  return sum;
}

std::string Matmul::name() const {
  if (dtype_ == DType::kI8) return std::string("int8 ") + int8_.name;
  const dnnl_version_t* const v = dnnl_version();
  return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
         std::to_string(v->patch) + " " + std::string(name_of(dtype_));
}

void Matmul::prepare(const PackedMatrix& w, int64_t rows, bool accumulate) {
  if (dtype_ == DType::kI8) return;
  const int64_t rest = round_up(rows % kRowChunk, kRowBucket);
  for (const int64_t chunk : {rows >= kRowChunk ? kRowChunk : 0, rest}) {
    if (chunk == 0) continue;
    prepare_tile(w, false, chunk, accumulate);
    prepare_tile(w, true, chunk, accumulate);
  }
}

void Matmul::prepare_tile(const PackedMatrix& w, bool last, int64_t rows, bool accumulate) {
  const int64_t width = w.width(last ? w.tiles() - 1 : 0), cols = w.cols();
  const Key key{rows, width, cols, accumulate};
  if (kernels_.contains(key)) return;

  // Some kernels keep the number of threads that there are when they are made, and would start as
  // many inside of every member.
  const SingleThreadedOpenMp single;
  const memory::data_type type =
      dtype_ == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
  const memory::desc x({rows, cols}, type, memory::dims{cols, 1});
  const memory::desc y({rows, width}, memory::data_type::f32, memory::dims{width, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attributes.set_post_ops(ops);
  }
  const dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(x, w.desc(last), y), attributes,
                                        engine_);
  const memory::desc scratch = pd.scratchpad_desc();
  Kernel kernel{dnnl::matmul(pd), {}};
  for (Buffer& buffer : scratch_) {
    if (buffer.bytes() < scratch.get_size()) {
      buffer = Buffer(scratch.get_size());
      const size_t member = static_cast<size_t>(&buffer - scratch_.data());
      for (auto& [other, made] : kernels_)
        made.members[member].scratch.set_data_handle(buffer.as());
    }
    kernel.members.push_back({memory(x, engine_, nullptr), memory(y, engine_, nullptr),
                              memory(scratch, engine_, buffer.as())});
  }
  kernels_.emplace(key, std::move(kernel));
}

void Matmul::run(int member, const PackedMatrix& w, int64_t t, int64_t rows, bool accumulate,
                 const void* x, float* y) {
  if (dtype_ == DType::kI8) {
    run_int8(w, t, rows, accumulate, x, y);
    return;
  }
  const auto found = kernels_.find(Key{rows, w.width(t), w.cols(), accumulate});
  if (found == kernels_.end()) {
    failed_.store(true, std::memory_order_relaxed);
    return;
  }
  Kernel& kernel = found->second;
  Member& m = kernel.members[static_cast<size_t>(member)];
  dnnl_status_t status = dnnl_memory_set_data_handle(m.x.get(), const_cast<void*>(x));
  if (status == dnnl_success) status = dnnl_memory_set_data_handle(m.y.get(), y);
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, m.x.get()},
                                  {DNNL_ARG_WEIGHTS, w.memory(t).get()},
                                  {DNNL_ARG_DST, m.y.get()},
                                  {DNNL_ARG_SCRATCHPAD, m.scratch.get()}};
  if (status == dnnl_success)
    status = dnnl_primitive_execute(kernel.primitive.get(),
                                    streams_[static_cast<size_t>(member)].get(), 4, args);
  if (status != dnnl_success) failed_.store(true, std::memory_order_relaxed);
}

void Matmul::run_int8(const PackedMatrix& w, int64_t t, int64_t rows, bool accumulate,
                      const void* x, float* y) const {
  Int8Product p;
  p.x = static_cast<const std::byte*>(x);
  p.x_stride = int8_row_bytes(w.cols());
  p.rows = rows;
  p.weights = w.panels(t);
  p.scales = w.scales(t);
  p.depth = int8_depth(w.cols());
  p.width = w.width(t);
  const auto members = static_cast<int64_t>(streams_.size());  // take the tiles in turn
  if (t + members < w.tiles()) p.next = w.panels(t + members);
  p.accumulate = accumulate;
  p.y = y;
  int8_.multiply(p);
}

}  // namespace diffulex::cpu

// A step of random requests for the attention kernels: laid out in pages and flight rows as asked,
// run, and read back. What was never written holds NaN.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "cuda/kernels/attention.h"
#include "oracle/attention.h"

namespace diffulex_gpu {

using diffulex::DType;
using diffulex_oracle::Rule;

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    check(cudaMalloc(&data_, std::max<size_t>(1, count) * sizeof(T)), "cudaMalloc");
  }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    check(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice), "up");
  }
  DeviceArray(DeviceArray&& other) noexcept : data_(other.data_), count_(other.count_) {
    other.data_ = nullptr;
  }
  DeviceArray& operator=(DeviceArray&&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  T* get() const { return data_; }
  size_t size() const { return count_; }
  std::vector<T> down() const {
    std::vector<T> host(count_);
    check(cudaMemcpy(host.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "down");
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

inline uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float from_bf16(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// Elements of one type on the host, NaN until set.
class Elements {
 public:
  Elements(size_t count, DType type)
      : type_(type), bytes_(count * diffulex::size_of(type), uint8_t{0xff}) {}
  explicit Elements(std::vector<uint8_t> bytes, DType type)
      : type_(type), bytes_(std::move(bytes)) {}
  void set(size_t i, float x) {
    const uint16_t h = to_bf16(x);
    if (type_ == DType::kF32)
      std::memcpy(bytes_.data() + i * 4, &x, 4);
    else
      std::memcpy(bytes_.data() + i * 2, &h, 2);
  }
  float get(size_t i) const {
    float x;
    uint16_t h;
    if (type_ == DType::kF32) return std::memcpy(&x, bytes_.data() + i * 4, 4), x;
    return std::memcpy(&h, bytes_.data() + i * 2, 2), from_bf16(h);
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  DType type_;
  std::vector<uint8_t> bytes_;
};

struct Request {
  Rule rule;  // its window is the batch's
  int context, tokens;
  uint64_t seed;
};

struct Batch {
  DType dtype;
  int heads, kv_heads, dim, page_size, window;
  std::vector<Request> requests;
  uint64_t seed;  // of the layout
};

enum What { kKey, kValue, kQuery };

// Uniform with variance 1. Depends on the position only, so that one request can be laid out in
// many ways.
inline float sample(uint64_t seed, What what, int head, int position, int d) {
  uint64_t x = seed * 0x9E3779B97F4A7C15u + static_cast<uint64_t>(what) * 0xD1B54A32D192ED03u;
  x ^= static_cast<uint64_t>(position) << 32 | static_cast<uint64_t>(head) << 16 |
       static_cast<uint64_t>(d);
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  x ^= x >> 31;
  return (static_cast<float>(x >> 40) / 8388608.0f - 1.0f) * 1.7320508f;
}

inline float rounded(float x, DType type) {
  return type == DType::kF32 ? x : from_bf16(to_bf16(x));
}

// Rows of every request in the step; unused rows are in between.
inline int first_row(const Batch& b, size_t request) {
  int row = 3;
  for (size_t i = 0; i < request; ++i) row += b.requests[i].tokens + static_cast<int>(i) % 3;
  return row;
}

inline bool written(const Request& r, int position) {
  return !(r.rule.hole && position < r.context && position >= r.rule.prompt &&
           position < r.rule.padded);
}

inline diffulex::RequestRow request_row(const Request& r, int slot, int first) {
  diffulex::RequestRow row{};
  row.slot = static_cast<uint32_t>(slot);
  row.first_token = static_cast<uint32_t>(first);
  row.token_count = static_cast<uint32_t>(r.tokens);
  row.context_len = r.context;
  row.attention = {r.rule.mode, r.rule.g, r.rule.prompt, r.rule.padded, r.rule.hole ? 1 : 0};
  return row;
}

inline std::vector<diffulex::AttentionItem> items_of(const Batch& b) {
  std::vector<diffulex::AttentionItem> items;
  const int step = diffulex::cuda::attention_item_rows(b.heads, b.kv_heads);
  for (size_t r = 0; r < b.requests.size(); ++r)
    for (int first = 0; first < b.requests[r].tokens; first += step)
      items.push_back(
          {static_cast<int32_t>(r), first, std::min(step, b.requests[r].tokens - first)});
  return items;
}

// Everything of the batch on the host, in the layout of AttentionArgs.
struct Layout {
  explicit Layout(const Batch& b);
  int rows = 0, pages = 0, table_stride = 1;
  std::vector<int32_t> tables;
  std::vector<diffulex::RequestRow> requests;
  Elements page_keys, page_values, flight_keys, flight_values, queries;
};

inline int page_count(const Batch& b, const Request& r) {
  return (r.context + b.page_size - 1) / b.page_size;
}

inline Layout::Layout(const Batch& b)
    : page_keys(0, b.dtype),
      page_values(0, b.dtype),
      flight_keys(0, b.dtype),
      flight_values(0, b.dtype),
      queries(0, b.dtype) {
  std::mt19937_64 rng(b.seed);
  const int count = static_cast<int>(b.requests.size());
  for (const Request& r : b.requests) {
    pages += page_count(b, r);
    table_stride = std::max(table_stride, page_count(b, r));
  }
  pages += 2;
  rows = first_row(b, b.requests.size()) + 2;
  std::vector<int32_t> ids, slots;
  for (int i = 0; i < pages; ++i) ids.push_back(i);
  for (int i = 0; i < count + 2; ++i) slots.push_back(i);
  std::shuffle(ids.begin(), ids.end(), rng);
  std::shuffle(slots.begin(), slots.end(), rng);
  tables.assign(static_cast<size_t>((count + 2) * table_stride), 1 << 30);

  const auto kv = static_cast<size_t>(b.kv_heads), dim = static_cast<size_t>(b.dim);
  const auto page = static_cast<size_t>(b.page_size), all = static_cast<size_t>(rows);
  page_keys = Elements(static_cast<size_t>(pages) * kv * page * dim, b.dtype);
  flight_keys = Elements(kv * all * dim, b.dtype);
  page_values = page_keys, flight_values = flight_keys;
  queries = Elements(all * static_cast<size_t>(b.heads) * dim, b.dtype);
  size_t id = 0;
  for (int i = 0; i < count; ++i) {
    const Request& r = b.requests[static_cast<size_t>(i)];
    const int first = first_row(b, static_cast<size_t>(i)), slot = slots[static_cast<size_t>(i)];
    requests.push_back(request_row(r, slot, first));
    int32_t* const table = tables.data() + slot * table_stride;
    for (int p = 0; p < page_count(b, r); ++p) table[p] = ids[id++];
    for (int p = 0; p < r.context + r.tokens; ++p) {
      if (!written(r, p)) continue;
      for (int h = 0; h < b.kv_heads; ++h)
        for (int d = 0; d < b.dim; ++d) {
          const float k = sample(r.seed, kKey, h, p, d), v = sample(r.seed, kValue, h, p, d);
          const auto head = static_cast<size_t>(h), column = static_cast<size_t>(d);
          if (p < r.context) {
            const size_t line = static_cast<size_t>(table[p / b.page_size]) * kv + head;
            const size_t at = (line * page + static_cast<size_t>(p % b.page_size)) * dim + column;
            page_keys.set(at, k), page_values.set(at, v);
          } else {
            const size_t row = static_cast<size_t>(first + p - r.context);
            flight_keys.set((head * all + row) * dim + column, k);
            flight_values.set((head * all + row) * dim + column, v);
          }
        }
    }
    for (int t = 0; t < r.tokens; ++t)
      for (int h = 0; h < b.heads; ++h)
        for (int d = 0; d < b.dim; ++d)
          queries.set(static_cast<size_t>(((first + t) * b.heads + h) * b.dim + d),
                      sample(r.seed, kQuery, h, r.context + t, d));
  }
}

inline float scale_of(const Batch& b) { return 1.0f / std::sqrt(static_cast<float>(b.dim)); }

inline size_t workspace_bytes(const Batch& b, int items, int max_keys) {
  return diffulex::cuda::attention_workspace_bytes(b.dtype, b.heads, b.kv_heads, b.dim, items,
                                                   max_keys);
}

// Of a device whose warpgroups multiply, else 0.
inline int warpgroup_multiprocessors() {
  int major = 0, count = 0;
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "attribute");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0), "attribute");
  return major == 9 ? count : 0;
}

// Outputs of all rows of the step, NaN where the kernel did not write. by_warpgroups: which kernel
// that was.
inline Elements run(const Batch& b, int multiprocessors = warpgroup_multiprocessors(),
                    bool* by_warpgroups = nullptr) {
  const Layout l(b);
  const std::vector<diffulex::AttentionItem> items = items_of(b);
  const DeviceArray<uint8_t> pk(l.page_keys.bytes()), pv(l.page_values.bytes()),
      fk(l.flight_keys.bytes()), fv(l.flight_values.bytes()), q(l.queries.bytes()),
      out(std::vector<uint8_t>(l.queries.bytes().size(), uint8_t{0xff}));
  const DeviceArray<int32_t> tables(l.tables);
  const DeviceArray<diffulex::RequestRow> requests(l.requests);
  const DeviceArray<diffulex::AttentionItem> device_items(items);
  diffulex::cuda::AttentionArgs args{};
  args.kv = {b.dtype,  b.kv_heads, b.dim,    b.page_size, l.rows,
             pk.get(), pv.get(),   fk.get(), fv.get()};
  args.heads = b.heads;
  args.sliding_window = b.window;
  args.scale = scale_of(b);
  args.requests = requests.get();
  args.tables = tables.get();
  args.table_stride = l.table_stride;
  args.items = device_items.get();
  args.item_count = static_cast<int32_t>(items.size());
  args.queries = q.get();
  args.out = out.get();
  args.rows = l.rows;
  args.multiprocessors = multiprocessors;
  for (const Request& r : b.requests) args.max_keys = std::max(args.max_keys, r.context + r.tokens);
  if (by_warpgroups != nullptr) *by_warpgroups = diffulex::cuda::attention_by_warpgroups(args);
  args.workspace_bytes = workspace_bytes(b, args.item_count, args.max_keys);
  const DeviceArray<uint8_t> workspace(std::vector<uint8_t>(args.workspace_bytes, uint8_t{0xff}));
  args.workspace = workspace.get();
  check(static_cast<cudaError_t>(diffulex::cuda::launch_attention(args, nullptr)), "launch");
  check(cudaDeviceSynchronize(), "attention");
  return Elements(out.down(), b.dtype);
}

}  // namespace diffulex_gpu

// Times of attention launches. Each launch of a graph reads other pages than the one before, so
// that keys come from memory and not from the second-level cache.
#pragma once

#include "attention_batch.h"
#include "decide/visibility.h"

namespace diffulex_gpu {

struct Workload {
  const char* name;
  int requests, context, tokens;
};

__global__ void fill_random(uint16_t* to, size_t count, uint32_t seed) {
  const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
    uint32_t x = static_cast<uint32_t>(i) * 0x9E3779B9u + seed;
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    x = (x ^ x >> 13) * 0xC2B2AE35u;
    // Sign, an exponent of 2^-2 ... 2^1, mantissa.
    to[i] = static_cast<uint16_t>((x & 0x8000) | (125 + (x >> 16 & 3)) << 7 | (x & 0x7f));
  }
}

inline DeviceArray<uint16_t> random_array(size_t count, uint32_t seed) {
  DeviceArray<uint16_t> a(count);
  fill_random<<<1024, 256>>>(a.get(), count, seed);
  return a;
}

// Median milliseconds of one replay.
template <class Launch>
float time_graph(int launches, const Launch& launch) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamCreate(&stream), "stream");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < launches; ++i) launch(i, stream);
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&exec, graph, 0), "graph");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < 18; ++i) {
    check(cudaEventRecord(begin, stream), "record");
    check(cudaGraphLaunch(exec, stream), "graph launch");
    check(cudaEventRecord(end, stream), "record");
    check(cudaStreamSynchronize(stream), "replay");
    float ms;
    check(cudaEventElapsedTime(&ms, begin, end), "time");
    if (i >= 3) times.push_back(ms);
  }
  cudaEventDestroy(begin), cudaEventDestroy(end);
  cudaGraphExecDestroy(exec), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

inline void print_copy_rate(const DeviceArray<uint16_t>& from) {
  const size_t bytes = size_t{512} << 20;
  const DeviceArray<uint8_t> to(bytes);
  const float ms = time_graph(4, [&](int, cudaStream_t stream) {
    check(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice, stream), "copy");
  });
  std::printf("device copy of 512 MiB, read + written: %.0f GB/s\n",
              2 * 4 * static_cast<double>(bytes) / 1e6 / ms);
}

inline void print_time(const Workload& w, const DeviceArray<uint16_t>& pool_keys,
                       const DeviceArray<uint16_t>& pool_values) {
  constexpr int kPage = 32, kHeads = 16, kKvHeads = 8, kDim = 128;
  Batch b{DType::kBF16, kHeads, kKvHeads, kDim, kPage, 0, {}, 1};
  const int pages = (w.context + kPage - 1) / kPage, total = w.requests * w.tokens;
  const size_t page_elements = size_t{kPage} * kKvHeads * kDim;
  const int pool = static_cast<int>(pool_keys.size() / page_elements);
  const double key_bytes =
      4.0 * kKvHeads * kDim * static_cast<double>(w.requests) * (w.context + w.tokens);
  const double bytes = key_bytes + 4.0 * kHeads * kDim * total;
  const int rotations = std::clamp(static_cast<int>(3e8 / std::max(1.0, key_bytes)) + 1, 2, 64);
  std::vector<diffulex::RequestRow> rows;
  std::vector<int32_t> tables;
  double visible = 0;
  for (int r = 0; r < w.requests; ++r) {
    b.requests.push_back({{Rule::kBlockCausal, 32, 0, 0, 0, false}, w.context, w.tokens, 1});
    rows.push_back(request_row(b.requests.back(), r, r * w.tokens));
    for (int t = 0; t < w.tokens; ++t)
      visible += diffulex::decide::visible_keys(rows.back().attention, w.context + t, w.context,
                                                w.context + w.tokens, 0)
                     .end;
  }
  const int table_stride = std::max(1, pages);
  std::mt19937 rng(1);
  std::vector<int32_t> ids;
  for (int i = 0; i < pool; ++i) ids.push_back(i);
  std::shuffle(ids.begin(), ids.end(), rng);
  for (int i = 0; i < rotations * w.requests * table_stride; ++i)
    tables.push_back(ids[static_cast<size_t>(i % pool)]);
  const std::vector<diffulex::AttentionItem> items = items_of(b);
  const DeviceArray<diffulex::RequestRow> device_rows(rows);
  const DeviceArray<int32_t> device_tables(tables);
  const DeviceArray<diffulex::AttentionItem> device_items(items);
  const size_t flight = static_cast<size_t>(total) * kKvHeads * kDim;
  const DeviceArray<uint16_t> fk = random_array(flight, 3), fv = random_array(flight, 4),
                              q = random_array(flight * kHeads / kKvHeads, 5),
                              out = random_array(flight * kHeads / kKvHeads, 6);
  diffulex::cuda::AttentionArgs args{};
  args.kv = {DType::kBF16,    kKvHeads,          kDim,     kPage,   total,
             pool_keys.get(), pool_values.get(), fk.get(), fv.get()};
  args.heads = kHeads;
  args.scale = scale_of(b);
  args.requests = device_rows.get();
  args.table_stride = table_stride;
  args.items = device_items.get();
  args.item_count = static_cast<int32_t>(items.size());
  args.queries = q.get();
  args.out = out.get();
  args.rows = total;
  args.max_keys = w.context + w.tokens;
  args.workspace_bytes = workspace_bytes(b, args.item_count, args.max_keys);
  const DeviceArray<uint8_t> workspace(args.workspace_bytes);
  args.workspace = workspace.get();
  const auto time = [&](int multiprocessors) {
    args.multiprocessors = multiprocessors;
    return time_graph(
               rotations,
               [&](int i, cudaStream_t stream) {
                 args.tables = device_tables.get() + i * w.requests * table_stride;
                 check(static_cast<cudaError_t>(diffulex::cuda::launch_attention(args, stream)),
                       "launch");
               }) /
           static_cast<float>(rotations);
  };
  const float portable = time(0), ms = time(warpgroup_multiprocessors());
  const double operations = 4.0 * kHeads * kDim * visible;
  std::printf("%-36s %8.1f us (portable %8.1f) %7.0f GB/s %6.1f TFLOP/s, workspace %.1f MB\n",
              w.name, ms * 1e3, portable * 1e3, bytes / 1e6 / ms, operations / 1e9 / ms,
              static_cast<double>(args.workspace_bytes) / 1e6);
}

// bf16, 16 query heads, 8 KV heads, head size 128, pages of 32. only: one workload's number, or
// negative.
inline void print_times(int only) {
  const Workload workloads[] = {{"1 request x 32 rows, context 256", 1, 256, 32},
                                {"1 request x 32 rows, context 4096", 1, 4096, 32},
                                {"1 request x 32 rows, context 32768", 1, 32768, 32},
                                {"64 requests x 32 rows, context 2048", 64, 2048, 32},
                                {"16 requests x 128 rows, context 256", 16, 256, 128},
                                {"64 requests x 128 rows, context 256", 64, 256, 128},
                                {"16 requests x 128 rows, context 4096", 16, 4096, 128},
                                {"1 request x 1024 rows, no context", 1, 0, 1024},
                                {"1 request x 4096 rows, no context", 1, 0, 4096}};
  const DeviceArray<uint16_t> keys = random_array(size_t{1} << 29, 1),
                              values = random_array(size_t{1} << 29, 2);
  print_copy_rate(keys);
  int number = 0;
  for (const Workload& w : workloads)
    if (only < 0 || only == number++) print_time(w, keys, values);
}

}  // namespace diffulex_gpu

#include "cuda/kernels/attention_warpgroups.h"

#include <algorithm>

#include "cuda/kernels/attention_computer.h"
#include "cuda/kernels/attention_loader.h"

namespace diffulex::cuda {
namespace {

template <class S, bool kCarry>
__global__ void __launch_bounds__(kRingThreads, 1)
    attention_warpgroups_kernel(const __grid_constant__ AttentionArgs args,
                                const __grid_constant__ RingGrid grid) {
  extern __shared__ uint8_t memory[];
  const uint32_t skew = (1024 - shared_address(memory) % 1024) % 1024;
  auto& shared = *reinterpret_cast<RingShared<S>*>(memory + skew);
  start_rings(shared);
  let_next_kernel_begin();
  if (warp_id() < kComputingWarps) {
    take_registers<kComputingRegisters, true>();
    Partial<S>* const carry =
        kCarry ? static_cast<Partial<S>*>(args.workspace) + blockIdx.x : nullptr;
    AttentionComputer<S, kCarry>(args, grid, carry, shared).run();
  } else {
    take_registers<kLoadingRegisters, false>();
    AttentionLoader<S>(args, grid, shared).run();
  }
}

template <class S, bool kCarry>
int launch_shape(const AttentionArgs& args, cudaStream_t stream) {
  const int chunks = item_chunks(args.heads, args.kv.kv_heads, S::kVectors);
  const RingGrid grid{chunks, args.item_count * args.kv.kv_heads * chunks,
                      divisor(args.kv.page_size), divisor(args.heads / args.kv.kv_heads)};
  const int blocks = std::min(grid.blocks, args.multiprocessors);
  if (kCarry && args.workspace_bytes < sizeof(Partial<S>) * static_cast<size_t>(blocks))
    return static_cast<int>(cudaErrorInvalidValue);
  constexpr size_t kBytes = 1024 + sizeof(RingShared<S>);
  static_assert(kBytes <= 227 * 1024);
  const auto kernel = attention_warpgroups_kernel<S, kCarry>;
  const cudaError_t error = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kBytes));
  if (error != cudaSuccess) return static_cast<int>(error);
  return launch(kernel, {dim3(static_cast<unsigned>(blocks)), kRingThreads, kBytes}, stream, args,
                grid);
}

template <class S>
int launch_shape(const AttentionArgs& args, bool several_parts, cudaStream_t stream) {
  return several_parts ? launch_shape<S, true>(args, stream) : launch_shape<S, false>(args, stream);
}

}  // namespace

bool attention_fills_warpgroups(const AttentionArgs& args) {
  // A warpgroup multiplies for 64 vectors however few there are.
  const int64_t vectors = int64_t{args.rows} * (args.heads / args.kv.kv_heads);
  return args.multiprocessors > 0 && args.kv.dim <= 128 && vectors >= int64_t{args.item_count} * 64;
}

int launch_attention_warpgroups(const AttentionArgs& args, bool several_parts,
                                cudaStream_t stream) {
  return args.kv.dim <= 64 ? launch_shape<RingShape<64>>(args, several_parts, stream)
                           : launch_shape<RingShape<128>>(args, several_parts, stream);
}

}  // namespace diffulex::cuda

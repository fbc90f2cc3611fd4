// The instructions of Hopper that bulk copies and warpgroup products are made of (sm_90a). On other
// architectures the bodies are empty: nothing there calls them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/kernels/mma.h"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define DIFFULEX_HOPPER 1
#else
#define DIFFULEX_HOPPER 0
#endif

namespace diffulex::cuda {

struct alignas(8) Barrier {  // in shared memory
  uint64_t state;
};

__device__ inline void init_barrier(Barrier& b, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&b)), "r"(arrivals)
               : "memory");
}

// Initialised barriers become visible to the copy engine and to the cluster.
__device__ inline void publish_barriers() {
#if DIFFULEX_HOPPER
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Arrives and expects so many bytes of copies in this phase.
__device__ inline void expect_bytes([[maybe_unused]] Barrier& b, [[maybe_unused]] uint32_t bytes) {
#if DIFFULEX_HOPPER
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&b)),
               "r"(bytes)
               : "memory");
#endif
}

__device__ inline void wait_barrier([[maybe_unused]] Barrier& b, [[maybe_unused]] uint32_t parity) {
#if DIFFULEX_HOPPER
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(shared_address(&b)),
      "r"(parity)
      : "memory");
#endif
}

__device__ inline void arrive([[maybe_unused]] Barrier& b) {
#if DIFFULEX_HOPPER
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&b)) : "memory");
#endif
}

// One arrival for all lanes of the warp.
__device__ inline void arrive_as_warp(Barrier& b) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(b);
}

// Arrives when the copies that the thread has begun (copy_async) are done.
__device__ inline void arrive_behind_copies([[maybe_unused]] Barrier& b) {
#if DIFFULEX_HOPPER
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(&b))
               : "memory");
#endif
}

// What the thread has written to shared memory, or seen written, products and bulk copies see too.
__device__ inline void share_with_products() {
#if DIFFULEX_HOPPER
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Arrives at the barrier of the same place in another block of the cluster. Orders no ordinary
// accesses to memory: what is read through such barriers, products read.
__device__ inline void arrive_at([[maybe_unused]] Barrier& b, [[maybe_unused]] uint32_t block) {
#if DIFFULEX_HOPPER
  uint32_t there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(there)
               : "r"(shared_address(&b)), "r"(block));
  asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(there) : "memory");
#endif
}

__device__ inline uint32_t cluster_rank() {
  uint32_t rank = 0;
#if DIFFULEX_HOPPER
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return rank;
}

__device__ inline void sync_cluster() {
#if DIFFULEX_HOPPER
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// What a bulk copy tells the L2 cache about its bytes.
inline constexpr uint64_t kReadOnce = 0x12F0000000000000, kReadOften = 0x14F0000000000000;

__device__ inline void prefetch_map([[maybe_unused]] const void* map) {
#if DIFFULEX_HOPPER
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
}

// A box of a tensor map to shared memory; coordinates begin with the innermost dimension.
__device__ inline void copy_box([[maybe_unused]] void* to, [[maybe_unused]] const void* map,
                                [[maybe_unused]] Barrier& done, [[maybe_unused]] int32_t x,
                                [[maybe_unused]] int32_t y, [[maybe_unused]] uint64_t hint) {
#if DIFFULEX_HOPPER
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(shared_address(to)),
      "l"(map), "r"(x), "r"(y), "r"(shared_address(&done)), "l"(hint)
      : "memory");
#endif
}

__device__ inline void copy_box4([[maybe_unused]] void* to, [[maybe_unused]] const void* map,
                                 [[maybe_unused]] Barrier& done, [[maybe_unused]] int32_t x,
                                 [[maybe_unused]] int32_t w, [[maybe_unused]] uint64_t hint) {
#if DIFFULEX_HOPPER
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, {%2, %3, %3, %4}], [%5], %6;" ::"r"(shared_address(to)),
      "l"(map), "r"(x), "r"(0), "r"(w), "r"(shared_address(&done)), "l"(hint)
      : "memory");
#endif
}

// A box to the same place in every block of the cluster that `blocks` has a bit for; each
// block's own barrier counts the bytes.
__device__ inline void copy_box_to_all([[maybe_unused]] void* to, [[maybe_unused]] const void* map,
                                       [[maybe_unused]] Barrier& done, [[maybe_unused]] int32_t x,
                                       [[maybe_unused]] int32_t y, [[maybe_unused]] uint16_t blocks,
                                       [[maybe_unused]] uint64_t hint) {
#if DIFFULEX_HOPPER
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::"
      "cluster.L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5, %6;" ::"r"(shared_address(to)),
      "l"(map), "r"(x), "r"(y), "r"(shared_address(&done)), "h"(blocks), "l"(hint)
      : "memory");
#endif
}

// A matrix in shared memory, 128 bytes a line in swizzled groups of 8 lines.
__device__ inline uint64_t matrix_descriptor(const void* matrix) {
  return uint64_t{(shared_address(matrix) & 0x3FFFF) >> 4} | uint64_t{1} << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

// The counterpart of load_transposed().
__device__ inline void store_transposed([[maybe_unused]] uint32_t address,
                                        [[maybe_unused]] const uint32_t (&r)[4]) {
#if DIFFULEX_HOPPER
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
      "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
      : "memory");
#endif
}

// The warpgroup's share of a multiprocessor's registers from here on: more or fewer than it had.
template <int kRegisters, bool kMore>
__device__ inline void take_registers() {
#if DIFFULEX_HOPPER
  if (kMore)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
  else
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}

__device__ inline void begin_products() {
#if DIFFULEX_HOPPER
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}
__device__ inline void commit_products() {
#if DIFFULEX_HOPPER
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}
template <int kPending>
__device__ inline void wait_products() {
#if DIFFULEX_HOPPER
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}

}  // namespace diffulex::cuda

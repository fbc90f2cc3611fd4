#pragma once
#include <cstdio>
namespace diffulex::cuda {
inline __device__ unsigned long long probe_time() {
  unsigned long long t;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t));
  return t;
}
static __device__ int probe_counter = 0;
struct Probe {
  const char* name;
  unsigned long long t0;
  long long c0;
  int n = 0;
  int c[10];
  bool on;
  int from;
  __device__ Probe(const char* nm, bool lead, int from_ = 1000) : name(nm), on(lead), from(from_) {
    if (on) {
      t0 = probe_time();
      c0 = clock64();
    }
  }
  __device__ void mark() {
    if (on && n < 10) c[n++] = (int)(clock64() - c0);
  }
  __device__ void done() {
    if (!on) return;
    mark();
    int k = atomicAdd(&probe_counter, 1);
    if (k < from || k > from + from / 25) return;
    printf("%-10s %d t %llu: %d %d %d %d %d %d %d %d %d %d\n", name, k, t0 % 1000000000ull,
           n > 0 ? c[0] : 0, n > 1 ? c[1] : 0, n > 2 ? c[2] : 0, n > 3 ? c[3] : 0, n > 4 ? c[4] : 0,
           n > 5 ? c[5] : 0, n > 6 ? c[6] : 0, n > 7 ? c[7] : 0, n > 8 ? c[8] : 0,
           n > 9 ? c[9] : 0);
  }
};
}  // namespace diffulex::cuda

#include "backend/cpu/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace diffulex::cpu {

namespace {
constexpr size_t kHugePage = size_t{2} << 20;
}

Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
  const size_t rounded = static_cast<size_t>(round_up(static_cast<int64_t>(bytes), 64));
  void* p = nullptr;
  if (posix_memalign(&p, alignment, rounded) != 0) throw std::bad_alloc();
  if (alignment == kHugePage) madvise(p, rounded, MADV_HUGEPAGE);  // advice only: failure is fine
  data_.reset(static_cast<std::byte*>(p));
}

void Buffer::zero() {
  if (bytes_ != 0) std::memset(data_.get(), 0, bytes_);
}

void Buffer::Free::operator()(std::byte* p) const { std::free(p); }

}  // namespace diffulex::cpu

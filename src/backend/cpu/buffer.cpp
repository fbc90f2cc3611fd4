#include "backend/cpu/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.h"

namespace diffulex::cpu {

namespace {
constexpr size_t kHugePage = size_t{2} << 20;
}

Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
  const size_t rounded = static_cast<size_t>(round_up(static_cast<int64_t>(bytes), 64));
  void* p = nullptr;
  if (posix_memalign(&p, alignment, rounded) != 0)
    throw Error(DIFFULEX_E_HOST_MEMORY, "host memory ran out")
        .with("bytes_needed", std::to_string(bytes));
  if (alignment == kHugePage) madvise(p, rounded, MADV_HUGEPAGE);  // advice only: failure is fine
  data_.reset(static_cast<std::byte*>(p));
}

void Buffer::zero() {
  if (bytes_ != 0) std::memset(data_.get(), 0, bytes_);
}

void Buffer::Free::operator()(std::byte* p) const { std::free(p); }

}  // namespace diffulex::cpu

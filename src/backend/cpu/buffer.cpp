#include "backend/cpu/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

namespace diffulex::cpu {

namespace {
constexpr size_t kHugePage = size_t{2} << 20, kLine = 64;

constexpr size_t up_to(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
}  // namespace

Buffer::Buffer(size_t bytes, size_t alignment) : bytes_(bytes) {
  if (bytes == 0) return;
  const bool huge = alignment == kHugePage;
  void* p = nullptr;
  if (posix_memalign(&p, alignment, bytes) != 0) throw std::bad_alloc();
  if (huge) madvise(p, bytes, MADV_HUGEPAGE);  // advice only: failure is fine
  data_.reset(static_cast<std::byte*>(p));
}

Buffer::Buffer(size_t bytes)
    : Buffer(up_to(bytes, kLine), bytes >= 2 * kHugePage ? kHugePage : kLine) {
  bytes_ = bytes;
}

Buffer Buffer::on_huge_pages(size_t bytes) {
  if (bytes < kHugeWorthwhile) return Buffer(bytes);
  Buffer buffer(up_to(bytes, kHugePage), kHugePage);
  buffer.bytes_ = bytes;
  return buffer;
}

Buffer Buffer::part_of(const Buffer& whole, size_t offset, size_t bytes) {
  Buffer part;
  part.data_ = {whole.data_.get() + offset, Free{true}};
  part.bytes_ = bytes;
  return part;
}

void Buffer::zero() {
  if (bytes_ != 0) std::memset(data_.get(), 0, bytes_);
}

void Buffer::Free::operator()(std::byte* p) const {
  if (!part) std::free(p);
}

}  // namespace diffulex::cpu

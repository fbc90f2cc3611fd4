// Memory of the CPU backend: one allocation, sized once, 64-byte aligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace diffulex::cpu {

// Owns `bytes` bytes. Large buffers are aligned to and advised for huge pages; the content starts
// undefined unless zero() is called.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);  // throws Error(DIFFULEX_E_HOST_MEMORY)
  // For what every step reads and writes: on huge pages also where it is smaller than one, because
  // products walk through many rows at a time. Below kHugeWorthwhile as Buffer(bytes).
  static Buffer on_huge_pages(size_t bytes);
  // Bytes [offset, offset + bytes) of `whole`, which must outlive the part.
  static Buffer part_of(const Buffer& whole, size_t offset, size_t bytes);

  template <class T = std::byte>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }
  size_t bytes() const { return bytes_; }
  void zero();

 private:
  static constexpr size_t kHugeWorthwhile = size_t{256} << 10;
  Buffer(size_t bytes, size_t alignment);
  struct Free {
    bool part;  // false once value-initialised: the memory is the buffer's own
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t bytes_ = 0;
};

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
constexpr int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }

}  // namespace diffulex::cpu

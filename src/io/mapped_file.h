// A whole file mapped read-only. Shrinking the file while it is mapped is the caller's fault.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace diffulex {

class MappedFile {
 public:
  // Throws Error(DIFFULEX_E_IO) for anything but a readable regular file. An empty file is an empty
  // range.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }

  // Hints only: a system that ignores them changes nothing but speed and memory. What is released
  // comes from the page cache or the disk when it is read again.
  void release_pages() const noexcept { release(data_, size_); }

  // The same for a part of a mapped file; any thread. Pages that lie in the part as a whole go.
  static void release(const std::byte* data, size_t bytes) noexcept;
  // Reads the part in now, in this thread, so that it does not fault page by page.
  static void populate(const std::byte* data, size_t bytes) noexcept;
  // Has the system read the part from the disk meanwhile.
  static void read_ahead(const std::byte* data, size_t bytes) noexcept;

 private:
  std::string path_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace diffulex

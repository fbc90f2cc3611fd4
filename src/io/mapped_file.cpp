#include "io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace diffulex {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw Error(DIFFULEX_E_IO, path + ": " + reason).with("path", path);
}

[[noreturn]] void fail_with_errno(const std::string& path, int code) {
  fail(path, std::generic_category().message(code));
}

// Closes on every way out of the constructor: the mapping outlives its descriptor.
class Descriptor {
 public:
  // O_NONBLOCK: opening a named pipe must not wait for its writer.
  explicit Descriptor(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) fail_with_errno(path, errno);
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

size_t regular_file_size(const Descriptor& file, const std::string& path) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail_with_errno(path, errno);
  if (S_ISDIR(info.st_mode)) fail_with_errno(path, EISDIR);
  if (!S_ISREG(info.st_mode)) fail(path, "not a regular file");
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size > SIZE_MAX) fail_with_errno(path, EFBIG);
  return static_cast<size_t>(size);
}

struct Pages {
  std::byte* begin;
  size_t bytes;
};

uintptr_t page_size() {
  static const auto size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

uintptr_t address(const std::byte* data) { return reinterpret_cast<uintptr_t>(data); }

std::byte* changeable(const std::byte* data) {
  return const_cast<std::byte*>(data);
}  // for madvise

Pages pages_inside(const std::byte* data, size_t bytes) {
  const size_t skipped = (page_size() - address(data) % page_size()) % page_size();
  if (skipped >= bytes) return {nullptr, 0};
  const size_t left = bytes - skipped;
  return {changeable(data) + skipped, left - left % page_size()};
}

Pages pages_around(const std::byte* data, size_t bytes) {
  if (bytes == 0) return {nullptr, 0};
  const size_t added = address(data) % page_size();
  return {changeable(data) - added, bytes + added};  // the system rounds the end up
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  if (path.find('\0') != std::string::npos) fail_with_errno(path, EINVAL);
  const Descriptor file(path);
  const size_t size = regular_file_size(file, path);
  if (size == 0) return;  // mmap refuses empty ranges
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail_with_errno(path, errno);
  data_ = static_cast<std::byte*>(data);
  size_ = size;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::release(const std::byte* data, size_t bytes) noexcept {
  const Pages pages = pages_inside(data, bytes);
  if (pages.bytes != 0) ::madvise(pages.begin, pages.bytes, MADV_DONTNEED);
}

void MappedFile::populate(const std::byte* data, size_t bytes) noexcept {
#ifdef MADV_POPULATE_READ
  const Pages pages = pages_around(data, bytes);
  if (pages.bytes != 0) ::madvise(pages.begin, pages.bytes, MADV_POPULATE_READ);
#else
  (void)data, (void)bytes;
#endif
}

void MappedFile::read_ahead(const std::byte* data, size_t bytes) noexcept {
  // The system cuts a longer wish off at what a single read of the disk may take.
  constexpr size_t kPiece = size_t{512} << 10;
  const Pages pages = pages_around(data, bytes);
  for (size_t at = 0; at < pages.bytes; at += kPiece)
    ::madvise(pages.begin + at, std::min(kPiece, pages.bytes - at), MADV_WILLNEED);
}

}  // namespace diffulex

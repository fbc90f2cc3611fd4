// The boundary: nothing throws past it, every failure becomes a status and, where asked for, an
// error object.
#pragma once

#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include "base/error.h"
#include "diffulex.h"

struct diffulex_error {
  diffulex_status status;
  std::string message;
  std::vector<diffulex::Error::Detail> details;
};

namespace diffulex::api {

// Hands out an error object; when even that finds no memory, a static one that says so. Never
// throws.
void set_error(diffulex_error** out, diffulex_status status, const char* message,
               const std::vector<Error::Detail>* details) noexcept;
void free_error(diffulex_error* error) noexcept;

// Runs `body`, which returns a status, behind the boundary.
template <class Body>
diffulex_status guard(diffulex_error** error, Body&& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    return std::forward<Body>(body)();
  } catch (const Error& e) {
    set_error(error, e.status(), e.what(), &e.details());
    return e.status();
  } catch (const std::bad_alloc&) {
    set_error(error, DIFFULEX_E_HOST_MEMORY, "host memory ran out", nullptr);
    return DIFFULEX_E_HOST_MEMORY;
  } catch (const std::exception& e) {
    set_error(error, DIFFULEX_E_INTERNAL, e.what(), nullptr);
    return DIFFULEX_E_INTERNAL;
  } catch (...) {
    set_error(error, DIFFULEX_E_INTERNAL, "unknown failure", nullptr);
    return DIFFULEX_E_INTERNAL;
  }
}

template <class T>
T& required(T* pointer, const char* name) {
  if (pointer == nullptr)
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, std::string(name) + " is NULL").with("option", name);
  return *pointer;
}

// More bytes than any version of any struct will have: a larger size was never set.
inline constexpr uint32_t kMaxStructSize = 1 << 16;

[[noreturn]] inline void refuse_struct(const char* name, uint32_t size, const std::string& why) {
  throw Error(DIFFULEX_E_ABI_MISMATCH,
              std::string(name) + ".struct_size is " + std::to_string(size) + why)
      .with("option", "struct_size");
}

// The size that a caller's versioned struct says it has.
template <class T>
uint32_t struct_size_of(const T* in, const char* name) {
  required(in, name);
  uint32_t size = 0;
  std::memcpy(&size, in, sizeof(size));
  if (size < 2 * sizeof(uint32_t) || size > kMaxStructSize)
    refuse_struct(name, size, "; set it to sizeof the struct, as an init function does");
  return size;
}

// Reads a caller's versioned struct: a shorter one is completed with zeros, a longer one must be
// zero where we know nothing.
template <class T>
T read_struct(const T* in, const char* name) {
  const uint32_t size = struct_size_of(in, name);
  const auto* bytes = reinterpret_cast<const unsigned char*>(in);
  for (size_t i = sizeof(T); i < size; ++i)
    if (bytes[i] != 0)
      refuse_struct(name, size,
                    std::string(" and it uses fields that this library (") +
                        diffulex_version_string() + ") does not know");
  T value{};
  std::memcpy(&value, in, size < sizeof(T) ? size : sizeof(T));
  value.struct_size = sizeof(T);
  return value;
}

// Writes a value into `size` bytes of a caller: as far as they reach, zeros behind what we know.
template <class T>
void write_sized(void* out, size_t size, const T& value) {
  std::memcpy(out, &value, size < sizeof(T) ? size : sizeof(T));
  if (size > sizeof(T))
    std::memset(static_cast<unsigned char*>(out) + sizeof(T), 0, size - sizeof(T));
}

// Writes a result into a caller's versioned struct.
template <class T>
void write_struct(T* out, const T& value, const char* name) {
  const uint32_t size = struct_size_of(out, name);
  write_sized(out, size, value);
  out->struct_size = size;
}

// Writes element `index` of a caller's array of elements of `stride` bytes.
template <class T>
void write_element(void* array, size_t stride, size_t index, const T& value) {
  write_sized(static_cast<unsigned char*>(array) + index * stride, stride, value);
}

inline void check_array(const void* array, size_t stride, size_t capacity, const char* name) {
  if (capacity == 0) return;
  if (array == nullptr)
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, std::string(name) + " is NULL").with("option", name);
  if (stride < 8)
    throw Error(DIFFULEX_E_INVALID_ARGUMENT,
                std::string(name) + ": stride is " + std::to_string(stride))
        .with("option", "stride");
}

// A caller's buffer and where its size goes, with the names of both parameters.
template <class T>
struct OutBuffer {
  T* data;
  size_t capacity;
  const char* name;
  size_t* size;
  const char* size_name;
};

// The two-call pattern: *size is what there is; too small a buffer takes nothing.
template <class T>
diffulex_status copy_out(const T* data, size_t size, const OutBuffer<T>& out) {
  required(out.size, out.size_name);
  if (size > out.capacity) {
    *out.size = size;
    throw Error(DIFFULEX_E_BUFFER_TOO_SMALL, std::string(out.name) + " holds " +
                                                 std::to_string(out.capacity) + ", " +
                                                 std::to_string(size) + " are needed")
        .with("option", out.name)
        .with("bytes_needed", std::to_string(size * sizeof(T)));
  }
  if (size > 0) std::memcpy(&required(out.data, out.name), data, size * sizeof(T));
  *out.size = size;
  return DIFFULEX_OK;
}

}  // namespace diffulex::api

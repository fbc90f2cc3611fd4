// The one exception type of the library. It never leaves the library: src/api turns it into a
// diffulex_error.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "diffulex.h"

namespace diffulex {

class Error : public std::exception {
 public:
  using Detail = std::pair<std::string, std::string>;

  Error(diffulex_status status, std::string message)
      : status_(status), message_(std::move(message)) {}

  // Adds a machine-readable detail (keys: option, allowed, path, tensor, bytes_needed, ...).
  Error&& with(std::string_view key, std::string value) && {
    details_.emplace_back(std::string(key), std::move(value));
    return std::move(*this);
  }

  const char* what() const noexcept override { return message_.c_str(); }
  diffulex_status status() const noexcept { return status_; }
  const std::string& message() const noexcept { return message_; }
  const std::vector<Detail>& details() const noexcept { return details_; }

 private:
  diffulex_status status_;
  std::string message_;
  std::vector<Detail> details_;
};

// Host or device: what failed has changed nothing, and may succeed when it is tried again.
inline bool is_out_of_memory(diffulex_status status) {
  return status == DIFFULEX_E_HOST_MEMORY || status == DIFFULEX_E_DEVICE_MEMORY;
}

}  // namespace diffulex

#include "api/guard.h"

#include <functional>

namespace diffulex::api {
namespace {

constexpr size_t kStatuses = 23;  // one more than the least status is below zero

struct Spare {
  diffulex_error errors[kStatuses];
  Spare() {  // the text is short enough to need no allocation
    for (size_t i = 0; i < kStatuses; ++i)
      errors[i] = {-static_cast<diffulex_status>(i), "out of memory", {}};
  }
};

// Given out when there is no memory for a real one, one for each status; never freed.
Spare& spare() {
  static Spare errors;
  return errors;
}

bool is_spare(const diffulex_error* error) {
  const std::less<> before;
  const diffulex_error* const first = spare().errors;
  return !before(error, first) && before(error, first + kStatuses);
}

}  // namespace

void set_error(diffulex_error** out, diffulex_status status, const char* message,
               const std::vector<Error::Detail>* details) noexcept {
  if (out == nullptr) return;
  try {
    *out = new diffulex_error{status, message,
                              details != nullptr ? *details : std::vector<Error::Detail>{}};
  } catch (...) {
    *out = &spare().errors[static_cast<size_t>(-status) % kStatuses];
  }
}

void free_error(diffulex_error* error) noexcept {
  if (!is_spare(error)) delete error;
}

}  // namespace diffulex::api

extern "C" {

diffulex_status diffulex_error_status(const diffulex_error* error) {
  return error != nullptr ? error->status : DIFFULEX_OK;
}

const char* diffulex_error_message(const diffulex_error* error) {
  return error != nullptr ? error->message.c_str() : "";
}

const char* diffulex_error_detail(const diffulex_error* error, const char* key) {
  if (error == nullptr || key == nullptr) return nullptr;
  for (const auto& [name, value] : error->details)
    if (name == key) return value.c_str();
  return nullptr;
}

void diffulex_error_free(diffulex_error* error) { diffulex::api::free_error(error); }

}  // extern "C"

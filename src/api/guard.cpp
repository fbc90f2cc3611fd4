#include "api/guard.h"

namespace diffulex::api {
namespace {

// Given out when there is no memory for a real one; never freed.
diffulex_error& out_of_memory() {
  static diffulex_error error{DIFFULEX_E_HOST_MEMORY, "out of memory", {}};  // short enough to need no allocation
  return error;
}

}  // namespace

void set_error(diffulex_error** out, diffulex_status status, const char* message,
               const std::vector<Error::Detail>* details) noexcept {
  if (out == nullptr) return;
  try {
    *out = new diffulex_error{status, message, details != nullptr ? *details : std::vector<Error::Detail>{}};
  } catch (...) {
    *out = &out_of_memory();
  }
}

void free_error(diffulex_error* error) noexcept {
  if (error != &out_of_memory()) delete error;
}

}  // namespace diffulex::api

extern "C" {

diffulex_status diffulex_error_status(const diffulex_error* error) { return error != nullptr ? error->status : DIFFULEX_OK; }

const char* diffulex_error_message(const diffulex_error* error) { return error != nullptr ? error->message.c_str() : ""; }

const char* diffulex_error_detail(const diffulex_error* error, const char* key) {
  if (error == nullptr || key == nullptr) return nullptr;
  for (const auto& [name, value] : error->details)
    if (name == key) return value.c_str();
  return nullptr;
}

void diffulex_error_free(diffulex_error* error) { diffulex::api::free_error(error); }

}  // extern "C"

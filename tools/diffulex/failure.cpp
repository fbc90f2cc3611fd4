#include "failure.h"

#include <string>

namespace diffulex_command {
namespace {

// The message, and below it the details that it does not name itself.
std::string describe(diffulex_status status, const diffulex_error* error) {
  std::string text = diffulex_error_message(error);
  if (text.empty()) text = diffulex_status_name(status);
  const std::string message = text;
  for (const char* key :
       {"option", "allowed", "path", "tensor", "device", "bytes_needed", "bytes_free"}) {
    const char* value = diffulex_error_detail(error, key);
    if (value == nullptr || message.find(value) != std::string::npos) continue;
    text.append("\n  ").append(key).append(": ").append(value);
  }
  return text;
}

}  // namespace

void check(diffulex_status status, diffulex_error* const& error) {
  if (status >= 0) return;
  const std::string text = describe(status, error);
  diffulex_error_free(error);
  throw Failure(text);
}

}  // namespace diffulex_command

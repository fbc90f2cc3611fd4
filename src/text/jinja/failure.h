// What goes wrong in a template, before its file and line are known.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "diffulex.h"

namespace diffulex::jinja {

// Stays inside this folder: Template makes an Error of it that names file and line.
class Failure : public std::exception {
 public:
  Failure(diffulex_status status, std::string message)
      : status_(status), message_(std::move(message)) {}

  const char* what() const noexcept override { return message_.c_str(); }
  diffulex_status status() const noexcept { return status_; }

 private:
  diffulex_status status_;
  std::string message_;
};

// The template is malformed, or does with its values what cannot be done.
[[noreturn]] inline void fail(std::string message) {
  throw Failure(DIFFULEX_E_TOKENIZER, std::move(message));
}

// Sound Jinja that is not covered here.
[[noreturn]] inline void refuse(const std::string& what) {
  throw Failure(DIFFULEX_E_UNSUPPORTED, what + " is not covered");
}

}  // namespace diffulex::jinja

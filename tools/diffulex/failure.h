// What goes wrong while the command runs; main turns it into a message and exit code 1.
#pragma once

#include <stdexcept>

#include "diffulex.h"

namespace diffulex_command {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws when status is an error; frees the error. By reference: the call that fills it may be an
// argument beside it.
void check(diffulex_status status, diffulex_error* const& error);

}  // namespace diffulex_command

// Catches the library's Error for tests that look at more than its type.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>

#include "base/error.h"

namespace diffulex::testing {

// Runs what must fail and checks the status and each part of the message.
template <class Function>
Error expect_error(diffulex_status status, std::initializer_list<std::string> parts,
                   Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), status) << error.message();
    for (const std::string& part : parts) {
      EXPECT_NE(error.message().find(part), std::string::npos)
          << "no \"" << part << "\" in: " << error.message();
    }
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(DIFFULEX_OK, "");
}

inline std::string detail(const Error& error, const std::string& key) {
  for (const auto& [name, value] : error.details()) {
    if (name == key) return value;
  }
  return {};
}

}  // namespace diffulex::testing

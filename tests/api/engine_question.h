// A question that the tests' model answers, and the answer.
#pragma once

#include <string>

#include "session.h"

namespace diffulex_tests {

inline const char* const kQuestion =
    "Sort these numbers from smallest to largest: 41, 7, 93, 12, 66";
inline const char* const kAnswer = "7, 12, 41, 66, 93";

inline std::string question(const Session& session) { return session.chat({{"user", kQuestion}}); }

}  // namespace diffulex_tests

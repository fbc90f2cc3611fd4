// Texts that end a request's output. Matching works on the committed text, so it does not matter
// how tokens cut it; special tokens are no text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"

namespace diffulex {

// Where the first of `strings` to be complete begins in `text`, if one ends behind `from`; npos
// otherwise. Among strings that end at the same byte the longest counts.
size_t find_stop_string(std::string_view text, size_t from,
                        const std::vector<std::string>& strings);

// How many bytes at the end of `text` may become a stop string with what follows.
size_t stop_string_begun(std::string_view text, const std::vector<std::string>& strings);

// Decodes what the request has committed since the last call and ends the output with the token
// that completes a stop string; readers get the text in front of it. The owner thread, after a step
// and before its publication.
void end_at_stop_string(Request& request);

}  // namespace diffulex

// Strings as rows of code points, the way Python sees them. All texts are valid UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/budget.h"

namespace diffulex::jinja {

using Pieces = std::vector<std::string_view>;

size_t character_count(std::string_view text);
Pieces characters(Budget& budget, std::string_view text);

bool is_space(uint32_t code);      // str.isspace
bool is_printable(uint32_t code);  // what repr writes as it is

enum class Side : uint8_t { kLeft, kRight, kBoth };

// Without leading or trailing white space, or without the characters of `set`.
std::string_view strip(std::string_view text, std::optional<std::string_view> set, Side side);

// The first place of `part` at or after `from`; npos: none. Takes linear time.
size_t find(std::string_view text, std::string_view part, size_t from = 0);

// Cuts at a separator, or at white space; at most `limit` times where that is not negative, from
// the left or from the right.
Pieces split(Budget& budget, std::string_view text, std::string_view separator, int64_t limit);
Pieces split_right(Budget& budget, std::string_view text, std::string_view separator,
                   int64_t limit);
Pieces split_spaces(Budget& budget, std::string_view text, int64_t limit);
Pieces split_spaces_right(Budget& budget, std::string_view text, int64_t limit);

// Cuts behind the ends of lines, of which Python knows many.
Pieces split_lines(Budget& budget, std::string_view text, bool keep_ends);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);  // the first character alone is large
std::string title(std::string_view text);       // as str.title: every first letter is

}  // namespace diffulex::jinja

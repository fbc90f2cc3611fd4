// The time of day in a template's words.
#pragma once

#include <ctime>
#include <string>

namespace diffulex::jinja {

// As Python's strftime of a local time without a time zone. Errors: too long a text.
std::string format_time(std::time_t now, const std::string& format);

}  // namespace diffulex::jinja

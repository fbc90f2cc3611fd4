#include "text/jinja/clock.h"

#include "text/jinja/failure.h"

namespace diffulex::jinja {
namespace {

// What Python does itself: there are no time zones and no fractions of seconds here.
std::string own_fields(const std::string& format) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    const char next = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    if (next == 'z' || next == 'Z') {
      ++i;
    } else if (next == 'f') {
      out += "000000";
      ++i;
    } else {
      out += format[i];
      if (next == '%') out += format[++i];
    }
  }
  return out;
}

}  // namespace

std::string format_time(std::time_t now, const std::string& format) {
  constexpr size_t kLongest = 4096;
  std::tm time{};
  if (localtime_r(&now, &time) == nullptr) fail("there is no local time");
  const std::string fields = own_fields(format) + ".";  // so that the result is never empty
  std::string text(kLongest, '\0');
  const size_t size = std::strftime(text.data(), text.size(), fields.c_str(), &time);
  if (size == 0) fail("strftime_now: the text is too long");
  text.resize(size - 1);
  return text;
}

}  // namespace diffulex::jinja

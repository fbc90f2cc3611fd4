#include "engine/stop_strings.h"

#include <algorithm>

#include "engine/request_record.h"

namespace diffulex {

size_t find_stop_string(std::string_view text, size_t from,
                        const std::vector<std::string>& strings) {
  size_t begin = std::string_view::npos, end = std::string_view::npos;
  for (const std::string& s : strings) {
    const size_t earliest = from + 1 > s.size() ? from + 1 - s.size() : 0;
    const size_t at = text.find(s, earliest);
    if (at == std::string_view::npos) continue;
    const size_t behind = at + s.size();
    if (end == std::string_view::npos || behind < end || (behind == end && at < begin)) {
      begin = at;
      end = behind;
    }
  }
  return begin;
}

size_t stop_string_begun(std::string_view text, const std::vector<std::string>& strings) {
  size_t longest = 0;
  for (const std::string& s : strings)
    for (size_t n = std::min(s.size() - 1, text.size()); n > longest; --n)
      if (text.ends_with(std::string_view(s).substr(0, n))) longest = n;
  return longest;
}

void end_at_stop_string(Request& request) {
  const std::vector<std::string>& strings = request.spec.stop_strings;
  if (strings.empty()) return;
  decide::Window& w = request.window;
  RequestRecord& record = *request.record;
  const std::lock_guard lock(record.mutex);
  const auto prompt_len = static_cast<size_t>(w.prompt_len);
  while (prompt_len + record.decoded < static_cast<size_t>(w.committed_end)) {
    const size_t from = record.text.size();
    const std::span<const int32_t> token =
        std::span<const int32_t>(request.tokens()).subspan(prompt_len + record.decoded, 1);
    record.decode(token);
    const size_t begin = find_stop_string(record.text, from, strings);
    if (begin == std::string::npos) continue;
    record.text_end = begin;
    w.committed_end = w.prompt_len + static_cast<int32_t>(record.decoded);
    w.finish = decide::kStopString;
    return;
  }
  record.text_end = record.text.size() - stop_string_begun(record.text, strings);
}

}  // namespace diffulex

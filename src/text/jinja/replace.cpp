#include "text/jinja/replace.h"

#include "text/jinja/characters.h"
#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

bool may_replace(int64_t done, int64_t limit) { return limit < 0 || done < limit; }

std::string interleave(Budget& budget, std::string_view text, const Replacement& replacement) {
  std::string out;
  int64_t done = 0;
  for (size_t at = 0; at <= text.size();) {
    if (may_replace(done, replacement.limit)) {
      budget.bytes(replacement.to.size());
      out += replacement.to;
      ++done;
    }
    if (at == text.size()) break;
    const size_t size = text::read_utf8(text, at).size;
    out += text.substr(at, size);
    at += size;
  }
  return out;
}

}  // namespace

std::string replace(Budget& budget, std::string_view text, const Replacement& replacement) {
  budget.steps(text.size() / 16 + 1);
  budget.bytes(text.size());
  if (replacement.from.empty()) return interleave(budget, text, replacement);
  std::string out;
  size_t begin = 0;
  for (int64_t done = 0; may_replace(done, replacement.limit); ++done) {
    const size_t at = find(text, replacement.from, begin);
    if (at == std::string_view::npos) break;
    budget.bytes(replacement.to.size());
    out += text.substr(begin, at - begin);
    out += replacement.to;
    begin = at + replacement.from.size();
  }
  out += text.substr(begin);
  return out;
}

}  // namespace diffulex::jinja

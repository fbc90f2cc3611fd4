#include "text/detokenizer.h"

#include <algorithm>
#include <string_view>

#include "text/utf8.h"

namespace diffulex::text {
namespace {

// Bytes at the end that may begin a character.
size_t incomplete_size(std::string_view bytes) {
  const size_t longest = std::min<size_t>(3, bytes.size());
  for (size_t size = longest; size > 0; --size) {
    const Utf8Unit unit = read_utf8(bytes, bytes.size() - size);
    if (unit.kind == Utf8Unit::kIncomplete && unit.size == size) return size;
  }
  return 0;
}

}  // namespace

std::string Detokenizer::push(std::span<const int32_t> tokens) {
  std::string bytes = held_;
  for (const int32_t id : tokens) tokenizer_->append_bytes(id, keep_special_, bytes);
  const size_t complete = bytes.size() - incomplete_size(bytes);
  std::string out;
  append_repaired(std::string_view(bytes).substr(0, complete), out);
  held_ = bytes.substr(complete);
  return out;
}

std::string Detokenizer::flush() {
  std::string out;
  append_repaired(held_, out);
  held_.clear();
  return out;
}

}  // namespace diffulex::text

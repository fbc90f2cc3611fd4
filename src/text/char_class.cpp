#include "text/char_class.h"

#include <algorithm>
#include <map>

#include "text/char_ranges.h"
#include "text/utf8.h"

namespace diffulex::text {
namespace {

void mark(std::span<const CharRange> ranges, CharClass value, std::vector<CharClass>& classes) {
  for (const CharRange& range : ranges) {
    std::fill(classes.begin() + range.first, classes.begin() + range.last + 1, value);
  }
}

}  // namespace

const CharClassTable& CharClassTable::get() {
  static const CharClassTable table;
  return table;
}

CharClassTable::CharClassTable() {
  std::vector<CharClass> all(kEnd, CharClass::kOther);
  mark(letter_ranges(), CharClass::kLetter, all);
  mark(number_ranges(), CharClass::kNumber, all);
  for (uint32_t code = 0; code <= 0x3000; ++code) {
    if (is_white_space(code)) all[code] = CharClass::kSpace;
  }
  std::map<std::vector<CharClass>, uint16_t> known;
  for (uint32_t block = 0; block < kEnd / kBlock; ++block) {
    const auto begin = all.begin() + block * kBlock;
    std::vector<CharClass> content(begin, begin + kBlock);
    const auto [entry, fresh] =
        known.emplace(std::move(content), static_cast<uint16_t>(known.size()));
    blocks_[block] = entry->second;
    if (fresh) classes_.insert(classes_.end(), begin, begin + kBlock);
  }
}

}  // namespace diffulex::text

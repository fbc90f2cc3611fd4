#include "text/added_tokens.h"

#include <algorithm>

#include "text/utf8.h"

namespace diffulex::text {
namespace {

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  if (begin > 0 && is_word(read_utf8_before(text, begin).code)) return false;
  return end == text.size() || !is_word(read_utf8(text, end).code);
}

size_t skip_space_back(std::string_view text, size_t floor, size_t pos) {
  while (pos > floor) {
    const Utf8Unit unit = read_utf8_before(text, pos);
    if (!is_white_space(unit.code)) break;
    pos -= unit.size;
  }
  return pos;
}

size_t skip_space(std::string_view text, size_t pos) {
  while (pos < text.size()) {
    const Utf8Unit unit = read_utf8(text, pos);
    if (!is_white_space(unit.code)) break;
    pos += unit.size;
  }
  return pos;
}

}  // namespace

int32_t AddedTokenMatcher::child_of(int32_t node, uint8_t byte) const {
  if (node == 0) return starts_[byte];
  int32_t child = nodes_[node].child;
  while (child >= 0 && nodes_[child].byte != byte) child = nodes_[child].sibling;
  return child;
}

void AddedTokenMatcher::add(std::string_view content, const AddedToken& token) {
  if (content.empty()) return;
  int32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<uint8_t>(c);
    int32_t child = child_of(node, byte);
    if (child < 0) {
      child = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({byte, -1, nodes_[node].child, -1});
      nodes_[node].child = child;
      if (node == 0) starts_[byte] = child;
    }
    node = child;
  }
  nodes_[node].rule = static_cast<int32_t>(rules_.size());
  rules_.push_back({token.id, token.single_word, token.lstrip, token.rstrip, token.special});
}

AddedTokenMatcher::Match AddedTokenMatcher::longest_at(std::string_view text, size_t pos) const {
  Match match{0, -1};
  int32_t node = 0;
  for (size_t i = pos; i < text.size(); ++i) {
    node = child_of(node, static_cast<uint8_t>(text[i]));
    if (node < 0) break;
    if (nodes_[node].rule >= 0) match = {i + 1 - pos, nodes_[node].rule};
  }
  return match;
}

// Where the next byte stands that a token begins with.
size_t AddedTokenMatcher::next_start(std::string_view text, size_t pos) const {
  while (pos < text.size() && starts_[static_cast<uint8_t>(text[pos])] < 0) ++pos;
  return pos;
}

void AddedTokenMatcher::split(std::string_view text, bool parse_special,
                              std::vector<Segment>& out) const {
  size_t taken = 0;
  size_t pos = rules_.empty() ? text.size() : next_start(text, 0);
  for (; pos < text.size(); pos = next_start(text, pos)) {
    const Match match = longest_at(text, pos);
    if (match.size == 0) {
      ++pos;
      continue;
    }
    const Rule& rule = rules_[match.rule];
    size_t begin = pos;
    size_t end = pos + match.size;
    pos = end;
    if (rule.special && !parse_special) continue;
    if (rule.single_word && !stands_alone(text, begin, end)) continue;
    if (rule.lstrip) begin = skip_space_back(text, std::min(taken, begin), begin);
    if (rule.rstrip) end = skip_space(text, end);
    if (begin > taken) out.push_back({text.substr(taken, begin - taken), -1});
    out.push_back({text.substr(begin, end - begin), rule.id});
    taken = end;
  }
  if (taken < text.size()) out.push_back({text.substr(taken), -1});
}

}  // namespace diffulex::text

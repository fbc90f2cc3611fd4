#include <algorithm>
#include <array>
#include <string>

#include "text/jinja/characters.h"
#include "text/jinja/iterate.h"
#include "text/jinja/methods.h"
#include "text/jinja/replace.h"
#include "text/jinja/write.h"
#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

Value make(Run& run, std::string_view text) { return Value::string(run.budget, std::string(text)); }

Value make_list(Run& run, const Pieces& pieces) {
  Values items;
  for (const std::string_view piece : pieces) items.push_back(make(run, piece));
  return Value::list(run.budget, std::move(items));
}

// The text of a method's subject, paid for: every method reads it all at most.
const std::string& read(Run& run, const Value& self) {
  run.budget.reading(self.text().size());
  return self.text();
}

using Change = std::string (*)(std::string_view);

template <Change change>
Value changed(Run& run, const Value& self, const Arguments& arguments) {
  const Bound none(arguments, "a method that changes case", {});
  return make(run, change(read(run, self)));
}

template <Side side>
Value stripped(Run& run, const Value& self, const Arguments& arguments) {
  const Bound bound(arguments, "strip", {"chars"});
  const std::string* set = bound.text(0);
  if (set == nullptr) return make(run, strip(read(run, self), {}, side));
  run.budget.steps((self.text().size() / 16 + 1) * (set->size() / 16 + 1));
  return make(run, strip(self.text(), *set, side));
}

bool has_affix(Run& run, const std::string& text, const Value& affix, bool at_end) {
  if (!affix.is(Kind::kString))
    fail("startswith and endswith take strings, not " + std::string(affix.type_name()));
  run.budget.reading(affix.text().size());
  return at_end ? text.ends_with(affix.text()) : text.starts_with(affix.text());
}

template <bool at_end>
Value affixed(Run& run, const Value& self, const Arguments& arguments) {
  if (arguments.positional.size() > 1) refuse("startswith and endswith inside of bounds");
  const Bound bound(arguments, "startswith and endswith", {"affix"});
  const std::string& text = read(run, self);
  const Value& affix = bound.need(0);
  if (!affix.is(Kind::kTuple)) return Value::boolean(has_affix(run, text, affix, at_end));
  return Value::boolean(
      std::any_of(affix.items().begin(), affix.items().end(),
                  [&](const Value& each) { return has_affix(run, text, each, at_end); }));
}

template <bool at_end>
Value without_affix(Run& run, const Value& self, const Arguments& arguments) {
  const Bound bound(arguments, "removeprefix and removesuffix", {"affix"});
  const std::string& text = read(run, self);
  const Value& affix = bound.need(0);
  if (!has_affix(run, text, affix, at_end)) return self;
  const size_t size = text.size() - affix.text().size();
  return make(run, text.substr(at_end ? 0 : affix.text().size(), size));
}

template <bool from_right>
Value parted(Run& run, const Value& self, const Arguments& arguments) {
  const Bound bound(arguments, "split", {"sep", "maxsplit"});
  const std::string& text = read(run, self);
  const std::string* separator = bound.text(0);
  const int64_t limit = bound.integer(1).value_or(-1);
  if (separator == nullptr)
    return make_list(run, from_right ? split_spaces_right(run.budget, text, limit)
                                     : split_spaces(run.budget, text, limit));
  if (separator->empty()) fail("split: the separator is empty");
  if (from_right)  // a search from the right compares again and again
    run.budget.steps((text.size() / 16 + 1) * (separator->size() / 16 + 1));
  return make_list(run, from_right ? split_right(run.budget, text, *separator, limit)
                                   : split(run.budget, text, *separator, limit));
}

Value lines(Run& run, const Value& self, const Arguments& arguments) {
  const Bound bound(arguments, "splitlines", {"keepends"});
  return make_list(run, split_lines(run.budget, read(run, self), bound.flag(0, false)));
}

Value replaced(Run& run, const Value& self, const Arguments& arguments) {
  const Bound bound(arguments, "replace", {"old", "new", "count"});
  bound.need(0);
  bound.need(1);
  const std::string *from = bound.text(0), *to = bound.text(1);
  if (from == nullptr || to == nullptr) fail("replace takes strings");
  const Replacement replacement{*from, *to, bound.integer(2).value_or(-1)};
  return make(run, replace(run.budget, self.text(), replacement));
}

const std::string& needed_text(const Bound& bound, const char* who) {
  bound.need(0);
  const std::string* part = bound.text(0);
  if (part == nullptr) fail(std::string(who) + " takes a string");
  return *part;
}

template <bool from_right>
Value found(Run& run, const Value& self, const Arguments& arguments) {
  if (arguments.positional.size() > 1) refuse("find inside of bounds");
  const Bound bound(arguments, "find", {"sub"});
  const std::string& text = read(run, self);
  const std::string& part = needed_text(bound, "find");
  if (from_right) run.budget.steps((text.size() / 16 + 1) * (part.size() / 16 + 1));
  const size_t at = from_right ? text.rfind(part) : find(text, part);
  if (at == std::string::npos) return Value::integer(-1);
  return Value::integer(
      static_cast<int64_t>(character_count(std::string_view(text).substr(0, at))));
}

Value count(Run& run, const Value& self, const Arguments& arguments) {
  if (arguments.positional.size() > 1) refuse("count inside of bounds");
  const Bound bound(arguments, "count", {"sub"});
  const std::string& text = read(run, self);
  const std::string& part = needed_text(bound, "count");
  if (part.empty()) return Value::integer(static_cast<int64_t>(character_count(text)) + 1);
  return Value::integer(static_cast<int64_t>(split(run.budget, text, part, -1).size()) - 1);
}

Value joined(Run& run, const Value& self, const Arguments& arguments) {
  const Bound bound(arguments, "join", {"iterable"});
  std::string out;
  bool first = true;
  for (const Value& item : elements(run.budget, bound.need(0))) {
    if (!item.is(Kind::kString)) fail("join takes strings, not " + std::string(item.type_name()));
    if (item.markup()) refuse("joining markup");
    run.budget.bytes(self.text().size() + item.text().size());
    if (!std::exchange(first, false)) out += self.text();
    out += item.text();
  }
  return make(run, out);
}

using IsKind = bool (*)(uint32_t code);

bool is_digit(uint32_t code) { return code >= '0' && code <= '9'; }

// Beyond ASCII Python asks for properties that are not at hand.
template <IsKind is_kind, bool ascii_only>
Value consists(Run& run, const Value& self, const Arguments& arguments) {
  const Bound none(arguments, "a method that looks at characters", {});
  const std::string& text = read(run, self);
  bool all = !text.empty();
  for (size_t at = 0; at < text.size();) {
    const text::Utf8Unit unit = text::read_utf8(text, at);
    if (ascii_only && unit.code >= 0x80) refuse("isdigit beyond ASCII");
    all = all && is_kind(unit.code);
    at += unit.size;
  }
  return Value::boolean(all);
}

constexpr auto kStringMethods = std::to_array<MethodEntry>({
    {"startswith", affixed<false>},
    {"endswith", affixed<true>},
    {"split", parted<false>},
    {"rsplit", parted<true>},
    {"splitlines", lines},
    {"strip", stripped<Side::kBoth>},
    {"lstrip", stripped<Side::kLeft>},
    {"rstrip", stripped<Side::kRight>},
    {"upper", changed<upper>},
    {"lower", changed<lower>},
    {"capitalize", changed<capitalize>},
    {"title", changed<title>},
    {"replace", replaced},
    {"find", found<false>},
    {"rfind", found<true>},
    {"count", count},
    {"join", joined},
    {"removeprefix", without_affix<false>},
    {"removesuffix", without_affix<true>},
    {"isspace", consists<is_space, false>},
    {"isdigit", consists<is_digit, true>},
    {"casefold", nullptr},
    {"center", nullptr},
    {"encode", nullptr},
    {"expandtabs", nullptr},
    {"format", nullptr},
    {"format_map", nullptr},
    {"index", nullptr},
    {"isalnum", nullptr},
    {"isalpha", nullptr},
    {"isascii", nullptr},
    {"isdecimal", nullptr},
    {"isidentifier", nullptr},
    {"islower", nullptr},
    {"isnumeric", nullptr},
    {"isprintable", nullptr},
    {"istitle", nullptr},
    {"isupper", nullptr},
    {"ljust", nullptr},
    {"maketrans", nullptr},
    {"partition", nullptr},
    {"rindex", nullptr},
    {"rjust", nullptr},
    {"rpartition", nullptr},
    {"swapcase", nullptr},
    {"translate", nullptr},
    {"zfill", nullptr},
});

}  // namespace

const MethodEntry* find_string_method(std::string_view name) {
  const auto* at = std::find_if(kStringMethods.begin(), kStringMethods.end(),
                                [&](const MethodEntry& entry) { return entry.name == name; });
  return at != kStringMethods.end() ? at : nullptr;
}

}  // namespace diffulex::jinja

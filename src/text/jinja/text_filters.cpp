// Filters that make text.
#include <array>
#include <string>
#include <utility>

#include "text/jinja/characters.h"
#include "text/jinja/filters.h"
#include "text/jinja/iterate.h"
#include "text/jinja/replace.h"
#include "text/jinja/write.h"
#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

Value make(Run& run, std::string text) { return Value::string(run.budget, std::move(text)); }

// What is not text yet becomes it.
std::string plain_text(Run& run, const Value& input) {
  if (input.markup()) refuse("a filter of markup");
  return to_string(run.budget, input);
}

using Change = std::string (*)(std::string_view);

template <Change change>
Value changed(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "a filter that changes case", {});
  const std::string text = plain_text(run, input);
  run.budget.steps(text.size() / 16);
  return make(run, change(text));
}

// Not as the method: words are parted by few characters, and the rest becomes small.
std::string title_words(std::string_view text) {
  constexpr std::string_view kBreaks = "-({[<";
  std::string out;
  bool at_start = true;
  for (size_t at = 0; at < text.size();) {
    const text::Utf8Unit unit = text::read_utf8(text, at);
    const std::string_view character = text.substr(at, unit.size);
    out += at_start ? upper(character) : lower(character);
    at_start = is_space(unit.code) || kBreaks.find(character) != std::string_view::npos;
    at += unit.size;
  }
  return out;
}

Value trim(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "trim", {"chars"});
  const std::string text = plain_text(run, input);
  const std::string* set = bound.text(0);
  const size_t set_size = set != nullptr ? set->size() : 0;
  run.budget.steps((text.size() / 16 + 1) * (set_size / 16 + 1));
  const auto chars = set != nullptr ? std::optional<std::string_view>(*set) : std::nullopt;
  return make(run, std::string(strip(text, chars, Side::kBoth)));
}

Value replaced(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "replace", {"old", "new", "count"});
  const std::string text = to_string(run.budget, input);
  const std::string from = to_string(run.budget, bound.need(0));
  const std::string to = to_string(run.budget, bound.need(1));
  return make(run, replace(run.budget, text, {from, to, bound.integer(2).value_or(-1)}));
}

Value string(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "string", {});
  return input.is(Kind::kString) ? input : make(run, to_string(run.budget, input));
}

Value safe(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "safe", {});
  return Value::string(run.budget, to_string(run.budget, input), true);
}

Value escape(Run& run, const Value& input, const Arguments& arguments) {
  const Bound none(arguments, "escape", {});
  return Value::string(run.budget, to_markup(run.budget, input), true);
}

std::string indent_of(Run& run, const Value* width, int64_t absent) {
  if (width != nullptr && width->is(Kind::kString)) return width->text();
  if (width != nullptr && !width->is_integral()) fail("the width of an indent must be an integer");
  const auto size =
      static_cast<uint64_t>(std::max<int64_t>(0, width != nullptr ? width->as_int() : absent));
  run.budget.bytes(size);
  return std::string(size, ' ');
}

Value indent(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "indent", {"width", "first", "blank"});
  if (!input.is(Kind::kString))
    fail("indent takes a string, not " + std::string(input.type_name()));
  if (input.markup()) refuse("a filter of markup");
  const std::string margin = indent_of(run, bound.get(0), 4);
  const bool blank = bound.flag(2, false);
  const std::string text = input.text() + "\n";  // so that a last empty line counts
  std::string out = bound.flag(1, false) ? margin : "";
  bool first = true;
  for (const std::string_view line : split_lines(run.budget, text, false)) {
    run.budget.bytes(line.size() + margin.size() + 1);
    if (!first) out += "\n";
    if (!first && (blank || !line.empty())) out += margin;
    out += line;
    first = false;
  }
  return make(run, std::move(out));
}

// The two separators as json.dumps takes them.
void read_separators(const Value& pair, JsonStyle* style) {
  const bool sound = (pair.is(Kind::kList) || pair.is(Kind::kTuple)) && pair.items().size() == 2 &&
                     pair.items()[0].is(Kind::kString) && pair.items()[1].is(Kind::kString);
  if (!sound) fail("tojson: separators must be two strings");
  style->item_separator = pair.items()[0].text();
  style->key_separator = pair.items()[1].text();
}

Value json(Run& run, const Value& input, const Arguments& arguments) {
  const Bound bound(arguments, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ascii = bound.flag(0, false);
  style.sort_keys = bound.flag(3, false);
  const Value *width = bound.get(1), *separators = bound.get(2);
  if (width != nullptr && !width->is(Kind::kNone)) {
    style.indent = indent_of(run, width, 0);
    style.item_separator = ",";
  }
  if (separators != nullptr && !separators->is(Kind::kNone)) read_separators(*separators, &style);
  return make(run, to_json(run.budget, input, style));
}

constexpr auto kFilters = std::to_array<FilterEntry>({
    {"trim", trim},
    {"upper", changed<upper>},
    {"lower", changed<lower>},
    {"capitalize", changed<capitalize>},
    {"title", changed<title_words>},
    {"replace", replaced},
    {"string", string},
    {"safe", safe},
    {"escape", escape},
    {"e", escape},
    {"indent", indent},
    {"tojson", json},
});

}  // namespace

std::span<const FilterEntry> text_filters() { return kFilters; }

}  // namespace diffulex::jinja

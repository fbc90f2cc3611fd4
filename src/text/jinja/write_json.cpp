#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "text/jinja/compare.h"
#include "text/jinja/dict.h"
#include "text/jinja/number.h"
#include "text/jinja/write.h"
#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  void write(const Value& value) {
    budget_.steps(1);
    switch (value.kind()) {
      case Kind::kString:
        return write_text(value.text());
      case Kind::kDict:
        return write_dict(value.dict());
      case Kind::kList:
      case Kind::kTuple:
        return write_list(value.items());
      default:
        put(atom(value));
    }
  }

  std::string take() { return std::move(out_); }

 private:
  void put(std::string_view text) {
    budget_.bytes(text.size());
    out_.append(text);
  }

  static std::string atom(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return value.as_bool() ? "true" : "false";
      case Kind::kInt:
        return std::to_string(value.as_int());
      case Kind::kFloat:
        return real(value.as_real());
      default:
        fail("tojson: a value of type " + std::string(value.type_name()) + " has no JSON");
    }
  }

  static std::string real(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return format_real(value);
  }

  void write_list(const Values& items) {
    if (items.empty()) return put("[]");
    open("[");
    bool first = true;
    for (const Value& item : items) {
      separate(&first);
      write(item);
    }
    close("]");
  }

  void write_dict(const Dict& dict) {
    if (dict.size() == 0) return put("{}");
    open("{");
    bool first = true;
    for (const auto& [key, value] : sorted(dict)) {
      separate(&first);
      write_text(key.is(Kind::kString) ? key.text() : atom(key));
      put(style_.key_separator);
      write(value);
    }
    close("}");
  }

  std::vector<Dict::Entry> sorted(const Dict& dict) {
    budget_.steps(dict.size());
    std::vector<Dict::Entry> entries = dict.entries();
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const Dict::Entry& a, const Dict::Entry& b) {
                         return less(budget_, a.first, b.first);
                       });
    }
    return entries;
  }

  void open(std::string_view mark) {
    put(mark);
    ++level_;
    new_line();
  }

  void separate(bool* first) {
    if (std::exchange(*first, false)) return;
    put(style_.item_separator);
    new_line();
  }

  void close(std::string_view mark) {
    --level_;
    new_line();
    put(mark);
  }

  void new_line() {
    if (!style_.indent) return;
    put("\n");
    for (int i = 0; i < level_; ++i) put(*style_.indent);
  }

  void write_text(std::string_view text) {
    put("\"");
    for (size_t at = 0; at < text.size();) {
      const text::Utf8Unit unit = text::read_utf8(text, at);
      write_character(unit.code, text.substr(at, unit.size));
      at += unit.size;
    }
    put("\"");
  }

  void write_character(uint32_t code, std::string_view character) {
    constexpr std::string_view kPlain = "\"\\\n\r\t\f\b", kShort = "\"\\nrtfb";
    const size_t at = code < 0x80 ? kPlain.find(static_cast<char>(code)) : std::string_view::npos;
    if (at != std::string_view::npos) {
      put("\\");
      put(kShort.substr(at, 1));
    } else if (code < 0x20 || (style_.ascii && code > 0x7E)) {
      escape(code);
    } else {
      put(character);
    }
  }

  void escape(uint32_t code) {
    if (code >= 0x10000) {  // two surrogates
      escape(0xD800 + ((code - 0x10000) >> 10));
      code = 0xDC00 + ((code - 0x10000) & 0x3FF);
    }
    std::array<char, 8> text{};
    std::snprintf(text.data(), text.size(), "\\u%04x", code);
    put(text.data());
  }

  Budget& budget_;
  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
};

}  // namespace

std::string to_json(Budget& budget, const Value& value, const JsonStyle& style) {
  JsonWriter writer(budget, style);
  writer.write(value);
  return writer.take();
}

}  // namespace diffulex::jinja

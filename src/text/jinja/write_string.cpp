#include <array>
#include <cstdio>

#include "text/jinja/callable.h"
#include "text/jinja/characters.h"
#include "text/jinja/dict.h"
#include "text/jinja/number.h"
#include "text/jinja/write.h"
#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

// Writes into one string and counts what it writes.
class Writer {
 public:
  Writer(Budget& budget, std::string& out) : budget_(budget), out_(out) {}

  void put(std::string_view text) {
    budget_.bytes(text.size());
    out_.append(text);
  }

  // As Python's repr.
  void represent(const Value& value) {
    budget_.steps(1);
    if (value.is(Kind::kString)) {
      if (value.markup()) refuse("printing markup inside of a list");
      quote(value.text());
    } else if (value.is(Kind::kUndefined)) {
      put("Undefined");
    } else if (value.is(Kind::kDict)) {
      represent_dict(value.dict());
    } else if (value.is_sequence()) {
      represent_sequence(value);
    } else {
      represent_atom(value);
    }
  }

 private:
  void represent_atom(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        return put("None");
      case Kind::kBool:
        return put(value.as_bool() ? "True" : "False");
      case Kind::kInt:
        return put(std::to_string(value.as_int()));
      case Kind::kFloat:
        return put(format_real(value.as_real()));
      default:
        refuse("printing a value of type " + std::string(value.type_name()));
    }
  }

  void represent_dict(const Dict& dict) {
    put("{");
    bool first = true;
    for (const auto& [key, value] : dict.entries()) {
      if (!std::exchange(first, false)) put(", ");
      represent(key);
      put(": ");
      represent(value);
    }
    put("}");
  }

  void represent_sequence(const Value& value) {
    if (value.is(Kind::kRange)) refuse("printing a range");
    const bool is_tuple = value.is(Kind::kTuple), is_list = value.is(Kind::kList);
    if (!is_tuple && !is_list) put(std::string(value.type_name()) + "(");
    put(is_tuple ? "(" : "[");
    bool first = true;
    for (const Value& item : value.items()) {
      if (!std::exchange(first, false)) put(", ");
      represent(item);
    }
    if (is_tuple && value.items().size() == 1) put(",");
    put(is_tuple ? ")" : "]");
    if (!is_tuple && !is_list) put(")");
  }

  void quote(std::string_view text) {
    const bool single = text.find('\'') != std::string_view::npos;
    const char mark = single && text.find('"') == std::string_view::npos ? '"' : '\'';
    put({&mark, 1});
    for (size_t at = 0; at < text.size();) {
      const text::Utf8Unit unit = text::read_utf8(text, at);
      put_character(unit.code, text.substr(at, unit.size), mark);
      at += unit.size;
    }
    put({&mark, 1});
  }

  void put_character(uint32_t code, std::string_view character, char mark) {
    if (code == '\n') return put("\\n");
    if (code == '\r') return put("\\r");
    if (code == '\t') return put("\\t");
    if (code == '\\' || code == static_cast<unsigned char>(mark)) put("\\");
    if (is_printable(code)) return put(character);
    std::array<char, 12> escape{};
    const char* form = code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x";
    // The forms are the three above.
    std::snprintf(escape.data(), escape.size(), form, code);  // NOLINT
    put(escape.data());
  }

  Budget& budget_;
  std::string& out_;
};

void put_escaped(Writer& writer, char c) {
  switch (c) {
    case '&':
      return writer.put("&amp;");
    case '<':
      return writer.put("&lt;");
    case '>':
      return writer.put("&gt;");
    case '\'':
      return writer.put("&#39;");
    case '"':
      return writer.put("&#34;");
    default:
      return writer.put({&c, 1});
  }
}

}  // namespace

void write_string(Budget& budget, const Value& value, std::string& out) {
  Writer writer(budget, out);
  if (value.is(Kind::kString)) {
    writer.put(value.text());
  } else if (!value.is(Kind::kUndefined)) {
    writer.represent(value);
  }
}

std::string to_string(Budget& budget, const Value& value) {
  std::string out;
  write_string(budget, value, out);
  return out;
}

std::string to_markup(Budget& budget, const Value& value) {
  std::string text = to_string(budget, value);
  if (value.markup()) return text;
  std::string out;
  Writer writer(budget, out);
  for (const char c : text) put_escaped(writer, c);
  return out;
}

}  // namespace diffulex::jinja

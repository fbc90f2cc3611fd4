// Values on their own: numbers, characters, mappings, JSON.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "expect_error.h"
#include "jinja_render.h"
#include "text/jinja/characters.h"
#include "text/jinja/compare.h"
#include "text/jinja/number.h"
#include "text/jinja/write.h"

namespace diffulex::jinja {
namespace {

using diffulex::testing::expect_error;

std::string written(const Value& value) {
  Budget budget{Limits{}};
  return to_string(budget, value);
}

TEST(JinjaNumber, PythonsForm) {
  EXPECT_EQ(format_real(0), "0.0");
  EXPECT_EQ(format_real(-0.0), "-0.0");
  EXPECT_EQ(format_real(1e15), "1000000000000000.0");
  EXPECT_EQ(format_real(1e16), "1e+16");
  EXPECT_EQ(format_real(123456.7), "123456.7");
  EXPECT_EQ(format_real(0.0001), "0.0001");
  EXPECT_EQ(format_real(0.00001234), "1.234e-05");
  EXPECT_EQ(format_real(-1.5e300), "-1.5e+300");
  EXPECT_EQ(format_real(5e-324), "5e-324");
  EXPECT_EQ(format_real(std::numeric_limits<double>::max()), "1.7976931348623157e+308");
}

TEST(JinjaNumber, EveryRealReadsBackAsItself) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = random();
    double value = 0;
    static_assert(sizeof(bits) == sizeof(value));
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) continue;
    const std::string text = format_real(value);
    EXPECT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
    EXPECT_EQ(parse_real(text), value) << text;
  }
}

// floor_divide and modulo fit each other, and the latter has the sign of the divisor.
TEST(JinjaNumber, Division) {
  for (int64_t a = -20; a <= 20; ++a) {
    for (int64_t b = -7; b <= 7; ++b) {
      if (b == 0) continue;
      EXPECT_EQ(floor_divide(a, b) * b + modulo(a, b), a);
      EXPECT_TRUE(modulo(a, b) == 0 || (modulo(a, b) < 0) == (b < 0));
      EXPECT_EQ(floor_divide(a, b),
                static_cast<int64_t>(std::floor(static_cast<double>(a) / static_cast<double>(b))));
      EXPECT_EQ(floor_divide(static_cast<double>(a), static_cast<double>(b)),
                static_cast<double>(floor_divide(a, b)));
    }
  }
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(modulo(kLeast, int64_t{-1}), 0);
  EXPECT_THROW(floor_divide(kLeast, int64_t{-1}), Failure);
}

TEST(JinjaNumber, Parsing) {
  EXPECT_EQ(parse_integer(" +4_2\n"), 42);
  for (const char* text :
       {"", " ", "+", "-", "+-1", "--1", "_1", "1_", "1__0", "1.0", "0x1", "1 2"})
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  EXPECT_EQ(parse_real("1_0.5e1"), 105);
  EXPECT_EQ(parse_real("1e999"), HUGE_VAL);
  EXPECT_EQ(parse_real("-1e999"), -HUGE_VAL);
  EXPECT_EQ(parse_real("1e-999"), 0);
  for (const char* text : {"", "e5", ".", "+-1.0", "1_.0", "nan(1)", "0x1p3", "1.0.0"})
    EXPECT_EQ(parse_real(text), std::nullopt) << text;
}

TEST(JinjaCharacters, SplitAndStrip) {
  Budget budget{Limits{}};
  EXPECT_EQ(character_count("a\u00e9\u65e5\U0001F600"), 4u);
  EXPECT_EQ(characters(budget, "a\u00e9\u65e5"), (Pieces{"a", "\u00e9", "\u65e5"}));
  EXPECT_EQ(split_lines(budget,
                        "a\r\nb\x85"
                        "c\n",
                        false)
                .size(),
            2u);  // a byte 0x85 alone is no character
  EXPECT_EQ(split_lines(budget, "a\u0085b\vc", true), (Pieces{"a\u0085", "b\v", "c"}));
  EXPECT_EQ(strip("\u2003a\u3000", {}, Side::kBoth), "a");
  EXPECT_EQ(strip("\u00e9a\u00e9", "\u00e9", Side::kLeft), "a\u00e9");
}

TEST(JinjaJson, KeepsTheOrderOfKeys) {
  EXPECT_EQ(written(parse(R"({"b": 1, "a": {"z": [1, 2.0, null], "y": "\u00e9"}})")),
            "{'b': 1, 'a': {'z': [1, 2.0, None], 'y': '\u00e9'}}");
  EXPECT_EQ(written(parse("[-1, 9223372036854775807, 1e2, true, false]")),
            "[-1, 9223372036854775807, 100.0, True, False]");
}

TEST(JinjaJson, Refusals) {
  const auto refuses = [](const std::string& text) {
    try {
      parse(text);
      ADD_FAILURE() << text;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status(), DIFFULEX_E_INVALID_ARGUMENT);
    }
  };
  for (const char* text : {"", "{", "[1,]", "{\"a\": 1, \"a\": 2}", "9223372036854775808",
                           "-99999999999999999999", "\"\xFF\"", "1 2", "nan"})
    refuses(text);
  refuses(std::string(65, '[') + std::string(65, ']'));
  EXPECT_EQ(written(parse(std::string(64, '[') + std::string(64, ']'))),
            std::string(64, '[') + std::string(64, ']'));
}

TEST(JinjaDict, ManyKeysAreFoundInOrder) {
  Budget budget{Limits{}};
  Dict dict;
  for (int i = 0; i < 5000; ++i) {
    dict.set(budget, Value::string(budget, "k" + std::to_string(i % 2500)), Value::integer(i));
    dict.set(budget, Value::integer(i), Value::integer(-i));
  }
  EXPECT_EQ(dict.size(), 7500u);
  EXPECT_EQ(dict.find("k7")->as_int(), 2507);
  EXPECT_EQ(dict.find(budget, Value::real(7))->as_int(), -7);
  EXPECT_EQ(dict.find(budget, Value::boolean(true))->as_int(), -1);
  EXPECT_EQ(dict.find(budget, Value()), nullptr);
  EXPECT_EQ(dict.entries()[2].first.text(), "k1");
  const Dict copy = dict;  // NOLINT: that it can be copied is what is tested
  EXPECT_EQ(copy.find("k2499")->as_int(), 4999);
}

TEST(JinjaDict, HoldsWhatItsKeysLookAt) {
  Budget budget{Limits{}};
  Dict dict;
  {
    const Value key = Value::string(budget, std::string(100, 'k'));
    dict.set(budget, key, Value::integer(1));
  }
  EXPECT_EQ(dict.find(std::string(100, 'k'))->as_int(), 1);
}

TEST(JinjaTemplate, RendersFromManyThreads) {
  const Template shared(
      "{% macro m(a) %}<{{ a }}>{% endmacro %}{% for i in l %}{{ m(i) }}"
      "{% set x = i %}{{ x }}{% endfor %}{{ d | tojson }}",
      "t");
  const Value variables = parse(R"({"l": [1, 2, 3], "d": {"b": "x", "a": [1]}})");
  std::vector<std::string> out(4);
  std::vector<std::thread> threads;
  for (std::string& text : out)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) text = shared.render(variables.dict(), 0);
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : out) EXPECT_EQ(text, "<1>1<2>2<3>3{\"b\": \"x\", \"a\": [1]}");
}

TEST(JinjaTemplate, InvalidUtf8InTheSourceIsRepaired) {
  EXPECT_EQ(render("a\xFF{{ '\xC3' }}"), "a\uFFFD\uFFFD");
}

TEST(JinjaNumber, WhatNoDoubleHoldsIsInfiniteOrZero) {
  for (const char* text : {"1.5e400", "0.5e400", "0.001e9999999999999999999"})
    EXPECT_EQ(parse_real(text), std::numeric_limits<double>::infinity()) << text;
  EXPECT_EQ(parse_real("-1.5e+400"), -std::numeric_limits<double>::infinity());
  for (const char* text : {"1.5e-400", "1000.5e-400", "1e-9999999999999999999"})
    EXPECT_EQ(parse_real(text), 0.0) << text;
  EXPECT_EQ(parse_real(" +1_0.5 "), 10.5);
  EXPECT_EQ(parse_real("+-1"), std::nullopt);
  EXPECT_EQ(parse_integer("+ 1"), std::nullopt);
}

TEST(JinjaNumber, RoundingTakesTheExactValue) {
  EXPECT_EQ(round_real(0.125, 2), 0.12);
  EXPECT_EQ(round_real(2.675, 2), 2.67);
  EXPECT_EQ(round_real(-2.5, 0), -2.0);
  EXPECT_EQ(round_real(1.7976931348623157e308, 300), 1.7976931348623157e308);
}

}  // namespace
}  // namespace diffulex::jinja

#include "io/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "unit/expect_error.h"
#include "unit/safetensors_writer.h"

namespace diffulex {
namespace {

using testing::expect_error;

TEST(Json, ReadsObjects) {
  const auto document = parse_json_object(R"({"a": {"b": [1, {"b": 2}]}, "c": {"b": 3}})", "x");
  EXPECT_EQ(document.root()["a"]["b"][1]["b"], 2);
}

TEST(Json, RefusesWhatIsNotAnObject) {
  for (const char* text : {"", "[1]", "3", "{", "{\"a\":}", "{} x", "{\"a\": \"\xff\"}"}) {
    expect_error(DIFFULEX_E_MODEL_FORMAT, {"x.json: not "},
                 [&] { parse_json_object(text, "dir/x.json"); });
  }
}

TEST(Json, RefusesRepeatedKeysOfOneObjectOnly) {
  expect_error(DIFFULEX_E_MODEL_FORMAT, {"'b' appears twice"},
               [] { parse_json(R"({"a": {"b": 1, "c": {"b": 1}, "b": 2}})", "x"); });
  EXPECT_NO_THROW(parse_json(R"([{"b": 1}, {"b": 1}, {"a": {"b": 1}, "b": {"a": 2}}])", "x"));
  EXPECT_NO_THROW(parse_json(R"({"b": 1, "b": 2})", "x", {.unique_keys = false}));
}

TEST(Json, LimitsDepth) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') +
           std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_NO_THROW(parse_json(nested(64), "x"));
  expect_error(DIFFULEX_E_MODEL_FORMAT, {"deeper than 64"}, [&] { parse_json(nested(65), "x"); });
  expect_error(DIFFULEX_E_MODEL_FORMAT, {"deeper"}, [&] { parse_json(nested(1000000), "x"); });
}

TEST(Json, FailsWithTheStatusAsked) {
  expect_error(DIFFULEX_E_TOKENIZER, {"not valid JSON"},
               [] { parse_json("{", "x", {.status = DIFFULEX_E_TOKENIZER}); });
}

TEST(Json, ReadsFiles) {
  const testing::TempDir dir;
  testing::write_file(dir / "a.json", "{\"a\": 1}");
  EXPECT_EQ(read_json_object(dir / "a.json").root()["a"], 1);
  expect_error(DIFFULEX_E_IO, {"b.json"}, [&] { read_json_object(dir / "b.json"); });
}

}  // namespace
}  // namespace diffulex

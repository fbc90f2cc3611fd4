#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <random>

#include "unit/expect_error.h"
#include "unit/safetensors_writer.h"

namespace diffulex {
namespace {

using testing::expect_error;
using testing::safetensors_file;
using testing::safetensors_header;

std::vector<TensorEntry> parse(const std::string& file) {
  return SafetensorsFile::parse(std::as_bytes(std::span(file)), "dir/bad.safetensors");
}

// The one tensor "t" described by these members, over 16 data bytes.
std::string one_tensor(const std::string& members) {
  return safetensors_file("{\"t\":{" + members + "}}", std::string(16, '\1'));
}

void expect_bad_file(const std::string& file, const std::string& part) {
  const Error error =
      expect_error(DIFFULEX_E_MODEL_FORMAT, {"bad.safetensors: ", part}, [&] { parse(file); });
  EXPECT_EQ(testing::detail(error, "path"), "dir/bad.safetensors");
}

void expect_bad_tensor(const std::string& members, const std::string& part) {
  const Error error = expect_error(DIFFULEX_E_MODEL_FORMAT, {"bad.safetensors: tensor 't' ", part},
                                   [&] { parse(one_tensor(members)); });
  EXPECT_EQ(testing::detail(error, "tensor"), "t");
}

TEST(Safetensors, ListsEntries) {
  const testing::TempDir dir;
  testing::write_file(dir / "a.safetensors", safetensors_file({{"b", "F32", {2, 1}, "01234567"},
                                                               {"a", "I64", {}, "abcdefgh"},
                                                               {"c", "BF16", {0, 5}, ""}}));
  const SafetensorsFile file(dir / "a.safetensors");
  ASSERT_EQ(file.entries().size(), 3u);
  const TensorEntry* b = file.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, "F32");
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(b->data), b->bytes), "01234567");
  EXPECT_EQ(file.find("a")->bytes, 8u);
  EXPECT_EQ(file.find("c")->bytes, 0u);
  EXPECT_EQ(file.find("__metadata__"), nullptr);
  EXPECT_EQ(file.find("bb"), nullptr);
}

TEST(Safetensors, KnowsWhichDtypesAreWeights) {
  EXPECT_EQ(weight_dtype("F32"), DType::kF32);
  EXPECT_EQ(weight_dtype("F16"), DType::kF16);
  EXPECT_EQ(weight_dtype("BF16"), DType::kBF16);
  EXPECT_FALSE(weight_dtype("F64"));
  EXPECT_FALSE(weight_dtype("bf16"));
}

TEST(Safetensors, KnowsForeignDtypes) {
  for (const char* dtype : {"BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"}) {
    EXPECT_EQ(parse(safetensors_file({{"t", dtype, {3}, "abc"}})).size(), 1u) << dtype;
  }
  for (const char* dtype : {"I16", "U16", "F16"}) {
    EXPECT_EQ(parse(safetensors_file({{"t", dtype, {2}, "abcd"}})).size(), 1u) << dtype;
  }
  EXPECT_EQ(parse(safetensors_file({{"t", "F4", {4}, "ab"}})).size(), 1u);
}

TEST(Safetensors, AllowsHolesAndNoTensors) {
  EXPECT_EQ(parse(one_tensor(R"("dtype":"U8","shape":[2],"data_offsets":[7,9])")).size(), 1u);
  EXPECT_TRUE(parse(safetensors_file("{}", "")).empty());
}

TEST(Safetensors, RefusesLyingLengths) {
  expect_bad_file("", "too short");
  expect_bad_file("1234567", "too short");
  expect_bad_file(safetensors_header(3) + "{}", "past the end");
  expect_bad_file(safetensors_header(100'000'001) + "{}", "above the limit");
  expect_bad_file(safetensors_header(~uint64_t{0}) + "{}", "above the limit");
  expect_bad_file(safetensors_header(0) + "{}", "not a JSON object");
}

TEST(Safetensors, RefusesBadHeaders) {
  expect_bad_file(safetensors_file("[]", ""), "not a JSON object");
  expect_bad_file(safetensors_file(" {}", ""), "not a JSON object");
  expect_bad_file(safetensors_file("{\"t\":", ""), "not valid JSON");
  expect_bad_file(safetensors_file("{\"t\":" + std::string(20, '['), ""), "deeper than 8");
  expect_bad_file(safetensors_file(R"({"t":1})", ""), "tensor 't' is not described by an object");
}

TEST(Safetensors, RefusesDuplicateNames) {
  const std::string entry = R"("t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  expect_bad_file(safetensors_file("{" + entry + "," + entry + "}", "x"), "'t' appears twice");
}

TEST(Safetensors, RefusesBadEntries) {
  expect_bad_tensor(R"("shape":[16],"data_offsets":[0,16])", "has no 'dtype'");
  expect_bad_tensor(R"("dtype":"U8","data_offsets":[0,16])", "has no 'shape'");
  expect_bad_tensor(R"("dtype":"U8","shape":[16])", "has no 'data_offsets'");
  expect_bad_tensor(R"("dtype":8,"shape":[16],"data_offsets":[0,16])", "'dtype' of the wrong type");
  expect_bad_tensor(R"("dtype":"Q9","shape":[16],"data_offsets":[0,16])", "unknown dtype 'Q9'");
  expect_bad_tensor(R"("dtype":"U8","shape":16,"data_offsets":[0,16])", "'shape' of the wrong");
  expect_bad_tensor(R"("dtype":"U8","shape":[-16],"data_offsets":[0,16])", "list of sizes");
  expect_bad_tensor(R"("dtype":"U8","shape":[1.5],"data_offsets":[0,16])", "list of sizes");
  expect_bad_tensor(R"("dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,16])",
                    "list of sizes");
  expect_bad_tensor(R"("dtype":"U8","shape":[16],"data_offsets":[0])", "two byte positions");
  expect_bad_tensor(R"("dtype":"U8","shape":[16],"data_offsets":[-1,15])", "two byte positions");
  expect_bad_tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", "end on a byte");
}

TEST(Safetensors, RefusesBadRanges) {
  expect_bad_tensor(R"("dtype":"U8","shape":[17],"data_offsets":[0,17])", "outside the 16 data");
  expect_bad_tensor(R"("dtype":"U8","shape":[2],"data_offsets":[4,2])", "outside");
  expect_bad_tensor(R"("dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,0])",
                    "outside");
  expect_bad_tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,16])", "does not fit F32 [3]");
  expect_bad_tensor(R"("dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16])",
                    "overflows");
}

TEST(Safetensors, RefusesOverlaps) {
  const std::string header = R"({"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},)"
                             R"("z":{"dtype":"U8","shape":[0],"data_offsets":[4,4]},)"
                             R"("b":{"dtype":"U8","shape":[8],"data_offsets":[7,15]}})";
  expect_bad_file(safetensors_file(header, std::string(16, 'x')), "tensor 'b' overlaps tensor 'a'");
}

TEST(Safetensors, RefusesTruncatedFiles) {
  const std::string whole = safetensors_file({{"t", "F32", {2}, "01234567"}});
  for (size_t size = 0; size < whole.size(); ++size) {
    expect_error(DIFFULEX_E_MODEL_FORMAT, {"bad.safetensors"},
                 [&] { parse(whole.substr(0, size)); });
  }
}

TEST(Safetensors, SurvivesRandomDamage) {
  const std::string sound = safetensors_file({{"model.a", "F32", {2, 3}, std::string(24, 'a')},
                                              {"model.b", "BF16", {4}, std::string(8, 'b')},
                                              {"c", "I64", {}, std::string(8, 'c')}});
  const size_t header_end = sound.size() - 40;
  std::mt19937 random(7);
  std::uniform_int_distribution<size_t> position(0, header_end - 1);
  std::uniform_int_distribution<int> byte(0, 255);
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string file = sound;
    for (int changes = round % 3; changes >= 0; --changes) {
      file[position(random)] = static_cast<char>(byte(random));
    }
    try {
      for (const TensorEntry& entry : parse(file)) {
        const auto* begin = reinterpret_cast<const char*>(entry.data);
        ASSERT_GE(begin, file.data());
        ASSERT_LE(begin + entry.bytes, file.data() + file.size());
      }
    } catch (const Error& error) {
      ASSERT_EQ(error.status(), DIFFULEX_E_MODEL_FORMAT);
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace diffulex

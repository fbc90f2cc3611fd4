#include "text/utf8.h"

#include <gtest/gtest.h>

#include "text_files.h"

namespace diffulex::text {
namespace {

TEST(TextUtf8, EveryCodePointReadsBack) {
  for (uint32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    append_utf8(code, text);
    ASSERT_EQ(text, utf8(code));
    const Utf8Unit unit = read_utf8(text, 0);
    ASSERT_EQ(unit.kind, Utf8Unit::kValid);
    ASSERT_EQ(unit.code, code);
    ASSERT_EQ(unit.size, text.size());
    ASSERT_EQ(read_utf8_before("\xE2\x82\xAC" + text, 3 + text.size()).code, code);
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const Utf8Unit part = read_utf8(std::string_view(text).substr(0, cut), 0);
      ASSERT_EQ(part.kind, Utf8Unit::kIncomplete);
      ASSERT_EQ(part.size, cut);
    }
  }
}

TEST(TextUtf8, NormalFormOfEveryCodePointNextToMarks) {
  for (uint32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xD800 && code < 0xE000) continue;
    const std::string alone = utf8(code);
    if (is_later_than_nfc(code)) {
      ASSERT_EQ(to_nfc("e\u0301" + alone), "\u00E9" + alone) << code;
      ASSERT_EQ(to_nfc("a\u0301" + alone + "\u0323"), "\u00E1" + alone + "\u0323") << code;
      continue;
    }
    ASSERT_EQ(to_nfc(alone), nfc(alone)) << code;
    std::string marked = "a";
    marked.append(alone).append("\u0301\u0323").append(alone);
    ASSERT_EQ(to_nfc(marked), nfc(marked)) << code;
  }
}

TEST(TextUtf8, NormalFormOfRandomText) {
  RandomText random(21);
  for (int i = 0; i < 20000; ++i) {
    const std::string text = random.text(random.below(20));
    ASSERT_EQ(to_nfc(text), nfc(text));
  }
}

TEST(TextUtf8, Repair) {
  std::string out = "x";
  append_repaired("a\xC3\xA9\xC3z\xF0\x9F", out);
  EXPECT_EQ(out, "xa\u00E9\uFFFDz\uFFFD");
  EXPECT_TRUE(is_valid_utf8(out));
  EXPECT_FALSE(is_valid_utf8("\xC3"));
  EXPECT_TRUE(is_valid_utf8(""));
}

TEST(TextUtf8, Classes) {
  for (const uint32_t code : {0x09U, 0x20U, 0x85U, 0xA0U, 0x2009U, 0x3000U})
    EXPECT_TRUE(is_white_space(code)) << code;
  for (const uint32_t code : {0x61U, 0x180EU, 0x200BU, 0xFEFFU})
    EXPECT_FALSE(is_white_space(code)) << code;
  for (const uint32_t code : {0x61U, 0x5FU, 0x39U, 0xDFU, 0x301U, 0x4E00U, 0x200DU, 0x24B6U})
    EXPECT_TRUE(is_word(code)) << code;
  for (const uint32_t code : {0x20U, 0x2DU, 0xBDU, 0x1F600U}) EXPECT_FALSE(is_word(code)) << code;
}

}  // namespace
}  // namespace diffulex::text

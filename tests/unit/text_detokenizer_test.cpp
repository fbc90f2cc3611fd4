#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include "expect_error.h"
#include "text_files.h"

namespace diffulex::text {
namespace {

using Ids = std::vector<int32_t>;

std::shared_ptr<const Tokenizer> bytes() {
  static const auto tokenizer = load_json(plain_tokenizer());
  return tokenizer;
}

Ids ids_of(std::string_view text) {
  Ids ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::string whole(Detokenizer detokenizer, const Ids& ids, size_t step) {
  std::string out;
  for (size_t i = 0; i < ids.size(); i += step) {
    out += detokenizer.push(std::span(ids).subspan(i, std::min(step, ids.size() - i)));
  }
  return out + detokenizer.flush();
}

TEST(TextDetokenizer, EverySplitGivesTheWholeText) {
  RandomText random(11);
  for (int i = 0; i < 60; ++i) {
    const Ids ids = tiny()->encode(random.text(25) + "<|im_end|>" + random.text(5), true);
    for (const bool keep_special : {false, true}) {
      const std::string expected = tiny()->decode(ids, keep_special);
      for (size_t split = 0; split <= ids.size(); ++split) {
        Detokenizer detokenizer(tiny(), keep_special);
        std::string out = detokenizer.push(std::span(ids).first(split));
        out += detokenizer.push(std::span(ids).subspan(split));
        EXPECT_EQ(out + detokenizer.flush(), expected);
      }
      for (size_t step = 1; step < 5; ++step) {
        EXPECT_EQ(whole(Detokenizer(tiny(), keep_special), ids, step), expected);
      }
    }
  }
}

TEST(TextDetokenizer, RandomBytesGiveTheWholeText) {
  RandomText random(12);
  for (int i = 0; i < 3000; ++i) {
    Ids ids;
    const size_t length = random.below(12);
    while (ids.size() < length) {  // leads and continuations above all
      ids.push_back(static_cast<int32_t>(random.below(4) == 0 ? random.below(256)
                                                              : 0x80 + random.below(128)));
    }
    for (size_t step = 1; step < 4; ++step) {
      EXPECT_EQ(whole(Detokenizer(bytes(), true), ids, step), bytes()->decode(ids, true));
    }
  }
}

TEST(TextDetokenizer, HoldsBackTheBeginOfACharacter) {
  Detokenizer d(bytes(), false);
  EXPECT_EQ(d.push(ids_of("a\xF0")), "a");
  EXPECT_EQ(d.push(ids_of("\x9F")), "");
  EXPECT_EQ(d.push(ids_of("\x98")), "");
  EXPECT_EQ(d.push(ids_of("\x80z")), "\U0001F600z");
  EXPECT_EQ(d.flush(), "");
}

TEST(TextDetokenizer, GivesHopelessBytesAtOnce) {
  Detokenizer d(bytes(), false);
  EXPECT_EQ(d.push(ids_of("\x80")), "\uFFFD");
  EXPECT_EQ(d.push(ids_of("\xED\xA0")), "\uFFFD\uFFFD");  // could only become a surrogate
  EXPECT_EQ(d.push(ids_of("\xF4\x90")), "\uFFFD\uFFFD");
  EXPECT_EQ(d.push(ids_of("\xE2\x82")), "");
  EXPECT_EQ(d.push(ids_of("a")), "\uFFFDa");
  EXPECT_EQ(d.push(ids_of("\xE2\xE2")), "\uFFFD");
  EXPECT_EQ(d.push(ids_of("\x82\xAC")), "\u20AC");
}

TEST(TextDetokenizer, FlushStartsOver) {
  Detokenizer d(bytes(), false);
  EXPECT_EQ(d.push(ids_of("\xE2\x82")), "");
  EXPECT_EQ(d.flush(), "\uFFFD");
  EXPECT_EQ(d.flush(), "");
  EXPECT_EQ(d.push(ids_of("\xAC")), "\uFFFD");
}

TEST(TextDetokenizer, CopiesGoTheirOwnWay) {
  Detokenizer d(bytes(), false);
  EXPECT_EQ(d.push(ids_of("\xE2\x82")), "");
  Detokenizer tried = d;
  EXPECT_EQ(tried.push(ids_of("x")), "\uFFFDx");
  EXPECT_EQ(d.push(ids_of("\xAC")), "\u20AC");
  d = tried;
  EXPECT_EQ(d.push(ids_of("y")), "y");
}

TEST(TextDetokenizer, ABadIdTakesNothing) {
  Detokenizer d(bytes(), false);
  EXPECT_EQ(d.push(ids_of("\xE2")), "");
  diffulex::testing::expect_error(DIFFULEX_E_INVALID_ARGUMENT, {"256"}, [&] {
    d.push(Ids{0x82, 256});
  });
  EXPECT_EQ(d.push(ids_of("\x82\xAC")), "\u20AC");
}

TEST(TextDetokenizer, SpecialTokensAreLeftOutUnlessKept) {
  const Ids ids = {1021, 'a' - '!', 1022};
  const std::string a = tiny()->decode(Ids{'a' - '!'}, false);
  EXPECT_EQ(Detokenizer(tiny(), false).push(ids), a);
  EXPECT_EQ(Detokenizer(tiny(), true).push(ids), "<|im_start|>" + a + "<|im_end|>");
}

}  // namespace
}  // namespace diffulex::text

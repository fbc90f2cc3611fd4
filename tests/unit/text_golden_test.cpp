// Prompts and outputs of the reference implementation.
#include <gtest/gtest.h>

#include "text/chat.h"
#include "text_files.h"

namespace diffulex::text {
namespace {

nlohmann::json golden() {
  return read_json(std::string(DIFFULEX_TEST_DATA_DIR) + "/tiny-sdar/golden.json");
}

TEST(TextGolden, PromptsEncodeToTheReferenceIds) {
  const auto root = golden();
  ASSERT_FALSE(root["prompts"].empty());
  for (const auto& prompt : root["prompts"]) {
    const std::string user = prompt["prompt"];
    const Message message{"user", user};
    const std::string text = render_chatml(*tiny(), {&message, 1}, "");
    EXPECT_EQ(tiny()->encode(text, true), prompt["prompt_ids"].get<std::vector<int32_t>>()) << user;
  }
}

TEST(TextGolden, OutputsDecodeToTheReferenceText) {
  const auto root = golden();
  size_t checked = 0;
  for (const auto& prompt : root["prompts"]) {
    for (const auto& [run, output] : prompt["decode"].items()) {
      const auto ids = output["ids"].get<std::vector<int32_t>>();
      EXPECT_EQ(tiny()->decode(ids, false), output["text"].get<std::string>()) << run;
      ++checked;
    }
  }
  EXPECT_GE(checked, root["prompts"].size());
}

TEST(TextGolden, TheSameVocabularyInPartsEncodesTheSame) {
  const auto whole = read_json(kTinyDir + "/tokenizer.json");
  const TempDir dir;
  dir.write("vocab.json", whole["model"]["vocab"]);
  std::string merges = "#version: 0.2\n";
  for (const auto& merge : whole["model"]["merges"]) {
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  }
  dir.write("merges.txt", merges);
  std::filesystem::copy(kTinyDir + "/tokenizer_config.json", dir.file("tokenizer_config.json"));
  const auto parts = Tokenizer::load(dir.path());
  EXPECT_EQ(parts->vocab_size(), tiny()->vocab_size());
  for (const char* role : {"eos", "bos", "pad", "mask"}) {
    EXPECT_EQ(parts->special(role), tiny()->special(role)) << role;
  }
  const auto root = golden();
  for (const auto& prompt : root["prompts"]) {
    const std::string user = prompt["prompt"];
    EXPECT_EQ(parts->encode(user, true), tiny()->encode(user, true));
  }
  RandomText random(7);
  for (int i = 0; i < 300; ++i) {
    const std::string text = random.text(40) + "<|im_end|>" + random.text(10);
    EXPECT_EQ(parts->encode(text, true), tiny()->encode(text, true));
    EXPECT_EQ(parts->encode(text, false), tiny()->encode(text, false));
  }
}

}  // namespace
}  // namespace diffulex::text

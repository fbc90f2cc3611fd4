// tiny-sdar against its reference decoder: token ids and forward counts in f32; accuracy and tokens
// per forward over the held-out prompts in bf16.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>

#include "session.h"

namespace diffulex_tests {
namespace {

using nlohmann::json;

json read_json(const std::string& name) {
  std::ifstream in(std::string(DIFFULEX_TEST_DATA_DIR) + "/tiny-sdar/" + name);
  return json::parse(in);
}

Options sizes(int buffer) {
  return {{"buffer_blocks", std::to_string(buffer)}, {"max_model_len", "320"}};
}
const Options kThresholds = {{"accept_threshold", "0.9"},
                             {"add_block_threshold", "0.1"},
                             {"semi_complete_threshold", "0.9"}};

class Golden : public ::testing::TestWithParam<int> {};

TEST_P(Golden, TokensAndForwardsInF32) {
  const json golden = read_json("golden.json");
  const std::string run = "mask_n" + std::to_string(GetParam());
  Session session(sizes(GetParam()), kThresholds,
                  [](auto& config) { config.weight_dtype = DIFFULEX_DTYPE_F32; });
  ASSERT_NE(session.engine, nullptr) << session.failure.message;
  for (const json& prompt : golden["prompts"]) {
    auto params = params_of(1000, DIFFULEX_REQUEST_NO_CACHE);
    const std::string text = session.chat({{"user", prompt["prompt"]}});
    const diffulex_request_id id = session.submit_text(text, &params);
    session.run();
    const json& expected = prompt["decode"][run];
    EXPECT_EQ(session.info(id).prompt_len, prompt["prompt_ids"].size());
    EXPECT_EQ(session.tokens(id), expected["ids"].get<std::vector<diffulex_token>>())
        << prompt["prompt"];
    EXPECT_EQ(session.info(id).denoise_steps, expected["denoise_forwards"].get<uint32_t>())
        << prompt["prompt"];
    EXPECT_EQ(session.info(id).steps, expected["forwards"].get<uint32_t>()) << prompt["prompt"];
    EXPECT_EQ(session.info(id).finish, DIFFULEX_FINISH_EOS);
    EXPECT_EQ(session.text(id) + "<|im_end|>", expected["text"].get<std::string>() + "<|im_end|>");
    EXPECT_EQ(diffulex_request_release(session.engine, id), DIFFULEX_OK);
  }
}

// All prompts at once give what each gives alone.
TEST_P(Golden, BatchedTokensInF32) {
  const json golden = read_json("golden.json");
  const std::string run = "mask_n" + std::to_string(GetParam());
  Session session(sizes(GetParam()), kThresholds,
                  [](auto& config) { config.weight_dtype = DIFFULEX_DTYPE_F32; });
  ASSERT_NE(session.engine, nullptr) << session.failure.message;
  std::vector<diffulex_request_id> ids;
  for (const json& prompt : golden["prompts"]) {
    auto params = params_of(1000);
    ids.push_back(session.submit(prompt["prompt_ids"].get<std::vector<diffulex_token>>(), &params));
  }
  session.run();
  for (size_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(session.tokens(ids[i]),
              golden["prompts"][i]["decode"][run]["ids"].get<std::vector<diffulex_token>>());
}

bool correct(const std::string& task, std::string text, const json& expected) {
  if (task == "math") {
    static const std::regex answer(R"(The answer is (-?\d+)\.)");
    std::string last;
    for (std::sregex_iterator it(text.begin(), text.end(), answer), end; it != end; ++it)
      last = (*it)[1];
    return !last.empty() && last == expected.get<std::string>();
  }
  if (task != "story") return text == expected.get<std::string>();
  for (const json& variants : expected) {  // each sentence is one of its variants
    bool hit = false;
    for (const json& variant : variants) {
      const std::string sentence = variant.get<std::string>();
      if (text.rfind(sentence, 0) != 0) continue;
      text.erase(0, sentence.size());
      text.erase(0, text.find_first_not_of(' ') == std::string::npos ? text.size()
                                                                     : text.find_first_not_of(' '));
      hit = true;
      break;
    }
    if (!hit) return false;
  }
  return text.empty();
}

struct Score {
  int prompts = 0, right = 0;
  uint64_t tokens = 0, denoise = 0;
};

std::map<std::string, Score> evaluate(Session& session) {
  std::map<std::string, Score> scores;
  const json items = read_json("heldout.json");
  std::vector<diffulex_request_id> ids;
  for (const json& item : items) {
    auto params = params_of(1000);
    ids.push_back(session.submit_text(session.chat({{"user", item["prompt"]}}), &params));
  }
  session.run();
  for (size_t i = 0; i < ids.size(); ++i) {
    Score& score = scores[items[i]["task"]];
    ++score.prompts;
    score.right += correct(items[i]["task"], session.text(ids[i]), items[i]["expected"]) ? 1 : 0;
    score.tokens += session.info(ids[i]).committed_len;
    score.denoise += session.info(ids[i]).denoise_steps;
  }
  return scores;
}

const char* name_of(diffulex_dtype dtype) {
  return dtype == DIFFULEX_DTYPE_F32 ? "f32 " : dtype == DIFFULEX_DTYPE_I8 ? "i8  " : "bf16";
}

class Heldout : public ::testing::TestWithParam<std::tuple<int, diffulex_dtype>> {};

TEST_P(Heldout, AccuracyAndTokensPerForward) {
  const auto [buffer, dtype] = GetParam();
  Session session(sizes(buffer), kThresholds,
                  [dtype = dtype](auto& config) { config.weight_dtype = dtype; });
  if (session.failure.status == DIFFULEX_E_UNSUPPORTED) GTEST_SKIP() << session.failure.message;
  ASSERT_NE(session.engine, nullptr) << session.failure.message;
  const auto scores = evaluate(session);
  const json metrics = read_json("metrics.json");
  int compared = 0;
  for (const json& row : metrics["results"]) {
    if (row["buffer"] != buffer) continue;
    ++compared;
    const Score& score = scores.at(row["task"]);
    const double accuracy = static_cast<double>(score.right) / score.prompts;
    const double tpf = static_cast<double>(score.tokens) / static_cast<double>(score.denoise);
    EXPECT_GE(score.prompts, 200);
    EXPECT_NEAR(accuracy, row["accuracy"].get<double>(), 0.01) << row["task"];
    // int8 is a little less sure of its tokens; what it says is as right.
    const double slack = dtype == DIFFULEX_DTYPE_I8 ? 0.025 : 0.01;
    EXPECT_NEAR(tpf, row["tpf"].get<double>(), slack * row["tpf"].get<double>()) << row["task"];
    std::printf(
        "buffer %d %s %-5s accuracy %.4f, tokens per denoising forward %.3f (reference %.4f, "
        "%.3f)\n",
        buffer, name_of(dtype), row["task"].get<std::string>().c_str(), accuracy, tpf,
        row["accuracy"].get<double>(), row["tpf"].get<double>());
  }
  EXPECT_EQ(compared, 4);
}

INSTANTIATE_TEST_SUITE_P(Buffers, Golden, ::testing::Values(1, 2, 4));
INSTANTIATE_TEST_SUITE_P(Buffers, Heldout,
                         ::testing::Combine(::testing::Values(1, 2, 4),
                                            ::testing::Values(DIFFULEX_DTYPE_BF16,
                                                              DIFFULEX_DTYPE_F32,
                                                              DIFFULEX_DTYPE_I8)));

}  // namespace
}  // namespace diffulex_tests

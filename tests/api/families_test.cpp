// Every dense family through the C API: what an engine runs a checkpoint with when nobody says
// otherwise, and a greedy decode, token by token, against one that was computed elsewhere
// (tests/oracle/families.py).
#include <gtest/gtest.h>

#include "oracle/families.h"
#include "session.h"

namespace diffulex_tests {
namespace {

using diffulex::testing::TempDir;
using diffulex_oracle::FamilyCase;
using nlohmann::json;

class FamilyEngine : public ::testing::TestWithParam<const char*> {
 protected:
  FamilyEngine() { family_.write(dir_.path(), false); }

  Session open(const Options& options, const Options& strategy_options = {},
               const char* strategy = nullptr) const {
    return Session(options, strategy_options, [&](diffulex_engine_config& config) {
      config.model_dir = dir_.path().c_str();
      config.weight_dtype = DIFFULEX_DTYPE_F32;
      config.strategy = strategy;
    });
  }

  static diffulex_engine_info info(const Session& session) {
    diffulex_engine_info info{};
    info.struct_size = sizeof(info);
    EXPECT_EQ(diffulex_engine_get_info(session.engine, &info, nullptr), DIFFULEX_OK);
    return info;
  }

  FamilyCase family_{DIFFULEX_TEST_DATA_DIR, GetParam()};
  TempDir dir_;
};

TEST_P(FamilyEngine, RunsWithTheFamilysDefaults) {
  const Session session = open({{"max_requests", "2"}});
  ASSERT_NE(session.engine, nullptr) << session.failure.message;
  const diffulex_engine_info now = info(session);
  const json& e = family_.expect();
  EXPECT_EQ(now.family, e["family"].get<std::string>());
  EXPECT_EQ(now.architecture, family_.config()["architectures"][0].get<std::string>());
  EXPECT_EQ(now.strategy, e["strategy"].get<std::string>());
  EXPECT_EQ(now.block_size, e["block_size"]);
  EXPECT_EQ(now.buffer_blocks, e["buffer_blocks"]);
  EXPECT_EQ(now.mask_token, e["mask"]);
  EXPECT_EQ(now.eos_token, e["eos"][0]);
  EXPECT_EQ(now.bos_token, e["bos"]);
  EXPECT_EQ(now.pad_token, e["pad"]);
  EXPECT_EQ(now.vocab_size, 500);
  EXPECT_EQ(now.shifted != 0, e["shift"]);
  EXPECT_FLOAT_EQ(now.accept_threshold, e["accept_threshold"]);
  EXPECT_FLOAT_EQ(now.add_block_threshold, e["add_block_threshold"]);
  EXPECT_FLOAT_EQ(now.semi_complete_threshold, e["semi_complete_threshold"]);
  EXPECT_FLOAT_EQ(now.token_stability_threshold, e["token_stability_threshold"]);
  EXPECT_EQ(now.prefix_caching, e["strategy"] == "d2f" ? 0u : 1u);
}

TEST_P(FamilyEngine, RunsWithWhatIsAsked) {
  const Session session =
      open({{"block_size", "16"}, {"buffer_blocks", "2"}, {"max_requests", "2"}},
           {{"accept_threshold", "0.5"},
            {"add_block_threshold", "0.25"},
            {"semi_complete_threshold", "0.75"},
            {"token_stability_threshold", "0.125"}},
           "multi_bd");
  ASSERT_NE(session.engine, nullptr) << session.failure.message;
  const diffulex_engine_info now = info(session);
  EXPECT_STREQ(now.strategy, "multi_bd");
  EXPECT_EQ(now.block_size, 16u);
  EXPECT_EQ(now.buffer_blocks, 2u);
  EXPECT_EQ(now.accept_threshold, 0.5F);
  EXPECT_EQ(now.add_block_threshold, 0.25F);
  EXPECT_EQ(now.semi_complete_threshold, 0.75F);
  EXPECT_EQ(now.token_stability_threshold, 0.125F);
}

TEST_P(FamilyEngine, IsPlannedAsItRuns) {
  diffulex_engine_config config = default_config(dir_.path());
  diffulex_plan plan{};
  plan.struct_size = sizeof(plan);
  ASSERT_EQ(diffulex_engine_plan(&config, &plan, nullptr), DIFFULEX_OK);
  const json& e = family_.expect();
  EXPECT_EQ(plan.family, e["family"].get<std::string>());
  EXPECT_EQ(plan.strategy, e["strategy"].get<std::string>());
  EXPECT_EQ(plan.block_size, e["block_size"]);
  EXPECT_EQ(plan.buffer_blocks, e["buffer_blocks"]);
}

// With and without pages and batches that cut it differently.
TEST_P(FamilyEngine, DecodesAsTheOracleDoes) {
  const json& golden = family_.generate();
  for (const char* requests : {"1", "3"}) {
    Session session = open({{"buffer_blocks", "1"}, {"max_requests", requests}});
    ASSERT_NE(session.engine, nullptr) << session.failure.message;
    const auto params = params_of(12, DIFFULEX_REQUEST_IGNORE_EOS);
    std::vector<diffulex_request_id> ids;
    for (int i = 0; i < 3; ++i)
      ids.push_back(session.submit(golden["prompt"].get<std::vector<diffulex_token>>(), &params));
    session.run();
    for (const diffulex_request_id id : ids) {
      EXPECT_EQ(session.tokens(id), golden["tokens"].get<std::vector<diffulex_token>>());
      EXPECT_EQ(session.info(id).denoise_steps, golden["forwards"].get<uint32_t>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dense, FamilyEngine, ::testing::ValuesIn(diffulex_oracle::kFamilyCases),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace diffulex_tests

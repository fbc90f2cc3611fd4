// An engine whose cache cannot hold one request, which its configuration rules out: that request
// ends with an error, the others go on, and no step throws.
#include <gtest/gtest.h>

#include "api/request_params.h"
#include "engine/engine.h"

namespace diffulex {
namespace {

TEST(EngineStuck, OneRequestPaysTheOthersGoOn) {
  const std::string dir = std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar";
  diffulex_engine_config asked;
  diffulex_engine_config_init(&asked, sizeof(asked));
  asked.model_dir = dir.c_str();
  EngineConfig config = resolve(asked);
  config.shape.kv_pages = 2;
  config.backend.kv_pages = 2;
  const auto three_pages = static_cast<uint32_t>(3 * config.shape.page_size);
  Engine engine(std::move(config), Log{}, nullptr);
  const std::vector<diffulex_token> prompt = {5, 6, 7};
  std::vector<std::shared_ptr<RequestRecord>> records;
  for (const uint32_t max_tokens : {three_pages, 8u}) {
    diffulex_request_params params;
    diffulex_request_params_init(&params, sizeof(params));
    params.max_tokens = max_tokens;
    params.flags = DIFFULEX_REQUEST_IGNORE_EOS;
    const uint64_t id = engine.submit(api::make_spec(engine.config(), prompt, &params));
    records.push_back(engine.find(id));
  }
  EXPECT_NO_THROW({
    for (int guard = 0; guard < 1000 && engine.step(); ++guard) {
    }
  });
  EXPECT_EQ(records[0]->info.finish, DIFFULEX_FINISH_ERROR);
  EXPECT_EQ(records[0]->info.status, DIFFULEX_E_HOST_MEMORY);
  EXPECT_EQ(records[1]->info.finish, DIFFULEX_FINISH_MAX_TOKENS);
  EXPECT_EQ(records[1]->output.size(), 8u);
}

}  // namespace
}  // namespace diffulex

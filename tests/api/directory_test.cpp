// A directory with any single fault gives one error that a user can act on; with several, one error
// that tells all.
#include <filesystem>

#include "directory_faults.h"

namespace diffulex_tests::errors {
namespace {

using Published = PublishedCheckpoint;

// What a user does with a directory: an engine, and a conversation. OK: all went well.
Outcome use(const std::string& dir) {
  const diffulex_engine_config config = tuned_config(dir, nullptr);
  diffulex_error* error = nullptr;
  diffulex_engine* engine = nullptr;
  diffulex_status status = diffulex_engine_create(&config, &engine, &error);
  if (status == DIFFULEX_OK) {
    const diffulex_message message = {"user", "hello"};
    char text[256];
    size_t size = 0;
    status = diffulex_tokenizer_render_chat(diffulex_engine_tokenizer(engine), &message, 1, nullptr,
                                            text, sizeof(text), &size, &error);
    diffulex_engine_destroy(engine);
  }
  return outcome_of("", status, error);
}

std::vector<Fault> all_faults() {
  std::vector<Fault> faults;
  for (auto* some : {config_faults, weight_faults, format_faults, text_faults})
    for (Fault& fault : some()) faults.push_back(std::move(fault));
  return faults;
}

TEST(Directory, WithoutAFaultLoads) {
  const TempDir dir;
  Published().write(dir.path());
  const Outcome outcome = use(dir.path());
  EXPECT_EQ(outcome.status, DIFFULEX_OK) << outcome.message;
}

TEST(Directory, WithASingleFaultGivesOneErrorToActOn) {
  const std::vector<Fault> faults = all_faults();
  EXPECT_GE(faults.size(), 50u);
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.name);
    const TempDir dir;
    Published checkpoint;
    if (fault.change) fault.change(checkpoint);
    checkpoint.write(dir.path());
    if (fault.damage) fault.damage(dir);
    const Outcome outcome = use(dir.path());
    EXPECT_EQ(outcome.status, fault.status) << outcome.message;
    for (const std::string& part : fault.told)
      EXPECT_NE(outcome.message.find(part), std::string::npos)
          << "no \"" << part << "\" in: " << outcome.message;
    EXPECT_TRUE(outcome.details.contains("path")) << outcome.message;
    const bool two_tensors = fault.name == "another vocabulary size";
    EXPECT_EQ(outcome.message.find(" problems: ") != std::string::npos, two_tensors)
        << outcome.message;
  }
}

// No part hides another one: small files, index, shards, tensors and tokenizer.
TEST(Directory, WithManyFaultsTellsAll) {
  const TempDir dir;
  Published checkpoint;
  checkpoint.model.config["hidden_act"] = "gelu";
  checkpoint.model.config["rms_norm_eps"] = -1;
  checkpoint.tokenizer["model"]["type"] = "Unigram";
  checkpoint.write(dir.path());
  std::filesystem::remove(dir / Published::kFirst);
  write_file(dir / Published::kSecond, "short");
  const Outcome outcome = use(dir.path());
  EXPECT_EQ(outcome.status, DIFFULEX_E_MODEL_FORMAT);
  for (const char* part :
       {": 5 problems: ", "'rms_norm_eps' must be", "'hidden_act': 'gelu'",
        "'model-00001-of-00002.safetensors' is missing",
        "model-00002-of-00002.safetensors: only 5 bytes", "\"Unigram\" is not supported",
        "tensors were not checked, as config.json"})
    EXPECT_NE(outcome.message.find(part), std::string::npos)
        << "no \"" << part << "\" in: " << outcome.message;
  EXPECT_EQ(outcome.details.at("path"), dir.path());
  EXPECT_EQ(outcome.details.at("key"), "rms_norm_eps");
}

// A shard that is gone hides no wrong shape of another one, and its tensors are not called missing.
TEST(Directory, WithAMissingShardChecksTheOther) {
  const TempDir dir;
  Published checkpoint;
  const char* const norm = "model.norm.weight";
  checkpoint.model.tensor(norm) = TinyCheckpoint::zeros(norm, {32});
  checkpoint.write(dir.path());
  std::filesystem::remove(dir / Published::kFirst);
  const Outcome outcome = use(dir.path());
  EXPECT_EQ(outcome.status, DIFFULEX_E_MODEL_FORMAT);
  for (const char* part : {": 2 problems: ", "'model-00001-of-00002.safetensors' is missing",
                           "'model.norm.weight' has shape [32], expected [64]"})
    EXPECT_NE(outcome.message.find(part), std::string::npos)
        << "no \"" << part << "\" in: " << outcome.message;
  EXPECT_EQ(outcome.message.find("missing tensor"), std::string::npos) << outcome.message;
}

// A quantised checkpoint lacks hundreds of tensors and has hundreds of others: one problem.
TEST(Directory, QuantizedIsOneProblem) {
  const TempDir dir;
  Published checkpoint;
  checkpoint.model.config["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  for (TestTensor& tensor : checkpoint.model.tensors)
    if (tensor.name.ends_with("_proj.weight")) {
      tensor.name.replace(tensor.name.size() - 6, 6, "qweight");
      tensor.dtype = "I32";
    }
  checkpoint.write(dir.path());
  const Outcome outcome = use(dir.path());
  EXPECT_EQ(outcome.status, DIFFULEX_E_MODEL_UNSUPPORTED);
  EXPECT_EQ(outcome.message.find(" problems: "), std::string::npos) << outcome.message;
  EXPECT_NE(outcome.message.find("GPTQ, 4 bits"), std::string::npos) << outcome.message;
}

// A message stays short whatever a file says.
TEST(Directory, LongNamesAreCut) {
  const TempDir dir;
  Published checkpoint;
  for (int i = 0; i < 40; ++i)
    checkpoint.model.tensors.push_back(
        TinyCheckpoint::zeros(std::to_string(i) + "\n" + std::string(5000, 'x'), {1}));
  checkpoint.write(dir.path());
  const Outcome outcome = use(dir.path());
  EXPECT_EQ(outcome.status, DIFFULEX_E_MODEL_FORMAT);
  EXPECT_LT(outcome.message.size(), 20'000u);
  EXPECT_NE(outcome.message.find("more"), std::string::npos);
}

// The weights decide whether the head is the embedding; config.json may be wrong about it.
TEST(Directory, ADifferentHeadIsUsedWhateverTheConfigSays) {
  const std::vector<diffulex_token> prompt = {1021, 304, 87, 12, 5};
  std::vector<diffulex_token> answers[2];
  for (const bool tied : {false, true}) {
    const TempDir dir;
    std::filesystem::copy(model_dir(), dir.path());
    nlohmann::json config = nlohmann::json::parse(read_file(dir / kConfig));
    config["tie_word_embeddings"] = tied;
    write_file(dir / kConfig, config.dump());
    Session session({{"cpu_threads", "1"}}, {}, [&](auto& c) { c.model_dir = dir.path().c_str(); });
    ASSERT_NE(session.engine, nullptr) << session.failure.message;
    const auto params = params_of(12, 0);
    const diffulex_request_id id = session.submit(prompt, &params);
    session.run();
    answers[tied] = session.tokens(id);
  }
  EXPECT_FALSE(answers[0].empty());
  EXPECT_EQ(answers[0], answers[1]);
}

TEST(Directory, AnAbsentHeadIsHeldOnce) {
  uint64_t bytes[2] = {};
  for (const bool tied : {false, true}) {
    const TempDir dir;
    Published checkpoint;
    checkpoint.model.config["tie_word_embeddings"] = tied;
    std::erase_if(checkpoint.model.tensors,
                  [](const TestTensor& tensor) { return tensor.name == "lm_head.weight"; });
    checkpoint.write(dir.path());
    Session session({{"cpu_threads", "1"}}, {}, [&](auto& c) { c.model_dir = dir.path().c_str(); });
    ASSERT_NE(session.engine, nullptr) << session.failure.message;
    auto info = sized<diffulex_engine_info>();
    ASSERT_EQ(diffulex_engine_get_info(session.engine, &info, nullptr), DIFFULEX_OK);
    bytes[tied] = info.weight_bytes;
  }
  EXPECT_EQ(bytes[0], bytes[1]);
}

// What lies beside an index or beside shards is not loaded a second time.
TEST(Directory, StrayFilesAreNotLoaded) {
  for (const bool indexed : {true, false}) {
    const TempDir dir;
    const Published checkpoint;
    checkpoint.write(dir.path());
    if (!indexed) std::filesystem::remove(dir / kIndex);
    write_file(dir / "consolidated.safetensors", safetensors_file(checkpoint.model.tensors));
    const Outcome outcome = use(dir.path());
    EXPECT_EQ(outcome.status, DIFFULEX_OK) << outcome.message;
  }
}

}  // namespace
}  // namespace diffulex_tests::errors

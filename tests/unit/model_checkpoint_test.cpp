#include "model/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "model/tensor_name.h"
#include "unit/expect_error.h"
#include "unit/safetensors_writer.h"

namespace diffulex {
namespace {

using nlohmann::json;
using testing::expect_error;
using testing::TempDir;
using testing::TestTensor;
using testing::TinySdar;
using testing::write_file;

using Tensors = std::vector<TestTensor>;

TestTensor& named(Tensors& tensors, const std::string& name) {
  return *std::find_if(tensors.begin(), tensors.end(),
                       [&](const TestTensor& tensor) { return tensor.name == name; });
}

void erase(Tensors* tensors, const std::string& name) {
  std::erase_if(*tensors, [&](const TestTensor& tensor) { return tensor.name == name; });
}

// Writes the model with other tensors than its own and opens it.
std::shared_ptr<Checkpoint> open_with(const TempDir& dir, const TinySdar& model,
                                      const Tensors& tensors) {
  model.write_config(dir.path());
  model.write_weights(dir.path(), tensors);
  return Checkpoint::open(dir.path());
}

Error expect_refused(const TinySdar& model, const Tensors& tensors,
                     std::initializer_list<std::string> parts) {
  const TempDir dir;
  return expect_error(DIFFULEX_E_MODEL_FORMAT, parts, [&] { open_with(dir, model, tensors); });
}

void expect_warning(const Checkpoint& checkpoint, const std::string& part) {
  ASSERT_EQ(checkpoint.warnings().size(), 1u);
  EXPECT_NE(checkpoint.warnings()[0].find(part), std::string::npos) << checkpoint.warnings()[0];
}

std::string bytes_of(const WeightView& view) {
  return {reinterpret_cast<const char*>(view.data), view.bytes()};
}

std::vector<WeightView> views_of(const ModelWeights& weights) {
  std::vector<WeightView> views = {weights.embedding, weights.final_norm, weights.head};
  for (const LayerWeights& l : weights.layers) {
    views.insert(views.end(), {l.input_norm, l.q, l.k, l.v, l.q_bias, l.k_bias, l.v_bias, l.q_norm,
                               l.k_norm, l.o, l.o_bias, l.post_norm, l.gate, l.up, l.down});
  }
  return views;
}

uint64_t total_bytes(const Tensors& tensors) {
  uint64_t total = 0;
  for (const TestTensor& tensor : tensors) total += tensor.bytes.size();
  return total;
}

// Every view shows exactly the bytes and shape that were written under its name.
void expect_views_match(const Checkpoint& checkpoint, Tensors written, size_t count) {
  size_t found = 0;
  for (const WeightView& view : views_of(checkpoint.weights())) {
    if (!view) continue;
    ++found;
    const TestTensor& tensor = named(written, view.name);
    EXPECT_EQ(view.rows, tensor.shape[0]);
    EXPECT_EQ(view.cols, tensor.shape.size() == 2 ? tensor.shape[1] : 1);
    EXPECT_TRUE(bytes_of(view) == tensor.bytes) << view.name;
  }
  EXPECT_EQ(found, count);
}

TEST(Checkpoint, OpensTheModelOfTheRepository) {
  const auto checkpoint = Checkpoint::open(std::string(DIFFULEX_MODELS_DIR) + "/tiny-sdar");
  const ArchSpec& arch = checkpoint->arch();
  EXPECT_TRUE(checkpoint->warnings().empty());
  EXPECT_EQ(arch.family, "sdar");
  EXPECT_EQ(arch.vocab_size, 1024);
  EXPECT_EQ(arch.token_count, 1024);
  EXPECT_EQ(arch.hidden_size, 256);
  EXPECT_EQ(arch.layers.size(), 6u);
  EXPECT_EQ(arch.layers[5].mlp_size, 768);
  EXPECT_EQ(arch.layers[5].kv_heads, 2);
  EXPECT_EQ(arch.layers[5].head_dim, 64);
  EXPECT_EQ(arch.attention_scale, 0.125F);
  EXPECT_EQ(arch.block_size, 8);
  EXPECT_EQ(arch.mask_token, 1023);
  EXPECT_EQ(arch.eos_tokens, (std::vector<int32_t>{1022, 1020}));
  EXPECT_EQ(arch.bos_token, 1020);
  EXPECT_EQ(arch.pad_token, 1020);
  const ModelWeights& weights = checkpoint->weights();
  ASSERT_EQ(weights.layers.size(), 6u);
  const uint64_t layer = 2 * (256 * 256 + 128 * 256) + 3 * 768 * 256 + 2 * 256 + 2 * 64;
  EXPECT_EQ(checkpoint->weight_bytes(), 2 * (2 * 1024 * 256 + 256 + 6 * layer));
  EXPECT_EQ(weights.layers[3].k.name, "model.layers.3.self_attn.k_proj.weight");
  EXPECT_EQ(weights.layers[3].k.rows, 128);
  EXPECT_EQ(weights.layers[3].k.cols, 256);
  EXPECT_EQ(weights.layers[3].k.dtype, DType::kBF16);
  EXPECT_FALSE(weights.layers[3].q_bias);
  EXPECT_NE(weights.head.data, weights.embedding.data);
}

TEST(Checkpoint, ShowsEveryTensorInEveryDtype) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    TinySdar model;
    model.dtype = dtype;
    const TempDir dir;
    model.write(dir.path());
    const auto checkpoint = Checkpoint::open(dir.path());
    expect_views_match(*checkpoint, model.tensors(), 3 + 3 * 11);
    EXPECT_EQ(checkpoint->weight_bytes(), total_bytes(model.tensors()));
    EXPECT_EQ(checkpoint->weights().embedding.dtype, dtype);
    EXPECT_EQ(checkpoint->arch().checkpoint_dtype, dtype);
    EXPECT_TRUE(checkpoint->warnings().empty());
  }
}

TEST(Checkpoint, TakesBiases) {
  TinySdar model;
  model.attention_bias = true;
  const TempDir dir;
  model.write(dir.path());
  expect_views_match(*Checkpoint::open(dir.path()), model.tensors(), 3 + 3 * 15);
}

TEST(Checkpoint, ReadsShardsByIndexOrByName) {
  TinySdar model;
  model.shards = 3;
  const TempDir dir;
  model.write(dir.path());
  write_file(dir / "consolidated.safetensors", "not in the index, not read");
  const auto indexed = Checkpoint::open(dir.path());
  expect_views_match(*indexed, model.tensors(), 3 + 3 * 11);
  EXPECT_EQ(indexed->weight_bytes(), total_bytes(model.tensors()));
  std::filesystem::remove(dir / "consolidated.safetensors");
  std::filesystem::remove(dir / "model.safetensors.index.json");
  expect_views_match(*Checkpoint::open(dir.path()), model.tensors(), 3 + 3 * 11);
}

TEST(Checkpoint, OutlivesItsReleasedPagesAndFiles) {
  const TempDir dir;
  const TinySdar model;
  model.write(dir.path());
  const auto checkpoint = Checkpoint::open(dir.path());
  std::filesystem::remove(dir / "model.safetensors");
  checkpoint->release_pages();
  expect_views_match(*checkpoint, model.tensors(), 3 + 3 * 11);
}

TEST(Checkpoint, AcceptsNamesOfWrappers) {
  EXPECT_EQ(canonical_tensor_name("module._orig_mod.model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(canonical_tensor_name("model.model.norm.weight"), "model.norm.weight");
  EXPECT_EQ(canonical_tensor_name("model.lm_head.weight"), "lm_head.weight");
  EXPECT_EQ(canonical_tensor_name("model._orig_mod.norm.weight"), "model.norm.weight");
  EXPECT_EQ(canonical_tensor_name("lm_head.weight"), "lm_head.weight");
  EXPECT_EQ(canonical_tensor_name("mymodule.x."), "mymodule.x.");
  EXPECT_EQ(canonical_tensor_name(""), "");
  const TinySdar model;
  for (const char* prefix : {"module.", "_orig_mod.", "model.", "module.model."}) {
    Tensors tensors = model.tensors();
    for (TestTensor& tensor : tensors) tensor.name = prefix + tensor.name;
    const TempDir dir;
    const auto checkpoint = open_with(dir, model, tensors);
    expect_views_match(*checkpoint, tensors, 3 + 3 * 11);
  }
}

TEST(Checkpoint, TiesTheHeadWhenAsked) {
  TinySdar model;
  model.tied = true;
  const TempDir dir;
  model.write(dir.path());
  const auto checkpoint = Checkpoint::open(dir.path());
  EXPECT_TRUE(checkpoint->arch().tied_embeddings);
  EXPECT_EQ(checkpoint->weights().head.data, checkpoint->weights().embedding.data);
  EXPECT_EQ(checkpoint->weight_bytes(), total_bytes(model.tensors()));
  EXPECT_TRUE(checkpoint->warnings().empty());
}

TEST(Checkpoint, TiesAnAbsentHeadWithAWarning) {
  const TinySdar model;
  Tensors tensors = model.tensors();
  erase(&tensors, "lm_head.weight");
  const TempDir dir;
  const auto checkpoint = open_with(dir, model, tensors);
  EXPECT_TRUE(checkpoint->arch().tied_embeddings);
  EXPECT_EQ(checkpoint->weights().head.data, checkpoint->weights().embedding.data);
  expect_warning(*checkpoint, "no lm_head.weight");
}

TEST(Checkpoint, TiesAnEqualHead) {
  TinySdar model;
  Tensors tensors = model.tensors();
  named(tensors, "lm_head.weight").bytes = named(tensors, "model.embed_tokens.weight").bytes;
  model.tied = true;
  const TempDir dir;
  const auto checkpoint = open_with(dir, model, tensors);
  EXPECT_TRUE(checkpoint->arch().tied_embeddings);
  EXPECT_EQ(checkpoint->weights().head.data, checkpoint->weights().embedding.data);
  EXPECT_EQ(checkpoint->weight_bytes(), total_bytes(model.tensors()));
  EXPECT_TRUE(checkpoint->warnings().empty());
}

TEST(Checkpoint, UntiesADifferentHeadWithAWarning) {
  TinySdar model;
  const Tensors tensors = model.tensors();
  model.tied = true;
  const TempDir dir;
  const auto checkpoint = open_with(dir, model, tensors);
  EXPECT_FALSE(checkpoint->arch().tied_embeddings);
  EXPECT_EQ(checkpoint->weights().head.name, "lm_head.weight");
  EXPECT_EQ(checkpoint->weight_bytes(), total_bytes(tensors));
  expect_warning(*checkpoint, "differs from the embedding");
}

TEST(Checkpoint, NamesAMissingTensor) {
  const TinySdar model;
  for (const char* name : {"model.embed_tokens.weight", "model.norm.weight",
                           "model.layers.1.self_attn.q_norm.weight"}) {
    Tensors tensors = model.tensors();
    erase(&tensors, name);
    const Error error =
        expect_refused(model, tensors, {std::string("missing tensor '") + name + "' of shape ["});
    EXPECT_EQ(testing::detail(error, "tensor"), name);
  }
}

TEST(Checkpoint, NamesAnUnexpectedTensor) {
  const TinySdar model;
  for (const char* name : {"model.layers.3.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.bias",
                           "model.layers.0.self_attn.q_proj.bias"}) {
    Tensors tensors = model.tensors();
    tensors.push_back({name, "F32", {2}, "01234567"});
    expect_refused(model, tensors,
                   {"model.safetensors: unexpected tensor '" + std::string(name) + "' F32 [2]"});
  }
}

TEST(Checkpoint, IgnoresLeftoversWithAWarning) {
  const TinySdar model;
  for (const char* name :
       {"model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.attention.masked_bias",
        "v_head.summary.weight", "vision_tower.x", "model.x.weight_observer.scale"}) {
    Tensors tensors = model.tensors();
    tensors.push_back({name, "I64", {1}, "01234567"});
    const TempDir dir;
    expect_warning(*open_with(dir, model, tensors), std::string("'") + name + "'");
  }
}

TEST(Checkpoint, NamesAMisshapedTensor) {
  const TinySdar model;
  Tensors tensors = model.tensors();
  named(tensors, "model.layers.2.self_attn.q_proj.weight").shape = {96, 128};
  expect_refused(model, tensors,
                 {"model.safetensors: tensor 'model.layers.2.self_attn.q_proj.weight' has shape "
                  "[96, 128], expected [128, 96]"});
  tensors = model.tensors();
  named(tensors, "model.norm.weight").shape = {96, 1};
  expect_refused(model, tensors, {"has shape [96, 1], expected [96]"});
}

TEST(Checkpoint, NamesAnUnusableDtype) {
  const TinySdar model;
  Tensors tensors = model.tensors();
  named(tensors, "model.norm.weight").dtype = "I16";
  expect_refused(model, tensors,
                 {"model.safetensors: tensor 'model.norm.weight' has dtype I16, not"});
}

TEST(Checkpoint, NamesATensorThatIsThereTwice) {
  const TinySdar model;
  Tensors tensors = model.tensors();
  tensors.push_back(named(tensors, "model.norm.weight"));
  tensors.back().name = "module.model.norm.weight";
  expect_refused(model, tensors, {"'module.model.norm.weight'", "twice", "'model.norm.weight'"});

  const TempDir dir;
  model.write_config(dir.path());
  write_file(dir / "a.safetensors", testing::safetensors_file(model.tensors()));
  write_file(dir / "b.safetensors",
             testing::safetensors_file({named(tensors, "model.norm.weight")}));
  expect_error(DIFFULEX_E_MODEL_FORMAT,
               {"b.safetensors: tensor 'model.norm.weight'", "a.safetensors"},
               [&] { Checkpoint::open(dir.path()); });
}

TEST(Checkpoint, NamesAllProblemsInOneError) {
  TinySdar model;
  model.shards = 2;
  Tensors tensors = model.tensors();
  erase(&tensors, "model.layers.0.input_layernorm.weight");
  erase(&tensors, "model.layers.2.mlp.down_proj.weight");
  named(tensors, "model.norm.weight").dtype = "U16";
  named(tensors, "lm_head.weight").shape = {96, 512};
  tensors.push_back({"extra.weight", "F16", {1}, "xx"});
  const Error error =
      expect_refused(model, tensors,
                     {"missing tensor 'model.layers.0.input_layernorm.weight' of shape [96]",
                      "missing tensor 'model.layers.2.mlp.down_proj.weight' of shape [96, 128]",
                      "'model.norm.weight' has dtype U16", "'lm_head.weight' has shape [96, 512]",
                      "model-00002-of-00002.safetensors: unexpected tensor 'extra.weight'"});
  EXPECT_EQ(std::count_if(error.details().begin(), error.details().end(),
                          [](const Error::Detail& detail) { return detail.first == "tensor"; }),
            5);
}

TEST(Checkpoint, CutsLongReports) {
  const TinySdar model;
  Tensors tensors = model.tensors();
  tensors.resize(1);  // the embedding; 34 others and the head, which may be absent, are gone
  expect_refused(model, tensors, {"... and 14 more"});
}

TEST(Checkpoint, NamesABrokenFile) {
  const TempDir dir;
  TinySdar model;
  model.shards = 2;
  model.write(dir.path());
  const std::string name = model.shard_name(1);
  const std::string sound = testing::read_file(dir / name);
  write_file(dir / name, sound.substr(0, sound.size() - 1));
  expect_error(DIFFULEX_E_MODEL_FORMAT, {name + ": tensor '", "outside"},
               [&] { Checkpoint::open(dir.path()); });
  write_file(dir / name, "");
  expect_error(DIFFULEX_E_MODEL_FORMAT, {name, "too short"}, [&] { Checkpoint::open(dir.path()); });
}

TEST(Checkpoint, NeedsAWeightFile) {
  const TempDir dir;
  TinySdar().write_config(dir.path());
  EXPECT_NO_THROW(read_arch(dir.path()));
  expect_error(DIFFULEX_E_MODEL_FORMAT, {dir.path(), "no *.safetensors"},
               [&] { Checkpoint::open(dir.path()); });
}

// A sharded model whose index can be changed.
class ShardIndex : public ::testing::Test {
 protected:
  ShardIndex() {
    model_.shards = 2;
    model_.write(dir_.path());
    index_ = json::parse(testing::read_file(dir_ / kName));
  }

  void expect_refused(std::initializer_list<std::string> parts) const {
    write_file(dir_ / kName, index_.dump());
    const Error error =
        expect_error(DIFFULEX_E_MODEL_FORMAT, parts, [this] { Checkpoint::open(dir_.path()); });
    EXPECT_NE(error.message().find(kName), std::string::npos) << error.message();
  }

  static constexpr const char* kName = "model.safetensors.index.json";
  TempDir dir_;
  TinySdar model_;
  json index_;
};

TEST_F(ShardIndex, NamesMissingFiles) {
  index_["weight_map"]["model.norm.weight"] = "model-00003.safetensors";
  index_["weight_map"]["lm_head.weight"] = "model-00004.safetensors";
  expect_refused({"'model-00003.safetensors' is missing", "'model.norm.weight'",
                  "'model-00004.safetensors' is missing"});
}

TEST_F(ShardIndex, StaysInsideTheDirectory) {
  for (const char* name : {"../x.safetensors", "/etc/passwd", "sub/x", "..", ".", "", "a\\b"}) {
    index_["weight_map"]["model.norm.weight"] = name;
    expect_refused({"'model.norm.weight'", "not a file of this directory"});
  }
}

TEST_F(ShardIndex, NamesTensorsThatAreNotInTheirFile) {
  index_["weight_map"]["model.norm.weight"] = model_.shard_name(0);
  index_["weight_map"]["nothing"] = model_.shard_name(1);
  expect_refused({"tensor 'model.norm.weight' is not in '" + model_.shard_name(0) + "'",
                  "tensor 'nothing' is not in '" + model_.shard_name(1) + "'"});
}

TEST_F(ShardIndex, RefusesOtherShapesOfIndex) {
  index_["weight_map"]["model.norm.weight"] = 3;
  expect_refused({"'model.norm.weight' names no file"});
  index_["weight_map"] = json::object();
  expect_refused({"no 'weight_map'"});
  index_ = json::object();
  expect_refused({"no 'weight_map'"});
  index_ = json::array();
  expect_refused({"not a JSON object"});
}

}  // namespace
}  // namespace diffulex

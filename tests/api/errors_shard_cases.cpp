// An index that does not describe the shards beside it.
#include <filesystem>

#include "errors_checkpoint.h"

namespace diffulex_tests::errors {
namespace {

using nlohmann::json;

constexpr const char* kShard = "part.safetensors";
constexpr const char* kNorm = "model.norm.weight";

// The sound checkpoint as one shard, with an index that `change` may alter.
Outcomes index_fails(const std::string& culprit,
                     const std::function<void(const TempDir&, json&)>& change) {
  return damaged_fails(culprit, [&](const TempDir& dir) {
    std::filesystem::rename(dir / kWeights, dir / kShard);
    json index = {{"weight_map", json::object()}};
    for (const TestTensor& tensor : TinyCheckpoint().tensors)
      index["weight_map"][tensor.name] = kShard;
    change(dir, index);
    write_file(dir / kIndex, index.dump());
  });
}

// With another place for one tensor.
Outcomes place_fails(const std::string& culprit, const json& file) {
  return index_fails(culprit,
                     [&](const TempDir&, json& index) { index["weight_map"][kNorm] = file; });
}

Outcomes no_json() {
  Outcomes outcomes;
  for (const char* content : {"", "{", "[]", "weight_map"})
    outcomes = outcomes + file_fails(kIndex, content);
  return outcomes;
}

Outcomes no_map() {
  Outcomes outcomes;
  for (const char* content : {"{}", R"({"weight_map": []})", R"({"weight_map": {}})"})
    outcomes = outcomes + file_fails(kIndex, content);
  return outcomes;
}

Outcomes outside() {
  Outcomes outcomes;
  for (const char* name :
       {"../part.safetensors", "/etc/hostname", "sub/part.safetensors", "..", ".", "", "a\\b"})
    outcomes = outcomes + place_fails(kNorm, name);
  return outcomes + place_fails(kNorm, std::string("part.safetensors\0x", 18));
}

Outcomes lacking_tensor() {
  return index_fails("model.extra.weight", [](const TempDir&, json& index) {
    index["weight_map"]["model.extra.weight"] = kShard;
  });
}

Outcomes tensor_in_two_shards() {
  return index_fails(kNorm, [](const TempDir& dir, json& index) {
    write_file(dir / "more.safetensors", safetensors_file({TinyCheckpoint::zeros(kNorm, {64})}));
    index["weight_map"][kNorm] = "more.safetensors";
  });
}

Outcomes directory_as_shard() {
  return index_fails("sub", [](const TempDir& dir, json& index) {
    std::filesystem::create_directory(dir / "sub");
    index["weight_map"][kNorm] = "sub";
  });
}

Outcomes one_of_two() {
  Outcomes outcomes;
  for (const auto& [there, gone] :
       {std::pair("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        std::pair("model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors")})
    outcomes = outcomes + damaged_fails(gone, [&there = there](const TempDir& dir) {
                 std::filesystem::rename(dir / kWeights, dir / there);
               });
  return outcomes;
}

}  // namespace

void add_shard_cases(Cases* cases) {
  Cases& c = *cases;
  c["index-no-json"] = no_json;
  c["index-no-map"] = no_map;
  c["index-no-file-name"] = [] { return place_fails(kNorm, 7) + place_fails(kNorm, nullptr); };
  c["index-outside"] = outside;
  c["index-names-itself"] = [] { return place_fails(kIndex, kIndex); };
  c["shard-missing"] = [] { return place_fails(kNorm, "gone.safetensors"); };
  c["shard-missing-by-name"] = one_of_two;
  c["shard-is-directory"] = directory_as_shard;
  c["shard-lacks-tensor"] = lacking_tensor;
  c["shard-repeats-tensor"] = tensor_in_two_shards;
}

}  // namespace diffulex_tests::errors

// A whole small model directory as people publish it: two shards with an index, a tokenizer, a chat
// template. Made to be changed in one place at a time.
#pragma once

#include <map>
#include <string>

#include "byte_tokenizer.h"
#include "errors_checkpoint.h"

namespace diffulex_tests::errors {

class PublishedCheckpoint {
 public:
  static constexpr int kVocabulary = 264;  // rows; the tokenizer knows the first 260
  static constexpr const char* kFirst = "model-00001-of-00002.safetensors";
  static constexpr const char* kSecond = "model-00002-of-00002.safetensors";

  TinyCheckpoint model;
  nlohmann::json tokenizer = byte_tokenizer();
  nlohmann::json tokenizer_config = {{"eos_token", "<|im_end|>"}, {"mask_token", "<|MASK|>"}};
  std::string chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}";

  PublishedCheckpoint() {
    model.config["vocab_size"] = kVocabulary;
    model.config.erase("mask_token_id");
    for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"})
      model.tensor(name) = TinyCheckpoint::zeros(name, {kVocabulary, 64});
  }

  // The index comes from the tensors; the first half of them is in the first shard.
  void write(const std::string& dir) const {
    write_file(dir + "/" + kConfig, model.config.dump(2));
    std::map<std::string, std::vector<TestTensor>> shards;
    nlohmann::json map;
    for (size_t i = 0; i < model.tensors.size(); ++i) {
      const char* const shard = 2 * i < model.tensors.size() ? kFirst : kSecond;
      shards[shard].push_back(model.tensors[i]);
      map[model.tensors[i].name] = shard;
    }
    for (const auto& [name, tensors] : shards)
      write_file(dir + "/" + name, safetensors_file(tensors));
    write_file(dir + "/" + kIndex, nlohmann::json{{"weight_map", map}}.dump(2));
    write_file(dir + "/tokenizer.json", tokenizer.dump());
    write_file(dir + "/tokenizer_config.json", tokenizer_config.dump());
    write_file(dir + "/chat_template.jinja", chat_template);
  }

 private:
  // Bytes as tokens of their own, then the special ones.
  static nlohmann::json byte_tokenizer() {
    nlohmann::json added;
    int id = 256;
    for (const char* text : {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|MASK|>"})
      added.push_back({{"id", id++}, {"content", text}, {"special", true}});
    return diffulex::testing::byte_tokenizer(added);
  }
};

}  // namespace diffulex_tests::errors

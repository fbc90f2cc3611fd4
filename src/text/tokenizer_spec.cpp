#include "text/tokenizer_spec.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/error.h"
#include "io/mapped_file.h"
#include "io/path.h"
#include "text/json_node.h"

namespace diffulex::text {
namespace {

// The split of GPT-2, which a ByteLevel step with use_regex means.
constexpr const char* kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The split of Qwen2, whose remote tokenizers come as vocab.json and merges.txt without a pattern.
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// ---- tokenizer.json ----

void refuse_type(const JsonNode& node) {
  node.at("type").fail("\"" + node.at("type").text() + "\" is not supported");
}

void read_vocab(const JsonNode& vocab, TokenizerSpec& spec) {
  if (!vocab.is_object()) vocab.fail("must be an object");
  spec.vocab_path = vocab.path();
  spec.vocab.reserve(vocab.value().size());
  for (const auto& [token, id] : vocab.value().items()) {
    const bool sound = id.is_number_integer() && id >= 0 && id <= kMaxTokenId;
    spec.vocab.emplace_back(token, sound ? id.get<int32_t>() : vocab.at(token).token_id());
  }
}

using MergePair = std::pair<std::string, std::string>;

std::optional<MergePair> parse_merge(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return MergePair(line.substr(0, space), line.substr(space + 1));
}

std::optional<MergePair> parse_merge(const nlohmann::json& merge) {
  if (merge.is_string()) return parse_merge(std::string_view(merge.get_ref<const std::string&>()));
  const bool pair =
      merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
  if (!pair) return std::nullopt;
  return MergePair(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
}

void read_merges(const JsonNode& merges, TokenizerSpec& spec) {
  spec.merges_path = merges.path();
  spec.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    std::optional<MergePair> merge = parse_merge(merges.value()[i]);
    if (!merge) merges.item(i).fail("must be \"left right\" or [\"left\", \"right\"]");
    spec.merges.push_back(std::move(*merge));
  }
}

void refuse_affix(const JsonNode& model, const std::string& name) {
  if (!model.text_or(name, "").empty()) model.at(name).fail("is not supported");
}

void read_model(const JsonNode& model, TokenizerSpec& spec) {
  if (model.at("type").text() != "BPE") refuse_type(model);
  if (model.has("dropout") && model.at("dropout").value() != 0) {
    model.at("dropout").fail("is not supported");
  }
  refuse_affix(model, "continuing_subword_prefix");
  refuse_affix(model, "end_of_word_suffix");
  spec.ignore_merges = model.flag_or("ignore_merges", false);
  read_vocab(model.at("vocab"), spec);
  read_merges(model.at("merges"), spec);
}

void read_normalizer(const JsonNode& normalizer, TokenizerSpec& spec) {
  if (normalizer.is_null()) return;
  const std::string& type = normalizer.at("type").text();
  if (type == "NFC") {
    spec.nfc = true;
  } else if (type == "Sequence") {
    const JsonNode items = normalizer.at("normalizers");
    for (size_t i = 0; i < items.size(); ++i) read_normalizer(items.item(i), spec);
  } else {
    refuse_type(normalizer);
  }
}

SplitBehavior read_behavior(const JsonNode& behavior) {
  const std::string& name = behavior.text();
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  behavior.fail("\"" + name + "\" is not supported");
}

PreTokenizerStep read_split(const JsonNode& split) {
  PreTokenizerStep step;
  step.behavior = read_behavior(split.at("behavior"));
  step.invert = split.flag_or("invert", false);
  const JsonNode pattern = split.at("pattern");
  if (pattern.has("String")) {
    step.literal = pattern.at("String").text();
    if (step.literal.empty()) pattern.at("String").fail("must not be empty");
    return step;
  }
  const JsonNode regex = pattern.at("Regex");
  try {
    step.regex.emplace(regex.text());
  } catch (const std::invalid_argument& e) {
    regex.fail(std::string("is no usable pattern: ") + e.what());
  }
  if (step.behavior == SplitBehavior::kIsolated && !step.invert) {
    step.words = WordSplit::known(regex.text());
  }
  return step;
}

PreTokenizerStep byte_level_step(bool prefix_space, bool use_regex) {
  PreTokenizerStep step;
  step.prefix_space = prefix_space;
  if (use_regex) step.regex.emplace(kByteLevelPattern);
  return step;
}

// Returns whether the byte-level step, which has to be the last one, was read.
bool read_pre_tokenizer(const JsonNode& node, bool after_bytes, TokenizerSpec& spec) {
  if (after_bytes) node.fail("stands behind ByteLevel, which is not supported");
  const std::string& type = node.at("type").text();
  if (type == "Split") {
    spec.steps.push_back(read_split(node));
    return false;
  }
  if (type == "ByteLevel") {
    spec.steps.push_back(
        byte_level_step(node.flag_or("add_prefix_space", true), node.flag_or("use_regex", true)));
    return true;
  }
  if (type != "Sequence") refuse_type(node);
  const JsonNode items = node.at("pretokenizers");
  for (size_t i = 0; i < items.size(); ++i) {
    after_bytes = read_pre_tokenizer(items.item(i), after_bytes, spec);
  }
  return after_bytes;
}

void check_decoder(const JsonNode& decoder) {
  const std::string& type = decoder.at("type").text();
  if (type == "ByteLevel") return;
  if (type != "Sequence") refuse_type(decoder);
  const JsonNode items = decoder.at("decoders");
  if (items.size() != 1) items.fail("must hold ByteLevel alone");
  check_decoder(items.item(0));
}

AddedToken read_added_token(const JsonNode& node, int32_t id) {
  AddedToken token;
  token.id = id;
  token.content = node.at("content").text();
  token.single_word = node.flag_or("single_word", false);
  token.lstrip = node.flag_or("lstrip", false);
  token.rstrip = node.flag_or("rstrip", false);
  token.special = node.flag_or("special", false);
  token.normalized = node.flag_or("normalized", !token.special);
  if (token.content.empty()) node.at("content").fail("must not be empty");
  return token;
}

void read_tokenizer_json(const std::string& path, TokenizerSpec& spec) {
  const JsonNode root = JsonNode::load(path);
  read_model(root.at("model"), spec);
  if (root.has("normalizer")) read_normalizer(root.at("normalizer"), spec);
  if (!read_pre_tokenizer(root.at("pre_tokenizer"), false, spec)) {
    root.at("pre_tokenizer").fail("without ByteLevel is not supported");
  }
  check_decoder(root.at("decoder"));
  if (!root.has("added_tokens")) return;
  const JsonNode added = root.at("added_tokens");
  for (size_t i = 0; i < added.size(); ++i) {
    spec.added.push_back(read_added_token(added.item(i), added.item(i).at("id").token_id()));
  }
}

// ---- vocab.json and merges.txt ----

void read_merges_txt(const std::string& path, TokenizerSpec& spec) {
  spec.merges_path = path;
  const MappedFile file(path);
  const std::string_view content = file.text();
  size_t number = 0;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    std::string_view line = content.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty() || line.substr(0, 8) == "#version") continue;
    std::optional<MergePair> merge = parse_merge(line);
    if (!merge) {
      throw Error(DIFFULEX_E_TOKENIZER, file_name(path) + ": line " + std::to_string(number) +
                                            " must be two tokens with a space between them")
          .with("path", path);
    }
    spec.merges.push_back(std::move(*merge));
  }
}

void read_vocab_and_merges(const std::string& dir, TokenizerSpec& spec) {
  read_vocab(JsonNode::load(join_path(dir, "vocab.json")), spec);
  read_merges_txt(join_path(dir, "merges.txt"), spec);
  spec.nfc = true;
  PreTokenizerStep split;
  split.regex.emplace(kQwen2Pattern);
  split.words = WordSplit::known(kQwen2Pattern);
  spec.steps.push_back(std::move(split));
}

// ---- added tokens of the config files ----

int32_t read_id_key(const JsonNode& entry, const std::string& key) {
  int32_t id = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
  if (error != std::errc() || end != key.data() + key.size() || id < 0 || id > kMaxTokenId) {
    entry.fail("has a key that is no token id");
  }
  return id;
}

// The first file that speaks of an id or a text is right.
void add_unless_known(AddedToken token, TokenizerSpec& spec) {
  const bool known =
      std::any_of(spec.added.begin(), spec.added.end(), [&](const AddedToken& other) {
        return other.id == token.id || other.content == token.content;
      });
  if (!known) spec.added.push_back(std::move(token));
}

void read_added_tokens_decoder(const JsonNode& config, TokenizerSpec& spec) {
  if (!config.has("added_tokens_decoder")) return;
  const JsonNode decoder = config.at("added_tokens_decoder");
  if (!decoder.is_object()) decoder.fail("must be an object");
  for (const auto& [key, unused] : decoder.value().items()) {
    const JsonNode entry = decoder.at(key);
    add_unless_known(read_added_token(entry, read_id_key(entry, key)), spec);
  }
}

// This file knows no flags.
void read_added_tokens_json(const JsonNode& root, TokenizerSpec& spec) {
  for (const auto& [content, unused] : root.value().items()) {
    AddedToken token;
    token.content = content;
    token.id = root.at(content).token_id();
    if (content.empty()) root.fail("names an empty token");
    add_unless_known(std::move(token), spec);
  }
}

// ---- roles ----

std::string token_text(const JsonNode& node) {
  return node.is_object() ? node.at("content").text() : node.text();
}

void read_role_texts(const JsonNode& root, TokenizerSpec& spec) {
  for (size_t role = 0; role < kRoleCount; ++role) {
    RoleSpec& known = spec.roles[role];
    const std::string key = std::string(kRoleNames[role]) + "_token";
    if (known.stated || !root.states(key)) continue;
    known.stated = true;
    if (root.has(key)) known.text = token_text(root.at(key));
  }
}

void read_role_ids(const JsonNode& root, TokenizerSpec& spec) {
  for (size_t role = 0; role < kRoleCount; ++role) {
    RoleSpec& known = spec.roles[role];
    const std::string key = std::string(kRoleNames[role]) + "_token_id";
    if (known.stated || !root.has(key)) continue;
    const JsonNode id = root.at(key);
    if (id.is_array() && id.size() == 0) continue;
    known.stated = true;
    known.id = (id.is_array() ? id.item(0) : id).token_id();
  }
}

// Further special tokens are a list, or an object of named ones.
void read_special_texts(const JsonNode& root, const std::string& name, TokenizerSpec& spec) {
  if (!root.has(name)) return;
  const JsonNode list = root.at(name);
  if (list.is_object()) {
    for (const auto& [key, unused] : list.value().items()) {
      spec.special_texts.push_back(token_text(list.at(key)));
    }
    return;
  }
  for (size_t i = 0; i < list.size(); ++i) spec.special_texts.push_back(token_text(list.item(i)));
}

void read_configs(const std::string& dir, TokenizerSpec& spec) {
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::string path = join_path(dir, name);
    if (!file_exists(path)) continue;
    const JsonNode root = JsonNode::load(path);
    read_role_texts(root, spec);
    read_special_texts(root, "additional_special_tokens", spec);
    read_special_texts(root, "extra_special_tokens", spec);
    read_added_tokens_decoder(root, spec);
  }
  const std::string added = join_path(dir, "added_tokens.json");
  if (file_exists(added)) read_added_tokens_json(JsonNode::load(added), spec);
  const std::string generation = join_path(dir, "generation_config.json");
  if (file_exists(generation)) read_role_ids(JsonNode::load(generation), spec);
}

}  // namespace

TokenizerSpec read_tokenizer_spec(const std::string& dir) {
  TokenizerSpec spec;
  const std::string path = join_path(dir, "tokenizer.json");
  const bool in_parts =
      file_exists(join_path(dir, "vocab.json")) && file_exists(join_path(dir, "merges.txt"));
  if (!file_exists(path) && in_parts) {
    read_vocab_and_merges(dir, spec);
  } else {
    read_tokenizer_json(path, spec);
  }
  read_configs(dir, spec);
  return spec;
}

}  // namespace diffulex::text

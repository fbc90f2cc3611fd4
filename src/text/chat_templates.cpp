#include "text/chat_templates.h"

#include <algorithm>
#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <set>

#include "io/mapped_file.h"
#include "io/path.h"
#include "text/json_node.h"

namespace diffulex::text {
namespace {

constexpr const char* kDefault = "default";
constexpr const char* kWithTools = "tool_use";

// The *.jinja files of a directory that need not be there, in the order of their names.
std::vector<std::string> template_files(const std::string& dir) {
  std::vector<std::string> files;
  std::error_code problem;
  std::filesystem::directory_iterator entry(dir, problem);
  while (!problem && entry != std::filesystem::directory_iterator()) {
    if (entry->path().extension() == ".jinja") files.push_back(entry->path().string());
    entry.increment(problem);
  }
  if (problem == std::errc::not_enough_memory) throw std::bad_alloc();
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

class ChatTemplates::Reader {
 public:
  explicit Reader(const std::string& dir) : dir_(dir) {}

  ChatTemplates read() {
    read_files();
    for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
      const std::string path = join_path(dir_, name);
      if (out_.entries_.empty() && file_exists(path)) read_config(JsonNode::load(path));
    }
    if (out_.entries_.empty()) return std::move(out_);
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
      const std::string path = join_path(dir_, name);
      if (file_exists(path)) read_tokens(JsonNode::load(path));
    }
    return std::move(out_);
  }

 private:
  void add(const std::string& name, std::string_view source, const std::string& path) {
    Entry entry;
    entry.name = name;
    try {
      entry.parsed = std::make_shared<const jinja::Template>(source, path);
    } catch (const Error& error) {
      entry.problem = error;
    }
    out_.entries_.push_back(std::move(entry));
  }

  void read_files() {
    const std::string main = join_path(dir_, "chat_template.jinja");
    if (file_exists(main)) add(kDefault, MappedFile(main).text(), main);
    for (const std::string& path : template_files(join_path(dir_, "additional_chat_templates")))
      add(std::filesystem::path(path).stem().string(), MappedFile(path).text(), path);
  }

  void read_config(const JsonNode& root) {
    if (!root.has("chat_template")) return;
    const JsonNode entry = root.at("chat_template");
    if (!entry.is_array()) return add(kDefault, entry.text(), root.path());
    for (size_t i = 0; i < entry.size(); ++i) {
      const JsonNode item = entry.item(i);
      add(item.at("name").text(), item.at("template").text(), root.path());
    }
  }

  // The first file that speaks of a token is right, be it to say that there is none.
  void read_tokens(const JsonNode& root) {
    for (const auto& [key, unused] : root.value().items())
      if (key.ends_with("_token")) read_token(key, root.at(key));
    if (!root.has("extra_special_tokens")) return;
    const JsonNode extra = root.at("extra_special_tokens");
    if (!extra.is_object()) return;
    for (const auto& [key, unused] : extra.value().items()) read_token(key, extra.at(key));
  }

  void read_token(const std::string& key, const JsonNode& token) {
    if (!stated_.insert(key).second) return;
    if (token.is_string()) {
      out_.special_tokens_.emplace_back(key, token.text());
    } else if (token.has("content") && token.at("content").is_string()) {
      out_.special_tokens_.emplace_back(key, token.at("content").text());
    }
  }

  const std::string& dir_;
  ChatTemplates out_;
  std::set<std::string> stated_;
};

ChatTemplates ChatTemplates::load(const std::string& dir) { return Reader(dir).read(); }

const ChatTemplates::Entry* ChatTemplates::find(std::string_view name) const {
  const auto at = std::find_if(entries_.begin(), entries_.end(),
                               [&](const Entry& entry) { return entry.name == name; });
  return at != entries_.end() ? &*at : nullptr;
}

std::string ChatTemplates::names() const {
  std::string all;
  for (const Entry& entry : entries_) all += (all.empty() ? "" : ", ") + entry.name;
  return all;
}

const jinja::Template& ChatTemplates::choose(std::string_view name, bool with_tools) const {
  const Entry* entry = nullptr;
  if (!name.empty()) {
    entry = find(name);
  } else {
    if (with_tools) entry = find(kWithTools);
    if (entry == nullptr) entry = find(kDefault);
  }
  if (entry == nullptr) {
    throw Error(DIFFULEX_E_INVALID_ARGUMENT, "there is no chat template " +
                                                 std::string(name.empty() ? kDefault : name) +
                                                 "; the option template names one")
        .with("option", "template")
        .with("allowed", names());
  }
  if (entry->problem) throw Error(*entry->problem);
  return *entry->parsed;
}

}  // namespace diffulex::text

#include "model/shards.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "io/path.h"
#include "model/directory.h"

namespace diffulex {
namespace {

constexpr const char* kSingle = "model.safetensors";

// Tensor names by the file that should hold them; the map's order is the order of loading.
using ShardMap = std::map<std::string, std::vector<std::string>>;

// An index may come from anywhere: it must not reach outside its directory.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name.find_first_of("/\\") == std::string::npos &&
         name.find('\0') == std::string::npos && name.find("..") == std::string::npos;
}

Error index_problem(const std::string& path, const std::string& what, const std::string& tensor) {
  Error problem = Error(DIFFULEX_E_MODEL_FORMAT, file_name(path) + ": " + what).with("path", path);
  if (!tensor.empty()) static_cast<Error&&>(problem).with("tensor", tensor);  // in place
  return problem;
}

// Opens what an index lists.
class IndexedShards {
 public:
  IndexedShards(const std::string& dir, const std::string& path, ProblemList* problems)
      : dir_(dir), path_(path), problems_(*problems) {}

  Shards open() {
    ShardMap shards;
    if (!problems_.attempt([&] { shards = read(); })) result_.complete = false;
    for (const auto& [name, tensors] : shards) open_file(name, tensors);
    return std::move(result_);
  }

 private:
  void add(const std::string& what, const std::string& tensor) {
    problems_.add(index_problem(path_, what, tensor));
  }

  ShardMap read() {
    const JsonDocument document = read_json_object(path_);
    const auto map = document.root().find("weight_map");
    if (map == document.root().end() || !map->is_object() || map->empty()) {
      throw index_problem(path_, "there is no 'weight_map'", "");
    }
    ShardMap shards;
    for (const auto& [tensor, file] : map->items()) {
      if (!file.is_string()) {
        add("tensor '" + tensor + "' names no file", tensor);
      } else if (!is_plain_name(file.get_ref<const std::string&>())) {
        add("tensor '" + tensor + "' names '" + file.get<std::string>() +
                "', which is not a file of this directory",
            tensor);
      } else {
        shards[file.get<std::string>()].push_back(tensor);
        continue;
      }
      result_.unread.insert(tensor);
    }
    return shards;
  }

  void open_file(const std::string& name, const std::vector<std::string>& tensors) {
    const std::string path = join_path(dir_, name);
    if (!entry_exists(path)) {
      add("file '" + name + "' is missing, which should hold " + std::to_string(tensors.size()) +
              " tensors such as '" + tensors.front() + "'" + advice(),
          tensors.front());
    } else if (problems_.attempt([&] { result_.files.emplace_back(path, &problems_); })) {
      return check_tensors(name, tensors);
    }
    result_.unread.insert(tensors.begin(), tensors.end());
  }

  // An index may be left over from before the shards were joined.
  std::string advice() const {
    return file_exists(join_path(dir_, kSingle))
               ? "; if " + std::string(kSingle) + " holds everything, remove the index"
               : "; is the download complete?";
  }

  void check_tensors(const std::string& name, const std::vector<std::string>& tensors) {
    const SafetensorsFile& file = result_.files.back();
    for (const std::string& tensor : tensors) {
      if (file.find(tensor) != nullptr || file.is_malformed(tensor)) continue;
      std::string problem = "tensor '";
      problem.append(tensor).append("' is not in '").append(name).append("'");
      add(problem, tensor);
      result_.unread.insert(tensor);
    }
  }

  const std::string& dir_;
  const std::string& path_;
  ProblemList& problems_;
  Shards result_;
};

// "model-00001-of-00002.safetensors": first what stands before and behind the number of the shard.
struct ShardName {
  std::string before, behind;
  int number = 0, count = 0;
};

std::optional<ShardName> parse_shard_name(const std::string& name) {
  static constexpr std::string_view kEnd = ".safetensors", kOf = "-of-";
  constexpr size_t kDigits = 5;
  const size_t tail = kOf.size() + kDigits + kEnd.size(), whole = 1 + kDigits + tail;
  if (name.size() < whole || !name.ends_with(kEnd)) return std::nullopt;
  const size_t of = name.size() - tail, first = of - kDigits, second = of + kOf.size();
  if (name.compare(of, kOf.size(), kOf) != 0 || name[first - 1] != '-') return std::nullopt;
  ShardName shard{name.substr(0, first), name.substr(of)};
  const auto number = [&](size_t at, int* value) {
    const char* const end = name.data() + at + kDigits;
    const auto parsed = std::from_chars(name.data() + at, end, *value);
    return parsed.ec == std::errc() && parsed.ptr == end && *value >= 0;
  };
  if (!number(first, &shard.number) || !number(second, &shard.count)) return std::nullopt;
  return shard;
}

// Where there are shards by name, a file that is none may hold their tensors a second time.
std::vector<std::string> choose_shards(const std::vector<std::string>& paths, Shards* result,
                                       ProblemList* problems) {
  std::vector<std::string> shards;
  std::map<std::pair<std::string, std::string>, std::set<int>> numbers;
  std::map<std::pair<std::string, std::string>, int> counts;
  for (const std::string& path : paths) {
    const std::optional<ShardName> shard = parse_shard_name(file_name(path));
    if (!shard) continue;
    shards.push_back(path);
    const std::pair kind(path.substr(0, path.size() - file_name(path).size()) + shard->before,
                         shard->behind);
    numbers[kind].insert(shard->number);
    counts[kind] = shard->count;
  }
  for (const auto& [kind, found] : numbers) {
    for (int number = 1; number <= counts[kind]; ++number) {
      if (found.contains(number)) continue;
      const std::string digits = std::to_string(number);
      const std::string path = kind.first +
                               std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits +
                               kind.second;
      problems->add(Error(DIFFULEX_E_MODEL_FORMAT,
                          file_name(path) + ": this shard is missing; is the download complete?")
                        .with("path", path));
      result->complete = false;
      break;
    }
  }
  return shards.empty() ? paths : shards;
}

Shards open_by_name(const std::string& dir, ProblemList* problems) {
  Shards result;
  std::vector<std::string> paths = {join_path(dir, kSingle)};
  if (!file_exists(paths[0])) {
    paths = files_with(dir, ".safetensors");
    if (paths.empty()) throw missing_weights(dir);
    paths = choose_shards(paths, &result, problems);
  }
  for (const std::string& path : paths) {
    const bool opened = problems->attempt([&] { result.files.emplace_back(path, problems); });
    if (!opened) result.complete = false;
  }
  return result;
}

}  // namespace

Shards open_shards(const std::string& dir, ProblemList* problems) {
  Shards result;
  const std::string index = join_path(dir, "model.safetensors.index.json");
  if (entry_exists(index)) {
    result = IndexedShards(dir, index, problems).open();
  } else if (!problems->attempt([&] { result = open_by_name(dir, problems); })) {
    result.complete = false;
  }
  for (const SafetensorsFile& file : result.files)
    result.unread.insert(file.malformed().begin(), file.malformed().end());
  return result;
}

}  // namespace diffulex

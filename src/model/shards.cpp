#include "model/shards.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/error.h"
#include "io/json.h"
#include "io/path.h"
#include "model/problem_list.h"

namespace diffulex {
namespace {

using nlohmann::json;

// Tensor names by the file that should hold them; the map's order is the order of loading.
using ShardMap = std::map<std::string, std::vector<std::string>>;

// An index may come from anywhere: it must not reach outside its directory.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name.find_first_of("/\\") == std::string::npos &&
         name.find('\0') == std::string::npos && name.find("..") == std::string::npos;
}

ShardMap read_index(const std::string& path) {
  const JsonDocument document = read_json_object(path);
  const json& index = document.root();
  const auto map = index.find("weight_map");
  ProblemList problems;
  ShardMap shards;
  if (map == index.end() || !map->is_object() || map->empty()) {
    problems.add("there is no 'weight_map'", "");
    problems.check(path);
  }
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) {
      problems.add("tensor '" + tensor + "' names no file", tensor);
    } else if (!is_plain_name(file.get_ref<const std::string&>())) {
      problems.add("tensor '" + tensor + "' names '" + file.get<std::string>() +
                       "', which is not a file of this directory",
                   tensor);
    } else {
      shards[file.get<std::string>()].push_back(tensor);
    }
  }
  problems.check(path);
  return shards;
}

void check_files_exist(const std::string& dir, const std::string& index_path,
                       const ShardMap& shards) {
  ProblemList problems;
  for (const auto& [file, tensors] : shards) {
    if (file_exists(join_path(dir, file))) continue;
    problems.add("file '" + file + "' is missing, which should hold " +
                     std::to_string(tensors.size()) + " tensors such as '" + tensors.front() + "'",
                 tensors.front());
  }
  problems.check(index_path);
}

std::vector<SafetensorsFile> open_indexed(const std::string& dir, const std::string& index_path) {
  const ShardMap shards = read_index(index_path);
  check_files_exist(dir, index_path, shards);
  std::vector<SafetensorsFile> files;
  ProblemList problems;
  for (const auto& [name, tensors] : shards) {
    const SafetensorsFile& file = files.emplace_back(join_path(dir, name));
    for (const std::string& tensor : tensors) {
      if (file.find(tensor) != nullptr) continue;
      std::string problem = "tensor '";
      problem.append(tensor).append("' is not in '").append(name).append("'");
      problems.add(problem, tensor);
    }
  }
  problems.check(index_path);
  return files;
}

std::vector<SafetensorsFile> open_all(const std::string& dir) {
  std::error_code failure;
  std::vector<std::string> paths;
  std::filesystem::directory_iterator entry(dir, failure);
  for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
    if (entry->path().extension() == ".safetensors") paths.push_back(entry->path().string());
  }
  if (failure) throw Error(DIFFULEX_E_IO, dir + ": " + failure.message()).with("path", dir);
  if (paths.empty()) {
    throw Error(DIFFULEX_E_MODEL_FORMAT, dir + ": there is no *.safetensors file")
        .with("path", dir);
  }
  std::sort(paths.begin(), paths.end());
  return {std::make_move_iterator(paths.begin()), std::make_move_iterator(paths.end())};
}

}  // namespace

std::vector<SafetensorsFile> open_shards(const std::string& dir) {
  const std::string index = join_path(dir, "model.safetensors.index.json");
  if (file_exists(index)) return open_indexed(dir, index);
  const std::string single = join_path(dir, "model.safetensors");
  if (!file_exists(single)) return open_all(dir);
  std::vector<SafetensorsFile> files;
  files.emplace_back(single);
  return files;
}

}  // namespace diffulex

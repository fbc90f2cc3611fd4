// The weight files of a checkpoint directory.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/problem_list.h"
#include "io/safetensors.h"

namespace diffulex {

struct Shards {
  std::vector<SafetensorsFile> files;  // those that could be read
  std::set<std::string> unread;        // tensors of the others, and malformed ones
  bool complete = true;  // false: other tensors than those may be in files that could not be read
};

// The files that model.safetensors.index.json lists, else model.safetensors, else the shards by
// name (model-00001-of-00002.safetensors), else every *.safetensors. With an index, each of its
// entries is checked against the file it names. Goes on past a problem to the other files.
Shards open_shards(const std::string& dir, ProblemList* problems);

}  // namespace diffulex

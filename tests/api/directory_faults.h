// Single faults of a published model directory, and what a user must be told of each.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "published_checkpoint.h"

namespace diffulex_tests::errors {

struct Fault {
  std::string name;
  diffulex_status status;
  std::vector<std::string> told;                     // the file, the field or tensor, what to do
  std::function<void(PublishedCheckpoint&)> change;  // before it is written, or
  std::function<void(const TempDir&)> damage;        // after
};

std::vector<Fault> config_faults();
std::vector<Fault> weight_faults();
std::vector<Fault> format_faults();  // of the wrong kind
std::vector<Fault> text_faults();

}  // namespace diffulex_tests::errors

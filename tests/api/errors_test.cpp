// Every row of docs/errors.md is true, and an engine that was there goes on as if nothing had
// happened.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "errors_engine.h"
#include "errors_table.h"

namespace diffulex_tests::errors {
namespace {

Cases all_cases() {
  Cases cases;
  for (auto* add :
       {add_config_cases, add_struct_cases, add_request_cases, add_read_cases, add_null_cases,
        add_sampling_cases, add_cache_cases, add_state_cases, add_text_cases,
        add_model_config_cases, add_safetensors_cases, add_shard_cases, add_tokenizer_cases})
    add(&cases);
  return cases;
}

std::string documented_name(diffulex_status status) {
  return std::string(diffulex_status_name(status)).substr(std::string("DIFFULEX_E_").size());
}

// A value that the row leaves open is the case's own culprit.
void check_details(const Row& row, const Outcome& outcome) {
  static const std::set<std::string> kCulprits = {"option", "path", "tensor", "key", "device"};
  for (size_t i = 0; i < row.details.size(); ++i) {
    const auto& [key, value] = row.details[i];
    const auto found = outcome.details.find(key);
    if (found == outcome.details.end()) {
      ADD_FAILURE() << "no detail " << key << ": " << outcome.message;
    } else if (!value.empty()) {
      EXPECT_EQ(found->second, value) << key << ": " << outcome.message;
    } else if (i == 0 && kCulprits.contains(key)) {
      EXPECT_TRUE(found->second.ends_with(outcome.culprit)) << key << ": " << found->second;
    }
  }
}

void check_message(const Row& row, const Outcome& outcome) {
  const bool given = !row.details.empty() && !row.details.front().second.empty();
  const std::string culprit =
      outcome.culprit.empty() && given ? row.details.front().second : outcome.culprit;
  EXPECT_FALSE(outcome.message.empty());
  EXPECT_FALSE(culprit.empty()) << "the case names no culprit: " << outcome.message;
  EXPECT_NE(outcome.message.find(culprit), std::string::npos)
      << "no \"" << culprit << "\" in: " << outcome.message;
}

void check(const Row& row, const Outcome& outcome) {
  ASSERT_LT(outcome.status, 0) << outcome.culprit;
  EXPECT_EQ(documented_name(outcome.status), row.status) << outcome.message;
  if (outcome.silent) return;
  check_message(row, outcome);
  check_details(row, outcome);
}

size_t open_files() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(entries), end(entries)));
}

bool maps_weights() {
  std::ifstream in("/proc/self/maps");
  for (std::string line; std::getline(in, line);)
    if (line.ends_with(".safetensors")) return true;
  return false;
}

TEST(Errors, EveryRowHasACaseAndEveryCaseARow) {
  const Cases cases = all_cases();
  std::set<std::string> names;
  for (const Row& row : read_table()) {
    EXPECT_TRUE(names.insert(row.name).second) << "twice in the table: " << row.name;
    EXPECT_TRUE(cases.contains(row.name)) << "no case for the row " << row.name;
  }
  for (const auto& [name, unused] : cases)
    EXPECT_TRUE(names.contains(name)) << "no row for the case " << name;
}

TEST(Errors, EveryRowIsTrueAndTheEngineGoesOn) {
  ASSERT_NE(survivor().engine, nullptr) << survivor().failure.message;
  const std::vector<diffulex_token> answer = answer_of(survivor());
  ASSERT_FALSE(answer.empty());
  const size_t files = open_files();
  const Cases cases = all_cases();
  for (const Row& row : read_table()) {
    SCOPED_TRACE(row.name);
    const auto found = cases.find(row.name);
    if (found == cases.end()) continue;
    const Outcomes outcomes = found->second();
    EXPECT_FALSE(outcomes.empty());
    for (const Outcome& outcome : outcomes) check(row, outcome);
    EXPECT_EQ(open_files(), files);
    EXPECT_FALSE(maps_weights());
    EXPECT_EQ(answer_of(survivor()), answer);
  }
}

}  // namespace
}  // namespace diffulex_tests::errors

// Everything that tests/oracle/chat_templates.py had Jinja2 print.
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "jinja_render.h"

namespace diffulex::jinja {
namespace {

using nlohmann::json;

json golden() {
  std::ifstream in(std::string(DIFFULEX_TEST_DATA_DIR) + "/chat-templates/golden.json");
  return json::parse(in);
}

class JinjaGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    tzset();
  }
};

void expect_output(const std::string& source, const std::string& variables,
                   const std::string& output) {
  try {
    EXPECT_EQ(render(source, variables), output) << source;
  } catch (const Error& error) {
    ADD_FAILURE() << error.message() << "\n" << source;
  }
}

void expect_failure(const std::string& source, const std::string& variables,
                    const std::string& problem) {
  try {
    ADD_FAILURE() << "printed \"" << render(source, variables) << "\", not " << problem << "\n"
                  << source;
  } catch (const Error& error) {
    // What the template itself raises is the caller's fault, and keeps its words.
    constexpr std::string_view kRaised = "TemplateError: ";
    const bool raised = problem.starts_with(kRaised);
    EXPECT_EQ(error.status() == DIFFULEX_E_INVALID_ARGUMENT, raised) << error.message();
    if (raised) {
      EXPECT_TRUE(error.message().ends_with(problem.substr(kRaised.size())));
    }
  }
}

TEST_F(JinjaGolden, EveryCase) {
  const json root = golden();
  std::map<std::string, int> counts;
  for (const json& at : root["cases"]) {
    const std::string source = root["templates"][at["template"].get<size_t>()];
    const std::string variables = root["variables"][at["variables"].get<size_t>()];
    ++counts[at["group"]];
    SCOPED_TRACE(at["group"]);
    if (at.contains("output")) {
      expect_output(source, variables, at["output"]);
    } else {
      expect_failure(source, variables, at["error"]);
    }
  }
  EXPECT_GE(counts.size(), 25u);
  EXPECT_GE(root["cases"].size(), 440u);
}

}  // namespace
}  // namespace diffulex::jinja

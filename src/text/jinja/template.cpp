#include "text/jinja/template.h"

#include <utility>

#include "base/error.h"
#include "io/path.h"
#include "text/jinja/evaluator.h"
#include "text/jinja/statement_parser.h"
#include "text/utf8.h"

namespace diffulex::jinja {
namespace {

Error located(const Failure& failure, const std::string& path, int line) {
  return Error(failure.status(),
               file_name(path) + ", template line " + std::to_string(line) + ": " + failure.what())
      .with("path", path)
      .with("line", std::to_string(line));
}

// The code relies on it that all text is valid UTF-8.
std::string valid(std::string_view source) {
  std::string out;
  text::append_repaired(source, out);
  return out;
}

}  // namespace

Template::Template(std::string_view source, std::string path) : path_(std::move(path)) {
  Position position;
  try {
    Budget budget{Limits{}};
    block_ = std::make_unique<const Block>(parse_template(valid(source), &budget, &position));
    unset_ = find_unset(*block_);
  } catch (const Failure& failure) {
    throw located(failure, path_, position.line);
  }
}

std::string Template::render(const Dict& variables, std::time_t now, const Limits& limits) const {
  Position position;
  try {
    Run run(limits, now);
    std::string out;
    Evaluator(&run, &variables, &unset_, &position).render(*block_, &out);
    return out;
  } catch (const Failure& failure) {
    throw located(failure, path_, position.line);
  }
}

}  // namespace diffulex::jinja

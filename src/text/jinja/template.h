// A template in the language of Jinja, as far as chat templates use it.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/budget.h"
#include "text/jinja/dict.h"
#include "text/jinja/symbols.h"

namespace diffulex::jinja {

// Immutable: safe to render from several threads at once.
class Template {
 public:
  // path is for messages only. Errors: TOKENIZER (malformed), UNSUPPORTED (a tag that is not
  // covered); they name path and line.
  Template(std::string_view source, std::string path);

  // What the template prints; `now` is the time it sees. Errors, with path and line:
  // INVALID_ARGUMENT (the template finds fault with its variables), TOKENIZER (it does what cannot
  // be done, or takes more than the limits), UNSUPPORTED (a filter, test, method or function that
  // is not covered).
  std::string render(const Dict& variables, std::time_t now, const Limits& limits = {}) const;

 private:
  std::string path_;
  std::unique_ptr<const Block> block_;
  Unset unset_;  // knows the blocks by their addresses
};

}  // namespace diffulex::jinja

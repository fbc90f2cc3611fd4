// Cuts a template's source into tokens.
#pragma once

#include <string_view>
#include <vector>

#include "text/jinja/token.h"

namespace diffulex::jinja {

// Where a failure happened, for whoever reports it.
struct Position {
  int line = 1;
};

// As Jinja with trim_blocks and lstrip_blocks: the line end behind a tag goes, and so does the
// indent in front of one. Comments and the marks of white space control are dealt with here. The
// last token is kEnd. Throws Failure; *position then tells the line.
std::vector<Token> tokenize(std::string_view source, Position* position);

}  // namespace diffulex::jinja

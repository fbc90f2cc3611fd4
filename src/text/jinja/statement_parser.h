// Statements and the text between them.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "text/jinja/expression_parser.h"
#include "text/jinja/parser.h"

namespace diffulex::jinja {

// Parses a whole template. Throws Failure; *position then tells the line.
Block parse_template(std::string_view source, Budget* budget, Position* position);

}  // namespace diffulex::jinja

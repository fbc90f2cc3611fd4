// Which variables a block hides from its outside, told from the tree alone.
#pragma once

#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja/ast.h"

namespace diffulex::jinja {

using Names = std::vector<std::string_view>;  // they live in the tree

// Jinja gives each block that has variables of its own a table of them before anything runs. One
// that the block sets, and that neither it reads before nor a block around it knows, is undefined
// until it is set, even where the caller gave a variable of that name. Blocks by their address.
using Unset = std::unordered_map<const Block*, Names>;

Unset find_unset(const Block& root);

}  // namespace diffulex::jinja

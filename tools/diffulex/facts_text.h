// Facts for people: on the terminal, and the page of options as Markdown.
#pragma once

#include "facts.h"

namespace diffulex_command {

void print_facts(const Facts& facts);  // sections of keys and values, tables of options
void print_options_markdown();         // the document docs/configuration.md

}  // namespace diffulex_command

// The subcommands. Each adds its options to the command line and returns what to run.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace diffulex_command {

using Run = std::function<int()>;

Run add_generate(CLI::App& app);
Run add_chat(CLI::App& app);
Run add_bench(CLI::App& app);
Run add_inspect(CLI::App& app);

}  // namespace diffulex_command

// The diffulex command: a user of the public header like any other.
#include <clocale>
#include <cstdio>
#include <string>
#include <vector>

#include "commands.h"
#include "diffulex.h"
#include "session.h"
#include "terminal.h"

using namespace diffulex_command;

namespace {

std::string usage_error(const CLI::App*, const CLI::Error& error) {
  return "diffulex: error: " + std::string(error.what()) + "\nRun with --help for more.\n";
}

}  // namespace

int main(int argc, char** argv) {
  // The output is UTF-8 everywhere; this is for the widths of its characters.
  (void)std::setlocale(LC_CTYPE, "C.UTF-8");
  CLI::App app("diffulex: runs block diffusion language models");
  app.set_version_flag("--version", diffulex_version_string());
  app.require_subcommand(1);
  app.failure_message(usage_error);
  std::vector<std::pair<CLI::App*, Run>> commands;
  const auto add = [&](const char* name, const char* what, Run (*setup)(CLI::App&)) {
    CLI::App* sub = app.add_subcommand(name, what);
    commands.emplace_back(sub, setup(*sub));
  };
  add("generate", "answers one prompt", add_generate);
  add("chat", "holds a conversation", add_chat);
  add("bench", "measures a whole engine on random prompts", add_bench);
  add("inspect", "shows checkpoints, memory plans, devices and options", add_inspect);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  catch_signals();
  try {
    for (const auto& [sub, run] : commands)
      if (sub->parsed()) return run();
  } catch (const std::exception& error) {
    if (interrupted()) return kInterruptedExit;  // while loading
    std::fprintf(stderr, "diffulex: error: %s\n", error.what());
    return 1;
  }
  return 2;
}
